# SPDX-License-Identifier: Apache-2.0
"""Manual pages, completions and docs/ against the tables that they are about."""
import json
import os
import re
import shutil
import subprocess
import sys

from shimtest import KVSHIM, KVSHIM_STAT, SOURCE, Writer, lines, run, run_all

BUILT = sys.argv[5]
DOCS = os.path.join(SOURCE, "docs")
MANUAL = ["kvshim.1", "kvshim-stat.1", "libkvshim.7"]


def text_of(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def table():
    return json.loads(run(KVSHIM, "help", "--json").stdout)


def documents():
    for folder, _, names in os.walk(DOCS):
        for name in names:
            if name.endswith(".md"):
                yield os.path.join(folder, name)
    for name in ("README.md", "CONTRIBUTING.md"):
        yield os.path.join(SOURCE, name)


def test_manual_pages_have_no_warnings(_):
    tools = [t for t in (["mandoc", "-Tlint", "-Wwarning"], ["man", "--warnings", "-l", "-Z"]) if shutil.which(t[0])]
    for tool in tools:
        for page in MANUAL:
            result = subprocess.run([*tool, os.path.join(BUILT, page)], capture_output=True, text=True, timeout=60,
                                    check=False, env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
            said = result.stderr + (result.stdout if tool[0] == "mandoc" else "")
            assert result.returncode == 0 and not said, (tool, page, said)
    if not tools:
        print("      neither mandoc nor man is installed: the pages were not checked")


def test_manual_pages_name_all_that_there_is(_):
    plain = text_of(BUILT, "kvshim.1").replace("\\-", "-")
    for command in table()["commands"]:
        assert f'.SS "{command["name"]}"' in plain, command["name"]
        for flag in command["flags"]:
            assert flag["variable"] or f"--{flag['name']}" in plain, (command["name"], flag)
    plain = re.sub(r"\\f.", " ", text_of(BUILT, "libkvshim.7").replace("\\-", "-"))
    for option in json.loads(run(KVSHIM, "explain", "--json").stdout)["options"]:
        assert f"\n {option['name']} \n" in plain, option
    hooked = set(re.findall(r"^KV_(?:HOOK|PASS|REFUSE)\(\s*(\w+)", text_of(SOURCE, "hooks/hooks.def"), re.MULTILINE))
    assert len(hooked) > 300
    missing = sorted(name for name in hooked if not re.search(rf"\b{name}\b", plain))
    assert not missing, missing
    plain = text_of(BUILT, "kvshim-stat.1").replace("\\-", "-")
    for flag in set(re.findall(r"^  (--[\w-]+)", run(KVSHIM_STAT, "--help").stdout, re.MULTILINE)):
        assert flag in plain, flag
    for metric in set(re.findall(r'^KV_METRIC\(\w+, \w+, \w+, \w+, "(\w+)"', text_of(SOURCE, "shim/stat/metrics.def"), re.MULTILINE)):
        assert metric in plain, metric


def test_the_page_of_commands_is_the_table(_):
    made = subprocess.run([sys.executable, os.path.join(SOURCE, "shim/man/generate.py"), "kvshim.md", "--kvshim", KVSHIM],
                          capture_output=True, text=True, check=True, timeout=60).stdout
    assert made == text_of(DOCS, "kvshim.md"), "make it anew: shim/man/generate.py kvshim.md --kvshim ... -o docs/kvshim.md"


def complete(shell_line, path, **env):
    """What bash offers for this line."""
    words = shell_line.split(" ")
    script = f'source "{BUILT}/kvshim"; COMP_WORDS=({" ".join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; ' \
        '_kvshim; printf "%s\\n" "${COMPREPLY[@]}"'
    result = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60, check=False,
                            env={**os.environ, "PATH": path + ":" + os.environ["PATH"], **env})
    assert result.returncode == 0 and not result.stderr, (shell_line, result)
    return lines(result.stdout)


def test_bash_completes_commands_flags_and_values(directory):
    path = os.path.dirname(os.path.abspath(KVSHIM))
    assert complete("kvshim ex", path) == ["explain"]
    assert set(complete("kvshim ", path)) >= {command["name"] for command in table()["commands"]}
    assert complete("kvshim run --min-si", path) == ["--min-size"]
    assert complete("kvshim run --engine oll", path) == ["ollama"]
    assert complete("kvshim explain min-", path) == ["min-size", "min-score"]
    assert complete("kvshim help do", path) == ["doctor"]
    assert "cat" in complete("kvshim run ca", path)
    with Writer(directory) as writer:
        assert complete("kvshim limit ", path, KVSHIM_DIR=directory) == [str(writer.pid)]
        assert len(complete("kvshim check ", path, KVSHIM_DIR=directory)) == 1


def test_completions_have_no_error(_):
    for tool in (["shellcheck", "-s", "bash", os.path.join(BUILT, "kvshim")], ["zsh", "-n", os.path.join(BUILT, "_kvshim")]):
        if not shutil.which(tool[0]):
            print("     ", tool[0], "is not installed: its check was left out")
            continue
        result = subprocess.run(tool, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0 and not result.stderr, (tool, result)


def test_links_in_documents_lead_somewhere(_):
    for path in documents():
        text = re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            full = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            assert os.path.exists(full), f"{path}: {target}"
            if anchor:
                slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text_of(full), re.MULTILINE)]
                assert anchor in slugs, f"{path}: {target}"


