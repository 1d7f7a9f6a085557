/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tag_rules.c - see tag_rules.h.
 */
#include "core/tag_rules.h"

#include <errno.h>
#include <string.h>

#include "core/poison.h"

/* One rule, taken apart. Texts are not NUL-terminated; NULL: no such condition. */
struct rule {
	struct kv_tag_rule gives;
	const char *caller, *symbol;
	size_t caller_length, symbol_length;
	uint64_t low, high; /* sizes */
	uint64_t order;     /* 0: any */
};

static int parse_number(const char *text, size_t length, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!length || length > 18)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		number = number * 10 + (uint64_t)(text[i] - '0');
	}
	*ret_number = number;
	return 0;
}

static int parse_mode(const char *text, size_t length, enum kv_tag *ret_tag)
{
	static const char *const words[] = {"keep", "lazy", "eager", "native"};
	static const enum kv_tag tags[] = {KV_TAG_NONE, KV_TAG_LAZY, KV_TAG_EAGER, KV_TAG_NATIVE};

	for (size_t i = 0; i < sizeof(tags) / sizeof(*tags); i++) {
		if (strlen(words[i]) == length && !memcmp(words[i], text, length)) {
			*ret_tag = tags[i];
			return 0;
		}
	}
	return -EINVAL;
}

/* NAME/MODE[/PRIORITY] */
static int parse_head(const char *text, size_t length, struct kv_tag_rule *gives)
{
	const char *slash = memchr(text, '/', length), *second;
	size_t name = slash ? (size_t)(slash - text) : 0, mode;
	uint64_t priority = 128;

	if (!name || name >= sizeof(gives->name))
		return -EINVAL;
	memcpy(gives->name, text, name);
	text = slash + 1;
	length -= name + 1;
	second = memchr(text, '/', length);
	mode = second ? (size_t)(second - text) : length;
	if (second &&
		(parse_number(second + 1, length - mode - 1, &priority) < 0 || priority > 255))
		return -EINVAL;
	gives->priority = (uint8_t)priority;
	return parse_mode(text, mode, &gives->tag);
}

static bool has(const char **text, size_t *length, const char *key)
{
	size_t n = strlen(key);

	if (*length <= n || memcmp(*text, key, n) != 0)
		return false;
	*text += n;
	*length -= n;
	return true;
}

static int parse_word(const char *text, size_t length, struct rule *rule)
{
	if (has(&text, &length, "caller=")) {
		rule->caller = text;
		rule->caller_length = length;
		return 0;
	}
	if (has(&text, &length, "symbol=")) {
		rule->symbol = text;
		rule->symbol_length = length;
		return 0;
	}
	if (has(&text, &length, "size="))
		return kv_select_parse_range(text, length, &rule->low, &rule->high);
	if (has(&text, &length, "order="))
		return parse_number(text, length, &rule->order) < 0 || !rule->order ? -EINVAL : 0;
	return rule->gives.name[0] ? -EINVAL : parse_head(text, length, &rule->gives);
}

/* The next rule of a list. 1: there is one; 0: the end; -EINVAL: a malformed one was passed over.
 */
static int next_rule(const char **list, struct rule *ret_rule)
{
	struct rule rule = {.high = UINT64_MAX};
	int error = 0;
	size_t length;

	while (*list && (**list == ',' || **list == ' '))
		(*list)++;
	if (!*list || !**list)
		return 0;
	for (length = strcspn(*list, ", "); length; length = strcspn(*list, ", ")) {
		if (error == 0)
			error = parse_word(*list, length, &rule);
		*list += length;
		while (**list == ' ')
			(*list)++;
	}
	if (error < 0 || !rule.gives.name[0])
		return -EINVAL;
	*ret_rule = rule;
	return 1;
}

static bool any_matches(const char *glob, size_t length, const char *const *names, uint32_t n_names)
{
	for (uint32_t i = 0; names && i < n_names; i++) {
		if (names[i] && kv_select_glob(glob, length, names[i]))
			return true;
	}
	return false;
}

bool kv_tag_rules_match(const char *rules, const struct kv_select_request *request, uint64_t order,
	struct kv_tag_rule *ret_rule)
{
	struct rule rule;
	int there;

	while ((there = next_rule(&rules, &rule)) != 0) {
		if (there < 0 || request->size < rule.low || request->size > rule.high ||
			(rule.order && rule.order != order))
			continue;
		if (rule.caller && !any_matches(rule.caller, rule.caller_length, request->libraries,
					   request->n_frames))
			continue;
		if (rule.symbol && !any_matches(rule.symbol, rule.symbol_length, request->symbols,
					   request->n_frames))
			continue;
		*ret_rule = rule.gives;
		return true;
	}
	return false;
}

int kv_tag_rules_check(const char *rules)
{
	struct rule rule;
	int there;

	while ((there = next_rule(&rules, &rule)) > 0)
		;
	return there;
}

bool kv_tag_rules_need_frames(const char *rules)
{
	struct rule rule;
	int there;

	while ((there = next_rule(&rules, &rule)) != 0) {
		if (there > 0 && (rule.caller || rule.symbol))
			return true;
	}
	return false;
}
