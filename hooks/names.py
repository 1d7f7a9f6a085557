#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes from hooks.def what the preprocessor cannot: the sorted names and the version script.

usage: names.py sorted HOOKS_DEF OUT
       names.py map HOOKS_DEF MACHINE OUT ARCHIVE [NM]

sorted: one KV_NAME(symbol) per wrapper, in strcmp order.
map: the version script of libkvshim.so. Fails if a wrapper has no body in ARCHIVE.
"""
import re
import subprocess
import sys

# dlsym and dlvsym carry the versions of the C library: callers are bound to one or the other.
LOADER_VERSIONS = {'x86_64': ('GLIBC_2.2.5', 'GLIBC_2.34')}


def wrappers(path):
    with open(path, encoding='utf-8') as file:
        return re.findall(r'^KV_(?:HOOK|REFUSE)\((\w+),', file.read(), re.M)


def bodies(archive, nm):
    out = subprocess.run([nm, '--defined-only', archive], check=True, capture_output=True,
                         text=True).stdout
    return set(re.findall(r'^[0-9a-f]+ T (\w+)$', out, re.M))


def write(path, text):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def main():
    if sys.argv[1] == 'sorted':
        write(sys.argv[3], ''.join(f'KV_NAME({name})\n' for name in sorted(wrappers(sys.argv[2]))))
        return 0
    table, machine, out, archive = sys.argv[2:6]
    names = wrappers(table)
    have = bodies(archive, sys.argv[6] if len(sys.argv) > 6 else 'nm')
    missing = [name for name in names if name not in have]
    if missing:
        print(f'{archive}: hooked in {table}, but without a body: ' + ' '.join(missing),
              file=sys.stderr)
        return 1
    old, new = LOADER_VERSIONS[machine]
    symbols = ''.join(f'\t\t{name};\n' for name in sorted(names))
    write(out, f'KVSHIM_1 {{\n\tglobal:\n{symbols}\t\tInitializeInjectionNvtx2;\n\t\tkvshim_*;\n\tlocal:\n\t\t*;\n}};\n'
          f'{old} {{\n\tglobal:\n\t\tdlsym;\n\t\tdlvsym;\n}};\n'
          f'{new} {{\n\tglobal:\n\t\tdlsym;\n\t\tdlvsym;\n}} {old};\n')
    return 0


sys.exit(main())
