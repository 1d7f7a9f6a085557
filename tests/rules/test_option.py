#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""KVSHIM_RULES in a process: a file that is wrong is refused whole and said so once; the program runs on.

usage: test_option.py PROGRAM
The environment has the software GPU and the shim preloaded.
"""
import os
import pathlib
import subprocess
import sys
import tempfile


def run(choice):
    done = subprocess.run([sys.argv[1]], env=dict(os.environ, KVSHIM_RULES=str(choice)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAIL: KVSHIM_RULES={choice}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return [line for line in done.stderr.splitlines() if "kvshim[" in line]


def check(holds, what):
    if not holds:
        sys.exit(f"FAIL: {what}")


def main():
    for choice in ("off", "builtin"):
        said = [l for l in run(choice) if "rules" in l]
        check(not said, f"{choice} is no reason for a line: {said}")
    with tempfile.TemporaryDirectory() as tmp:
        good, bad = pathlib.Path(tmp) / "good.rules", pathlib.Path(tmp) / "bad.rules"
        good.write_text("rules 1\nfamily nobody_has_this_name\n")
        check(not [l for l in run(good) if "rules" in l], "a good file is no reason for a line")
        bad.write_text("rules 1\nfamily f\nvariant v\nparams int\nread p7 bytes 1\n")
        said = [l for l in run(bad) if f"{bad}:5: " in l and "built-in" in l]
        check(len(said) == 1, f"a wrong file is told once, with its line: {said}")
        for other in (pathlib.Path(tmp), pathlib.Path(tmp) / "missing"):
            check(len([l for l in run(other) if str(other) in l and "built-in" in l]) == 1, f"{other} is told once")
    said = [l for l in run("sometimes") if "KVSHIM_RULES" in l]
    check(len(said) == 1, f"a value that is none is told once: {said}")


if __name__ == "__main__":
    main()
