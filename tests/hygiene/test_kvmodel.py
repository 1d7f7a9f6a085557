# SPDX-License-Identifier: Apache-2.0
"""The simulator of KV caches behind scripts/bench density: cells, pieces of a batch, pages, servers.

usage: test_kvmodel.py FOLDER_OF_BENCHES
"""
import pathlib
import random
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(sys.argv.pop(1)) / "lib"))
import kvserver  # noqa: E402
from kvcells import Cache, Cells, cut_equally, cut_simply, padded, put  # noqa: E402
from kvmodel import MODELS, PAGE, Backing, Model, Speeds, busy, most  # noqa: E402


class Slowly:
    """The same as Cells, cell by cell, as one would write it down from what the engine does."""

    def __init__(self, size, window=None):
        self.cells, self.window, self.head = [None] * size, window, 0  # None or (sequence, position)

    def last(self, sequence):
        return max((c[1] for c in self.cells if c and c[0] == sequence), default=-1)

    def find(self, n):
        used = sum(c is not None for c in self.cells)
        head = 0 if self.head > used + 2 * n else self.head
        newest = {c[0]: self.last(c[0]) for c in self.cells if c}
        found = []
        for i in [*range(head, len(self.cells)), *range(head)]:
            c = self.cells[i]
            if len(found) < n and (c is None or self.window and newest[c[0]] + 1 - c[1] >= self.window):
                found.append(i)
        return found if len(found) == n else None

    def put(self, tokens, found):
        gone, free = {}, iter(found)
        for sequence, position, n in tokens:
            for p in range(position, position + n):
                i = next(free)
                if self.cells[i]:
                    gone[self.cells[i][0]] = max(gone.get(self.cells[i][0], -1), self.cells[i][1])
                self.cells[i] = (sequence, p)
        self.cells = [None if c and c[1] <= gone.get(c[0], -1) else c for c in self.cells]
        self.head = found[-1] + 1

    def remove(self, sequence):
        mine = [i for i, c in enumerate(self.cells) if c and c[0] == sequence]
        for i in mine:
            self.cells[i] = None
        if mine:
            self.head = min(self.head, mine[0])


def flat(ranges):
    return None if ranges is None else [i for at, end in ranges for i in range(at, end)]


class CellsTest(unittest.TestCase):
    def test_what_is_read_is_padded_to_256_cells_and_ends_with_the_array(self):
        cells = Cells(600)
        self.assertEqual(cells.extent(), 256)
        for n, extent in ((256, 256), (1, 512), (255, 512), (1, 600)):
            put(cells, [(0, cells.used, n)])
            self.assertEqual(cells.extent(), extent)
        self.assertEqual([padded(n) for n in (0, 1, 256, 257)], [0, 256, 256, 512])

    def test_holes_are_filled_one_by_one_from_the_first_that_was_freed(self):
        cells = Cells(2048)
        for sequence in range(4):
            put(cells, [(sequence, 0, 100)])
        cells.remove(2)
        cells.remove(0)
        self.assertEqual(cells.find(250), [(0, 100), (200, 300), (400, 450)])

    def test_the_head_goes_on_until_there_is_enough_room_in_front_of_it(self):
        cells = Cells(2048)
        put(cells, [(0, 0, 300)])
        put(cells, [(1, 0, 100)])
        cells.remove(0)
        put(cells, [(2, 0, 10)])
        self.assertEqual(cells.head, 10)
        cells.head = 400
        self.assertEqual(cells.find(200), [(400, 600)])
        self.assertEqual(cells.find(100), [(10, 110)])

    def test_a_full_array_takes_nothing_and_one_long_sequence_keeps_the_extent_high(self):
        cells = Cells(1024)
        put(cells, [(0, 0, 1000)])
        put(cells, [(1, 0, 24)])
        self.assertIsNone(cells.find(1))
        self.assertRaises(MemoryError, put, cells, [(2, 0, 1)])
        cells.remove(0)
        self.assertEqual(cells.extent(), 1024)
        self.assertIsNone(cells.find(1025))

    def test_behind_the_window_cells_are_taken_and_older_tokens_go_with_them(self):
        cells = Cells(1536, window=1024)
        put(cells, [(0, 0, 512)])
        put(cells, [(0, 512, 512)])
        put(cells, [(0, 1024, 512)])
        self.assertEqual(cells.used, 1536)
        self.assertEqual(cells.find(513), [(0, 513)])
        put(cells, [(1, 0, 100)])
        self.assertEqual(cells.used, 1536)
        cells.remove(0)
        self.assertEqual((cells.used, cells.extent()), (100, 256))

    def test_random_work_is_as_if_done_cell_by_cell(self):
        for seed in range(12):
            rng, window = random.Random(seed), (None, 20)[seed % 2]
            fast, slow, lengths = Cells(150, window), Slowly(150, window), [0] * 4
            for _ in range(120):
                sequence = rng.randrange(4)
                if rng.random() < 0.15:
                    fast.remove(sequence)
                    slow.remove(sequence)
                    lengths[sequence] = 0
                    continue
                tokens = [(s, lengths[s], n) for s in rng.sample(range(4), rng.randint(1, 3)) for n in [rng.choice((1, 1, 2, 7, 15))]]
                found = fast.find(sum(n for _, _, n in tokens))
                self.assertEqual(flat(found), slow.find(sum(n for _, _, n in tokens)))
                if found:
                    fast.put(tokens, found)
                    slow.put(tokens, flat(found))
                    for s, _, n in tokens:
                        lengths[s] += n
                self.assertEqual(list(fast.full), [c is not None for c in slow.cells])
                self.assertEqual((fast.head, fast.used), (slow.head, sum(fast.full)))


