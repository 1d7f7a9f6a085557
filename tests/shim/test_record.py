# SPDX-License-Identifier: Apache-2.0
"""kvshim-stat --record, --plot and --listen."""
import csv
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree

from shimtest import KVSHIM_STAT, Writer, clean_env, lines, run, run_all
from screen import Painter

PAINT = sys.argv[5]
PATIENCE_S = 60


def rows_of(path):
    with open(path, encoding="ascii") as file:
        return list(csv.DictReader(file))


def record(directory, *args, **more):
    return run(KVSHIM_STAT, "--record", os.path.join(directory, "r.csv"), "--dir", directory,
               "--interval", "0.1", *args, **more)


def test_a_recording_lasts_as_long_as_its_command_and_ends_with_its_status(directory):
    with Writer(directory, 1, 1) as writer:
        for status in (0, 3):
            result = record(directory, "--", "sh", "-c", f"sleep 0.35; exit {status}")
            assert result.returncode == status and not result.stdout and not result.stderr, result
            rows = rows_of(os.path.join(directory, "r.csv"))
            times = sorted({row["time_s"] for row in rows})
            assert len(times) >= 2, "one to begin with, one at the end at least"
            assert {row["pid"] for row in rows} == {"", str(writer.pid)}, rows


def test_a_command_that_is_killed_or_cannot_be_run_is_told_by_the_status(directory):
    assert record(directory, "--", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    result = record(directory, "--", "/nowhere/at-all")
    assert result.returncode == 127 and "/nowhere/at-all: No such file" in result.stderr, result
    result = record(directory, "--", directory)
    assert result.returncode == 126 and "Permission denied" in result.stderr, result


def test_a_recording_without_a_command_ends_by_count_or_signal(directory):
    with Writer(directory, 1, 1):
        result = record(directory, "--count", "3")
        assert result.returncode == 0, result
        assert len(rows_of(os.path.join(directory, "r.csv"))) == 6, "a GPU and a process, three times"
        for sign in (signal.SIGINT, signal.SIGTERM):
            path = os.path.join(directory, "s.csv")
            child = subprocess.Popen([KVSHIM_STAT, "--record", path, "--dir", directory, "--interval", "0.1"],
                                     env=clean_env())
            end = time.monotonic() + PATIENCE_S
            while not (os.path.exists(path) and len(rows_of(path)) >= 2):
                assert time.monotonic() < end
                time.sleep(0.02)
            child.send_signal(sign)
            assert child.wait(timeout=PATIENCE_S) == 0, sign
            os.unlink(path)


def test_a_terminated_recording_terminates_its_command(directory):
    path = os.path.join(directory, "r.csv")
    child = subprocess.Popen([KVSHIM_STAT, "--record", path, "--dir", directory, "--", "sh", "-c",
                              f"trap 'exit 9' TERM; : > {directory}/ready; while :; do sleep 0.05; done"],
                             env=clean_env())
    end = time.monotonic() + PATIENCE_S
    while not os.path.exists(os.path.join(directory, "ready")):
        assert time.monotonic() < end
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=PATIENCE_S) == 9


def test_a_recording_that_cannot_be_written_is_an_error_but_the_command_runs(directory):
    result = run(KVSHIM_STAT, "--record", os.path.join(directory, "no", "r.csv"), "--", "true")
    assert result.returncode == 1 and "No such file" in result.stderr, result
    with Writer(directory, 1, 1):
        result = run(KVSHIM_STAT, "--record", "/dev/full", "--dir", directory, "--", "sh", "-c",
                     f"sleep 0.2; : > {directory}/done")
    assert result.returncode == 1 and "/dev/full: No space left" in result.stderr, result
    assert len(lines(result.stderr)) == 1 and os.path.exists(os.path.join(directory, "done"))


def painted_recording(directory):
    """Six samples, a painted second apart."""
    path = os.path.join(directory, "p.csv")
    rows = []
    with Painter(PAINT, directory, "2") as painter:
        for i in range(6):
            clock = str(1795435200000000000 + i * 1000000000)
            rows += lines(run(KVSHIM_STAT, "--csv", "--dir", directory, "--test-clock", clock).stdout)[i > 0:]
            painter.step()
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join(rows) + "\n")
    return path


