# SPDX-License-Identifier: Apache-2.0
"""A model of KV caches and of what backs them: geometry, pages, a server with slots. Pure; no GPU, no engine.

Sizes are bytes, lengths are tokens (rows), times are seconds unless a name says otherwise. The geometry follows
llama.cpp: one tensor per layer for keys and one for values, each with `ctx` rows per stream, all tensors behind each
other in one buffer; attention reads whole blocks of 256 rows.
"""
import csv
import datetime
import heapq
import random

PAGE = 2 << 20
READ_BLOCK = 256  # rows: llama.cpp pads what attention reads to a multiple of this


class Model:
    """A model's cache: (row bytes, number of tensors, rows per stream or None for the whole context)."""

    def __init__(self, name, tensors, longest):
        self.name, self.tensors, self.longest = name, tensors, longest

    def token_bytes(self):
        """Of one token, in the tensors that grow with the context."""
        return sum(row * n for row, n, rows in self.tensors if rows is None)

    def static_bytes(self, ctx, streams):
        return sum(row * n * streams * (ctx if rows is None else min(rows, ctx)) for row, n, rows in self.tensors)

    def live_bytes(self, lengths, ctx):
        """What the rows that hold tokens need, to the byte."""
        return sum(row * n * min(length, ctx if rows is None else min(rows, ctx))
                   for row, n, rows in self.tensors for length in lengths)


# Shapes from the models' published configurations, f16 caches. Sliding windows as llama.cpp sizes them for one slot
# (window of 1024 plus a batch of 512).
MODELS = [
    Model("Llama-2-13B", [(10240, 80, None)], 4096),
    Model("Llama-3.1-8B", [(2048, 64, None)], 131072),
    Model("Qwen2.5-7B", [(1024, 56, None)], 131072),
    Model("DeepSeek-V2-Lite", [(1152, 27, None)], 163840),
    Model("Gemma-3-12B", [(4096, 16, None), (4096, 80, 1536)], 131072),
]


