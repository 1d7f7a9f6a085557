#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two processes on one device: a pool that is short waits for the other process, degrades, or gives up.

usage: compete.py PLAYER
"""
import os
import subprocess
import sys
import tempfile
import threading

MIB = 1 << 20
TIMEOUT, NO_MEMORY = -9, -8


class Player:
    def __init__(self, program, env):
        self.process = subprocess.Popen([program, str(24 * MIB)], env=env, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.expect('ready')

    def say(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().strip()

    def expect(self, wanted):
        got = self.hear()
        if got != wanted:
            sys.exit(f'FAILED: {got!r}, not {wanted!r}')

    def ask(self, line):
        self.say(line)
        return self.hear()

    def end(self):
        self.process.stdin.close()
        if self.process.wait(timeout=60):
            sys.exit(f'FAILED: exit status {self.process.returncode}')


def check(holds, sentence):
    if not holds:
        sys.exit('FAILED: ' + sentence)
    print('ok: ' + sentence)


def main():
    watchdog = threading.Timer(200, os._exit, [1])
    watchdog.daemon = True
    watchdog.start()
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, SIMGPU_SHARED=f'{folder}/device', SIMGPU_MEMORY='36M', KVSHIM_OVERCOMMIT='1G',
                   KVSHIM_SPARE='none', KVSHIM_DIR=folder)
        a, b = Player(sys.argv[1], env), Player(sys.argv[1], env)
        check(a.ask(f'hog {20 * MIB}') == '0', 'the first process takes most of the device')
        # 65536 bytes per token: 320 tokens are 20 MiB, of which there are some 12.
        check(b.ask('alloc 320 fail 0').split()[0] == str(NO_MEMORY), 'a request fails')
        check(b.ask('alloc 320 wait 50').split()[0] == str(TIMEOUT), 'a request waits in vain')
        error, tokens, is_short = map(int, b.ask('alloc 320 degrade 0').split())
        check(error == 0 and is_short == 1 and 0 < tokens < 320, f'a request degrades, to {tokens} tokens')
        check(b.ask('free') == '0', 'and gives it back')
        b.say('alloc 320 wait 60000')
        check(a.ask('drop') == '0', 'the first process gives way while the other one waits')
        error, tokens, is_short = map(int, b.hear().split())
        check((error, tokens, is_short) == (0, 320, 0), 'what waited has all that it asked for')
        wanted, waits, degraded = map(int, b.ask('stats').split())
        check(wanted == 20 * MIB and waits >= 1 and degraded == 1, 'and the statistics say so')
        a.end()
        b.end()
    return 0


sys.exit(main())
