# SPDX-License-Identifier: Apache-2.0
"""Counts against those that are committed for this kind of machine: what has become worse?

A kind is a processor and the compiler that built libkvshim.so, as in docs/baselines/x86_64-gcc12.json. Compared are
counts, which are the same on every machine of a kind; never times:

  bytes         means and peaks of the simulated servers of density, on its synthetic requests
  calls         driver calls per page that is backed and given back, on the software GPU
  instructions  in libkvshim.so per call of some classes of overhead, and of scale beside few and many; only where
                valgrind is, and built without sanitizers
  slopes        of scale: how these grow
  elastic       bytes behind the KV cache of llama.cpp after each step of a script; only where the engine is
  sleep         bytes that an idle llama.cpp keeps on the device, and that wait in host memory; likewise
  pool          requests that the cooperative pool refuses, and pages that are not mapped ahead

A row misses when a count is worse than the committed one by more than its tolerance: 1 % of bytes, 2 % of calls, 15 %
of instructions and 10 (compilers of one kind differ by a few), 0.05 of a slope, nothing of what is refused. What has become
better by more than that is said, so that somebody commits it. --write makes the file anew, --counts chooses. A kind without
a file is skipped (77).
"""
import argparse
import json
import os
import platform
import re
import subprocess
import sys

from common import ROOT, Failure, Folder, Rows, Skip, chart, main, parser, where
from callgrind import Missing, side_by_side  # noqa: E402
import elastic  # noqa: E402
import pool  # noqa: E402
import scale  # noqa: E402
import sleep  # noqa: E402
import kvserver  # noqa: E402
from kvmodel import MODELS, Speeds, made_trace  # noqa: E402
from overhead import CLASSES, per_call  # noqa: E402

# (share, and so many)
TOLERANCE = {"bytes": (0.01, 0), "calls": (0.02, 0.02), "instructions": (0.15, 10), "slopes": (0, 0.05), "elastic": (0.01, 0),
             "sleep": (0.01, 0), "pool": (0, 0)}
INSTRUCTIONS = ("launch", "graph-launch", "copy-native", "copy-in", "set", "allocate-big", "back")  # classes of overhead
STEPS = {"reservations": (1, 64), "pages": (1000, 4000), "processes": (1, 32)}  # of scale
PATIENCE_S = 60  # for bytes to come down to what is committed
COLUMNS = [("kind", "kind"), ("name", "count"), ("verdict", "verdict"), ("before", "committed"), ("now", "now"), ("change", "change %")]


def machine_kind(shim):
    """x86_64-gcc12: what the binary says of who made it."""
    text = shim.read_bytes()
    clang, gcc = re.search(rb"clang version (\d+)\.", text), re.search(rb"GCC: \([^)\0]*\) (\d+)\.", text)
    compiler = f"clang{clang[1].decode()}" if clang else f"gcc{gcc[1].decode()}" if gcc else "unknown"
    return f"{platform.machine()}-{compiler}"


def option(build, name):
    options = json.loads((build / "meson-info/intro-buildoptions.json").read_text())
    return next((o["value"] for o in options if o["name"] == name), None)


def bytes_of():
    """Of one simulated server of each model, with a unified cache."""
    requests, counts = made_trace(400), {}
    for model in MODELS:
        ctx = min(8192, model.longest)
        caches = model.caches(ctx, 8, unified=True)
        got = kvserver.Replay(kvserver.serve(model, caches, 8, ctx, requests, Speeds()), caches)
        counts[f"{model.name}, mean"] = int(got.backed.mean())
        counts[f"{model.name}, peak"] = got.backed.peak
    return {"bytes": counts}