class Pieces(unittest.TestCase):
    def test_a_unified_batch_is_cut_in_its_order(self):
        self.assertEqual(list(cut_simply([(3, 9, 1), (0, 0, 1000)])), [[(3, 9, 1), (0, 0, 511)], [(0, 511, 489)]])

    def test_streams_are_read_together_while_their_numbers_follow_each_other(self):
        self.assertEqual(list(cut_equally([(0, 5, 1), (1, 6, 1), (3, 7, 1)])), [[(0, 5, 1), (1, 6, 1)], [(3, 7, 1)]])
        self.assertEqual(list(cut_equally([(0, 5, 1), (1, 0, 600)])), [[(0, 5, 1), (1, 0, 1)], [(1, 1, 512)], [(1, 513, 87)]])
        self.assertEqual(list(cut_equally([(0, 0, 300), (1, 0, 300)])),
                         [[(0, 0, 256), (1, 0, 256)], [(0, 256, 44), (1, 256, 44)]])

    def test_neighbours_of_the_longest_are_read_as_far_as_it(self):
        cache = Cache([4096], [None], 4, False)
        list(cache.decode([(1, 0, 1000)]))
        list(cache.decode([(3, 0, 300)]))
        self.assertEqual(list(cache.decode([(0, 0, 1), (1, 1000, 1), (3, 300, 1)])),
                         [([(0, 0, 1), (1, 1000, 1)], [(0, [1024], [[(0, 1)]]), (1, [1024], [[(1000, 1001)]])]),
                          ([(3, 300, 1)], [(3, [512], [[(300, 301)]])])])


class Pages(unittest.TestCase):
    def test_the_cache_of_a_window_is_for_all_slots_or_for_each(self):
        gemma = MODELS[-1]
        self.assertEqual([cells for _, _, cells in gemma.caches(8192, 8)], [8192, 1536])
        self.assertEqual([cells for _, _, cells in gemma.caches(8192, 8, True)], [65536, 8704])
        self.assertEqual([cells for _, _, cells in gemma.caches(8192, 8, True, 4096)], [4096, 4096])

    def test_a_fall_keeps_all_until_the_reap_and_then_one_page_per_tensor(self):
        backing = Backing([(2048, 3, 8192)], 1)
        backing.set(0, [4096])
        self.assertEqual(backing.bytes(), 12 * PAGE)
        self.assertTrue(backing.set(0, [1024], reaped=False))
        self.assertEqual(backing.bytes(), 12 * PAGE)
        backing.reap(0)
        self.assertEqual(backing.bytes(), 6 * PAGE)
        backing.settle(0)
        self.assertEqual(backing.bytes(), 3 * PAGE)

    def test_the_page_ahead_comes_when_the_write_after_the_next_may_reach_it(self):
        for end, n, comes in ((512, 512, True), (824, 100, False), (825, 100, True), (1022, 1, False), (1023, 1, True)):
            with self.subTest(end=end, n=n):
                backing = Backing([(2048, 3, 8192)], 1)
                backing.set(0, [1024])
                self.assertEqual(backing.ahead(0, [[(end - n, end)]]), comes)
                self.assertEqual(backing.bytes(), (6 if comes else 3) * PAGE)
                self.assertFalse(backing.ahead(0, [[(end - n, end)]]))

    def test_tensors_that_end_within_a_page_share_it(self):
        backing = Backing([(1024, 2, 1024 + 512)], 1)
        backing.set(0, [1536])
        self.assertEqual(backing.bytes(), 2 * PAGE)
        backing.set(0, [256])
        self.assertEqual(backing.bytes(), 2 * PAGE)
        backing.settle(0)
        self.assertEqual(backing.bytes(), PAGE)


