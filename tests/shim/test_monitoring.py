# SPDX-License-Identifier: Apache-2.0
"""The dashboard, the rules and the pages name metrics that exist, by names that promtool accepts."""
import json
import os
import re
import shutil
import subprocess
import sys

from shimtest import KVSHIM_STAT, SOURCE, run, run_all

FOLDER = os.path.join(SOURCE, "docs", "monitoring")
NAME = re.compile(r"\bkvshim_(?:gpu|process|segments)_[a-z0-9_]+")
RECORDED = re.compile(r"\bkvshim:[a-z0-9_:]+")


def content(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def exposed(directory):
    return set(re.findall(r"^# TYPE (\S+)", run(KVSHIM_STAT, "--prometheus", "--dir", directory).stdout, re.MULTILINE))


def test_every_metric_that_is_named_is_exposed(directory):
    there = exposed(directory)
    assert len(there) > 60, there
    for name in ("kvshim.rules.yml", "grafana-kvshim.json"):
        named = set(NAME.findall(content(name)))
        assert len(named) > 10 and named <= there, (name, named - there)


def test_the_page_of_metrics_lists_all_that_is_exposed(directory):
    with open(os.path.join(SOURCE, "docs", "metrics.md"), encoding="utf-8") as page:
        assert set(re.findall(r"`(kvshim_[a-z0-9_]+)`", page.read())) == exposed(directory)


def test_rates_are_of_counters_and_only_of_them(directory):
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", run(KVSHIM_STAT, "--prometheus", "--dir", directory).stdout,
                            re.MULTILINE))
    for name in ("kvshim.rules.yml", "grafana-kvshim.json"):
        rated = set(re.findall(r"(?:rate|increase)\((kvshim_\w+)", content(name)))
        counters = {metric for metric in NAME.findall(content(name)) if kinds[metric] == "counter"}
        assert rated == counters, (name, rated ^ counters)


def test_the_dashboard_is_whole(_):
    board = json.loads(content("grafana-kvshim.json"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) and len(panels) >= 10
    taken = set()
    for panel in panels:
        assert panel["targets"] and all(target["expr"] for target in panel["targets"]), panel["title"]
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", content("grafana-kvshim.json"))) - {"__rate_interval", "__all"}
    assert used == variables, (used, variables)


def test_the_rules_are_whole(_):
    text = content("kvshim.rules.yml")
    records = re.findall(r"record: (\S+)", text)
    assert len(set(records)) == len(records) and all(RECORDED.fullmatch(name) for name in records)
    try:
        import yaml
    except ImportError:
        yaml = None
    if yaml:
        groups = yaml.safe_load(text)["groups"]
        assert all(set(rule) & {"record", "alert"} and rule["expr"] for group in groups for rule in group["rules"])
    promtool = shutil.which("promtool")
    if promtool:
        done = subprocess.run([promtool, "check", "rules", os.path.join(FOLDER, "kvshim.rules.yml")],
                              capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done


run_all(sys.modules[__name__])
