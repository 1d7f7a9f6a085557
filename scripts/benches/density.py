# SPDX-License-Identifier: Apache-2.0
"""How much KV memory a server needs, and how many streams fit: static reservation, kvshim, and the oracle.

usage: scripts/bench density [--trace FILE] [--linger SECONDS] [--json] [--quick] [--build DIR] [--svg FILE] [--no-engine]

For five models, contexts of 8192 and 16384 tokens, and the requests of a trace (an Azure LLM inference trace as CSV;
without one, a synthetic one, and the table says so) a simulated server with eight slots: bytes over time and at most, as a
share of what static reservation holds; the same for the oracle, which pays for live rows only, to the byte. "One batch":
slots with a cache each that are decoded together are all read as far as the longest of them (llama.cpp without
--kv-unified), so that each is backed that far; saved is for slots that are not. Then: streams at equal memory on a device
of 80 GiB beside the model's weights, and fleets. A shorter run of the real engine on the software GPU checks the
simulator: their time-weighted bytes must be within 5 %, once with the page beyond live rows kept for ever and once without it.
Everything but the rows called "engine" is simulated.

Exit status: 0; 1 when a model saves less than 40 % of the time-weighted bytes or serves less than 1.5 times the streams,
or when engine and simulator disagree; 77 when only the engine is missing and everything else held.
"""
import argparse
import json
import os
import pathlib
import random
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE / "lib"))
sys.path.insert(0, str(ROOT / "tests/engines"))
import kvmodel  # noqa: E402
from kvmodel import MODELS, PAGE, Backing, Model, Speeds, made_trace, most_streams, read_trace, serve  # noqa: E402

SLOTS, CONTEXT = 8, 8192
DEVICE, RESERVE = 80 << 30, 2 << 30  # a device, and what context and compute buffers take of it
WEIGHTS = {"Llama-2-13B": 26 << 30, "Llama-3.1-8B": 16 << 30, "Qwen2.5-7B": 15 << 30, "DeepSeek-V2-Lite": 31 << 30,
           "Gemma-3-12B": 24 << 30}


def share(part, whole):
    return round(part / whole, 4)


def one_server(model, requests, speeds, linger, ctx):
    row = {"bench": "density", "row": "server", "simulated": True, "model": model.name, "slots": SLOTS, "context": ctx,
           "linger_s": linger}
    for keeps, name in ((True, "keeps"), (False, "frees")):
        got = serve(model, ctx, SLOTS, requests, speeds, keeps=keeps, linger=linger)
        static = got["static"]
        row.update({"static_bytes": static, f"backed_mean_{name}": int(got["backed"].mean()),
                    f"backed_peak_{name}": got["backed"].peak, f"live_mean_{name}": int(got["live"].mean())})
    got = serve(model, ctx, SLOTS, requests, speeds, linger=linger, together=True)
    row.update({"backed_mean_together": int(got["backed"].mean()),
                "saved_together": round(1 - got["backed"].mean() / got["static"], 4)})
    row["saved"] = round(1 - row["backed_mean_keeps"] / row["static_bytes"], 4)
    row["over_oracle"] = share(row["backed_mean_keeps"], row["live_mean_keeps"])
    row["ok"] = row["saved"] >= 0.4
    return row


def equal_memory(model, requests):
    ctx = min(CONTEXT, model.longest)
    budget = DEVICE - RESERVE - WEIGHTS[model.name]
    static = budget // model.static_bytes(ctx, 1)
    ours = most_streams(model, ctx, budget, requests)
    longest = Backing(model, ctx, 1)  # of a stream in a batch with the longest request
    longest.set_length(0, max(sum(kvmodel.clipped(r, ctx)[1:]) for r in requests))
    together = budget // longest.bytes()
    return {"bench": "density", "row": "streams", "simulated": True, "model": model.name, "context": ctx, "budget_bytes": budget,
            "static_streams": static, "kvshim_streams": ours,
            "kvshim_streams_together": together, "times": share(ours, static), "ok": ours >= 1.5 * static}


