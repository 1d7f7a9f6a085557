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
        """Numbers are published from time to time."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            now = self.ps()
            if (now["state"], now["backed_bytes"], now["evicted_bytes"]) == (state, backed, evicted):
                return
            time.sleep(0.05)
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


def test_a_tag_that_nothing_has_is_told(directory):
    with Program(directory) as program:
        assert "no reservation with this tag" in program.command("pause", "draft", program.pid, status=1)


def test_a_recording_of_a_command_under_the_shim(directory):
    path, env = os.path.join(directory, "out.csv"), {"LD_LIBRARY_PATH": SIMGPU, "KVSHIM_DIR": "/nowhere"}
    result = run(KVSHIM, "record", path, "--dir", directory, "--interval", "10ms", "--", PROBE, env=env)
    assert result.returncode == 0 and "done" in result.stdout, result
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert any("probe" in row.values() for row in rows) or rows == [], rows
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
