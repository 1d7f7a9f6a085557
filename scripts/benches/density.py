# SPDX-License-Identifier: Apache-2.0
"""How much KV memory a server needs, and how many streams fit: static reservation, kvshim, and the oracle.

usage: scripts/bench density [--trace FILE] [--linger SECONDS] [--away SECONDS] [--json] [--quick] [--build DIR] [--svg FILE]
                             [--no-engine]

A simulated llama-server takes the requests of a trace (an Azure LLM inference trace as CSV; without one, a synthetic one, and
the table says so). For five models: bytes backed over time and at most, as a share of what the same server reserves without
kvshim; the same for the oracle, which pays for rows that are attended to only, to the byte. Each slot is promised 8192 tokens
(or 16384; 4096 where the model knows no more). The slots are kept in one of these ways, each a row:

  unified        one array of cells for eight slots (-np 8 --kv-unified, the same promise: -c eight times the context). Attention
                 reads it up to the highest cell in use. When a request starts, rows of idle slots go to the server's own
                 prompt cache (the default since April 2026)
  as it comes    llama-server without -np and -c (releases since November 2025): four slots, unified, and the model's own context
                 in all for them; Llama-2-13B with -c 16384, since 4096 for four slots would break off nine requests of ten
  kept           unified, and idle slots keep their rows (--no-cache-idle-slots, or before April 2026)
  half           unified, with half the cells: less than is promised. Requests that the engine breaks off for want of cells are
                 counted
  streams        an array for each of eight slots (-np 8), all decoded in one batch: neighbours are read as far as the longest
  separate       no slot is read further than its own rows: as eight servers with a slot each

"away" is the same with KVSHIM_IDLE_MS=30000 (or what --away says; the default of kvshim is never): a server that has had no work for
half a minute moves its cache to host memory and takes it back with the next request.

Then: streams at equal memory on a device of 80 GiB beside the model's weights, all slots busy all the time, in 99 % of the
steps (what is missing in the others is spilled to host memory) and in all of them; and fleets. Shorter runs of the real engine
on the software GPU check the simulator, mode by mode: their bytes over time must be within 5 %. Everything but the rows called
"engine" is simulated.

Exit status: 0; 1 when a model saves less than 40 % of the bytes over time as "unified, away" at the smaller context, or serves less
than 1.5 times the streams with a unified cache (judged with a trace that is given: the synthetic requests are none that
anybody sent), or when engine and simulator disagree; 77 when only the engine is missing and everything else held. What
other rows miss can be read in them, and does not fail.
"""
import argparse
import collections
import json
import multiprocessing
import os
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE / "lib"))
import chart  # noqa: E402
import kvengine  # noqa: E402
import kvmodel  # noqa: E402
import kvserver  # noqa: E402
from kvengine import Failure, Skip  # noqa: E402
from kvmodel import MODELS, Speeds, clipped, made_trace, most, read_trace  # noqa: E402

SLOTS, CONTEXT, AWAY_S = 8, 8192, 30.0
WANTED, WANTED_TIMES = 0.4, 1.5
DEVICE, RESERVE = 80 << 30, 2 << 30  # a device, and what context and compute buffers take of it
WEIGHTS = {"Llama-2-13B": 26 << 30, "Llama-3.1-8B": 16 << 30, "Qwen2.5-7B": 15 << 30, "DeepSeek-V2-Lite": 31 << 30,
           "Gemma-3-12B": 24 << 30}

Mode = collections.namedtuple("Mode", "name slots unified clears apart", defaults=[False])
MODES = [Mode("unified", SLOTS, True, True), Mode("as it comes", 4, True, True), Mode("kept", SLOTS, True, False),
         Mode("half", SLOTS, True, True), Mode("streams", SLOTS, False, False), Mode("separate", SLOTS, False, False, True)]


# ---- one server ----

def setting(model, mode, ctx):
    """(caches, context of a slot) of a mode; ctx: what is promised to a slot."""
    if mode.name == "as it comes":
        whole = model.longest if model.longest >= CONTEXT else mode.slots * model.longest
        return model.caches(ctx, mode.slots, True, whole), model.longest
    whole = mode.slots * ctx // 2 if mode.name == "half" else None
    return model.caches(ctx, mode.slots, mode.unified, whole), ctx


def contexts(model, mode):
    least = min(CONTEXT, model.longest)
    return [c for c in (least, 2 * CONTEXT) if c <= model.longest and (c == least or mode.name not in ("half", "kept", "as it comes"))]


