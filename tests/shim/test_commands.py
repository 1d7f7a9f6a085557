# SPDX-License-Identifier: Apache-2.0
"""kvshim run and kvshim explain, as a new user would try them."""
import json
import os
import shutil
import subprocess
import sys

from shimtest import KVSHIM, LIBRARY, SOURCE, clean_env, complaints, lines, run, run_all


def fails_with_one_line(status, *args, env=None, says=""):
    result = run(KVSHIM, *args, env=env)
    assert result.returncode == status, (args, result)
    assert result.stdout == "", result
    assert len(complaints(result.stderr)) == 1, result
    assert says in result.stderr, result


def test_wrong_arguments_give_one_line_and_exit_2(_):
    fails_with_one_line(2, says="--help")
    fails_with_one_line(2, "fly", says="fly is no command")
    fails_with_one_line(2, "--fly", says="--fly is no command")
    fails_with_one_line(2, "run", says="no command given")
    fails_with_one_line(2, "run", "--", says="no command given")
    fails_with_one_line(2, "run", "--fly", "true", says="--fly is no option")
    fails_with_one_line(2, "run", "-x", "true", says="-x is no option")
    fails_with_one_line(2, "run", "--min-size", says="needs a value")
    fails_with_one_line(2, "run", "--min-size", "-1", "true", says="KVSHIM_MIN_SIZE")
    fails_with_one_line(2, "run", "--min-size=64Q", "true", says="give a size")
    fails_with_one_line(2, "run", "--lib", "/nowhere.so", "true", says="/nowhere.so")
    fails_with_one_line(2, "explain", "nothing", says="did you mean")
    fails_with_one_line(2, "explain", "a", "b", says="one argument too many")
    fails_with_one_line(2, "explain", "--fly", says="--fly is no option")
    fails_with_one_line(2, "rum", says="did you mean run?")
    fails_with_one_line(2, "help", "explan", says="did you mean explain?")
    fails_with_one_line(2, "run", "--engine", "x", "true", says="x is no engine: give auto, none, llama.cpp")
    fails_with_one_line(2, "run", "-e", says="-e needs a value")


def test_a_command_that_cannot_run_gives_the_status_of_env(_):
    fails_with_one_line(127, "run", "/nowhere/at/all", says="No such file")
    fails_with_one_line(126, "run", "/", says="Permission denied")


def test_help_and_version_go_to_stdout(_):
    for args in (["--help"], ["-h"], ["help"], ["run", "--help"], ["explain", "-h"], ["--version"]):
        result = run(KVSHIM, *args)
        assert result.returncode == 0 and result.stdout and not result.stderr, (args, result)


def environment_after(*args, env=None):
    result = run(KVSHIM, "run", *args, "env", env=env)
    assert result.returncode == 0 and not complaints(result.stderr), result
    return dict(line.split("=", 1) for line in lines(result.stdout) if "=" in line)


def test_run_preloads_the_library_that_lies_beside_it(_):
    assert environment_after()["LD_PRELOAD"] == os.path.realpath(LIBRARY)


def test_run_sets_the_options_that_it_was_given_as_flags(_):
    seen = environment_after("--min-size", "1G", "--enable=off", "--min-score", "-3", "--")
    assert seen["KVSHIM_MIN_SIZE"] == "1G" and seen["KVSHIM"] == "off", seen
    assert seen["KVSHIM_MIN_SCORE"] == "-3", seen


def test_run_inside_run_preloads_once(_):
    assert environment_after(KVSHIM, "run")["LD_PRELOAD"] == os.path.realpath(LIBRARY)


def test_run_keeps_the_preloads_that_were_there_and_their_order(directory):
    one, two = os.path.join(directory, "one.so"), os.path.join(directory, "two.so")
    for path in (one, two):
        shutil.copy(LIBRARY, path)
    ours = os.path.realpath(LIBRARY)
    for before in (f"{one}:{two}", f"{one} {two}", f":{one}::{two}:", f"{one}:{ours}:{two}"):
        assert environment_after(env={"LD_PRELOAD": before})["LD_PRELOAD"] == \
            f"{ours}:{one}:{two}", before


