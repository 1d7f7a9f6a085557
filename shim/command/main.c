/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the `kvshim` command: finds the subcommand, has its arguments read, calls it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shim/command/command.h"

/* What was printed has reached its reader, or the status says so. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "kvshim: cannot write: %s\n", strerror(errno));
	return status ? status : KV_EXIT_FAILED;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";
	const struct kv_command *command;
	struct kv_call call;
	int status;

	if (argc < 2) {
		fprintf(stderr, "kvshim: no command given; try `kvshim --help`\n");
		return KV_EXIT_ARGUMENTS;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		kv_command_usage();
		return finish(KV_EXIT_OK);
	}
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		puts("kvshim " KVSHIM_VERSION);
		return finish(KV_EXIT_OK);
	}
	command = kv_command_find(word);
	if (!command) {
		fprintf(stderr,
			"kvshim: %s is no command of kvshim; did you mean %s? try `kvshim "
			"--help`\n",
			word, kv_command_nearest(word));
		return KV_EXIT_ARGUMENTS;
	}
	if (!kv_command_parse(command, argc - 1, argv + 1, &call, &status))
		return finish(status);
	return finish(command->run(&call));
}
