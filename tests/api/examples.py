#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles every example in the headers and in docs/api.md, and runs each where there is no shim.

usage: examples.py SOURCE_ROOT

An example is what stands between ```c, ```cpp or ```python and ```, in a comment of a header or on a page.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1])
PAGES = ['api.md', 'pool.md']
HEADERS = ['kvshim.h', 'kvshim_pool.h', 'kvshim.hpp']
FLAGS = ['-Wall', '-Wextra', '-Wshadow', '-Werror', '-Wno-missing-field-initializers', f'-I{ROOT / "shim"}']
WAYS = {'c': ('cc', '.c', [['-std=gnu11'], ['-std=gnu17', '-O2']]),
        'cpp': ('c++', '.cpp', [['-std=c++11'], ['-std=c++17', '-O2'], ['-std=c++17', '-fno-exceptions']])}


def examples(header):
    text = (ROOT / 'shim' / header).read_text(encoding='utf-8')
    for kind, body in re.findall(r'\* ```(c|cpp)\n(.*?)\* ```', text, re.S):
        yield kind, re.sub(r'^ \* ?', '', body, flags=re.M)


def on_page(page):
    """C and C++ as in the headers; includes are ours to make."""
    text = (ROOT / 'docs' / page).read_text(encoding='utf-8')
    for kind, body in re.findall(r'^```(c|cpp|python)\n(.*?)^```', text, re.S | re.M):
        yield kind, re.sub(r'^#include .*\n', '', body, flags=re.M)


def run_python(bodies):
    """Each by itself, as a program."""
    for body in bodies:
        subprocess.run([sys.executable, '-c', body], check=True, timeout=60,
                       env=dict(os.environ, PYTHONPATH=str(ROOT / 'shim' / 'python'), PYTHONDONTWRITEBYTECODE='1'))


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
    found = {'c': [], 'cpp': [], 'python': []}
    for header in HEADERS:
        for kind, body in examples(header):
            found[kind].append(body)
    for page in PAGES:
        for kind, body in on_page(page):
            found[kind].append(body)
    run_python(found.pop('python'))
    # The C ones must be C++ as well, as far as they do not use what only C has.
    with tempfile.TemporaryDirectory() as folder:
        for kind, bodies in found.items():
            build_and_run(kind, bodies, folder)
    print(f"{len(found['c'])} examples in C, {len(found['cpp'])} in C++")
    return 0 if len(found['c']) >= 13 and len(found['cpp']) >= 6 else 1


sys.exit(main())
