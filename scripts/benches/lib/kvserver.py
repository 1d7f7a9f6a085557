# SPDX-License-Identifier: Apache-2.0
"""A server like llama-server: which cells are read when, and what that backs.

The cells do not depend on a model's rows: serve() says once how far which stream is read at which time, and Replay what
that means for the pages of one model.
"""
import heapq
from collections import deque

from kvcells import UBATCH, Cache, Cells, put
from kvmodel import LINGER_S, Backing, Integral, busy, clipped

BATCH = 2048  # tokens: what the server puts into one decode (--batch-size)
BURST_S, PAUSE_S = 0.05, 0.25  # what has died goes so long after it was seen, and so long after the last time


class Slot:
    def __init__(self, number):
        self.number, self.length, self.prompt, self.new = number, 0, 0, 0  # tokens: in the cache, to be read, to be generated

    def busy(self):
        return self.prompt > 0 or self.new > 0

    def generates(self):
        return self.new > 0 and not self.prompt


class Timeline:
    """What happened: events [(time, [(stream, extents by kind, ranges written by kind)])], when it ended, times without work
    [(start, end)], tokens that are attended to over time by kind, and the number of requests that the engine would have
    broken off for want of cells."""

    def __init__(self, windows, streams):
        self.events, self.end, self.idle, self.failed, self.streams = [], 0.0, [], 0, streams
        self.live = [Integral() for _ in windows]

    def holds_for(self, caches, before):
        """Whether it would be the same with these sizes, as it is with those before: nobody has come near the end of an array
        that has another size."""
        most = [max(extents[kind] for _, news in self.events for _, extents, _ in news) for kind in range(len(caches))]
        return not self.failed and all(new == old or extent < min(new, old)
                                       for (_, _, new), (_, _, old), extent in zip(caches, before, most))

    def live_mean(self, rows):
        """Bytes; rows: bytes of a token by kind."""
        return sum(live.mean() * row for live, row in zip(self.live, rows))


class Server:
    """See serve()."""

    def __init__(self, model, caches, slots, ctx, requests, speeds, unified, clears, apart):
        self.windows, self.speeds, self.unified, self.clears, self.apart = model.windows(), speeds, unified, clears and unified, apart
        self.cache = Cache([cells for _, _, cells in caches], self.windows, slots, unified)
        self.slots = [Slot(i) for i in range(slots)]
        self.idle, self.waiting = deque(reversed(self.slots)), deque(clipped(r, ctx) for r in requests)
        self.line, self.now, self.shown = Timeline(self.windows, 1 if unified else slots), 0.0, {}

    def run(self):
        while self.waiting or len(self.idle) < len(self.slots):
            if len(self.idle) == len(self.slots) and self.waiting[0][0] > self.now:
                self.line.idle.append((self.now, self.waiting[0][0]))
                self.now = self.waiting[0][0]
            self.start()
            batch = self.make_batch()
            if self.fits(sum(n for _, _, n in batch)):
                self.decode(batch)
            else:
                self.break_off()
        self.line.end = self.now
        self.note()
        return self.line

    def note(self):
        for live, window in zip(self.line.live, self.windows):
            live.at(self.now, sum(s.length if window is None else min(window, s.length) for s in self.slots))

    def forget(self, slot):
        self.cache.remove(slot.number)
        slot.length = 0

    def start(self):
        while self.idle and self.waiting and self.waiting[0][0] <= self.now:
            slot, (_, slot.prompt, new) = self.idle.popleft(), self.waiting.popleft()
            slot.new = max(new, 1)
            for other in [slot, *self.idle] if self.clears else [slot]:
                self.forget(other)

    def make_batch(self):
        batch = [(s.number, s.length, 1) for s in self.slots if s.generates()]
        left = BATCH - len(batch)
        for slot in self.slots:
            if slot.prompt and left:
                batch.append((slot.number, slot.length, min(slot.prompt, left)))
                left -= batch[-1][2]
        return batch

    def fits(self, n):
        if not self.unified or self.cache.room(n):
            return True
        for slot in self.slots:
            if not slot.busy() and slot.length:
                self.forget(slot)
                if self.cache.room(n):
                    return True
        return False

    def break_off(self):
        for slot in self.slots:
            if slot.busy():
                self.line.failed += 1
                slot.prompt = slot.new = 0
                self.forget(slot)
                self.idle.append(slot)

    def decode(self, batch):
        generating = {s.number for s in self.slots if s.generates()}
        for part in ([entry] for entry in batch) if self.apart else (batch,):
            for piece, streams in self.cache.decode(part):
                self.piece(piece, streams, generating)
        if generating:
            self.now += self.speeds.step_s
        for number, _, _ in batch:
            slot = self.slots[number]
            if not slot.prompt:  # a token has been sampled; the last one is not decoded
                slot.new -= 1
                if not slot.new:
                    self.idle.append(slot)

    def piece(self, piece, streams, generating):
        reading = 0
        for number, _, n in piece:
            self.slots[number].length += n
            if number not in generating:
                self.slots[number].prompt -= n
                reading += n
        # A single token that changes no extent brings no page ahead that is not needed two tokens later.
        news = [s for s in streams if reading or self.shown.get(s[0]) != s[1]]
        self.shown.update((stream, extents) for stream, extents, _ in news)
        if news:
            self.line.events.append((self.now, news))
        self.note()
        self.now += reading / self.speeds.prefill_per_s


