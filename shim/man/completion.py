# SPDX-License-Identifier: Apache-2.0
"""Completions for bash and zsh; see generate.py."""
import re

PIDS = "kvshim ps 2>/dev/null | awk 'NR > 1 { print $1 }' | sort -u"
SEGMENTS = '"${KVSHIM_DIR:-/dev/shm}"/kvshim-*'


def words(items):
    return " ".join(items)


def stat_flags(tables):
    """(name, value) of kvshim-stat; the value from its synopsis if the help has none beside the flag."""

    synopsis = " ".join(tables.stat.synopsis) if tables.stat else ""
    for name, value, text in tables.stat.flags if tables.stat else []:
        beside = re.search(re.escape(name) + r" ([A-Z][A-Z:]*)", synopsis)
        yield name, value or (beside[1] if beside else ""), text


def bash_value(value, tables):
    """What completes a value of this kind."""
    name = value.split(".")[0].strip("[]").split("|")[0]
    if name == "FILE" or name == "RECORDING":
        return 'compgen -f -- "$cur"'
    if name in ("DIR", "DIRECTORY"):
        return 'compgen -d -- "$cur"'
    if name == "PID":
        return f'compgen -W "$({PIDS})" -- "$cur"'
    if name == "SEGMENT":
        return f'compgen -W "$(ls {SEGMENTS} 2>/dev/null)" -- "$cur"'
    if name == "ENGINE":
        return f'compgen -W "auto none {words(dict.fromkeys(e["name"] for e in tables.engines))}" -- "$cur"'
    if name == "OPTION":
        return f'compgen -W "{words(o["flag"] for o in tables.options)}" -- "$cur"'
    if name == "COMMAND":
        return f'compgen -W "{words(c["name"] for c in tables.commands)}" -- "$cur"'
    return ""


def operand_of(command):
    """What operands are: the last kind, of which there may be many; what stands before `--` if a command follows."""
    words_ = command["operands"].partition(" [--")[0].split()
    return words_[-1].strip("[].") if words_ else ""


def bash(tables):
    out = ["# bash completion for kvshim and kvshim-stat; made from the table of commands.", "", "_kvshim_reply()", "{",
           "\tmapfile -t COMPREPLY", "}", "", "_kvshim()", "{",
           '\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} i',
           "\tCOMPREPLY=()", "\tif ((COMP_CWORD == 1)); then",
           f'\t\t_kvshim_reply < <(compgen -W "{words(c["name"] for c in tables.commands)} --help --version" -- "$cur")',
           "\t\treturn", "\tfi", "\tcase $command in"]
    for command in tables.commands:
        out.append(f"\t{command['name']})")
        if command["takes_command"]:
            values = [f"--{f['name']}" for f in command["flags"] if f["value"]] + \
                     [f"-{f['letter']}" for f in command["flags"] if f["value"] and f["letter"]]
            out += ["\t\t# behind the first word that is no flag another program's completion takes over",
                    "\t\tfor ((i = 2; i < COMP_CWORD; i++)); do", "\t\t\tcase ${COMP_WORDS[i]} in",
                    f"\t\t\t{'|'.join(values)}) ((i++)) ;;", "\t\t\t--) ((i++)); break ;;", "\t\t\t-*) ;;", "\t\t\t*) break ;;", "\t\t\tesac", "\t\tdone",
                    '\t\tif ((i < COMP_CWORD)) && declare -F _command_offset >/dev/null; then',
                    '\t\t\t_command_offset "$i"', "\t\t\treturn", "\t\tfi"]
        arms = []
        for flag in command["flags"]:
            known = bash_value(flag["value"], tables) if flag["value"] else ""
            if flag["value"]:
                names = "--" + flag["name"] + (f"|-{flag['letter']}" if flag["letter"] else "")
                arms.append(f"\t\t{names}) " + (f"_kvshim_reply < <({known}); " if known else "") + "return ;;")
        if arms:
            out += ['\t\tcase $prev in', *arms, "\t\tesac"]
        flags = words([f"--{f['name']}" for f in command["flags"]] + ["--help"])
        out += ["\t\tif [[ $cur == -* ]]; then", f'\t\t\t_kvshim_reply < <(compgen -W "{flags}" -- "$cur")', "\t\t\treturn", "\t\tfi"]
        kind = operand_of(command)
        known = 'compgen -c -- "$cur"' if command["takes_command"] else bash_value(kind, tables)
        if known:
            out.append(f"\t\t_kvshim_reply < <({known})")
        out.append("\t\t;;")
    out += ["\tesac", "}", "complete -o filenames -F _kvshim kvshim", ""]
    if tables.stat:
        out += ["_kvshim_stat()", "{", '\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}',
                "\tCOMPREPLY=()", "\tcase $prev in"]
        for name, value, _ in stat_flags(tables):
            if value:
                known = bash_value(value, tables)
                out.append(f"\t{name}) " + (f"_kvshim_reply < <({known}); " if known else "") + "return ;;")
        flags = words([name for name, _, _ in stat_flags(tables)] + ["--help", "--version"])
        out += ["\tesac", f'\t_kvshim_reply < <(compgen -W "{flags}" -- "$cur")', "}",
                "complete -o filenames -F _kvshim_stat kvshim-stat"]
    return "\n".join(out) + "\n"