def test_run_replaces_another_copy_of_the_library(directory):
    copy = os.path.join(directory, "libkvshim.so")
    shutil.copy(LIBRARY, copy)
    assert environment_after(env={"LD_PRELOAD": copy})["LD_PRELOAD"] == os.path.realpath(LIBRARY)
    assert environment_after("--lib", copy)["LD_PRELOAD"] == os.path.realpath(copy)


def test_run_refuses_a_library_path_that_the_loader_would_split(directory):
    copy = os.path.join(directory, "a b")
    os.mkdir(copy)
    copy = shutil.copy(LIBRARY, copy)
    fails_with_one_line(1, "run", "--lib", copy, "true", says="space or a colon")


def test_the_commands_own_flags_are_left_to_the_command(_):
    result = run(KVSHIM, "run", "echo", "--min-size", "x")
    assert result.stdout == "--min-size x\n", result


def test_the_status_of_the_command_is_the_status_of_run(_):
    assert run(KVSHIM, "run", "sh", "-c", "exit 42").returncode == 42


def planned(*args, env=None):
    result = run(KVSHIM, "run", "--dry-run", "--json", *args, env=env)
    assert result.returncode == 0 and not result.stderr, result
    return json.loads(result.stdout)


def test_run_knows_engines_by_the_name_of_the_command(_):
    for command, engine in ((["/opt/bin/llama-server", "-m", "x"], "llama.cpp"), (["ollama", "serve"], "ollama"),
                            (["python3.11", "-m", "llama_cpp.server"], "llama-cpp-python"),
                            (["vllm", "serve", "x"], "vllm"), (["python3", "-m", "vllm.entrypoints.x"], "vllm"),
                            (["python3", "-m", "sglang.launch_server"], "sglang"), (["python3", "x.py"], None),
                            (["cat", "vllm"], None)):
        assert planned(*command)["engine"] == engine, command


def test_what_an_engine_wants_yields_to_the_environment_and_to_flags(_):
    assert planned("llama-server")["environment"]["KVSHIM_RULES"] == "builtin"
    assert "KVSHIM_RULES" not in planned("llama-server", env={"KVSHIM_RULES": "off"})["environment"]
    assert planned("--rules", "off", "llama-server")["environment"]["KVSHIM_RULES"] == "off"
    assert "KVSHIM_RULES" not in planned("--engine", "none", "llama-server")["environment"]
    assert planned("--engine", "llama.cpp", "true")["environment"]["KVSHIM_RULES"] == "builtin"


def test_run_says_what_it_sets_if_asked(_):
    result = run(KVSHIM, "run", "-v", "--engine", "llama.cpp", "--min-size", "1G", "true")
    for word in ("LD_PRELOAD=", "KVSHIM_MIN_SIZE=1G (flag)", "KVSHIM_RULES=builtin (llama.cpp)", "engine llama.cpp"):
        assert word in result.stderr, (word, result)
    assert not result.stdout and result.returncode == 0, result


def test_explain_shows_value_source_and_range(_):
    result = run(KVSHIM, "explain", "min-size", env={"KVSHIM_MIN_SIZE": "1G"})
    for word in ("KVSHIM_MIN_SIZE", "1G", "environment", "64M", "a size from"):
        assert word in result.stdout, result
    assert result.returncode == 0 and not result.stderr, result


def test_explain_lists_every_option_once(_):
    result = run(KVSHIM, "explain")
    names = [line.split()[0] for line in lines(result.stdout)]
    assert len(names) == len(set(names)) > 20 and names[0] == "KVSHIM", names


def test_explain_says_when_a_value_was_rejected(_):
    result = run(KVSHIM, "explain", "KVSHIM_SPARE", env={"KVSHIM_SPARE": "-5"})
    assert "wrong" in result.stdout and len(lines(result.stderr)) == 1, result


