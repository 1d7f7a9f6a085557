# SPDX-License-Identifier: Apache-2.0
"""Time to first token when three models share a GPU under ramps: static partitions against a shared pool.

The workload is the one that the peer publishes (three Llama-3.1-8B on one A100-80G; arrivals ramp from 0 to PEAK and back,
one request per second faster each second; 256 tokens in, 256 out; model i+1 starts PEAK/4 + 2 PEAK seconds after model i).
Each engine batches continuously: an iteration admits what its cache has room for, reads prompts, and makes one token for
everybody. The three speeds are fitted so that the peaks without a queue come near the peer's published 94 to 111 ms, the cost
of growing is from published times per driver call; --step-ms, --prefill-per-s, --create-us and so on replace them by
measured ones. Twice:

  run on      simulated: arithmetic. Engines that are busy at the same time share the GPU evenly. The rows say how much of the
              effect that the peer measured the sharing alone explains, and what growing adds.
  run on      software GPU: small servers, real processes, over the real shim; kernels and driver calls take the times that
              are set. A smaller device and lower peaks, --speed times as fast. Static partitions and the shared pool run
              at the same time, each on a device of its own. Admission: from a request's arrival until it has a slot. Growth:
              what an iteration waits for memory. Wake: time to first token of a model that was idle and moved out.

A row misses if a request is lost, or the shared pool is slower than static partitions at a peak where these do not queue (by
more than 5 % simulated, 25 % run), or does not win where they do.
"""
import heapq
import json
import math

from common import ROOT, Folder, Rows, chart, main, parser, where
import serving

GIB = 1 << 30
TOKEN = 131072  # bytes of KV per token of Llama-3.1-8B, f16
PLANES, PAGE = 64, 2 << 20
CHUNK = PAGE // 2048 * 1  # tokens until every tensor needs its next page
MODELS = 3
# What the peer measured: peak -> (mean static ms / mean shared ms). Its repository, plots of 2025-10-01.
PEER = {12: 1.0, 13: 0.9, 14: 0.9, 15: 2.5, 16: 6.2, 17: 7.6, 18: 4.6, 19: 2.6, 20: 2.0}
# Where the defaults come from. Nothing of this was measured here.
SOURCES = {
    "step-ms, step-ms-each, prefill-per-s": "fitted, so that peaks without a queue come near the 94 to 111 ms (mean) that kvcached publishes for "
                                            "three Llama-3.1-8B on an A100-80G (benchmarks/bench_latency_benefit, plots of 2025-10-01)",
    "create-us, map-us": "kvcached, pull request 331: driver times on an H100 by CUPTI: 2 MiB handles: cuMemCreate 28.5 us, cuMemMap 3.3 us",
    "access-us": "the same: cuMemSetAccess 59.9 us for 2 MiB, 80 us for 112 MiB: one call for a run of pages",
    "unmap-us, release-us": "the same: cuMemUnmap 41.6 us, cuMemRelease 23.4 us",
    "copy-gb-s": "assumed: pinned copies over PCIe 4.0 x16",
    "fill-gb-s": "assumed: two thirds of the memory bandwidth of an A100-80G (NVIDIA's data sheet: 1935 to 2039 GB/s)",
}
COLUMNS = [("on", "run on"), ("peak", "peak rps"), ("memory", "memory"), ("mean_ms", "TTFT mean ms"), ("p50_ms", "p50"), ("p99_ms", "p99"),
           ("max_ms", "max"), ("waited", "waited for memory"), ("admission_p99_ms", "admission p99"), ("stall_us_max", "longest growth us"),
           ("growth_p50_ms", "p50 ms"), ("growth_p99_ms", "p99 ms"), ("token_ms", "token ms"), ("wake_ms", "wake ms"), ("ratio", "static/shared"),
           ("peer_ratio", "peer's")]


def arrivals(peak, first):
    """A ramp up to `peak` requests a second and down again, spread evenly inside each second."""
    times = []
    for second, rate in enumerate(list(range(1, peak + 1)) + list(range(peak - 1, 0, -1))):
        times += [first + second + i / rate for i in range(rate)]
    return times


