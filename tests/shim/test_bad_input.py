# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong around it: one line on stderr, and the program runs as it would without the shim."""
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile

from shimtest import KVSHIM, KVSHIM_STAT, LIBRARY, NO_DRIVER, clean_env, lines, run, run_all

PROBE, SIMGPU, WEAK = sys.argv[5:8]
DEVICE = tempfile.NamedTemporaryFile()  # one device for all programs: its segment has one name
MIB = 1024 * 1024
SEGMENT_LAYOUT_AT, SEGMENT_MUTEX_AT = 8, 128  # core/coord_shm.h; asserted in core/coord_check.c


def has_driver():
    return run(sys.executable, "-c", "import ctypes; ctypes.CDLL('libcuda.so.1')").returncode == 0


def probe(directory, *args, env=None, shim=True, driver=SIMGPU, **more):
    environment = {"KVSHIM_DIR": directory, "LD_LIBRARY_PATH": driver, "SIMGPU_STRICT_EXIT": "1",
                   "SIMGPU_SHARED": DEVICE.name}
    if shim:
        environment["LD_PRELOAD"] = LIBRARY
    environment.update(env or {})
    return run(PROBE, *args, env=environment, **more)


def is_unaffected(result, n_lines=1, says=()):
    """The output of the program without the shim, and so many lines of the shim that say these words."""
    assert result.returncode == 0, result
    assert result.stdout == "differences: 0\ndone\n", result
    ours = [line for line in lines(result.stderr) if line.startswith("kvshim[")]
    assert len(ours) == n_lines and len(lines(result.stderr)) == n_lines, result
    for word in says:
        assert word in result.stderr, (word, result)


def a_running_program(directory, **env):
    """A probe that has its memory; communicate() lets it end."""
    process = subprocess.Popen([PROBE, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               env=clean_env(KVSHIM_DIR=directory, LD_LIBRARY_PATH=SIMGPU,
                                             LD_PRELOAD=LIBRARY, SIMGPU_SHARED=DEVICE.name, **env))
    said = [process.stdout.readline(), process.stdout.readline()]
    assert said == ["differences: 0\n", "holding\n"], said
    return process


def a_segment(directory):
    """The file that a running process has made, as bytes, and its name."""
    with a_running_program(directory) as process:
        name = os.path.join(directory, os.listdir(directory)[0])
        with open(name, "rb") as file:
            content = bytearray(file.read())
        process.communicate("go\n")
    assert os.listdir(directory) == [], "the last to leave removes the segment"
    return name, content


def put(name, content):
    with open(name, "wb") as file:
        file.write(content)
    os.chmod(name, 0o600)


def test_without_the_shim_the_program_runs(directory):
    is_unaffected(probe(directory, shim=False), n_lines=0)


def test_with_the_shim_and_nothing_wrong_there_is_no_line(directory):
    is_unaffected(probe(directory, env={"KVSHIM_LOG": "warn"}), n_lines=0)
    assert os.listdir(directory) == []


def test_switched_off_there_is_no_line_and_no_segment(directory):
    is_unaffected(probe(directory, env={"KVSHIM": "off"}), n_lines=0)


def test_loaded_twice_it_is_there_once(directory):
    is_unaffected(probe(directory, env={"LD_PRELOAD": f"{LIBRARY} {LIBRARY}", "KVSHIM_LOG": "warn"}), n_lines=0)
    copy = shutil.copy(LIBRARY, directory)
    is_unaffected(probe(directory, env={"LD_PRELOAD": f"{LIBRARY} {copy}", "KVSHIM_LOG": "warn"}), n_lines=0)
    os.remove(copy)
    assert os.listdir(directory) == []


def test_an_unknown_option(directory):
    is_unaffected(probe(directory, env={"KVSHIM_MINSIZE": "1G"}),
                  says=["KVSHIM_MINSIZE", "KVSHIM_MIN_SIZE"])


def test_a_negative_size(directory):
    is_unaffected(probe(directory, env={"KVSHIM_MIN_SIZE": "-64M"}),
                  says=["KVSHIM_MIN_SIZE=-64M", "64M", "give a size"])


def test_a_corrupt_segment(directory):
    name, content = a_segment(directory)
    for bad in (b"", b"short", b"\x5a" * len(content), bytes(content[:-4096])):
        put(name, bad)
        is_unaffected(probe(directory), says=["inert", name, "damaged", "remove"])
        with open(name, "rb") as file:
            assert file.read() == bad, "left as it was"


def test_a_segment_with_garbage_in_its_mutex(directory):
    name, content = a_segment(directory)
    content[SEGMENT_MUTEX_AT:SEGMENT_MUTEX_AT + 40] = b"\x77" * 40
    put(name, content)
    is_unaffected(probe(directory), says=["inert", "mutex", "remove"])


def test_a_segment_of_another_layout(directory):
    name, content = a_segment(directory)
    content[SEGMENT_LAYOUT_AT] = 9
    put(name, content)
    is_unaffected(probe(directory), says=["inert", "layout 9", "KVSHIM_DIR"])


def test_a_segment_whose_slots_are_garbage(directory):
    name, content = a_segment(directory)
    for at in range(4096, len(content) - 8, 8):
        content[at:at + 8] = (at * 0x9e3779b97f4a7c15 % 2**64).to_bytes(8, "little")
    put(name, content)
    result = probe(directory)
    assert result.stdout == "differences: 0\ndone\n" and result.returncode == 0, result
    assert len(lines(result.stderr)) <= 1, result


def in_a_file_system(directory, options, read_only=False):
    """For subprocess: a mount namespace of its own, where directory is a tmpfs."""
    libc = ctypes.CDLL(None, use_errno=True)
    CLONE_NEWNS, MS_RDONLY, MS_REC, MS_PRIVATE = 0x20000, 1, 0x4000, 1 << 18

    def enter():
        if libc.unshare(CLONE_NEWNS) or \
                libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) or \
                libc.mount(b"tmpfs", directory.encode(), b"tmpfs", MS_RDONLY if read_only else 0, options):
            os.write(2, b"CANNOT MOUNT\n")
            os._exit(77)
    return enter


