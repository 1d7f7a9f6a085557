#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libkvshim.so goes into every process that inherits LD_PRELOAD: what it asks of them, and that it does no harm.

usage: hygiene.py needed LIBRARY
       hygiene.py exports LIBRARY VERSION_SCRIPT
       hygiene.py glibc LIBRARY
       hygiene.py constructors LIBRARY
       hygiene.py quiet LIBRARY DRIVER_DIR     no look at the driver before the first call
       hygiene.py harmless LIBRARY COMMAND...
       hygiene.py setuid LIBRARY PROGRAM
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

NEWEST_GLIBC = (2, 34)


def skip(why):
    print('SKIP: ' + why)
    sys.exit(77)


def fail(why):
    print('FAILED: ' + why)
    sys.exit(1)


def tool(*command):
    if not shutil.which(command[0]):
        skip(command[0] + ' is not installed')
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def needed(library):
    names = re.findall(r'\(NEEDED\)\s+Shared library: \[(.*)\]', tool('readelf', '-dW', library))
    if 'libc.so.6' not in names:
        fail(f'reads as needing {names}: not what was meant to be looked at')
    others = [name for name in names if name != 'libc.so.6' and not name.startswith('ld-linux')]
    if others:
        fail(f'needs {others}')


def exports(library, script):
    with open(script, encoding='utf-8') as file:
        text = re.sub(r'local:\s*\*;', '', file.read())
    listed = re.findall(r'^\s*([\w*]+);$', text, re.M)
    exact = {name for name in listed if not name.endswith('*')}
    prefixes = tuple(name[:-1] for name in listed if name.endswith('*'))
    found = {match.split('@')[0] for match in
             re.findall(r'^\S+ [TDBRVWi] (\S+)$', tool('nm', '-D', '--defined-only', library), re.M)}
    extra = sorted(name for name in found - exact if not name.startswith(prefixes))
    missing = sorted(exact - found)
    if extra or missing or not exact:
        fail(f'exported but not listed: {extra}; listed but not exported: {missing}')
    print(f'{len(found)} names exported')


def glibc(library):
    versions = {tuple(map(int, version.split('.'))) for version in
                re.findall(r' U \w+@GLIBC_([\d.]+)', tool('nm', '-D', '--undefined-only', library))}
    private = re.findall(r' U (\w+@GLIBC_PRIVATE)', tool('nm', '-D', library))
    if not versions:
        fail('no glibc symbol found at all')
    if max(versions) > NEWEST_GLIBC or private:
        fail(f'newest glibc version needed: {max(versions)}; private symbols: {private}')


def constructors(library):
    """The compiler's own frame_dummy is the only one."""
    sizes = re.findall(r'\((?:PRE)?INIT_ARRAYSZ\)\s+(\d+)', tool('readelf', '-dW', library))
    if sum(map(int, sizes)) > 8:
        symbols = re.findall(r'(\w+)$', tool('nm', library), re.M)
        fail(f'constructors: {sizes} bytes of pointers; {[s for s in symbols if "init" in s][:20]}')


def preloaded(library, command, **env):
    environment = {**os.environ, 'LD_PRELOAD': library, **env}
    return subprocess.run(command, env=environment, capture_output=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False)


def quiet(library, driver_dir):
    result = preloaded(library, ['cat', '/proc/self/maps'], LD_DEBUG='files',
                       LD_LIBRARY_PATH=driver_dir)
    if library.encode() not in result.stdout:
        fail('libkvshim.so was not loaded')
    if b'libcuda' in result.stderr or b'libcuda' in result.stdout:
        fail('libcuda was looked for before anybody asked for it')


def harmless(library, *command):
    if not shutil.which(command[0]):
        skip(command[0] + ' is not installed')
    plain = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
                           check=False)
    result = preloaded(library, command)
    if (plain.returncode, plain.stdout, plain.stderr) != \
            (result.returncode, result.stdout, result.stderr):
        fail(f'{command}: without: {plain}; with: {result}')
    if plain.returncode != 0 or not plain.stdout:
        fail(f'{command} says nothing: {plain}')


def setuid(library, program):
    if os.geteuid() != 0:
        skip('only root can make a setuid program of another user')
    with tempfile.TemporaryDirectory(dir='/tmp') as directory:
        os.chmod(directory, 0o755)
        copy = os.path.join(directory, 'setuid')
        shutil.copy(program, copy)
        os.chown(copy, 65534, 65534)
        os.chmod(copy, 0o4755)
        result = preloaded(library, [copy])
    lines = result.stdout.decode().split('\n')
    if 'secure: no' in lines:
        skip('the folder for temporary files does not honour the bit')
    if result.returncode != 0 or lines[:2] != ['secure: yes', 'preloaded: no'] or result.stderr and \
            b'cannot be preloaded' not in result.stderr:
        fail(f'{result}')


CHECKS = {check.__name__: check for check in
          (needed, exports, glibc, constructors, quiet, harmless, setuid)}
if len(sys.argv) < 3 or sys.argv[1] not in CHECKS:
    sys.exit(__doc__)
CHECKS[sys.argv[1]](os.path.abspath(sys.argv[2]), *sys.argv[3:])
