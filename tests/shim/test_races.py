# SPDX-License-Identifier: Apache-2.0
"""docs/races.md names tests that there are, and every labelled point of the coordinator has its death.

usage: test_races.py SOURCE BUILD
"""
import json
import pathlib
import re
import sys

SOURCE, BUILD = map(pathlib.Path, sys.argv[1:3])
CASES = {*range(1, 21), 29, 31, 32, 33}
FUNCTION = re.compile(r"^(?:Test\(\w+,\s*|def test_|static void )(\w+)(?=[()])", re.MULTILINE)

wrong = []
tests = {test["name"] for test in json.loads((BUILD / "meson-info/intro-tests.json").read_text())}
functions = set()
for path in sorted((SOURCE / "tests").rglob("*")):
    if path.suffix in (".c", ".py"):
        functions.update(FUNCTION.findall(path.read_text(encoding="utf-8")))


def check(where, name):
    """A test of meson, or one with a function in it."""
    test, _, function = name.partition(": ")
    if test not in tests:
        wrong.append(f"{where}: meson has no test '{test}'")
    if function and function not in functions:
        wrong.append(f"{where}: no test has a function '{function}'")


seen, n_names = set(), 0
for line in (SOURCE / "docs/races.md").read_text(encoding="utf-8").splitlines():
    row = [cell.strip() for cell in line.strip("| ").split(" | ")]
    if not line.startswith("|") or not row[0].isdigit():
        continue
    number, names = int(row[0]), re.findall(r"`([^`]+)`", row[-1])
    if len(row) != 5 or not names:
        wrong.append(f"case {number}: five columns and a test are needed")
    seen.add(number)
    n_names += len(names)
    for name in names:
        check(f"case {number}", name)
if seen != CASES:
    wrong.append(f"cases missing {sorted(CASES - seen)}, unknown {sorted(seen - CASES)}")

for name in re.findall(r"`(deaths: \w+|processes that die[^`]*|no death at any[^`]*)`",
                       (SOURCE / "docs/races.md").read_text(encoding="utf-8")):
    check("above the table", name)

deaths = (SOURCE / "tests/shim/test_deaths.c").read_text(encoding="utf-8")
points = set()
for path in sorted((SOURCE / "core").glob("*.c")):
    points.update(re.findall(r'KV_COORD_POINT\("([^"]+)"\)', path.read_text(encoding="utf-8")))
wrong += [f"the point '{point}' has no death in test_deaths.c" for point in sorted(points) if f'"{point}"' not in deaths]

print("\n".join(wrong) or f"{len(seen)} cases, {n_names} names, {len(points)} points")
sys.exit(bool(wrong))
