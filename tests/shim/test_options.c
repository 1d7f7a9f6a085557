/* SPDX-License-Identifier: Apache-2.0 */
/* test_options.c - what may be written into the environment, and what is said about the rest. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "shim/config.h"

struct said {
	unsigned n_lines;
	char last[512];
};

static void listen_to(void *ctx, const char *line)
{
	struct said *said = ctx;

	said->n_lines++;
	snprintf(said->last, sizeof(said->last), "%s", line);
}

static struct said read_one(struct kv_config *config, const char *assignment)
{
	char text[256];
	char *env[] = {(char *)"PATH=/bin", text, (char *)"HOME=/", NULL};
	struct said said = {0};

	snprintf(text, sizeof(text), "%s", assignment);
	cr_assert_eq(kv_config_read(config, env, listen_to, &said), 0);
	/* values are copies: the environment may change later */
	memset(text, 'x', sizeof(text));
	return said;
}

Test(options, every_default_is_a_value_of_its_option)
{
	for (int i = 0; i < KV_OPT_COUNT; i++)
		cr_assert_eq(kv_option_parse(&kv_options[i], kv_options[i].standard, NULL), 0, "%s",
			kv_options[i].name);
}

Test(options, an_empty_environment_gives_the_defaults_and_no_line)
{
	char *env[] = {NULL};
	struct said said = {0};
	struct kv_config config;

	cr_assert_eq(kv_config_read(&config, env, listen_to, &said), 0);
	cr_assert_eq(said.n_lines, 0u);
	cr_assert_eq(kv_config_number(&config, KV_OPT_ENABLE), 1);
	cr_assert_eq(kv_config_number(&config, KV_OPT_MIN_SIZE), 64 << 20);
	cr_assert_eq(kv_config_number(&config, KV_OPT_MIN_SCORE), INT32_MIN);
	cr_assert_str_eq(kv_config_text(&config, KV_OPT_DIR), "/dev/shm");
	cr_assert_eq(config.values[KV_OPT_DIR].source, KV_SOURCE_DEFAULT);
	kv_config_free(&config);
}

Test(options, values_are_understood_in_every_form_that_is_documented)
{
	static const struct {
		const char *assignment;
		enum kv_option_id id;
		int64_t number;
	} good[] = {
		{"KVSHIM=off", KV_OPT_ENABLE, 0},
		{"KVSHIM=NO", KV_OPT_ENABLE, 0},
		{"KVSHIM=1", KV_OPT_ENABLE, 1},
		{"KVSHIM=true", KV_OPT_ENABLE, 1},
		{"KVSHIM_MIN_SIZE=4096", KV_OPT_MIN_SIZE, 4096},
		{"KVSHIM_MIN_SIZE=4096B", KV_OPT_MIN_SIZE, 4096},
		{"KVSHIM_MIN_SIZE=2k", KV_OPT_MIN_SIZE, 2048},
		{"KVSHIM_MIN_SIZE=3M", KV_OPT_MIN_SIZE, 3 << 20},
		{"KVSHIM_MIN_SIZE=3MiB", KV_OPT_MIN_SIZE, 3 << 20},
		{"KVSHIM_MIN_SIZE=3MB", KV_OPT_MIN_SIZE, 3 << 20},
		{"KVSHIM_MIN_SIZE=1g", KV_OPT_MIN_SIZE, 1 << 30},
		{"KVSHIM_MIN_SIZE=2T", KV_OPT_MIN_SIZE, 2ll << 40},
		{"KVSHIM_MIN_SIZE=9223372036854775807", KV_OPT_MIN_SIZE, INT64_MAX},
		{"KVSHIM_MAX_SIZE=none", KV_OPT_MAX_SIZE, 0},
		{"KVSHIM_PAGE_SIZE=auto", KV_OPT_PAGE_SIZE, 0},
		{"KVSHIM_DRAIN_MS=70", KV_OPT_DRAIN_MS, 70},
		{"KVSHIM_DRAIN_MS=70ms", KV_OPT_DRAIN_MS, 70},
		{"KVSHIM_DRAIN_MS=2s", KV_OPT_DRAIN_MS, 2000},
		{"KVSHIM_MIN_SCORE=-3", KV_OPT_MIN_SCORE, -3},
		{"KVSHIM_MIN_SCORE=7", KV_OPT_MIN_SCORE, 7},
		{"KVSHIM_INCLUDE_SIZES=1G,64M-128M", KV_OPT_INCLUDE_SIZES, 0},
		{"KVSHIM_INCLUDE_CALLERS=libggml*,x", KV_OPT_INCLUDE_CALLERS, 0},
		{"KVSHIM_LOG=warn,coord:debug", KV_OPT_LOG, 0},
	};

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct kv_config config;
		struct said said = read_one(&config, good[i].assignment);

		cr_assert_eq(said.n_lines, 0u, "%s: %s", good[i].assignment, said.last);
		cr_assert_eq(kv_config_number(&config, good[i].id), good[i].number, "%s",
			good[i].assignment);
		cr_assert_eq(config.values[good[i].id].source, KV_SOURCE_ENVIRONMENT);
		cr_assert_str_eq(
			kv_config_text(&config, good[i].id), strchr(good[i].assignment, '=') + 1);
		kv_config_free(&config);
	}
}

