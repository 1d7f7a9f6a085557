# SPDX-License-Identifier: Apache-2.0
"""Instructions that a program spends in one shared object, counted with callgrind."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

NUMBERED = re.compile(r"^(c?ob)=\((\d+)\)(?: (.*))?$")


class Missing(Exception):
    """There is no valgrind."""


def sum_of(lines, name):
    """Of callgrind's output format: the self cost of the lines that belong to the object whose path ends in name. An
    object is written as "(number) path" at first sight and "(number)" after; the line behind "calls=" is what a call
    cost and is counted where it was called."""
    objects, current, skip, total = {}, None, False, 0
    for line in lines:
        found = NUMBERED.match(line)
        if found:
            kind, number, path = found.groups()
            if path:
                objects[number] = path
            if kind == "ob":
                current = objects.get(number, "")
        elif line.startswith("calls="):
            skip = True
        elif line[:1] in "+-*0123456789" and line[:1]:
            if not skip and current and current.endswith(name):
                total += int(line.split()[1])
            skip = False
    return total


def instructions(command, env, name="libkvshim.so"):
    if not shutil.which("valgrind"):
        raise Missing("valgrind is not installed: scripts/setup installs it")
    with tempfile.TemporaryDirectory(prefix="kvshim-count-") as folder:
        out = pathlib.Path(folder) / "callgrind"
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *map(str, command)],
                              env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"{os.path.basename(str(command[0]))} under callgrind: exit {done.returncode}: {done.stderr[-300:]}")
        with open(out, encoding="utf-8", errors="replace") as lines:
            return sum_of((line.rstrip("\n") for line in lines), name)