class Pool:
    """Memory in tokens of cache, shared or one part each. Grown chunk by chunk; freed when the engine's tokens go."""

    def __init__(self, total, shared):
        self.shared, self.total = shared, total
        self.held = [0] * MODELS

    def may_hold(self, engine, tokens):
        chunks = math.ceil(tokens / CHUNK) * CHUNK if self.shared else tokens
        if self.shared:
            others = sum(self.held) - self.held[engine]
            return others + chunks <= self.total
        return chunks <= self.total // MODELS

    def hold(self, engine, tokens):
        """New chunks."""
        before = self.held[engine]
        self.held[engine] = math.ceil(tokens / CHUNK) * CHUNK if self.shared else tokens
        return max(0, self.held[engine] - before) // CHUNK if self.shared else 0


class Engine:
    def __init__(self, number, requests):
        self.number, self.queue, self.batch, self.free_at = number, list(requests), [], 0.0
        self.waiting = []

    def tokens(self):
        return sum(request[1] for request in self.batch)


def simulate(peak, shared, total, o):
    """[(time to first token)], longest growth stall in s, number of requests that waited for memory."""
    delay = peak / 4 + 2 * peak
    engines = [Engine(i, arrivals(peak, i * delay)) for i in range(MODELS)]
    pool, first, stall_max, blocked = Pool(total, shared), [], 0.0, set()
    heap = [(engine.queue[0], engine.number) for engine in engines]
    heapq.heapify(heap)
    while heap:
        now, number = heapq.heappop(heap)
        engine = engines[number]
        while engine.queue and engine.queue[0] <= now:
            engine.waiting.append(engine.queue.pop(0))
        prompts = 0
        started = []
        # An engine admits a request when prompt and answer will fit, as schedulers with a reservation do.
        promised = sum(512 for _ in engine.batch)
        while engine.waiting and len(engine.batch) + len(started) < o.max_batch and prompts + 256 <= o.prefill_batch:
            if not pool.may_hold(number, promised + 512):
                blocked.add((number, engine.waiting[0]))
                break
            arrived = engine.waiting.pop(0)
            started.append([arrived, 256, 256])
            promised += 512
            prompts += 256
        engine.batch += started
        if not engine.batch:
            pool.hold(number, 0)
            if engine.queue:
                heapq.heappush(heap, (max(engine.queue[0], now), number))
            elif engine.waiting:
                heapq.heappush(heap, (now + 0.005, number))
            continue
        need = engine.tokens() + len(engine.batch)
        chunks = pool.hold(number, need)
        # All tensors cross together: one run of calls for the chunk; the agent has it ready unless it grows too fast.
        stall = chunks * (PLANES * (o.create_us + o.map_us) + o.access_us + PLANES * PAGE / (o.fill_gb_s * 1e3)) / 1e6
        stall *= 0.0 if shared and chunks <= o.ahead else 1.0
        stall_max = max(stall_max, stall)
        busy = sum(1 for e in engines if e.batch)
        took = (prompts / o.prefill_per_s + o.step_ms / 1e3 + len(engine.batch) * o.step_ms_each / 1e3) * busy + stall
        now += took
        for request in started:
            first.append(now - request[0])
        for request in engine.batch:
            request[1] += 1
            request[2] -= 1
        engine.batch = [r for r in engine.batch if r[2] > 0]
        heapq.heappush(heap, (now, number))
    return first, stall_max, len(blocked)


