/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - the subcommands of `kvshim`: one row each in table.c.
 *
 * The parser (parse.c), usage and help, docs/kvshim.md, kvshim(1) and the completions for bash and
 * zsh are made from the rows. A row's function gets its arguments parsed and counted; it returns
 * the exit status, one of enum kv_exit unless its row says more, and has written one line to stderr
 * if that is not 0.
 */
#ifndef KV_SHIM_COMMAND_COMMAND_H
#define KV_SHIM_COMMAND_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/config.h"

#define KV_FLAGS_MAX 12u

enum kv_exit {
	KV_EXIT_OK = 0,
	KV_EXIT_FAILED = 1,    /* could not be done, or a check failed */
	KV_EXIT_ARGUMENTS = 2, /* wrong arguments; nothing has been done */
};

/* A flag of one command. All strings live as long as the program. */
struct kv_flag {
	const char *name; /* without the dashes; NULL ends a list */
	char letter;      /* short form, or 0 */
	const char
		*value; /* what it takes, as usage shows it: FILE, DIR, SIZE ...; NULL: a switch */
	const char *sentence;
};

/* What was typed. Lives as long as argv. */
struct kv_call {
	const struct kv_command *command;
	const char
		*values[KV_FLAGS_MAX]; /* by index in command->flags; NULL: not given; switch: "" */
	const char *options[KV_OPT_COUNT]; /* values of options given as flags (takes_options) */
	char **operands;                   /* NULL-terminated, as execv() wants them */
	uint32_t n_operands;
};

struct kv_command {
	const char *name;
	const char *operands; /* as usage shows them, "" if there are none */
	uint32_t min_operands, max_operands;
	bool takes_options; /* every option of kvshim is a flag */
	bool takes_command; /* flags end at the first operand */
	int (*run)(const struct kv_call *call);
	const char *sentence;
	const struct kv_flag *flags; /* --help is understood by all and not listed; NULL: none */
	const char *text;            /* more for --help and the manual, lines of 80; "" */
	const char *status;          /* exit statuses beyond enum kv_exit; "" */
};

/* By name, in the order of the manual; the one after the last has no name. */
extern const struct kv_command kv_commands[];
/* NULL: there is none. */
const struct kv_command *kv_command_find(const char *name);
/* The known name nearest to an unknown one; never NULL. */
const char *kv_command_nearest(const char *name);

/*
 * Reads argv (argv[0] is the command's name) by the row. True: *ret_call is filled. False:
 * *ret_status is the exit status, help or one line about what is wrong has been printed.
 */
bool kv_command_parse(const struct kv_command *command, int argc, char **argv,
	struct kv_call *ret_call, int *ret_status);
/* The value of a flag of this command's row; NULL if it was not given. */
const char *kv_call_value(const struct kv_call *call, const char *flag);
/* --dir, else KVSHIM_DIR, else the default. Static storage. */
const char *kv_call_directory(const struct kv_call *call);
void kv_command_help(const struct kv_command *command);
void kv_command_usage(void);

/* Writes "kvshim COMMAND: text" to stderr and returns status. */
int kv_command_fail(const struct kv_call *call, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- the functions of the rows ---- */

int kv_command_run(const struct kv_call *call); /* returns on failure only: 126, 127 as env(1) */
int kv_command_explain(const struct kv_call *call);
int kv_command_doctor(const struct kv_call *call);
int kv_command_ps(const struct kv_call *call);
int kv_command_limit(const struct kv_call *call);
int kv_command_evict(const struct kv_call *call);
int kv_command_restore(const struct kv_call *call);
int kv_command_pause(const struct kv_call *call);
int kv_command_resume(const struct kv_call *call);
int kv_command_record(const struct kv_call *call);
int kv_command_check(const struct kv_call *call);
int kv_command_help_all(const struct kv_call *call);

/* doctor_rules.c, built with hooks: checks a rule file or lists an engine's kernels; a status. */
int kv_doctor_rules(const char *path, const char *with);

#endif
