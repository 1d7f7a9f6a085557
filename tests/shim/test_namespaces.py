# SPDX-License-Identifier: Apache-2.0
"""Processes that share a device from different pid namespaces, as containers do."""
import json
import os
import signal
import subprocess
import sys
import time

from shimtest import KVSHIM, LIBRARY, Writer, clean_env, patient, run, run_all

AGENT, PROBE, SIMGPU = sys.argv[5:8]
PATIENCE_S = 60
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]


class Inside:
    """A program as the first process of a pid namespace of its own, with a /proc of its own or without."""

    def __init__(self, *command, proc=True, ready=("ready\n",), **env):
        self.process = subprocess.Popen([*UNSHARE, *(["--mount-proc"] if proc else []), *command],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        env=clean_env(**env))
        said = [self.process.stdout.readline() for _ in ready]
        assert said == list(ready), said

    def pid(self):
        """As seen from here."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def kill(self):
        os.kill(self.pid(), signal.SIGKILL)
        self.end()

    def end(self, line=""):
        try:
            out, _ = self.process.communicate(line, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return out


def kvshim(directory, *args):
    result = run(KVSHIM, *patient(args), env={"KVSHIM_DIR": directory}, timeout=120)
    assert result.returncode == 0, (args, result)
    return result.stdout


def pids(directory):
    return sorted(p["pid"] for p in json.loads(kvshim(directory, "ps", "--json"))["processes"])


def agent(directory, **more):
    return Inside(AGENT, directory, "1", "4194304", **more)


def test_who_lives_elsewhere_is_seen_is_asked_and_answers(directory):
    with Writer(directory) as writer:
        there = agent(directory)
        assert pids(directory) == sorted([1, writer.pid]), "as each sees itself"
        assert "4M moved to host memory" in kvshim(directory, "evict", "1")
        kvshim(directory, "limit", "1", "--max", "1G")
        assert "asked" in there.end()
        assert pids(directory) == [writer.pid]


def test_two_that_are_called_the_same_are_two(directory):
    one, two = agent(directory), agent(directory)
    assert pids(directory) == [1, 1]
    with Writer(directory) as writer:
        assert pids(directory) == sorted([1, 1, writer.pid]), "nobody was taken for dead"
    one.end()
    assert pids(directory) == [1]
    two.end()
    assert os.listdir(directory) == []


def test_what_the_dead_elsewhere_had_is_taken_back_by_whoever_comes(directory):
    with Writer(directory) as writer:
        there = agent(directory)
        there.kill()
        with Writer(directory) as other:
            assert pids(directory) == sorted([writer.pid, other.pid])
    assert os.listdir(directory) == []


def test_one_that_is_stopped_is_not_dead(directory):
    with Writer(directory) as writer:
        there = agent(directory)
        pid = there.pid()
        os.kill(pid, signal.SIGSTOP)
        with Writer(directory) as other:
            assert pids(directory) == sorted([1, writer.pid, other.pid])
        os.kill(pid, signal.SIGCONT)
        there.end()
        assert pids(directory) == [writer.pid]


def test_the_dead_outside_are_taken_back_from_inside(directory):
    writer = Writer(directory)
    writer.process.kill()
    writer.process.wait()
    there = agent(directory)
    assert pids(directory) == [1]
    there.end()
    assert os.listdir(directory) == []


def test_a_proc_of_another_namespace_makes_nobody_dead(directory):
    with Writer(directory) as writer:
        there = agent(directory, proc=False)
        assert pids(directory) == sorted([1, writer.pid])
        with Writer(directory) as other:
            assert pids(directory) == sorted([1, writer.pid, other.pid])
        there.end()
        assert pids(directory) == [writer.pid]


def test_an_engine_in_a_container_gives_and_gets_its_memory(directory):
    with Writer(directory):
        there = Inside("env", "LD_PRELOAD=" + LIBRARY, PROBE, "wait", ready=("differences: 0\n", "holding\n"),
                       KVSHIM_DIR=directory, LD_LIBRARY_PATH=SIMGPU, SIMGPU_STRICT_EXIT="1")
        shown = {}
        until = time.monotonic() + PATIENCE_S
        assert "2M moved to host memory" in kvshim(directory, "evict", "1")
        while shown.get("evicted_bytes") != 2 << 20 and time.monotonic() < until:
            processes = json.loads(kvshim(directory, "ps", "--json"))["processes"]
            shown = next(p for p in processes if p["pid"] == 1)
        assert shown["evicted_bytes"] == 2 << 20, shown
        assert there.end("go\n") == "done\n"
        assert there.process.returncode == 0


try:
    allowed = subprocess.run([*UNSHARE, "--mount-proc", "true"], capture_output=True, text=True, check=False)
    why = allowed.stderr.strip() if allowed.returncode else ""
except OSError as error:
    why = str(error)
if why:
    print(f"SKIP: no pid namespace can be made here: {why}")
    sys.exit(77)
run_all(sys.modules[__name__])
