# SPDX-License-Identifier: Apache-2.0
"""What the benches share: options, rows that are kept, printed or drawn, the engines of the tests."""
import argparse
import json
import os
import pathlib
import platform
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/engines"))
sys.path.insert(0, str(ROOT / "scripts/benches/lib"))

from enginelib import Failure, Skip  # noqa: E402  (tests/engines knows packages, models and fronts)
import chart  # noqa: E402

MIB = 1 << 20


def parser(doc):
    """The options that every bench has; --build is given by scripts/bench."""
    p = argparse.ArgumentParser(prog="scripts/bench", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build", help=argparse.SUPPRESS)
    p.add_argument("--json", action="store_true", help="one object per line instead of a table")
    p.add_argument("--svg", metavar="FILE", help="also a picture")
    p.add_argument("--keep", metavar="DIR", help="keep what the runs leave behind")
    return p


def where(gpu="sim"):
    """On what it was measured, for pictures. gpu: "sim", "real", or None where there is none behind it."""
    on = {"sim": "Measured on the software GPU", "real": "Measured on the GPU of this machine"}.get(gpu, "No GPU behind it")
    return f"{on}; {platform.machine()}, {len(os.sched_getaffinity(0))} processors."


class Rows:
    """Rows as they are measured: with --json printed at once, else one table at the end; with --svg drawn as well.

    args: of parser(). columns: (key, heading). charts: of the rows, what chart.document() is to be given: (title, on what
    it was measured, panels).
    """

    def __init__(self, args, columns, charts=None):
        self.as_json, self.svg, self.columns, self.charts, self.rows = args.json, args.svg, columns, charts, []

    def add(self, row):
        self.rows.append(row)
        if self.as_json:
            print(json.dumps(row), flush=True)

    def finish(self):
        if self.svg and self.charts:
            pathlib.Path(self.svg).write_text(chart.document(*self.charts(self.rows)))
        if self.as_json or not self.rows:
            return
        text = [[heading for _, heading in self.columns]]
        text += [[cell(row.get(key), key) for key, _ in self.columns] for row in self.rows]
        widths = [max(len(line[i]) for line in text) for i in range(len(self.columns))]
        for line in text:
            left = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
            print("  ".join(left).rstrip())


def cell(value, key):
    if value is None:
        return "-"
    if key.endswith("_bytes"):
        return f"{value / MIB:.0f}"
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)


class Folder:
    """A folder for what the runs leave behind, gone at the end unless it is to be kept."""

    def __init__(self, keep):
        self.keep = keep
        self.path = pathlib.Path(keep or tempfile.mkdtemp(prefix="kvshim-bench-")).resolve()

    def __enter__(self):
        return self.path

    def __exit__(self, *error):
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)


def main(function):
    """Runs a bench. It returns True if every row was as promised."""
    try:
        sys.exit(0 if function() else 1)
    except Skip as reason:
        print(f"SKIP: {reason}")
        sys.exit(77)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        sys.exit(1)
