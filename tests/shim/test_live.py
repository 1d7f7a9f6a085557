# SPDX-License-Identifier: Apache-2.0
"""The live view of kvshim-stat, in a real terminal: what it shows and what its keys do.

KVSHIM_GOLDEN=write rewrites the screens of tests/golden after a wanted change; look at them.
"""
import difflib
import json
import os
import shutil
import sys
import time
import xml.etree.ElementTree

from shimtest import KVSHIM_STAT, SOURCE, run, run_all
from screen import CLOCK, COLOUR, Painter, Screen, have_tmux, seconds_passed

PAINT = sys.argv[5]
GIB = 1 << 30

if not have_tmux():
    print("SKIP: tmux is not installed")
    sys.exit(77)


def live(size, directory, *options, env=None, clock=True, under=()):
    fixed = ("--test-clock", CLOCK) if clock else ()
    return Screen(size, *under, KVSHIM_STAT, "--live", "--dir", directory, *fixed, *options, env=env)


def becomes_golden(name, screen):
    """Waits until the screen is that of the file: a terminal gets a screen in pieces."""
    path = os.path.join(SOURCE, "tests", "golden", name)
    if os.environ.get("KVSHIM_GOLDEN") == "write":
        time.sleep(0.5)
        with open(path, "w", encoding="utf-8") as file:
            file.write(screen.text())
    with open(path, encoding="utf-8") as file:
        wanted = file.read()
    try:
        screen.until(lambda text: text == wanted)
    except AssertionError:
        difference = difflib.unified_diff(wanted.split("\n"), screen.text().split("\n"), name, "screen", lineterm="")
        raise AssertionError("\n".join(difference)) from None


def row_of(text, pid):
    return next((line for line in text.split("\n") if line.split()[:1] == [str(pid)]), "")


def pids(text):
    """The pids of the table, from the top."""
    known = ("4242", "4311", "4555", "4777", "4999", "5123")
    return [int(line.split()[0]) for line in text.split("\n") if line.split()[:1] and line.split()[0] in known]


def looks_like(name, directory, size, gpus, *schemes, options=()):
    for scheme in schemes:
        with Painter(PAINT, directory, str(gpus)) as painter, \
                live(size, directory, "--colours", scheme, *options) as screen:
            screen.until("q quit")
            seconds_passed(screen, painter, 5)
            becomes_golden(name, screen)
            ansi = screen.ansi()
        assert bool(COLOUR.search(ansi)) == (scheme != "mono"), scheme


def test_80x24_looks_as_it_should_dark_and_monochrome(directory):
    looks_like("live-80x24.txt", directory, "80x24", 1, "dark", "mono")


def test_120x40_looks_as_it_should_dark_and_monochrome(directory):
    looks_like("live-120x40.txt", directory, "120x40", 1, "dark", "mono")


def test_200x60_looks_as_it_should_dark_and_monochrome(directory):
    looks_like("live-200x60.txt", directory, "200x60", 2, "dark", "mono")


def test_ascii_looks_as_it_should_and_has_no_other_character(directory):
    looks_like("live-80x24-ascii.txt", directory, "80x24", 1, "light", options=("--ascii",))
    with open(os.path.join(SOURCE, "tests", "golden", "live-80x24-ascii.txt"), encoding="utf-8") as file:
        assert file.read().isascii()


def test_the_pictures_have_the_heads_of_the_screens(_):
    def heads(text):
        return [line for line in text.split("\n") if line.startswith("──") or "PID" in line or "q quit" in line]

    for size in ("80x24", "120x40", "200x60"):
        with open(os.path.join(SOURCE, "tests", "golden", f"live-{size}.txt"), encoding="utf-8") as file:
            wanted = heads(file.read())
        for scheme in ("dark", "mono"):
            picture = os.path.join(SOURCE, "docs", "pictures", f"live-{size}-{scheme}.svg")
            text = next(xml.etree.ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}desc")).text
            assert [line[:12] for line in heads(text)] == [line[:12] for line in wanted], f"scripts/pictures: {picture}"


def test_the_locale_and_NO_COLOR_are_respected(directory):
    with Painter(PAINT, directory, "1"), \
            live("80x24", directory, env={"LC_ALL": "C", "NO_COLOR": "1"}) as screen:
        assert screen.until("evicted 8G").isascii() and not COLOUR.search(screen.ansi())
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until(lambda text: not text.isascii() and COLOUR.search(screen.ansi()))


def test_keys_sort_and_invert(directory):
    with Painter(PAINT, directory, "1"), live("120x40", directory) as screen:
        assert pids(screen.until("q quit"))[:2] == [4242, 4777], "by backed to begin with"
        screen.key("p")
        screen.until(lambda text: pids(text) == [4242, 4311, 4555, 4777, 4999, 5123])
        screen.key("i")
        screen.until(lambda text: pids(text) == [5123, 4999, 4777, 4555, 4311, 4242])
        screen.key("n")
        screen.until(lambda text: pids(text)[0] == 5123 and pids(text)[-1] == 4777)
        screen.key("p", "S")
        screen.until(lambda text: pids(text)[0] == 4242 and "GPU" in text)
        screen.key("s", "s", "s", "s")
        screen.until(lambda text: pids(text)[-1] == 4999 and "STATE" in text)
        screen.key("b")
        screen.until(lambda text: pids(text)[:2] == [4242, 4777])


