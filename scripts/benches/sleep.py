# SPDX-License-Identifier: Apache-2.0
"""What an idle llama.cpp engine holds, and how fast it is back: asleep and woken, beside started anew.

An engine of an unmodified llama.cpp with weights and KV cache under KVSHIM_SCOPE=all runs a request, is left alone
until kvshim has evicted it, and is asked for another token. The same engine without kvshim gives the tokens that must
come; started anew it shows what a reload from a file in the page cache costs, prompt included.

  awake_bytes    device memory of the engine at work: pages, spare pages and what stays native
  asleep_bytes   the same when it is evicted
  left_bytes     of that, native: the context's own and allocations that are not seen as one
  token_ms       a token of the engine at work
  wake_ms        the first token after the sleep
  copied_bytes   what a second sleep copies: not what was only read since the first (KVSHIM_KEEP_COPIES)
  reload_ms      from the start of a process to its first token
"""
import time

from common import *
from enginelib import Front, Place, model, tail

STEPS = ["prompt=600", "generate=1", "generate=4", "generate=1", "generate=1", "generate=1", "generate=20"]
WORK, SLEEP, AGAIN = 3, 4, 5  # STEPS that are timed: at work, after a sleep, after another one
PATIENCE_S = 60


def held(slot):
    return sum(slot.get(k) or 0 for k in ("backed_bytes", "spare_bytes", "native_bytes"))


def moved_out(slot):
    return slot["counters"]["moved_out_bytes"]


def wait_for_sleep(place, pid):
    """What the process holds when nothing of it is backed any more."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        slot = place.stat(pid)
        if slot and slot["backed_bytes"] == 0 and slot["evicted_bytes"]:
            return slot
        time.sleep(0.05)
    raise Failure(f"the engine is not evicted after {PATIENCE_S} s: {slot}")


def run(place, shim, settings, options, sleeping):
    """Steps through the engine. Returns the time of each step in ms, what was held at work, and in each sleep."""
    begin = time.monotonic()
    front = Front(place, shim, settings, options, STEPS, place.out / "tokens")
    times, index, at_work, asleep = {}, -1, None, []
    for phase in front.phases():
        now = time.monotonic()
        if phase in ("started", "loaded"):
            continue
        if index >= 0 and index < len(STEPS):
            times[index] = (now - started) * 1000
        if index == 1:
            times["first"] = (now - begin) * 1000
        index += 1
        if sleeping and index == SLEEP:
            at_work = place.stat(front.pid)
        if sleeping and index in (SLEEP, AGAIN):
            asleep.append(wait_for_sleep(place, front.pid))
        started = time.monotonic()
    if front.end():
        raise Failure("the engine failed\n" + tail(place.out / "engine.log"))
    return times, at_work, asleep


def charts(rows, gpu):
    def bars(names, divisor):
        return list(names.values()), [(f"{r['layers']} layers", [r[key] / divisor for key in names]) for r in rows]
    held = bars({"awake_bytes": "at work", "asleep_bytes": "asleep", "left_bytes": "of that native"}, MIB)
    took = bars({"token_ms": "a token at work", "wake_ms": "first token after a sleep", "wake_again_ms": "after another sleep",
                 "reload_ms": "first token of a new process"}, 1)
    return ("What an idle llama.cpp engine holds, and how soon it is back", where(gpu),
            [chart.Bars("Device memory", "MiB", *held), chart.Bars("Time", "ms", *took, log=True)])


SETTINGS = {"KVSHIM_SCOPE": "all", "KVSHIM_IDLE_MS": "300", "KVSHIM_RULES": "builtin", "KVSHIM_LOG": "warn"}


def slept(build, folder, layers, context=32768):
    """What kvshim-stat says of an engine at work, asleep, and asleep again."""
    path = model(pathlib.Path(build).resolve() / "tests/engines/models", "--layers", str(layers))
    _, at_work, (asleep, again) = run(Place(build, folder), "preload", SETTINGS, ["--model", path, "--ctx", str(context)], True)
    return at_work, asleep, again


def bench():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="a small model only")
    p.add_argument("--gpu", choices=("sim", "real"), default="sim")
    p.add_argument("--context", type=int, default=32768)
    args = p.parse_args()
    rows = Rows(args, [("layers", "layers"), ("awake_bytes", "awake"), ("asleep_bytes", "asleep"), ("left_bytes", "native"),
                            ("moved_bytes", "moved"), ("token_ms", "token ms"), ("wake_ms", "wake ms"), ("reload_ms", "reload ms"),
                            ("copied_bytes", "copied again"), ("wake_again_ms", "wake ms"),
                            ("content_mismatches", "mismatches"), ("verdict", "verdict")],
                lambda found: charts(found, args.gpu))
    ok = True
    with Folder(args.keep) as folder:
        for layers in (4,) if args.quick else (4, 32):
            path = model(pathlib.Path(args.build).resolve() / "tests/engines/models", "--layers", str(layers))
            options = ["--model", path, "--ctx", str(args.context)]
            alone = Place(args.build, folder / f"alone-{layers}", gpu=args.gpu)
            plain, _, _ = run(alone, None, {}, options, False)
            place = Place(args.build, folder / f"sleeper-{layers}", gpu=args.gpu)
            times, at_work, (asleep, again) = run(place, "preload", SETTINGS, options, True)
            bad = (alone.out / "tokens").read_text() != (place.out / "tokens").read_text()
            bad += sum(r["mismatches"] + r["faults"] + r["violations"] for r in place.reports())
            row = {"bench": "sleep", "gpu": args.gpu, "layers": layers, "awake_bytes": held(at_work), "asleep_bytes": held(asleep),
                   "left_bytes": asleep["native_bytes"], "moved_bytes": asleep["evicted_bytes"], "token_ms": times[WORK],
                   "wake_ms": times[SLEEP], "reload_ms": plain["first"], "wake_again_ms": times[AGAIN],
                   "copied_bytes": moved_out(again) - moved_out(asleep), "content_mismatches": int(bad)}
            kept = not bad and asleep["backed_bytes"] == 0 and row["wake_ms"] < row["reload_ms"]
            kept = kept and row["copied_bytes"] < row["moved_bytes"] / 2
            row["verdict"] = "ok" if kept else "MISS"
            ok = ok and kept
            rows.add(row)
        rows.finish()
    return ok


if __name__ == "__main__":
    main(bench)
