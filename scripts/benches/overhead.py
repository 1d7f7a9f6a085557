# SPDX-License-Identifier: Apache-2.0
"""What an intercepted call costs: instructions in the shim and nanoseconds, by class; decodes per second.

Instructions are counted with callgrind in libkvshim.so alone: the difference between two runs of different length, so
that start and end do not count. Nanoseconds are of whole calls over the software GPU, the least of several runs that take
turns: without the shim, with it switched off (KVSHIM=off), with it. A driver call of the software GPU is shorter than
one of a GPU, so that the ratios are upper bounds. The last rows are steps of the unmodified llama.cpp.
A row misses when a launch with nothing to do adds more than 150 instructions, or when --baseline names a file of counts
(--write-baseline makes it; docs/baselines/ has them by machine kind) and a class has become more than a tenth dearer.
"""
import json
import os
import pathlib
import subprocess
import sys

from common import ROOT, Folder, Rows, Skip, main, parser

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
from callgrind import Missing, instructions  # noqa: E402

BUDGET = 150
# class, reservations, calls in the short run, what it is
CLASSES = [
    ("launch", 0, 100, "a launch, no reservation in the process"),
    ("launch", 10, 100, "a launch that names none of ten reservations"),
    ("graph-launch", 10, 100, "a launch of a graph of twenty kernels, none hit"),
    ("copy-native", 10, 100, "64 bytes to native memory"),
    ("copy-in", 10, 100, "64 bytes into a backed page"),
    ("copy-out", 10, 100, "64 bytes out of a backed page"),
    ("set", 10, 100, "64 bytes set in a backed page"),
    ("allocate-small", 10, 50, "4 KiB allocated and freed (native)"),
    ("allocate-big", 10, 50, "4 MiB allocated and freed (a reservation)"),
    ("back", 10, 20, "two pages backed, filled and freed"),
]
COLUMNS = [("class", "class"), ("reservations", "reservations"), ("what", "what"), ("instructions", "instructions"),
           ("before", "baseline"), ("plain_ns", "plain ns"), ("off_ns", "off ns"), ("shim_ns", "shim ns"), ("ratio", "ratio")]


def environment(build, folder, how, more=None):
    env = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
    env.update(LD_LIBRARY_PATH=str(build / "tests/simgpu/lib"), SIMGPU_MEMORY="8G", KVSHIM_OVERCOMMIT="20G", KVSHIM_DIR=str(folder),
               KVSHIM_MIN_SIZE="4M", KVSHIM_LOG="error")
    if how != "plain":
        env["LD_PRELOAD"] = str(build / "shim/libkvshim.so")
    if how == "off":
        env["KVSHIM"] = "off"
    env.update(more or {})
    return env


def per_call(build, folder, name, reservations, calls, *more):
    """Instructions in the shim per call: five rounds a run, and one call before them."""
    program = build / "tests/micro/micro_calls"
    env = environment(build, folder, "shim")
    few = instructions([program, name, calls, reservations, *more], env)
    many = instructions([program, name, 2 * calls, reservations, *more], env)
    return (many - few) / (5 * calls)


def nanoseconds(build, folder, how, name, reservations, calls, *more):
    done = subprocess.run([build / "tests/micro/micro_calls", name, str(calls), str(reservations), *more],
                          env=environment(build, folder, how), stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[0])


def decode_rows(build, folder, tokens):
    """Seconds per token of the engine, graphs on and off, plain, off and shimmed, least of three."""
    from enginelib import Front, Place, model
    for graphs in (True, False):
        least = {}
        for turn in range(3):
            for how in ("plain", "off", "shim"):
                place = Place(build, folder / f"engine-{graphs}-{how}-{turn}")
                settings = {"KVSHIM_MIN_SIZE": "16M", "KVSHIM_LOG": "error", "SIMGPU_MIRROR": "0"}
                if how == "off":
                    settings["KVSHIM"] = "off"
                if not graphs:
                    settings["GGML_CUDA_DISABLE_GRAPHS"] = "1"
                front = Front(place, None if how == "plain" else "preload", settings,
                              ["--model", model(folder / "models"), "--ctx", "8192"],
                              ["prompt=20", f"generate={tokens}", f"generate={tokens + 1}"], place.out / "tokens")
                seconds = timed(front, f"generate={tokens + 1}")
                least[how] = min(least.get(how, seconds), seconds)
        yield {"bench": "overhead", "class": "decode", "reservations": None,
               "what": f"a token of llama.cpp, CUDA graphs {'on' if graphs else 'off'}",
               "instructions": None, **{f"{how}_ns": least[how] / (tokens + 1) * 1e9 for how in least},
               "ratio": least["shim"] / least["plain"], "ok": True}


def timed(front, step):
    """Seconds between the phase before the step and the step's own."""
    import time
    last = took = None
    for phase in front.phases():
        now = time.monotonic()
        if phase == step and last is not None:
            took = now - last
        last = time.monotonic()
    if front.end() or took is None:
        raise Skip(f"the engine did not reach {step}")
    return took


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="fewer repetitions, no engine")
    p.add_argument("--counts", action="store_true", help="instructions only")
    p.add_argument("--baseline", metavar="FILE", help="compares the counts with these")
    p.add_argument("--write-baseline", metavar="FILE", help="keeps the counts of this run")
    args = p.parse_args()
    before = json.loads(pathlib.Path(args.baseline).read_text()) if args.baseline else {}
    counts = {}
    build = (ROOT / args.build).resolve() if not pathlib.Path(args.build).is_absolute() else pathlib.Path(args.build)
    rows, good = Rows(args.json, COLUMNS), True
    with Folder(args.keep) as folder:
        for name, reservations, calls, what in CLASSES:
            try:
                count = round(per_call(build, folder, name, reservations, calls), 1)
            except Missing as why:
                raise Skip(str(why)) from why
            key = f"{name} {reservations}"
            counts[key], least = count, {}
            for _ in range(0 if args.counts else 3 if args.quick else 11):
                for how in ("plain", "off", "shim"):
                    ns = nanoseconds(build, folder, how, name, reservations, calls * 20)
                    least[how] = min(least.get(how, ns), ns)
            row = {"bench": "overhead", "class": name, "reservations": reservations, "what": what, "instructions": count,
                   **{f"{how}_ns": least.get(how) for how in ("plain", "off", "shim")},
                   "ratio": least["shim"] / least["plain"] if least else None, "before": before.get(key),
                   "ok": (name != "launch" or count <= BUDGET) and count <= before.get(key, count) * 1.1 + 5}
            good = good and row["ok"]
            rows.add(row)
        if not args.quick and not args.counts:
            for row in decode_rows(build, folder, 60):
                rows.add(row)
    if args.write_baseline:
        pathlib.Path(args.write_baseline).write_text(json.dumps(counts, indent=1) + "\n")
    rows.finish()
    for row in rows.rows:
        if not row["ok"]:
            print(f"missed: {row['class']} beside {row['reservations']}: {row['instructions']} instructions, "
                  f"{row['before'] or BUDGET} were expected", file=sys.stderr)
    return good


if __name__ == "__main__":
    main(run)
