# SPDX-License-Identifier: Apache-2.0
"""What engine-test and demo share: packages, models, environments, the two front ends.

An engine runs with an environment made here from nothing but PATH and HOME, so that no setting of the caller
changes a result.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PAGE = 2 << 20


class Skip(Exception):
    """Something that the run needs is not there."""


class Failure(Exception):
    """The engine, or what was observed of it, is not as it should be."""


def packages(*what):
    """The folder with the engine packages."""
    run = subprocess.run([HERE / "fetch", "--have", *what], stdout=subprocess.PIPE, text=True)
    if run.returncode == 77:
        raise Skip(run.stdout.strip().removeprefix("SKIP: "))
    if run.returncode:
        raise Failure("fetch --have: " + run.stdout)
    return pathlib.Path(run.stdout.strip())


def model(folder, *args):
    """A model file made with these arguments of mkgguf; made once per folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("model" + "".join(a.replace("--", "-") for a in args) + ".gguf")
    if not path.exists():
        part = tempfile.mktemp(dir=folder, prefix="making-")
        subprocess.run([HERE / "mkgguf", *args, part], check=True)
        os.replace(part, path)
    return path


def need_gpu():
    """SKIP unless a real driver and device are here."""
    for name in ("/dev/nvidia0", "/dev/nvidiactl"):
        if not os.path.exists(name):
            raise Skip("no NVIDIA GPU on this machine")


class Place:
    """Where an engine runs: a build folder, the engine packages, a GPU, an output folder."""

    def __init__(self, build, out, gpu="sim", cuda="13", need=("llama",)):
        """need: what the packages must have; a release for an older llama.cpp."""
        self.build, self.out, self.gpu, self.cuda = pathlib.Path(build).resolve(), pathlib.Path(out).resolve(), gpu, cuda
        self.packages = packages(*need)
        self.libs = self.packages / f"cuda{cuda}"
        self.out.mkdir(parents=True, exist_ok=True)
        self.segments = self.out / "segments"
        self.segments.mkdir(exist_ok=True)
        if gpu == "real":
            need_gpu()

    def environment(self, shim, settings, strict=True):
        """strict: rows that nobody attends to are compared, too; not where the shim lets go of them by an engine's
        promise."""
        env = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR", "LANG") if k in os.environ}
        if self.gpu == "sim":
            sim = self.build / "tests/simgpu"
            env["LD_LIBRARY_PATH"] = f"{sim / 'lib'}:{sim / 'standins' / self.cuda}"
            env["SIMGPU_MIRROR"] = "1"
            if strict:
                env["SIMGPU_DEAD_STRICT"] = "1"
            env["SIMGPU_REPORT"] = str(self.out / "report.json")
            env["SIMGPU_LOG"] = str(self.out / "simgpu.log")
        else:
            toolkit = os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/lib64"
            env["LD_LIBRARY_PATH"] = os.environ.get("LD_LIBRARY_PATH") or toolkit
        env["GGML_NO_BACKTRACE"] = "1"
        env["KVSHIM_DIR"] = str(self.segments)
        env.update(settings)
        if shim == "preload":
            env["LD_PRELOAD"] = str(self.build / "shim/libkvshim.so")
        return env

    def prefix(self, shim):
        """The words in front of the engine's command."""
        return [self.build / "shim/kvshim", "run", "--"] if shim == "command" else []

    def stat(self, pid):
        """What kvshim-stat says of a process: its object, or None."""
        run = subprocess.run([self.build / "shim/stat/kvshim-stat", "--json", "--dir", self.segments],
                             stdout=subprocess.PIPE, text=True)
        if run.returncode:
            raise Failure(f"kvshim-stat: exit {run.returncode}")
        for segment in json.loads(run.stdout)["segments"]:
            for process in segment["processes"]:
                if process["pid"] == pid:
                    return process
        return None

    def reports(self):
        """The software GPU's exit reports, one per process that used it."""
        path = self.out / "report.json"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Front:
    """llama-front, step by step."""

    def __init__(self, place, shim, settings, options, steps, tokens, strict=True):
        self.log = open(place.out / "engine.log", "ab")
        command = [*place.prefix(shim), place.build / "tests/engines/llama-front", "--libs", place.libs,
                   "--step", "--tokens", tokens, *options, *steps]
        self.process = subprocess.Popen(command, env=place.environment(shim, settings, strict),
                                        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        self.pid = self.process.pid

    def phases(self):
        """Yields the name of each phase; the engine stands still until the next one is asked for."""
        for line in self.process.stdout:
            if line.startswith("phase "):
                yield line[len("phase "):].strip()
                try:
                    self.process.stdin.write("\n")
                    self.process.stdin.flush()
                except BrokenPipeError:
                    pass

    def end(self):
        self.process.stdout.read()
        code = self.process.wait()
        self.log.close()
        return code


class Server:
    """node/serve.mjs, driven over HTTP."""

    def __init__(self, place, shim, settings, model_path, context, sequences=1):
        self.log = open(place.out / "engine.log", "ab")
        command = [*place.prefix(shim), "node", HERE / "node/serve.mjs", place.packages / "node", model_path,
                   "--context", str(context), "--sequences", str(sequences)]
        # Not our stdin: node makes what it inherits there non-blocking, and whoever steps us through the phases
        # would not be waited for any more.
        self.process = subprocess.Popen(command, env=place.environment(shim, settings), text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)
        self.pid = self.process.pid
        self.port = None
        for line in self.process.stdout:
            if line.startswith("listening "):
                self.port = int(line.split()[1])
                break
        if self.port is None:
            raise Failure(f"the server did not start, exit {self.end()}")

    def post(self, action, **body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{action}",
                                         data=json.dumps(body).encode(), method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=300) as answer:
            return json.loads(answer.read())

    def end(self):
        self.process.stdout.read()
        code = self.process.wait()
        self.log.close()
        return code


def tail(path, lines=25):
    try:
        return "".join(f"  | {l}\n" for l in pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def main(function):
    """Runs a script's main function and turns its exceptions into exit codes."""
    try:
        sys.exit(function())
    except Skip as reason:
        print(f"SKIP: {reason}")
        sys.exit(77)
    except Failure as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
