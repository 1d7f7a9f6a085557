/* SPDX-License-Identifier: Apache-2.0 */
/* kvshim.c - the `kvshim` command: finds the subcommand. */
#include <stdio.h>
#include <string.h>

#include "shim/command.h"

static const char usage[] =
	"usage: kvshim run [OPTIONS] [--] COMMAND [ARGUMENT...]\n"
	"       kvshim explain [OPTION]\n"
	"       kvshim doctor --rules FILE|ENGINE.so\n"
	"       kvshim --help | --version\n"
	"\n"
	"run      starts COMMAND with libkvshim.so preloaded; --min-size 1G and the like set\n"
	"         KVSHIM_MIN_SIZE for it (`kvshim run --help` lists them)\n"
	"explain  shows the value of every option, or all about one: where its value comes from,\n"
	"         what it may be, what it does\n"
	"doctor   checks a rule file, or lists the kernels of an engine that the rules recognise\n";

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "run") == 0)
		return kv_command_run(argc - 1, argv + 1);
	if (strcmp(command, "explain") == 0)
		return kv_command_explain(argc - 1, argv + 1);
#ifdef KVSHIM_HAVE_DOCTOR
	if (strcmp(command, "doctor") == 0)
		return kv_command_doctor(argc - 1, argv + 1);
#endif
	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0 ||
		strcmp(command, "help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	if (strcmp(command, "--version") == 0) {
		puts("kvshim " KVSHIM_VERSION);
		return 0;
	}
	if (argc < 2)
		fprintf(stderr, "kvshim: no command given; try `kvshim --help`\n");
	else
		fprintf(stderr, "kvshim: %s is no command of kvshim; try `kvshim --help`\n",
			command);
	return 2;
}