def test_explain_as_json(_):
    one = json.loads(run(KVSHIM, "explain", "--json", "min-size", env={"KVSHIM_MIN_SIZE": "1G"}).stdout)["options"]
    assert [(o["name"], o["value"], o["source"]) for o in one] == [("KVSHIM_MIN_SIZE", "1G", "environment")], one
    options = json.loads(run(KVSHIM, "explain", "--json", env={"KVSHIM_SPARE": "-5"}).stdout)["options"]
    assert {o["name"]: o["source"] for o in options}["KVSHIM_SPARE"] == "rejected", options


def test_json_survives_what_is_no_utf8(_):
    result = subprocess.run([KVSHIM, "explain", "--json", "exclude-callers"], capture_output=True, check=True,
                            env=clean_env(), timeout=60)
    assert json.loads(result.stdout)["options"][0]["value"] is None
    for raw, meant in ((b'a\xffb"\\', 'a\ufffdb"\\'), (b"\xed\xa0\x80", "\ufffd" * 3), ("ü€😀".encode(), "ü€😀"), (b"\xe2\x82", "\ufffd" * 2)):
        env = {os.fsencode(k): os.fsencode(v) for k, v in clean_env().items()} | {b"KVSHIM_EXCLUDE_CALLERS": raw}
        out = subprocess.run([KVSHIM, "explain", "--json", "exclude-callers"], capture_output=True, check=True,
                             env=env, timeout=60).stdout
        assert json.loads(out)["options"][0]["value"] == meant, (raw, out)


def test_every_command_has_help_and_is_in_the_help_of_all(_):
    table = json.loads(run(KVSHIM, "help", "--json").stdout)
    usage = run(KVSHIM, "--help").stdout
    for command in table["commands"]:
        result = run(KVSHIM, command["name"], "--help")
        assert result.returncode == 0 and not result.stderr, result
        assert result.stdout == run(KVSHIM, "help", command["name"]).stdout
        assert f"kvshim {command['name']}" in result.stdout and command["sentence"] in usage
        for flag in command["flags"]:
            assert f"--{flag['name']}" in result.stdout, flag


def test_what_is_suggested_is_near(_):
    for typed, suggested in (("min-sise", "KVSHIM_MIN_SIZE"), ("KVSHIM_HOSTBUDGET", "KVSHIM_HOST_BUDGET"), ("page-sze", "KVSHIM_PAGE_SIZE")):
        fails_with_one_line(2, "explain", typed, says=f"did you mean {suggested}?")
    for typed, suggested in (("lmit", "limit"), ("evicts", "evict"), ("statistics", "help")):
        fails_with_one_line(2, typed, says=f"did you mean {suggested}?")


def test_every_command_refuses_what_it_does_not_know_with_one_line(_):
    for command in json.loads(run(KVSHIM, "help", "--json").stdout)["commands"]:
        name = command["name"]
        fails_with_one_line(2, name, "--no-such-flag", says="--no-such-flag is no option")
        fails_with_one_line(2, name, "-Q", says="-Q is no option")
        for flag in command["flags"]:
            if flag["value"]:
                fails_with_one_line(2, name, f"--{flag['name']}", says=f"--{flag['name']} needs a value")
            else:
                fails_with_one_line(2, name, f"--{flag['name']}=x", says="is no option")
        if command["operands"] and not command["operands"].startswith("["):
            fails_with_one_line(2, name, says="no ")
        if not command["operands"].rstrip("]").endswith("..."):
            fails_with_one_line(2, name, *["1"] * (len(command["operands"].split()) + 1), says="one argument too many")


def test_output_that_cannot_be_written_is_a_failure_with_one_line(_):
    for args in (["--help"], ["help", "--json"], ["explain"], ["explain", "--markdown"]):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([KVSHIM, *args], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
                                    env=clean_env(), check=False)
        assert result.returncode == 1 and len(lines(result.stderr)) == 1 and "cannot write" in result.stderr, result


def test_the_page_of_options_is_the_table(_):
    with open(os.path.join(SOURCE, "docs", "options.md"), encoding="utf-8") as page:
        assert page.read() == run(KVSHIM, "explain", "--markdown").stdout, \
            "make it anew: kvshim explain --markdown > docs/options.md"


run_all(sys.modules[__name__])
