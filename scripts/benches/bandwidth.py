# SPDX-License-Identifier: Apache-2.0
"""How fast content moves out and back in, beside a plain pinned copy of the same bytes in the same run.

One process reserves memory, fills it, is asked to evict and to restore it, and checks what comes back. Plain is one
copy between native device memory and pinned host memory. Ratios are those of the bandwidths; the promise is 0.85.
The software GPU is given a bandwidth, a low one: taking memory that nobody has used costs its host page faults and a
fill with poison, which no device has to pay and which should not count for much. With --gpu real the driver of the
machine is used.

  page       unit of backing: 2 MiB, or gang pages of 16 MiB
  out_gbps   plain copy to the host, GB/s; evict_gbps: the same bytes by eviction
  in_gbps    plain copy to the device; restore_gbps: the same bytes by a restore
"""
import json
import os
import subprocess

from common import *
from enginelib import need_gpu

PROMISE = 0.85


def measure(args, folder, page):
    build = pathlib.Path(args.build).resolve()
    size = args.mib * MIB
    env = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR") if k in os.environ}
    env |= {"LD_PRELOAD": str(build / "shim/libkvshim.so"), "KVSHIM_DIR": str(folder), "KVSHIM_LOG": "warn",
            "KVSHIM_MIN_SIZE": str(size), "KVSHIM_PAGE_SIZE": str(page)}
    if args.gpu == "sim":
        env |= {"LD_LIBRARY_PATH": str(build / "tests/simgpu/lib"), "SIMGPU_BANDWIDTH": str(int(args.gbps * 1e9)),
                "SIMGPU_STRICT_EXIT": "1", "SIMGPU_MEMORY": str(4 * size), "SIMGPU_ASYNC": "1"}
    else:
        need_gpu()
        if "LD_LIBRARY_PATH" in os.environ:
            env["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    program = build / "tests/memory/memory_bandwidth"
    run = subprocess.run([program, str(args.mib), str(args.rounds)], env=env, stdout=subprocess.PIPE, text=True)
    if run.returncode == 77:
        raise Skip(run.stdout.strip().removeprefix("SKIP: "))
    if run.returncode:
        raise Failure(f"page {page}: exit {run.returncode}\n{run.stdout}")
    return json.loads(run.stdout.splitlines()[-1])


def charts(rows, gpu):
    names = {"out_gbps": "plain copy out", "evict_gbps": "eviction", "in_gbps": "plain copy in", "restore_gbps": "restore"}
    bars = [(f"pages of {r['page_bytes'] // MIB} MiB", [r[key] for key in names]) for r in rows]
    return ("How fast content moves out of the device and back in, beside a plain pinned copy of the same bytes",
            where(gpu) + (" The software GPU is given a low bandwidth: only the ratios say something." if gpu == "sim" else ""),
            [chart.Bars("Bandwidth", "GB/s", list(names.values()), bars)])


def bench():
    p = parser(__doc__)
    p.add_argument("--quick", action="store_true", help="64 MiB, pages of 2 MiB only")
    p.add_argument("--mib", type=int, default=128, help="MiB that move (128)")
    p.add_argument("--rounds", type=int, default=2, help="how often; the least time counts (2)")
    p.add_argument("--gbps", type=float, default=0.05, help="bandwidth of the software GPU, GB/s (0.05)")
    p.add_argument("--gpu", choices=("sim", "real"), default="sim")
    args = p.parse_args()
    if args.quick:
        args.mib = 64
    rows = Rows(args, [("page_bytes", "page"), ("moved_bytes", "moved"), ("out_gbps", "plain out"),
                            ("evict_gbps", "evict"), ("evict_ratio", "ratio"), ("in_gbps", "plain in"),
                            ("restore_gbps", "restore"), ("restore_ratio", "ratio"), ("verdict", "verdict")],
                lambda found: charts(found, args.gpu))
    ok = True
    with Folder(args.keep) as folder:
        for page in (2 * MIB,) if args.quick else (2 * MIB, 16 * MIB):
            got = measure(args, folder, page)
            size = got["bytes"]
            plain = size - 2 * MIB
            row = {"bench": "bandwidth", "gpu": args.gpu, "page_bytes": page, "moved_bytes": size,
                   "out_gbps": plain / got["plain_out_s"] / 1e9, "evict_gbps": size / got["evict_s"] / 1e9,
                   "in_gbps": plain / got["plain_in_s"] / 1e9, "restore_gbps": size / got["restore_s"] / 1e9}
            row["evict_ratio"] = row["evict_gbps"] / row["out_gbps"]
            row["restore_ratio"] = row["restore_gbps"] / row["in_gbps"]
            kept = min(row["evict_ratio"], row["restore_ratio"]) >= PROMISE
            row["verdict"] = "ok" if kept else "MISS"
            ok = ok and kept
            rows.add(row)
        rows.finish()
    return ok


if __name__ == "__main__":
    main(bench)
