# SPDX-License-Identifier: Apache-2.0
"""The demo behind scripts/demo: starts tests/engines/demo with and without the shim and compares.

The engine side says where it is ("phase ..."), waits there, and this side reads kvshim-stat --json.
Its interface is described in tests/engines/README.md.
"""
import argparse
import ctypes
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENGINE = ROOT / "tests/engines/demo"
BAR = 48  # characters of the longest bar
GIVEN_BACK = 1.1  # seconds after which memory of dead rows is back
MEANING = {
    "started": "nothing loaded",
    "loaded": "weights on the device",
    "context": "KV cache reserved and zeroed by the engine",
    "prompt": "a prompt has been read: 9000 tokens",
    "tokens": "50 tokens have been generated",
    "prompt 2": "the next: 600 tokens",
    "cleared": "the request is over and forgotten",
    "disposed": "context and model freed",
}


class Trouble(Exception):
    """The demo cannot go on; the text says why."""


class Skip(Exception):
    """Something that the engine needs is not there."""


def real_gpu():
    """Name of the first GPU that an installed driver offers, or None."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, count = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(100)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1 or \
            driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, 100, device):
        return None
    return name.value.decode(errors="replace")


def size(number):
    for unit in ("B", "K", "M", "G"):
        if number < 1024 or unit == "G":
            return f"{number:.1f}{unit}".replace(".0", "")
        number /= 1024
    return None


class Counters:
    """What kvshim-stat says about one process, over all GPUs."""

    def __init__(self, stat, directory):
        self.stat, self.directory = stat, directory

    def of(self, pid):
        out = subprocess.run([self.stat, "--json", "--dir", self.directory], check=False,
                             capture_output=True, text=True)
        value = json.loads(out.stdout)
        return [p for s in value["segments"] for p in s["processes"] if p["pid"] == pid and not p["problem"]]


HEADER = (f"  {'phase':10} {'reserved':>9} {'backed':>9} {'native':>9}  "
          f"{'pages empty/backed':>19}  what happened")


def meaning(phase):
    return MEANING.get(phase) or MEANING.get(phase.split()[0], "")


def row(phase, processes):
    total = {key: sum(p[key] for p in processes)
             for key in ("reserved_bytes", "backed_bytes", "native_bytes")}
    pages = [p["pages"] for p in processes]
    shown = "?" if None in pages else \
        f"{sum(p['empty'] for p in pages)}/{sum(p['backed'] for p in pages)}"
    if not processes:  # the shim has not met a device yet
        print(f"  {phase:10} {'-':>9} {'-':>9} {'-':>9}  {'-':>19}  {meaning(phase)}")
        return total
    print(f"  {phase:10} {size(total['reserved_bytes']):>9} {size(total['backed_bytes']):>9} "
          f"{size(total['native_bytes']):>9}  {shown:>19}  {meaning(phase)}", flush=True)
    return total


def explain_static(processes, seen):
    """Each reservation that has become static is told once, with what made it so."""
    for process in processes:
        for part in process["reservations"]:
            if part["static"] and part["base"] not in seen:
                seen.add(part["base"])
                print(f"            {size(part['reserved_bytes'])} at {part['base']} is static from here: "
                      f"{part['static']['reason']} {part['static']['by']}")


class Engine:
    """One run of the engine side, step by step."""

    def __init__(self, args, gpu, shim, out, directory):
        out.mkdir()
        command = [str(ENGINE), "--build", args.build, "--gpu", gpu, "--out", str(out), "--step"]
        command += ["--shim"] if shim else []
        for name in ("front", "cuda"):
            if getattr(args, name):
                command += [f"--{name}", getattr(args, name)]
        self.out = out
        self.env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        self.env["KVSHIM_DIR"] = str(directory)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=self.env, cwd=ROOT)
        self.pid = None
        self.tokens = None
        self.checked = []  # of the software GPU, one line per process
        self.trouble = ""

    def phases(self):
        """Yields each phase while the engine stands still in it."""
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "engine":
                self.pid = int(rest.removeprefix("pid="))
            elif word == "phase":
                yield rest
                self.process.stdin.write("\n")
                self.process.stdin.flush()
            elif word == "done":
                self.tokens = pathlib.Path(rest.removeprefix("tokens=")).read_text(encoding="utf-8").split()
            elif word == "checked":
                self.checked.append(rest)
            elif word in ("SKIP:", "FAILED:"):
                self.trouble = rest
            else:
                self.trouble += "\n" + line.rstrip()
        status = self.process.wait()
        if status == 77:
            raise Skip(self.trouble)
        if status or self.tokens is None:
            raise Trouble(f"the engine side ended with {status}: {self.trouble}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def is_clean(self):
        """True if the software GPU has compared something and found nothing wrong, in any process."""
        counts = [dict(word.split("=") for word in line.split()) for line in self.checked]
        wrong = sum(int(c[key]) for c in counts for key in ("violations", "faults", "mismatches", "leaks"))
        return wrong == 0 and sum(int(c["bytes"]) for c in counts) > 0


def watch(engine, counters):
    """Runs the engine through its phases; returns the totals by phase."""
    totals, seen = {}, set()
    print(HEADER)
    for phase in engine.phases():
        if phase.split()[0] in ("prompt", "tokens", "cleared"):
            time.sleep(GIVEN_BACK)
        processes = counters.of(engine.pid)
        totals[phase] = row(phase, processes)
        explain_static(processes, seen)
    return totals


def demo(args, gpu, name, work):
    segments = work / "segments"
    segments.mkdir(parents=True)
    counters = Counters(str(pathlib.Path(args.build) / "shim/stat/kvshim-stat"), str(segments))
    engines = []
    try:
        print(f"\nllama.cpp, unmodified, under libkvshim.so on {name}:")
        engines.append(Engine(args, gpu, True, work / "shimmed", segments))
        totals = watch(engines[0], counters)
        print("\nthe same without the shim ...", flush=True)
        engines.append(Engine(args, gpu, False, work / "plain", segments))
        for _ in engines[1].phases():
            pass
    finally:
        for engine in engines:
            engine.stop()
    return compare(gpu, engines[0], engines[1], totals)


def picture(totals):
    """What a server without the shim holds for its cache, and what is held with it, phase by phase."""
    most = max(t["reserved_bytes"] for t in totals.values())
    steps = [(phase, t) for phase, t in totals.items() if t["reserved_bytes"]]
    if not most or not steps:
        return
    print("\nmemory of the reservations: # is held, . is reserved and costs nothing")
    for phase, total in steps:
        held = math.ceil(total["backed_bytes"] * BAR / most)
        reserved = math.ceil(total["reserved_bytes"] * BAR / most)
        saved = 100 * (total["reserved_bytes"] - total["backed_bytes"]) // total["reserved_bytes"]
        print(f"  {phase:10} |{'#' * held + '.' * (reserved - held):{BAR}}| {size(total['backed_bytes']):>7} held, {saved}% saved")


def compare(gpu, shimmed, plain, totals):
    """Prints what the two runs agree on; True if they agree on everything that can be compared."""
    good = shimmed.tokens == plain.tokens
    print(f"tokens: {len(shimmed.tokens)} with the shim, {len(plain.tokens)} without: "
          f"{'equal' if good else 'DIFFERENT'}")
    if gpu == "sim":
        print("        (the software GPU does not compute: they are no language)")
        print("content: what kernels read and copies moved in the KV cache, compared with an ideal memory:")
        for line in shimmed.checked:
            print(f"        {line}")
        good = good and shimmed.is_clean()
    reserved = max(t["reserved_bytes"] for t in totals.values())
    if not reserved:
        print("the shim has reserved nothing: DIFFERENT from what this demo shows")
        return False
    picture(totals)
    held = max(t["backed_bytes"] for t in totals.values())
    print(f"\nmemory: {size(reserved)} reserved at most, which it would hold without the shim; {size(held)} held at most")
    return good


def demo_with_a_front(args, gpu, name, work):
    """The HTTP server if it can run here, else the program that drives libllama directly."""
    if args.front:
        return demo(args, gpu, name, work)
    args.front = "node"
    try:
        return demo(args, gpu, name, work / "node")
    except Skip as reason:
        print(f"no HTTP server here ({reason}); driving libllama directly")
    args.front = "c"
    return demo(args, gpu, name, work / "c")


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--build", default="build")
    parser.add_argument("--gpu", choices=("sim", "real"))
    parser.add_argument("--front", choices=("c", "node"))
    parser.add_argument("--cuda", choices=("12", "13"))
    parser.add_argument("--keep", metavar="DIR", help="keep what the runs wrote in this new folder")
    args = parser.parse_args()
    name = real_gpu() if args.gpu != "sim" else None
    if args.gpu == "real" and not name:
        print("demo: no GPU is offered by a driver here")
        return 1
    gpu = "real" if name else "sim"
    name = name or "the software GPU (no real one here)"
    if not (pathlib.Path(args.build) / "shim/libkvshim.so").exists():
        print("SKIP: libkvshim.so was not built (CUDA toolkit headers are missing)")
        return 77
    with tempfile.TemporaryDirectory(prefix="kvshim-demo-") as temporary:
        work = pathlib.Path(args.keep or temporary)
        if args.keep:
            work.mkdir(parents=True)
        try:
            good = demo_with_a_front(args, gpu, name, work)
        except Skip as reason:
            print(f"SKIP: {reason}")
            return 77
        except Trouble as trouble:
            print(f"demo: {trouble}")
            good = False
    print("demo: ok" if good else "demo: FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
