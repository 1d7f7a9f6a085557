# SPDX-License-Identifier: Apache-2.0
"""How costs grow: with reservations, with pages, with processes; and the slope on two logarithmic axes.

Counts, not times: instructions (callgrind) of the shim, or of core alone over a device that does nothing (tests/scale).

  by reservations   1 to 4096: a launch that names none of them; looking one up; touching a page that is backed; taking 16
                    pages from all of them; giving up 16 dead ones; making one more
  by pages          10^3 to 10^6 in one reservation: touching, taking 16, giving up 16; and for each page: backing it, moving
                    it to host memory, and the bytes of the books
  by processes      1 to 256, as many as a segment has slots for: a charge that a lease pays for, one that takes the mutex, a
                    decision of the policy, a turn of one who waits, joining

Slope: of the least-squares line through the logarithms. 0 is a constant, 1 proportional. What is done for every
submission (hot) must not grow faster than the logarithm; the slope of nothing may be above 1.4, or work would grow much
faster than what there is (the policy sorts). A row misses when that does not hold.
"""
import math

from common import ROOT, Folder, Rows, Skip, chart, main, parser, where
from callgrind import Missing, instructions, side_by_side
from overhead import environment, per_call

STEEPEST = 1.4
PER_DOUBLING = 30  # instructions that the hot path may get dearer when there is twice as much
COLUMNS = [("by", "by"), ("what", "what"), ("n", "n"), ("count", "count"), ("unit", "unit"), ("slope", "slope"), ("verdict", "verdict")]


class Series:
    """One thing that is counted as something grows. count: (build, folder, n) -> number."""

    def __init__(self, by, what, count, hot=False, unit="instructions"):
        self.by, self.what, self.count, self.hot, self.unit = by, what, count, hot, unit

    def holds(self, points):
        (first, least), (last, most) = points[0], points[-1]
        if self.hot:
            return most - least <= PER_DOUBLING * math.log2(last / first)
        return slope(points) <= STEEPEST


def of_core(what, reservations, pages, per=1):
    """Instructions of core for what, in a scene whose size depends on n; divided by per(n)."""
    def count(build, _folder, n):
        words = [build / "tests/scale/scale_pages", what, reservations(n), pages(n)]
        got = instructions(words, {}, "scale_measured", "scale_pages", "mock_")
        return got["instructions"] / (per(n) if callable(per) else per)
    return count


def books(build, _folder, n):
    """Bytes of core's books, by page."""
    got = instructions([build / "tests/scale/scale_pages", "again", 1, n], {}, "scale_measured", "scale_pages", "mock_")
    return int(got["said"].split()[1]) / n


def of_slots(what):
    def count(build, folder, n):
        place = folder / f"{what}-{n}"
        place.mkdir(exist_ok=True)
        return instructions([build / "tests/scale/scale_slots", what, n], {"KVSHIM_DIR": str(place)}, "scale_measured", "scale_slots")["instructions"]
    return count


def launch(build, folder, n):
    return per_call(build, folder, "launch", n, 64)


def same(n):
    return n


def one(_n):
    return 1


def some(_n):
    return 16


SERIES = [
    Series("reservations", "a launch that names none of them", launch, hot=True),
    Series("reservations", "looking one up", of_core("find", same, some), hot=True),
    Series("reservations", "touching a backed page", of_core("again", same, some), hot=True),
    Series("reservations", "reclaiming 16 pages", of_core("reclaim", same, some)),
    Series("reservations", "giving up 16 dead pages", of_core("dead", same, some)),
    Series("reservations", "one more reserved and freed", of_core("reserve", same, some)),
    Series("pages", "touching a backed page", of_core("again", one, same), hot=True),
    Series("pages", "reclaiming 16 pages", of_core("reclaim", one, same)),
    Series("pages", "giving up 16 dead pages", of_core("dead", one, same)),
    Series("pages", "backing, for each page", of_core("back", one, same, per=same)),
    Series("pages", "moving to host memory, for each page", of_core("evict", one, same, per=same)),
    Series("pages", "books, for each page", books, unit="bytes"),
    Series("processes", "a charge that a lease pays for", of_slots("lease"), hot=True),
    Series("processes", "a charge under the mutex", of_slots("charge")),
    Series("processes", "a decision of the policy", of_slots("decide")),
    Series("processes", "a turn of one who waits", of_slots("wait")),
    Series("processes", "joining and leaving", of_slots("join")),
]
STEPS = {"reservations": (1, 4, 16, 64, 256, 1024, 4096), "pages": (1000, 10000, 100000, 1000000), "processes": (1, 2, 4, 8, 16, 32, 64, 128, 256)}
QUICK = {"reservations": (1, 64, 1024), "pages": (1000, 10000), "processes": (1, 8, 256)}


def slope(points):
    """Of the least-squares line through the logarithms."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(max(y, 1)) for _, y in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def measured(build, folder, series, steps):
    """[(series, points)]."""
    jobs = [(s, n) for s in series for n in steps[s.by]]
    counts = side_by_side([lambda s=s, n=n: s.count(build, folder, n) for s, n in jobs])
    return [(s, [(n, count) for (other, n), count in zip(jobs, counts) if other is s]) for s in series]


def charts(rows):
    panels = []
    for by, unit in (("reservations", "reservations"), ("pages", "pages of one reservation"), ("processes", "processes on the device")):
        mine = [r for r in rows if r["by"] == by and r["unit"] == "instructions"]
        lines = [(what, [(r["n"], r["count"]) for r in mine if r["what"] == what and r["n"]]) for what in dict.fromkeys(r["what"] for r in mine)]
        slopes = {r["what"]: r["slope"] for r in mine if r["n"] is None}
        lines = [(f"{what} (slope {slopes[what]:.2f})", points) for what, points in lines]
        panels.append(chart.Lines(f"By {by}", unit, "instructions", lines, log_x=True, log_y=True))
    return "How costs grow with reservations, pages and processes", "Instructions: the same on every machine of a kind. " + where(), panels


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="fewer and smaller steps")
    p.add_argument("--by", choices=sorted(STEPS), action="append", help="only these; may be given again")
    args = p.parse_args()
    build = (ROOT / args.build).resolve()
    rows = Rows(args, COLUMNS, charts)
    series = [s for s in SERIES if not args.by or s.by in args.by]
    with Folder(args.keep) as folder:
        try:
            found = measured(build, folder, series, QUICK if args.quick else STEPS)
        except Missing as why:
            raise Skip(str(why)) from why
    for s, points in found:
        row = {"bench": "scale", "by": s.by, "what": s.what, "unit": s.unit, "hot": s.hot}
        for n, count in points:
            rows.add({**row, "n": n, "count": round(count, 1), "slope": None, "verdict": None})
        rows.add({**row, "n": None, "count": None, "slope": round(slope(points), 3), "verdict": "ok" if s.holds(points) else "MISS"})
    rows.finish()
    return all(r["verdict"] != "MISS" for r in rows.rows)


if __name__ == "__main__":
    main(run)