def test_keys_filter(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until("q quit")
        screen.key("/")
        screen.type("llama-x")
        screen.until("filter: llama-x_")
        screen.key("BSpace", "Enter")
        screen.until(lambda text: pids(text) == [4242, 4311, 5123] and "filter: llama-" in text)
        screen.key("/")
        screen.type("nobody")
        screen.until("filter: llama-nobody_")
        screen.key("Enter")
        screen.until("no process matches the filter")
        screen.key("l")
        screen.until("no process is selected")
        screen.key("/", "Escape")
        screen.until("filter: llama-nobody")
        screen.key("/")
        for _ in "llama-nobody":
            screen.key("BSpace")
        screen.key("Enter")
        screen.until(lambda text: len(pids(text)) == 6 and "filter" not in text.split("\n")[0])


def test_keys_select_processes_reservations_and_panels(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until("pages of 4242, reservation 1 of 3")
        screen.key("Right")
        screen.until("reservation 2 of 3")
        screen.key("Right")
        screen.until("static, by export: cuMemExportToShareableHandle")
        screen.key("Right", "Left")
        screen.until("reservation 3 of 3")
        screen.key("Down")
        screen.until("static, by kernel: _ZN4vllm25paged_attention_v1_kernel")
        screen.key("Tab", "Tab")
        screen.until("5123 asked for 128M (nobody): nobody can give them to 5123")
        screen.key("Tab", "End")
        screen.until("no reservation")
        screen.key("Tab")
        screen.until("process 4999 old-engine")
        screen.key("Home")
        screen.until("process 4242 llama-server")
        screen.key("PPage", "k", "j", "NPage", "g", "G", "Up")
        screen.until("process 4555 ollama_runner")


def test_the_selection_stays_with_its_process(directory):
    with Painter(PAINT, directory, "1") as painter, live("120x40", directory) as screen:
        screen.until("q quit")
        screen.key("Down", "Down")
        screen.until("pages of 4311")
        screen.key("p")
        seconds_passed(screen, painter, 1)
        assert "pages of 4311" in screen.text()


def test_keys_freeze_and_change_the_interval(directory):
    with Painter(PAINT, directory, "1") as painter, \
            live("80x24", directory, "--interval", "0.1", clock=False) as screen:
        screen.until("every 0.1s")
        painter.step(8)
        screen.until(lambda text: row_of(text, 4242).split()[5:6] == ["24G"])
        screen.key("Space")
        screen.until("FROZEN")
        painter.step(8)
        screen.key("Tab")
        screen.until("process 4242")
        assert row_of(screen.text(), 4242).split()[5:6] == ["24G"]
        screen.key("Space")
        screen.until(lambda text: row_of(text, 4242).split()[5:6] == ["28G"])
        screen.key("+", "+", "+")
        screen.until("every 1.0s")
        screen.key("-")
        screen.until("every 0.5s")


def test_help_names_the_keys_and_goes_away(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until("q quit")
        screen.key("?")
        screen.until("reserved beyond what is free")
        becomes_golden("live-help.txt", screen)
        screen.key("x")
        screen.until("pages of 4242")


def test_colours_and_characters_change_by_key(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory, "--colours", "mono") as screen:
        screen.until("q quit")
        assert not COLOUR.search(screen.ansi())
        screen.key("c")
        screen.until(lambda _: COLOUR.search(screen.ansi()))
        screen.key("c")
        screen.key("c")
        screen.until(lambda _: not COLOUR.search(screen.ansi()))
        screen.key("u")
        screen.until(lambda text: text.isascii())


def limits_of(directory, pid):
    value = json.loads(run(KVSHIM_STAT, "--json", "--dir", directory).stdout)
    return next(p for p in value["segments"][0]["processes"] if p["pid"] == pid)


def test_limits_are_set_only_after_a_confirmation(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until("q quit")
        screen.key("l")
        screen.until("limits of 4242: _")
        screen.type("max=30G weight=300 idle=90s")
        screen.key("Enter")
        screen.until("set for 4242 llama-server: max 30G weight 300 idle 90s (y/n)")
        screen.key("n")
        screen.until("nothing was changed")
        before = limits_of(directory, 4242)
        assert (before["max_bytes"], before["weight"], before["idle_after_ms"]) == (40 * GIB, 200, 60000)
        screen.key("l")
        screen.type("max=30G weight=300 idle=90s")
        screen.key("Enter", "y")
        screen.until("the limits are set")
        after = limits_of(directory, 4242)
        assert (after["max_bytes"], after["weight"], after["idle_after_ms"]) == (30 * GIB, 300, 90000)
        assert after["min_bytes"] == before["min_bytes"], "what was not named stays"
        screen.key("l")
        screen.type("max=none")
        screen.key("Enter")
        screen.until("max none (y/n)")
        screen.key("y")
        screen.until("the limits are set")
        assert limits_of(directory, 4242)["max_bytes"] is None
        screen.key("l")
        screen.type("max=1G")
        screen.key("Enter", "y")
        screen.until("not done: the minimum would be above the maximum")


def test_limits_that_make_no_sense_are_told(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until("q quit")
        for wrong in ("max", "max=", "max=-1", "max=1X", "min=none", "weight=0", "idle=5", "speed=3", "max=9999P"):
            screen.key("l")
            screen.type(wrong)
            screen.key("Enter")
            screen.until(f"{wrong}: write min=1G")
        screen.key("l", "Escape")
        screen.until("q quit")
        screen.key("l", "Enter")
        screen.until("q quit")


def test_evicting_asks_first(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until("q quit")
        screen.key("e")
        screen.until("evict to host memory: 4242 llama-server? (y/n)")
        screen.key("Enter")
        screen.until("nothing was changed")
        screen.key("e", "y")
        screen.until("eviction was asked for")
        screen.key("o", "y")
        screen.until("restoring was asked for")
        screen.key("End", "e", "y")
        screen.until(lambda text: "not done: " in text)


def test_who_has_no_idle_time_is_idle_when_others_may_ask_it(directory):
    with Painter(PAINT, directory, "1"):
        for seconds, state in ((0, "active"), (4, "active"), (6, "idle")):
            value = json.loads(run(KVSHIM_STAT, "--json", "--dir", directory, "--test-clock",
                                   str(int(CLOCK) + seconds * 1000000000)).stdout)
            states = {p["pid"]: p["state"] for p in value["segments"][0]["processes"]}
            assert (states[5123], states[4242], states[4777]) == (state, "active", "static"), (seconds, states)


def test_it_follows_the_size_of_the_terminal(directory):
    with Painter(PAINT, directory, "1"), live("80x24", directory) as screen:
        screen.until("q quit")
        screen.resize("120x40")
        screen.until("NATIVE")
        screen.resize("38x9")
        screen.until("too small")
        screen.resize("80x24")
        screen.until(lambda text: "NATIVE" not in text and "pages of 4242" in text)


def test_what_cannot_be_read_is_told_in_a_line(directory):
    with Painter(PAINT, directory, "1"):
        with open(os.path.join(directory, "kvshim-0-" + "f" * 32), "wb") as file:
            with open(os.path.join(directory, sorted(n for n in os.listdir(directory) if "1111" in n)[0]),
                      "rb") as good:
                content = good.read()
            file.write(content[:8] + b"\x63\0\0\0" + content[12:])
        with live("80x24", directory) as screen:
            text = screen.until("not shown: layout 99, this kvshim has layout")
            assert "4242" in text, "the others are shown"


def test_nothing_there_is_no_error(directory):
    with live("80x24", directory) as screen:
        screen.until("nothing runs under kvshim yet")
        screen.key("Down", "Up", "Right", "e")
        screen.until("no process is selected")
    with live("80x24", os.path.join(directory, "nowhere")) as screen:
        screen.until("cannot be read: No such file or directory")


def test_it_quits_and_gives_the_terminal_back(directory):
    with live("80x24", directory) as screen:
        screen.until("q quit")
        screen.key("q")
        assert screen.until("exit 0").strip() == "exit 0"


def test_without_a_terminal_or_with_a_simple_one_it_says_what_to_do(directory):
    result = run(KVSHIM_STAT, "--live", "--dir", directory)
    assert result.returncode == 1 and "no terminal" in result.stderr and "--once" in result.stderr
    for term in ("dumb", "no-such-terminal"):
        with live("80x24", directory, env={"TERM": term}) as screen:
            screen.until("is not known or too simple")
            screen.until("exit 1")


def test_the_live_view_is_what_a_terminal_gets(directory):
    with Screen("80x24", KVSHIM_STAT, "--dir", directory) as screen:
        screen.until("q quit")
        screen.key("q")
        screen.until("exit 0")


def test_valgrind_has_nothing_to_say(directory):
    valgrind = shutil.which("valgrind")
    if not valgrind:
        return
    log = os.path.join(directory, "valgrind.log")
    with Painter(PAINT, directory, "2") as painter, \
            live("120x40", directory, under=(
                valgrind, "-q", "--error-exitcode=99", "--leak-check=full", f"--log-file={log}",
                "--errors-for-leak-kinds=definite")) as screen:
        screen.until(lambda text: "q quit" in text or "exit" in text)
        if "exit" in screen.text().split():
            with open(log, encoding="utf-8") as file:
                assert "debuginfo reader" in file.read(), screen.text()
            print("      (this valgrind cannot read the compiler's debug information)")
            return
        seconds_passed(screen, painter, 2)
        screen.key("Down", "s", "?", "x", "/", "4", "Enter", "Tab", "Right", "l")
        screen.type("max=30G")
        screen.key("Enter", "y")
        screen.until("the limits are set")
        screen.key("q")
        screen.until("exit 0")


run_all(sys.modules[__name__])
