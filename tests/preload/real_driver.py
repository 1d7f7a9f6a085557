#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's own runtime and own driver, with no device: the program is told the same with the shim and without, and every
look-up of the runtime is routed right.

usage: real_driver.py PROGRAM LIBKVSHIM SPY FETCH
"""
import os
import re
import subprocess
import sys

LEAST_LOOKUPS = 400  # of a runtime 12 or 13; fewer means that the spy did not see them


def run(program, folder, *preload):
    environment = {**os.environ, 'LD_LIBRARY_PATH': folder, 'LD_PRELOAD': ':'.join(preload),
                   'KVSHIM_LOG': 'warn'}
    return subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60,
                          check=False)


def main():
    program, shim, spy, fetch = map(os.path.abspath, sys.argv[1:])
    have = subprocess.run([fetch, '--have'], capture_output=True, text=True, check=False)
    if have.returncode != 0:
        print(have.stderr.strip() or 'SKIP: no real libcuda')
        return 77
    folder = have.stdout.strip()
    if os.path.exists('/dev/nvidiactl'):
        print('SKIP: there is a device here; its own driver is the one to test')
        return 77
    plain = run(program, folder)
    shimmed = run(program, folder, shim)
    spied = run(program, folder, spy, shim)
    print(f'{folder}\nwithout the shim:\n{plain.stdout}with it, spied on:\n{spied.stdout}'
          f'{spied.stderr}')
    if plain.returncode != 0 or not plain.stdout:
        print(f'FAILED: the program itself fails: {plain}')
        return 1
    if (plain.returncode, plain.stdout, plain.stderr) != \
            (shimmed.returncode, shimmed.stdout, shimmed.stderr):
        print(f'FAILED: with the shim: {shimmed}')
        return 1
    seen = re.search(r'^spy: (\d+) look-ups, (\d+) wrappers, (\d+) wrong$', spied.stderr, re.M)
    if not seen or spied.stdout != plain.stdout:
        print(f'FAILED: the spy: {spied}')
        return 1
    lookups, wrappers, wrong = map(int, seen.groups())
    if lookups < LEAST_LOOKUPS or wrappers == 0 or wrong != 0:
        print('FAILED: too few look-ups, or wrong ones')
        return 1
    return 0


sys.exit(main())
