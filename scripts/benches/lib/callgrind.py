# SPDX-License-Identifier: Apache-2.0
"""Instructions that a program spends in one shared object while one of its functions runs, counted with callgrind.

A count that was made before is taken from the folder that KVSHIM_BENCH_COUNTS names, if it names one, as long as the
files that it depends on are the same ones: so the benches of one run share what they count.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

NUMBERED = re.compile(r"^(c?ob|fn)=\((\d+)\)(?: (.*))?$")


class Missing(Exception):
    """There is no valgrind."""


def sum_of(lines, name, without=None):
    """Of callgrind's output format: the self cost of the lines that belong to the object whose path ends in name, but for
    functions whose names begin with `without`. A name is written as "(number) name" at first sight and "(number)"
    after; the line behind "calls=" is what a call cost and is counted where it was called."""
    names, current, apart, skip, total = {}, None, False, False, 0
    for line in lines:
        found = NUMBERED.match(line)
        if found:
            kind, number, text = found.groups()
            key = ("fn" if kind == "fn" else "ob", number)
            if text:
                names[key] = text
            if kind == "ob":
                current = names.get(key, "")
            elif kind == "fn":
                apart = bool(without) and names.get(key, "").startswith(without)
        elif line.startswith(("cfn=", "cfi=", "cfl=")):
            number, _, text = line[4:].partition(" ")
            if line.startswith("cfn=") and text:
                names["fn", number.strip("()")] = text
        elif line.startswith("calls="):
            skip = True
        elif line[:1] in "+-*0123456789" and line[:1]:
            if not skip and not apart and current and current.endswith(name):
                total += int(line.split()[1])
            skip = False
    return total


def key_of(command, env, name, during, without):
    """What the count depends on: the command, what it is told, and the files that run."""
    files = [shutil.which(str(command[0])) or str(command[0]), *env.get("LD_PRELOAD", "").split()]
    files += sorted(str(p) for folder in env.get("LD_LIBRARY_PATH", "").split(":") if folder
                    for p in pathlib.Path(folder).glob("*.so*"))
    stamps = [(f, os.stat(f).st_mtime_ns, os.stat(f).st_size) for f in files if os.path.exists(f)]
    told = {k: v for k, v in env.items() if k.startswith(("KVSHIM", "SIMGPU")) and k != "KVSHIM_DIR"}
    text = json.dumps([[str(word) for word in command], told, stamps, name, during, without], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def counted(command, env, name, during, without):
    with tempfile.TemporaryDirectory(prefix="kvshim-count-") as folder:
        out = pathlib.Path(folder) / "callgrind"
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
                               f"--toggle-collect={during}", *map(str, command)],
                              env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} under callgrind: exit {done.returncode}: {done.stderr[-300:]}")
        with open(out, encoding="utf-8", errors="replace") as lines:
            return {"instructions": sum_of((line.rstrip("\n") for line in lines), name, without), "said": done.stdout}


def instructions(command, env, during, name="libkvshim.so", without=None):
    """{"instructions": those in the object called name while the function `during` runs, "said": the program's output}."""
    if not shutil.which("valgrind"):
        raise Missing("valgrind is not installed: scripts/setup installs it")
    shelf = os.environ.get("KVSHIM_BENCH_COUNTS")
    kept = pathlib.Path(shelf) / (key_of(command, env, name, during, without) + ".json") if shelf else None
    if kept and kept.exists():
        return json.loads(kept.read_text())
    got = counted(command, env, name, during, without)
    if kept:
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(got))
        os.replace(part, kept)
    return got


def side_by_side(functions):
    """The results of counts that do not depend on each other, in order: one at a time per processor, since a count comes
    out the same whatever else runs."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(os.sched_getaffinity(0)))) as pool:
        return [f.result() for f in [pool.submit(function) for function in functions]]
