# SPDX-License-Identifier: Apache-2.0
"""Three unmodified llama.cpp engines on one device whose KV caches alone are two to three times its size.

Each engine follows its part of a trace of requests (arrival times and lengths scaled to the run; an Azure LLM inference
trace as CSV with --trace or KVSHIM_BENCH_TRACE, a synthetic one otherwise) with several sequences at once, on the
software GPU, under kvshim with kernel rules and an idle time. Before that each runs alone and without kvshim: tokens
must be the same. Every byte that is read from a reservation is compared with an ideal memory as well.

  server rows    requests, failed_requests, content_mismatches, what was reserved and backed, evictions and their time
  latency rows   a first step after the engine was evicted, beside all others: milliseconds, percentiles
  event rows     waits for memory, evictions and restores with the distribution of how long each took, and spills with
                 that of how many pages went at once; from the counters, read ten times per second
  total row      device bytes at most and over time, against static partitioning (what is reserved) and against the
                 oracle (live rows, to the byte); sequences at once, and how many static partitioning holds in our peak

All this twice: "roomy", on 80 GiB, where what is reserved is more than the device and what is used is not; and "tight",
on a device so small that what the three use at once does not fit: there they take pages from each other, wait, spill.
"""
import json
import os
import subprocess
import threading
import time

from common import *
from enginelib import Front, Place, model, tail
sys.path.insert(0, str(ROOT / "scripts/benches/lib"))
from kvmodel import made_trace, read_trace  # noqa: E402

GIB = 1 << 30
SLICE = 4  # tokens that a sequence generates at a time


class Shape:
    """The geometry of each engine, and how much of the trace it follows."""

    def __init__(self, args, name):
        quick, self.name = args.quick, name
        self.device = 80 * GIB
        self.layers, self.seqs = 16, 4
        self.ctx = 1 << 20  # 64 GiB of cache: three of them are 2.4 devices
        self.row = self.layers * 2 * 2048  # bytes of a token
        self.n_requests = 4 if quick else 12
        self.seconds = args.seconds or (8 if quick else 40)
        self.longest = 300 if quick else 900  # prompt tokens
        self.settings = {"KVSHIM_OVERCOMMIT": "1T"}
        if name == "tight":
            self.device = args.tight_mib * MIB
            self.ctx = 1 << 14  # 1 GiB of cache: three of them are 2.4 devices or more
            self.n_requests, self.seconds = 4 if quick else 8, 3 if quick else 8
            # Nothing beyond the promise: what does not fit the device fits the host budget.
            self.settings = {"KVSHIM_HOST_BUDGET": "3G", "KVSHIM_SPARE": "8M"}


# Counters of how often, and of how much or how long all together; what the latter is divided by for the rows.
EVENTS = {"waits": ("waits", "wait_ns", 1e6), "evictions": ("evictions", "evict_ns", 1e6),
          "restores": ("restores", "restore_ns", 1e6), "spilled pages": (None, "pages_spilled", 1)}


class Plan:
    """What one engine does: steps of llama-front with their times, and which requests they belong to."""

    def __init__(self, requests, shape):
        self.steps = []  # (seconds, step, live sequences after it, live tokens after it, request that ends or None)
        self.n_requests = len(requests)
        waiting, active, now = list(requests), {}, 0.0
        while waiting or active:
            if not active and waiting and waiting[0][0] > now:
                now = waiting[0][0]
            while waiting and waiting[0][0] <= now and len(active) < shape.seqs:
                at, prompt, new = waiting.pop(0)
                slot = min(set(range(shape.seqs)) - set(active))
                active[slot] = [prompt, new]
                self.add(max(at, now), f"prompt={prompt}@{slot}", active)
            for slot in sorted(active):
                tokens, left = active[slot]
                n = min(SLICE, left)
                active[slot] = [tokens + n, left - n]
                self.add(now, f"generate={n}@{slot}", active)
                if left <= n:
                    del active[slot]
                    self.add(now, f"drop@{slot}", active, ends=True)
            now += 0.25

    def add(self, at, step, active, ends=False):
        self.steps.append((at, step, len(active), sum(t for t, _ in active.values()), ends))

    def words(self):
        return [step for _, step, _, _, _ in self.steps]


