# SPDX-License-Identifier: Apache-2.0
"""How costs grow: with reservations, with pages, with processes; and the slope on two logarithmic axes.

Counts, not times: instructions in libkvshim.so (callgrind) per launch that names none of n reservations, and per page
that is backed, filled and freed in an allocation of n pages. A slope of 0 is a constant, 1 is proportional. A row
misses when the launch path grows faster than the logarithm of the number of reservations.
"""
import math
import pathlib
import sys

from common import ROOT, Folder, Rows, Skip, main, parser

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
from callgrind import Missing  # noqa: E402
from overhead import per_call  # noqa: E402

COLUMNS = [("what", "what"), ("n", "n"), ("instructions", "instructions"), ("slope", "slope")]


def slope(points):
    """Of the least-squares line through the logarithms."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(max(y, 1)) for _, y in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def run():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="fewer and smaller steps")
    args = p.parse_args()
    build = (ROOT / args.build).resolve()
    rows, good = Rows(args, COLUMNS), True
    with Folder(args.keep) as folder:
        try:
            points = []
            for n in (1, 16, 256) if args.quick else (1, 4, 16, 64, 256, 1024, 4096):
                points.append((n, per_call(build, folder, "launch", n, 64)))
                rows.add({"bench": "scale", "what": "launch beside n reservations", "n": n, "instructions": round(points[-1][1], 1),
                          "slope": None, "ok": True})
            # At most logarithmic: from the first to the last no more than a constant per doubling.
            doublings = math.log2(points[-1][0] / points[0][0])
            held = points[-1][1] - points[0][1] <= 30 * doublings
            good = good and held
            rows.add({"bench": "scale", "what": "launch beside n reservations", "n": None, "instructions": None,
                      "slope": slope(points), "ok": held})
            points = []
            for n in (8, 32) if args.quick else (8, 32, 128):
                points.append((n, per_call(build, folder, "back", 1, 1, str(n)) / n))
                rows.add({"bench": "scale", "what": "a page of n backed and freed at once", "n": n,
                          "instructions": round(points[-1][1], 1), "slope": None, "ok": True})
            rows.add({"bench": "scale", "what": "a page of n backed and freed at once", "n": None, "instructions": None,
                      "slope": slope(points), "ok": True})
        except Missing as why:
            raise Skip(str(why)) from why
    rows.finish()
    return good


if __name__ == "__main__":
    main(run)
