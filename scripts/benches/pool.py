# SPDX-License-Identifier: Apache-2.0
"""The cooperative pool on recorded lengths: best fit against first fit and buddies, and what looking ahead brings.

The trace is CSV with a header and the columns TIMESTAMP, ContextTokens, GeneratedTokens (the Azure LLM inference traces).
A request holds its cache for its context at --prefill tokens per second plus --decode-ms per generated token. One for
which there is no room is refused, not queued. Without --trace: the 200 requests of tests/api/trace.csv.
"""
import csv
import datetime
import pathlib
import subprocess

from common import MIB, ROOT, Rows, chart, main, parser, where

FIT = [("pool", "pool"), ("capacity_bytes", "MiB"), ("refused", "refused"), ("peak_bytes", "peak MiB"),
       ("inside", "lost inside"), ("outside", "free, but split"), ("looks", "looks/call"), ("ns", "ns/call")]
AHEAD = [("sight", "looks ahead"), ("capacity_bytes", "MiB"), ("served", "served"), ("stalls", "had to map"),
         ("ahead_bytes", "ahead MiB"), ("backed_bytes", "backed MiB")]


def requests(path, prefill, decode_ms, most):
    """BEGIN_MS END_MS TOKENS of each line, in order of time."""
    first, lines = None, []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = datetime.datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or at
            context, generated = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            begin = max(0, round((at - first).total_seconds() * 1000))
            lines.append((begin, begin + round(context / prefill * 1000 + generated * decode_ms),
                          max(1, context + generated)))
            if len(lines) == most:
                break
    lines.sort()
    return "".join(f"{b} {e} {t}\n" for b, e, t in lines)


def lines_of(args, mode, text):
    """What the program says of one way each."""
    out = subprocess.run([pathlib.Path(args.build).resolve() / "tests/api/pool_bench", mode, str(args.capacity_mib),
                          str(args.token_bytes)], input=text, text=True, check=True, capture_output=True).stdout
    return [line.split() for line in out.splitlines()]


def charts(fits, ahead):
    parts = [("lost inside blocks", "inside"), ("free, but split", "outside")]
    return (f"The cooperative pool on the lengths of {fits[0]['requests'] if fits else 0} recorded requests", where(None),
            [chart.Bars("Most memory in use", "MiB", ["peak"], [(r["pool"], [r["peak_bytes"] / MIB]) for r in fits]),
             chart.Bars("Memory that nobody can use, at the peak", "share of it", [name for name, _ in parts],
                        [(r["pool"], [r[key] for _, key in parts]) for r in fits]),
             chart.Bars("Requests that had to wait for a page to be mapped, by what is known ahead", "requests", ["stalls"],
                        [(r["sight"], [r["stalls"]]) for r in ahead])])


def options():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="1,000 requests")
    p.add_argument("--trace", type=pathlib.Path, default=ROOT / "tests/api/trace.csv")
    p.add_argument("--capacity-mib", type=int, default=16384)
    p.add_argument("--token-bytes", type=int, default=131072, help="131072: 32 layers, 8 heads of 128, 2 bytes")
    p.add_argument("--prefill", type=float, default=8000, help="tokens per second")
    p.add_argument("--decode-ms", type=float, default=30, help="per token")
    return p


def run():
    args = options().parse_args()
    text = requests(args.trace, args.prefill, args.decode_ms, 1000 if args.quick else 0)
    common = {"bench": "pool", "requests": text.count("\n"), "capacity_bytes": args.capacity_mib * MIB,
              "token_bytes": args.token_bytes, "ok": True}
    rows = fits = Rows(args, FIT)
    for name, _, refused, peak, inside, outside, looks, ns in lines_of(args, "fit", text):
        rows.add({**common, "pool": name, "refused": int(refused), "peak_bytes": float(peak) * MIB,
                  "inside": float(inside), "outside": float(outside), "looks": float(looks), "ns": int(ns)})
    rows.finish()
    if not args.json:
        print()
    rows = Rows(args, AHEAD, lambda found: charts(fits.rows, found))
    for name, served, stalls, ahead, backed in lines_of(args, "predict", text):
        rows.add({**common, "sight": name, "served": int(served), "stalls": int(stalls),
                  "ahead_bytes": float(ahead) * MIB, "backed_bytes": float(backed) * MIB})
    rows.finish()
    return True


if __name__ == "__main__":
    main(run)
