#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`kvshim doctor --rules` on rule files, on broken files and on the engines in the cache.

usage: test_doctor.py KVSHIM SOURCE
"""
import pathlib
import subprocess
import sys
import tempfile

KVSHIM, SOURCE = sys.argv[1], pathlib.Path(sys.argv[2])
# Families of which a build of llama.cpp must have kernels, all of them recognised.
FAMILIES = ["k_set_rows", "k_set_rows_quant", "rope_norm", "rope_neox", "flash_attn_ext_f16"]


def doctor(*args):
    run = subprocess.run([KVSHIM, "doctor", *map(str, args)], capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


def check(holds, what):
    if not holds:
        sys.exit("FAIL: " + what)


def rule_files(tmp):
    code, out, _ = doctor("--rules", SOURCE / "shim/profiles/llama.rules")
    check(code == 0 and "k_set_rows" in out, "the profile is listed")
    bad = tmp / "bad.rules"
    bad.write_text("rules 1\nfamily f\nvariant v\nparams int\nread p7 bytes 1\n")
    code, _, err = doctor("--rules", bad)
    check(code == 1 and f"{bad}:5: " in err, f"a wrong line is told by its number: {err}")
    code, _, err = doctor("--rules", tmp / "missing")
    check(code == 1 and "missing" in err, "a missing file is named")
    check(doctor("--rules")[0] == 2 and doctor("--frob")[0] == 2, "wrong arguments are 2")
    check(doctor("--help")[0] == 0, "help is there")


def broken_libraries(tmp):
    junk = tmp / "junk.so"
    junk.write_bytes(b"\x7fELF" + bytes(200))
    code, _, err = doctor("--rules", junk)
    check(code == 1 and "junk.so" in err, "a broken library is refused")
    code, _, err = doctor("--rules", KVSHIM)
    check(code == 1 and "no kernels" in err, f"a program without kernels has none: {err}")


def ptx(tmp):
    text = tmp / "one.ptx"
    text.write_text(".version 8.0\n.target sm_80\n.address_size 64\n"
                    ".visible .entry _Z25dequantize_block_q8_0_f16ILb0EEvPKvP6__halfl(.param .u64 a, .param .u64 b, .param .u64 c)\n{ ret; }\n"
                    ".visible .entry _Z25dequantize_block_q8_0_f16ILb1EEvPKvP6__halfl(.param .u64 a, .param .u64 b, .param .u32 c)\n{ ret; }\n"
                    ".visible .entry k_compute_batched_ptrs()\n{ ret; }\n"
                    ".visible .entry other()\n{ ret; }\n")
    code, out, err = doctor("--rules", text)
    check(code == 0, err)
    check("4 kernels in 1 images: 1 recognised, 2 of the same families not, 1 of no interest" in out, out)
    rules = tmp / "my.rules"
    rules.write_text("rules 1\nfamily other\n")
    code, out, err = doctor("--rules", text, "--with", rules)
    check(code == 0 and "0 recognised, 1 of the same families not" in out, out + err)


def engines():
    fetch = subprocess.run([SOURCE / "tests/engines/fetch", "--have", "llama"], capture_output=True, text=True)
    if fetch.returncode:
        print("SKIP: no engine in the cache; the rest passed")
        return False
    library = pathlib.Path(fetch.stdout.strip()) / "cuda13" / "libggml-cuda.so"
    code, out, err = doctor("--rules", library)
    check(code == 0, err)
    print(out)
    known, _, unknown = out.partition("not recognised")
    for family in FAMILIES:
        check(f"\n{family} " in known, f"{family} is recognised")
        check(f"\n{family} " not in unknown, f"no kernel of {family} is left out")
    check(", 0 of the same families not, " in out, "no kernel of any family is left out")
    check("k_compute_batched_ptrs              1  arrays (leaves addresses in memory: " in known, "one makes static, and says so")
    return True


def main():
    with tempfile.TemporaryDirectory() as tmp:
        rule_files(pathlib.Path(tmp))
        broken_libraries(pathlib.Path(tmp))
        ptx(pathlib.Path(tmp))
    sys.exit(0 if engines() else 77)


if __name__ == "__main__":
    main()