def quoted(text):
    """Inside single quotes of zsh, in a spec of _arguments."""
    return text.replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def zsh_value(value, tables):
    name = value.split(".")[0].strip("[]").split("|")[0]
    known = {"FILE": "_files", "RECORDING": "_files", "DIR": "_files -/", "DIRECTORY": "_files -/",
             "SEGMENT": "_files -W ${KVSHIM_DIR:-/dev/shm}", "PID": "_kvshim_pids",
             "ENGINE": "(auto none " + words(dict.fromkeys(e["name"] for e in tables.engines)) + ")",
             "OPTION": "(" + words(o["flag"] for o in tables.options) + ")",
             "COMMAND": "(" + words(c["name"] for c in tables.commands) + ")"}
    return f":{name.lower()}:{known.get(name, '')}"


def zsh_flags(flags, tables):
    for flag in flags:
        names = ["--" + flag["name"]] + (["-" + flag["letter"]] if flag["letter"] else [])
        for name in names:
            yield f"'{name}[{quoted(flag['sentence'])}]{zsh_value(flag['value'], tables) if flag['value'] else ''}'"


def zsh(tables):
    out = ["#compdef kvshim kvshim-stat", "# zsh completion for kvshim and kvshim-stat; made from the table of commands.", "",
           "_kvshim_pids() {", "\tlocal -a pids", f"\tpids=(${{(f)\"$({PIDS})\"}})", "\t_describe 'process' pids", "}", "",
           "_kvshim_command() {", "\tcase $words[1] in"]
    for command in tables.commands:
        out += [f"\t{command['name']})", "\t\t_arguments -s -S \\", *[f"\t\t\t{spec} \\" for spec in zsh_flags(command["flags"], tables)]]
        if command["takes_command"]:
            out.append("\t\t\t'(-h --help)'{-h,--help}'[Shows help.]' '*:::command:_normal'")
        else:
            kind = operand_of(command)
            more = command["operands"].rstrip("]").endswith("...")
            rest = f" '{'*' if more else ''}{zsh_value(kind, tables)}'" if kind else ""
            out.append("\t\t\t'(-h --help)'{-h,--help}'[Shows help.]'" + rest)
        out.append("\t\t;;")
    out += ["\tesac", "}", "", "_kvshim_all() {", "\tlocal -a commands", "\tcommands=("]
    out += [f"\t\t'{command['name']}:{quoted(command['sentence'])}'" for command in tables.commands]
    out += ["\t)", "\tif ((CURRENT == 2)); then", "\t\t_describe 'command' commands", "\telse", "\t\tshift words",
            "\t\t((CURRENT--))", "\t\t_kvshim_command", "\tfi", "}", "", "case $service in", "kvshim-stat)", "\t_arguments \\"]
    for name, value, text in stat_flags(tables):
        out.append(f"\t\t'{name}[{quoted(text)}]{zsh_value(value, tables) if value else ''}' \\")
    out += ["\t\t'(-h --help)'{-h,--help}'[Shows help.]'", "\t;;", "*) _kvshim_all ;;", "esac"]
    return "\n".join(out) + "\n"