def plot(path, picture):
    return run(KVSHIM_STAT, "--plot", picture, "--from", path)


def test_a_plot_is_a_picture_with_a_graph_per_gpu_and_a_line_per_process(directory):
    picture = os.path.join(directory, "p.svg")
    result = plot(painted_recording(directory), picture)
    assert result.returncode == 0 and not result.stderr, result
    root = xml.etree.ElementTree.parse(picture).getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = " ".join(text.text for text in root.iter(space + "text"))
    for word in ("GPU 11111111 Paper GPU 80G: memory", "GPU 22222222", "4242 llama-server", "5123 llama-bench",
                 "80G", "40G", "5.0s"):
        assert word in texts, (word, texts)
    paths = [(path.get("class"), path.get("d")) for path in root.iter(space + "path")]
    assert [name for name, _ in paths].count("backed") == 2
    assert len([name for name, _ in paths if name.startswith("line p")]) == 5, "those that had memory"
    # backed of 4242 grows from 20G to 22.5G of 22.5G at most: its line rises to the upper edge
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", next(d for n, d in paths if n == "line p0"))]
    assert len(heights) == 6 and heights == sorted(heights, reverse=True) and heights[0] - heights[-1] > 20, heights
    for numbers in (d for _, d in paths):
        for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", numbers):
            assert 64 <= float(x) <= 880 and 0 <= float(y) <= 1300, (x, y)


def test_what_is_no_recording_is_told(directory):
    picture, path = os.path.join(directory, "p.svg"), os.path.join(directory, "bad.csv")
    result = plot(os.path.join(directory, "nowhere"), picture)
    assert result.returncode == 1 and "No such file" in result.stderr, result
    head = lines(run(KVSHIM_STAT, "--csv", "--dir", directory).stdout)[0]
    for content, why in (("", "no sample"), ("what is this\n", "line 1"), (head + "\n", "no sample"),
                         (head + "\nsoon,x\n", "line 2"), (head + '\n1.0,"x\n', "line 2"),
                         (head + "\n1.0,abc,g,-4,n,u,s\n", "line 2"), ("a," * 300 + "\n", "line 1")):
        with open(path, "w", encoding="ascii") as file:
            file.write(content)
        result = plot(path, picture)
        assert result.returncode == 1 and why in result.stderr and len(lines(result.stderr)) == 1, (content, result)
        assert not os.path.exists(picture), "nothing is written then"
    good = painted_recording(directory)
    result = plot(good, "/dev/full")
    assert result.returncode == 1 and "/dev/full" in result.stderr, result
    result = plot(good, os.path.join(directory, "no", "p.svg"))
    assert result.returncode == 1 and "No such file" in result.stderr, result


