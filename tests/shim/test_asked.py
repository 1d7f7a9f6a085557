# SPDX-License-Identifier: Apache-2.0
"""The commands on a real process: libkvshim.so over the software GPU is asked, and does it."""
import csv
import json
import os
import subprocess
import sys
import time

from shimtest import KVSHIM, LIBRARY, clean_env, complaints, patient, run, run_all

PROBE, SIMGPU = sys.argv[5:7]
MIB = 1024 * 1024
PATIENCE_S = 60


class Program:
    """A probe that holds a reservation with two MiB of content."""

    def __init__(self, directory, **env):
        self.directory = directory
        self.process = subprocess.Popen(
            [PROBE, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=clean_env(KVSHIM_DIR=directory, LD_LIBRARY_PATH=SIMGPU, LD_PRELOAD=LIBRARY, SIMGPU_STRICT_EXIT="1", **env))
        said = [self.process.stdout.readline(), self.process.stdout.readline()]
        assert said == ["differences: 0\n", "holding\n"], said
        self.pid = str(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """It goes on with its memory, finds it as it was and leaves nothing."""
        out, err = self.process.communicate("go\n", timeout=PATIENCE_S)
        assert self.process.returncode == 0 and out == "done\n", (self.process.returncode, out, err)

    def command(self, *args, status=0):
        result = run(KVSHIM, *patient(args), env={"KVSHIM_DIR": self.directory}, timeout=120)
        assert result.returncode == status, result
        return result.stdout + result.stderr

    def ps(self):
        found = json.loads(self.command("ps", "--json"))["processes"]
        assert [p["pid"] for p in found] == [int(self.pid)], found
        return found[0]

    def becomes(self, state, backed, evicted):
        """Numbers are published from time to time. state None: any. Returns how long it took, in seconds."""
        start = time.monotonic()
        while time.monotonic() < start + PATIENCE_S:
            now = self.ps()
            if (state in (None, now["state"]), now["backed_bytes"], now["evicted_bytes"]) == (True, backed, evicted):
                return time.monotonic() - start
            time.sleep(0.01)
        raise AssertionError(("it stays", now))


def test_content_is_evicted_and_restored_on_demand(directory):
    with Program(directory) as program:
        program.becomes("active", 2 * MIB, 0)
        assert "2M moved to host memory" in program.command("evict", program.pid)
        program.becomes("evicted", 0, 2 * MIB)
        assert "2M moved back" in program.command("restore", program.pid)
        program.becomes("active", 2 * MIB, 0)
        assert "2M moved to host memory" in program.command("evict", "--all")


def test_an_idle_time_that_is_set_while_it_runs_takes_effect(directory):
    with Program(directory) as program:
        assert "idle after 20 ms" in program.command("limit", program.pid, "--idle", "20ms", "--max", "1G")
        program.becomes("evicted", 0, 2 * MIB)


def test_a_lower_maximum_reaches_an_idle_process_and_the_old_one_lets_it_grow_again(directory):
    with Program(directory) as program:
        program.becomes("active", 2 * MIB, 0)
        for round_ in range(3):
            program.command("limit", program.pid, "--max", "1M")
            seconds = program.becomes(None, 0, 2 * MIB)
            print(f"      a lower maximum was in effect after {seconds * 1000:.0f} ms")
            assert "no memory for it" in program.command("restore", program.pid, status=1), "it is a bound"
            program.command("limit", program.pid, "--max", "none")
            assert "2M moved back" in program.command("restore", program.pid)
            program.becomes(None, 2 * MIB, 0)
            # what it has already, given again, changes nothing
            program.command("limit", program.pid, "--max", "none", "--weight", "100", "--min", "0")
            assert "max none" in program.command("limit", program.pid)
        program.becomes(None, 2 * MIB, 0)


def test_a_maximum_of_nothing_empties_a_process_and_it_goes_on_all_the_same(directory):
    with Program(directory, KVSHIM_HOST_BUDGET="64M") as program:
        program.command("limit", program.pid, "--max", "0")
        program.becomes(None, 0, 2 * MIB)


def test_a_tag_that_nothing_has_is_told(directory):
    with Program(directory) as program:
        assert "no reservation with this tag" in program.command("pause", "draft", program.pid, status=1)


def test_a_recording_of_a_command_under_the_shim(directory):
    path, env = os.path.join(directory, "out.csv"), {"LD_LIBRARY_PATH": SIMGPU, "KVSHIM_DIR": "/nowhere"}
    result = run(KVSHIM, "record", path, "--dir", directory, "--interval", "10ms", "--", PROBE, env=env)
    assert result.returncode == 0 and "done" in result.stdout, result
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # it may be over before it was looked at, or before it had a slot
    assert all(row["name"] in ("", "probe") for row in rows), rows
    result = run(KVSHIM, "record", path, "--dir", directory, "--", "sh", "-c", "exit 7", env=env)
    assert result.returncode == 7, result
    with Program(directory) as program:
        result = run(KVSHIM, "record", path, "--dir", directory, "--interval", "10ms", "--", "sleep", "0.2", env=env)
        with open(path, encoding="utf-8") as file:
            assert any(row.get("pid") == program.pid for row in csv.DictReader(file)), result


def test_wrong_arguments_of_record_give_one_line(directory):
    path = os.path.join(directory, "no", "such", "file")
    for args, status, words in (([], 2, "no FILE given"), (["x", "--interval", "5"], 2, "--interval"),
                                (["x", "-m"], 2, "-m is no option"), ([path, "--", "true"], 1, path)):
        result = run(KVSHIM, "record", *args, env={"KVSHIM_DIR": directory})
        said = complaints(result.stderr)
        assert result.returncode == status and len(said) == 1 and words in said[0], result


def test_the_segment_is_sound_meanwhile(directory):
    with Program(directory) as program:
        path = os.path.join(directory, [n for n in os.listdir(directory) if n.startswith("kvshim-")][0])
        program.command("evict", program.pid)
        assert "sound, 1 processes" in program.command("check", path)


run_all(sys.modules[__name__])
