# SPDX-License-Identifier: Apache-2.0
"""docs/examples: what would run in a cluster, as far as it can be told without one."""
import json
import os
import re
import shutil
import subprocess
import sys

from shimtest import KVSHIM, KVSHIM_STAT, SOURCE, run, run_all

try:
    import yaml
except ImportError:
    print("SKIP: no YAML for Python (python3-yaml)")
    sys.exit(77)

EXAMPLES = os.path.join(SOURCE, "docs/examples")
FOLDER = os.path.join(EXAMPLES, "kubernetes")


def objects():
    """Every object that the kustomization names."""
    with open(os.path.join(FOLDER, "kustomization.yaml"), encoding="utf-8") as file:
        names = yaml.safe_load(file)["resources"]
    assert sorted(names + ["kustomization.yaml"]) == sorted(os.listdir(FOLDER)), "a file that nobody names, or none"
    for name in names:
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            yield from yaml.safe_load_all(file)


def pods():
    for thing in objects():
        assert thing["apiVersion"] == "apps/v1" and thing["kind"] in ("DaemonSet", "Deployment"), thing
        labels = thing["spec"]["template"]["metadata"]["labels"]
        assert thing["spec"]["selector"]["matchLabels"] == labels, thing["metadata"]
        yield thing["kind"], thing["metadata"]["name"], thing["spec"]["template"]["spec"]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def environment(container):
    return {e["name"]: e["value"] for e in container.get("env", [])}


def mounts(container):
    return {m["mountPath"]: m["name"] for m in container.get("volumeMounts", [])}


def test_one_exporter_per_node_and_two_engines(_):
    kinds = [kind for kind, _, _ in pods()]
    assert sorted(kinds) == ["DaemonSet", "Deployment", "Deployment"], kinds
    names = [name for _, name, _ in pods()]
    assert len(set(names)) == len(names), names


def test_every_mount_has_its_volume_and_every_volume_a_mount(_):
    for _, name, pod in pods():
        volumes = {v["name"] for v in pod["volumes"]}
        mounted = {m for c in containers(pod) for m in mounts(c).values()}
        assert volumes == mounted, (name, volumes, mounted)


def test_all_share_one_directory_and_one_user(_):
    seen = set()
    for _, name, pod in pods():
        hosts = {v["name"]: v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v}
        directories = [environment(c)["KVSHIM_DIR"] for c in pod["containers"]]
        for directory, container in zip(directories, pod["containers"]):
            assert directory in mounts(container), (name, "the directory is not mounted")
            assert "runAsUser" not in container.get("securityContext", {}), name
            seen.add((hosts[mounts(container)[directory]], pod["securityContext"]["runAsUser"]))
        makers = " ".join(word for c in pod["initContainers"] for word in c["command"])
        assert f"-o {pod['securityContext']['runAsUser']} " in makers and directories[0] in makers, (name, makers)
    assert len(seen) == 1, seen


def test_the_library_is_where_the_preload_names_it(_):
    engines = 0
    for _, name, pod in pods():
        for container in pod["containers"]:
            library = environment(container).get("LD_PRELOAD")
            if not library:
                continue
            engines += 1
            folder, file = os.path.split(library)
            assert folder in mounts(container) and file == "libkvshim.so", (name, library)
            copied = [c for c in pod["initContainers"] if mounts(c).get(folder) == mounts(container)[folder]]
            assert copied and f"{file} {folder}/" in " ".join(copied[0]["command"]), (name, copied)
            assert container["resources"]["limits"]["nvidia.com/gpu"] == 1, name
    assert engines == 2


def test_options_exist_and_have_values_that_they_take(_):
    for _, name, pod in pods():
        for container in containers(pod):
            options = {k: v for k, v in environment(container).items() if k.startswith("KVSHIM")}
            for key in options:
                result = run(KVSHIM, "explain", "--json", key, env=options)
                assert result.returncode == 0 and not result.stderr, (name, result)
                assert json.loads(result.stdout)["options"][0]["source"] == "environment", (name, key)


def test_the_exporter_is_started_with_flags_that_it_has(_):
    known = set(re.findall(r"--[a-z][\w-]*", run(KVSHIM_STAT, "--help").stdout))
    for kind, _, pod in pods():
        if kind != "DaemonSet":
            continue
        container = pod["containers"][0]
        assert container["command"][0] == "kvshim-stat", container
        assert {w for w in container["command"] if w.startswith("--")} <= known, container
        address = container["command"][container["command"].index("--listen") + 1]
        port = container["ports"][0]
        assert address.rpartition(":")[2] == str(port["containerPort"]), container
        assert container["readinessProbe"]["httpGet"] == {"path": "/metrics", "port": port["name"]}, container


def test_kustomize_takes_them(_):
    if not shutil.which("kubectl"):
        print("      kubectl is not installed: left out")
        return
    result = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result
    made = [thing for thing in yaml.safe_load_all(result.stdout) if thing]
    assert len(made) == 3
    images = {c["image"] for thing in made for c in containers(thing["spec"]["template"]["spec"])}
    assert "kvshim" not in images and any(i.startswith("registry.example.com/kvshim:") for i in images), images


def test_the_image_installs_what_the_package_is_called(_):
    with open(os.path.join(EXAMPLES, "Dockerfile"), encoding="utf-8") as file:
        text = file.read()
    with open(os.path.join(SOURCE, "debian/control"), encoding="utf-8") as file:
        control = file.read()
    package = re.search(r"^Package: (\S+)", control, re.MULTILINE)[1]
    assert f"COPY {package}_*_amd64.deb" in text and "FROM debian:12" in text, text


run_all(sys.modules[__name__])