def serve(model, caches, slots, ctx, requests, speeds, unified=True, clears=True, apart=False):
    """The Timeline of a server that takes the requests in order of arrival; each gets the slot that has been idle for longest.

    caches: Model.caches(); only the cells matter. ctx: what a slot takes. clears: when a request starts, the rows of all
    slots that are idle go (llama-server since April 2026, unified only: --cache-idle-slots); else those of its own slot only.
    In each step all slots that generate decode one token, and prompts fill the batch up; apart: each slot's part of it is
    decoded by itself, as if there were a server for each slot. When it does not fit, idle slots are cleared, and if that
    does not do, all that runs is broken off, as llama-server does. Requests share no prefix.
    """
    return Server(model, caches, slots, ctx, requests, speeds, unified, clears, apart).run()


class Replay:
    """What a timeline means for pages. caches: those of the timeline, with a model's rows. linger: for how many seconds a page
    beyond live rows stays unused (the shim takes half to all of it; here all), and the page ahead of what is written, which
    the shim may come too late with; here it never does. away: after so many seconds without work everything moves to host
    memory until there is work again (KVSHIM_IDLE_MS; None: never). All of it comes back then, since llama-server saves what
    idle slots have when the next request starts. sample(bytes): called with each change of what is backed.

    backed, here: device bytes over time, without moves to host memory and with them; wakes, restored: how often all came
    back, and how many bytes in all.
    """

    def __init__(self, line, caches, linger=LINGER_S, away=None, sample=None):
        self.backing, self.backed, self.here, self.sample = Backing(caches, line.streams), Integral(), Integral(), sample
        self.wakes = self.restored = self.order = 0
        self.gone, self.fell, self.shrunk, self.last = False, set(), {}, -PAUSE_S
        self.agenda = []
        for start, end in line.idle if away is not None else ():
            if start + away < end:
                self.plan(start + away, self.leave)
                self.plan(end, self.come_back)
        for now, news in line.events:
            self.until(now)
            changed = False
            for stream, extents, written in news:
                before = self.backing.bytes()
                fell = self.backing.set(stream, extents, reaped=False)
                if fell:
                    self.mark(now, stream)
                if self.backing.ahead(stream, written) or fell:
                    self.plan(now + linger, self.settle, stream)
                    self.shrunk[stream] = self.order
                changed = changed or self.backing.bytes() != before
            if changed:
                self.note(now)
        self.until(line.end)
        self.note(line.end)

    def plan(self, at, what, *more):
        self.order += 1
        heapq.heappush(self.agenda, (at, self.order, what, more))

    def until(self, end):
        while self.agenda and self.agenda[0][0] <= end:
            at, number, what, more = heapq.heappop(self.agenda)
            what(at, number, *more)
            self.note(at)

    def note(self, now):
        value = self.backing.bytes()
        self.backed.at(now, value)
        self.here.at(now, 0 if self.gone else value)
        if self.sample:
            self.sample(value)

    def mark(self, now, stream):
        """Something of the stream has died."""
        if not self.fell:
            self.plan(max(now + BURST_S, self.last + PAUSE_S), self.reap)
        self.fell.add(stream)

    def reap(self, now, _):
        self.last = now
        for stream in self.fell:
            self.backing.reap(stream)
        self.fell.clear()

    def settle(self, _, number, stream):
        if self.shrunk[stream] == number:
            self.backing.settle(stream)

    def leave(self, *_):
        self.gone = True

    def come_back(self, *_):
        self.gone = False
        self.wakes += 1
        self.restored += self.backing.bytes()


def read_bytes(line, caches):
    """What attention reads, over time."""
    extents, read = {}, Integral()
    for now, news in line.events:
        extents.update((stream, extent) for stream, extent, _ in news)
        read.at(now, sum(row * n * extent for stream in extents.values() for (row, n, _), extent in zip(caches, stream)))
    read.at(line.end, read.value)
    return read.mean()


def busy_bytes(model, ctx, slots, requests):
    """As kvmodel.busy_bytes(), for a unified cache."""
    caches = model.caches(ctx, slots, unified=True)
    kinds = [Cells(size, window) for (_, _, size), window in zip(caches, model.windows())]
    backing = Backing(caches, 1, spare=False)
    for slot, length in busy([clipped(r, ctx) for r in requests], slots):
        for cells in kinds:
            cells.remove(slot)
            for first in range(0, length, UBATCH):
                put(cells, [(slot, first, min(UBATCH, length - first))])
        backing.set(0, [cells.extent() for cells in kinds])
        yield backing.bytes()