def test_a_recording_that_was_cut_off_is_drawn_and_a_damaged_one_does_no_harm(directory):
    good, path = painted_recording(directory), os.path.join(directory, "cut.csv")
    picture = os.path.join(directory, "p.svg")
    with open(good, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[:-20])
    assert plot(path, picture).returncode == 0
    seed = int(os.environ.get("KV_TEST_SEED", "1"))
    chance = random.Random(seed)
    for _ in range(40):
        damaged = bytearray(content[:chance.randrange(len(content))])
        for _ in range(chance.randrange(20)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.choice(b'",\n\x00-9e\xff')
        with open(path, "wb") as file:
            file.write(damaged)
        assert plot(path, picture).returncode in (0, 1), f"KV_TEST_SEED={seed}"


def test_a_segment_whose_bytes_are_wrong_does_no_harm(directory):
    seed = int(os.environ.get("KV_TEST_SEED", "1"))
    chance = random.Random(seed)
    with Painter(PAINT, directory, "1"):
        path = os.path.join(directory, os.listdir(directory)[0])
        with open(path, "rb") as file:
            good = file.read()
        used = len(good.rstrip(b"\0"))
        for i in range(60):
            bad = bytearray(good)
            for _ in range(chance.choice((1, 10, 1000, 20000))):
                # behind the header, or nothing of it would be read
                at = chance.randrange(128, used)
                bad[at] = chance.choice((0, 1, 0x7f, 0x80, 0xff, chance.randrange(256)))
            with open(path, "r+b") as file:
                file.write(bad)
            how = ("--json", "--once", "--prometheus", "--csv", "--watch=0.1")[i % 5]
            result = subprocess.run([KVSHIM_STAT, how, "--count", "1", "--dir", directory], env=clean_env(),
                                    capture_output=True, timeout=PATIENCE_S, check=False)
            assert result.returncode in (0, 1) and not result.stderr, f"KV_TEST_SEED={seed}, {i}: {result}"
            if how == "--json":
                json.loads(result.stdout)
            assert how == "--json" or result.stdout.isascii(), f"KV_TEST_SEED={seed}, {i}"


class Server:
    def __init__(self, directory, address="127.0.0.1:0", *more):
        self.process = subprocess.Popen([KVSHIM_STAT, "--listen", address, "--dir", directory, *more],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_env())
        self.line = self.process.stdout.readline()
        match = re.search(r"http://(.*):(\d+)/metrics", self.line)
        assert match, (self.line, self.process.stderr.read())
        self.port = int(match.group(2))

    def ask(self, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer, body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE_S) == 0
        self.process.stdout.close()
        self.process.stderr.close()


def can_listen():
    result = run(KVSHIM_STAT, "--listen", "nothing")
    return "built without" not in result.stderr


def test_the_exposition_is_served_and_is_that_of_prometheus(directory):
    if not can_listen():
        return
    with Painter(PAINT, directory, "1"), Server(directory) as server:
        answer, body = server.ask("GET", "/metrics")
        assert answer.status == 200 and answer.getheader("Content-Type").startswith("text/plain; version=0.0.4")
        written = run(KVSHIM_STAT, "--prometheus", "--dir", directory).stdout

        def steady(text):  # ages pass between the two
            return [line for line in lines(text) if "_ago_seconds" not in line]
        assert steady(body) == steady(written)
        answer, body = server.ask("HEAD", "/metrics")
        assert answer.status == 200 and not body
        assert server.ask("GET", "/")[0].status == 200
        assert server.ask("GET", "/../etc/passwd")[0].status == 404
        answer, _ = server.ask("POST", "/metrics")
        assert answer.status == 405 and answer.getheader("Allow") == "GET, HEAD"
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as rude:
            rude.sendall(b"\x00\xff no http \r\n\r\n")
            rude.recv(100)
        assert server.ask("GET", "/metrics")[0].status == 200, "still there"


def test_only_this_machine_is_served_unless_told(directory):
    if not can_listen():
        return
    for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0"):
        result = run(KVSHIM_STAT, "--listen", address, "--dir", directory)
        assert result.returncode == 2 and "--listen-anywhere" in result.stderr, result
    with Server(directory, "0.0.0.0:0", "--listen-anywhere") as server:
        assert server.ask("GET", "/metrics")[0].status == 200


def test_an_address_that_is_none_or_taken_is_told(directory):
    if not can_listen():
        return
    for address in ("9400", "localhost:9400", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1", "::1:80",
                    "[::1:80", ":80", "127.0.0.1:x"):
        result = run(KVSHIM_STAT, "--listen", address, "--dir", directory)
        assert result.returncode == 2 and "is no ADDRESS:PORT" in result.stderr, result
    with Server(directory) as server:
        result = run(KVSHIM_STAT, "--listen", f"127.0.0.1:{server.port}", "--dir", directory)
        assert result.returncode == 1 and "cannot listen" in result.stderr, result


def test_valgrind_has_nothing_to_say(directory):
    valgrind = shutil.which("valgrind")
    if not valgrind:
        return
    path = painted_recording(directory)
    with Writer(directory, 1, 3):
        for args in (["--record", path + "2", "--count", "2", "--interval", "0.1"], ["--plot", path + ".svg", "--from", path],
                     ["--plot", path + ".svg", "--from", KVSHIM_STAT], ["--prometheus"], ["--csv"], ["--markdown"]):
            result = run(valgrind, "-q", "--error-exitcode=99", "--leak-check=full", KVSHIM_STAT, *args,
                         "--dir", directory, timeout=200)
            if "debuginfo reader" in result.stderr:
                print("      (this valgrind cannot read the compiler's debug information)")
                return
            assert result.returncode in (0, 1), result


run_all(sys.modules[__name__])
