#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Manual pages, completions and the page of commands, from the tables that the programs are made from.

usage: generate.py WHAT --kvshim PATH [--stat PATH] [--source ROOT] [-o FILE]

WHAT is kvshim.1, kvshim-stat.1, libkvshim.7, kvshim.bash, _kvshim or kvshim.md. The commands, flags, options and
engines come from `kvshim help --json` and `kvshim explain --json`, the flags of kvshim-stat from its --help, entry
points from hooks/hooks.def, metrics from shim/stat/metrics.def.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import completion  # noqa: E402
import pages  # noqa: E402


def ask(*command):
    env = {k: v for k, v in os.environ.items() if not k.startswith("KVSHIM") and k != "LD_PRELOAD"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


class Stat:
    """The flags of kvshim-stat, read from its help."""

    def __init__(self, text):
        self.synopsis, self.flags, self.prose, self.status = [], [], [], ""
        for line in text.splitlines():
            usage = re.match(r"(?:usage:| {6}) (kvshim-stat.*)", line)
            flag = re.match(r" {2}(--?[\w-]+)(.*?)(?: {2,}(\S.*))?$", line)
            if usage:
                self.synopsis.append(usage[1])
            elif flag:
                self.flags.append([flag[1], flag[2].strip(), flag[3] or ""])
            elif line.startswith("Exit status:"):
                self.status = line
            elif self.flags and line.startswith("      "):
                self.flags[-1][2] += " " + line.strip()
            elif self.status and line.strip():
                self.status += " " + line.strip()
            elif line.strip():
                self.prose.append(line.strip())
        if not self.synopsis or len(self.flags) < 3 or not self.status:
            sys.exit("generate.py: the help of kvshim-stat does not read as it used to")


# What somebody new to it may type, wrongly; each is one line on stderr and changes nothing.
WRONG = ["", "stats", "lmit 42 --max 8G", "run", "run --min-size abc -- server", "run --no-such -- server", "run --engine vlm -- server",
         "run --lib /no/such -- server", "explain min-sise", "explain a b", "doctor --timeout abc", "ps 42",
         "limit", "limit abc --max 8G", "limit 42 --max 8X", "limit 42 --weight 0", "limit 42 --max", "evict", "evict abc", "evict --all 42",
         "evict --all --bytes 1X", "restore", "restore --all --wait abc", "pause", "pause kv abc", "resume", "record",
         "record --interval 5 day.csv", "check", "check /no/such", "help stats"]


def tried(program):
    """(what was typed, exit status, what was said) of each."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("KVSHIM") and k != "LD_PRELOAD"}
    for words in WRONG:
        done = subprocess.run([program, *words.split()], check=False, capture_output=True, text=True, env=env)
        said = done.stderr.splitlines()
        if done.returncode not in (1, 2, 126, 127) or len(said) != 1:
            sys.exit(f"generate.py: kvshim {words}: exit {done.returncode}, {said}")
        yield f"kvshim {words}".strip(), done.returncode, said[0]


class Tables:
    """Everything that pages are made from."""

    def __init__(self, args):
        root = pathlib.Path(args.source)
        self.wrong = list(tried(args.kvshim)) if args.what.endswith(".md") else []
        table = json.loads(ask(args.kvshim, "help", "--json"))
        self.version, self.commands, self.engines = table["version"], table["commands"], table["engines"]
        self.options = json.loads(ask(args.kvshim, "explain", "--json"))["options"]
        self.stat = Stat(ask(args.stat, "--help")) if args.stat else None
        self.metrics = rows(root / "shim/stat/metrics.def", "KV_METRIC", (0, 4, 5))
        self.hooks = {kind: rows(root / "hooks/hooks.def", "KV_" + kind, None) for kind in ("HOOK", "PASS", "REFUSE")}


def rows(path, macro, columns):
    """Rows of an X-macro table as tuples of their arguments, comments left out."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = []
    for match in re.finditer(r"^" + macro + r"\(((?:\"(?:\\.|[^\"\\])*\"|[^\")])*)\)", text, re.MULTILINE):
        cells = re.findall(r"(?:\"(?:\\.|[^\"\\])*\"\s*)+|[^,]+", match[1])
        cells = [re.sub(r"\"\s*\"", "", c.strip()).strip('"') if '"' in c else c.strip() for c in cells]
        found.append(tuple(cells[i] for i in columns) if columns else tuple(cells))
    if not found and macro not in ("KV_REFUSE",):
        sys.exit(f"generate.py: {path} has no row {macro}")
    return found


WHAT = {"kvshim.1": pages.kvshim, "kvshim-stat.1": pages.stat, "libkvshim.7": pages.library,
        "kvshim.md": pages.markdown, "kvshim.bash": completion.bash, "_kvshim": completion.zsh}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--kvshim", required=True)
    parser.add_argument("--stat")
    parser.add_argument("--source", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("-o", dest="out")
    args = parser.parse_args()
    text = WHAT[args.what](Tables(args))
    if args.out:
        pathlib.Path(args.out).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


main()
