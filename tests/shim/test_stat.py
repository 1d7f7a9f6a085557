# SPDX-License-Identifier: Apache-2.0
"""kvshim-stat: its table, its JSON against the schema, and files that are no segments."""
import json
import os
import signal
import sys

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
                 "integer": int}
        assert any(isinstance(value, kinds[n]) and not (n == "integer" and isinstance(value, bool))
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
    for args in (["--fly"], ["-x"], ["--dir"], ["now"]):
        result = run(KVSHIM_STAT, *args)
        assert result.returncode == 2 and len(lines(result.stderr)) == 1, (args, result)
        assert not result.stdout, result


def test_help_and_version_go_to_stdout(_):
    for args in (["--help"], ["--version"]):
        result = run(KVSHIM_STAT, *args)
        assert result.returncode == 0 and result.stdout and not result.stderr, (args, result)


def test_output_that_cannot_be_written_is_an_error(directory):
    with open("/dev/full", "w", encoding="ascii") as full:
        import subprocess
        result = subprocess.run([KVSHIM_STAT, "--dir", directory], stdout=full,
                                stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1 and "cannot write" in result.stderr, result


run_all(sys.modules[__name__])
