/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c - `kvshim explain`: the table of options for people. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim/command/command.h"
#include "shim/json.h"

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

static void put_json(const struct kv_option *option, const struct kv_option_value *value)
{
	static const char *const sources[] = {[KV_SOURCE_DEFAULT] = "default",
		[KV_SOURCE_ENVIRONMENT] = "environment",
		[KV_SOURCE_REJECTED] = "rejected"};
	char flag[64], range[160];

	kv_option_flag(option, flag, sizeof(flag));
	kv_option_describe_range(option, range, sizeof(range));
	putchar('{');
	kv_json_member(stdout, "name", option->name);
	putchar(',');
	kv_json_member(stdout, "flag", flag);
	putchar(',');
	kv_json_member(stdout, "value", value->text[0] ? value->text : NULL);
	putchar(',');
	kv_json_member(stdout, "source", sources[value->source]);
	putchar(',');
	kv_json_member(stdout, "default", option->standard[0] ? option->standard : NULL);
	putchar(',');
	kv_json_member(stdout, "unit", option->unit);
	putchar(',');
	kv_json_member(stdout, "range", range);
	putchar(',');
	kv_json_member(stdout, "sentence", option->sentence);
	putchar('}');
}

static void print_json(const struct kv_config *config, enum kv_option_id only)
{
	const char *comma = "";

	fputs("{\"options\":[", stdout);
	for (int i = 0; i < KV_OPT_COUNT; i++) {
		if (only != KV_OPT_COUNT && i != (int)only)
			continue;
		printf("%s\n ", comma);
		put_json(&kv_options[i], &config->values[i]);
		comma = ",";
	}
	puts("]}");
}

static void complain(void *ctx, const char *line)
{
	fprintf(stderr, "kvshim explain: %s\n", line);
}

int kv_command_explain(const struct kv_call *call)
{
	enum kv_option_id id = KV_OPT_COUNT;
	struct kv_config config;

	if (kv_call_value(call, "markdown")) {
		print_markdown();
		return KV_EXIT_OK;
	}
	if (call->n_operands) {
		id = kv_option_find(call->operands[0]);
		if (id == KV_OPT_COUNT)
			return kv_command_fail(call, KV_EXIT_ARGUMENTS,
				"%s is no option of kvshim; did you mean %s?", call->operands[0],
				kv_option_nearest(call->operands[0]));
	}
	if (kv_config_read(&config, environ, complain, NULL) != 0)
		return kv_command_fail(call, KV_EXIT_FAILED, "out of memory");
	if (kv_call_value(call, "json"))
		print_json(&config, id);
	else if (id != KV_OPT_COUNT)
		print_one(&kv_options[id], &config.values[id]);
	else
		print_all(&config);
	kv_config_free(&config);
	return KV_EXIT_OK;
}
