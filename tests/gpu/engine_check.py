#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One run of the unmodified llama.cpp: its tokens and the time of each step, as one JSON line.

usage: engine_check.py --build DIR [--gpu sim|real] [--shim] [--set NAME=VALUE]... [--cuda 12|13]

gpu-check runs it with and without the shim and compares the tokens; the times are for the reader.
Exit 77 with a line where the engine is not in the cache.
"""
import argparse
import hashlib
import json
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "engines"))
from enginelib import Failure, Front, Place, Skip, model  # noqa: E402

STEPS = ["prompt=600", "generate=200", "clear", "prompt=300", "generate=100", "erase=10:40", "prompt=20", "generate=20"]


def run():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--gpu", choices=("sim", "real"), default="sim")
    parser.add_argument("--cuda", choices=("12", "13"), default="13")
    parser.add_argument("--shim", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in args.set)
    with tempfile.TemporaryDirectory(prefix="kvshim-engine-") as out:
        place = Place(args.build, out, args.gpu, args.cuda)
        tokens, steps, backed = place.out / "tokens", [], 0
        front = Front(place, "preload" if args.shim else None, settings,
                      ["--model", model(place.out / "models"), "--ctx", "16384"], STEPS, tokens)
        last = time.monotonic()
        for phase in front.phases():
            steps.append([phase, round(time.monotonic() - last, 4)])
            if args.shim:
                process = place.stat(front.pid) or {}
                backed = max(backed, sum(r["backed_bytes"] or 0 for r in process.get("reservations", [])))
            last = time.monotonic()
        code = front.end()
        if code:
            raise Failure(f"the engine ended with {code}\n" + (place.out / "engine.log").read_text(errors="replace")[-1500:])
        text = tokens.read_text().split()
        print(json.dumps({"tokens": len(text), "digest": hashlib.sha256(" ".join(text).encode()).hexdigest()[:16],
                          "backed_peak_seen": backed, "seconds": steps}))


if __name__ == "__main__":
    try:
        run()
    except Skip as why:
        print(f"SKIP: {why}")
        sys.exit(77)
    except Failure as why:
        print(f"FAILED: {why}")
        sys.exit(1)
