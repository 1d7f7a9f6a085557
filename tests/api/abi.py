#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the interface with what was promised (shim/kvshim.abi): symbols, structures, errors.

usage: abi.py SOURCE_ROOT LIBRARY [--write]

Each line of the list is a promise to programs that were built long ago: lines may be added, none may change or
vanish. Offsets are part of it: what a structure gains, it gains at its end.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT, LIBRARY = pathlib.Path(sys.argv[1]), sys.argv[2]
LIST = ROOT / 'shim' / 'kvshim.abi'


def text():
    return ''.join((ROOT / 'shim' / name).read_text(encoding='utf-8') for name in ('kvshim.h', 'kvshim_pool.h'))


def structures():
    for name, body in re.findall(r'^struct (kvshim_\w+) \{\n(.*?)^\};', text(), re.S | re.M):
        body = re.sub(r'/\*.*?\*/', '', body, flags=re.S)
        yield name, re.findall(r'(\w+)(?:\[\d+\])?;', body)


def measured():
    """The sizes and offsets, as the compiler sees them, and the errors."""
    lines = []
    for name, fields in structures():
        lines.append(f'printf("struct {name} %zu\\n", sizeof(struct {name}));')
        lines += [f'printf("field {name}.{field} %zu\\n", offsetof(struct {name}, {field}));' for field in fields]
    lines.append('#define SAY(id, number, text) printf("error %s %d\\n", #id, number);\nKVSHIM_ERRORS(SAY)')
    source = '#include <stdio.h>\n#include "kvshim.h"\nint main(void)\n{\n' + '\n'.join(lines) + '\nreturn 0;\n}\n'
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'abi.c'
        path.write_text(source, encoding='utf-8')
        subprocess.run(['cc', '-std=gnu11', f'-I{ROOT / "shim"}', str(path), '-o', f'{folder}/abi'], check=True)
        return subprocess.run([f'{folder}/abi'], check=True, text=True, capture_output=True).stdout.splitlines()


def exported():
    out = subprocess.run(['nm', '-D', '--defined-only', LIBRARY], check=True, text=True, capture_output=True).stdout
    return [f'symbol {name} {version}' for name, version in
            sorted(re.findall(r' T (kvshim_\w+|InitializeInjectionNvtx2)@@(\w+)$', out, re.M))]


def main():
    now = exported() + measured()
    if '--write' in sys.argv:
        LIST.write_text('\n'.join(now) + '\n', encoding='utf-8')
    promised = LIST.read_text(encoding='utf-8').splitlines()
    broken = [line for line in promised if line not in now]
    new = [line for line in now if line not in promised]
    declared = set(re.findall(r'^KVSHIM_FUNCTION\(\s*\w+,\s*(kvshim_\w+),', text(), re.M))
    have = {line.split()[1] for line in exported()} - {'InitializeInjectionNvtx2'}
    for line in broken:
        print(f'promised, and not kept: {line}')
    for line in new:
        print(f'not in {LIST.name} yet (abi.py --write): {line}')
    if declared != have:
        print(f'declared or exported only: {sorted(declared ^ have)}')
    print(f'{len(have)} functions, {sum(line.startswith("struct") for line in now)} structures')
    return 1 if broken or new or declared != have else 0


sys.exit(main())
