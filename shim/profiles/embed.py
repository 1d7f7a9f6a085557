#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a rule file into a C file.

usage: embed.py FILE.rules OUT.c SYMBOL

OUT.c defines `const char SYMBOL[]` (not terminated) and `const size_t SYMBOL_size`.
"""
import pathlib
import sys


def main():
    source, out, symbol = sys.argv[1:]
    data = pathlib.Path(source).read_bytes()
    lines = [", ".join(str(b) for b in data[i:i + 24]) + "," for i in range(0, len(data), 24)]
    pathlib.Path(out).write_text(
        f"/* Made from {pathlib.Path(source).name} by embed.py. */\n"
        '#include "shim/profiles/profiles.h"\n\n'
        f"const char {symbol}[] = {{\n\t" + "\n\t".join(lines) + "\n};\n"
        f"const size_t {symbol}_size = sizeof({symbol});\n")


if __name__ == "__main__":
    main()