def test_a_full_directory(directory):
    if os.geteuid() != 0:
        print("SKIP: a full directory: only root can mount a small file system")
        return
    result = probe(directory, preexec_fn=in_a_file_system(directory, b"size=64k"))
    if result.returncode == 77:
        print("SKIP: a full directory: mounting is not permitted here")
        return
    is_unaffected(result, says=["inert", "no room", "KVSHIM_DIR"])


def test_a_read_only_file_system(directory):
    if os.geteuid() != 0:
        print("SKIP: a read-only file system: only root can mount one")
        return
    result = probe(directory, preexec_fn=in_a_file_system(directory, b"", read_only=True))
    if result.returncode == 77:
        print("SKIP: a read-only file system: mounting is not permitted here")
        return
    is_unaffected(result, says=["inert", "Read-only file system", "KVSHIM_DIR"])


def test_a_directory_that_cannot_be_written(directory):
    os.chmod(directory, 0o555)
    if os.geteuid() == 0:
        if subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "test", "-x", PROBE],
                          check=False).returncode != 0:
            print("SKIP: a read-only directory: another user cannot reach the build directory")
            return
        result = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PROBE,
                     env={"KVSHIM_DIR": directory, "LD_LIBRARY_PATH": SIMGPU, "LD_PRELOAD": LIBRARY})
    else:
        result = probe(directory)
    is_unaffected(result, says=["inert", "Permission denied", "KVSHIM_DIR"])


def test_a_directory_that_is_not_there(directory):
    is_unaffected(probe(os.path.join(directory, "nowhere")), says=["inert", "create it"])