def calls_of(build, folder):
    """The table of memory_upload, which its budgets do not keep from growing slowly."""
    env = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR") if k in os.environ}
    env.update(LD_PRELOAD=str(build / "shim/libkvshim.so"), LD_LIBRARY_PATH=str(build / "tests/simgpu/lib"), KVSHIM_DIR=str(folder),
               KVSHIM_MIN_SIZE="4M", KVSHIM_LOG="error", KVSHIM_EXCLUDE_SIZES="20M", SIMGPU_STRICT_EXIT="1", SIMGPU_MIRROR="0",
               SIMGPU_DEVICES="1", SIMGPU_MEMORY="4G")
    done = subprocess.run([build / "tests/memory/memory_upload"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Failure(f"memory_upload: exit {done.returncode}\n{done.stdout[-800:]}")
    counts = {}
    for line in done.stdout.splitlines():
        found = re.fullmatch(r"(backing|giving back)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)", line)
        if found:
            for when, value in zip(("fresh", "again", "all kept"), found.groups()[1:]):
                counts[f"{found[1]}, {when}"] = float(value)
    if not counts:
        raise Failure("memory_upload: no table\n" + done.stdout[-800:])
    return {"calls": counts}


def plain_build(build):
    if option(build, "b_sanitize") not in (None, "none") or str(option(build, "optimization")) != "2":
        raise Missing("instructions are compared for plain builds with -O2")


def instructions_of(build, folder):
    plain_build(build)
    chosen = [c for c in CLASSES if c[0] in INSTRUCTIONS]
    counts = side_by_side([lambda c=c: per_call(build, folder, *c[:3]) for c in chosen])
    return {"instructions": {f"{c[0]} beside {c[1]}": round(count, 1) for c, count in zip(chosen, counts)}}


def scale_of(build, folder):
    plain_build(build)
    counts, slopes = {}, {}
    for series, points in scale.measured(build, folder, scale.SERIES, STEPS):
        name = f"by {series.by}: {series.what}"
        slopes[name] = round(scale.slope(points), 3)
        if series.unit == "instructions":
            counts[f"{name}, {points[-1][0]}"] = round(points[-1][1], 1)
    return {"instructions": counts, "slopes": slopes}


class Script(elastic.Run):
    """A scenario of elastic, of which each step is given time to come down to what is committed. Nothing is backed ahead and
    nothing kept for a while: how much of that is seen is a matter of time."""

    settings = {"KVSHIM_AHEAD": "off", "KVSHIM_LINGER_MS": "2"}

    def __init__(self, args, scenario, place, before):
        super().__init__(args, elastic.ENGINES[-1], scenario, place, None)
        self.before, self.found = before, {}

    def measure(self, step, kind, pid):
        name = f"{self.scenario.name}, {len(self.found) + 1}: {step}"
        self.found[name], _, _ = self.settle(pid, self.before.get(name, 0), self.args.patience if name in self.before else 1.5)


def elastic_of(args, folder, before):
    found = {}
    for scenario in elastic.SCENARIOS:
        if scenario.name in ("requests", "slots"):
            place = elastic.Place(args.build, folder / f"elastic-{scenario.name}", cuda=elastic.ENGINES[-1].cuda)
            script = Script(args, scenario, place, before)
            script()
            found.update(script.found)
    return {"elastic": found}


def sleep_of(args, folder):
    _, asleep, _ = sleep.slept(args.build, folder / "sleep", 4)
    return {"sleep": {"asleep": sleep.held(asleep), "native of it": asleep["native_bytes"], "moved out": asleep["evicted_bytes"]}}


def pool_of(args):
    options = pool.options().parse_args(["--build", str(args.build), "--capacity-mib", "1024"])
    text, counts = pool.requests(options.trace, options.prefill, options.decode_ms, 0), {}
    for name, _, refused, *_ in pool.lines_of(options, "fit", text):
        counts[f"{name}: refused"] = int(refused)
    for name, _, stalls, *_ in pool.lines_of(options, "predict", text):
        counts[f"looking ahead by {name}: had to map"] = int(stalls)
    return {"pool": counts}


def compare(rows, kind, before, now):
    good = True
    for name in sorted(set(before) | set(now)):
        old, new = before.get(name), now.get(name)
        row = {"bench": "baseline", "kind": kind, "name": name, "before": old, "now": new, "change": None, "verdict": "ok"}
        if old is None or new is None:
            row["verdict"] = "not committed" if old is None else "GONE"
        else:
            share, more = TOLERANCE[kind]
            row["change"] = round(100 * (new / old - 1), 2) if old else None
            if new > old * (1 + share) + more:
                row["verdict"] = "WORSE"
            elif new < old * (1 - share) - more:
                row["verdict"] = "better: commit it"
        good = good and row["verdict"] not in ("WORSE", "GONE")
        rows.add(row)
    return good


def charts(rows):
    bars = [(f"{r['kind']}: {r['name']}", [r["change"]]) for r in rows]
    return ("Counts, against those committed for this kind of machine", where(),
            [chart.Bars("Change", "% (above zero is worse)", ["change"], bars)])


def counted(args, folder, before):
    """{kind: counts} of what was asked for and can be counted here. Two at a time: none of it is a time."""
    jobs = [(("calls",), lambda: calls_of(args.build, folder)),
            (("elastic",), lambda: elastic_of(args, folder, before.get("elastic", {}))),
            (("sleep",), lambda: sleep_of(args, folder)),
            (("instructions",), lambda: instructions_of(args.build, folder)),
            (("instructions", "slopes"), lambda: scale_of(args.build, folder)),
            (("pool",), lambda: pool_of(args)), (("bytes",), bytes_of)]

    def tried(kinds, job):
        try:
            return {kind: counts for kind, counts in job().items() if not args.counts or kind in args.counts}
        except (Missing, Skip) as why:
            print(f"not compared: {' and '.join(kinds)}: {why}", file=sys.stderr)
            return {}

    found = {}
    chosen = [(kinds, job) for kinds, job in jobs if not args.counts or set(kinds) & set(args.counts)]
    for part in side_by_side([lambda kinds=kinds, job=job: tried(kinds, job) for kinds, job in chosen]):
        for kind, counts in part.items():
            found.setdefault(kind, {}).update(counts)
    return found


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="no difference")
    p.add_argument("--counts", choices=sorted(TOLERANCE), action="append", help="only these; may be given again")
    p.add_argument("--write", action="store_true", help="write the file of this kind of machine")
    p.add_argument("--patience", type=float, default=PATIENCE_S, help=argparse.SUPPRESS)
    args = p.parse_args()
    args.build = (ROOT / args.build).resolve()
    kind = machine_kind(args.build / "shim/libkvshim.so")
    path = ROOT / "docs/baselines" / f"{kind}.json"
    if not args.write and not path.exists():
        raise Skip(f"there is no docs/baselines/{kind}.json: scripts/bench baseline --write makes it")
    before = json.loads(path.read_text()) if path.exists() else {}
    rows, good = Rows(args, COLUMNS, charts), True
    with Folder(args.keep) as folder:
        found = counted(args, folder, {} if args.write else before)
    if args.write:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**before, **found}, indent=1, sort_keys=True) + "\n")
        print(f"written: docs/baselines/{kind}.json")
        return True
    for name in TOLERANCE:
        if name in found:
            good = compare(rows, name, before.get(name, {}), found[name]) and good
    rows.finish()
    return good


if __name__ == "__main__":
    main(run)