def run_timeline(job):
    model, mode, ctx, requests = job
    caches, slot_ctx = setting(model, mode, ctx)
    return kvserver.serve(model, caches, mode.slots, slot_ctx, requests, Speeds(), mode.unified, mode.clears, mode.apart)


def side_by_side(function, jobs):
    """[function(job)], on all processors."""
    with multiprocessing.Pool(min(len(jobs), len(os.sched_getaffinity(0)))) as pool:
        return pool.map(function, jobs, chunksize=1)


class Timelines:
    """What happens to cells, once for all models and contexts for which it is the same."""

    def __init__(self, requests, modes):
        self.requests, self.modes, self.known = requests, modes, []

    def prepare(self):
        """The first of each kind, on all processors."""
        jobs, kinds = [], set()
        for model in MODELS:
            for mode in self.modes:
                ctx = contexts(model, mode)[0]
                kind = (tuple(model.windows()), mode, ctx if mode.name != "as it comes" else model.longest > CONTEXT)
                if kind not in kinds:
                    kinds.add(kind)
                    jobs.append((model, mode, ctx, self.requests))
        jobs.sort(key=lambda job: -len(job[0].tensors))  # the longest first
        for job, line in zip(jobs, side_by_side(run_timeline, jobs)):
            self.known.append((*job[:3], line))

    def get(self, model, mode, ctx):
        caches, slot_ctx = setting(model, mode, ctx)
        for known_model, known_mode, known_ctx, line in self.known:
            if known_mode != mode or known_model.windows() != model.windows():
                continue
            known_caches, known_slot_ctx = setting(known_model, mode, known_ctx)
            if all(clipped(r, slot_ctx) == clipped(r, known_slot_ctx) for r in self.requests) and (
                    [c[2] for c in caches] == [c[2] for c in known_caches] or line.holds_for(caches, known_caches)):
                return line
        line = run_timeline((model, mode, ctx, self.requests))
        self.known.append((model, mode, ctx, line))
        return line


def one_server(lines, model, mode, ctx, linger, away):
    caches, slot_ctx = setting(model, mode, ctx)
    line = lines.get(model, mode, ctx)
    static = sum(row * n * cells for row, n, cells in caches) * line.streams
    got = kvserver.Replay(line, caches, linger, away)
    backed, here, live = got.backed.mean(), got.here.mean(), line.live_mean(model.token_bytes())
    judged = mode.name == "unified" and ctx == contexts(model, mode)[0]
    return {"bench": "density", "row": "server", "mode": mode.name, "simulated": True, "model": model.name, "slots": mode.slots,
            "context": slot_ctx, "linger_s": linger, "away_s": away, "requests": len(lines.requests), "static_bytes": static,
            "backed_mean": int(backed), "backed_peak": got.backed.peak, "live_mean": int(live),
            "read_mean": int(kvserver.read_bytes(line, caches)), "saved": round(1 - backed / static, 4),
            "over_oracle": round(backed / live, 4), "here_mean": int(here), "saved_away": round(1 - here / static, 4),
            "wakes": got.wakes, "restored_bytes": got.restored, "failed": line.failed, "judged": judged,
            "ok": not judged or 1 - here / static >= WANTED}


# ---- at equal memory ----

def equal_memory(job):
    model, requests, judged = job
    ctx = min(CONTEXT, model.longest)
    budget = DEVICE - RESERVE - WEIGHTS[model.name]
    row = {"bench": "density", "row": "streams", "simulated": True, "model": model.name, "context": ctx, "budget_bytes": budget}
    for name, unified, peaks in (("unified", True, kvserver.busy_bytes), ("separate", False, kvmodel.busy_bytes)):
        static = most(lambda n, unified=unified: model.static_bytes(ctx, n, unified) <= budget)
        known = {}

        def fits(n, part, peaks=peaks, known=known):
            if n not in known:
                known[n] = sorted(peaks(model, ctx, n, requests))
            return known[n][int(part * (len(known[n]) - 1))] <= budget

        nearly, ever = (most(lambda n, part=part: fits(n, part), static) for part in (0.99, 1.0))
        row.update({f"static_{name}": static, f"kvshim_{name}": nearly, f"kvshim_always_{name}": ever, f"times_{name}": round(nearly / static, 4)})
    longest = max(sum(clipped(r, ctx)[1:]) for r in requests)  # of a stream in a batch with it
    row["streams_in_one_batch"] = budget // model.static_bytes(min(ctx, kvmodel.padded(longest)), 1)
    row.update(judged=judged, ok=not judged or row["times_unified"] >= WANTED_TIMES)
    return row