def test_no_driver_at_all(directory):
    if has_driver():
        print("SKIP: no driver at all: this machine has one where the loader always looks")
        return
    result = probe(directory, driver=directory)
    assert result.returncode == 0 and result.stdout == "no driver\n", result
    assert not result.stderr, "a program that finds no driver never calls one"
    result = run(KVSHIM, "run", "--dir", directory, PROBE, env={"LD_LIBRARY_PATH": directory})
    assert result.returncode == 0 and result.stdout == "no driver\n", result
    assert len(lines(result.stderr)) == 1 and NO_DRIVER in result.stderr, result


def weak(directory, **env):
    return run(WEAK, env={"LD_LIBRARY_PATH": directory, "LD_PRELOAD": LIBRARY, "KVSHIM_DIR": directory, **env})


def test_no_driver_but_a_program_whose_weak_references_are_bound_to_us(directory):
    if has_driver():
        print("SKIP: weak references without a driver: this machine has one where the loader always looks")
        return
    result = weak(directory, LD_PRELOAD="")
    assert result.returncode == 0 and result.stdout == "no driver\n", result
    result = weak(directory)
    assert result.returncode == 0 and result.stdout == "all calls: no device\n", result
    assert len(lines(result.stderr)) == 1, result
    for word in "inert", "no libcuda.so.1 found", "CUDA_ERROR_NO_DEVICE":
        assert word in result.stderr, result
    assert os.listdir(directory) == []
    result = weak(directory, KVSHIM="off")
    assert result.stdout == "all calls: no device\n" and not result.stderr, result


def is_seen_inert(directory, note, **env):
    """kvshim-stat shows the process while it runs, inert and why; it leaves nothing behind."""
    with a_running_program(directory, **env) as process:
        value = json.loads(run(KVSHIM_STAT, "--json", "--dir", directory).stdout)
        table = run(KVSHIM_STAT, "--once", "--dir", directory).stdout
        process.communicate("go\n")
    found = value["segments"][0]["processes"]
    assert len(found) == 1 and found[0]["pid"] == process.pid, found
    assert found[0]["state"] == "inert" and note in found[0]["note"], found
    assert found[0]["reserved_bytes"] == 0 and found[0]["reservations"] == [], found
    assert "inert" in table and "note: " in table and note in table, table
    assert os.listdir(directory) == []


def test_a_driver_without_virtual_memory_management(directory):
    is_unaffected(probe(directory, env={"SIMGPU_NO_VMM": "1"}), says=["native"])
    is_seen_inert(directory, "no virtual memory management", SIMGPU_NO_VMM="1")


def test_a_page_size_that_the_device_cannot_have(directory):
    is_unaffected(probe(directory, env={"KVSHIM_PAGE_SIZE": "3M"}), says=["page size", "native"])
    is_seen_inert(directory, "page size", KVSHIM_PAGE_SIZE="3M")


def test_a_device_that_is_left_alone_without_a_segment_is_one_line_too(directory):
    is_unaffected(probe(os.path.join(directory, "nowhere"), env={"SIMGPU_NO_VMM": "1"}), says=["native"])


def test_kvshim_run_gives_the_same(directory):
    result = run(KVSHIM, "run", "--dir", directory, "--log", "warn", PROBE,
                 env={"LD_LIBRARY_PATH": SIMGPU})
    is_unaffected(result, n_lines=0)


def test_kvshim_stat_shows_the_running_program(directory):
    with a_running_program(directory) as process:
        value = json.loads(run(KVSHIM_STAT, "--json", "--dir", directory).stdout)
        process.communicate("go\n")
    found = value["segments"][0]["processes"][0]
    assert found["pid"] == process.pid and found["reserved_bytes"] == 128 * MIB, found
    # a memset to zero backs nothing, the 4 KiB that were written back one page
    assert found["backed_bytes"] == 2 * MIB, found
    assert found["pages"] == {"empty": 63, "backed": 1, "evicted": 0, "spilled": 0}, found
    assert len(found["reservations"]) == 1 and found["reservations"][0]["static"] is None, found


run_all(sys.modules[__name__])