def row_of(peak, memory, got):
    first, stall, blocked = got
    first = sorted(first)
    return {"bench": "latency", "simulated": True, "on": "simulated", "peak": peak, "memory": memory, "requests": len(first),
            "mean_ms": sum(first) / len(first) * 1e3, "p50_ms": first[len(first) // 2] * 1e3,
            "p99_ms": first[len(first) * 99 // 100] * 1e3, "max_ms": first[-1] * 1e3, "stall_us_max": stall * 1e6,
            "waited": blocked, "ratio": None, "peer_ratio": PEER.get(peak), "ok": True}


def charts(rows):
    def line(memory, key):
        return [(r["peak"], r[key]) for r in rows if r["memory"] == memory and r["simulated"]]

    def bars(*keys):
        return [(f"{r['memory']}, peak {r['peak']}", [r[key] or 0 for key in keys]) for r in rows if not r["simulated"]]
    times = [(f"{memory}, {name}", line(memory, key)) for memory in ("static", "shared") for name, key in (("mean", "mean_ms"), ("p99", "p99_ms"))]
    return ("Time to first token of three models on one GPU under ramps: static partitions against a shared pool",
            "Simulated, and run by small servers with set times. Speeds are fitted to the peer's published figures. " + where(),
            [chart.Lines("Simulated: time to first token", "requests per second at the peak", "ms", times, log_y=True),
             chart.Lines("Simulated: mean of static partitions / mean of the shared pool", "requests per second at the peak", "times",
                         [("simulated here", line("shared", "ratio")), ("published by the peer", line("shared", "peer_ratio"))],
                         mark=(1, "the same")),
             chart.Bars("Run on the software GPU, time as set: time to first token", "ms", ["mean", "p50", "p99", "most"],
                        bars("mean_ms", "p50_ms", "p99_ms", "max_ms"), log=True),
             chart.Bars("Of that: from arrival to a slot, waiting for memory to grow, first token after idleness", "ms",
                        ["admission p99", "growth p99", "growth, most", "wake"],
                        bars("admission_p99_ms", "growth_p99_ms", "growth_max_ms", "wake_ms"), log=True)])


def run_on_software_gpu(args, folder, peak):
    delay = peak / 4 + 2 * peak
    static, shared = serving.measured((ROOT / args.build).resolve(), folder, peak, [arrivals(peak, i * delay) for i in range(MODELS)], args)
    shared["ok"] = shared["ok"] and (shared["ratio"] > 1 if static["waited"] else shared["ratio"] >= 0.8)
    return [{**row, "on": "software GPU"} for row in (static, shared)]


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="three peaks simulated, one run")
    p.add_argument("--no-run", action="store_true", help="only simulated")
    p.add_argument("--memory-gib", type=float, default=78, help="of the device, for weights and caches")
    p.add_argument("--weights-gib", type=float, default=16.5, help="of one model, with its buffers")
    p.add_argument("--step-ms", type=float, default=19, help="a decode step of one engine alone")
    p.add_argument("--step-ms-each", type=float, default=0.09, help="and for each sequence in it")
    p.add_argument("--prefill-per-s", type=float, default=6000, help="tokens of prompt")
    p.add_argument("--prefill-batch", type=int, default=2048)
    p.add_argument("--max-batch", type=int, default=256)
    p.add_argument("--create-us", type=float, default=28.5)
    p.add_argument("--map-us", type=float, default=3.3)
    p.add_argument("--access-us", type=float, default=80)
    p.add_argument("--fill-gb-s", type=float, default=1200)
    p.add_argument("--unmap-us", type=float, default=41.6)
    p.add_argument("--release-us", type=float, default=23.4)
    p.add_argument("--copy-gb-s", type=float, default=25, help="between device and host")
    p.add_argument("--slots", type=int, default=96, help="requests that the device of the run has memory for")
    p.add_argument("--speed", type=float, default=4, help="how much faster than life the run goes (4)")
    p.add_argument("--idle-ms", type=float, default=2000, help="until an idle model of the run is moved out")
    p.add_argument("--ahead", type=int, default=1, help="chunks that the agent has ready before they are needed")
    args = p.parse_args()
    rows, good = Rows(args, COLUMNS, charts), True
    total = int((args.memory_gib - MODELS * args.weights_gib) * GIB // TOKEN)
    for peak in (12, 16, 20) if args.quick else range(12, 21):
        static = row_of(peak, "static", simulate(peak, False, total, args))
        shared = row_of(peak, "shared", simulate(peak, True, total, args))
        shared["ratio"] = static["mean_ms"] / shared["mean_ms"]
        queues = static["waited"] > 0
        shared["ok"] = shared["ratio"] > 1 if queues else shared["ratio"] >= 0.95
        good = good and shared["ok"]
        rows.add(static)
        rows.add(shared)
    if not args.no_run:
        with Folder(args.keep) as folder:
            for peak in (10,) if args.quick else (6, 8, 10, 12):
                for row in run_on_software_gpu(args, folder / f"peak-{peak}", peak):
                    good = good and row["ok"]
                    rows.add(row)
    rows.finish()
    if args.json:
        print(json.dumps({"bench": "latency", "row": "sources", **SOURCES}))
    else:
        print("\nwhere the times come from:")
        for name, source in SOURCES.items():
            print(f"  {name}: {source}")
    return good


if __name__ == "__main__":
    main(run)
