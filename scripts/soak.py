# SPDX-License-Identifier: Apache-2.0
"""Random and stressed tests in rounds, each with another seed, until the time is up; see scripts/soak.

usage: soak.py BUILD [--minutes N] [--rounds N] [--seed N] [--only WORD] [--list]
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent
JOB_SECONDS = 1800  # a bound against hanging, far above what any job takes
MUTATIONS = 30000
SHOWN = 4000  # characters of a failed job's output


class Job:
    """One command. again: it differs from round to round; else the first round is enough."""

    def __init__(self, name, command, env=None, again=True):
        self.name, self.command, self.env, self.again = name, [str(c) for c in command], env or {}, again

    def words(self):
        """As one would type it."""
        settings = [f"{k}={v}" for k, v in sorted(self.env.items())]
        return shlex.join((["env", *settings] if settings else []) + self.command)


def seeded(build, seed):
    """What draws random numbers of its own."""
    for target in sorted((build / "tests/fuzz").glob("fuzz_*")):
        corpus = SOURCE / "tests/fuzz/corpus" / target.name.removeprefix("fuzz_")
        if target.is_file() and corpus.is_dir():
            yield Job(f"{target.name}, seed {seed}",
                      [target, "-n", MUTATIONS, "-s", seed, *sorted(corpus.iterdir())])
    for path, args in (("unit/unit", ["--filter", "random/*"]), ("unit/unit-asan", ["--filter", "random/*"]),
                       ("unit/threads", []), ("unit/threads-tsan", []),
                       ("shim/test_segment_hostile", [])):
        program = build / "tests" / path
        if program.is_file():
            yield Job(f"{path}, seed {seed}", [program, *args],
                      {"KV_TEST_SEED": seed, "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"})


def engines(build):
    """The engine, longer than in the tests, while nothing stays where it is."""
    program = SOURCE / "tests/engines/engine-test"
    common = [program, "--build", build, "--check", "same", "--case", "long"]
    for more in (["--evict", "1"], ["--evict", "1", "--async"], ["--evict", "1", "--no-graphs"],
                 ["--evict", "1", "--cuda", "12"], ["--evict", "1", "--devices", "2"],
                 ["--evict", "7", "--async", "--no-graphs"]):
        yield Job("engine " + " ".join(more), common + more, again="--async" in more)


def churn(build, seed):
    """Random work on the engine's slots: 10,000 decodes with graphs and 10,000 without, in each round, and on each kind of
    cache runs in which every n-th call that backs memory fails."""
    program = SOURCE / "tests/engines/churn"
    names = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.splitlines()
    for name in names:
        for more in ([], ["--no-graphs"]):
            yield Job(" ".join([f"churn {name},", *more, f"seed {seed}"]),
                      [program, "--build", build, "--only", name, "--decodes", -(-10000 // len(names)), "--seed", seed, *more])
    for i, name in enumerate(names):
        more = ["--no-graphs"] if i % 2 else []
        yield Job(" ".join([f"churn {name}, --faults", *more, f"seed {seed}"]),
                  [program, "--build", build, "--only", name, "--faults", "--all", "--decodes", 100, "--seed", seed, *more])


def timed(build):
    """Tests of the build whose threads and streams run as they like: each run is another one."""
    listed = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True)
    for test in json.loads(listed.stdout):
        suite = test["suite"][0].rpartition(":")[2]
        if (suite == "preload" and "(async)" in test["name"]) or \
                (suite == "micro" and "evicted all the time" in test["name"]):
            yield Job(suite + ": " + test["name"], test["cmd"], test["env"])


def paged(build, seed):
    """The paged engine that hints, for a hundred thousand steps."""
    listed = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True)
    for test in json.loads(listed.stdout):
        program, *args = test["cmd"]
        if pathlib.Path(program).name == "paged" and args[1:] == ["hints"]:
            yield Job(f"paged engine, {args[0]}, seed {seed}", [program, *args, 100000, seed], test["env"])


def coordinator(build, seed):
    """Processes that die and stop, also at each labelled point; and the model, with longer waits."""
    chaos = build / "tests/chaos"
    if (chaos / "chaos_worker").is_file():
        yield Job(f"chaos, seed {seed}",
                  [sys.executable, SOURCE / "tests/chaos/chaos.py", chaos / "libkvshim-points.so",
                   build / "tests/simgpu/lib", chaos / "chaos_worker", chaos / "chaos_watch", build / "shim/kvshim", SOURCE,
                   "--seconds", 600, "--seed", seed, "--all-points"])
    yield Job("model of the coordinator", [SOURCE / "tests/model/run", SOURCE / "tests/model/coord.pml", 1, 1, 1],
              again=False)


def one_round(build, seed):
    return [*seeded(build, seed), *paged(build, seed), *engines(build), *churn(build, seed),
            *coordinator(build, seed), *timed(build)]


def jobs(build, first_seed, rounds):
    """All jobs, round after round; rounds 0: without end."""
    seed = first_seed
    while not rounds or seed < first_seed + rounds:
        for job in one_round(build, seed):
            if seed == first_seed or job.again:
                yield job
        seed += 1


def run(job):
    """The job's exit status and what it said. Whatever it started ends with it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("KVSHIM", "SIMGPU", "LD_PRELOAD"))
           or k == "KVSHIM_CACHE"}
    env.update({k: str(v) for k, v in job.env.items()})
    with subprocess.Popen(job.command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True) as process:
        try:
            said = process.communicate(timeout=JOB_SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "no end after %d s" % JOB_SECONDS, process.communicate()[0]
    return process.returncode, said


def skip_reason(said):
    lines = [line for line in said.splitlines() if line.startswith("SKIP")]
    return lines[-1].partition(":")[2].strip() if lines else "no reason given"


class Count:
    def __init__(self):
        self.passed, self.failed, self.skipped, self.totals = 0, [], {}, {}

    def add_totals(self, said):
        """What random work on slots counts: "totals name=number ..."."""
        for line in said.splitlines():
            if line.startswith("totals "):
                for word in line.split()[1:]:
                    name, _, value = word.partition("=")
                    self.totals[name] = self.totals.get(name, 0) + int(value)

    def add(self, job, status, said, seconds):
        self.add_totals(said)
        if status == 0:
            self.passed += 1
            word = "ok"
        elif status == 77:
            self.skipped[job.name] = skip_reason(said)
            word = "skip"
        else:
            self.failed.append(job)
            word = "FAIL"
        print(f"{word:5}{seconds:6.1f} s  {job.name}", flush=True)
        if word == "FAIL":
            print(f"      ended with {status}; again with: {job.words()}\n{said[-SHOWN:]}", flush=True)


def soak(stream, seconds):
    """As many jobs at a time as there are processors; none is begun after the time is up."""
    count, ends, begun = Count(), time.monotonic() + seconds, {}

    def collect(when):
        done = concurrent.futures.wait(begun, return_when=when).done
        for future in done:
            job, started = begun.pop(future)
            count.add(job, *future.result(), time.monotonic() - started)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for job in stream:
            if time.monotonic() >= ends:
                break
            if job.name in count.skipped:
                continue
            begun[pool.submit(run, job)] = job, time.monotonic()
            if len(begun) >= os.cpu_count():
                collect(concurrent.futures.FIRST_COMPLETED)
        if begun:
            collect(concurrent.futures.ALL_COMPLETED)
    return count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=0, help="so many rounds, however long they take")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true", help="the jobs of the first round, as one would type them")
    args = parser.parse_args()
    build = args.build.resolve()
    first = one_round(build, args.seed)
    if args.list:
        print("\n".join(job.words() for job in first))
        return 0
    if not any(args.only in job.name for job in first):
        print(f"soak: no job has {args.only!r} in its name; scripts/soak --list shows them")
        return 2
    # A job that no round repeats would leave nothing to do: then the rounds end by themselves.
    repeats = any(args.only in job.name and job.again for job in first)
    stream = (job for job in (jobs(build, args.seed, args.rounds) if repeats else first) if args.only in job.name)
    count = soak(stream, float("inf") if args.rounds else args.minutes * 60)
    print()
    for name, reason in count.skipped.items():
        print(f"skipped: {name}: {reason}")
    for job in count.failed:
        print(f"failed: {job.name}: {job.words()}")
    if count.totals:
        t = count.totals
        print(f"random work on slots: {t['runs']} runs, {t['decodes']} decodes, {t['violations']} violations, "
              f"{t['faults']} faults of the GPU, {t['mismatches']} mismatches, {t['other_tokens']} runs with other tokens, "
              f"{t['injected']} failures injected, which ended {t['felt']} runs")
    print(f"{count.passed} passed, {len(count.failed)} failed, {len(count.skipped)} skipped")
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main())
