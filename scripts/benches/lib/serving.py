# SPDX-License-Identifier: Apache-2.0
"""Three small servers (tests/micro/serve.c) on one device of the software GPU under ramps: static partitions without kvshim
beside a shared pool with it, at the same time on two devices of the same size, so that both meet the same machine.

Times are set: what an iteration takes (as in the simulation), and what the driver calls of growing and copying take
(published figures). Everything runs `speed` times as fast, and one plane here stands for many of the model, so that one call
takes as long as theirs together.
"""
import os
import subprocess
import time

from enginelib import Failure

MODELS = 3
MIB = 1 << 20
SLOT_BYTES, WEIGHT_BYTES, CONTEXT_BYTES, PLANES = 8 * MIB, 48 * MIB, 40 * MIB, 2  # of serve.c; of a process
QUANTUM_NS = 500_000
MODEL_PLANES, MODEL_SLOT_BYTES = 64, 64 * MIB  # of Llama-3.1-8B, a request of 512 tokens


def environment(build, folder, shared, device, o):
    """shared: with the shim. device: bytes."""
    each = MODEL_PLANES / PLANES / o.speed
    calls = {"cuMemCreate": o.create_us, "cuMemMap": o.map_us, "cuMemUnmap": o.unmap_us, "cuMemRelease": o.release_us}
    times = {name: us * 1000 * each for name, us in calls.items()}
    times["cuMemSetAccess"] = o.access_us * 1000 * each  # one for a run of pages; there are as many runs as planes
    env = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR") if k in os.environ}
    env.update(LD_LIBRARY_PATH=str(build / "tests/simgpu/lib"), SIMGPU_ASYNC="1", SIMGPU_KERNEL_NS=str(QUANTUM_NS), SIMGPU_MIRROR="0",
               SIMGPU_SHARED=str(folder / ("shared" if shared else "static")), SIMGPU_MEMORY=str(device),
               SIMGPU_BANDWIDTH=str(int(o.copy_gb_s * 1e9 * o.speed * SLOT_BYTES / MODEL_SLOT_BYTES)),
               SIMGPU_CALL_NS=",".join(f"{name}:{int(ns)}" for name, ns in times.items()))
    if shared:
        segments = folder / "segments"
        segments.mkdir(exist_ok=True)
        env.update(LD_PRELOAD=str(build / "shim/libkvshim.so"), KVSHIM_DIR=str(segments), KVSHIM_LOG="warn", KVSHIM_MIN_SIZE="4M",
                   KVSHIM_SCOPE="all", KVSHIM_HOST_BUDGET="16G", KVSHIM_IDLE_MS=str(int(o.idle_ms / o.speed)))
    return env


def one_way(build, folder, shared, begin, arrivals, o):
    """Starts the three servers. Returns their processes."""
    slots = o.slots if shared else o.slots // MODELS
    device = o.slots * SLOT_BYTES + MODELS * (WEIGHT_BYTES + CONTEXT_BYTES)
    times = [o.step_ms * 1e6, o.step_ms_each * 1e6, 1e9 / o.prefill_per_s]
    running = []
    for i, offsets in enumerate(arrivals):
        command = [build / "tests/micro/micro_serve", slots, int(begin * 1e9), *(int(t / o.speed) for t in times), QUANTUM_NS]
        log = open(folder / f"{'shared' if shared else 'static'}-{i}.log", "wb")
        process = subprocess.Popen([str(word) for word in command], env=environment(build, folder, shared, device, o), text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        process.stdin.write("".join(f"{int(at * 1e9 / o.speed)}\n" for at in offsets))
        process.stdin.close()
        process.stdin = None
        running.append(process)
        log.close()
    return running


def heard(process, folder):
    """{"requests": [(arrived, admitted, first, done) in s], "grew": [s]} of a server that has ended."""
    said = process.communicate()[0]
    if process.returncode:
        raise Failure(f"a server ended with {process.returncode}\n{said[-500:]}; see {folder}")
    got = {"requests": [], "grew": []}
    for line in said.splitlines():
        word, *numbers = line.split()
        if word == "request":
            got["requests"].append(tuple(int(n) / 1e9 for n in numbers))
        elif word == "grew":
            got["grew"].append(int(numbers[0]) / 1e9)
    return got


def at(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def spread(name, values):
    """p50, p99 and the most of values in s, as ms."""
    return {f"{name}_{key}_ms": v * 1e3 if v is not None else None for key, v in
            (("p50", at(values, .5)), ("p99", at(values, .99)), ("max", max(values, default=None)))}


def row_of(memory, peak, servers, o):
    requests = [r for server in servers for r in server["requests"]]
    firsts = [first - arrived for arrived, _, first, _ in requests]
    step = o.step_ms / 1e3 / o.speed
    # The first request of the models that had nothing to do until then.
    woken = [server["requests"][0][2] - server["requests"][0][0] for server in servers[1:] if server["requests"]]
    return {"bench": "latency", "simulated": False, "peak": peak, "memory": memory, "speed": o.speed, "requests": len(requests),
            "mean_ms": sum(firsts) / len(firsts) * 1e3, "p50_ms": at(firsts, .5) * 1e3, "p99_ms": at(firsts, .99) * 1e3,
            "max_ms": max(firsts) * 1e3, "token_ms": sum(d - f for _, _, f, d in requests) / len(requests) / 255 * 1e3,
            **spread("admission", [admitted - arrived for arrived, admitted, _, _ in requests]),
            **spread("growth", [g for server in servers for g in server["grew"]]),
            "wake_ms": max(woken) * 1e3 if woken else None, "stall_us_max": max((g for server in servers for g in server["grew"]), default=0) * 1e6,
            "waited": sum(admitted - arrived > 3 * step for arrived, admitted, _, _ in requests),
            "ratio": None, "peer_ratio": None, "ok": all(done > 0 for *_, done in requests)}


def measured(build, folder, peak, arrivals, o):
    """The two rows of one peak, static and shared."""
    begin = time.monotonic() + 2.5
    folder.mkdir(parents=True, exist_ok=True)
    running = {}
    try:
        for shared in (False, True):
            running[shared] = one_way(build, folder, shared, begin, arrivals, o)
        rows = [row_of("shared" if shared else "static", peak, [heard(p, folder) for p in running[shared]], o) for shared in (False, True)]
    finally:
        for process in [p for some in running.values() for p in some]:
            if process.poll() is None:
                process.kill()
                process.wait()
    static, shared = rows
    shared["ratio"] = static["mean_ms"] / shared["mean_ms"]
    return rows
