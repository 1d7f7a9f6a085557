/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_options.c - environments from nowhere: the input's lines are read as options, and what comes
 * out decides about allocations.
 */
#include <stdlib.h>
#include <string.h>

#include "core/select.h"
#include "shim/config.h"
#include "tests/fuzz/fuzz.h"

#define MAX_LINES 64
#define MAX_COMPLAINT \
	2048 /* far above what a terminal shows; a line of a log is capped elsewhere */

static void require(int holds)
{
	if (!holds)
		abort();
}

static void complain(void *ctx, const char *line)
{
	uint32_t *n = ctx;

	(*n)++;
	require(strlen(line) > 0 && strlen(line) < MAX_COMPLAINT && !strchr(line, '\n'));
}

/* What stands there is in range, and reading it again gives the same. */
static void check_value(const struct kv_option *option, const struct kv_option_value *value)
{
	int64_t again = 0;

	require(value->text != NULL);
	if (value->source == KV_SOURCE_ENVIRONMENT) {
		require(kv_option_parse(option, value->text, &again) == 0);
		require(again == value->number);
	}
	if (option->low != option->high && !(option->word && value->number == option->word_value))
		require(value->number >= option->low && value->number <= option->high);
}

static void decide(const struct kv_config *config)
{
	const struct kv_select_rules rules = {
		.min_size = (uint64_t)kv_config_number(config, KV_OPT_MIN_SIZE),
		.max_size = (uint64_t)kv_config_number(config, KV_OPT_MAX_SIZE),
		.include_sizes = kv_config_text(config, KV_OPT_INCLUDE_SIZES),
		.exclude_sizes = kv_config_text(config, KV_OPT_EXCLUDE_SIZES),
		.include_callers = kv_config_text(config, KV_OPT_INCLUDE_CALLERS),
		.exclude_callers = kv_config_text(config, KV_OPT_EXCLUDE_CALLERS),
		.include_symbols = kv_config_text(config, KV_OPT_INCLUDE_SYMBOLS),
		.exclude_symbols = kv_config_text(config, KV_OPT_EXCLUDE_SYMBOLS),
		.min_score = (int)kv_config_number(config, KV_OPT_MIN_SCORE),
	};
	static const char *const libraries[] = {"libcudart.so.13", NULL, "libggml-cuda.so"};
	static const char *const symbols[] = {
		NULL, "cudaMalloc", "ggml_backend_cuda_buffer_type_alloc"};
	struct kv_select_request request = {
		.size = 1ull << 31,
		.libraries = libraries,
		.symbols = symbols,
		.n_frames = 3,
		.device_total = 80ull << 30,
	};
	struct kv_select_answer answer;

	kv_select(&rules, &request, &answer);
	require(answer.why != NULL);
	request.size = 1;
	kv_select(&rules, &request, &answer);
	require(answer.why != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *env[MAX_LINES + 1];
	uint32_t n_lines = 0, n_complaints = 0;
	struct kv_config config;

	require(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *line = text, *end; line && n_lines < MAX_LINES; line = end) {
		end = memchr(line, '\n', (size_t)(text + size - line));
		if (end)
			*end++ = '\0';
		env[n_lines++] = line;
	}
	env[n_lines] = NULL;
	require(kv_config_read(&config, env, complain, &n_complaints) == 0);
	require(n_complaints <= n_lines);
	for (uint32_t i = 0; i < KV_OPT_COUNT; i++)
		check_value(&kv_options[i], &config.values[i]);
	decide(&config);
	kv_config_free(&config);
	free(text);
	return 0;
}
