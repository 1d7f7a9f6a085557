#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of misuse in docs/api.md as rows of C.

usage: misuse.py API_MD OUTPUT
"""
import re
import sys

with open(sys.argv[1], encoding='utf-8') as page:
    rows = re.findall(r'^\| ([^|]+) \| `(\w+\(.*\))` \| ([A-Z_]+) \|$', page.read(), re.M)
if len(rows) < 40:
    sys.exit(f'only {len(rows)} rows were found')
with open(sys.argv[2], 'w', encoding='utf-8') as out:
    out.writelines(f'ROW({error}, "{what}", {call})\n' for what, call, error in rows)
