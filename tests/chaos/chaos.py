# SPDX-License-Identifier: Apache-2.0
"""Eight processes share a device that is too small for them, and die, stop and change their minds.

usage: chaos.py LIBRARY SIMGPU_DIR WORKER WATCH KVSHIM SOURCE [--seconds N] [--seed N] [--all-points]

Random: at random instants a process is killed (SIGKILL), ended (SIGTERM), stopped and continued; it kills
or stops itself at a labelled point of the coordinator; limits change, and processes are asked to evict, to
restore and to give, also by an operator who dies meanwhile. Then, with --all-points, each labelled point by
itself.

Checked: what is charged never exceeds the device and nobody holds more than it is charged with; what the
driver has given out never exceeds the device; every page is what was written to it, and most are looked at
before they are written again or freed, so that no move goes unseen; no call of a survivor takes longer than the
bound of docs/sharing.md, ten times over for a busy machine; the segment is sound (kvshim check); all end, and leave nothing behind. Prints the seed, and
counts.
"""
import argparse
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

N_PROCESSES = 8
DEVICE = 128 << 20
PATIENCE = 120  # seconds, until something that must happen counts as hanging
WAIT_MS, DRAIN_MS, LOCK_MS = 300, 50, 20
# docs/sharing.md, "How long a call can take": the shim's part of one call, in ms ...
ALLOCATION_MS = 1000 + max(WAIT_MS, 1500) + 2 * DRAIN_MS + 5 * LOCK_MS
SUBMISSION_MS = WAIT_MS + 2 * DRAIN_MS + 5 * LOCK_MS
# ... for a machine that is ten times slower than it should be, and what the call does itself
BOUNDS_MS = (10 * ALLOCATION_MS + 10000, 10 * SUBMISSION_MS + 10000)


class Failed(Exception):
    pass


