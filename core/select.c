/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.c - which allocations become reservations.
 *
 * Order of the rules: the thread's tag, then what is excluded, then size, caller and symbol lists,
 * then the score if one is required. A wrong "yes" costs nothing but the saving, a wrong "no" costs
 * the saving as well, so that the rules need not be clever. The score only orders candidates.
 */
#include "core/select.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "core/poison.h"

#define MIB (1ull << 20)

/* ---- lists ---- */

/* One entry of a comma-separated list, without blanks around it. Advances *list; false at the end.
 */
static bool next_entry(const char **list, const char **ret_entry, size_t *ret_length)
{
	while (*list && **list) {
		const char *start = *list;
		size_t length = strcspn(start, ",");

		*list = start + length + (start[length] == ',');
		while (length && (*start == ' ' || *start == '\t')) {
			start++;
			length--;
		}
		while (length && (start[length - 1] == ' ' || start[length - 1] == '\t'))
			length--;
		if (length) {
			*ret_entry = start;
			*ret_length = length;
			return true;
		}
	}
	return false;
}

/* '*' any characters, '?' one. Linear in practice: only the last star is ever taken back. */
bool kv_select_glob(const char *glob, uint64_t length, const char *text)
{
	const char *end = glob + length, *star = NULL, *after_star = NULL;

	while (*text) {
		if (glob < end && *glob == '*') {
			star = ++glob;
			after_star = text;
		} else if (glob < end && (*glob == '?' || *glob == *text)) {
			glob++;
			text++;
		} else if (star) {
			glob = star;
			text = ++after_star;
		} else {
			return false;
		}
	}
	while (glob < end && *glob == '*')
		glob++;
	return glob == end;
}

static bool any_name_matches(const char *list, const char *const *names, uint32_t n_names)
{
	const char *glob;
	size_t length;

	while (next_entry(&list, &glob, &length)) {
		for (uint32_t i = 0; names && i < n_names; i++) {
			if (names[i] && kv_select_glob(glob, length, names[i]))
				return true;
		}
	}
	return false;
}

bool kv_select_matches(const char *list, const char *name)
{
	return any_name_matches(list, &name, 1);
}

static bool is_set(const char *list)
{
	const char *entry;
	size_t length;

	return next_entry(&list, &entry, &length);
}

/* ---- sizes ---- */

/* Digits and an optional suffix K, M, G or T (powers of 1024). Advances *text. */
static int parse_size(const char **text, const char *end, uint64_t *ret_size)
{
	const char *p = *text;
	uint64_t size = 0;
	unsigned shift = 0;

	if (p == end || *p < '0' || *p > '9')
		return -EINVAL;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(size, 10, &size) ||
			__builtin_add_overflow(size, (uint64_t)(*p - '0'), &size))
			return -EINVAL;
	}
	if (p < end) {
		switch (*p) {
		case 'k':
		case 'K':
			shift = 10;
			break;
		case 'm':
		case 'M':
			shift = 20;
			break;
		case 'g':
		case 'G':
			shift = 30;
			break;
		case 't':
		case 'T':
			shift = 40;
			break;
		}
	}
	if (shift) {
		if (size > UINT64_MAX >> shift)
			return -EINVAL;
		size <<= shift;
		p++;
	}
	*text = p;
	*ret_size = size;
	return 0;
}

int kv_select_parse_range(const char *text, uint64_t length, uint64_t *ret_low, uint64_t *ret_high)
{
	const char *end = text + length;
	uint64_t low, high;

	if (parse_size(&text, end, &low) < 0)
		return -EINVAL;
	high = low;
	if (text < end && *text == '-') {
		text++;
		if (parse_size(&text, end, &high) < 0)
			return -EINVAL;
	}
	if (text != end || low > high)
		return -EINVAL;
	*ret_low = low;
	*ret_high = high;
	return 0;
}

static bool any_size_matches(const char *list, uint64_t size)
{
	const char *entry;
	size_t length;

	while (next_entry(&list, &entry, &length)) {
		uint64_t low, high;

		if (kv_select_parse_range(entry, length, &low, &high) == 0 && size >= low &&
			size <= high)
			return true;
	}
	return false;
}

/* ---- score ---- */

/* Who makes a KV cache and nothing else: the class names of llama.cpp, TensorRT-LLM, lmdeploy and
 * vLLM as they appear in mangled symbols. Recurrent state is rewritten in place and does not grow.
 */
#define KV_MAKERS \
	"*llama_kv_cache*,*WindowBlockManager*allocatePools*,*KVCacheManager*allocatePools*,*" \
	"CacheEngine*"

static bool within_2_percent(uint64_t value, uint64_t percent, uint64_t of)
{
	/* Bytes of a device stay far below 2^57, so that the products cannot overflow; others are
	 * not worth an answer. */
	if (value >> 57 || of >> 57)
		return false;

	uint64_t wanted = of / 100 * percent;
	uint64_t distance = value > wanted ? value - wanted : wanted - value;

	return distance <= wanted / 50;
}

