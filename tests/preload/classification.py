#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every name that the toolkit's driver stub exports stands in hooks.def once, and nothing else does.

usage: classification.py HOOKS_DEF NM STUB...     (the first STUB that exists counts)
"""
import collections
import os
import re
import subprocess
import sys

ROW = re.compile(r'^KV_(HOOK|REFUSE|NEED|PASS)\((\w+),\s*([^"]*)"((?:[^"\\]|\\.)*)"\)', re.M)
KINDS = {'HOOK': 'hooked', 'REFUSE': 'refused', 'NEED': 'needed', 'PASS': 'passed'}


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        rows = ROW.findall(file.read())
    stub = next((path for path in sys.argv[3:] if os.path.exists(path)), None)
    if not stub:
        print('SKIP: the toolkit has no driver stub here: ' + ' '.join(sys.argv[3:]))
        return 77
    out = subprocess.run([sys.argv[2], '-D', '--defined-only', stub], check=True, text=True,
                         capture_output=True).stdout
    exported = set(re.findall(r'^\S+ T (\w+)$', out, re.M))
    names = collections.Counter(name for _, name, _, _ in rows)
    for kind, name, columns, sentence in sorted(rows, key=lambda row: row[1]):
        group = columns.split(',')[2].strip() if kind in ('HOOK', 'REFUSE') else ''
        print(f'{name:52} {KINDS[kind]:8} {group:8} {sentence}')
    kinds = collections.Counter(KINDS[row[0]] for row in rows)
    print(f'{len(exported)} names in {stub}: ' +
          ', '.join(f'{kinds[kind]} {kind}' for kind in KINDS.values()))
    problems = [f'{name}: exported, not in the table' for name in sorted(exported - set(names))]
    problems += [f'{name}: in the table, not exported' for name in sorted(set(names) - exported)]
    problems += [f'{name}: {n} rows' for name, n in sorted(names.items()) if n != 1]
    problems += [f'{row[1]}: no sentence' for row in rows if not row[3].endswith('.')]
    for problem in problems:
        print('FAILED: ' + problem)
    return 1 if problems or not exported else 0


sys.exit(main())
