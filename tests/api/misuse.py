#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of misuse in docs/api.md as rows of C, and the fields of the structures that must not change.

usage: misuse.py API_MD KVSHIM_ABI ROWS_INC FIELDS_INC
"""
import re
import sys

with open(sys.argv[1], encoding='utf-8') as page:
    rows = re.findall(r'^\| ([^|]+) \| `(\w+\(.*\))` \| ([A-Z_]+) \|$', page.read(), re.M)
if len(rows) < 40:
    sys.exit(f'only {len(rows)} rows were found')
with open(sys.argv[2], encoding='utf-8') as promised:
    fields = re.findall(r'^field (\w+)\.(\w+) (\d+)$', promised.read(), re.M)
with open(sys.argv[4], 'w', encoding='utf-8') as out:
    out.writelines(f'{{"{structure}", "{field}", {offset}}},\n' for structure, field, offset in fields)
with open(sys.argv[3], 'w', encoding='utf-8') as out:
    out.writelines(f'ROW({error}, "{what}", {call})\n' for what, call, error in rows)