Test(options, a_wrong_value_keeps_the_default_and_costs_one_line_with_the_name_and_the_remedy)
{
	static const char *const bad[] = {"KVSHIM=maybe", "KVSHIM_MIN_SIZE=-1",
		"KVSHIM_MIN_SIZE=-64M", "KVSHIM_MIN_SIZE=+5", "KVSHIM_MIN_SIZE= 5",
		"KVSHIM_MIN_SIZE=5 ", "KVSHIM_MIN_SIZE=0x10", "KVSHIM_MIN_SIZE=1.5G",
		"KVSHIM_MIN_SIZE=1e9", "KVSHIM_MIN_SIZE=64MM", "KVSHIM_MIN_SIZE=64Mb5",
		"KVSHIM_MIN_SIZE=M", "KVSHIM_MIN_SIZE=64P", "KVSHIM_MIN_SIZE=0",
		"KVSHIM_MIN_SIZE=9223372036854775808", "KVSHIM_MIN_SIZE=18446744073709551615",
		"KVSHIM_MIN_SIZE=18446744073709551617", "KVSHIM_MIN_SIZE=8388608T",
		"KVSHIM_MIN_SIZE=nan", "KVSHIM_PAGE_SIZE=1", "KVSHIM_PAGE_SIZE=2G",
		"KVSHIM_DRAIN_MS=0", "KVSHIM_DRAIN_MS=5m", "KVSHIM_DRAIN_MS=99999999999999999999s",
		"KVSHIM_DRAIN_MS=9223372036854775807s", "KVSHIM_MIN_SCORE=-1001",
		"KVSHIM_MIN_SCORE=--1", "KVSHIM_MIN_SCORE=-", "KVSHIM_LOG_LINES=-1",
		"KVSHIM_LOG_LINES=0", "KVSHIM_LOG=loud",
		"KVSHIM_LOG=coord:", "KVSHIM_LOG=COORD:debug", "KVSHIM_LOG=warn,",
		"KVSHIM_DIR=relative/path", "KVSHIM_INCLUDE_SIZES=1G,,2G",
		"KVSHIM_INCLUDE_SIZES=1G-", "KVSHIM_INCLUDE_SIZES=2G-1G",
		"KVSHIM_INCLUDE_SIZES=-1G", "KVSHIM_EXCLUDE_SIZES=big", "KVSHIM_INCLUDE_CALLERS=a,",
		"KVSHIM_TEST_EVICT_EVERY=-1"};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct kv_config config;
		struct said said = read_one(&config, bad[i]);
		char name[64];
		enum kv_option_id id;

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(bad[i], "="), bad[i]);
		id = kv_option_find(name);
		cr_assert_neq(id, KV_OPT_COUNT, "%s", name);
		cr_assert_eq(said.n_lines, 1u, "%s", bad[i]);
		cr_assert_not_null(strstr(said.last, name), "%s", said.last);
		cr_assert_not_null(strstr(said.last, "give "), "%s", said.last);
		cr_assert_eq(config.values[id].source, KV_SOURCE_REJECTED, "%s", bad[i]);
		cr_assert_str_eq(kv_config_text(&config, id), kv_options[id].standard);
		kv_config_free(&config);
	}
}