def fleet(requests, speeds, n_gpus, seed, linger):
    """Servers of all five models, chosen at random, packed on GPUs first-fit: by what they reserve, and by the 99.9th
    percentile of what a GPU's servers need together."""
    rng = random.Random(seed)
    demand = {}
    for model in MODELS:  # what one server needs, over time, sampled
        ctx, seen = min(CONTEXT, model.longest), []
        serve(model, ctx, SLOTS, requests, speeds, linger=linger, sample=lambda now, backing, seen=seen: seen.append(backing.bytes()))
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
        return sum(m.static_bytes(min(CONTEXT, m.longest), SLOTS) for m in models)

    def needed(models):
        draws = sorted(sum(rng.choice(demand[m.name]) for m in models) for _ in range(200))
        return draws[-1]

    return {"bench": "density", "row": "fleet", "simulated": True, "gpus": n_gpus, "servers_per_gpu_static": round(packed(reserved), 3),
            "servers_per_gpu_kvshim": round(packed(needed), 3), "ok": True}


# ---- the simulator against the engine ----

def engine_steps(requests, streams, ctx, n):
    """Steps for llama-front and what the simulator is told of each: [(step, stream, length after it, weight)]."""
    steps = []
    for i, request in enumerate(requests[:n]):
        _, prompt, new = kvmodel.clipped((0, request[1] // 4 + 1, min(request[2], 40)), ctx - 8)
        stream = i % streams
        steps += [(f"forget@{stream}", stream, None, 0), (f"prompt={prompt}@{stream}", stream, prompt, 1),
                  (f"generate={new}@{stream}", stream, prompt + new, new)]
    return steps


def against_engine(requests, build, n, spare):
    from enginelib import Failure, Front, Place, model as make_model
    streams, layers, ctx = 4, 4, 4096
    model = Model("4 layers of Llama-3.1-8B", [(2048, 2 * layers, None)], ctx)
    steps = engine_steps(requests, streams, ctx, n)
    backing, rows = Backing(model, ctx, streams, spare=spare), []
    with tempfile.TemporaryDirectory(prefix="kvshim-density-") as out:
        place = Place(build, out)
        settings = {"KVSHIM_MIN_SIZE": "16M", "KVSHIM_RULES": "builtin", "KVSHIM_LOG": "warn",
                    "KVSHIM_LINGER_MS": "none" if spare else "2"}
        front = Front(place, "preload", settings,
                      ["--model", make_model(place.out / "models"), "--ctx", str(ctx * streams), "--seqs", str(streams)],
                      [step for step, _, _, _ in steps], place.out / "tokens")
        phases = iter(front.phases())
        number = 0
        size = model.static_bytes(ctx, streams)
        for phase in phases:
            if number >= len(steps) or phase.split("@")[0] != steps[number][0].split("@")[0]:
                continue
            _, stream, length, weight = steps[number]
            number += 1
            if length is None:
                continue  # forgetting makes no driver call: seen with the next decode
            backing.set_length(stream, length)
            # What has died goes within a second; the clock here counts tokens, and these steps take milliseconds.
            for _ in range(30):
                process = place.stat(front.pid) or {}
                cache = [r for r in process.get("reservations", []) if r["requested_bytes"] == size]
                if len(cache) != 1:
                    raise Failure(f"one reservation of {size} bytes expected: {process}")
                if cache[0]["backed_bytes"] <= backing.bytes():
                    break
                time.sleep(0.05)
            rows.append((weight, cache[0]["backed_bytes"], backing.bytes(), bool(cache[0]["static"])))
        if front.end():
            raise Failure("the engine failed\n" + (place.out / "engine.log").read_text(errors="replace")[-1500:])
    weight = sum(r[0] for r in rows)
    measured, simulated = sum(r[0] * r[1] for r in rows) / weight, sum(r[0] * r[2] for r in rows) / weight
    apart = abs(measured - simulated) / simulated
    return {"bench": "density", "row": "engine", "simulated": False, "spare": spare, "requests": n, "measured_mean": int(measured),
            "simulated_mean": int(simulated), "static_bytes": size, "apart": round(apart, 4),
            "static": any(r[3] for r in rows), "ok": apart <= 0.05}


# ---- what is shown ----

def svg(rows):
    """Bars per model: backed and live, as a share of static reservation."""
    servers = [r for r in rows if r["row"] == "server"]
    width, left, bar = 720, 180, 16
    height = 46 * len(servers) + 50
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           '<text x="10" y="18">KV memory over time by model and context, as a share of static reservation (grey = 100 %); simulated</text>']
    for i, row in enumerate(servers):
        y, scale = 34 + 46 * i, width - left - 70
        out.append(f'<text x="10" y="{y + 20}">{row["model"]}, {row["context"] // 1024} Ki</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{scale}" height="{2 * bar}" fill="#eeeeee"/>')
        for j, (key, colour, name) in enumerate((("backed_mean_keeps", "#2b6cb0", "kvshim"), ("live_mean_keeps", "#48a868", "oracle"))):
            part = row[key] / row["static_bytes"]
            out.append(f'<rect x="{left}" y="{y + j * bar}" width="{scale * part:.1f}" height="{bar - 2}" fill="{colour}"/>')
            out.append(f'<text x="{left + scale * part + 4:.1f}" y="{y + j * bar + 12}">{name} {100 * part:.0f} %</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def table(rows, source):
    print(f"requests: {source}")
    print(f"\n{SLOTS} slots, KV bytes over time; a server that keeps a finished request's rows until the slot is taken again")
    print("saved: no slot is read further than its own rows; one batch: saved when all are read as far as the longest")
    print(f"{'model':18} {'context':>7} {'static GiB':>10} {'backed':>8} {'peak':>7} {'oracle':>7} {'saved':>6} {'x oracle':>8}  {'one batch':>9}  if it frees them")
    for r in rows:
        if r["row"] == "server":
            s = r["static_bytes"]
            print(f"{r['model']:18} {r['context']:7} {s / 2**30:10.2f} {r['backed_mean_keeps'] / s:8.1%} {r['backed_peak_keeps'] / s:7.1%} "
                  f"{r['live_mean_keeps'] / s:7.1%} {r['saved']:6.1%} {r['over_oracle']:8.2f}  {r['saved_together']:9.1%}  {r['backed_mean_frees'] / s:.1%}{'' if r['ok'] else '  MISSED'}")
    print("\nstreams at equal memory, 80 GiB less weights")
    for r in rows:
        if r["row"] == "streams":
            print(f"{r['model']:18} static {r['static_streams']:4}  kvshim {r['kvshim_streams']:4}  {r['times']:.2f} x  one batch for all {r['kvshim_streams_together']:4}{'' if r['ok'] else '  MISSED'}")
    for r in rows:
        if r["row"] == "fleet":
            print(f"fleet of {r['gpus']} GPUs: servers per GPU: static {r['servers_per_gpu_static']:.2f}, kvshim {r['servers_per_gpu_kvshim']:.2f}")
        if r["row"] == "engine":
            print(f"engine on the software GPU against the simulator ({'with' if r.get('spare') else 'without'} spare pages): {r['measured_mean']} and {r['simulated_mean']} bytes over time, "
                  f"{r['apart']:.1%} apart{'' if r['ok'] else '  MISSED'}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench density")
    parser.add_argument("--trace", default=os.environ.get("KVSHIM_BENCH_TRACE"))
    parser.add_argument("--linger", type=float, default=kvmodel.LINGER_S, metavar="SECONDS",
                        help="how long the page beyond live rows is kept (KVSHIM_LINGER_MS; default: 5)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer requests")
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
    speeds, rows, missing = Speeds(), [], None
    part = requests[:1500] if args.quick else requests
    for model in MODELS:
        for ctx in (min(CONTEXT, model.longest), 2 * CONTEXT):
            if ctx <= model.longest:
                rows.append(one_server(model, part, speeds, args.linger, ctx))
    for model in MODELS:
        rows.append(equal_memory(model, requests))
    for n in (10, 100) if args.quick else (10, 100, 1000, 10000):
        rows.append(fleet(part[:600], speeds, n, n, args.linger))
    if not args.no_engine:
        from enginelib import Failure, Skip
        try:
            for spare in (True, False):
                rows.append(against_engine(requests, args.build, 8 if args.quick else 40, spare))
        except Skip as why:
            missing = str(why)
        except Failure as why:
            rows.append({"bench": "density", "row": "engine", "ok": False, "why": str(why), "measured_mean": 0,
                         "simulated_mean": 0, "apart": 1.0})
    if args.svg:
        pathlib.Path(args.svg).write_text(svg(rows))
    if args.json:
        for row in rows:
            print(json.dumps({"trace": source, **row}))
    else:
        table(rows, source)
    if not all(row["ok"] for row in rows):
        return 1
    if missing:
        print(f"SKIP: the engine was not compared: {missing}")
        return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
