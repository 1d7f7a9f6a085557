# SPDX-License-Identifier: Apache-2.0
"""The simulator against llama.cpp on the software GPU: both do the same work, and after each step what kvshim-stat says is
backed is compared with what the simulator says."""
import collections
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests/engines"))
from enginelib import Failure, Front, Place, Skip, model as make_model  # noqa: E402, F401
from kvcells import Cache  # noqa: E402
from kvmodel import Backing, Model, clipped  # noqa: E402

STREAMS, LAYERS, CONTEXT = 4, 4, 4096
ROW = 2048  # bytes: eight heads of 128, f16, as in Llama-3.1-8B
PLAIN = Model("4 layers of Llama-3.1-8B", [(ROW, 2 * LAYERS, None)], CONTEXT)
WINDOW = Model("4 layers, two of them with a window", [(ROW, LAYERS, 1024), (ROW, LAYERS, None)], CONTEXT)

# made, told: what mkgguf and llama-front get; together: slots are decoded in one batch; moved: after each step the cache is
# moved to host memory, and the next step takes back what it reads
Mode = collections.namedtuple("Mode", "name model made told unified together moved", defaults=[False])
SMALL = ["--arch", "gemma2", "--window", "1024"]
MODES = [
    Mode("each slot for itself", PLAIN, [], [], False, False),
    Mode("one batch of streams", PLAIN, [], [], False, True),
    Mode("unified", PLAIN, [], ["--unified"], True, True),
    Mode("unified, to the host and back", PLAIN, [], ["--unified"], True, True, True),
    Mode("one batch of streams, window", WINDOW, SMALL, ["--small-swa"], False, True),
    Mode("unified, window", WINDOW, SMALL, ["--small-swa", "--unified"], True, True),
]


class Work:
    """Steps for llama-front, and for each step the decodes that it makes: [(step, [batch])]. A batch is that of Cache."""

    def __init__(self, requests, together):
        self.steps, self.lengths = [], [0] * STREAMS
        for i, request in enumerate(requests):
            _, prompt, new = clipped((0, request[1] // 2 + 1, min(request[2], 40)), CONTEXT - 64)
            slot = i % STREAMS
            self.drop(slot)
            self.prompt(slot, prompt)
            busy = [s for s in range(STREAMS) if self.lengths[s] and self.lengths[s] + new < CONTEXT]
            # Not always all of them: which slots generate at a time differs, and slots that are not neighbours are read apart.
            self.generate([s for s in busy if s == slot or (s * 7 + i) % 3] if together else [slot], new)

    def drop(self, slot):
        self.steps.append((f"drop@{slot}", slot, []))
        self.lengths[slot] = 0

    def prompt(self, slot, n):
        batches = [[(slot, at, min(512, n - at))] for at in range(0, n, 512)]  # llama-front decodes so many at a time
        self.steps.append((f"prompt={n}@{slot}", None, batches))
        self.lengths[slot] = n

    def generate(self, slots, n):
        batches = [[(slot, self.lengths[slot] + i, 1) for slot in slots] for i in range(n)]
        self.steps.append((f"together={n}:{sum(1 << slot for slot in slots)}", None, batches))
        for slot in slots:
            self.lengths[slot] += n


def backed_now(place, pid, sizes, expected):
    """(bytes backed of the reservations of these sizes, whether one is static). What has died goes within a second, and pages
    come ahead of the work; the simulator's clock counts tokens, and these steps take milliseconds: so it waits a little."""
    last, since = None, 0
    while since < 12:  # times without a change
        found = [r for r in (place.stat(pid) or {}).get("reservations", []) if r["requested_bytes"] in sizes]
        if len(found) != len(sizes):
            raise Failure(f"reservations of {sizes} bytes expected: {found}")
        backed = sum(r["backed_bytes"] for r in found)
        if backed == expected:
            break
        last, since = backed, since + 1 if backed == last else 0
        time.sleep(0.05)
    return backed, any(r["static"] for r in found)


def move_away(place, pid, sizes):
    """What KVSHIM_IDLE_MS does when its time has come."""
    done = subprocess.run([place.build / "shim/kvshim", "evict", "--dir", place.segments, str(pid)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    backed, _ = backed_now(place, pid, sizes, 0)
    if done.returncode or backed:
        raise Failure(f"kvshim evict: exit {done.returncode}, {backed} bytes have stayed: {done.stdout}")


def against_engine(requests, build, mode, spare):
    """A row of the bench. spare: pages beyond live rows are kept for ever; else they go at once."""
    caches = mode.model.caches(CONTEXT, STREAMS, mode.unified)
    cache = Cache([cells for _, _, cells in caches], mode.model.windows(), STREAMS, mode.unified)
    backing = Backing(caches, 1 if mode.unified else STREAMS, spare=spare)
    sizes = [row * n * cells * backing.streams for row, n, cells in caches]
    work, rows = Work(requests, mode.together), []

    def follow(slot, batches):
        if slot is not None:
            cache.remove(slot)
        for _, streams in (piece for batch in batches for piece in cache.decode(batch)):
            for stream, extents, written in streams:
                backing.set(stream, extents)
                if spare:
                    backing.ahead(stream, written)

    with tempfile.TemporaryDirectory(prefix="kvshim-density-") as out:
        place = Place(build, out)
        settings = {"KVSHIM_MIN_SIZE": "16M", "KVSHIM_RULES": "builtin", "KVSHIM_LOG": "warn",
                    "KVSHIM_LINGER_MS": "none" if spare else "2"}
        front = Front(place, "preload", settings,
                      ["--model", make_model(place.out / "models", "--layers", str(LAYERS), *mode.made),
                       "--ctx", str(CONTEXT * STREAMS), "--seqs", str(STREAMS), *mode.told],
                      [step for step, _, _ in work.steps], place.out / "tokens")
        steps = iter(work.steps)
        step = next(steps)
        for phase in front.phases():
            if step is None or phase != step[0]:
                continue
            _, slot, batches = step
            step = next(steps, None)
            follow(slot, batches)
            if not batches:
                continue  # forgetting makes no driver call: seen with the next decode
            rows.append((len(batches), *backed_now(place, front.pid, sizes, backing.bytes()), backing.bytes()))
            if mode.moved:
                move_away(place, front.pid, sizes)
                for stream in range(backing.streams):
                    backing.set(stream, [0] * len(caches))
        if front.end() or step is not None:
            raise Failure("the engine failed\n" + (place.out / "engine.log").read_text(errors="replace")[-1500:])
    weight = sum(n for n, _, _, _ in rows)
    measured, simulated = sum(n * m for n, m, _, _ in rows) / weight, sum(n * s for n, _, _, s in rows) / weight
    apart = abs(measured - simulated) / simulated
    return {"bench": "density", "row": "engine", "simulated": False, "mode": mode.name, "spare": spare, "requests": len(requests),
            "measured_mean": int(measured), "simulated_mean": int(simulated), "static_bytes": sum(sizes), "apart": round(apart, 4),
            "furthest": round(max(abs(m - s) / s for _, m, _, s in rows), 4), "static": any(static for _, _, static, _ in rows),
            "ok": apart <= 0.05}