def fleet(lines, n_gpus, seed, linger):
    """Servers of all five models, unified, chosen at random, packed on GPUs first-fit: by what they reserve, and by the
    highest of 200 draws of what a GPU's servers need together."""
    rng = random.Random(seed)
    demand, mode = {}, MODES[0]
    for model in MODELS:  # what one server needs, over time, sampled
        ctx, seen = contexts(model, mode)[0], []
        kvserver.Replay(lines.get(model, mode, ctx), setting(model, mode, ctx)[0], linger, sample=seen.append)
        demand[model.name] = sorted(rng.sample(seen, min(400, len(seen))))
    room = DEVICE - RESERVE

    def packed(need):
        """How many servers each GPU takes, models at random, while need(models) fits beside their weights."""
        total = 0
        for gpu in range(n_gpus):
            here, order = [], random.Random(f"{seed} {gpu}")  # the same models in the same order for both
            while True:
                model = order.choice(MODELS)
                trial = here + [model]
                if sum(WEIGHTS[m.name] for m in trial) + need(trial) > room:
                    break
                here = trial
            total += len(here)
        return total / n_gpus

    def reserved(models):
        return sum(m.static_bytes(min(CONTEXT, m.longest), SLOTS, True) for m in models)

    def needed(models):
        draws = sorted(sum(rng.choice(demand[m.name]) for m in models) for _ in range(200))
        return draws[-1]

    return {"bench": "density", "row": "fleet", "simulated": True, "mode": mode.name, "gpus": n_gpus,
            "servers_per_gpu_static": round(packed(reserved), 3), "servers_per_gpu_kvshim": round(packed(needed), 3), "ok": True}


# ---- what is shown ----

def svg(rows, source):
    """Bars by model and context: what is backed, and what is live, as a share of static reservation."""
    panels = []
    for mode in dict.fromkeys(r["mode"] for r in rows if r["row"] == "server"):
        bars = [(f"{r['model']}, {r['context'] // 1024} Ki", [100 * r["backed_mean"] / r["static_bytes"], 100 * r["live_mean"] / r["static_bytes"]])
                for r in rows if r["row"] == "server" and r["mode"] == mode]
        panels.append(chart.Bars(f"Bytes over time: {mode}", "% of static reservation", ["kvshim", "oracle (live rows only)"], bars,
                                 mark=(100, "static")))
    bars = [(r["model"], [r["static_unified"], r["kvshim_always_unified"], r["kvshim_unified"]]) for r in rows if r["row"] == "streams"]
    panels.append(chart.Bars("Streams at equal memory, a unified cache: 80 GiB less weights", "streams",
                             ["static", "kvshim, in every step", "kvshim, in 99 % of the steps"], bars))
    return chart.document("KV memory that a server needs, as a share of static reservation", f"Simulated; requests: {source}.", panels)


def percent(value):
    return f"{100 * value:.1f}"