/* Engines size their cache as a round fraction of what is free, right after asking. */
static bool is_fraction_of_free(const struct kv_select_request *request, uint64_t bytes)
{
	static const uint8_t percents[] = {80, 85, 90, 92, 95};

	if (request->free_reported == 0 || request->calls_since_info > 50)
		return false;
	for (size_t i = 0; i < sizeof(percents); i++) {
		if (within_2_percent(bytes, percents[i], request->free_reported))
			return true;
	}
	return false;
}

static int score_of(const struct kv_select_request *request)
{
	uint64_t n_in_burst = (uint64_t)request->same_size_before + 1;
	uint64_t burst = 0;
	int score = 0;

	/* +10: made by code that makes nothing but KV caches; enough alone. */
	if (any_name_matches(KV_MAKERS, request->symbols, request->n_frames))
		score += 10;
	/* +5: one allocation per layer, all alike and nothing uploaded between them. Fewer than a
	 * dozen layers are no model, more than 256 no cache; weights come in such bursts too, but
	 * filled. The first of a burst cannot know, the twelfth does. */
	if (n_in_burst >= 12 && n_in_burst <= 256)
		score += 5;
	/* +5: "the rest of the device", as one piece or as a burst so far. */
	if (!__builtin_mul_overflow(n_in_burst, request->size, &burst) &&
		(is_fraction_of_free(request, request->size) ||
			is_fraction_of_free(request, burst)))
		score += 5;
	/* +3: the weights are in. Caches are between a twentieth and four times the weights; more
	 * bytes than a quarter of the request uploaded before it means that loading is over, or
	 * nearly. */
	if (request->uploaded_bytes && request->size / 4 <= request->uploaded_bytes)
		score += 3;
	/* +3: a smaller one was freed before: a warm-up cache for profiling, then the real one. */
	if (request->freed_smaller_before)
		score += 3;
	/* +1: not small for this device. */
	if (request->device_total && request->size >= request->device_total / 50)
		score += 1;
	/* -8: pool chunks and workspaces of the math libraries are 64 MiB at most. */
	if (request->size <= 64 * MIB)
		score -= 8;
	return score;
}

/* ---- the answer ---- */

static bool names_fit(const char *include, const char *exclude, const char *const *names,
	uint32_t n_names, const char *why_not, const char **why)
{
	if (any_name_matches(exclude, names, n_names) ||
		(is_set(include) && !any_name_matches(include, names, n_names))) {
		*why = why_not;
		return false;
	}
	return true;
}

static bool size_fits(const struct kv_select_rules *rules, uint64_t size, const char **why)
{
	if (any_size_matches(rules->exclude_sizes, size)) {
		*why = "size is excluded";
		return false;
	}
	if (any_size_matches(rules->include_sizes, size)) {
		*why = "size is listed";
		return true;
	}
	if (size < rules->min_size) {
		*why = "below the size floor";
		return false;
	}
	if (rules->max_size && size > rules->max_size) {
		*why = "above the largest size";
		return false;
	}
	*why = "size";
	return true;
}

/* Too small for a cache, or too unlike one: reserved nevertheless, if it was not excluded. */
static bool is_in_scope(
	const struct kv_select_rules *rules, const struct kv_select_request *request)
{
	return rules->whole_from && request->size >= rules->whole_from &&
	       !any_size_matches(rules->exclude_sizes, request->size) &&
	       !any_name_matches(rules->exclude_callers, request->libraries, request->n_frames) &&
	       !any_name_matches(rules->exclude_symbols, request->symbols, request->n_frames);
}

void kv_select(const struct kv_select_rules *rules, const struct kv_select_request *request,
	struct kv_select_answer *ret_answer)
{
	struct kv_select_answer answer = {.score = score_of(request)};

	if (request->size == 0) {
		answer.why = "size is zero";
	} else if (request->tag == KV_TAG_NATIVE) {
		answer.why = "tagged native";
	} else if (request->tag == KV_TAG_LAZY || request->tag == KV_TAG_EAGER) {
		answer.reserve = true;
		answer.eager = request->tag == KV_TAG_EAGER;
		answer.why = answer.eager ? "tagged eager" : "tagged lazy";
	} else if (size_fits(rules, request->size, &answer.why) &&
		   names_fit(rules->include_callers, rules->exclude_callers, request->libraries,
			   request->n_frames, "caller does not match", &answer.why) &&
		   names_fit(rules->include_symbols, rules->exclude_symbols, request->symbols,
			   request->n_frames, "call stack does not match", &answer.why)) {
		if (answer.score < rules->min_score)
			answer.why = "score too low";
		else
			answer.reserve = true;
	}
	if (!answer.reserve && request->tag != KV_TAG_NATIVE && is_in_scope(rules, request)) {
		answer.reserve = true;
		answer.eager = true;
		answer.why = "all is in scope";
	}
	*ret_answer = answer;
}

bool kv_select_needs_frames(const struct kv_select_rules *rules)
{
	return is_set(rules->include_callers) || is_set(rules->exclude_callers) ||
	       is_set(rules->include_symbols) || is_set(rules->exclude_symbols) ||
	       rules->min_score > INT32_MIN;
}
