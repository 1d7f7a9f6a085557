# SPDX-License-Identifier: Apache-2.0
"""What `meson test` found, from its own log: why tests were skipped, which failed, and one last line.

usage: summary.py TESTLOG.json STATUS_OF_MESON_TEST
"""
import json
import re
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}
SKIP_LINE = re.compile(r"^(?:SKIP\b|\[SKIP\])[: ]*(.*)$", re.MULTILINE)


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            return [json.loads(line) for line in log if line.strip()]
    except FileNotFoundError:
        return []


def reasons(test):
    """The lines with which a test said what it left out."""
    text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return [line.strip() for line in SKIP_LINE.findall(text) if line.strip()]


def tail(test, n=25):
    """The last lines that a failed test printed: a log file may be gone with its machine."""
    lines = []
    for stream in ("stdout", "stderr"):
        text = re.sub(r"\x1b\[[0-9;]*m", "", test.get(stream) or "")
        lines += [f"  {stream}: {line}" for line in text.splitlines()[-n:]]
    return lines


def main(path, status):
    tests = read(path)
    passed = [t for t in tests if t["result"] in PASSED]
    skipped = [t for t in tests if t["result"] in SKIPPED]
    failed = [t for t in tests if t["result"] not in PASSED | SKIPPED]
    print()
    for test in skipped:
        print(f"skipped: {test['name']}: {'; '.join(reasons(test)) or 'no reason given'}")
    for test in passed:
        for reason in reasons(test):
            print(f"skipped in part: {test['name']}: {reason}")
    for test in failed:
        print(f"failed: {test['name']} ({test['result']}, exit {test.get('returncode')})")
        print("\n".join(tail(test)))
    broken = status != 0 and not failed
    if broken or not tests:
        print(f"failed: the run itself (meson test ended with {status}, {len(tests)} results)")
    print(f"{len(passed)} passed, {len(failed) + (broken or not tests)} failed, {len(skipped)} skipped")
    return 1 if failed or broken or not tests else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