def padded(length, ctx):
    return min((length + READ_BLOCK - 1) // READ_BLOCK * READ_BLOCK, ctx)


LINGER_S = 5.0  # KVSHIM_LINGER_MS: how long a page beyond the live rows is kept unused


class Backing:
    """Which pages of a cache have memory. set_length() may be called for any stream in any order. When a stream becomes
    shorter, one page per tensor beyond what it needs stays, so that an extent that moves to and fro costs nothing, until
    settle() says that its time is over (or, without spare, not at all); a length of 0 means that the cache was cleared,
    and leaves nothing."""

    def __init__(self, model, ctx, streams, spare=True):
        self.model, self.ctx, self.streams, self.spare = model, ctx, streams, spare
        self.lengths = [0] * streams
        self.count = {}  # page number -> how many (tensor, stream) ranges need it; pages behind no range are absent
        self.ranges = []  # (first byte, row bytes, rows) of stream 0, stride of a stream in bytes
        at = 0
        for row, n, rows in model.tensors:
            rows = ctx if rows is None else min(rows, ctx)
            for _ in range(n):
                self.ranges.append((at, row, rows))
                at += row * rows * streams
        # Ranges whose streams start on page boundaries never share a page: they are counted, not listed.
        self.plain = [r for r in self.ranges if not r[0] % PAGE and not r[1] * r[2] % PAGE]
        self.mixed = [r for r in self.ranges if r[0] % PAGE or r[1] * r[2] % PAGE]
        self.kinds = {}
        for _, row, rows in self.plain:
            self.kinds[row, rows] = self.kinds.get((row, rows), 0) + 1
        self.plain_pages = [0] * streams
        self.held = [{} for _ in range(streams)]  # kind -> pages, of the plain tensors
        self.spans = [{} for _ in range(streams)]  # tensor -> pages, of the others

    def _span(self, which, stream, length, before, spare):
        """(first page, end) of a stream's range in a tensor; before: the same until now."""
        start, row, rows = which
        start += stream * row * rows
        if not length:
            return (0, 0)
        end = (start + row * padded(min(length, rows), rows) - 1) // PAGE + 1
        return (start // PAGE, max(end, min(before[1], end + spare)))

    def set_length(self, stream, length):
        """True if pages may have stayed that are not needed."""
        old, self.lengths[stream] = self.lengths[stream], length
        if padded(old, self.ctx) == padded(length, self.ctx):
            return False
        self._hold(stream, length, self.spare)
        return bool(self.spare and 0 < length < old)

    def settle(self, stream):
        """What is kept beyond the live rows of a stream goes."""
        self._hold(stream, self.lengths[stream], False)

    def _hold(self, stream, length, spare):
        self.plain_pages[stream] = 0
        for (row, rows), n in self.kinds.items():
            now = (row * padded(min(length, rows), rows) + PAGE - 1) // PAGE
            held = self.held[stream].get((row, rows), 0)
            self.held[stream][row, rows] = max(now, min(held, now + spare)) if length else 0
            self.plain_pages[stream] += n * self.held[stream][row, rows]
        for i, which in enumerate(self.mixed):
            before = self.spans[stream].get(i, (0, 0))
            after = self.spans[stream][i] = self._span(which, stream, length, before, spare)
            if before == after:
                continue
            for page in range(*before):
                self.count[page] -= 1
                if not self.count[page]:
                    del self.count[page]
            for page in range(*after):
                self.count[page] = self.count.get(page, 0) + 1

    def bytes(self):
        return (sum(self.plain_pages) + len(self.count)) * PAGE


# ---- requests ----

def read_trace(path):
    """[(arrival in seconds from the first, prompt tokens, generated tokens)] of an Azure LLM inference trace."""
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            stamp = datetime.datetime.fromisoformat(row["TIMESTAMP"][:26])
            rows.append((stamp, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    if not rows:
        raise ValueError(f"{path}: no requests")
    first = min(stamp for stamp, _, _ in rows)
    return sorted(((stamp - first).total_seconds(), prompt, new) for stamp, prompt, new in rows)


def made_trace(n, seed=1):
    """n requests of a synthetic kind, for machines without a recorded trace: lengths log-normal around 1000 and 60
    tokens, arrivals in bursts. Not a recording of anything."""
    rng = random.Random(seed)
    now, rows = 0.0, []
    for _ in range(n):
        now += rng.expovariate(2.5) if rng.random() < 0.9 else rng.uniform(2, 12)
        rows.append((now, max(1, min(7500, int(rng.lognormvariate(7.0, 1.1)))),
                     max(1, min(1000, int(rng.lognormvariate(3.0, 1.2))))))
    return rows


def clipped(request, ctx):
    """A request as a server with this context takes it: what does not fit is cut from the prompt's front."""
    at, prompt, new = request
    new = min(new, ctx // 2)
    return at, min(prompt, ctx - new), new


# ---- a server ----

class Speeds:
    """Of one model on one GPU, for the clock of the simulation only."""

    def __init__(self, prefill_per_s=8000.0, step_s=0.02):
        self.prefill_per_s, self.step_s = prefill_per_s, step_s


class Integral:
    """A quantity over time: its time average and its peak."""

    def __init__(self):
        self.area, self.last, self.value, self.peak, self.start = 0.0, None, 0, 0, None

    def at(self, now, value):
        if self.last is None:
            self.start = now
        else:
            self.area += (now - self.last) * self.value
        self.last, self.value = now, value
        self.peak = max(self.peak, value)

    def mean(self):
        return self.area / (self.last - self.start) if self.last and self.last > self.start else 0.0


def serve(model, ctx, streams, requests, speeds, keeps=True, sample=None, blocks=8, linger=LINGER_S,
          together=False):
    """Serves the requests in order of arrival on `streams` slots, each request as soon as a slot is free.

    keeps: a slot holds the last request's rows until the next one takes it, as llama-server does for its prompt cache.
    blocks: into how many steps the generation of one request is cut on the clock. linger: for how many seconds a page
    beyond live rows stays unused (the shim takes half to all of it; here all). together: whatever is generated at the same
    time is one batch, for which attention reads as many rows of each slot as the longest one of them has, as llama.cpp does
    with a cache per slot; else each slot is a batch of its own, as if the cache had no slots. sample(now, backing) is called after each
    change. Returns {"backed": Integral, "live": Integral, "active": Integral, "static": bytes, "waited": [s]}.
    """
    backing, lengths = Backing(model, ctx, streams), [0] * streams
    result = {"backed": Integral(), "live": Integral(), "active": Integral(), "waited": [],
              "static": model.static_bytes(ctx, streams)}
    free, running, events = list(range(streams)), {}, []
    order, shrunk = 0, [0] * streams  # when a stream became shorter, in numbers of events

    def note(now):
        result["backed"].at(now, backing.bytes())
        result["live"].at(now, model.live_bytes(lengths, ctx))
        result["active"].at(now, model.live_bytes([lengths[s] for s in running], ctx))
        if sample:
            sample(now, backing)

    def put(at, stream, length, last):
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, stream, length, last))

    def reach(now, stream, length):
        lengths[stream] = length
        extent = max((lengths[s] for s in running), default=0)
        for s in running if together and length else [stream]:
            if backing.set_length(s, extent if together and length else length):
                put(now + linger, s, None, False)
                shrunk[s] = order

    def until(now):
        while events and (now is None or events[0][0] <= now):
            at, number, stream, length, last = heapq.heappop(events)
            if length is None:  # the page beyond the live rows has lingered long enough
                if number == shrunk[stream] and (now is not None or running):
                    backing.settle(stream)
                    note(at)
                continue
            reach(at, stream, length)
            if last:
                del running[stream]
                free.append(stream)
                if not keeps:
                    reach(at, stream, 0)
            note(at)

    note(0.0)
    for request in requests:
        at, prompt, new = clipped(request, ctx)
        until(at)
        start = at
        while not free:
            start = events[0][0]
            until(start)
        start = max(start, at)
        result["waited"].append(start - at)
        stream = free.pop(0)
        running[stream] = True
        ready = start + prompt / speeds.prefill_per_s
        reach(start, stream, prompt)
        note(start)
        for i in range(1, blocks + 1):
            done = (new * i + blocks - 1) // blocks
            put(ready + done * speeds.step_s, stream, prompt + done, i == blocks)
    until(None)
    return result


def most_streams(model, ctx, budget, requests, seed=1, limit=4096, keeps=True):
    """The largest number of streams, all busy all the time (each takes the next request when it has finished one), whose
    backed bytes never exceed budget. Counted in steps, not in seconds: every busy stream generates one token a step. Pages
    beyond live rows do not count: they are the first to go when memory is asked for."""
    rng = random.Random(seed)
    lengths = [clipped(r, ctx)[1:] for r in requests]

    def peak(n):
        backing = Backing(model, ctx, n, spare=False)
        queue = lengths[:]
        rng.shuffle(queue)
        left, most = [0] * n, 0
        for at, (prompt, new) in enumerate(queue[:max(4 * n, 400)]):
            stream = at % n if at < n else min(range(n), key=left.__getitem__)
            now = left[stream]
            left[stream] = now + new
            backing.set_length(stream, prompt + new)  # at its longest: an upper bound of what it needs meanwhile
            most = max(most, backing.bytes())
            if most > budget:
                return most
        return most

    low, high = 0, 1
    while high <= limit and peak(high) <= budget:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if peak(middle) <= budget else (low, middle)
    return low
