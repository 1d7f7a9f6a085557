# SPDX-License-Identifier: Apache-2.0
"""What the Python tests of this folder share: running things and saying what was wrong."""
import os
import subprocess
import sys
import tempfile

KVSHIM, KVSHIM_STAT, SEGMENT_WRITER, SOURCE = sys.argv[1:5]
LIBRARY = os.path.join(os.path.dirname(KVSHIM), "libkvshim.so")


def clean_env(**more):
    """The environment without anything of ours in it."""
    # meson puts the software GPU on LD_LIBRARY_PATH for whatever depends on it
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("KVSHIM", "SIMGPU")) and k not in ("LD_PRELOAD", "LD_LIBRARY_PATH")}
    env.update(more)
    return env


def run(*args, env=None, timeout=60, **more):
    return subprocess.run(args, env=clean_env(**(env or {})), capture_output=True, text=True,
                          timeout=timeout, **more)


def patient(args):
    """Arguments of kvshim with which a slow machine has time to answer, where it is waited for at all."""
    asks = args[:1] and args[0] in ("evict", "restore", "pause", "resume") and "--wait" not in args
    return (args[0], "--wait", "60", *args[1:]) if asks else args


NO_DRIVER = "the loader finds no libcuda.so.1 here"


def lines(text):
    return text.splitlines()


def complaints(text):
    """What was said on stderr, but for the remark that this machine has no driver."""
    return [line for line in lines(text) if NO_DRIVER not in line]


class Writer:
    """A segment_writer that is ready; ends with the block."""

    def __init__(self, directory, uuid=1, reservations=2):
        self.process = subprocess.Popen(
            [SEGMENT_WRITER, directory, str(uuid), str(reservations)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


def run_all(module):
    """Runs every function whose name begins with test_; the name, as a sentence, is printed.

    KV_TEST_ONLY: only those whose name contains this.
    """
    failed = 0
    for name, function in sorted(vars(module).items()):
        if not name.startswith("test_") or os.environ.get("KV_TEST_ONLY", "") not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="kvshim-test-") as directory:
            try:
                function(directory)
                print("ok   ", name[5:].replace("_", " "))
            except AssertionError as error:
                failed += 1
                print("FAIL ", name[5:].replace("_", " "), ":", error)
                trace = error.__traceback__
                while trace.tb_next:
                    trace = trace.tb_next
                print("      line", trace.tb_lineno, "of", trace.tb_frame.f_code.co_filename)
    sys.exit(1 if failed else 0)
