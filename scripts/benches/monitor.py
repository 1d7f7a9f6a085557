# SPDX-License-Identifier: Apache-2.0
"""What looking costs: CPU time of kvshim-stat for one sample of many processes, per way of showing it.

Painted segments with numbers that change at every sample, each slot as alive as this machine can tell. Start-up is taken off (a run of one
sample). The promise: below 0.5 % of one core at one sample a second.

  sample_ms  CPU time (user and system) of one sample
  load_pct   of one core, at one sample a second
"""
import fcntl
import json
import os
import pathlib
import pty
import select
import struct
import subprocess
import termios
import threading
import time

from common import *

PROMISE_PCT = 0.5
MODES = {"lines": [], "json": ["--json"], "csv": ["--csv"], "prometheus": ["--prometheus"]}


class Painter(threading.Thread):
    """Segments of n processes in a folder; paints them anew ten times a second until it is ended."""

    def __init__(self, program, folder, n):
        super().__init__(daemon=True)
        self.process = subprocess.Popen([program, folder, "load", str(n)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self.over = threading.Event()
        self.start()

    def run(self):
        # the numbers of a painted process run out after a minute or so of steps
        for _ in range(40):
            if self.over.wait(0.1):
                break
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            self.process.stdout.readline()

    def end(self):
        self.over.set()
        self.join()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def cpu_of(pid):
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise Failure(f"kvshim-stat ended with status {status}")
    return usage.ru_utime + usage.ru_stime


def run_view(command, count):
    child = subprocess.Popen(command + ["--watch", "0.1", "--count", str(count)], stdout=subprocess.DEVNULL)
    seconds = cpu_of(child.pid)
    child.returncode = 0
    return seconds


def run_live(command, count):
    """The live view in a terminal of 120x40 that reads what it gets; samples are taken by key."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", LC_ALL="C.UTF-8")
        os.execv(command[0], command + ["--live", "--interval", "60"])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    try:
        for i in range(count):
            os.write(master, b"r" if i + 1 < count else b"q")
            end = time.monotonic() + 0.1
            while (left := end - time.monotonic()) > 0:
                if select.select([master], [], [], left)[0]:
                    os.read(master, 65536)
    except OSError:
        pass  # it has ended: what it says of that is its status
    seconds = cpu_of(pid)
    os.close(master)
    return seconds


def charts(rows):
    many = rows[0]["processes"] if rows else 0
    return (f"What it costs to watch {many} processes with kvshim-stat, once a second", where(None),
            [chart.Bars("By form of output", "% of one processor", ["load"], [(r["mode"], [r["load_pct"]]) for r in rows],
                        mark=(PROMISE_PCT, "promise"))])


def bench():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="20 samples instead of 100")
    p.add_argument("--processes", type=int, default=64, help="how many (64)")
    p.add_argument("--samples", type=int, default=100, help="how many, ten a second (100)")
    args = p.parse_args()
    samples = 20 if args.quick else args.samples
    build = pathlib.Path(args.build).resolve()
    rows = Rows(args, [("mode", "mode"), ("processes", "processes"), ("samples", "samples"),
                            ("sample_ms", "ms/sample"), ("load_pct", "% of a core at 1 Hz"), ("verdict", "verdict")], charts)
    ok = True
    with Folder(args.keep) as folder:
        where = folder / "segments"
        where.mkdir(exist_ok=True)
        command = [str(build / "shim/stat/kvshim-stat"), "--dir", str(where)]
        for mode in [*MODES, "live"]:
            painter = Painter(build / "tests/shim/segment_paint", where, args.processes)
            seen = json.loads(subprocess.run(command + ["--json"], stdout=subprocess.PIPE, check=True).stdout)
            if [p["problem"] for p in seen["segments"][0]["processes"]] != [None] * args.processes:
                raise Failure("the painted processes cannot be read")
            measure = run_live if mode == "live" else run_view
            started = measure(command + MODES.get(mode, []), 1)
            sample_ms = max(measure(command + MODES.get(mode, []), samples + 1) - started, 0) * 1000 / samples
            painter.end()
            kept = sample_ms / 10 < PROMISE_PCT
            ok = ok and kept
            rows.add({"bench": "monitor", "mode": mode, "processes": args.processes, "samples": samples,
                      "sample_ms": sample_ms, "load_pct": sample_ms / 10, "verdict": "ok" if kept else "MISS"})
        rows.finish()
    return ok


if __name__ == "__main__":
    main(bench)
