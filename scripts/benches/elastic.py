# SPDX-License-Identifier: Apache-2.0
"""How much of an unmodified llama.cpp's KV cache is backed, step by step, beside what its live rows need.

Releases of llama.cpp as npm carries them run on the software GPU with kernel rules on, through a script of requests.
After each step:

  live_tokens    in all sequences
  needed_bytes   pages that hold a live row, from the geometry of the cache alone
  backed_bytes   device memory behind the cache, as kvshim-stat tells
  static_bytes   what the engine holds at that moment without kvshim
  ratio          backed / needed
  limit_bytes    1.15 x the pages of the rows that the engine has not shown to be dead (1.35 where several streams are
                 decoded together), and a spare page per plane
  settled_ms     how long it took to be within the limit; a step that frees may take a second
  verdict        ok, MISS, or why the step promises nothing

An erase alone makes no driver call: only a decode after it, of the same stream, shows the lower extent; of a quantised cache only one of
a token or two, for longer ones attention reads a copy. Attention kernels of builds from
before July 2025 do not tell how long a plane is, so that there only a clear or a free gives pages back.
"""
import subprocess
import time

from common import *
from enginelib import Front, Place, model, tail

PAGE = 2 * MIB
LAYERS = 4
ROW_BYTES = {"f16": 2048, "q8_0": 1088}  # 1024 elements of K or V for a token in one layer


class Engine:
    """One build. extents: its kernels tell how far a plane is read and how long it is."""

    def __init__(self, version, cuda, extents=True):
        self.version, self.cuda, self.extents = version, cuda, extents
        self.name = f"{version}-cuda{cuda}"


ENGINES = [Engine("3.1.1", "12", extents=False), Engine("3.14.5", "13"), Engine("3.18.1", "13"),
           Engine("3.22.1", "12"), Engine("3.22.1", "13")]
# Not measured unless named: between April and August 2025 the copy kernels of a graph took their destinations from an
# array of pointers that was uploaded, so that with graphs on the cache is static.
MORE = [Engine("3.9.0", "12", extents=False)]


