/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c - `kvshim explain`: the table of options for people. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim/command.h"
#include "shim/config.h"

static const char *shown(const char *text)
{
	return text[0] ? text : "(none)";
}

static void print_one(const struct kv_option *option, const struct kv_option_value *value)
{
	char range[160];

	kv_option_describe_range(option, range, sizeof(range));
	printf("%s\n  %s\n", option->name, option->sentence);
	printf("  value    %s\n", shown(value->text));
	printf("  source   %s\n", kv_source_name(value->source));
	printf("  default  %s\n", shown(option->standard));
	printf("  unit     %s\n", option->unit);
	printf("  range    %s\n", range);
}

static void print_all(const struct kv_config *config)
{
	for (int i = 0; i < KV_OPT_COUNT; i++)
		printf("%-30s %-12s %-12s %s\n", kv_options[i].name, shown(config->values[i].text),
			config->values[i].source == KV_SOURCE_ENVIRONMENT ? "environment"
									  : "default",
			kv_options[i].sentence);
}

/* docs/options.md; a test compares. '|' would end a cell. */
static void print_markdown(void)
{
	char flag[64], range[160];

	printf("# Options\n\n"
	       "Made from shim/config.def by `kvshim explain --markdown`; do not edit by hand.\n\n"
	       "Each is an environment variable, read once by the first driver call that matters, "
	       "and a\n"
	       "flag of `kvshim run`. A wrong value keeps the default and costs one line on "
	       "stderr. Sizes\n"
	       "take K, M, G and T (powers of 1024), times ms and s.\n\n"
	       "| variable | flag | default | may be | meaning |\n|---|---|---|---|---|\n");
	for (int i = 0; i < KV_OPT_COUNT; i++) {
		const struct kv_option *option = &kv_options[i];

		kv_option_flag(option, flag, sizeof(flag));
		kv_option_describe_range(option, range, sizeof(range));
		printf("| `%s` | `--%s` | %s%s%s | %s | %s |\n", option->name, flag,
			option->standard[0] ? "`" : "",
			option->standard[0] ? option->standard : "none",
			option->standard[0] ? "`" : "", range, option->sentence);
	}
}

static void complain(void *ctx, const char *line)
{
	fprintf(stderr, "kvshim explain: %s\n", line);
}

int kv_command_explain(int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'}, {"markdown", no_argument, NULL, 'm'}, {0}};
	struct kv_config config;
	enum kv_option_id id = KV_OPT_COUNT;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
		if (c == 'h') {
			puts("usage: kvshim explain [OPTION]   (as KVSHIM_MIN_SIZE or min-size)");
			return 0;
		}
		if (c != 'm') {
			fprintf(stderr,
				"kvshim explain: %s is not understood; try `kvshim explain "
				"--help`\n",
				argv[optind - 1]);
			return 2;
		}
		print_markdown();
		return 0;
	}
	if (argc - optind > 1) {
		fprintf(stderr, "kvshim explain: one option at a time\n");
		return 2;
	}
	if (argc - optind == 1) {
		id = kv_option_find(argv[optind]);
		if (id == KV_OPT_COUNT) {
			fprintf(stderr,
				"kvshim explain: %s is no option of kvshim; did you mean %s?\n",
				argv[optind], kv_option_nearest(argv[optind]));
			return 2;
		}
	}
	if (kv_config_read(&config, environ, complain, NULL) != 0) {
		fprintf(stderr, "kvshim explain: out of memory\n");
		return 1;
	}
	if (id != KV_OPT_COUNT)
		print_one(&kv_options[id], &config.values[id]);
	else
		print_all(&config);
	kv_config_free(&config);
	return 0;
}
