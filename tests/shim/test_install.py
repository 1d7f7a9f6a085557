# SPDX-License-Identifier: Apache-2.0
"""`meson install` into an empty root: programs are compiled from there by pkg-config, Python finds its package there."""
import os
import shutil
import subprocess
import sys

from shimtest import SOURCE, clean_env, complaints, run, run_all

BUILD, PREFIX, LIBDIR, INCLUDEDIR = sys.argv[5:9]
C = """
#include <kvshim/kvshim.h>
#include <kvshim/kvshim_pool.h>
#include <stdio.h>
int main(void)
{
	printf("%d %d\\n", kvshim_version(), kvshim_tag_pop());
	return 0;
}
"""
CPP = """
#include <kvshim/kvshim.hpp>
int main()
{
	return kvshim::active() ? 1 : 0;
}
"""
ABSENT = -1


def meson():
    """The meson that has set this build up: another one may not read its notes."""
    with open(os.path.join(BUILD, "build.ninja"), encoding="utf-8") as file:
        for line in file:
            if "--internal regenerate" in line:
                return [word.strip("'") for word in line.split("=", 1)[1].split("--internal")[0].split()]
    return ["meson"]


class Root:
    """An installed tree. Ends with the directory that it is in."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "root")
        done = run(*meson(), "install", "-C", BUILD, "--no-rebuild", "--destdir", self.path, timeout=200)
        assert done.returncode == 0, done

    def at(self, *parts):
        return os.path.join(self.path, os.path.join(PREFIX, *parts).lstrip("/"))

    def pkg_config(self, *args):
        done = run("pkg-config", *args, "kvshim", env={"PKG_CONFIG_LIBDIR": self.at(LIBDIR, "pkgconfig"),
                                                       "PKG_CONFIG_SYSROOT_DIR": self.path})
        assert done.returncode == 0 and not done.stderr, done
        return done.stdout.split()

    def variable(self, name):
        """A path of the tree; the sysroot is not every pkg-config's business here."""
        value, = self.pkg_config(f"--variable={name}")
        return value if value.startswith(self.path) else self.path + value


def compiled(root, directory, compiler, name, text, *flags):
    source, program = os.path.join(directory, name), os.path.join(directory, name + ".out")
    with open(source, "w", encoding="ascii") as file:
        file.write(text)
    done = run(compiler, *flags, "-Wall", "-Wextra", "-Werror", source, "-o", program, *root.pkg_config("--cflags", "--libs"))
    assert done.returncode == 0, done
    return program


def test_what_is_installed_can_be_built_with_and_run(directory):
    if not shutil.which("pkg-config"):
        print("      pkg-config is not installed: only files were looked for")
        return
    root = Root(directory)
    library = root.variable("preload")
    assert os.path.isfile(library), library
    program = compiled(root, directory, "cc", "program.c", C, "-std=c11")
    assert run(program).stdout.split() == [str(ABSENT), str(ABSENT)]
    shimmed = run(program, env={"LD_PRELOAD": library}).stdout.split()
    assert int(shimmed[0]) >= 1 and int(shimmed[1]) < ABSENT, shimmed
    if shutil.which("c++"):
        program = compiled(root, directory, "c++", "program.cpp", CPP, "-std=c++11")
        assert run(program).returncode == 0
    packages = root.variable("python")
    for env, status, says in (({}, 1, "not in this process"), ({"LD_PRELOAD": library}, 0, "interface ")):
        done = run(sys.executable, "-m", "kvshim", cwd=directory,
                   env={"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1", **env})
        assert done.returncode == status and says in done.stdout, done
    assert run(root.at("bin", "kvshim"), "--version").stdout == run(root.at("bin", "kvshim-stat"), "--version").stdout.replace(
        "kvshim-stat", "kvshim")
    started = run(root.at("bin", "kvshim"), "run", "--lib", library, "--", "cat", "/proc/self/maps")
    assert library in started.stdout and not complaints(started.stderr), started
    for page in ("man1/kvshim.1", "man1/kvshim-stat.1", "man7/libkvshim.7"):
        assert os.path.isfile(root.at("share/man", page)), page


def test_every_file_of_the_python_package_is_installed(_):
    with open(os.path.join(SOURCE, "shim/meson.build"), encoding="utf-8") as file:
        rules = file.read()
    for name in os.listdir(os.path.join(SOURCE, "shim/python/kvshim")):
        assert not name.endswith(".py") or f"python/kvshim/{name}" in rules, name
    for name in os.listdir(os.path.join(SOURCE, "shim")):
        assert not name.startswith("kvshim") or not name.endswith((".h", ".hpp")) or f"'{name}'" in rules, name


run_all(sys.modules[__name__])
