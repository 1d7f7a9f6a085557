# SPDX-License-Identifier: Apache-2.0
"""Cells of llama.cpp's KV cache: where tokens go, and how far attention reads. Pure; no bytes, no time.

A cell is a row of every tensor of a cache. This follows what the engine does (releases of 2025 and 2026): tokens take cells
one by one from a head onwards, wherever one is empty or out of its sequence's window; attention reads all cells up to the
highest that is used, in blocks. Not followed: shifts, copies and shared prefixes of sequences, which the requests of a
trace do not say; tests/engines/test_kvmodel.py says what is, and `scripts/bench density` compares with the engine.
"""
from collections import deque

READ_BLOCK = 256  # cells: what attention reads is a multiple of this
UBATCH = 512  # tokens: a batch is cut into pieces of at most so many (--ubatch-size)


def padded(cells):
    return -(-cells // READ_BLOCK) * READ_BLOCK


class Cells:
    """One array of cells. window: how many positions back a token attends to (None: all)."""

    def __init__(self, size, window=None):
        self.size, self.window = size, window
        self.full = bytearray(size)  # 1: has a token
        self.free = bytearray(b"\1") * size  # 1: can be taken: empty, or behind its sequence's window
        self.head = self.used = 0
        self.top = 0  # nothing is full from here on
        self.runs = {}  # sequence -> runs [position, cell, length] that can be attended to, by position
        self.masked = {}  # the same, behind the window and not yet overwritten

    def find(self, n):
        """Cells for n tokens, as ranges in the order in which they are taken; None: there is no room."""
        head = self.head
        if head > self.used + 2 * n:
            head = 0  # enough holes in front: fill them
        found, left = [], n
        for at, end in ((head, self.size), (0, head)):
            while left:
                at = self.free.find(1, at, end)
                if at < 0:
                    break
                limit = min(end, at + left)
                stop = self.free.find(0, at, limit)
                stop = limit if stop < 0 else stop
                found.append((at, stop))
                left -= stop - at
                at = stop
            if not left:
                return found
        return None

    def put(self, tokens, ranges):
        """Tokens [(sequence, first position, how many)] into what find() said for all of them together."""
        if self.window:
            self._overwrite(ranges)
        pieces = iter(ranges)
        at, end = next(pieces)
        for sequence, position, n in tokens:
            runs = self.runs.setdefault(sequence, deque())
            while n:
                if at == end:
                    at, end = next(pieces)
                some = min(n, end - at)
                self.full[at:at + some] = b"\1" * some
                self.free[at:at + some] = bytes(some)
                if runs and runs[-1][1] + runs[-1][2] == at:
                    runs[-1][2] += some
                else:
                    runs.append([position, at, some])
                self.used += some
                at, position, n = at + some, position + some, n - some
        self.head = ranges[-1][1]
        self.top = max(self.top, max(end for _, end in ranges))
        if self.window:
            for sequence in {token[0] for token in tokens}:
                self._mask(sequence)

    def _mask(self, sequence):
        """What the sequence's next token does not attend to can be taken from now on."""
        runs, masked = self.runs[sequence], self.masked.setdefault(sequence, deque())
        least = runs[-1][0] + runs[-1][2] - self.window + 1  # first position that stays
        while runs[0][0] < least:
            position, cell, n = runs[0]
            some = min(n, least - position)
            self.free[cell:cell + some] = b"\1" * some
            masked.append([position, cell, some])
            if some == n:
                runs.popleft()
            else:
                runs[0] = [position + some, cell + some, n - some]

    def _overwrite(self, ranges):
        """The tokens in these cells go, and with each all that lie before it in its sequence: the engine keeps a
        sequence's positions without gaps."""
        ranges = [(at, end) for at, end in ranges if self.full.find(1, at, end) >= 0]
        if not ranges:
            return
        first, end = min(ranges)[0], max(ranges)[1]
        for masked in self.masked.values():
            near = (reach(run, ranges) for run in reversed(masked) if run[1] < end and first < run[1] + run[2])
            last = next((position for position in near if position is not None), -1)
            while masked and masked[0][0] <= last:
                position, cell, n = masked[0]
                some = min(n, last + 1 - position)
                self._empty(cell, some)
                if some == n:
                    masked.popleft()
                else:
                    masked[0] = [position + some, cell + some, n - some]

    def _empty(self, cell, n):
        self.full[cell:cell + n] = bytes(n)
        self.free[cell:cell + n] = b"\1" * n
        self.used -= n

    def remove(self, sequence):
        """All tokens of a sequence."""
        gone = [*self.masked.pop(sequence, ()), *self.runs.pop(sequence, ())]
        for _, cell, n in gone:
            self._empty(cell, n)
        if gone:
            self.head = min(self.head, min(cell for _, cell, _ in gone))

    def extent(self):
        """How many cells attention reads of this array, if it reads any."""
        self.top = self.full.rfind(1, 0, self.top) + 1
        return min(self.size, max(READ_BLOCK, padded(self.top)))


def reach(run, ranges):
    """The last position of a run that lies in one of the ranges, or None."""
    position, cell, n = run
    hits = [end for at, end in ranges if cell < end and at < cell + n]
    return position + min(max(hits) - cell, n) - 1 if hits else None


def cut_simply(batch, most=UBATCH):
    """A batch [(sequence, position, n)] in pieces of at most so many tokens, in its order (a unified cache)."""
    piece, room = [], most
    for sequence, position, n in batch:
        while n:
            some = min(n, room)
            piece.append((sequence, position, some))
            position, n, room = position + some, n - some, room - some
            if not room:
                yield piece
                piece, room = [], most
    if piece:
        yield piece


def cut_equally(batch, most=UBATCH):
    """The same for a cache with an array for each sequence: each piece has equally many tokens of sequences whose numbers
    follow each other. A sequence occurs once in a batch."""
    left = [list(entry) for entry in batch]
    while left:
        chosen = [left[0]]
        for entry in left[1:]:
            if entry[0] == chosen[-1][0] + 1:
                chosen.append(entry)
        n = min(min(entry[2] for entry in chosen), max(1, most // len(chosen)))
        yield [(sequence, position, n) for sequence, position, _ in chosen]
        for entry in chosen:
            entry[1] += n
            entry[2] -= n
        left = [entry for entry in left if entry[2]]


class Cache:
    """A cache of one kind of layers, or of two: those that see the whole context and those with a window. Unified: one
    array for all sequences; else one for each."""

    def __init__(self, sizes, windows, streams, unified):
        """sizes, windows: by kind; cells of an array."""
        self.unified = unified
        self.arrays = [[Cells(size, window) for _ in range(1 if unified else streams)] for size, window in zip(sizes, windows)]

    def room(self, n):
        """Whether n tokens more fit into a unified cache."""
        return all(cells.size - cells.used >= n for kind in self.arrays for cells in kind if not cells.window)

    def remove(self, sequence):
        for kind in self.arrays:
            kind[0 if self.unified else sequence].remove(sequence)

    def decode(self, batch):
        """Yields for each piece of the batch (piece, [(stream, extents, written)]): by kind, how far attention reads of a
        stream then, and the ranges of cells that have been written."""
        for piece in cut_simply(batch) if self.unified else cut_equally(batch):
            if self.unified:
                written = [put(kind[0], piece) for kind in self.arrays]
                yield piece, [(0, [kind[0].extent() for kind in self.arrays], written)]
                continue
            written = [[put(kind[token[0]], [token]) for kind in self.arrays] for token in piece]
            extents = [max(kind[sequence].extent() for sequence, _, _ in piece) for kind in self.arrays]
            yield piece, [(token[0], extents, ranges) for token, ranges in zip(piece, written)]


def put(cells, tokens):
    """Tokens as Cells.put() takes them, wherever there is room. Returns the ranges."""
    ranges = cells.find(sum(n for _, _, n in tokens))
    if ranges is None:
        raise MemoryError("no cell is free")
    cells.put(tokens, ranges)
    return ranges
