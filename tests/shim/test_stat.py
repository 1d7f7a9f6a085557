# SPDX-License-Identifier: Apache-2.0
"""kvshim-stat: its table, its JSON against the schema, and files that are no segments."""
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    jsonschema = None  # our own checker below is always there

from shimtest import KVSHIM_STAT, SOURCE, Writer, lines, run, run_all

MIB = 1024 * 1024


def check(value, schema, where="$"):
    """As much of JSON Schema as docs/kvshim-stat.schema.json uses; anything else is an error."""
    known = {"$schema", "$id", "title", "description", "$defs", "type", "properties", "required",
             "additionalProperties", "items", "enum", "minimum", "pattern", "anyOf", "$ref", "const"}
    assert set(schema) <= known, f"{where}: the checker does not know {set(schema) - known}"
    if "$ref" in schema:
        check(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], where)
    if "anyOf" in schema:
        errors = []
        for choice in schema["anyOf"]:
            try:
                check(value, choice, where)
                break
            except AssertionError as error:
                errors.append(str(error))
        else:
            raise AssertionError(" and ".join(errors))
    if "const" in schema:
        assert value == schema["const"], where
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value}"
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        kinds = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool,
                 "integer": int, "number": (int, float)}
        assert any(isinstance(value, kinds[n]) and not (n in ("integer", "number") and isinstance(value, bool))
                   for n in names), f"{where}: {value!r} is no {names}"
    if "minimum" in schema and value is not None:
        assert value >= schema["minimum"], f"{where}: {value}"
    if isinstance(value, dict):
        for name in schema.get("required", []):
            assert name in value, f"{where}: {name} is missing"
        for name, part in value.items():
            properties = schema.get("properties", {})
            assert name in properties or schema.get("additionalProperties", True), \
                f"{where}: {name} is not in the schema"
            if name in properties:
                check(part, properties[name], f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for i, part in enumerate(value):
            check(part, schema["items"], f"{where}[{i}]")


with open(os.path.join(SOURCE, "docs", "kvshim-stat.schema.json"), encoding="utf-8") as file:
    SCHEMA = json.load(file)


def stat_json(directory, status=0):
    result = run(KVSHIM_STAT, "--json", "--dir", directory)
    assert result.returncode == status and result.stderr == "", result
    value = json.loads(result.stdout)
    check(value, SCHEMA)
    if jsonschema:
        jsonschema.Draft202012Validator(SCHEMA).validate(value)
    return value


def segment_path(directory):
    return os.path.join(directory, next(n for n in os.listdir(directory) if n.startswith("kvshim-")))


def test_no_segment_is_no_error(directory):
    assert stat_json(directory)["segments"] == []
    result = run(KVSHIM_STAT, "--once", env={"KVSHIM_DIR": directory})
    assert result.returncode == 0 and "no process" in result.stdout, result


def test_a_directory_that_is_not_there_is_told(directory):
    value = stat_json(os.path.join(directory, "nowhere"), status=1)
    assert value["problem"] == "No such file or directory", value


def test_json_carries_the_numbers_that_the_processes_put(directory):
    with Writer(directory, 1, 2) as one, Writer(directory, 1, 0) as two, Writer(directory, 2, 1):
        value = stat_json(directory)
    assert len(value["segments"]) == 2, value
    first = value["segments"][0]
    assert first["gpu"]["total_bytes"] == 80 << 30 and first["gpu"]["name"] == 'Paper "GPU"\t\ufffd'
    assert [p["pid"] for p in first["processes"]] == [one.pid, two.pid]
    process = first["processes"][0]
    assert process["name"] == "segment_writer" and process["alive"] is True, process
    assert process["reserved_bytes"] == 128 * MIB and process["backed_bytes"] == 8 * MIB
    assert process["backed_peak_bytes"] == 12 * MIB and process["native_bytes"] == 300 * MIB
    assert process["native_peak_bytes"] == 2**63 - 1, "integers, not floating point"
    assert process["pages"] == {"empty": 58, "backed": 4, "evicted": 2, "spilled": 0}, process
    assert process["last_submission_ago_ms"] is None and process["note"] is None
    rows = process["reservations"]
    assert rows[0]["static"] is None and rows[0]["score"] is None and rows[0]["tag"] is None
    assert rows[1]["static"] == {"reason": "kernel", "by": '_Z11k_set_rows_"quoted"'}, rows
    assert rows[1]["score"] == -3 and rows[0]["base"] == "0x302000000"
    assert first["processes"][1]["note"] == "nothing here"
    # Nobody counted is not none.
    assert process["dead_bytes"] == 3 * MIB and first["processes"][1]["dead_bytes"] is None
    assert rows[0]["dead_bytes"] is None and rows[0]["map"]["dead"] is None
    assert rows[1]["dead_bytes"] == 2 * MIB and rows[1]["map"]["dead"] == [255] + 63 * [0], rows[1]


def keys(value, path=""):
    """Every key with its place; those of array elements once."""
    found = set()
    if isinstance(value, dict):
        for name, part in value.items():
            found |= {f"{path}.{name}"} | keys(part, f"{path}.{name}")
    if isinstance(value, list):
        for part in value:
            found |= keys(part, path)
    return found


def test_every_field_of_the_schema_is_there_and_no_field_has_gone(directory):
    with Writer(directory, 1, 2):
        value = stat_json(directory)
    with open(os.path.join(SOURCE, "tests", "golden", "json-keys.txt"), encoding="ascii") as golden:
        known = set(golden.read().split())
    there = keys(value)
    assert known - there == set(), "gone without a new version"
    assert there - known == set(), "to be added to tests/golden/json-keys.txt"


def test_watch_prints_one_object_a_line_with_rates_from_the_second_on(directory):
    with Writer(directory, 1, 1):
        result = run(KVSHIM_STAT, "--json", "--watch", "0.1", "--count", "3", "--dir", directory)
    assert result.returncode == 0 and len(lines(result.stdout)) == 3, result
    rates = []
    for line in lines(result.stdout):
        value = json.loads(line)
        check(value, SCHEMA)
        rates.append(value["segments"][0]["processes"][0]["rates"])
    assert rates[0] is None and rates[1]["pages_backed"] == 0, rates


def test_watch_without_a_format_prints_lines_for_logs(directory):
    with Writer(directory, 1, 2) as writer:
        result = run(KVSHIM_STAT, "--watch", "0.1", "--count", "2", "--dir", directory,
                     "--test-clock", "1700000000000000000")
    rows = lines(result.stdout)
    assert result.returncode == 0 and len(rows) == 4, result
    for row in rows:
        words = row.split()
        assert words[0] == "2023-11-14T22:13:20Z" and all("=" in word for word in words[1:]), row
    assert f"pid={writer.pid} name=segment_writer state=active reserved=128M backed=8M" in rows[1]
    assert "in/s=?" in rows[1] and "in/s=0" in rows[3], rows
    empty = os.path.join(directory, "empty")
    os.mkdir(empty)
    result = run(KVSHIM_STAT, "--watch", "1", "--count", "1", "--dir", empty)
    assert result.stdout.split()[1:] == ["processes=0"], result


def test_csv_has_a_row_per_gpu_and_per_process_in_the_columns_of_its_head(directory):
    with Writer(directory, 1, 2) as writer, Writer(directory, 2, 0):
        result = run(KVSHIM_STAT, "--csv", "--dir", directory)
    assert result.returncode == 0, result
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert len(rows) == 4 and all(None not in row and None not in row.values() for row in rows), rows
    assert rows[0]["gpu.total_bytes"] == str(80 << 30) and rows[0]["pid"] == "", rows
    assert rows[0]["gpu.free_bytes"] == "", "what is not known is empty"
    assert rows[0]["gpu_name"] == 'Paper "GPU"??', rows
    assert rows[1]["pid"] == str(writer.pid) and rows[1]["process.backed_bytes"] == str(8 * MIB)
    assert rows[1]["gpu.total_bytes"] == "" and rows[1]["process.pages_backed"] == "17", rows


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')


def exposition(text):
    """A strict reading of the text format: {name: (kind, [(labels, value)])}."""
    assert text.endswith("\n")
    families, current = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in families and line.endswith("."), line
            families[current] = [None, []]
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == current and families[name][0] is None and kind in ("gauge", "counter"), line
            families[name][0] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match.group(1) == current, line
            labels = match.group(2) or ""
            assert labels not in [known for known, _ in families[current][1]], f"twice: {line}"
            families[current][1].append((labels, float(match.group(3))))
    for name, (kind, _) in families.items():
        assert kind and (kind == "counter") == name.endswith("_total"), name
        assert name.startswith("kvshim_") and name == name.lower(), name
    return families


def test_the_exposition_is_well_formed_and_carries_the_numbers(directory):
    with Writer(directory, 1, 2) as writer, Writer(directory, 2, 0):
        with open(os.path.join(directory, "kvshim-0-" + "f" * 32), "wb") as file:
            file.write(b"other")
        result = run(KVSHIM_STAT, "--prometheus", "--dir", directory)
    assert result.returncode == 1 and not result.stderr, result
    families = exposition(result.stdout)
    assert families["kvshim_segments_unreadable"][1] == [("", 1)]
    assert [value for _, value in families["kvshim_gpu_total_bytes"][1]] == [float(80 << 30)] * 2
    assert families["kvshim_gpu_free_bytes"][1] == [], "what is not known has no sample"
    labels, value = families["kvshim_process_backed_bytes"][1][0]
    assert value == 8 * MIB and f'pid="{writer.pid}"' in labels and 'name="segment_writer"' in labels
    assert 'gpu_name="Paper \\"GPU\\"??"' in labels, labels
    states = dict(families["kvshim_process_state"][1])
    assert sum(states.values()) == 2 and len(states) == 12, states
    promtool = shutil.which("promtool")
    if promtool:
        # its exit status tells errors; remarks on style go to stderr too
        checked = subprocess.run([promtool, "check", "metrics"], input=result.stdout, text=True,
                                 capture_output=True, check=False, timeout=60)
        assert checked.returncode == 0, checked


def test_the_page_of_metrics_is_that_of_the_table(_):
    with open(os.path.join(SOURCE, "docs", "metrics.md"), encoding="utf-8") as page:
        assert page.read() == run(KVSHIM_STAT, "--markdown").stdout, \
            "kvshim-stat --markdown > docs/metrics.md"


def test_what_is_not_known_is_null(directory):
    with Writer(directory, 1, 70):
        process = stat_json(directory)["segments"][0]["processes"][0]
    assert process["n_reservations"] == 70 and len(process["reservations"]) == 64
    assert process["pages"] is None, "six reservations have no row"


def test_the_table_shows_each_process_and_why_a_reservation_is_static(directory):
    with Writer(directory, 1, 2) as writer:
        result = run(KVSHIM_STAT, "--once", "--dir", directory)
    assert result.returncode == 0, result
    row = next(line for line in lines(result.stdout) if str(writer.pid) in line)
    for word in ("segment_writer", "active", "128M", "8M", "12M", "300M", "58/4/2/0"):
        assert word in row.split(), (word, row)
    assert 'by kernel _Z11k_set_rows_"quoted"' in result.stdout, result
    assert all(line.isprintable() and line.isascii() for line in lines(result.stdout)), result


def test_a_killed_process_is_shown_as_dead(directory):
    with Writer(directory) as writer:
        writer.process.send_signal(signal.SIGKILL)
        writer.process.wait()
        assert stat_json(directory)["segments"][0]["processes"][0]["alive"] is False
        assert "dead" in run(KVSHIM_STAT, "--dir", directory).stdout


def test_files_that_are_no_segments_are_told_one_by_one(directory):
    with Writer(directory):
        good = segment_path(directory)
        with open(good, "rb") as file:
            content = bytearray(file.read())
        name = os.path.join(directory, "kvshim-0-" + "f" * 31)
        for i, bad in enumerate([b"", b"x", b"x" * 100000, bytes(content[:-1]),
                                 bytes(content[:8]) + b"\x09\0\0\0" + bytes(content[12:])]):
            with open(name + str(i), "wb") as file:
                file.write(bad)
        os.mkdir(name + "a")
        os.symlink("/etc/passwd", name + "b")
        os.mkfifo(name + "c")
        value = stat_json(directory, status=1)
        assert len(value["segments"]) == 9 and value["segments"][0]["problem"] is None, value
        for segment in value["segments"][1:]:
            assert segment["problem"] and segment["gpu"] is None, segment
        assert "layout 9" in value["segments"][5]["problem"], value
        table = run(KVSHIM_STAT, "--once", "--dir", directory)
        assert table.returncode == 1 and table.stdout.count("cannot be read") == 8, table


def test_a_damaged_slot_does_not_hide_the_others(directory):
    with Writer(directory, 1, 1), Writer(directory, 1, 1) as second:
        path = segment_path(directory)
        with open(path, "r+b") as file:
            content = file.read()
            at = content.index(b"segment_writer\0")
            file.seek(at)
            file.write(b"n" * 64)
        processes = stat_json(directory)["segments"][0]["processes"]
        assert processes[0]["problem"] and "name" not in processes[0], processes
        assert processes[1]["pid"] == second.pid and processes[1]["problem"] is None


def test_it_writes_nothing_into_a_segment(directory):
    with Writer(directory):
        path = segment_path(directory)
        with open(path, "rb") as file:
            before = file.read()
        os.chmod(path, 0o400)
        stat_json(directory)
        with open(path, "rb") as file:
            assert file.read() == before


def test_wrong_arguments_give_one_line_and_exit_2(_):
    for args in (["--fly"], ["-x"], ["--dir"], ["now"], ["--watch", "soon"], ["--watch", "0"], ["--count", "-1"],
                 ["--colours", "loud"], ["--plot", "x.svg"], ["--once", "now"]):
        result = run(KVSHIM_STAT, *args)
        assert result.returncode == 2 and len(lines(result.stderr)) == 1, (args, result)
        assert not result.stdout, result


def test_help_and_version_go_to_stdout(_):
    for args in (["--help"], ["--version"]):
        result = run(KVSHIM_STAT, *args)
        assert result.returncode == 0 and result.stdout and not result.stderr, (args, result)


def test_output_that_cannot_be_written_is_an_error(directory):
    with open("/dev/full", "w", encoding="ascii") as full:
        result = subprocess.run([KVSHIM_STAT, "--dir", directory], stdout=full,
                                stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1 and "cannot write" in result.stderr, result


run_all(sys.modules[__name__])
