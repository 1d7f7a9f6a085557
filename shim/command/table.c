/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - every subcommand, one row each; see command.h. */
#include <stddef.h>

#include "shim/command/command.h"

#define JSON \
	{ \
		"json", 0, NULL, "One JSON object instead of text for people." \
	}
#define DIRECTORY \
	{ \
		"dir", 'd', "DIR", "Where the segments lie (default: KVSHIM_DIR, else /dev/shm)." \
	}

static const struct kv_flag run_flags[] = {
	{"engine", 'e', "ENGINE",
		"Settings of this engine: auto (by the command's name), none, or a name."},
	{"lib", 0, "FILE", "The libkvshim.so to preload, else the one of this command."},
	{"verbose", 'v', NULL, "Says what is set, and what to expect of the engine."},
	{"dry-run", 'n', NULL, "Shows what would be set and starts nothing."},
	{"json", 0, NULL, "With --dry-run: one JSON object."},
	{0},
};

static const struct kv_flag explain_flags[] = {
	JSON,
	{"markdown", 0, NULL, "The page docs/options.md."},
	{0},
};

static const struct kv_flag doctor_flags[] = {
	JSON,
	{"strict", 0, NULL, "Warnings count as failures."},
	{"timeout", 't', "SECONDS", "How long the driver may take to answer (30)."},
	DIRECTORY,
	{"rules", 'r', "FILE", "Checks a rule file, or lists the kernels of an engine's library."},
	{"with", 'w', "FILE",
		"With --rules ENGINE.so: the rules of this file, not the built-in ones."},
	{0},
};

#define GPU \
	{ \
		"gpu", 'g', "UUID", "Only on the GPU whose UUID begins so." \
	}
#define WAIT \
	{ \
		"wait", 'w', "SECONDS", "How long to wait for the answer (10); 0: not at all." \
	}
#define ALL \
	{ \
		"all", 'a', NULL, "Every process of this directory." \
	}

static const struct kv_flag ps_flags[] = {
	JSON,
	DIRECTORY,
	{0},
};

static const struct kv_flag limit_flags[] = {
	{"min", 0, "SIZE", "Device memory that others cannot ask back while it works; none."},
	{"max", 0, "SIZE", "Device memory that its reservations never exceed; none."},
	{"host-budget", 0, "SIZE", "Host memory that may stand in for device memory; none."},
	{"weight", 0, "N", "Its part when memory is short, 100 if unset; 1 to 100000."},
	{"idle", 0, "TIME", "Without work for so long it counts as idle, as 500ms or 30s; never."},
	JSON,
	GPU,
	DIRECTORY,
	{0},
};

static const struct kv_flag move_flags[] = {
	ALL,
	{"bytes", 'b', "SIZE", "At most so much; all."},
	WAIT,
	JSON,
	GPU,
	DIRECTORY,
	{0},
};

static const struct kv_flag tag_flags[] = {
	WAIT,
	JSON,
	GPU,
	DIRECTORY,
	{0},
};

static const struct kv_flag record_flags[] = {
	{"interval", 'i', "TIME", "Between samples, as 500ms or 5s (1s)."},
	DIRECTORY,
	{0},
};

static const struct kv_flag check_flags[] = {
	JSON,
	{0},
};

static const struct kv_flag help_flags[] = {
	{"json", 0, NULL, "All commands, flags and options as one JSON object."},
	{0},
};

const struct kv_command kv_commands[] = {
	{"run", "COMMAND [ARGUMENT...]", 1, UINT32_MAX, true, true, kv_command_run,
		"Starts a command with libkvshim.so preloaded.", run_flags,
		"LD_PRELOAD keeps what it already names, behind libkvshim.so. A flag goes before "
		"the\n"
		"environment, and that before what is proposed for the engine.",
		"126 the command cannot be run; 127 it is not there; else the command's own"},
	{"explain", "[OPTION]", 0, 1, false, false, kv_command_explain,
		"Shows every option, or all about one: value, source, range, meaning.",
		explain_flags, "An option is named as KVSHIM_MIN_SIZE or as min-size.", ""},
	{"doctor", "[COMMAND [ARGUMENT...]]", 0, UINT32_MAX, false, true, kv_command_doctor,
		"Looks at driver, machine and a command: what works, what does not, what to do.",
		doctor_flags,
		"With a command: whether a preload will reach it. Nothing is started or changed. "
		"Each\n"
		"line is ok, warn (works, with less than could be had) or fail. The driver is "
		"asked in\n"
		"a process of its own.\n"
		"With --rules FILE: nothing of this; a rule file is checked, or the kernels of an\n"
		"engine's library are listed that the rules recognise, and those of the same "
		"families\n"
		"that they do not.",
		"1 also if a line says fail (or warn, with --strict)"},
	{"ps", "", 0, 0, false, false, kv_command_ps,
		"Lists the processes that run under kvshim, one line per GPU.", ps_flags,
		"kvshim-stat tells more, and keeps telling.", "1 also if a segment cannot be read"},
	{"limit", "PID", 1, 1, false, false, kv_command_limit,
		"Shows what a process may hold, or changes it while it runs.", limit_flags,
		"Only what is given is changed. It holds until the process ends; for the next one "
		"there\n"
		"are options (`kvshim explain`).",
		""},
	{"evict", "[PID...]", 0, UINT32_MAX, false, false, kv_command_evict,
		"Moves the content of processes' reservations to host memory now.", move_flags,
		"Nothing is lost: what work reaches is brought back first.", ""},
	{"restore", "[PID...]", 0, UINT32_MAX, false, false, kv_command_restore,
		"Moves back what was moved to host memory, before work asks for it.", move_flags,
		"", ""},
	{"pause", "TAG [PID...]", 1, UINT32_MAX, false, false, kv_command_pause,
		"Moves reservations with a tag to host memory and keeps them there.", tag_flags,
		"Tags are given by programs that use kvshim.h. Without a PID: in every process.",
		""},
	{"resume", "TAG [PID...]", 1, UINT32_MAX, false, false, kv_command_resume,
		"Ends what pause began.", tag_flags, "", ""},
	{"record", "FILE [-- COMMAND [ARGUMENT...]]", 1, UINT32_MAX, false, false,
		kv_command_record,
		"Records what processes hold, while a command runs under kvshim.", record_flags,
		"Without a command: what runs already, until interrupted. The recording is the CSV "
		"of\n"
		"kvshim-stat; `kvshim-stat --plot FILE.svg --from RECORDING` draws it.",
		"else the command's own"},
	{"check", "SEGMENT...", 1, UINT32_MAX, false, false, kv_command_check,
		"Is a shared segment sound? Reads only.", check_flags,
		"Segments are the files kvshim-* of KVSHIM_DIR, else of /dev/shm.",
		"1 also if one is damaged or of another version"},
	{"help", "[COMMAND]", 0, 1, false, false, kv_command_help_all,
		"Shows all commands, or all about one.", help_flags, "", ""},
	{0},
};