def table(rows, source, away):
    print(f"requests: {source}")
    print(f"\nKV bytes over time, in percent of what the server reserves without kvshim; away: after {away:g} s without work to host memory")
    print(f"{'model':17} {'slots kept as':12} {'slots':>5} {'context':>7} {'static GiB':>10} {'backed':>7} {'peak':>6} {'oracle':>7} {'x oracle':>8} "
          f"{'saved':>6} {'saved, away':>11}  GiB back per wake")
    for r in rows:
        if r["row"] == "server":
            s, verdict = r["static_bytes"], "" if not r["judged"] else "  ok" if r["ok"] else "  MISSED"
            broken = f"  {r['failed']} of {r['requests']} requests broken off" if r["failed"] else ""
            print(f"{r['model']:17} {r['mode']:12} {r['slots']:5} {r['context']:7} {s / 2**30:10.2f} {percent(r['backed_mean'] / s):>7} {percent(r['backed_peak'] / s):>6} "
                  f"{percent(r['live_mean'] / s):>7} {r['over_oracle']:8.2f} {percent(r['saved']):>6} {percent(r['saved_away']):>11}  "
                  f"{r['restored_bytes'] / max(1, r['wakes']) / 2**30:.2f} x {r['wakes']}{broken}{verdict}")
    print("\nof what is backed beyond the oracle, unified: cells below the highest that are free or behind a window; the rest of a block, a page, spare pages")
    for r in rows:
        if r["row"] == "server" and r["judged"]:
            more = r["backed_mean"] - r["live_mean"]
            print(f"{r['model']:17} {percent((r['read_mean'] - r['live_mean']) / more):>6} % and {percent((r['backed_mean'] - r['read_mean']) / more):>5} %")
    print("\nstreams at equal memory, 80 GiB less weights, all busy all the time: in 99 % of the steps (in all)")
    for r in rows:
        if r["row"] == "streams":
            print(f"{r['model']:17} unified: static {r['static_unified']:4}  kvshim {r['kvshim_unified']:4} ({r['kvshim_always_unified']})  {r['times_unified']:.2f} x   "
                  f"separate: static {r['static_separate']:4}  kvshim {r['kvshim_separate']:4} ({r['kvshim_always_separate']})  {r['times_separate']:.2f} x   "
                  f"one batch of streams {r['streams_in_one_batch']:4}{'' if r['ok'] else '  MISSED'}{'' if r['judged'] else '  (not judged)'}")
    for r in rows:
        if r["row"] == "fleet":
            print(f"fleet of {r['gpus']} GPUs, {r['mode']}: servers per GPU: static {r['servers_per_gpu_static']:.2f}, kvshim {r['servers_per_gpu_kvshim']:.2f}")
    print("\nllama.cpp on the software GPU against the simulator: bytes over time, and the step that is furthest apart")
    for r in rows:
        if r["row"] == "engine":
            print(f"{r['mode']:30} {'with' if r.get('spare') else 'without':>7} spare pages  {r['measured_mean']:11} and {r['simulated_mean']:11}  {r['apart']:.1%} apart, "
                  f"{r['furthest']:.1%}{'' if r['ok'] else '  MISSED ' + r.get('why', '')}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench density")
    parser.add_argument("--trace", default=os.environ.get("KVSHIM_BENCH_TRACE"))
    parser.add_argument("--linger", type=float, default=kvmodel.LINGER_S, metavar="SECONDS",
                        help="how long the page beyond live rows is kept (KVSHIM_LINGER_MS; default: 5)")
    parser.add_argument("--away", type=float, default=AWAY_S, metavar="SECONDS",
                        help="when a server without work moves its cache to host memory (KVSHIM_IDLE_MS; default: 30)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer requests, contexts and ways to keep slots")
    parser.add_argument("--build", default=str(ROOT / "build"))
    parser.add_argument("--svg", help="writes a picture")
    parser.add_argument("--no-engine", action="store_true", help="the simulator alone")
    args = parser.parse_args()
    try:
        requests = read_trace(args.trace) if args.trace else made_trace(6000)
    except (OSError, ValueError, KeyError) as why:
        print(f"bench density: {args.trace}: {why}: expected CSV with TIMESTAMP, ContextTokens, GeneratedTokens", file=sys.stderr)
        return 2
    source = args.trace and f"{pathlib.Path(args.trace).name}, {len(requests)} requests" or f"synthetic, {len(requests)} requests"
    part = requests[:1000] if args.quick else requests
    if len(part) < len(requests):
        source += f", the first {len(part)} of them"
    rows, missing, lines = [], None, Timelines(part, [m for m in MODES if not args.quick or m.name not in ("kept", "half")])
    lines.prepare()
    for model in MODELS:
        for mode in lines.modes:
            rows += [one_server(lines, model, mode, ctx, args.linger, args.away) for ctx in contexts(model, mode)[:1 if args.quick else None]]
    rows += side_by_side(equal_memory, [(model, part, bool(args.trace)) for model in reversed(MODELS)])[::-1]
    rows += [fleet(lines, n, n, args.linger) for n in ((10, 100) if args.quick else (10, 100, 1000, 10000))]
    if not args.no_engine:
        try:
            for mode in kvengine.MODES:
                for spare in (True,) if args.quick else (True, False):
                    rows.append(kvengine.against_engine(requests[:6 if args.quick else 16], args.build, mode, spare))
        except Skip as why:
            missing = str(why)
        except Failure as why:
            rows.append({"bench": "density", "row": "engine", "mode": "failed", "ok": False, "why": str(why), "measured_mean": 0,
                         "simulated_mean": 0, "apart": 1.0, "furthest": 1.0})
    if args.svg:
        pathlib.Path(args.svg).write_text(svg(rows, source))
    if args.json:
        for row in rows:
            print(json.dumps({"trace": source, **row}))
    else:
        table(rows, source, args.away)
    if not all(row["ok"] for row in rows):
        return 1
    if missing:
        print(f"SKIP: the engine was not compared: {missing}")
        return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
