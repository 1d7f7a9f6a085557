# SPDX-License-Identifier: Apache-2.0
"""Every bench, one after the other: a line each at the end, everything else in a folder.

Each bench's rows go to FOLDER/NAME.json, its messages to FOLDER/NAME.log, pictures beside them. With --quick each runs its
short form. A bench that misses a row or lacks something is named and stops none of the others. What two of them
count is counted once. Exit 1 if one missed.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from common import ROOT, main, parser

HERE = pathlib.Path(__file__).resolve().parent


def one(args, program, out, counts):
    """Runs a bench. Returns its exit status, None: it took too long."""
    name = program.stem
    command = [sys.executable, program, "--build", args.build, "--json", "--svg", out / f"{name}.svg"]
    command += ["--quick"] if args.quick else []
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "KVSHIM_BENCH_COUNTS": counts}
    with open(out / f"{name}.json", "wb") as rows, open(out / f"{name}.log", "wb") as log:
        try:
            return subprocess.run(command, cwd=ROOT, env=env, stdout=rows, stderr=log, timeout=args.limit).returncode
        except subprocess.TimeoutExpired:
            return None


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--out", default="bench-results", help="the folder (default: bench-results)")
    p.add_argument("--limit", type=float, default=900, help="seconds for one bench")
    args = p.parse_args()
    out = pathlib.Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    good, begin = True, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kvshim-counts-") as counts:
        for program in sorted(HERE.glob("*.py")):
            name = program.stem
            if name in ("all", "common"):
                continue
            start = time.monotonic()
            code = one(args, program, out, counts)
            verdict = {0: "ok", 77: "skipped", None: "too long"}.get(code, "missed")
            good = good and verdict in ("ok", "skipped")
            said = (out / f"{name}.json").read_text(errors="replace").splitlines()
            n = sum(line.startswith("{") for line in said)
            print(f"{name:12} {verdict:8} {n:4} rows  {time.monotonic() - start:6.1f} s", flush=True)
            if verdict != "ok":
                words = [line for line in said if not line.startswith("{")] + (out / f"{name}.log").read_text(errors="replace").splitlines()
                print("".join(f"    {line}\n" for line in words[-5:]), end="", flush=True)
    print(f"rows and pictures: {out}/ ({time.monotonic() - begin:.0f} s)")
    return good


if __name__ == "__main__":
    main(run)
