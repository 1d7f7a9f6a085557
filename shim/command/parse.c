/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - arguments by the rows of table.c; see command.h. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim/command/command.h"

#define FLAG_BYTES 48

enum {
	ARG_FLAG = 1000, /* + index in the row's flags */
	ARG_HELP = 2000,
	ARG_OPTION = 3000, /* + enum kv_option_id */
};

/* What getopt_long() wants, made from a row. */
struct arguments {
	char names[KV_OPT_COUNT][FLAG_BYTES]; /* of options */
	struct option longs[KV_OPT_COUNT + KV_FLAGS_MAX + 2];
	char shorts[2 * KV_FLAGS_MAX + 8];
};

const struct kv_command *kv_command_find(const char *name)
{
	for (const struct kv_command *command = kv_commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

const char *kv_command_nearest(const char *name)
{
	const char *nearest = kv_commands[0].name;
	unsigned best = UINT32_MAX;

	for (const struct kv_command *command = kv_commands; command->name; command++) {
		unsigned distance = kv_word_distance(name, command->name);

		if (distance < best) {
			best = distance;
			nearest = command->name;
		}
	}
	/* what has little in common with any is no slip of the finger */
	return best > strlen(name) / 2 ? "help" : nearest;
}

int kv_command_fail(const struct kv_call *call, int status, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "kvshim %s: %s\n", call->command->name, text);
	return status;
}

static uint32_t count_flags(const struct kv_command *command)
{
	uint32_t n = 0;

	while (command->flags && n < KV_FLAGS_MAX && command->flags[n].name)
		n++;
	return n;
}

static void describe(const struct kv_command *command, struct arguments *arguments)
{
	uint32_t n_flags = count_flags(command), n = 0;
	char *at = arguments->shorts;

	memset(arguments, 0, sizeof(*arguments));
	if (command->takes_command)
		*at++ = '+';
	*at++ = ':';
	*at++ = 'h';
	for (int i = 0; command->takes_options && i < KV_OPT_COUNT; i++) {
		kv_option_flag(&kv_options[i], arguments->names[i], FLAG_BYTES);
		arguments->longs[n++] = (struct option){
			arguments->names[i], required_argument, NULL, ARG_OPTION + i};
	}
	for (uint32_t i = 0; i < n_flags; i++) {
		const struct kv_flag *flag = &command->flags[i];

		arguments->longs[n++] = (struct option){flag->name,
			flag->value ? required_argument : no_argument, NULL, ARG_FLAG + (int)i};
		if (flag->letter) {
			*at++ = flag->letter;
			if (flag->value)
				*at++ = ':';
		}
	}
	arguments->longs[n] = (struct option){"help", no_argument, NULL, ARG_HELP};
}

/* The argument that getopt stopped at, as it was typed: "-x" or "--flag". */
static const char *stopped_at(char **argv, char ret_short[3])
{
	const char *last = argv[optind - 1];

	if (optopt > 0 && optopt < 256 && strncmp(last, "--", 2) != 0) {
		ret_short[0] = '-';
		ret_short[1] = (char)optopt;
		ret_short[2] = '\0';
		return ret_short;
	}
	return last;
}

static int index_of_letter(const struct kv_command *command, int letter)
{
	for (uint32_t i = 0; i < count_flags(command); i++)
		if (command->flags[i].letter == letter)
			return (int)i;
	return -1;
}

static bool read_flags(struct kv_call *call, int argc, char **argv, int *ret_status)
{
	const struct kv_command *command = call->command;
	struct arguments arguments;
	char letter[3];
	int c;

	describe(command, &arguments);
	opterr = 0;
	optind = 0; /* glibc: begin anew */
	while ((c = getopt_long(argc, argv, arguments.shorts, arguments.longs, NULL)) != -1) {
		if (c == ARG_HELP || c == 'h') {
			kv_command_help(command);
			*ret_status = KV_EXIT_OK;
			return false;
		}
		if (c == ':' || c == '?') {
			*ret_status = kv_command_fail(call, KV_EXIT_ARGUMENTS,
				"%s %s; try `kvshim %s --help`", stopped_at(argv, letter),
				c == ':' ? "needs a value" : "is no option", command->name);
			return false;
		}
		if (c >= ARG_OPTION)
			call->options[c - ARG_OPTION] = optarg;
		else if (c >= ARG_FLAG)
			call->values[c - ARG_FLAG] = optarg ? optarg : "";
		else
			call->values[index_of_letter(command, c)] = optarg ? optarg : "";
	}
	return true;
}

bool kv_command_parse(const struct kv_command *command, int argc, char **argv,
	struct kv_call *ret_call, int *ret_status)
{
	memset(ret_call, 0, sizeof(*ret_call));
	ret_call->command = command;
	if (!read_flags(ret_call, argc, argv, ret_status))
		return false;
	ret_call->operands = argv + optind;
	ret_call->n_operands = (uint32_t)(argc - optind);
	if (ret_call->n_operands < command->min_operands) {
		*ret_status = kv_command_fail(ret_call, KV_EXIT_ARGUMENTS,
			"no %.*s given; try `kvshim %s --help`",
			command->takes_command ? 7 : (int)strcspn(command->operands, " ."),
			command->takes_command ? "command" : command->operands, command->name);
		return false;
	}
	if (ret_call->n_operands > command->max_operands) {
		*ret_status = kv_command_fail(ret_call, KV_EXIT_ARGUMENTS,
			"%s is one argument too many; try `kvshim %s --help`",
			ret_call->operands[command->max_operands], command->name);
		return false;
	}
	return true;
}

const char *kv_call_value(const struct kv_call *call, const char *flag)
{
	for (uint32_t i = 0; i < count_flags(call->command); i++)
		if (strcmp(call->command->flags[i].name, flag) == 0)
			return call->values[i];
	return NULL;
}

const char *kv_call_directory(const struct kv_call *call)
{
	static char kept[512];
	const char *given = kv_call_value(call, "dir");
	struct kv_config config;

	if (given)
		return given;
	if (kv_config_read(&config, environ, NULL, NULL) != 0)
		return kv_options[KV_OPT_DIR].standard;
	snprintf(kept, sizeof(kept), "%s", kv_config_text(&config, KV_OPT_DIR));
	kv_config_free(&config);
	return kept;
}
