/* SPDX-License-Identifier: Apache-2.0 */
/* option.c - the table of options and the meaning of one value; see config.h. */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/select.h"
#include "shim/config.h"
#include "shim/log.h"

const struct kv_option kv_options[KV_OPT_COUNT] = {
#define KV_OPTION(id, name, type, unit, standard, low, high, word, word_value, sentence) \
	[KV_OPT_##id] = { \
		name, KV_OPTION_##type, unit, standard, low, high, word, word_value, sentence},
#include "shim/config.def"
#undef KV_OPTION
};

/*
 * Digits, then nothing else of the number: no sign, no space, no hexadecimal, no wrap-around.
 * strtoull() takes "-1" as 2^64 - 1. Returns the rest of the text, NULL if there is no digit;
 * *ret_over says that the number is too big.
 */
static const char *parse_digits(
	const char *text, const char *end, int64_t *ret_number, bool *ret_over)
{
	const char *at = text;
	int64_t number = 0;

	*ret_over = false;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(number, (int64_t)10, &number) ||
			__builtin_add_overflow(number, (int64_t)(*at - '0'), &number)) {
			*ret_over = true;
			number = 0;
		}
	*ret_number = number;
	return at == text ? NULL : at;
}

static bool rest_is(const char *at, const char *end, const char *word)
{
	return (size_t)(end - at) == strlen(word) && strncasecmp(at, word, (size_t)(end - at)) == 0;
}

/* "64M", "64MiB", "64MB", "64 is 64 bytes", "64B". */
static int parse_bytes(const char *text, const char *end, int64_t *ret_number)
{
	static const char units[] = "KMGT";
	const char *at, *unit;
	int shift = 0;
	int64_t number;
	bool over;

	at = parse_digits(text, end, &number, &over);
	if (!at)
		return -EINVAL;
	if (at < end && (unit = strchr(units, toupper((unsigned char)*at))) && *unit) {
		shift = 10 * (int)(unit - units + 1);
		at++;
		if (!rest_is(at, end, "") && !rest_is(at, end, "iB") && !rest_is(at, end, "B"))
			return -EINVAL;
	} else if (!rest_is(at, end, "") && !rest_is(at, end, "B")) {
		return -EINVAL;
	}
	if (over || __builtin_mul_overflow(number, (int64_t)1 << shift, &number))
		return -ERANGE;
	*ret_number = number;
	return 0;
}

static int parse_ms(const char *text, const char *end, int64_t *ret_number)
{
	int64_t number, scale = 1;
	const char *at;
	bool over;

	at = parse_digits(text, end, &number, &over);
	if (!at)
		return -EINVAL;
	if (rest_is(at, end, "s"))
		scale = 1000;
	else if (!rest_is(at, end, "") && !rest_is(at, end, "ms"))
		return -EINVAL;
	if (over || __builtin_mul_overflow(number, scale, &number))
		return -ERANGE;
	*ret_number = number;
	return 0;
}

static int parse_integer(const char *text, const char *end, bool sign, int64_t *ret_number)
{
	bool negative = sign && text < end && *text == '-';
	const char *at;
	bool over;

	at = parse_digits(text + negative, end, ret_number, &over);
	if (!at || at != end)
		return -EINVAL;
	if (over)
		return -ERANGE;
	if (negative)
		*ret_number = -*ret_number;
	return 0;
}

static int parse_bool(const char *text, int64_t *ret_number)
{
	static const char *const yes[] = {"on", "1", "yes", "true"};
	static const char *const no[] = {"off", "0", "no", "false"};

	for (unsigned i = 0; i < 4; i++)
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*ret_number = strcasecmp(text, yes[i]) == 0;
			return 0;
		}
	return -EINVAL;
}

/* No item is empty; with ranges, each is SIZE or LOW-HIGH as core understands it. */
static int check_list(const char *text, bool ranges)
{
	uint64_t low, high;

	while (*text) {
		size_t length = strcspn(text, ",");

		if (length == 0 ||
			(ranges && kv_select_parse_range(text, length, &low, &high) != 0))
			return -EINVAL;
		text += length;
		if (*text == ',' && *++text == '\0')
			return -EINVAL;
	}
	return 0;
}