Test(options, an_unknown_name_costs_one_line_with_the_nearest_known_one)
{
	static const struct {
		const char *assignment, *nearest;
	} unknown[] = {
		{"KVSHIM_MINSIZE=1G", "KVSHIM_MIN_SIZE"},
		{"KVSHIM_EXCLUDE_CALLER=x", "KVSHIM_EXCLUDE_CALLERS"},
		{"KVSHIM_LOGS=debug", "KVSHIM_LOG"},
		{"KVSHIM_min_size=1G", "KVSHIM_"},
	};

	for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		struct kv_config config;
		struct said said = read_one(&config, unknown[i].assignment);

		cr_assert_eq(said.n_lines, 1u, "%s", unknown[i].assignment);
		cr_assert_not_null(strstr(said.last, unknown[i].nearest), "%s", said.last);
		kv_config_free(&config);
	}
}

Test(options, names_of_other_programs_are_not_ours)
{
	struct kv_config config;

	cr_assert_eq(read_one(&config, "KVSHIMMER=1").n_lines, 0u);
	kv_config_free(&config);
}

Test(options, a_value_that_is_set_and_empty_is_not_set)
{
	struct kv_config config;

	cr_assert_eq(read_one(&config, "KVSHIM_MIN_SIZE=").n_lines, 0u);
	cr_assert_eq(config.values[KV_OPT_MIN_SIZE].source, KV_SOURCE_DEFAULT);
	kv_config_free(&config);
}

Test(options, many_unknown_names_are_cut_short)
{
	char text[64][32];
	char *env[65];
	struct said said = {0};
	struct kv_config config;

	for (int i = 0; i < 64; i++) {
		snprintf(text[i], sizeof(text[i]), "KVSHIM_UNKNOWN_%d=1", i);
		env[i] = text[i];
	}
	env[64] = NULL;
	cr_assert_eq(kv_config_read(&config, env, listen_to, &said), 0);
	cr_assert_leq(said.n_lines, 8u);
	kv_config_free(&config);
}

Test(options, a_very_long_value_and_a_very_long_name_are_cut_in_the_line)
{
	static char value[10000] = "KVSHIM_MIN_SIZE=";
	static char name[10000] = "KVSHIM_X";
	char *env[] = {value, name, NULL};
	struct said said = {0};
	struct kv_config config;

	memset(value + strlen(value), '9', sizeof(value) - 100);
	memset(name + strlen(name), 'X', sizeof(name) - 100);
	strcpy(name + strlen(name), "=1");
	cr_assert_eq(kv_config_read(&config, env, listen_to, &said), 0);
	cr_assert_eq(said.n_lines, 2u);
	kv_config_free(&config);
}

Test(options, an_option_is_found_by_variable_and_by_flag)
{
	cr_assert_eq(kv_option_find("KVSHIM"), KV_OPT_ENABLE);
	cr_assert_eq(kv_option_find("enable"), KV_OPT_ENABLE);
	cr_assert_eq(kv_option_find("KVSHIM_MIN_SIZE"), KV_OPT_MIN_SIZE);
	cr_assert_eq(kv_option_find("min-size"), KV_OPT_MIN_SIZE);
	cr_assert_eq(kv_option_find("MIN_SIZE"), KV_OPT_MIN_SIZE);
	cr_assert_eq(kv_option_find("min-siz"), KV_OPT_COUNT);
	cr_assert_eq(kv_option_find(""), KV_OPT_COUNT);
}
