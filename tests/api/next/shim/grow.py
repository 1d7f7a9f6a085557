#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes kvshim.h and kvshim_pool.h as the next version of the interface might have them: each structure that begins with
its size has more members at its end, and there is one more error.

usage: grow.py KVSHIM_H KVSHIM_POOL_H NEW_KVSHIM_H NEW_KVSHIM_POOL_H
"""
import re
import sys


def grown(text):
    text, structures = re.subn(r'^(struct kvshim_\w+ \{\n\tuint64_t size;.*?)^\};', r'\1\tuint64_t later[5];\n};', text,
                               flags=re.S | re.M)
    text, versions = re.subn(r'^#define KVSHIM_API_VERSION (\d+)',
                             lambda m: f'#define KVSHIM_API_VERSION {int(m.group(1)) + 1}', text, flags=re.M)
    text = re.sub(r'^(#define KVSHIM_ERRORS\(X\) \\\n)', r'\1\tX(LATER, -1000, "of a later version") \\\n', text,
                  flags=re.M)
    return text, structures, versions


total = [0, 0]
for source, target in zip(sys.argv[1:3], sys.argv[3:5]):
    with open(source, encoding='utf-8') as file:
        new, *counts = grown(file.read())
    total = [a + b for a, b in zip(total, counts)]
    with open(target, 'w', encoding='utf-8') as file:
        file.write(new)
if total[0] < 10 or total[1] != 1:
    sys.exit(f'{total[0]} structures and {total[1]} versions were found')
