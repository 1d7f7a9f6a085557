/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the `kvshim-stat` command. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim/config.h"
#include "stat/draw.h"

static const char usage[] =
	"usage: kvshim-stat [--once | --json] [--dir DIRECTORY]\n"
	"\n"
	"Shows what every process under kvshim has reserved and what is backed, per GPU.\n"
	"  --once   a table (the default)\n"
	"  --json   one JSON object; bytes are integers, what is not known is null\n"
	"  --dir    where the segments lie (default: KVSHIM_DIR, else /dev/shm)\n"
	"Exit status: 0; 1 if a segment could not be read; 2 wrong arguments.\n";

static bool has_problem(const struct kv_stat *stat)
{
	bool found = stat->problem[0] != '\0';

	for (uint32_t i = 0; i < stat->n_segments; i++)
		found |= stat->segments[i].problem[0] != '\0';
	return found;
}

static int show(const char *directory, bool json)
{
	struct kv_stat stat;
	int status;

	if (kv_stat_collect(directory, &stat) != 0) {
		fprintf(stderr, "kvshim-stat: out of memory\n");
		return 1;
	}
	if (json)
		kv_draw_json(&stat, stdout);
	else
		kv_draw_table(&stat, stdout);
	status = has_problem(&stat);
	kv_stat_free(&stat);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "kvshim-stat: cannot write: %s\n", strerror(errno));
		return 1;
	}
	return status;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"once", no_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'}, {"dir", required_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	const char *directory = NULL;
	struct kv_config config;
	bool json = false;
	int c, status;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			json = false;
			break;
		case 'j':
			json = true;
			break;
		case 'd':
			directory = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("kvshim-stat " KVSHIM_VERSION);
			return 0;
		default:
			fprintf(stderr, "kvshim-stat: %s %s; try `kvshim-stat --help`\n",
				argv[optind - 1], c == ':' ? "needs a value" : "is not understood");
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "kvshim-stat: %s is not understood; try `kvshim-stat --help`\n",
			argv[optind]);
		return 2;
	}
	if (kv_config_read(&config, environ, NULL, NULL) != 0) {
		fprintf(stderr, "kvshim-stat: out of memory\n");
		return 1;
	}
	status = show(directory ? directory : kv_config_text(&config, KV_OPT_DIR), json);
	kv_config_free(&config);
	return status;
}
