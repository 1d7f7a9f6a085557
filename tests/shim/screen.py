# SPDX-License-Identifier: Apache-2.0
"""kvshim-stat in a terminal: a tmux session that types keys and reads the screen, over painted segments."""
import os
import re
import shutil
import subprocess
import tempfile
import time

from shimtest import clean_env

PATIENCE_S = 60
CLOCK = "1795435200000000000"  # as segment_paint.c
COLOUR = re.compile(r"\x1b\[[0-9;]*?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")


def have_tmux():
    return shutil.which("tmux") is not None


class Painter:
    """Painted segments in a directory; step() lets a second pass."""

    def __init__(self, program, directory, *what):
        self.process = subprocess.Popen([program, directory, *what], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "painted 0\n"

    def step(self, n=1):
        for _ in range(n):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline().startswith("painted ")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=PATIENCE_S)


class Screen:
    """A program in a terminal of a size. Ends with the block."""

    def __init__(self, size, *command, env=None):
        self.place = tempfile.TemporaryDirectory(prefix="kvshim-tmux-")
        self.env = clean_env(TMUX_TMPDIR=self.place.name, LC_ALL="C.UTF-8", TERM="xterm")
        self.env.pop("TMUX", None)
        inner = {"LC_ALL": "C.UTF-8", "TERM": "screen-256color", **(env or {})}
        words = ["env"] + [f"{k}={v}" for k, v in inner.items()] + list(command)
        line = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        width, height = size.split("x")
        self.tmux("new-session", "-d", "-s", "t", "-x", width, "-y", height,
                  f"{line}; echo \"exit $?\"; exec sleep 1000")

    def tmux(self, *args):
        done = subprocess.run(["tmux", "-u", "-f", "/dev/null", *args], env=self.env, text=True,
                              capture_output=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done
        return done.stdout

    def text(self):
        """What is on the screen, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.tmux("capture-pane", "-p", "-t", "t").split("\n"))

    def ansi(self):
        return self.tmux("capture-pane", "-p", "-e", "-N", "-t", "t")

    def until(self, wanted):
        """Waits for a text, or for what a function finds true; returns the screen."""
        found = wanted if callable(wanted) else lambda text: wanted in text
        end = time.monotonic() + PATIENCE_S
        while True:
            text = self.text()
            if found(text):
                return text
            assert time.monotonic() < end, f"{wanted} does not come up:\n{text}"
            time.sleep(0.02)

    def key(self, *keys):
        self.tmux("send-keys", "-t", "t", *keys)

    def type(self, text):
        self.tmux("send-keys", "-t", "t", "-l", text)

    def resize(self, size):
        width, height = size.split("x")
        self.tmux("resize-window", "-t", "t", "-x", width, "-y", height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["tmux", "-u", "kill-server"], env=self.env, capture_output=True, check=False,
                       timeout=PATIENCE_S)
        self.place.cleanup()


def seconds_passed(screen, painter, n):
    """n seconds of the painted clock, a sample in each; the clock on the screen tells."""
    for _ in range(n):
        before = screen.text().split("\n")[0]
        painter.step()
        screen.key("r")
        screen.until(lambda text, old=before: text.split("\n")[0] != old)
