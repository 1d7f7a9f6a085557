# SPDX-License-Identifier: Apache-2.0
"""The two commands under valgrind: no error, no leak."""
import os
import shutil
import sys

from shimtest import KVSHIM, KVSHIM_STAT, Writer, run, run_all

VALGRIND = shutil.which("valgrind")
if not VALGRIND:
    print("SKIP: valgrind is not installed")
    sys.exit(77)


def is_clean(*args, env=None, status=0):
    result = run(VALGRIND, "-q", "--error-exitcode=99", "--leak-check=full",
                 "--errors-for-leak-kinds=definite,possible", "--child-silent-after-fork=yes", *args, env=env, timeout=200)
    if "debuginfo reader" in result.stderr:
        print("SKIP: this valgrind cannot read the compiler's debug information")
        sys.exit(77)
    assert result.returncode == status, result


def test_kvshim_explain_is_clean(_):
    is_clean(KVSHIM, "explain", env={"KVSHIM_MIN_SIZE": "-1", "KVSHIM_UNKNOWN": "1",
                                     "KVSHIM_INCLUDE_SIZES": "1G,2G-3G", "KVSHIM_LOG": "coord:debug"})
    is_clean(KVSHIM, "explain", "min-size")


def test_kvshim_run_is_clean(_):
    # not traced into the command: --trace-children is off
    is_clean(KVSHIM, "run", "--min-size", "1G", "true", env={"LD_PRELOAD": ""})
    is_clean(KVSHIM, "run", "--min-size", "x", "true", status=2)


def test_kvshim_ps_limit_check_and_doctor_are_clean(directory):
    with Writer(directory, 1, 3) as writer:
        is_clean(KVSHIM, "ps", "--json", "--dir", directory)
        is_clean(KVSHIM, "limit", "--dir", directory, "--max", "1G", str(writer.pid))
        is_clean(KVSHIM, "evict", "--dir", directory, "--wait", "0", str(writer.pid))
        is_clean(KVSHIM, "check", *[f"{directory}/{name}" for name in os.listdir(directory)])
    doctor = [KVSHIM, "doctor", "--json", "--dir", directory, "cat"]
    is_clean(*doctor, status=run(*doctor).returncode)


def test_kvshim_stat_is_clean(directory):
    with Writer(directory, 1, 64), Writer(directory, 2, 3):
        is_clean(KVSHIM_STAT, "--json", "--dir", directory)
        is_clean(KVSHIM_STAT, "--once", "--dir", directory)
        with open(f"{directory}/kvshim-0-{'0' * 32}", "wb") as file:
            file.write(b"garbage")
        is_clean(KVSHIM_STAT, "--json", "--dir", directory, status=1)


run_all(sys.modules[__name__])
