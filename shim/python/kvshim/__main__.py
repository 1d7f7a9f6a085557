# SPDX-License-Identifier: Apache-2.0
"""`python -m kvshim`: is the shim here, and what does it do? Exit status 1 without it."""
from __future__ import annotations

import sys

import kvshim


def main() -> int:
    version = kvshim.version()
    if version is None:
        print("kvshim: not in this process; start it with LD_PRELOAD=.../libkvshim.so or `kvshim run`")
        return 1
    print(f"kvshim: interface {version}, {'active' if kvshim.active() else 'no driver call yet'}")
    for row in kvshim.reservations():
        kind = "managed" if row["is_managed"] else "static" if row["static_reason"] else "elastic"
        print(f"{row['base']:#x}  {row['requested'] >> 20} MiB, {row['backed'] >> 20} MiB backed, {kind}"
              + (f", tag {row['tag']}" if row["tag"] else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