def test_the_page_of_kvshim_stat_has_every_option_column_and_key(_):
    page = text_of(DOCS, "kvshim-stat.md")
    for flag in set(re.findall(r"^  (--[\w-]+)", run(KVSHIM_STAT, "--help").stdout, re.MULTILINE)):
        assert flag in page, flag
    words = set(re.findall(r"[\w/]+", "".join(line for line in page.splitlines() if line.startswith("| "))))
    for column in re.findall(r'^\tCOLUMN\("([\w/]+)"', text_of(SOURCE, "shim/stat/table.c"), re.MULTILINE):
        assert column in words, column
    for key in set(re.findall(r"\tcase '(\S)':", text_of(SOURCE, "shim/stat/live_keys.c"))) - {"y", "Y", "Q", "h", "=", "\\t"}:
        assert f"`{key}`" in page, key


def test_documents_name_options_commands_and_flags_that_exist(_):
    options = {o["name"] for o in json.loads(run(KVSHIM, "explain", "--json").stdout)["options"]}
    commands = {c["name"]: {"--" + f["name"] for f in c["flags"]} | {"-" + f["letter"] for f in c["flags"] if f["letter"]} | {"--help"}
                for c in table()["commands"]}
    stat_flags = set(re.findall(r"--[a-z][\w-]*", run(KVSHIM_STAT, "--help").stdout)) | {"--help", "--version", "--markdown"}
    declared = set()
    for header in ("kvshim.h", "kvshim_pool.h", "kvshim.hpp"):
        declared |= set(re.findall(r"\bKVSHIM_[A-Z_]+\b", text_of(SOURCE, "shim", header)))
    for path in documents():
        # what is wrong on purpose is not looked at
        text = re.sub(r"\n## What wrong arguments get\n.*?\n## ", "\n## ", text_of(path), flags=re.DOTALL)
        for name in re.findall(r"\bKVSHIM_[A-Z_]+\b(?!\*)", text):
            assert name in options | declared or name.rstrip("_") + "_" == name, f"{path}: there is no option {name}"
        pieces = re.findall(r"`([^`\n]+)`", text) + [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        for piece in pieces:
            for typed in re.findall(r"(?:^|\s|\$ )(kvshim(?:-stat)?(?: [^|;&#]*)?)", piece.split(" # ")[0]):
                check_line(path, typed.split(), commands, stat_flags)


def check_line(path, words, commands, stat_flags):
    if words[0] == "kvshim-stat":
        for word in words[1:]:
            if word == "--":
                break
            assert not word.startswith("--") or word.split("=")[0] in stat_flags, f"{path}: {' '.join(words)}"
        return
    if len(words) < 2 or not re.fullmatch(r"[a-z]+", words[1]):
        return
    assert words[1] in commands, f"{path}: there is no command {' '.join(words)}"
    for word in words[2:]:
        if word == "--" or words[1] in ("run", "record") and not word.startswith("-"):
            break
        assert not re.match(r"--[a-z]", word) or word.split("=")[0] in commands[words[1]], f"{path}: {' '.join(words)}"


run_all(sys.modules[__name__])
