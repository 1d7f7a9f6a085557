#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles every example in the headers, and runs each where there is no shim.

usage: examples.py SOURCE_ROOT

An example is what stands between ```c (or ```cpp) and ``` in a comment.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1])
HEADERS = ['kvshim.h', 'kvshim_pool.h', 'kvshim.hpp']
FLAGS = ['-Wall', '-Wextra', '-Wshadow', '-Werror', '-Wno-missing-field-initializers', f'-I{ROOT / "shim"}']
WAYS = {'c': ('cc', '.c', [['-std=gnu11'], ['-std=gnu17', '-O2']]),
        'cpp': ('c++', '.cpp', [['-std=c++11'], ['-std=c++17', '-O2'], ['-std=c++17', '-fno-exceptions']])}


def examples(header):
    text = (ROOT / 'shim' / header).read_text(encoding='utf-8')
    for kind, body in re.findall(r'\* ```(c|cpp)\n(.*?)\* ```', text, re.S):
        yield kind, re.sub(r'^ \* ?', '', body, flags=re.M)


def program(kind, bodies):
    includes = '#include <assert.h>\n#include <stdio.h>\n#include <cstdio>\n' if kind == 'cpp' else \
        '#include <assert.h>\n#include <stdio.h>\n'
    includes += f'#include "kvshim.{"hpp" if kind == "cpp" else "h"}"\n'
    functions = ''.join(f'static void example_{i}(void)\n{{\n{body}}}\n' for i, body in enumerate(bodies))
    calls = ''.join(f'\texample_{i}();\n' for i in range(len(bodies)))
    return f'{includes}{functions}int main(void)\n{{\n{calls}\treturn 0;\n}}\n'


def build_and_run(kind, bodies, folder):
    compiler, suffix, ways = WAYS[kind]
    if not shutil.which(compiler):
        print(f'SKIP: {compiler} is not installed')
        return
    source = pathlib.Path(folder) / ('examples' + suffix)
    source.write_text(program(kind, bodies), encoding='utf-8')
    for flags in ways:
        binary = pathlib.Path(folder) / 'examples'
        subprocess.run([compiler, *FLAGS, *flags, str(source), '-o', str(binary)], check=True)
        subprocess.run([str(binary)], check=True, timeout=60)


def main():
    found = {'c': [], 'cpp': []}
    for header in HEADERS:
        for kind, body in examples(header):
            found[kind].append(body)
    # The C ones must be C++ as well, as far as they do not use what only C has.
    with tempfile.TemporaryDirectory() as folder:
        for kind, bodies in found.items():
            build_and_run(kind, bodies, folder)
    print(f"{len(found['c'])} examples in C, {len(found['cpp'])} in C++")
    return 0 if len(found['c']) >= 7 and len(found['cpp']) >= 3 else 1


sys.exit(main())
