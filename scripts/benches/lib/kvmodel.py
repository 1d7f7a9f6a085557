# SPDX-License-Identifier: Apache-2.0
"""A model of KV caches and of what backs them: geometry, pages, a server with slots. Pure; no GPU, no engine.

Sizes are bytes, lengths are tokens (rows), times are seconds unless a name says otherwise. The geometry follows
llama.cpp: one tensor per layer for keys and one for values, each with an array of rows per stream or one for all, the
tensors of a kind behind each other in one buffer; attention reads whole blocks of 256 rows.
"""
import csv
import datetime
import heapq
import random

import kvcells
from kvcells import padded

PAGE = 2 << 20
UBATCH = kvcells.UBATCH


class Model:
    """A model's cache: (row bytes, number of tensors, window in tokens or None for the whole context)."""

    def __init__(self, name, tensors, longest):
        self.name, self.tensors, self.longest = name, tensors, longest

    def caches(self, ctx, slots, unified=False, whole=None):
        """[(row bytes, number of tensors, cells of an array)], by kind of tensor. ctx: tokens of a slot. Unified: one array for
        all slots, of so many cells in all as they have one by one, or of `whole`."""
        whole = (whole or ctx * slots) if unified else ctx
        return [(row, n, whole if window is None else padded(min(whole, window * (slots if unified else 1) + UBATCH)))
                for row, n, window in self.tensors]

    def windows(self):
        return [window for _, _, window in self.tensors]

    def token_bytes(self):
        """Of one token, by kind."""
        return [row * n for row, n, _ in self.tensors]

    def static_bytes(self, ctx, slots, unified=False, whole=None):
        return sum(row * n * cells for row, n, cells in self.caches(ctx, slots, unified, whole)) * (1 if unified else slots)


# Shapes from the models' published configurations, f16 caches.
MODELS = [
    Model("Llama-2-13B", [(10240, 80, None)], 4096),
    Model("Llama-3.1-8B", [(2048, 64, None)], 131072),
    Model("Qwen2.5-7B", [(1024, 56, None)], 32768),
    Model("DeepSeek-V2-Lite", [(1152, 27, None)], 163840),
    Model("Gemma-3-12B", [(4096, 16, None), (4096, 80, 1024)], 131072),
]

LINGER_S = 5.0  # KVSHIM_LINGER_MS: how long a page beyond the live rows is kept unused