class Cache:
    """The geometry of one KV cache: K and V of each layer are tensors of `streams` planes, one behind the other."""

    def __init__(self, n_ctx, kind, streams):
        self.row, self.streams, self.cells = ROW_BYTES[kind], streams, n_ctx // streams
        self.planes = LAYERS * 2 * streams
        self.size = self.planes * self.cells * self.row

    def pages(self, rows):
        """Bytes of the pages that hold a row, when plane s of each tensor has its first rows[s] cells in use."""
        held = set()
        for plane in range(self.planes):
            n = rows[plane % self.streams]
            start = plane * self.cells * self.row
            if n:
                held.update(range(start // PAGE, (start + n * self.row - 1) // PAGE + 1))
        return len(held) * PAGE


class Context:
    """What llama.cpp keeps in a context: tokens per sequence, and the cells in use per stream."""

    def __init__(self, n_ctx, kind, seqs, unified):
        self.streams = 1 if unified else seqs
        self.shows = 1 << 30 if kind == "f16" else 2  # tokens of a decode in which attention shows how far it reads
        self.cache = Cache(n_ctx, kind, self.streams)
        self.tokens = [0] * seqs
        self.used = [0] * self.streams
        # The most cells that the driver's calls have shown and not taken back: by a clear, or (where kernels tell
        # extents) by a decode of that stream that reaches less far.
        self.shown = [0] * self.streams

    def add(self, seq, n, at_once, extents):
        stream = seq % self.streams
        self.tokens[seq] += n
        self.used[stream] += n
        if extents and at_once <= self.shows:
            self.shown[stream] = self.used[stream]
        else:
            self.shown[stream] = max(self.shown[stream], self.used[stream])

    def clear(self, data):
        self.tokens, self.used = [0] * len(self.tokens), [0] * self.streams
        if data:
            self.shown = [0] * self.streams

    def erase(self, seq, n):
        """The hole is filled by what comes next: the cells in use stay the lowest ones."""
        self.tokens[seq] -= n
        self.used[seq % self.streams] -= n

    def needed(self):
        return self.cache.pages(self.used)

    def promised(self):
        return self.cache.pages(self.shown)


class Scenario:
    """Options of llama-front and its steps. A step ends in '~' where pages are given back and may take a second, in '-'
    where the engine makes no driver call."""

    def __init__(self, name, steps, n_ctx=65536, seqs=1, unified=False, kind="f16", graphs=True, needs_extents=False):
        self.name, self.n_ctx, self.seqs, self.unified, self.kind = name, n_ctx, seqs, unified, kind
        self.graphs, self.steps = graphs, steps
        self.more = (["--unified"] if unified else [])

    def options(self):
        return ["--ctx", str(self.n_ctx), "--seqs", str(self.seqs), "--cache", self.kind, *self.more]


REQUESTS = ["prompt=100", "generate=8", "prompt=3000", "generate=40", "forget-", "prompt=30~", "generate=4",
            "prompt=2500", "clear~", "prompt=100", "generate=4", "erase=10:40-", "prompt=5~", "generate=3"]
QUANTISED = ["prompt=100", "generate=8", "prompt=3000", "generate=40", "forget-", "prompt=30", "generate=4~",
             "prompt=2500", "clear~", "prompt=100", "generate=4", "erase=10:40-", "prompt=5", "generate=3~"]
SLOTS = ["prompt=1500@0", "prompt=300@1", "prompt=700@2", "prompt=2600@3", "together=20", "forget-",
         "prompt=40@0~", "prompt=50@1~", "prompt=60@2~", "prompt=30@3~", "together=4~", "prompt=1500@1", "clear~",
         "prompt=50@2", "generate=3@2"]
UNIFIED = ["prompt=1500@0", "prompt=300@1", "prompt=700@2", "prompt=2600@3", "together=20", "forget-",
           "prompt=40@0~", "clear~", "prompt=50@2", "generate=3@2"]
SECOND = ["prompt=600", "generate=4", "context=32768", "prompt=2500", "generate=4", "use=0", "prompt=900", "generate=4",
          "close=1~", "generate=4", "clear~"]
SCENARIOS = [
    Scenario("requests", REQUESTS),
    Scenario("requests, no graphs", REQUESTS, graphs=False),
    Scenario("slots", SLOTS, seqs=4),
    Scenario("slots, no graphs", SLOTS, seqs=4, graphs=False),
    Scenario("slots, unified", UNIFIED, seqs=4, unified=True),
    Scenario("two contexts", SECOND),
    Scenario("requests, q8_0", QUANTISED, n_ctx=131072, kind="q8_0"),
]


class Run:
    """One scenario on one engine."""

    settings = {}  # of the shim, beside what each run has

    def __init__(self, args, engine, scenario, place, rows):
        self.args, self.engine, self.scenario, self.place, self.rows = args, engine, scenario, place, rows
        self.contexts, self.current, self.ok = [], 0, True
        self.several = False  # streams have been decoded together since the last clear

    def follow(self, step):
        """The contexts after a step, by what llama.cpp documents of it."""
        verb, _, rest = step.partition("=")
        count, _, seq = rest.partition("@")
        s, seq = self.scenario, int(seq or 0)
        if verb == "context":
            n_ctx = int(count) if count else s.n_ctx
            self.contexts.append(Context(n_ctx, s.kind, s.seqs, s.unified or self.engine.version == "3.1.1"))
            self.current = len(self.contexts) - 1
        elif verb == "use":
            self.current = int(count)
        elif verb == "close":
            self.contexts[int(count)], self.current = None, 0
        elif verb in ("freed", "disposed"):
            self.contexts = []
        context = self.contexts[self.current] if self.contexts else None
        if verb in ("prompt", "generate"):
            context.add(seq, int(count), 1 if verb == "generate" else int(count), self.engine.extents)
        elif verb == "together":
            for each in range(s.seqs):
                context.add(each, int(count), 1, self.engine.extents)
            self.several = s.seqs > 1
        elif verb in ("clear", "forget"):
            context.clear(data=verb == "clear")
            self.several = self.several and verb == "forget"
        elif verb == "erase":
            start, end = map(int, count.split(":"))
            context.erase(seq, end - start)

    def backed(self, pid):
        """Bytes backed of all caches, and whether one of them is static."""
        sizes = [c.cache.size for c in self.contexts if c]
        slot = self.place.stat(pid)
        backed, static = 0, False
        for r in (slot or {}).get("reservations") or []:
            match = [size for size in sizes if size <= r["requested_bytes"] < size + MIB]
            if match:
                sizes.remove(match[0])
                backed += r["backed_bytes"]
                static = static or bool(r["static"])
        if sizes:
            raise Failure(f"kvshim-stat shows no reservation of {sizes} bytes: {slot}")
        return backed, static

    def settle(self, pid, limit, patience):
        """Reads until the backed bytes are within the limit or patience (seconds) is at its end."""
        start = time.monotonic()
        while True:
            backed, static = self.backed(pid)
            waited = time.monotonic() - start
            if backed <= limit or waited >= patience:
                return backed, static, round(waited * 1000)
            time.sleep(0.02)

    def measure(self, step, kind, pid):
        needed = sum(c.needed() for c in self.contexts if c)
        spare = sum(c.cache.planes for c in self.contexts if c) * PAGE
        several = self.several and any(c and c.streams > 1 for c in self.contexts)
        promised = sum(c.promised() for c in self.contexts if c)
        limit = int(promised * (1.35 if several else 1.15)) + spare
        backed, static, ms = self.settle(pid, limit, self.args.patience if kind == "~" else 0)
        verdict = "ok" if backed <= limit else "MISS"
        if kind == "-":
            verdict = "no driver call"
        elif static and verdict == "MISS":
            verdict = "MISS, static"
        self.ok = self.ok and not verdict.startswith("MISS")
        self.rows.add({
            "engine": self.engine.name, "scenario": self.scenario.name, "step": step,
            "live_tokens": sum(sum(c.tokens) for c in self.contexts if c), "needed_bytes": needed,
            "backed_bytes": backed, "static_bytes": sum(c.cache.size for c in self.contexts if c),
            "ratio": backed / needed if needed else None, "limit_bytes": limit, "settled_ms": ms, "verdict": verdict})

    def __call__(self):
        s = self.scenario
        kinds = {}
        steps = []
        for i, step in enumerate(s.steps):
            kinds[i] = step[-1] if step[-1] in "~-" else ""
            steps.append(step.rstrip("~-"))
        settings = {"KVSHIM_RULES": "builtin", "KVSHIM_LOG": "info", **self.settings}
        if not s.graphs:
            settings["GGML_CUDA_DISABLE_GRAPHS"] = "1"
        path = model(self.place.build / "tests/engines/models", "--layers", str(LAYERS))
        front = Front(self.place, "preload", settings, ["--model", path, *s.options()], steps, self.place.out / "tokens",
                      strict=False)
        done = -1
        for phase in front.phases():
            if phase in ("started", "loaded"):
                continue
            if phase != "context" and phase not in ("freed", "disposed"):
                done += 1
            self.follow(phase)
            if phase != "disposed":
                self.measure(phase, "~" if phase == "freed" else kinds.get(done, "") if done >= 0 else "", front.pid)
        code = front.end()
        if code:
            raise Failure(f"{self.engine.name}, {s.name}: the engine ended with {code}\n" + tail(self.place.out / "engine.log"))
        self.check_report()
        return self.ok

    def check_report(self):
        """Pages may only be missing where nobody looks."""
        for report in self.place.reports():
            bad = {k: report[k] for k in ("violations", "faults", "mismatches", "leaks") if report[k]}
            if bad:
                raise Failure(f"{self.engine.name}, {self.scenario.name}: {bad}\n" + tail(self.place.out / "simgpu.log"))


def fetch(engine):
    """The libraries of a release, from the cache or the registry."""
    what = "llama" if engine.version == "3.22.1" else engine.version
    run = subprocess.run([ROOT / "tests/engines/fetch", what], stdout=subprocess.PIPE, text=True)
    if run.returncode == 77:
        raise Skip(run.stdout.strip().removeprefix("SKIP: "))
    if run.returncode:
        raise Failure(f"{engine.name} cannot be had: {run.stdout}")
    return [what]


def charts(rows):
    """A panel for each scenario of the newest engine that ran."""
    newest, panels = rows[-1]["engine"] if rows else "none", []
    mine = [r for r in rows if r["engine"] == newest]
    for scenario in dict.fromkeys(r["scenario"] for r in mine):
        steps = list(enumerate([r for r in mine if r["scenario"] == scenario], 1))
        lines = [(name, [(i, r[key] / MIB) for i, r in steps]) for key, name in
                 (("backed_bytes", "backed"), ("needed_bytes", "pages that hold a live row"), ("limit_bytes", "what is promised at most"))]
        static = max(r["static_bytes"] for _, r in steps) / MIB
        panels.append(chart.Lines(f"{scenario}: without kvshim {static:.0f} MiB at every step", "step of the scenario", "MiB", lines,
                                  steps=True,
                                  dashed=("pages that hold a live row",), height=150))
    return f"Memory behind the KV cache of llama.cpp ({newest}), step by step", where(), panels


def bench():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="the newest build only, and the first four scenarios")
    p.add_argument("--engine", action="append", metavar="NAME", help="only these: " + ", ".join(e.name for e in ENGINES + MORE))
    p.add_argument("--scenario", action="append", metavar="NAME", help="only these: " + "; ".join(s.name for s in SCENARIOS))
    p.add_argument("--patience", type=float, default=1, metavar="S", help="seconds for a step that frees (1)")
    args = p.parse_args()
    engines = [e for e in ENGINES + MORE if e.name in args.engine] if args.engine else ENGINES[-1:] if args.quick else ENGINES
    scenarios = [s for s in SCENARIOS if s.name in args.scenario] if args.scenario else SCENARIOS[:4 if args.quick else None]
    if not engines or not scenarios:
        p.error("no such engine or scenario")
    rows = Rows(args, [("engine", "engine"), ("scenario", "scenario"), ("step", "step"), ("live_tokens", "live"),
                            ("needed_bytes", "needed"), ("backed_bytes", "backed"), ("static_bytes", "static"),
                            ("ratio", "ratio"), ("limit_bytes", "limit"), ("settled_ms", "ms"), ("verdict", "verdict")], charts)
    ok = True
    with Folder(args.keep) as folder:
        try:
            for engine in engines:
                need = fetch(engine)
                for i, scenario in enumerate(scenarios):
                    place = Place(args.build, folder / f"{engine.name}-{i}", cuda=engine.cuda, need=need)
                    ok = Run(args, engine, scenario, place, rows)() and ok
        finally:
            rows.finish()
    if not args.json:
        misses = sum(r["verdict"].startswith("MISS") for r in rows.rows)
        print(f"\n{len(rows.rows)} rows in MiB, {misses} miss")
    return ok


if __name__ == "__main__":
    main(bench)
