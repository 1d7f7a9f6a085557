# SPDX-License-Identifier: Apache-2.0
"""Several users on one device: with a segment each, with one for a group, and one who may not have it."""
import os
import shutil
import subprocess
import sys
import tempfile

from shimtest import LIBRARY, run_all

PROBE, SIMGPU = sys.argv[5:7]
NOBODY, GROUP = 65534, 54321

# Copies that everybody may run, wherever the build lies.
PLACE = tempfile.TemporaryDirectory(prefix="kvshim-users-")


def prepare():
    os.chmod(PLACE.name, 0o755)
    for name in (PROBE, LIBRARY, os.path.join(SIMGPU, "libcuda.so.1")):
        shutil.copy(name, PLACE.name)
    open(os.path.join(PLACE.name, "device"), "w", encoding="ascii").close()
    os.chmod(os.path.join(PLACE.name, "device"), 0o666)


def start(directory, user, groups=(), **more):
    """The probe, which has its memory when this returns. Its lines so far, and the process."""
    env = {"KVSHIM_DIR": directory, "LD_LIBRARY_PATH": PLACE.name, "SIMGPU_SHARED": PLACE.name + "/device",
           "LD_PRELOAD": os.path.join(PLACE.name, "libkvshim.so"), "SIMGPU_STRICT_EXIT": "1", **more}
    return subprocess.Popen([os.path.join(PLACE.name, os.path.basename(PROBE)), "wait"], env=env, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            user=user, group=user, extra_groups=list(groups))


def has_memory(process):
    said = [process.stdout.readline(), process.stdout.readline()]
    assert said == ["differences: 0\n", "holding\n"], (said, process.communicate())


def end(process):
    """What it said to the operator."""
    _, said = process.communicate("go\n", timeout=60)
    assert process.returncode == 0, (process.returncode, said)
    return said.splitlines()


def shared_directory(directory):
    os.chmod(directory, 0o1777)
    return directory


def test_each_user_has_a_segment_of_its_own(directory):
    shared_directory(directory)
    one = start(directory, 0)
    has_memory(one)
    other = start(directory, NOBODY)
    has_memory(other)
    names = sorted(os.listdir(directory))
    assert [name.split("-")[1] for name in names] == ["0", str(NOBODY)], names
    assert end(other) == [] and end(one) == []
    assert os.listdir(directory) == []


def test_members_of_a_group_share_one(directory):
    shared_directory(directory)
    group = {"KVSHIM_GROUP": str(GROUP)}
    one = start(directory, 0, [GROUP], **group)
    has_memory(one)
    other = start(directory, NOBODY, [GROUP], **group)
    has_memory(other)
    names = os.listdir(directory)
    assert len(names) == 1 and names[0].startswith(f"kvshim-g{GROUP}-"), names
    status = os.stat(os.path.join(directory, names[0]))
    assert status.st_mode & 0o777 == 0o660 and status.st_gid == GROUP, status
    assert end(one) == []
    assert os.listdir(directory) == names, "the other one is still there"
    assert end(other) == []
    assert os.listdir(directory) in ([], names), "a sticky directory lets only its owner remove it"


def test_one_who_is_no_member_runs_natively_and_says_why(directory):
    shared_directory(directory)
    group = {"KVSHIM_GROUP": str(GROUP)}
    one = start(directory, 0, [GROUP], **group)
    has_memory(one)
    other = start(directory, NOBODY, **group)
    has_memory(other)
    said = end(other)
    assert len(said) == 1 and "inert" in said[0] and "ermission" in said[0], said
    assert end(one) == []
    assert os.listdir(directory) == []


if os.geteuid() != 0:
    print("SKIP: only root can run programs as other users")
    sys.exit(77)
prepare()
run_all(sys.modules[__name__])
