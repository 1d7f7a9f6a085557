# SPDX-License-Identifier: Apache-2.0
"""Manual pages in the man(7) macros, and docs/kvshim.md; see generate.py."""
import itertools
import re

DATE = "2026-11-23"  # of the wording, so that two builds are the same


def escape(text):
    """For roff: backslashes, hyphens that are typed, and what a line must not begin with."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def bold(text):
    return f"\\fB{escape(text)}\\fR"


def italic(text):
    return f"\\fI{escape(text)}\\fR"


def usage(text):
    """A usage line: what is typed bold, what is replaced italic."""
    return re.sub(r"([A-Z][A-Z:]+(?:\.svg)?)|(--?[a-z][\w-]*)|(.)",
                  lambda m: italic(m[1]) if m[1] else bold(m[2]) if m[2] else escape(m[3]), text)


def head(name, section, version, sentence):
    return [f'.TH {name.upper()} {section} "{DATE}" "kvshim {version}"', ".SH NAME", f"{escape(name)} \\- {escape(sentence)}"]


def item(term, text):
    return [".TP", term, escape(text)]


def flag_items(flags):
    for flag in flags:
        term = ", ".join(([bold("-" + flag["letter"])] if flag["letter"] else []) + [bold("--" + flag["name"])])
        yield from item(term + (" " + italic(flag["value"]) if flag["value"] else ""), flag["sentence"])


def synopsis(command):
    parts = [bold("kvshim " + command["name"])]
    if command["flags"]:
        parts.append("[" + italic("OPTIONS") + "]")
    if command["operands"]:
        parts.append(usage(command["operands"]))
    return " ".join(parts)


def page(lines):
    return "\n".join(lines) + "\n"



def see_also(*names):
    return [".SH SEE ALSO"] + [f".BR {escape(name)} ({section}){',' if i + 1 < len(names) else ''}"
                               for i, (name, section) in enumerate(names)]


def kvshim(tables):
    out = head("kvshim", 1, tables.version, "run and manage servers whose GPU memory is backed on demand")
    out += [".SH SYNOPSIS", ".nf", *[synopsis(c) for c in tables.commands],
            bold("kvshim") + " " + bold("--help") + " | " + bold("--version"), ".fi", ".SH DESCRIPTION",
            "Starts servers under libkvshim.so, which answers their big device allocations with address ranges that get",
            "memory page by page, shows what they hold, and changes what they may hold while they run.",
            "The processes of one user that share a GPU share a file in a directory; the commands read and write it.", ".SH COMMANDS"]
    for command in tables.commands:
        out += [f'.SS "{escape(command["name"])}"', synopsis(command), ".PP", escape(command["sentence"])]
        if command["text"]:
            out += [".PP", escape(command["text"])]
        out += flag_items([f for f in command["flags"] if not f["variable"]])
        if any(f["variable"] for f in command["flags"]):
            out += [".PP", "Every option in", ".BR libkvshim (7)", "is a flag too:", bold("--min-size 1G"), "sets",
                    bold("KVSHIM_MIN_SIZE") + "."]
        if command["status"]:
            out += [".PP", "Exit status: " + escape(command["status"]) + "."]
    out += [".SH ENGINES", "What", bold("kvshim run"), "sets for engines, unless a flag or the environment says otherwise:"]
    for engine in tables.engines:
        out += item(bold(engine["name"]), (engine["settings"] or "nothing") + ". " + engine["sentence"])
    out += [".SH EXIT STATUS", *item("0", "Done."), *item("1", "It could not be done, or a check has failed."),
            *item("2", "Wrong arguments; nothing has been done. One line on stderr says what is wrong."),
            "What else a command may return stands with it.",
            ".SH FILES", *item(italic("/dev/shm/kvshim-UID-GPU"), "The segment of a user and a GPU, else in KVSHIM_DIR."),
            ".SH EXAMPLES", ".nf", *map(escape, (
                "kvshim doctor llama-server",
                "kvshim run -v -- llama-server -m model.gguf -c 131072",
                "kvshim ps",
                "kvshim limit 4711 --max 8G --weight 200",
                "kvshim evict 4711",
                "kvshim explain min-size")), ".fi"]
    return page(out + see_also(("kvshim-stat", 1), ("libkvshim", 7)))


def stat(tables):
    stat_ = tables.stat
    out = head("kvshim-stat", 1, tables.version, "show what processes under kvshim hold on their GPUs")
    out += [".SH SYNOPSIS", ".nf", *[usage(line) for line in stat_.synopsis], ".fi", ".SH DESCRIPTION",
            *map(escape, stat_.prose), "It reads files, asks no driver and changes nothing unless a key that does is confirmed.",
            ".SH OPTIONS"]
    for name, value, text in stat_.flags:
        out += item(bold(name) + (" " + usage(value) if value else ""), text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))
    for scope, of in (("GPU", "GPU"), ("PROCESS", "PROCESS")):
        out += [f".SH METRICS OF A {of}", "Names as in --json and --csv:".replace("--", "\\-\\-")]
        for row in tables.metrics:
            if row[0] == scope:
                out += item(bold(row[1]), row[2])
    out += [".SH EXIT STATUS", escape(stat_.status.removeprefix("Exit status: "))]
    return page(out + see_also(("kvshim", 1), ("libkvshim", 7)))


def hook_items(hooks):
    """Entry points that share a sentence stand together, in the order of the table."""
    for sentence, group in itertools.groupby(hooks, key=lambda row: row[-1]):
        yield from item(",\n".join(bold(row[0]) for row in group).replace(",\n", ", "), sentence)


def library(tables):
    out = head("libkvshim", 7, tables.version, "GPU memory on demand for servers that are not changed")
    out += [".SH SYNOPSIS", bold("LD_PRELOAD") + "=" + italic("/path/to/libkvshim.so") + " " + italic("COMMAND"), ".br",
            bold("kvshim run") + " " + italic("COMMAND"), ".SH DESCRIPTION",
            "The library stands between a program and the CUDA driver. Allocations of at least",
            bold("KVSHIM_MIN_SIZE"), "become address ranges whose pages get device memory when work is about to reach them.",
            "What it does not understand it makes whole: the program then runs as it would without the library.",
            "Where it cannot work it says so in one line on stderr and stays out of the way.", ".PP",
            "It needs glibc 2.34 or newer on x86_64 and a driver for CUDA 11 or newer. Programs that are linked statically,",
            "belong to another C library, or run with more rights than their user (setuid) are out of its reach;",
            bold("kvshim doctor") + " " + italic("COMMAND"), "tells.", ".SH ENVIRONMENT",
            "Read once, by the first driver call that matters. A wrong value keeps the default and costs one line on stderr."]
    for option in tables.options:
        out += item(bold(option["name"]), f"{option['sentence']} May be {option['range']}; "
                    f"{option['default'] or 'nothing'} if not set. Flag of kvshim run: --{option['flag']}.")
    out += [".SH ENTRY POINTS THAT ARE HOOKED", "The driver's entry points that the library answers for, linked,",
            "looked up with", ".BR dlsym (3),", "or with cuGetProcAddress:"]
    out += hook_items(tables.hooks["HOOK"])
    refused = tables.hooks["REFUSE"]
    if refused:
        out += [".SH ENTRY POINTS THAT ARE REFUSED", "For reservations only:"]
        out += hook_items(refused)
    out += [".SH ENTRY POINTS THAT ARE PASSED ON", "Known, and left to the driver:", ".PP",
            escape(", ".join(row[0] for row in tables.hooks["PASS"])) + "."]
    return page(out + see_also(("kvshim", 1), ("kvshim-stat", 1), ("ld.so", 8)))


def cell(text):
    return text.replace("|", "\\|")


def markdown(tables):
    out = ["# The kvshim command", "",
           "Made from shim/command/table.c by `shim/man/generate.py kvshim.md`; do not edit by hand.", "",
           "Every command understands `--help`. Exit status: 0 done; 1 it could not be done, or a check failed; 2 wrong",
           "arguments, nothing has been done. What fails says so in one line on stderr.", "",
           "| command | what it does | exit status beyond 0, 1, 2 |", "|---|---|---|"]
    for command in tables.commands:
        typed = f"kvshim {command['name']} {command['operands']}".strip()
        out.append(f"| `{cell(typed)}` | {cell(command['sentence'])} | {cell(command['status'])} |")
    for command in tables.commands:
        out += ["", f"## kvshim {command['name']}", "", command["sentence"] + (" " + command["text"].replace("\n", " ") if command["text"] else "")]
        flags = [f for f in command["flags"] if not f["variable"]]
        if flags:
            out += ["", "| flag | meaning |", "|---|---|"]
        for flag in flags:
            name = (f"-{flag['letter']}, " if flag["letter"] else "") + "--" + flag["name"] + (" " + flag["value"] if flag["value"] else "")
            out.append(f"| `{cell(name)}` | {cell(flag['sentence'])} |")
        if len(flags) < len(command["flags"]):
            out += ["", "Every option is a flag too: see [options](options.md)."]
    out += ["", "## What wrong arguments get", "", "One line on stderr, and nothing has been done.", "",
            "| typed | said | exit status |", "|---|---|---|"]
    for typed, status, said in tables.wrong:
        out.append(f"| `{cell(typed)}` | {cell(said)} | {status} |")
    out += ["", "## Engines", "", "What `kvshim run` sets, unless a flag or the environment says otherwise. An engine is told by",
            "the name of its program, or of what an interpreter is told to run.", "", "| engine | program | arguments | sets | to expect |", "|---|---|---|---|---|"]
    for engine in tables.engines:
        cells = [engine["name"], f"`{engine['programs']}`", f"`{engine['arguments']}`" if engine["arguments"] else "",
                 f"`{engine['settings']}`" if engine["settings"] else "", engine["sentence"]]
        out.append("| " + " | ".join(map(cell, cells)) + " |")
    return page(out)