def plans(args, shape):
    trace = read_trace(args.trace) if args.trace else made_trace(3 * shape.n_requests)
    trace = trace[:3 * shape.n_requests]
    span = max(at for at, _, _ in trace) or 1
    longest = max(prompt for _, prompt, _ in trace)
    scaled = [(at / span * shape.seconds, max(8, prompt * shape.longest // longest), max(2, min(new, 40)))
              for at, prompt, new in trace]
    return [Plan(scaled[i::3], shape) for i in range(3)]


class Server:
    """One engine of the shared run, driven by a thread of its own."""

    def __init__(self, number, plan, place, settings, options, tokens):
        self.number, self.plan = number, plan
        self.place, self.tokens = place, tokens
        self.live_sequences = self.live_tokens = self.done = 0
        self.steps_ms = []  # (ms, first after an eviction)
        self.asleep = False  # by the last sample
        self.last = {}  # what kvshim-stat said last
        self.reserved = self.native = 0  # at most
        self.samples = []  # (seconds, device bytes)
        self.events = {name: [] for name in EVENTS}  # what each took
        self.code = None
        self.front = Front(place, "preload", settings, options, plan.words(), tokens)
        self.thread = threading.Thread(target=self.run)

    def run(self):
        """Step n runs when its time has come; a phase line says that it is over."""
        index, started, slept = -1, None, False
        for phase in self.front.phases():
            now = time.monotonic()
            if index >= 0 and index < len(self.plan.steps):
                _, _, self.live_sequences, self.live_tokens, ends = self.plan.steps[index]
                self.done += ends
                self.steps_ms.append(((now - started) * 1000, slept))
            if phase in ("started", "loaded"):
                continue
            index += 1
            if index < len(self.plan.steps):
                self.ready.wait()
                time.sleep(max(0.0, self.begin + self.plan.steps[index][0] - time.monotonic()))
                slept = self.asleep
                started = time.monotonic()
        self.code = self.front.end()

    def go(self, ready):
        self.ready, self.begin = ready, None
        self.thread.start()


def note_events(server, before, now):
    """What the counters say that has happened since the last sample."""
    for name, (count, amount, unit) in EVENTS.items():
        n = now[count] - before.get(count, 0) if count else now[amount] > before.get(amount, 0)
        if n:
            server.events[name] += [(now[amount] - before.get(amount, 0)) / unit / n] * n


class Sampler(threading.Thread):
    """Reads the segment until told to stop."""

    def __init__(self, build, segments, servers):
        super().__init__()
        self.build, self.segments, self.servers = build, segments, servers
        self.over = threading.Event()
        self.samples = []  # (seconds, device bytes, oracle bytes, sequences)

    def look(self):
        run = subprocess.run([self.build / "shim/stat/kvshim-stat", "--json", "--dir", self.segments],
                             stdout=subprocess.PIPE, text=True)
        if run.returncode:
            return {}
        return {p["pid"]: p for s in json.loads(run.stdout)["segments"] for p in s["processes"]}

    def run(self):
        begin = time.monotonic()
        while not self.over.is_set():
            seen, now = self.look(), time.monotonic() - begin
            total = 0
            for server in self.servers:
                p = seen.get(server.front.pid)
                if p and p.get("backed_bytes") is not None and p.get("reserved_bytes"):
                    note_events(server, server.last.get("counters") or {}, p["counters"])
                    server.last = p
                    server.reserved = max(server.reserved, p["reserved_bytes"])
                    server.native = max(server.native, p.get("native_bytes") or 0)
                    server.asleep = p.get("state") == "evicted" or (p["evicted_bytes"] or 0) > (p["backed_bytes"] or 0)
                held = sum((p or {}).get(k) or 0 for k in ("backed_bytes", "spare_bytes", "native_bytes"))
                server.samples.append((now, held))
                total += held
            native = sum(s.last.get("native_bytes") or 0 for s in self.servers)
            oracle = native + sum(s.live_tokens for s in self.servers) * self.row
            self.samples.append((now, total, oracle, sum(s.live_sequences for s in self.servers)))
            self.over.wait(0.1)


def time_mean(samples, column):
    area = sum((b[0] - a[0]) * a[column] for a, b in zip(samples, samples[1:]))
    return area / max(1e-9, samples[-1][0] - samples[0][0])


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def graphs(args):
    return {} if args.graphs else {"GGML_CUDA_DISABLE_GRAPHS": "1"}


def alone(args, folder, shape, number, plan, options):
    """The tokens of an engine without kvshim and without neighbours."""
    place = Place(args.build, folder / f"{shape.name}-alone-{number}")
    front = Front(place, None, {"SIMGPU_MEMORY": str(80 * GIB), **graphs(args)}, options, plan.words(), place.out / "tokens")
    for _ in front.phases():
        pass
    if front.end():
        raise Failure(f"engine {number} fails without kvshim\n" + tail(place.out / "engine.log"))
    return (place.out / "tokens").read_text().splitlines()


def shared(args, folder, shape, work, options):
    common = Place(args.build, folder / f"{shape.name}-shared")
    settings = {"KVSHIM_DIR": str(common.segments), "KVSHIM_RULES": "builtin", "KVSHIM_LOG": "warn",
                "KVSHIM_IDLE_MS": str(args.idle_ms), **shape.settings,
                "SIMGPU_SHARED": str(common.out / "device"), "SIMGPU_MEMORY": str(shape.device),
                **graphs(args)}
    servers, ready = [], threading.Event()
    for i, plan in enumerate(work):
        place = Place(args.build, folder / f"{shape.name}-server-{i}")
        servers.append(Server(i, plan, place, settings, options, place.out / "tokens"))
    for server in servers:
        server.go(ready)
    sampler = Sampler(common.build, common.segments, servers)
    sampler.row = shape.row
    sampler.start()
    begin = time.monotonic() + 1
    for server in servers:
        server.begin = begin
    ready.set()
    for server in servers:
        server.thread.join()
    sampler.over.set()
    sampler.join()
    return servers, sampler


def mismatches(server, wanted):
    got = server.tokens.read_text().splitlines() if server.tokens.exists() else []
    bad = sum(a != b for a, b in zip(got, wanted)) + abs(len(got) - len(wanted))
    reports = server.place.reports()
    for report in reports:
        bad += report["mismatches"] + report["faults"] + report["violations"]
    return bad if reports else bad + 1


def over_time(shape, servers, sampler, static):
    """A panel: memory over time per process."""
    lines = [(f"engine {server.number}", [(at, held / MIB) for at, held in server.samples]) for server in servers]
    lines += [("all together", [(s[0], s[1] / MIB) for s in sampler.samples]), ("live rows", [(s[0], s[2] / MIB) for s in sampler.samples])]
    tight = shape.name == "tight"
    return chart.Lines(f"{shape.name}: a device of {shape.device / GIB:.1f} GiB, {static / GIB:.1f} GiB are reserved", "seconds",
                       "MiB of the device", lines, mark=(shape.device / MIB, "the device") if tight else None)


def server_row(server, wanted, shape):
    c = server.last.get("counters") or {}
    return {"bench": "share", "row": "server", "device": shape.name, "name": f"engine {server.number}", "requests": server.plan.n_requests,
            "failed_requests": server.plan.n_requests - (server.done if server.code == 0 else min(server.done, server.plan.n_requests - 1)),
            "content_mismatches": mismatches(server, wanted), "reserved_bytes": server.reserved,
            "peak_bytes": max(held for _, held in server.samples), "mean_bytes": int(time_mean(server.samples, 1)),
            "evictions": c.get("evictions"), "moved_out_bytes": c.get("moved_out_bytes"), "moved_in_bytes": c.get("moved_in_bytes"),
            "pages_spilled": c.get("pages_spilled"), "waits": c.get("waits"), "wait_max_ms": (c.get("wait_max_ns") or 0) / 1e6,
            "evict_ms": (c.get("evict_ns") or 0) / 1e6 / max(1, c.get("evictions") or 0), "gate_max_ms": (c.get("quiesce_max_ns") or 0) / 1e6}


def latency_row(kind, name, values, shape):
    unit = "pages" if name == "spilled pages" else "ms"
    return {"bench": "share", "row": kind, "device": shape.name, "name": name, "unit": unit, "n": len(values), "p50": percentile(values, .5),
            "p90": percentile(values, .9), "p99": percentile(values, .99), "max": max(values, default=None)}


def total_row(servers, sampler, shape):
    static = sum(s.reserved + s.native for s in servers)
    peak, sequences = max(s[1] for s in sampler.samples), max(s[3] for s in sampler.samples)
    native = sum(s.native for s in servers)
    per_sequence = shape.ctx // shape.seqs * shape.row
    return {"bench": "share", "row": "total", "device": shape.name, "name": "all", "device_bytes": shape.device, "reserved_bytes": static,
            "over": static / shape.device, "peak_bytes": peak, "mean_bytes": int(time_mean(sampler.samples, 1)),
            "oracle_peak_bytes": max(s[2] for s in sampler.samples), "oracle_mean_bytes": int(time_mean(sampler.samples, 2)),
            "sequences": sequences, "static_sequences": max(0, peak - native) // per_sequence,
            "saved": 1 - time_mean(sampler.samples, 1) / static if static else 0}


def run_shape(args, folder, shape, work, path, rows, panels):
    """Adds the rows of one device and its panel. True if nothing failed and it is about what it should be about."""
    ok = True
    options = ["--model", path, "--ctx", str(shape.ctx), "--seqs", str(shape.seqs)]
    wanted = [alone(args, folder, shape, i, plan, options) for i, plan in enumerate(work)]
    servers, sampler = shared(args, folder, shape, work, options)
    for server in servers:
        row = server_row(server, wanted[server.number], shape)
        rows.add(row)
        if row["failed_requests"] or row["content_mismatches"]:
            ok = False
            print(tail(server.place.out / "engine.log") + tail(server.place.out / "simgpu.log"), file=sys.stderr)
    steps = [step for server in servers for step in server.steps_ms]
    rows.add(latency_row("latency", "after an eviction", [ms for ms, slept in steps if slept], shape))
    rows.add(latency_row("latency", "awake", [ms for ms, slept in steps if not slept], shape))
    events = {name: [value for server in servers for value in server.events[name]] for name in EVENTS}
    for name in EVENTS:
        rows.add(latency_row("event", name, events[name], shape))
    total = total_row(servers, sampler, shape)
    rows.add(total)
    panels.append(over_time(shape, servers, sampler, total["reserved_bytes"]))
    # What the figures are about: more is reserved than there is. (That never more is used than there is the software
    # GPU sees to; on the tight device our sum may be above it, since the processes are not read at one instant.)
    return ok and total["over"] >= 2 and (shape.name == "tight" or total["peak_bytes"] <= shape.device)


def bench():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="four requests per engine")
    p.add_argument("--trace", default=os.environ.get("KVSHIM_BENCH_TRACE"), help="CSV: TIMESTAMP, ContextTokens, GeneratedTokens")
    p.add_argument("--seconds", type=float, help="over which the arrivals are spread (40, quick 8)")
    p.add_argument("--idle-ms", type=int, default=400, help="idle time after which an engine is evicted (400)")
    p.add_argument("--graphs", action="store_true", help="let the engines make CUDA graphs")
    p.add_argument("--tight-mib", type=int, default=720, help="size of the small device (720)")
    p.add_argument("--only", choices=("roomy", "tight"), help="one of the two devices")
    args = p.parse_args()
    args.build = pathlib.Path(args.build).resolve()
    shapes = [Shape(args, name) for name in ("roomy", "tight") if args.only in (None, name)]
    try:
        work = [plans(args, shape) for shape in shapes]
    except (OSError, ValueError, KeyError) as why:
        raise Failure(f"{args.trace}: {why}: expected CSV with TIMESTAMP, ContextTokens, GeneratedTokens")
    panels = []
    rows = Rows(args, [("device", "device"), ("row", "row"), ("name", "name"), ("requests", "requests"), ("failed_requests", "failed"),
                            ("content_mismatches", "mismatches"), ("reserved_bytes", "reserved"), ("peak_bytes", "peak"),
                            ("mean_bytes", "mean"), ("oracle_peak_bytes", "oracle peak"), ("oracle_mean_bytes", "mean"),
                            ("evictions", "evictions"), ("moved_out_bytes", "out"), ("pages_spilled", "spilled"),
                            ("waits", "waits"), ("sequences", "sequences"), ("static_sequences", "static holds"),
                            ("n", "n"), ("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("max", "max")],
                lambda _: ("Device memory of three llama.cpp engines over time", where(), panels))
    with Folder(args.keep) as folder:
        path = model(args.build / "tests/engines/models", "--layers", str(shapes[0].layers))
        ok = all([run_shape(args, folder, shape, steps, path, rows, panels) for shape, steps in zip(shapes, work)])
        rows.finish()
    return ok


if __name__ == "__main__":
    main(bench)
