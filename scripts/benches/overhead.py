# SPDX-License-Identifier: Apache-2.0
"""What an intercepted call costs: instructions in the shim and nanoseconds, by class; decodes per second.

Instructions are counted with callgrind in libkvshim.so alone, in the calls of the class alone. Nanoseconds of a class are of
whole calls over the software GPU, the least of several runs that take turns: without the shim, with it switched off
(KVSHIM=off), with it. A driver call of the software GPU is shorter than one of a GPU, so that the ratios are upper bounds.

What a launch gets dearer is measured closer, in pairs: one process launches through the shim and past it in turns, some
microseconds apart, in short series; what counts is the difference of each pair. A process says the median of its pairs, the
row the median of the processes (added), with the lowest and the highest of them. The row "method" is the same without
the shim, where both ways are one: its figure is the error of the method. The last rows are steps of the unmodified llama.cpp.

A row misses when a launch with nothing to do adds more than 150 instructions or 50 ns, or when --baseline names a file of
counts (--write-baseline makes it; docs/baselines/ has them by machine kind) and a class has become more than a tenth dearer.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

from common import ROOT, Folder, Rows, Skip, chart, main, parser, where
from callgrind import Missing, instructions, side_by_side  # noqa: E402

BUDGET, BUDGET_NS = 150, 50
ROUNDS = 5  # of micro_calls
# class, reservations, calls counted in a round, calls timed in a round, what it is. Of launches one in 64 is timed by the
# shim: a multiple of that.
CLASSES = [
    ("launch", 0, 64, 2000, "a launch, no reservation in the process"),
    ("launch", 10, 64, 2000, "a launch that names none of ten reservations"),
    ("graph-launch", 10, 64, 2000, "a launch of a graph of twenty kernels, none hit"),
    ("copy-native", 10, 64, 2000, "64 bytes to native memory"),
    ("copy-in", 10, 64, 2000, "64 bytes into a backed page"),
    ("copy-out", 10, 64, 2000, "64 bytes out of a backed page"),
    ("set", 10, 64, 2000, "64 bytes set in a backed page"),
    ("allocate-small", 10, 20, 500, "4 KiB allocated and freed (native)"),
    ("allocate-big", 10, 20, 500, "4 MiB allocated and freed (a reservation)"),
    ("back", 10, 4, 10, "two pages backed, filled and freed"),
]
# What micro_pairs is given after the numbers, whether the shim is there, what it is.
PAIRS = [
    (["10"], False, "method: the same call twice, no shim"),
    (["0"], True, "added to a launch, no reservation"),
    (["10"], True, "added to a launch that names none of ten"),
    (["10", "hit"], True, "added to a launch that names eight static ones"),
]
COLUMNS = [("class", "class"), ("reservations", "reservations"), ("what", "what"), ("instructions", "instructions"),
           ("before", "baseline"), ("plain_ns", "plain ns"), ("off_ns", "off ns"), ("shim_ns", "shim ns"), ("ratio", "ratio"),
           ("added_ns", "added ns"), ("added_low_ns", "lowest"), ("added_high_ns", "highest")]


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
    """Instructions in the shim per call."""
    got = instructions([build / "tests/micro/micro_calls", name, calls, reservations, *more],
                       environment(build, folder, "shim"), "micro_measured")
    return got["instructions"] / (ROUNDS * calls)


def nanoseconds(build, folder, how, name, reservations, calls, *more):
    done = subprocess.run([build / "tests/micro/micro_calls", name, str(calls), str(reservations), *more],
                          env=environment(build, folder, how), stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[0])


def pair_row(build, folder, more, shimmed, what, quick):
    """Of several processes, because where a process has its code and data matters as well."""
    medians, past, through = [], [], []
    for _ in range(5 if quick else 15):
        done = subprocess.run([build / "tests/micro/micro_pairs", "2000", "200", *more],
                              env=environment(build, folder, "shim" if shimmed else "plain"), stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise Skip(done.stdout.strip().removeprefix("SKIP: ") or "micro_pairs failed")
        pairs = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
        medians.append(statistics.median(b - a for a, b in pairs))
        past.append(statistics.median(a for a, _ in pairs))
        through.append(statistics.median(b for _, b in pairs))
    added = statistics.median(medians)
    return {"bench": "overhead", "class": "launch-pairs", "reservations": int(more[0]), "what": what, "instructions": None,
            "before": None, "plain_ns": statistics.median(past), "shim_ns": statistics.median(through), "ratio": None,
            "added_ns": added, "added_low_ns": min(medians), "added_high_ns": max(medians), "processes": len(medians),
            "ok": added <= BUDGET_NS}


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


def charts(rows):
    counts = [r for r in rows if r["instructions"] is not None]
    timed = [r for r in rows if r.get("added_ns") is None and r.get("plain_ns")]
    pairs = [r for r in rows if r.get("added_ns") is not None]
    panels = [chart.Bars("Instructions in libkvshim.so", "instructions per call", ["instructions"],
                         [(r["what"], [r["instructions"]]) for r in counts], log=True, mark=(BUDGET, f"a launch: {BUDGET} at most"))]
    if timed:
        panels.append(chart.Bars("Nanoseconds of a whole call", "ns per call", ["without the shim", "switched off", "with it"],
                                 [(r["what"], [r["plain_ns"], r["off_ns"], r["shim_ns"]]) for r in timed], log=True))
    if pairs:
        panels.append(chart.Bars("Nanoseconds added to a launch, measured in pairs: lowest, median, highest process",
                                 "ns per launch", ["lowest", "median", "highest"],
                                 [(r["what"], [r["added_low_ns"], r["added_ns"], r["added_high_ns"]]) for r in pairs],
                                 mark=(BUDGET_NS, f"{BUDGET_NS} at most")))
    return "What an intercepted call costs", where(), panels


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
    rows = Rows(args, COLUMNS, charts)
    with Folder(args.keep) as folder:
        try:
            counted = side_by_side([lambda c=c: per_call(build, folder, *c[:3]) for c in CLASSES])
        except Missing as why:
            raise Skip(str(why)) from why
        for (name, reservations, _, calls, what), count in zip(CLASSES, counted):
            key, count = f"{name} {reservations}", round(count, 1)
            counts[key], least = count, {}
            for _ in range(0 if args.counts else 3 if args.quick else 11):
                for how in ("plain", "off", "shim"):
                    ns = nanoseconds(build, folder, how, name, reservations, calls)
                    least[how] = min(least.get(how, ns), ns)
            row = {"bench": "overhead", "class": name, "reservations": reservations, "what": what, "instructions": count,
                   **{f"{how}_ns": least.get(how) for how in ("plain", "off", "shim")},
                   "ratio": least["shim"] / least["plain"] if least else None, "before": before.get(key),
                   "ok": (name != "launch" or count <= BUDGET) and count <= before.get(key, count) * 1.1 + 5}
            rows.add(row)
        for pair in () if args.counts else PAIRS:
            rows.add(pair_row(build, folder, *pair, args.quick))
        if not args.quick and not args.counts:
            for row in decode_rows(build, folder, 60):
                rows.add(row)
    if args.write_baseline:
        pathlib.Path(args.write_baseline).write_text(json.dumps(counts, indent=1) + "\n")
    rows.finish()
    for row in rows.rows:
        if not row["ok"]:
            print(f"missed: {row['what']}: {row['instructions']} instructions where {row['before'] or BUDGET} were expected"
                  if row["instructions"] is not None else f"missed: {row['what']}: {row['added_ns']:.0f} ns, at most {BUDGET_NS}", file=sys.stderr)
    return all(row["ok"] for row in rows.rows)


if __name__ == "__main__":
    main(run)