int kv_option_parse(const struct kv_option *option, const char *text, int64_t *ret_number)
{
	const char *end = text + strlen(text);
	int64_t number = 0;
	int error = 0;

	if (option->word && strcasecmp(text, option->word) == 0) {
		if (ret_number)
			*ret_number = option->word_value;
		return 0;
	}
	switch (option->type) {
	case KV_OPTION_BOOL:
		error = parse_bool(text, &number);
		break;
	case KV_OPTION_BYTES:
		error = parse_bytes(text, end, &number);
		break;
	case KV_OPTION_MS:
		error = parse_ms(text, end, &number);
		break;
	case KV_OPTION_COUNT:
	case KV_OPTION_INT:
		error = parse_integer(text, end, option->type == KV_OPTION_INT, &number);
		break;
	case KV_OPTION_LIST:
	case KV_OPTION_SIZES:
		error = check_list(text, option->type == KV_OPTION_SIZES);
		break;
	case KV_OPTION_LOG:
		error = kv_log_check_levels(text);
		break;
	case KV_OPTION_SCOPE:
		number = strcasecmp(text, "all") == 0;
		error = number || strcasecmp(text, "kv") == 0 ? 0 : -EINVAL;
		break;
	case KV_OPTION_RULES:
		error = text[0] == '/' || !strcasecmp(text, "off") || !strcasecmp(text, "builtin")
				? 0
				: -EINVAL;
		break;
	case KV_OPTION_PATH:
		error = text[0] == '/' || text[0] == '\0' ? 0 : -EINVAL;
		break;
	}
	if (!error && (option->low || option->high) &&
		(number < option->low || number > option->high))
		error = -ERANGE;
	if (!error && ret_number)
		*ret_number = number;
	return error;
}

void kv_option_flag(const struct kv_option *option, char *text, uint32_t size)
{
	const char *name = strchr(option->name, '_');

	snprintf(text, size, "%s", name ? name + 1 : "enable");
	for (; *text; text++)
		*text = *text == '_' ? '-' : (char)tolower((unsigned char)*text);
}

/* Case and the two separators make no difference. */
static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (toupper((unsigned char)(*a == '-' ? '_' : *a)) !=
			toupper((unsigned char)(*b == '-' ? '_' : *b)))
			return false;
	return *a == *b;
}

enum kv_option_id kv_option_find(const char *name)
{
	char flag[64];

	for (int i = 0; i < KV_OPT_COUNT; i++) {
		kv_option_flag(&kv_options[i], flag, sizeof(flag));
		if (same_name(name, kv_options[i].name) || same_name(name, flag))
			return (enum kv_option_id)i;
	}
	return KV_OPT_COUNT;
}

unsigned kv_word_distance(const char *a, const char *b)
{
	unsigned row[64], n = (unsigned)strnlen(b, 63);

	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1] && i < 64; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			unsigned above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);

			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = above;
			row[j] = best;
		}
	}
	return row[n];
}

const char *kv_option_nearest(const char *name)
{
	unsigned best = UINT32_MAX;
	const char *nearest = kv_options[0].name;
	char flag[64];

	/* in either spelling, answered in the spelling of a variable */
	for (int i = 0; i < KV_OPT_COUNT; i++) {
		unsigned d = kv_word_distance(name, kv_options[i].name), other;

		kv_option_flag(&kv_options[i], flag, sizeof(flag));
		other = kv_word_distance(name, flag);
		d = other < d ? other : d;
		if (d < best) {
			best = d;
			nearest = kv_options[i].name;
		}
	}
	return nearest;
}

static void format_bytes(int64_t bytes, char *text, size_t size)
{
	static const char units[] = " KMGTPE";
	int unit = 0;

	if (bytes == INT64_MAX) { /* one less than the round number */
		snprintf(text, size, "8E");
		return;
	}
	for (; unit < 6 && bytes >= 1024 && bytes % 1024 == 0; unit++)
		bytes /= 1024;
	if (unit)
		snprintf(text, size, "%lld%c", (long long)bytes, units[unit]);
	else
		snprintf(text, size, "%lld", (long long)bytes);
}

void kv_option_describe_range(const struct kv_option *option, char *text, uint32_t size)
{
	char low[24], high[24];
	int length = 0;

	switch (option->type) {
	case KV_OPTION_BOOL:
		snprintf(text, size, "on or off");
		return;
	case KV_OPTION_BYTES:
		format_bytes(option->low, low, sizeof(low));
		format_bytes(option->high, high, sizeof(high));
		length = snprintf(
			text, size, "a size from %s to %s (as 4096, 64K, 64M or 2G)", low, high);
		break;
	case KV_OPTION_MS:
		length = snprintf(text, size, "a time from %lld to %lld ms (as 50, 50ms or 2s)",
			(long long)option->low, (long long)option->high);
		break;
	case KV_OPTION_COUNT:
	case KV_OPTION_INT:
		length = snprintf(text, size, "a whole number from %lld to %lld",
			(long long)option->low, (long long)option->high);
		break;
	case KV_OPTION_LIST:
		snprintf(text, size, "names with * and ?, separated by commas");
		return;
	case KV_OPTION_SIZES:
		snprintf(text, size, "SIZE or LOW-HIGH, separated by commas (as 1G,64M-128M)");
		return;
	case KV_OPTION_LOG:
		snprintf(text, size,
			"off, error, warn, info or debug, or TOPIC:LEVEL, separated by commas");
		return;
	case KV_OPTION_SCOPE:
		snprintf(text, size, "kv or all");
		return;
	case KV_OPTION_RULES:
		snprintf(text, size, "off, builtin, or a path that begins with /");
		return;
	case KV_OPTION_PATH:
		snprintf(text, size, "a path that begins with /");
		return;
	}
	if (option->word && length > 0 && (uint32_t)length < size)
		snprintf(text + length, size - (uint32_t)length, ", or %s", option->word);
}
