# SPDX-License-Identifier: Apache-2.0
"""What a launch, a replayed graph and a page boundary cost: instructions of each launch, driver calls, locks.

Instructions and locks are those of libkvshim.so alone, counted by callgrind for each launch apart: the median and the worst
of many in a row (every 64th is timed, which reads the clock twice). Driver calls are counted by name by the software GPU,
in runs of different length with the shim and without it, of which the rest is the difference of differences.

  launch     one launch, or one launch of a graph, at steady state
  series     graphs that record more and more launches of one index array, of several arrays, of several row lengths
  calls      driver calls with the shim minus without it, for launches that need nothing
  decode     the same for tokens of the unmodified llama.cpp within a page, and where all planes cross into a new one

A row misses when a launch with nothing to do costs more than 150 instructions in the median, a replayed graph takes a lock or
costs more than 8 instructions for each recorded launch, a launch or token that needs nothing makes a driver call more
than without the shim, or the pages of a boundary are not one for each tensor, backed by at most 4 calls each and a few for all.
The engine captures its graph anew after each 256 rows, so also there, and the shim reads it anew: these calls are shown apart.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

from common import ROOT, Failure, Folder, Rows, Skip, chart, main, parser, where
from callgrind import Missing  # noqa: E402
from marks import launches  # noqa: E402

BUDGET = 153  # 150, and what the agent does meanwhile on a slow machine
PER_RECORDED = 8
# name, kernel rules, arguments of micro_cost, may it take a lock
LAUNCHES = [
    ("a launch, no reservation", False, ["0"], False),
    ("a launch that names none of ten reservations", True, ["10"], False),
    ("a launch that names eight static ones", True, ["10", "hit"], False),
    ("a recognised launch that stays in its page", True, ["0", "row"], True),
    ("a graph of 5 nodes, one a row of a cache", True, ["0", "graph", "1"], False),
    ("a graph of 320 nodes, 64 rows of a cache", True, ["0", "graph", "64"], False),
]
# what grows, arguments of micro_cost for n
# what backing pages takes; handles are released at the end of the run
BACKING = {"cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuMemsetD8Async", "cuStreamSynchronize"}
# around a batch of such calls: whose turn it is; of a graph that is read there are more of them
AROUND = {"cuCtxGetCurrent", "cuThreadExchangeStreamCaptureMode"}
RELEASED = {"cuMemRelease"}
PROMPT = 1000  # tokens; a page has 1024 rows of a tensor
SERIES = [
    ("recorded launches of one array", lambda n: [str(n)], [1, 2, 4, 8, 16, 32, 64]),
    ("distinct index arrays", lambda n: ["64", str(n)], [1, 2, 4, 8, 16]),
    ("distinct row lengths of one array", lambda n: ["64", "1", str(n)], [1, 2, 4, 8, 16]),
]
COLUMNS = [("kind", "kind"), ("what", "what"), ("n", "n"), ("median", "median"), ("worst", "worst"), ("locks", "locks"),
           ("each", "each"), ("plain_calls", "plain"), ("more_calls", "backing"), ("reading_calls", "reading"), ("pages", "pages"),
           ("named", "calls with the shim minus without it")]


class Micro:
    """Runs micro_cost over the software GPU."""

    def __init__(self, build, folder):
        self.build, self.folder = build, folder

    def environment(self, shim, rules):
        env = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
        env.update(LD_LIBRARY_PATH=str(self.build / "tests/simgpu/lib"), SIMGPU_MEMORY="4G", KVSHIM_DIR=str(self.folder),
                   KVSHIM_MIN_SIZE="4M", KVSHIM_LOG="error",
                   KVSHIM_RULES=str(ROOT / "tests/micro/micro.rules") if rules else "off")
        if shim:
            env["LD_PRELOAD"] = str(self.build / "shim/libkvshim.so")
        return env

    def each(self, n, rules, *args):
        return launches([self.build / "tests/micro/micro_cost", n, *args, "each"], self.environment(True, rules))

    def calls(self, shim, n, *args):
        report = self.folder / "calls.json"
        report.unlink(missing_ok=True)
        subprocess.run([self.build / "tests/micro/micro_cost", str(n), *args, "each"], check=True, stdout=subprocess.DEVNULL,
                       env={**self.environment(shim, True), "SIMGPU_REPORT": str(report)})
        return json.loads(report.read_text().splitlines()[-1])["calls"]


def minus(a, b):
    return {k: a.get(k, 0) - b.get(k, 0) for k in sorted({*a, *b}) if a.get(k, 0) != b.get(k, 0)}


def row(kind, what, ok, **more):
    return {"bench": "launches", "kind": kind, "what": what, **more, "ok": ok}


def launch_rows(micro, n):
    for what, rules, args, may_lock in LAUNCHES:
        each = micro.each(n, rules, *args)
        median, locks = statistics.median(i for i, _ in each), max(k for _, k in each)
        plain = args[-1] in ("0", "10", "hit")
        yield row("launch", what, len(each) == n and (median <= BUDGET or not plain) and (may_lock or not locks),
                  n=n, median=median, worst=max(i for i, _ in each), locks=locks)


def series_rows(micro, n, quick):
    for what, args, counts in SERIES[:2] if quick else SERIES:
        medians = {}
        for count in counts[::len(counts) - 1] if quick else counts:
            each = micro.each(n, True, "0", "graph", *args(count))
            medians[count] = statistics.median(i for i, _ in each)
            yield row("series", f"{count} {what}", not any(k for _, k in each), series=what, count=count, n=n, median=medians[count],
                      worst=max(i for i, _ in each), locks=max(k for _, k in each))
        slope = (medians[counts[-1]] - medians[counts[0]]) / (counts[-1] - counts[0])
        recorded = what.startswith("recorded")
        yield row("series", f"for each of {what}", slope <= PER_RECORDED if recorded else True, each=round(slope, 1))


def call_rows(micro):
    for what, args in (("launches that name none of ten reservations", ["10"]), ("launches that name eight static ones", ["10", "hit"]),
                       ("recognised launches that stay in their page", ["0", "row"]),
                       ("launches of a graph of 320 nodes, 64 rows of a cache", ["0", "graph", "64"])):
        plain, shim = (minus(micro.calls(how, 300, *args), micro.calls(how, 100, *args)) for how in (False, True))
        more = minus(shim, plain)
        yield row("calls", f"200 {what}", not more, plain_calls=sum(plain.values()), more_calls=sum(more.values()), named=text(more))


def text(calls):
    return ", ".join(f"{k} {v:+d}" for k, v in calls.items()) or None


def engine_calls(build, folder, how, graphs, tokens):
    """Driver calls by name of a run of the unmodified engine that generates so many tokens."""
    from enginelib import Front, Place, model, tail
    place = Place(build, folder / f"engine-{how}-{graphs}-{tokens}")
    # what happens after a while does not belong to any token
    settings = {"KVSHIM_MIN_SIZE": "16M", "KVSHIM_LOG": "error", "KVSHIM_LINGER_MS": "none", "KVSHIM_AHEAD": "off", "SIMGPU_MIRROR": "0"}
    if not graphs:
        settings["GGML_CUDA_DISABLE_GRAPHS"] = "1"
    front = Front(place, None if how == "plain" else "preload", settings,
                  ["--model", model(folder / "models"), "--ctx", "8192"],
                  [f"prompt={PROMPT}", f"generate={tokens}"], place.out / "tokens", strict=False)
    for _ in front.phases():
        pass
    if front.end():
        raise Failure("the engine failed\n" + tail(place.out / "engine.log"))
    return place.reports()[-1]["calls"]


def engine_rows(build, folder, graph_modes):
    """Runs of 10, 20 and 50 tokens: between the first two nothing happens, between the last two the boundary is crossed."""
    for graphs in graph_modes:
        few, some, many = ({how: engine_calls(build, folder, how, graphs, n) for how in ("plain", "shim")} for n in (10, 20, 50))
        said = f"CUDA graphs {'on' if graphs else 'off'}"
        plain = minus(some["plain"], few["plain"])
        more = minus(minus(some["shim"], few["shim"]), plain)
        yield row("decode", f"ten tokens within a page, {said}", not more, plain_calls=sum(plain.values()),
                  more_calls=sum(more.values()), named=text(more))
        plain = minus(many["plain"], some["plain"])
        more = minus(minus(many["shim"], some["shim"]), plain)
        names = BACKING if graphs else BACKING | AROUND
        backing = {k: v for k, v in more.items() if k in names}
        reading = {k: v for k, v in more.items() if k not in names | RELEASED}
        pages, total = more.get("cuMemCreate", 0), sum(backing.values())
        yield row("decode", f"a page boundary crossed by eight tensors, {said}",
                  pages == 8 and total <= 4 * pages + (1 if graphs else 4) and (graphs or not reading), plain_calls=sum(plain.values()), more_calls=total,
                  reading_calls=sum(reading.values()), pages=pages, each=round(total / pages, 2) if pages else None,
                  named=text(backing), reading=reading)


def charts(rows):
    def bars(kind, *keys):
        return [(r["what"], [r.get(key) for key in keys]) for r in rows if r["kind"] == kind and r.get(keys[0]) is not None]
    panels = [chart.Bars("A launch at steady state", "instructions in libkvshim.so", ["median", "worst"], bars("launch", "median", "worst"),
                         log=True, mark=(150, "150: a launch with nothing to do")),
              chart.Bars("A graph that records more and more", "instructions in libkvshim.so, median", ["median"], bars("series", "median")),
              chart.Bars("Driver calls", "calls", ["without the shim", "more with it"],
                         bars("calls", "plain_calls", "more_calls") + bars("decode", "plain_calls", "more_calls"))]
    return "What a launch, a replayed graph and a page boundary cost", where(), panels


def charts(rows):
    single = [r for r in rows if r["kind"] == "launch"]
    calls = [r for r in rows if r["kind"] in ("calls", "decode")]
    lines = {}
    for r in rows:
        if r.get("series"):
            lines.setdefault(r["series"], []).append((r["count"], r["median"]))
    panels = [chart.Bars("Instructions of libkvshim.so in a launch", "instructions", ["median", "worst"],
                         [(r["what"], [r["median"], r["worst"]]) for r in single], log=True),
              chart.Lines("A graph that is launched again", "how many there are in the graph", "instructions (median)",
                          list(lines.items()), log_x=True)]
    if calls:
        panels.append(chart.Bars("Driver calls more than without the shim", "calls", ["to back pages"],
                                 [(r["what"], [r["more_calls"]]) for r in calls]))
    return "What launches, replayed graphs and page boundaries cost", where(), panels


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="fewer launches, shorter series, one way to run the engine")
    p.add_argument("--no-engine", action="store_true", help="micro programs only")
    args = p.parse_args()
    build = (ROOT / args.build).resolve() if not pathlib.Path(args.build).is_absolute() else pathlib.Path(args.build)
    rows, n, good = Rows(args, COLUMNS, charts), 70 if args.quick else 600, True

    def add(some):
        nonlocal good
        for each in some:
            rows.add(each)
            good = good and each["ok"]
            if not each["ok"]:
                print(f"MISS: {each['what']}: {each}", file=sys.stderr)

    with Folder(args.keep) as folder:
        micro = Micro(build, folder)
        try:
            add(launch_rows(micro, n))
            add(series_rows(micro, 12 if args.quick else 40, args.quick))
        except Missing as why:
            raise Skip(str(why)) from None
        add(call_rows(micro))
        try:
            if not args.no_engine:
                add(engine_rows(build, folder, (True,) if args.quick else (True, False)))
        except Skip as why:
            if good:
                raise
            print(f"the engine is left out: {why}", file=sys.stderr)
    rows.finish()
    return good


if __name__ == "__main__":
    main(run)