class Servers(unittest.TestCase):
    model = Model("small", [(2048, 4, None)], 8192)

    def serve(self, requests, cells=8192, slots=4, unified=True, clears=True):
        caches = self.model.caches(cells // slots, slots, unified)
        return caches, kvserver.serve(self.model, caches, slots, 2048, requests, Speeds(), unified, clears)

    def test_rows_of_idle_slots_go_when_a_request_starts_or_stay(self):
        requests = [(0.0, 1000, 2), (100.0, 1000, 2), (200.0, 1000, 2)]
        for clears, extent in ((True, 1024), (False, 3072)):
            line = self.serve(requests, clears=clears)[1]
            self.assertEqual(max(extents[0] for _, news in line.events for _, extents, _ in news), extent)
            self.assertEqual((line.failed, len(line.idle)), (0, 2))

    def test_what_does_not_fit_clears_idle_slots_and_then_breaks_all_off(self):
        requests = [(0.0, 1000, 50), (0.0, 1000, 50)]
        self.assertEqual(self.serve(requests, cells=2048, slots=2)[1].failed, 2)
        self.assertEqual(self.serve([(0.0, 1900, 2), (100.0, 1900, 2)], cells=2048, slots=2, clears=False)[1].failed, 0)

    def test_without_work_all_goes_to_the_host_and_comes_back(self):
        caches, line = self.serve([(0.0, 1000, 2), (100.0, 1000, 2)])
        got = kvserver.Replay(line, caches, away=10.0)
        self.assertEqual((got.wakes, got.restored), (1, 4 * PAGE))
        self.assertAlmostEqual(got.backed.mean(), (1 + 0.05) * 4 * PAGE, delta=PAGE / 2)  # five seconds with pages ahead
        self.assertAlmostEqual(got.here.mean(), (0.1 + 0.05) * 4 * PAGE, delta=PAGE / 2)
        self.assertEqual(kvserver.Replay(line, caches).here.mean(), got.backed.mean())

    def test_slots_apart_are_read_as_far_as_their_own_rows(self):
        requests = [(0.0, 1000, 100), (0.0, 200, 100)]
        for apart in (True, False):
            line = kvserver.serve(self.model, self.model.caches(2048, 2), 2, 2048, requests, Speeds(), False, False, apart)
            last = {stream: e[0] for _, news in line.events for stream, e, _ in news}
            self.assertEqual((last[1], last[0]), (1280, 512) if apart else (1280, 1280))

    def test_a_longer_array_changes_nothing_while_nobody_comes_near_its_end(self):
        requests = [(0.3 * i, 200 + i * 137 % 900, 5) for i in range(200)]
        small, line = self.serve(requests, cells=8192)
        large, other = self.serve(requests, cells=16384)
        self.assertTrue(line.holds_for(large, small))
        self.assertEqual(line.events, other.events)
        self.assertFalse(line.holds_for([(2048, 4, 256)], small))

    def test_the_largest_number_that_fits_is_found(self):
        for limit in (1, 2, 3, 7, 64, 100):
            self.assertEqual(most(lambda n, limit=limit: n <= limit), limit)
        self.assertEqual(most(lambda n: False), 0)
        self.assertEqual(list(busy([(0, 5, 2), (0, 6, 1), (0, 7, 1)], 2)), [(0, 7), (1, 7), (1, 8)])


unittest.main()
