# SPDX-License-Identifier: Apache-2.0
"""kvshim doctor: each finding is provoked, on drivers that are ill in every way."""
import json
import os
import shutil
import stat
import subprocess
import sys

from shimtest import KVSHIM, LIBRARY, Writer, lines, run, run_all

BROKEN, SIMGPU, BYSTANDER = sys.argv[5:8]


def doctor(directory, *args, env=None, driver=BROKEN, **more):
    """The findings as (verdict, topic, text, remedy), and the exit status."""
    environment = {"KVSHIM_DIR": directory, **({"LD_LIBRARY_PATH": driver} if driver else {}), **(env or {})}
    result = run(KVSHIM, "doctor", "--json", *args, env=environment, **more)
    assert not result.stderr, result
    value = json.loads(result.stdout)
    findings = [(f["verdict"], f["topic"], f["text"], f["remedy"]) for f in value["findings"]]
    worst = max(("ok", "warn", "fail").index(f[0]) for f in findings)
    assert value["verdict"] == ("ok", "warn", "fail")[worst], value
    assert result.returncode == (1 if worst == 2 or worst == 1 and "--strict" in args else 0), result
    for verdict, topic, text, remedy in findings:
        assert text and topic and (verdict == "ok") == (remedy is None), findings
    return findings


def has(findings, verdict, topic, *words):
    for finding in findings:
        if finding[:2] == (verdict, topic) and all(w in finding[2] + (finding[3] or "") for w in words):
            return True
    raise AssertionError((verdict, topic, words, findings))


def is_well(findings):
    assert all(f[0] == "ok" for f in findings), findings


def test_a_healthy_machine(directory):
    findings = doctor(directory)
    is_well([f for f in findings if f[1] not in ("shared", "limits")])
    has(findings, "ok", "driver", "CUDA 13.0", BROKEN)
    has(findings, "ok", "gpu", "Patient", "1024 MiB")


def test_the_software_gpu_is_one(directory):
    if os.path.isdir(SIMGPU):
        has(doctor(directory, driver=SIMGPU), "ok", "gpu", "Software GPU")


def test_a_driver_that_hangs_is_left_behind(directory):
    for how in ("hang", "close"):
        has(doctor(directory, "--timeout", "1", env={"KV_BROKEN": how}), "fail", "driver", "not answered for 1 s")


def test_a_driver_that_crashes_or_exits(directory):
    has(doctor(directory, env={"KV_BROKEN": "crash"}), "fail", "driver", "crashed (signal 6)")
    has(doctor(directory, env={"KV_BROKEN": "exit"}), "fail", "driver", "exit 3")


def test_what_the_driver_answers_has_a_remedy(directory):
    for error, words in ((34, ["stubs"]), (100, ["no CUDA-capable device", "CUDA_VISIBLE_DEVICES"]),
                         (803, ["reboot"]), (802, ["fabricmanager"]), (999, ["unknown error (999)", "dmesg"])):
        has(doctor(directory, env={"KV_BROKEN": f"error={error}"}), "fail", "driver", *words)
    has(doctor(directory, env={"KV_BROKEN": "version=10020"}), "fail", "driver", "CUDA 10.2", "CUDA 11")
    has(doctor(directory, env={"KV_BROKEN": "version=12020"}), "ok", "driver", "older than 12.4")
    has(doctor(directory, env={"KV_BROKEN": "nodevices"}), "fail", "gpu", "no GPU is visible")
    has(doctor(directory, env={"KV_BROKEN": "novmm"}), "fail", "gpu", "cannot map memory by pages")
    has(doctor(directory, env={"KV_BROKEN": "nonuma"}), "warn", "gpu", "KVSHIM_HOST_BUDGET")
    has(doctor(directory, env={"KV_BROKEN": "exclusive"}), "warn", "gpu", "one process only")
    has(doctor(directory, env={"KV_BROKEN": "twins"}), "ok", "gpu", "0 of 2 pairs")


def test_strict_makes_warnings_failures(directory):
    doctor(directory, "--strict", env={"KV_BROKEN": "nonuma"})


