# SPDX-License-Identifier: Apache-2.0
"""What each single launch of a program costs in one shared object, counted with callgrind.

The program calls micro_mark() before each launch and after it; callgrind writes a file of its own at each call, so that
every second one holds one launch and nothing else. Threads are counted apart, and only the first one is read.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from callgrind import NUMBERED, Missing

CALLED = re.compile(r"^cfn=\((\d+)\)(?: (.*))?$")
LOCKS = re.compile(r"pthread_(mutex_(timed)?lock|rwlock_\w*lock|spin_lock)|lll_lock")


def read(path, name):
    """(instructions, locks taken) of the object whose path ends in name: what it executes itself, and how often it calls
    a function of libc that takes a lock."""
    objects, functions, current, called, skip = {}, {}, "", "", False
    instructions = locks = 0
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            found = NUMBERED.match(line)
            if found:
                kind, number, text = found.groups()
                if text:
                    objects[number] = text
                if kind == "ob":
                    current = objects.get(number, "")
                continue
            found = CALLED.match(line) or re.match(r"^fn=\((\d+)\)(?: (.*))?$", line)
            if found:
                number, text = found.groups()
                if text:
                    functions[number] = text
                if line.startswith("cfn="):
                    called = functions.get(number, "")
            elif line.startswith("calls="):
                skip = True
                if current.endswith(name) and LOCKS.search(called):
                    locks += int(line[len("calls="):].split()[0])
            elif line[:1] and line[:1] in "+-*0123456789":
                if not skip and current.endswith(name):
                    instructions += int(line.split()[1])
                skip = False
    return instructions, locks


def launches(command, env, name="libkvshim.so"):
    """[(instructions, locks)] of each launch, in order."""
    if not shutil.which("valgrind"):
        raise Missing("valgrind is not installed: scripts/setup installs it")
    with tempfile.TemporaryDirectory(prefix="kvshim-marks-") as folder:
        out = pathlib.Path(folder) / "part"
        done = subprocess.run(["valgrind", "--tool=callgrind", "--separate-threads=yes", "--dump-before=micro_mark",
                               f"--callgrind-out-file={out}", *map(str, command)],
                              env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"{os.path.basename(str(command[0]))} under callgrind: exit {done.returncode}: {done.stderr[-300:]}")
        parts = len(list(pathlib.Path(folder).glob("part.*-01")))
        return [read(f"{out}.{part}-01", name) for part in range(2, parts + 1, 2)]
