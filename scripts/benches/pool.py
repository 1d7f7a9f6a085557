# SPDX-License-Identifier: Apache-2.0
"""The cooperative pool on the lengths of a recorded trace: best fit against first fit and buddies, and what looking
ahead avoids and costs.

usage: pool.py BUILD TRACE [--capacity-mib N] [--token-bytes N] [--prefill N] [--decode-ms N] [--requests N]

TRACE is CSV with a header and the columns TIMESTAMP, ContextTokens, GeneratedTokens (the Azure LLM inference traces).
A request holds its cache for its context at --prefill tokens per second plus --decode-ms per generated token. A
request for which there is no room is refused, not queued.
"""
import argparse
import csv
import datetime
import pathlib
import subprocess
import sys


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


def run(program, mode, args, text):
    out = subprocess.run([program, mode, str(args.capacity_mib), str(args.token_bytes)], input=text, text=True,
                         check=True, capture_output=True).stdout
    return [line.split() for line in out.splitlines()]


def table(heads, rows):
    widths = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(heads)]
    for row in [heads, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.rjust(width) if i else cell.ljust(width)
                                for i, (cell, width) in enumerate(zip(row, widths))) + " |")


def percent(text):
    return f"{float(text) * 100:.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("trace", type=pathlib.Path)
    parser.add_argument("--capacity-mib", type=int, default=16384)
    parser.add_argument("--token-bytes", type=int, default=131072, help="131072: 32 layers, 8 heads of 128, 2 bytes")
    parser.add_argument("--prefill", type=float, default=8000, help="tokens per second")
    parser.add_argument("--decode-ms", type=float, default=30, help="per token")
    parser.add_argument("--requests", type=int, default=0, help="0: all")
    args = parser.parse_args()
    text = requests(args.trace, args.prefill, args.decode_ms, args.requests)
    program = args.build / "tests/api/pool_bench"
    print(f"{text.count(chr(10))} requests, {args.capacity_mib} MiB, {args.token_bytes} bytes per token\n")
    rows = run(program, "fit", args, text)
    table(["pool", "refused", "peak MiB", "lost inside", "free, but split", "looks/call", "ns/call"],
          [[name, refused, peak, percent(inside), percent(outside), looks, ns]
           for name, _, refused, peak, inside, outside, looks, ns in rows])
    print()
    rows = run(program, "predict", args, text)
    table(["looks ahead", "served", "had to map", "ahead MiB (mean)", "backed MiB (mean)"], rows)
    return 0


sys.exit(main())