def test_what_is_no_driver(directory):
    shutil.copy(LIBRARY, os.path.join(directory, "libcuda.so.1"))
    with open(os.path.join(directory, "empty.c"), "w", encoding="ascii") as file:
        file.write("int nothing;\n")
    if subprocess.run(["cc", "-shared", "-o", os.path.join(directory, "libcuda.so.1"), file.name], check=False).returncode:
        return
    has(doctor(directory, driver=directory), "fail", "driver", "has no cuInit")


def test_options_that_are_wrong(directory):
    findings = doctor(directory, env={"KVSHIM_MINSIZE": "1G", "KVSHIM_SPARE": "-5", "KVSHIM": "off",
                                      "KVSHIM_HOST_BUDGET": "512T"})
    has(findings, "warn", "options", "KVSHIM_MINSIZE", "did you mean KVSHIM_MIN_SIZE")
    has(findings, "warn", "options", "KVSHIM_SPARE=-5")
    has(findings, "warn", "options", "does nothing")
    has(findings, "warn", "options", "KVSHIM_HOST_BUDGET=512T", "available")


def test_a_directory_that_is_none(directory):
    has(doctor(os.path.join(directory, "none")), "fail", "shared", "no directory")
    has(doctor("/", "--dir", os.path.join(directory, "none")), "fail", "shared", "no directory")
    assert [f for f in doctor("/proc") if f[1] == "shared" and f[0] != "ok"]
    os.chmod(directory, 0o777)
    has(doctor(directory), "warn", "shared", "chmod +t")
    os.chmod(directory, 0o700)


def test_segments_that_lie_there(directory):
    with Writer(directory):
        findings = doctor(directory)
        name = os.path.join(directory, [n for n in os.listdir(directory) if n.startswith("kvshim-")][0])
        has(findings, "ok", "shared", name, "is sound")
        with open(name, "rb") as file:
            content = bytearray(file.read())
    content[8] += 1  # the layout
    with open(name, "wb") as file:
        file.write(content)
    has(doctor(directory), "warn", "shared", name, "another version")
    content[0] ^= 1  # the magic
    with open(name, "wb") as file:
        file.write(content)
    has(doctor(directory), "fail", "shared", name, "kvshim check")
    with open(name, "wb"):
        pass
    has(doctor(directory), "fail", "shared", name, "no segment")


def program(directory, name, content, mode=0o755):
    path = os.path.join(directory, name)
    if isinstance(content, str):
        content = content.encode()
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    return path


def test_a_command_that_a_preload_reaches(directory):
    is_well([f for f in doctor(directory, "cat") if f[1] == "reach"])
    script = program(directory, "serve", "#!/usr/bin/env -S FOO=1 sh\n")
    findings = doctor(directory, script, "--json")
    has(findings, "ok", "reach", "a script for sh")
    has(findings, "ok", "reach", "is linked dynamically")
    has(findings, "warn", "engine", "no engine that is known")
    has(doctor(directory, program(directory, "llama-server", "#!/bin/sh\n")), "ok", "engine", "llama.cpp")
    has(doctor(directory, program(directory, "vllm", "#!/bin/sh\n")), "warn", "engine", "vllm", "engines.md")


def test_the_library_with_the_kernels_is_found(directory):
    os.makedirs(os.path.join(directory, "bin"))
    os.makedirs(os.path.join(directory, "lib/ollama/cuda_v13"))
    server = program(directory, "bin/ollama", "#!/bin/sh\n")
    assert not any("--rules" in f[2] for f in doctor(directory, server))
    program(directory, "lib/ollama/cuda_v13/libggml-cuda.so", "")
    has(doctor(directory, server), "ok", "engine", "lib/ollama/cuda_v13/libggml-cuda.so", "kvshim doctor --rules")


def interpreter(path, loader):
    """A copy of an ELF program that names another loader, which is no longer than its own."""
    with open(path, "rb") as file:
        content = bytearray(file.read())
    at = content.index(b"/lib64/ld-linux-x86-64.so.2\0")
    content[at:at + len(loader) + 1] = loader + b"\0"
    return bytes(content)