class Device:
    """The directory of one device: its segment, and the software GPU's table of who holds what."""

    def __init__(self, options):
        self.options = options
        self.place = tempfile.mkdtemp(prefix="kvshim-chaos-")
        self.segments = os.path.join(self.place, "segments")
        os.mkdir(self.segments)
        self.table = os.path.join(self.place, "device")
        self.log = os.path.join(self.place, "points")
        open(self.log, "w", encoding="ascii").close()
        self.watch = subprocess.Popen([options.watch, self.segments, str(options.seed)], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def operator(self, points):
        """Somebody who changes limits and asks, and may die of it. Only its exit status counts."""
        return subprocess.Popen([self.options.watch, self.segments, str(self.options.seed)], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                env={"CHAOS_POINTS": points, "CHAOS_LOG": self.log})

    def check(self):
        """As people do."""
        for name in os.listdir(self.segments):
            said = subprocess.run([self.options.kvshim, "check", os.path.join(self.segments, name)], text=True,
                                  capture_output=True, timeout=PATIENCE, check=False)
            if said.returncode or ": sound, " not in said.stdout:
                raise Failed(f"kvshim check: {said.stdout}{said.stderr}")

    def used(self):
        """Bytes that the driver has given out: rows of pid, start and bytes per device."""
        with open(self.table, "rb") as file:
            data = file.read()
        rows = (len(data) - HEADER) // ROW
        return sum(struct.unpack_from("<q", data, HEADER + i * ROW + 16)[0] for i in range(rows))

    def look(self, change=False):
        self.watch.stdin.write("c\n" if change else "l\n")
        self.watch.stdin.flush()
        answer = self.watch.stdout.readline().strip()
        if answer not in ("ok", "busy"):
            raise Failed(f"the segment: {answer or 'the watcher has ended'}")

    def points(self):
        with open(self.log, encoding="ascii") as file:
            return set(file.read().splitlines())

    def close(self):
        """Nobody is left: neither is anything else."""
        self.watch.stdin.close()
        self.watch.wait(PATIENCE)
        left = os.listdir(self.segments)
        shutil.rmtree(self.place)
        if left:
            raise Failed(f"left behind: {left}")


# tests/simgpu/shared.c: magic, size, a mutex; then rows of pid, start and bytes of each device
HEADER, ROW = 16 + 40, 16 + 8 * 8


class Worker:
    def __init__(self, device, seed, points=None, idle_ms=0):
        options = device.options
        env = {"PATH": os.environ.get("PATH", ""), "LD_LIBRARY_PATH": options.simgpu, "LD_PRELOAD": options.library,
               "SIMGPU_SHARED": device.table, "SIMGPU_MEMORY": str(DEVICE), "SIMGPU_STRICT_EXIT": "1",
               "KVSHIM_DIR": device.segments, "KVSHIM_MIN_SIZE": "4M", "KVSHIM_SPARE": "8M",
               "KVSHIM_HOST_BUDGET": "256M", "KVSHIM_WAIT_MS": str(WAIT_MS), "KVSHIM_DRAIN_MS": str(DRAIN_MS),
               "KVSHIM_LOG": "warn"}
        if idle_ms:
            env["KVSHIM_IDLE_MS"] = str(idle_ms)
        if points:
            env["CHAOS_POINTS"] = points
            env["CHAOS_LOG"] = device.log
        self.process = subprocess.Popen([options.worker, str(seed)], env=env, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.expected = bool(points)  # it may die by itself

    def signal(self, number):
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.expected = True
        self.process.send_signal(number)

    def has_ended(self):
        """True if it is gone as it may be."""
        status = self.process.poll()
        if status is None:
            return False
        if not (self.expected and status in (-signal.SIGKILL, -signal.SIGTERM)):
            raise Failed(f"a worker ended with {status}: {self.process.stdout.read()}")
        self.process.stdout.close()
        self.process.stdin.close()
        return True

    def finish(self):
        """It verifies all its pages and ends. Returns operations, and of allocations and of others the slowest: ms, what."""
        deadline = time.monotonic() + PATIENCE
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                raise Failed(f"a worker does not end: {self.process.stdout.read()}")
            self.process.send_signal(signal.SIGCONT)  # it may stop itself at a point
            time.sleep(0.02)
        said = self.process.stdout.read()
        self.process.stdout.close()
        if self.process.returncode and not (self.expected and self.process.returncode < 0):
            raise Failed(f"a worker ended with {self.process.returncode}: {said}")
        match = re.search(r"^ok (\d+)$", said, re.M)
        slowest = re.findall(r"^slowest (\d+) (.+)$", said, re.M)
        if self.process.returncode == 0 and not (match and len(slowest) == 2):
            raise Failed(f"a worker said: {said}")
        return (int(match[1]), [(int(ms), what) for ms, what in slowest]) if match else (0, [])


def finish_all(workers):
    """Operations of all, and the slowest allocation and the slowest other call of them."""
    counts = [worker.finish() for worker in workers]
    slowest = []
    for kind, bound in enumerate(BOUNDS_MS):
        longest = max((found[kind] for _, found in counts if found), default=(0, "none"))
        if longest[0] > bound:
            raise Failed(f"a call took {longest[0]} ms, of {bound} at most: {longest[1]}")
        slowest.append(longest)
    return sum(n for n, _ in counts), slowest


class Operator:
    """One after the other: each dies sooner or later, at one of the points."""

    def __init__(self, device, one_in=20, label=""):
        self.device, self.one_in, self.label, self.n_died = device, one_in, label, 0
        self.process, self.number = None, 0

    def change(self):
        if self.process and self.process.poll() is not None:
            if self.process.returncode != -signal.SIGKILL:
                raise Failed(f"an operator ended with {self.process.returncode}")
            self.n_died += 1
            self.close()
        if not self.process:
            self.number += 1
            points = f"{self.one_in}:{self.device.options.seed + self.number}" + (f":{self.label}" if self.label else "")
            self.process = self.device.operator(points)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write("c\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
            self.process = None


def random_part(options, seconds):
    rnd = random.Random(options.seed)
    device = Device(options)
    n = {"killed": 0, "ended": 0, "stopped": 0, "died at a point": 0, "looks": 0}
    workers, stopped, most, operator = [], [], 0, Operator(device)

    def start():
        points = f"{rnd.choice((40, 400))}:{rnd.getrandbits(32)}" if rnd.random() < 0.6 else None
        workers.append(Worker(device, rnd.getrandbits(32), points, rnd.choice((0, 0, 50, 200))))

    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            for worker in list(workers):
                if worker.has_ended():
                    workers.remove(worker)
                    n["died at a point"] += 1
            while len(workers) < N_PROCESSES:
                start()
            for worker in workers:
                if worker not in stopped:
                    worker.signal(signal.SIGCONT)
            victim = rnd.choice(workers)
            what = rnd.random()
            if what < 0.06:
                victim.signal(signal.SIGKILL)
                n["killed"] += 1
                n["died at a point"] -= 1
            elif what < 0.08:
                victim.signal(signal.SIGTERM)
                n["ended"] += 1
                n["died at a point"] -= 1
            elif what < 0.15:
                victim.signal(signal.SIGSTOP)
                stopped.append(victim)
                n["stopped"] += 1
            elif stopped and what < 0.3:
                stopped.pop(0).signal(signal.SIGCONT)
            device.look(change=rnd.random() < 0.3)
            n["looks"] += 1
            if rnd.random() < 0.2:
                operator.change()
            used = device.used() if os.path.exists(device.table) else 0
            most = max(most, used)
            if used > DEVICE:
                raise Failed(f"the driver has given out {used} of {DEVICE} bytes")
            time.sleep(rnd.random() * 0.05)
        operator.close()
        n["operators died"] = operator.n_died
        for worker in workers:
            worker.expected = worker.expected or worker.process.poll() is not None
        operations, slowest = finish_all(workers)
        device.look()
        end_of(device)
    except Failed:
        operator.close()
        for worker in workers:
            worker.process.kill()
        raise
    finally:
        print(f"random: {n}, most of the device in use {most >> 20} of {DEVICE >> 20} MiB, "
              f"died or stopped at {len(options.seen)} points")
    print(f"random: survivors did {operations} operations; slowest, without the time that it was stopped:")
    for (ms, what), bound in zip(slowest, BOUNDS_MS):
        print(f"  {ms} ms (bound {bound}) {what}")


def end_of(device):
    """The last of all joins and leaves: it finds what the dead have left, and removes the file."""
    last = Worker(device, 1)
    time.sleep(0.2)
    device.check()
    last.finish()
    device.options.seen |= device.points()
    device.close()


def labels(source):
    """Of all points that are compiled in."""
    found = set()
    for name in os.listdir(os.path.join(source, "core")):
        with open(os.path.join(source, "core", name), encoding="utf-8") as file:
            found.update(re.findall(r'KV_COORD_POINT\("([^"]+)"\)', file.read()))
    return sorted(found)


def each_point(options):
    """Among three others, one process after the other that dies at this point."""
    for label in labels(options.source):
        device = Device(options)
        operator = Operator(device, 2, label)
        others = [Worker(device, i, idle_ms=(0, 50, 0)[i]) for i in range(3)]
        try:
            for round_ in range(3):
                dying = Worker(device, 100 + round_, points=f"2:{options.seed + round_}:{label}")
                deadline = time.monotonic() + 2
                while dying.process.poll() is None and time.monotonic() < deadline:
                    device.look(change=True)
                    operator.change()
                    dying.process.send_signal(signal.SIGCONT)
                    time.sleep(0.02)
                dying.expected = True
                if round_ == 1:
                    dying.process.kill()
                dying.finish()  # the others leave, and may die of that
            operator.close()
            finish_all(others)
            device.look()
            end_of(device)
        except Failed as failed:
            operator.close()
            for worker in others:
                worker.process.kill()
            raise Failed(f"at '{label}': {failed}") from failed
        print(f"point: {label}: {'died there' if label in options.seen else 'not reached'}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("library", "simgpu", "worker", "watch", "kvshim", "source"):
        parser.add_argument(name, type=os.path.abspath)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("KV_TEST_SEED", "1")))
    parser.add_argument("--all-points", action="store_true")
    options = parser.parse_args()
    options.seen = set()
    print(f"seed {options.seed}", flush=True)
    try:
        random_part(options, options.seconds)
        if options.all_points:
            each_point(options)
    except Failed as failed:
        print(f"FAIL: {failed}")
        return 1
    missing = [label for label in labels(options.source) if label not in options.seen]
    print(f"points at which somebody died or stopped: {len(options.seen)} of {len(labels(options.source))}"
          + (f"; not at: {', '.join(missing)}" if missing else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