class Backing:
    """Which pages of a cache have memory. caches: (row bytes, number of tensors, cells of a stream) by kind. Extents, how
    many cells of a stream are read, may be set for any stream in any order. When one becomes shorter, one page per tensor
    beyond what it needs stays, so that an extent that moves to and fro costs nothing, until settle() says that its time is
    over (or, without spare, not at all); an extent of 0 means that the cache was cleared, and leaves nothing."""

    def __init__(self, caches, streams, spare=True):
        self.caches, self.streams, self.spare = caches, streams, spare
        self.extents = [[0] * len(caches) for _ in range(streams)]
        self.count = {}  # page number -> how many (tensor, stream) ranges need it; pages behind no range are absent
        # Tensors whose streams start on page boundaries never share a page: they are counted, not listed.
        self.plain = [not row * cells % PAGE for row, _, cells in caches]
        self.mixed, at = [[] for _ in caches], 0  # first byte of each tensor, by kind
        for kind, (row, n, cells) in enumerate(caches):
            if not self.plain[kind]:
                self.mixed[kind] = [at + i * row * cells * streams for i in range(n)]
            at += -(-n * row * cells * streams // PAGE) * PAGE  # each kind is a buffer of its own
        self.end = at // PAGE
        self.held = [[0] * len(caches) for _ in range(streams)]  # pages of each tensor, of the plain kinds
        self.spans = {}  # (kind, tensor, stream) -> pages, of the others
        self.n_plain = 0

    def set(self, stream, extents, reaped=True):
        """True if pages may have stayed that are not needed. reaped: what has died is gone, all but spare pages; else all
        of it stays until reap()."""
        fell = False
        for kind, extent in enumerate(extents):
            old, self.extents[stream][kind] = self.extents[stream][kind], extent
            if extent != old:
                self._hold(stream, kind, self.spare, reaped)
                fell = fell or extent < old
        return fell and (self.spare or not reaped)

    def reap(self, stream):
        """What has died goes, all but spare pages."""
        for kind in range(len(self.caches)):
            self._hold(stream, kind, self.spare, True)

    def settle(self, stream):
        """What is kept beyond the live rows of a stream goes."""
        for kind in range(len(self.caches)):
            self._hold(stream, kind, False, True)

    def ahead(self, stream, written):
        """Ranges of cells have been written, by kind: the page behind one is backed, too, if the write after the next one of
        that length may reach it, as a spare page. True if one has come."""
        came = False
        for kind, ranges in enumerate(written):
            row, n, cells = self.caches[kind]
            for first, end in ranges:
                size, more = row * end, 2 * row * (end - first)
                if self.plain[kind]:
                    page = -(-size // PAGE)
                    if size + more > page * PAGE and page == self.held[stream][kind] and page * PAGE < row * cells:
                        self.held[stream][kind] += 1
                        self.n_plain += n
                        came = True
                for i, start in enumerate(self.mixed[kind]):
                    high = start + stream * row * cells + size
                    page = -(-high // PAGE)
                    span = self.spans[kind, i, stream]
                    if high + more > page * PAGE and page == span[1] and page < self.end:
                        self.spans[kind, i, stream] = (span[0], page + 1)
                        self.count[page] = self.count.get(page, 0) + 1
                        came = True
        return came

    def _hold(self, stream, kind, spare, reaped):
        row, n, cells = self.caches[kind]
        extent = self.extents[stream][kind]
        if self.plain[kind]:
            need, held = -(-row * extent // PAGE), self.held[stream][kind]
            now = max(need, held if not reaped else min(held, need + spare) if extent else 0)
            self.n_plain += n * (now - held)
            self.held[stream][kind] = now
        for i, start in enumerate(self.mixed[kind]):
            start += stream * row * cells
            before = self.spans.get((kind, i, stream), (0, 0))
            after = self._span(start, row * extent, before, spare, reaped)
            if before == after:
                continue
            self.spans[kind, i, stream] = after
            for page in range(*before):
                self.count[page] -= 1
                if not self.count[page]:
                    del self.count[page]
            for page in range(*after):
                self.count[page] = self.count.get(page, 0) + 1

    @staticmethod
    def _span(start, size, before, spare, reaped):
        """(first page, end) of a range; before: the same until now."""
        if not size:
            return (0, 0) if reaped else before
        end = (start + size - 1) // PAGE + 1
        return (start // PAGE, max(end, before[1] if not reaped else min(before[1], end + spare)))

    def bytes(self):
        return (self.n_plain + len(self.count)) * PAGE


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


# ---- streams at equal memory ----

def busy(requests, slots):
    """Slots that are busy all the time: [(slot, tokens)] as it takes the requests, in their order, with all rows that it
    will have, those to be generated too (an upper bound). Time is counted in tokens generated."""
    ends = []
    for at, (_, prompt, new) in enumerate(requests):
        now, slot = heapq.heappop(ends) if at >= slots else (0, at)
        heapq.heappush(ends, (now + new, slot))
        yield slot, prompt + new


def busy_bytes(model, ctx, slots, requests):
    """Bytes backed after each step of busy(), each slot for itself. Pages beyond live rows do not count: they are the first
    to go when memory is asked for."""
    backing = Backing(model.caches(ctx, slots), slots, spare=False)
    for slot, length in busy([clipped(r, ctx) for r in requests], slots):
        backing.set(slot, [min(padded(length), cells) for _, _, cells in backing.caches])
        yield backing.bytes()


def most(fits, least=1):
    """The largest number for which fits(number) is true, if it is true below and false above. 0: not even for `least`."""
    low, high = least, 2 * least
    if not fits(low):
        return 0
    while fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
