#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One run of the unmodified llama.cpp: its tokens and times, as one JSON line.

usage: engine_check.py --build DIR [--gpu sim|real] [--what steps|tokens|idle] [--shim] [--set NAME=VALUE]... [--cuda 12|13]

  steps   prompts, tokens, an erase: the time of each step
  tokens  tokens one by one, over the end of a page of the cache: milliseconds in the middle and at most, and of the
          token that crosses, which waits for the cache to grow
  idle    with the shim the engine is left alone until it has been moved out: how long moving out and back took, and the
          first token after it

gpu-check runs it with and without the shim and compares the tokens; the times are for the reader.
Exit 77 with a line where the engine is not in the cache.
"""
import argparse
import hashlib
import json
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "engines"))
from enginelib import PAGE, Failure, Front, Place, Skip, model  # noqa: E402

ROW = 2048  # bytes of a token in a tensor of the model
PROMPT, TOKENS = PAGE // ROW - 24, 100  # the 25th token is the first of the next page
STEPS = {
    "steps": ["prompt=600", "generate=200", "clear", "prompt=300", "generate=100", "erase=10:40", "prompt=20", "generate=20"],
    "tokens": [f"prompt={PROMPT}"] + ["generate=1"] * TOKENS,
    "idle": ["prompt=2500", "generate=20", "generate=1", "generate=20"],
}
AFTER_SLEEP = 2  # of idle: the step before which it is left alone
PATIENCE_S = 60


def wait_for_sleep(place, pid):
    """What kvshim-stat says when nothing of the process is on the device any more."""
    end, process = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < end:
        process = place.stat(pid)
        if process and process["backed_bytes"] == 0 and process["evicted_bytes"]:
            return process
        time.sleep(0.05)
    raise Failure(f"the engine is not moved out after {PATIENCE_S} s: {process}")


def per_second(n_bytes, ns):
    return round(n_bytes / ns, 3) if ns else None  # bytes per ns are GB per second


def of_tokens(ms):
    times = ms[1:]
    return {"token_ms": statistics.median(times), "token_max_ms": max(times), "crossing_ms": times[PAGE // ROW - PROMPT],
            "prompt_ms": ms[0]}


def of_idle(ms, asleep, awake):
    said = {"token_ms": ms[1] / 20, "wake_ms": ms[AFTER_SLEEP], "again_ms": ms[3] / 20}
    if asleep:
        out, back = asleep["counters"], awake["counters"]
        said.update({"moved_bytes": asleep["evicted_bytes"], "left_bytes": asleep["native_bytes"],
                     "evict_gb_s": per_second(out["moved_out_bytes"], out["evict_ns"]),
                     "restore_gb_s": per_second(back["moved_in_bytes"], back["restore_ns"])})
    return said


def run():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--gpu", choices=("sim", "real"), default="sim")
    parser.add_argument("--cuda", choices=("12", "13"), default="13")
    parser.add_argument("--what", choices=sorted(STEPS), default="steps")
    parser.add_argument("--shim", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in args.set)
    steps = STEPS[args.what]
    with tempfile.TemporaryDirectory(prefix="kvshim-engine-") as out:
        place = Place(args.build, out, args.gpu, args.cuda)
        tokens, times, backed, asleep, awake = place.out / "tokens", [], 0, None, None
        front = Front(place, "preload" if args.shim else None, settings,
                      ["--model", model(place.out / "models"), "--ctx", "16384"], steps, tokens)
        last = time.monotonic()
        for phase in front.phases():
            times.append([phase, round(time.monotonic() - last, 6)])
            if args.shim and args.what != "tokens":
                process = place.stat(front.pid) or {}
                backed = max(backed, sum(r["backed_bytes"] or 0 for r in process.get("reservations", [])))
            done = sum(word in steps for word, _ in times)
            if args.shim and args.what == "idle" and phase in steps:
                if done == AFTER_SLEEP:
                    asleep = wait_for_sleep(place, front.pid)
                elif done == AFTER_SLEEP + 1:
                    awake = place.stat(front.pid)
            last = time.monotonic()
        code = front.end()
        if code:
            raise Failure(f"the engine ended with {code}\n" + (place.out / "engine.log").read_text(errors="replace")[-1500:])
        text = tokens.read_text().split()
        said = {"tokens": len(text), "digest": hashlib.sha256(" ".join(text).encode()).hexdigest()[:16]}
        ms = [seconds * 1000 for word, seconds in times if word in steps]
        said.update({"steps": lambda: {"backed_peak_seen": backed, "seconds": times},
                     "tokens": lambda: of_tokens(ms), "idle": lambda: of_idle(ms, asleep, awake)}[args.what]())
        print(json.dumps(said))


if __name__ == "__main__":
    try:
        run()
    except Skip as why:
        print(f"SKIP: {why}")
        sys.exit(77)
    except Failure as why:
        print(f"FAILED: {why}")
        sys.exit(1)
