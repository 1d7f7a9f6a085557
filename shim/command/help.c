/* SPDX-License-Identifier: Apache-2.0 */
/* help.c - the rows of table.c for people, and as JSON for what makes pages and completions. */
#include <stdio.h>
#include <string.h>

#include "shim/command/command.h"
#include "shim/command/engine.h"
#include "shim/json.h"

#define COLUMN 28

static void print_flag(const struct kv_flag *flag)
{
	char text[80];

	snprintf(text, sizeof(text), "%c%c%s--%s%s%s", flag->letter ? '-' : ' ',
		flag->letter ? flag->letter : ' ', flag->letter ? ", " : "  ", flag->name,
		flag->value ? " " : "", flag->value ? flag->value : "");
	printf("  %-*s  %s\n", COLUMN, text, flag->sentence);
}

static void print_synopsis(const struct kv_command *command, const char *before)
{
	printf("%skvshim %s%s%s%s%s\n", before, command->name,
		command->flags || command->takes_options ? " [OPTIONS]" : "",
		command->takes_command && command->min_operands ? " [--]" : "",
		command->operands[0] ? " " : "", command->operands);
}

void kv_command_help(const struct kv_command *command)
{
	static const struct kv_flag help = {"help", 'h', NULL, "Shows this."};
	char name[64];

	print_synopsis(command, "usage: ");
	printf("\n%s\n", command->sentence);
	if (command->text[0])
		printf("\n%s\n", command->text);
	putchar('\n');
	for (const struct kv_flag *flag = command->flags; flag && flag->name; flag++)
		print_flag(flag);
	print_flag(&help);
	if (command->takes_options)
		puts("\nEvery option of kvshim (`kvshim explain OPTION` tells more):");
	for (int i = 0; command->takes_options && i < KV_OPT_COUNT; i++) {
		kv_option_flag(&kv_options[i], name, sizeof(name));
		printf("  --%-*s %s\n", COLUMN + 1, name, kv_options[i].sentence);
	}
	printf("\nExit status: 0; 1 failed; 2 wrong arguments%s%s.\n",
		command->status[0] ? "; " : "", command->status);
}

void kv_command_usage(void)
{
	puts("usage: kvshim COMMAND [OPTIONS] [ARGUMENT...]\n"
	     "       kvshim COMMAND --help\n"
	     "       kvshim --help | --version\n");
	for (const struct kv_command *command = kv_commands; command->name; command++)
		printf("  %-9s %s\n", command->name, command->sentence);
	puts("\nExit status: 0; 1 failed; 2 wrong arguments; what else a command may return is in "
	     "its "
	     "help.");
}

static void put_json_flags(const struct kv_command *command)
{
	const char *comma = "";
	char name[64];

	for (const struct kv_flag *flag = command->flags; flag && flag->name; flag++) {
		char letter[2] = {flag->letter, '\0'};

		printf("%s\n   {", comma);
		kv_json_member(stdout, "name", flag->name);
		putchar(',');
		kv_json_member(stdout, "letter", flag->letter ? letter : NULL);
		putchar(',');
		kv_json_member(stdout, "value", flag->value);
		putchar(',');
		kv_json_member(stdout, "sentence", flag->sentence);
		fputs(",\"variable\":null}", stdout);
		comma = ",";
	}
	for (int i = 0; command->takes_options && i < KV_OPT_COUNT; i++) {
		kv_option_flag(&kv_options[i], name, sizeof(name));
		printf("%s\n   {", comma);
		kv_json_member(stdout, "name", name);
		fputs(",\"letter\":null,\"value\":\"VALUE\",", stdout);
		kv_json_member(stdout, "sentence", kv_options[i].sentence);
		putchar(',');
		kv_json_member(stdout, "variable", kv_options[i].name);
		putchar('}');
		comma = ",";
	}
}

static void print_json(void)
{
	const struct kv_engine *engine;

	fputs("{\"version\":\"" KVSHIM_VERSION "\",\"commands\":[", stdout);
	for (const struct kv_command *command = kv_commands; command->name; command++) {
		printf("%s\n {", command == kv_commands ? "" : ",");
		kv_json_member(stdout, "name", command->name);
		putchar(',');
		kv_json_member(stdout, "operands", command->operands);
		printf(",\"takes_command\":%s,", command->takes_command ? "true" : "false");
		kv_json_member(stdout, "sentence", command->sentence);
		putchar(',');
		kv_json_member(stdout, "text", command->text);
		putchar(',');
		kv_json_member(stdout, "status", command->status);
		fputs(",\"flags\":[", stdout);
		put_json_flags(command);
		fputs("]}", stdout);
	}
	fputs("],\"engines\":[", stdout);
	for (unsigned i = 0; (engine = kv_engine_at(i)); i++) {
		fputs(i ? ",\n {" : "\n {", stdout);
		kv_json_member(stdout, "name", engine->name);
		putchar(',');
		kv_json_member(stdout, "programs", engine->programs);
		putchar(',');
		kv_json_member(stdout, "arguments", engine->arguments);
		putchar(',');
		kv_json_member(stdout, "settings", engine->settings);
		putchar(',');
		kv_json_member(stdout, "sentence", engine->sentence);
		putchar('}');
	}
	puts("]}");
}

int kv_command_help_all(const struct kv_call *call)
{
	const struct kv_command *command;

	if (kv_call_value(call, "json")) {
		print_json();
		return KV_EXIT_OK;
	}
	if (!call->n_operands) {
		kv_command_usage();
		return KV_EXIT_OK;
	}
	command = kv_command_find(call->operands[0]);
	if (!command)
		return kv_command_fail(call, KV_EXIT_ARGUMENTS,
			"%s is no command of kvshim; did you mean %s?", call->operands[0],
			kv_command_nearest(call->operands[0]));
	kv_command_help(command);
	return KV_EXIT_OK;
}
