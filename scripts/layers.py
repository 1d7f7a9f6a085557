# SPDX-License-Identifier: Apache-2.0
"""Who may include whom, and what a room must never call (docs/design.md, "The house").

usage: layers.py [SOURCE_ROOT]   one line per breach; exit 1 if there is one
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
ROOT = ROOT if ROOT.is_dir() else ROOT.parent.parent

# The first row whose folder a file lies in, or is, holds for it: folder -> what its includes may begin with.
INCLUDES = [
    # a command's reader of files: no driver behind any of these
    ("shim/doctor_rules.c", ["shim/", "core/", "hooks/cubin.h", "hooks/fatbin.h", "hooks/ptx.h", "hooks/rules/"]),
    # limits and commands that the operator has confirmed: the only writes
    ("shim/stat/command.c", ["stat/", "core/coord.h"]),
    ("shim/stat", ["stat/", "core/coord_shm.h", "core/stats.h", "shim/config.h"]),
    ("shim/command", ["shim/", "stat/reader.h", "stat/format.h", "stat/record.h", "core/"]),
    ("core", ["core/"]),
    ("hooks/rules", ["hooks/rules/", "core/grains.h"]),
    ("hooks", ["hooks/", "core/"]),
    ("shim", ["shim/", "hooks/hooks.h", "hooks/rules/rules.h", "core/"]),
    ("tests/simgpu/standins", ["tests/simgpu/", "fake/"]),
    ("tests/simgpu", ["tests/simgpu/"]),
]
CURSES = re.compile(r'#\s*include\s*<(ncurses|curses|term)[^>]*>')
CUDA = re.compile(r'#\s*include\s*[<"](cuda|cublas|cudart|nvrtc|nvml)[^>"]*[>"]')
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
CUDA_ALLOWED = ("hooks", "tests")

# Folder -> words that must not be called there.
ENVIRONMENT = ["getenv", "secure_getenv", "setenv", "putenv"]
OUTPUT = ["printf", "fprintf", "puts", "perror", "dprintf", "syslog"]
ENDS = ["exit", "_exit", "abort", "quick_exit"]
NEVER = [
    ("core", ENVIRONMENT + OUTPUT + ENDS + ["sleep", "usleep"]),
    ("hooks", ENVIRONMENT + OUTPUT + ENDS),
]
# In what is loaded into other people's processes.
GUEST = ["shim/api.c", "shim/api_hints.c", "shim/api_quota.c", "shim/nvtx.c", "shim/api_pool.c", "shim/api_cache.c", "shim/init.c", "shim/rules.c", "shim/segment.c", "shim/config.c", "shim/option.c", "shim/log.c"]
GUEST_NEVER = ENDS + ["setenv", "putenv", "unsetenv", "signal", "sigaction", "umask", "chdir",
                      "pthread_create"]


def strip(text):
    """Without comments and strings, lines kept."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    return pattern.sub(lambda m: "\n" * m.group(0).count("\n"), text)


def calls(text, words):
    found = re.finditer(r"(?<![\w.>])(" + "|".join(words) + r")\s*\(", strip(text))
    return sorted({m.group(1) for m in found})


def check(path):
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("/* SPDX-License-Identifier: Apache-2.0 */"):
        yield "the licence line is missing"
    if CUDA.search(text) and (not name.startswith(CUDA_ALLOWED) or name.startswith("hooks/rules/")):
        yield "includes a CUDA header"
    if CURSES.search(text) and name != "shim/stat/draw.c":
        yield "includes curses, which shim/stat/draw.c alone may"
    for folder, allowed in INCLUDES:
        if name == folder or name.startswith(folder + "/"):
            for included in INCLUDE.findall(text):
                beside = "/" not in included  # in the same folder, or made by the build
                if not beside and not included.startswith(tuple(allowed)):
                    yield f"includes {included}, which {folder} may not"
            break
    for folder, words in NEVER:
        if name.startswith(folder + "/"):
            for word in calls(text, words):
                yield f"calls {word}(), which {folder} must not"
    if name in GUEST:
        for word in calls(text, GUEST_NEVER):
            yield f"calls {word}() inside a process that is not ours"


def main():
    breaches = 0
    for folder in ("core", "hooks", "shim", "tests"):
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            for breach in check(path):
                print(f"{path.relative_to(ROOT)}: {breach}")
                breaches += 1
    print(f"layers: {breaches} breaches")
    return 1 if breaches else 0


sys.exit(main())
