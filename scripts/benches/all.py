# SPDX-License-Identifier: Apache-2.0
"""Every bench, one after the other: a line each at the end, everything else in a folder.

Each bench's rows go to FOLDER/NAME.json, its messages to FOLDER/NAME.log, pictures beside them. With --quick each runs its
short form. A bench that misses a row or lacks something is named and stops none of the others. Exit 1 if one missed.
"""
import os
import pathlib
import subprocess
import sys
import time

from common import ROOT, main, parser

HERE = pathlib.Path(__file__).resolve().parent
SVG = {"density", "share"}


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--out", default="bench-results", help="the folder (default: bench-results)")
    p.add_argument("--limit", type=float, default=900, help="seconds for one bench")
    args = p.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    good = True
    for program in sorted(HERE.glob("*.py")):
        name = program.stem
        if name in ("all", "common"):
            continue
        command = [sys.executable, program, "--build", args.build, "--json"] + (["--quick"] if args.quick else [])
        if name in SVG:
            command += ["--svg", out / f"{name}.svg"]
        start = time.monotonic()
        with open(out / f"{name}.json", "wb") as rows, open(out / f"{name}.log", "wb") as log:
            try:
                code = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=rows,
                                      stderr=log, timeout=args.limit).returncode
            except subprocess.TimeoutExpired:
                code = None
        verdict = {0: "ok", 77: "skipped", None: "too long"}.get(code, "missed")
        good = good and verdict in ("ok", "skipped")
        n = sum(line.startswith(b"{") for line in (out / f"{name}.json").read_bytes().splitlines())
        print(f"{name:12} {verdict:8} {n:4} rows  {time.monotonic() - start:6.1f} s", flush=True)
    print(f"rows and pictures: {out}/")
    return good


if __name__ == "__main__":
    main(run)