def test_commands_that_no_preload_reaches(directory):
    has(doctor(directory, "no-such-command"), "fail", "reach", "there is no command")
    has(doctor(directory, program(directory, "text", "hello\n")), "fail", "reach", "no ELF program")
    cat = shutil.which("cat")
    musl = interpreter(cat, b"/lib/ld-musl-x86_64.so.1")
    has(doctor(directory, program(directory, "alpine", musl)), "fail", "reach", "musl")
    has(doctor(directory, program(directory, "lost", interpreter(cat, b"/lib/nowhere.so"))), "fail", "reach", "not here")
    elf = bytearray(interpreter(cat, b"/x"))
    narrow = bytes(elf[:4]) + b"\1" + bytes(elf[5:])
    has(doctor(directory, program(directory, "narrow", narrow)), "fail", "reach", "32 bits")
    has(doctor(directory, program(directory, "cut", bytes(elf[:70]))), "fail", "reach", "damaged")
    elf[56:58] = b"\0\0"  # no program headers at all
    has(doctor(directory, program(directory, "static", bytes(elf))), "fail", "reach", "linked statically")
    for launcher in ("docker", "sudo", "kubectl", "ssh"):
        has(doctor(directory, program(directory, launcher, "#!/bin/sh\n")), "fail", "reach", launcher)
    loop = program(directory, "loop", f"#!{directory}/loop\n")
    has(doctor(directory, loop), "ok", "reach", "is a script for")


def test_damaged_programs_are_no_trouble(directory):
    with open(shutil.which("cat"), "rb") as file:
        content = file.read()
    for at in range(16, 64, 2):
        damaged = bytearray(content[:4096])
        damaged[at:at + 2] = b"\xff\xff"
        doctor(directory, program(directory, "damaged", bytes(damaged)))


def test_a_setuid_command(directory):
    if os.geteuid() != 0:
        return
    path = program(directory, "setuid", "")
    shutil.copy(BYSTANDER, path)
    os.chown(path, 65534, 65534)
    os.chmod(path, 0o4755)
    if os.stat(path).st_mode & stat.S_ISUID:
        has(doctor(directory, path), "fail", "reach", "setuid", "drops LD_PRELOAD")


def test_other_preloads(directory):
    rival = program(directory, "libvgpu.so", "")
    shutil.copy(BROKEN + "/libcuda.so.1", rival)
    other = os.path.join(directory, "libother.so")
    shutil.copy(rival, other)
    findings = doctor(directory, env={"LD_PRELOAD": f"{rival}:{other} {LIBRARY}"})
    has(findings, "warn", "preload", "libvgpu.so", "HAMi")
    has(findings, "ok", "preload", "libother.so", "behind")
    has(findings, "ok", "preload", "libkvshim.so", "replaces")


def test_the_driver_is_asked_without_a_shim_that_is_preloaded(directory):
    if os.path.isdir(SIMGPU):
        findings = doctor(directory, driver=SIMGPU, env={"LD_PRELOAD": LIBRARY})
        has(findings, "ok", "gpu", "Software GPU")
        assert not [n for n in os.listdir(directory) if n.startswith("kvshim-")]


def test_as_text_each_finding_is_a_line_and_its_remedy_another(directory):
    result = run(KVSHIM, "doctor", env={"KVSHIM_DIR": directory, "LD_LIBRARY_PATH": BROKEN, "KV_BROKEN": "nonuma"})
    assert lines(result.stdout)[-1].endswith(" 1 warnings, 0 failures") or "warnings, 0 failures" in result.stdout, result
    assert "\nwarn  gpu        GPU 0 cannot map host memory by pages\n                 leave" in result.stdout, result


def test_wrong_arguments_give_one_line(directory):
    for args, word in ((["--timeout", "0"], "0 is no timeout"), (["--timeout", "x"], "x is no timeout"),
                       (["--with", "x"], "--rules"), (["--rules", "x", "y"], "no command"), (["--fly"], "--fly"),
                       (["-t"], "-t needs a value")):
        result = run(KVSHIM, "doctor", *args, env={"KVSHIM_DIR": directory})
        assert result.returncode == 2 and len(lines(result.stderr)) == 1 and word in result.stderr, result


run_all(sys.modules[__name__])
