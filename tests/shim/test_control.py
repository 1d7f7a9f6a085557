# SPDX-License-Identifier: Apache-2.0
"""kvshim ps, limit, evict, restore, pause, resume and check, on processes that answer as told."""
import json
import os
import subprocess
import sys

from shimtest import KVSHIM, Writer, clean_env, lines, patient, run, run_all

AGENT = sys.argv[5]
MIB, NONE = 1024 * 1024, 2**64 - 1
EVICT, RESTORE, PAUSE, RESUME = 0, 1, 3, 4


class Agent:
    """A process that answers each request with this number, or does not answer."""

    def __init__(self, directory, answer, uuid=1):
        self.process = subprocess.Popen([AGENT, directory, str(uuid), str(answer)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=clean_env())
        assert self.process.stdout.readline() == "ready\n"
        self.pid = str(self.process.pid)

    def __enter__(self):
        return self

    def said(self):
        """The next line that it says."""
        return self.process.stdout.readline().strip()

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


def kvshim(directory, *args, status=0, says=()):
    """Its output; one line on stderr if it fails."""
    result = run(KVSHIM, *patient(args), env={"KVSHIM_DIR": directory}, timeout=120)
    assert result.returncode == status, (args, result)
    assert len(lines(result.stderr)) == (1 if status else 0), (args, result)
    for word in says:
        assert word in result.stderr + result.stdout, (word, result)
    return result.stdout


def test_limit_shows_and_changes_what_is_given_and_nothing_else(directory):
    with Agent(directory, 0) as agent:
        kvshim(directory, "limit", agent.pid, says=["min 0, max none", "weight 100"])
        kvshim(directory, "limit", agent.pid, "--max", "4G", "--weight=300", says=["max 4G", "weight 300"])
        assert agent.said() == f"limits min 0 max {4 << 30} host 0 weight 300 idle 0"
        kvshim(directory, "limit", "--min", "64M", "--idle", "30s", "--host-budget", "1G", agent.pid)
        assert agent.said() == f"limits min {64 * MIB} max {4 << 30} host {1 << 30} weight 300 idle 30000"
        shown = json.loads(kvshim(directory, "limit", "--json", agent.pid))["processes"]
        assert shown == [{"pid": int(agent.pid), "gpu": "01000000-0000-0000-0000-000000000000",
                          "min_bytes": 64 * MIB, "max_bytes": 4 << 30, "host_budget_bytes": 1 << 30,
                          "weight": 300, "idle_ms": 30000}], shown
        kvshim(directory, "limit", agent.pid, "--max", "none", "--min", "none", "--idle", "never")
        assert agent.said() == f"limits min 0 max {NONE} host {1 << 30} weight 300 idle 0"
        assert json.loads(kvshim(directory, "limit", "--json", agent.pid))["processes"][0]["max_bytes"] is None


def test_limits_that_contradict_each_other_change_nothing(directory):
    with Agent(directory, 0) as agent:
        kvshim(directory, "limit", agent.pid, "--min", "2G", "--max", "1G", status=1, says=["above the maximum"])
        kvshim(directory, "limit", agent.pid, says=["min 0, max none"])


def test_evict_and_restore_tell_what_was_moved(directory):
    with Agent(directory, 3 * MIB) as agent:
        kvshim(directory, "evict", agent.pid, says=["3M moved to host memory"])
        said = agent.said()
        assert said == f"asked {EVICT} bytes {NONE} tag ''", said
        kvshim(directory, "restore", "--bytes", "1M", agent.pid, says=["3M moved back"])
        assert agent.said() == f"asked {RESTORE} bytes {MIB} tag ''"
        answers = json.loads(kvshim(directory, "evict", "--json", agent.pid))["answers"]
        assert answers == [{"pid": int(agent.pid), "gpu": "01000000-0000-0000-0000-000000000000",
                            "moved_bytes": 3 * MIB, "error": None}], answers


def test_pause_and_resume_name_a_tag_and_reach_every_process(directory):
    with Agent(directory, 0) as one, Agent(directory, 0) as two:
        kvshim(directory, "pause", "draft", says=[one.pid, two.pid])
        said = [one.said(), two.said()]
        assert said == [f"asked {PAUSE} bytes {NONE} tag 'draft'"] * 2, said
        kvshim(directory, "resume", "draft", two.pid)
        assert two.said() == f"asked {RESUME} bytes {NONE} tag 'draft'"


def test_several_processes_and_gpus(directory):
    with Agent(directory, 1, uuid=1) as one, Agent(directory, 2, uuid=2) as two:
        assert len(lines(kvshim(directory, "evict", "--all"))) == 2
        assert len(lines(kvshim(directory, "evict", one.pid, two.pid))) == 2
        assert len(lines(kvshim(directory, "evict", "--all", "--gpu", "02"))) == 1
        kvshim(directory, "evict", one.pid, "--gpu", "02000000-00", status=1, says=[f"no process {one.pid}", "02000000"])


def test_an_answer_that_is_an_error_is_told(directory):
    for number, words in ((-16, "busy"), (-2, "no reservation with this tag"), (-12, "no memory for it"),
                          (-28, "no device memory"), (-95, "cannot do this"), (-99999, "damaged")):
        with Agent(directory, number) as agent:
            kvshim(directory, "evict", agent.pid, status=1, says=[words, agent.pid])
            assert words in json.loads(run(KVSHIM, "evict", "--json", agent.pid, env={"KVSHIM_DIR": directory}).stdout)["answers"][0]["error"]


def test_a_process_that_does_not_answer_is_not_waited_for_longer_than_asked(directory):
    with Agent(directory, "silent") as agent:
        kvshim(directory, "evict", agent.pid, "--wait", "0", says=["asked"])
        kvshim(directory, "evict", agent.pid, "--wait", "1", status=1, says=["not answered yet", "stands"])


def test_a_process_that_is_inert_cannot_be_asked(directory):
    with Agent(directory, "inert") as agent:
        kvshim(directory, "evict", agent.pid, status=1, says=["inert"])


def test_a_process_that_is_not_there(directory):
    for command in (["limit"], ["evict"], ["restore"], ["pause", "x"], ["resume", "x"]):
        kvshim(directory, *command, "4194305", status=1, says=["no process 4194305 under kvshim", "kvshim ps"])
    kvshim(directory, "evict", "--all", status=1, says=["no process under kvshim"])
    kvshim(os.path.join(directory, "none"), "evict", "1", status=1, says=["No such file"])


def test_a_segment_that_cannot_be_opened_is_named(directory):
    path = os.path.join(directory, "kvshim-0-" + 32 * "0")
    with open(path, "w", encoding="ascii") as file:
        file.write("nothing of the kind")
    os.chmod(path, 0o600)
    kvshim(directory, "evict", "1", status=1, says=["no process 1", path])
    kvshim(directory, "limit", "1", status=1, says=[path])
    assert run(KVSHIM, "ps", env={"KVSHIM_DIR": directory}).returncode == 1


def test_ps_lists_processes(directory):
    with Writer(directory) as writer:
        out = lines(kvshim(directory, "ps"))
        assert len(out) == 2 and out[0].split()[:3] == ["PID", "USER", "NAME"], out
        words = out[1].split()
        assert words[0] == str(writer.pid) and words[2] == "segment_writer" and words[4] == "01000000", words
        process = json.loads(kvshim(directory, "ps", "--json"))["processes"][0]
        assert process["pid"] == writer.pid and process["reserved_bytes"] == 128 * MIB, process
        assert process["backed_bytes"] == 8 * MIB and process["problem"] is None, process
    assert len(lines(kvshim(directory, "ps"))) == 1
    assert json.loads(kvshim(directory, "ps", "--json")) == {"processes": []}


def test_check_tells_sound_from_damaged(directory):
    with Writer(directory):
        path = os.path.join(directory, [n for n in os.listdir(directory) if n.startswith("kvshim-")][0])
        kvshim(directory, "check", path, says=["sound, 1 processes, 0 of them dead"])
        shown = json.loads(kvshim(directory, "check", "--json", path))["segments"]
        assert shown == [{"path": path, "problem": None, "processes": 1, "dead": 0}], shown
        with open(path, "rb") as file:
            content = bytearray(file.read())
    content[0] ^= 1
    damaged = os.path.join(directory, "damaged")
    for name, data in ((damaged, content), ("cut", content[:100]), ("empty", b"")):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)
        kvshim(directory, "check", os.path.join(directory, name), status=1, says=[name])
    kvshim(directory, "check", os.path.join(directory, "none"), status=1, says=["No such file"])
    kvshim(directory, "check", directory, status=1, says=["no segment"])
    result = run(KVSHIM, "check", "--json", damaged, "/dev/null")
    assert result.returncode == 1 and all(s["problem"] for s in json.loads(result.stdout)["segments"]), result


def test_wrong_arguments_give_one_line(directory):
    for args, words in ((["limit"], "no PID given"), (["limit", "x"], "x is no process id"),
                        (["limit", "-5"], "-5 is no option"), (["limit", "1", "2"], "2 is one argument too many"),
                        (["limit", "1", "--max", "x"], "x is no value for --max: give a size"),
                        (["limit", "1", "--weight", "0"], "0 is no value for --weight"),
                        (["limit", "1", "--idle", "-1"], "-1 is no value for --idle"),
                        (["evict"], "give process ids or --all"), (["evict", "--all", "1"], "not both"),
                        (["evict", "1x"], "1x is no process id"), (["restore", "1", "--bytes", "0"], "--bytes"),
                        (["evict", "1", "--wait", "soon"], "--wait"), (["evict", "--gpu"], "--gpu needs a value"),
                        (["pause"], "no TAG given"), (["pause", "x" * 32], "1 to 31 characters"),
                        (["resume", ""], "1 to 31 characters"), (["check"], "no SEGMENT given"),
                        (["ps", "1"], "1 is one argument too many"), (["ps", "--fly"], "--fly is no option")):
        kvshim(directory, *args, status=2, says=[words])


run_all(sys.modules[__name__])
