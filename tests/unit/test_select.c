/* SPDX-License-Identifier: Apache-2.0 */
/* test_select.c - which allocations become reservations. */
#include "core/select.h"
#include "tests/unit/test.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static const struct kv_select_rules floor_only = {.min_size = 64 * MIB, .min_score = INT32_MIN};

static struct kv_select_answer ask(
	const struct kv_select_rules *rules, struct kv_select_request request)
{
	struct kv_select_answer answer;

	kv_select(rules, &request, &answer);
	cr_assert_not_null(answer.why);
	return answer;
}

Test(select, takes_what_reaches_the_floor)
{
	EXPECT(ask(&floor_only, (struct kv_select_request){.size = 64 * MIB}).reserve, true);
	EXPECT(ask(&floor_only, (struct kv_select_request){.size = 64 * MIB - 1}).reserve, false);
	EXPECT(ask(&floor_only, (struct kv_select_request){.size = 0}).reserve, false);
}

Test(select, the_tag_of_the_thread_decides_before_everything_else)
{
	struct kv_select_rules none = {
		.min_size = UINT64_MAX, .exclude_sizes = "1", .min_score = 99};
	struct kv_select_request small = {.size = 1, .tag = KV_TAG_LAZY};
	struct kv_select_request big = {.size = GIB, .tag = KV_TAG_NATIVE};

	EXPECT(ask(&none, small).reserve, true);
	EXPECT(ask(&none, small).eager, false);
	small.tag = KV_TAG_EAGER;
	EXPECT(ask(&none, small).reserve, true);
	EXPECT(ask(&none, small).eager, true);
	EXPECT(ask(&floor_only, big).reserve, false);
	small.size = 0;
	EXPECT(ask(&none, small).reserve, false);
}

Test(select, lists_of_sizes_include_below_the_floor_and_exclude_above_it)
{
	struct kv_select_rules rules = {.min_size = 64 * MIB,
		.max_size = 2 * GIB,
		.include_sizes = "1M-2M, 4G",
		.exclude_sizes = "128M,nonsense,1g-1g",
		.min_score = INT32_MIN};

	EXPECT(ask(&rules, (struct kv_select_request){.size = MIB}).reserve, true);
	EXPECT(ask(&rules, (struct kv_select_request){.size = 2 * MIB}).reserve, true);
	EXPECT(ask(&rules, (struct kv_select_request){.size = 2 * MIB + 1}).reserve, false);
	EXPECT(ask(&rules, (struct kv_select_request){.size = 4 * GIB}).reserve, true);
	EXPECT(ask(&rules, (struct kv_select_request){.size = 3 * GIB}).reserve, false);
	EXPECT(ask(&rules, (struct kv_select_request){.size = 128 * MIB}).reserve, false);
	EXPECT(ask(&rules, (struct kv_select_request){.size = GIB}).reserve, false);
	EXPECT(ask(&rules, (struct kv_select_request){.size = GIB + 1}).reserve, true);
}

Test(select, ranges_have_suffixes_and_nothing_else)
{
	uint64_t low, high;

#define PARSE(text) kv_select_parse_range(text, strlen(text), &low, &high)
	EXPECT(PARSE("5"), 0);
	cr_assert(low == 5 && high == 5);
	EXPECT(PARSE("2K-3m"), 0);
	cr_assert(low == 2048 && high == 3 * MIB);
	EXPECT(PARSE("1G-1T"), 0);
	cr_assert(low == GIB && high == 1024 * GIB);
	EXPECT(PARSE("18446744073709551615"), 0);
	EXPECT(PARSE("18446744073709551616"), -EINVAL);
	EXPECT(PARSE("17179869184G"), -EINVAL);
	EXPECT(PARSE(""), -EINVAL);
	EXPECT(PARSE("-5"), -EINVAL);
	EXPECT(PARSE("5-"), -EINVAL);
	EXPECT(PARSE("9-5"), -EINVAL);
	EXPECT(PARSE("5MB"), -EINVAL);
	EXPECT(PARSE("5 "), -EINVAL);
	EXPECT(PARSE("1-2-3"), -EINVAL);
	EXPECT(PARSE("K"), -EINVAL);
#undef PARSE
}

Test(select, callers_and_symbols_are_globs_over_the_call_stack)
{
	const char *libraries[] = {"libcudart.so.13", NULL, "libggml-cuda.so", "llama-server"};
	const char *symbols[] = {"cudaMalloc", NULL, "ggml_backend_alloc", "main"};
	struct kv_select_request request = {
		.size = GIB, .libraries = libraries, .symbols = symbols, .n_frames = 4};
	struct kv_select_rules rules = floor_only;

	EXPECT(kv_select_needs_frames(&rules), false);
	rules.include_callers = " , libggml*.so";
	EXPECT(kv_select_needs_frames(&rules), true);
	EXPECT(ask(&rules, request).reserve, true);
	rules.include_callers = "libtorch*,other";
	EXPECT(ask(&rules, request).reserve, false);
	rules.include_callers = NULL;
	rules.exclude_callers = "lib?uda*";
	EXPECT(ask(&rules, request).reserve, false);
	rules.exclude_callers = "cuda*";
	rules.include_symbols = "*backend*";
	EXPECT(ask(&rules, request).reserve, true);
	rules.exclude_symbols = "m*n";
	EXPECT(ask(&rules, request).reserve, false);
	request.n_frames = 0; /* nothing known: nothing excluded, nothing included */
	EXPECT(ask(&rules, request).reserve, false);
	rules.include_symbols = NULL;
	EXPECT(ask(&rules, request).reserve, true);
	rules = floor_only;
	rules.min_score = 5;
	EXPECT(kv_select_needs_frames(&rules), true);
}

Test(select, globs_backtrack)
{
	const char *symbols[] = {"aaaab"};
	struct kv_select_request request = {.size = GIB, .symbols = symbols, .n_frames = 1};
	struct kv_select_rules rules = floor_only;
	const char *yes[] = {"*", "a*b", "*aab", "a?a?b", "**b*", "aaaab*"};
	const char *no[] = {"b*", "a*a", "aaaa", "?", "aaaab?", "*c*"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
		rules.include_symbols = yes[i];
		cr_assert(ask(&rules, request).reserve, "%s", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
		rules.include_symbols = no[i];
		cr_assert(!ask(&rules, request).reserve, "%s", no[i]);
	}
}

Test(select, with_all_in_scope_what_is_below_the_floor_is_reserved_whole)
{
	struct kv_select_rules rules = {.min_size = 64 * MIB,
		.whole_from = 2 * MIB,
		.exclude_sizes = "20M",
		.min_score = INT32_MIN};
	struct kv_select_request request = {.size = 2 * MIB};
	struct kv_select_answer answer = ask(&rules, request);

	EXPECT(answer.reserve, true);
	EXPECT(answer.eager, true);
	request.size = 2 * MIB - 1;
	EXPECT(ask(&rules, request).reserve, false);
	request.size = 20 * MIB; /* excluded is excluded */
	EXPECT(ask(&rules, request).reserve, false);
	request.size = 64 * MIB; /* selected as ever: page by page */
	answer = ask(&rules, request);
	EXPECT(answer.reserve, true);
	EXPECT(answer.eager, false);
	rules.max_size = 64 * MIB;
	request.size = 65 * MIB;
	EXPECT(ask(&rules, request).eager, true);
	request.tag = KV_TAG_NATIVE;
	EXPECT(ask(&rules, request).reserve, false);
	request.tag = KV_TAG_NONE;
	rules.whole_from = 0;
	EXPECT(ask(&rules, request).reserve, false);
}

Test(select, who_is_excluded_stays_native_also_with_all_in_scope)
{
	const char *libraries[] = {"libnccl.so.2"}, *symbols[] = {"warm_up"};
	struct kv_select_rules rules = {
		.min_size = 64 * MIB, .whole_from = 2 * MIB, .exclude_callers = "libnccl*"};
	struct kv_select_request request = {
		.size = 4 * MIB, .libraries = libraries, .symbols = symbols, .n_frames = 1};

	EXPECT(ask(&rules, request).reserve, false);
	rules.exclude_callers = NULL;
	rules.exclude_symbols = "warm*";
	EXPECT(ask(&rules, request).reserve, false);
	rules.exclude_symbols = "cold*";
	EXPECT(ask(&rules, request).eager, true);
}

Test(score, a_cache_of_llama_cpp_scores_above_ten)
{
	const char *symbols[] = {"cudaMalloc", "_ZN14llama_kv_cacheC2ERK11llama_model"};
	struct kv_select_request request = {.size = 16 * GIB,
		.symbols = symbols,
		.n_frames = 2,
		.device_total = 80 * GIB,
		.uploaded_bytes = 5 * GIB};

	EXPECT(ask(&floor_only, request).score, 10 + 3 + 1);
}

Test(score, a_burst_of_equal_layers_counts_from_the_twelfth_to_the_last)
{
	struct kv_select_request request = {.size = 640 * MIB};

	request.same_size_before = 10;
	EXPECT(ask(&floor_only, request).score, 0);
	request.same_size_before = 11;
	EXPECT(ask(&floor_only, request).score, 5);
	request.same_size_before = 256;
	EXPECT(ask(&floor_only, request).score, 0);
}

Test(score, the_rest_of_the_device_right_after_asking_for_it)
{
	struct kv_select_request request = {
		.size = 32 * GIB, .free_reported = 40 * GIB, .calls_since_info = 50};

	EXPECT(ask(&floor_only, request).score, 5);
	request.calls_since_info = 51;
	EXPECT(ask(&floor_only, request).score, 0);
	request.calls_since_info = 0;
	request.size = 30 * GIB; /* three quarters: nobody's fraction */
	EXPECT(ask(&floor_only, request).score, 0);
	request.size = UINT64_MAX;
	request.free_reported = UINT64_MAX;
	request.same_size_before = UINT32_MAX;
	EXPECT(ask(&floor_only, request).score, 0);
}

Test(score, warm_up_counts_and_pool_chunks_count_against)
{
	struct kv_select_request request = {.size = GIB, .freed_smaller_before = true};

	EXPECT(ask(&floor_only, request).score, 3);
	request.size = 64 * MIB;
	EXPECT(ask(&floor_only, request).score, -5);
}

Test(score, can_be_required)
{
	struct kv_select_rules rules = {.min_size = MIB, .min_score = 3};
	struct kv_select_request request = {.size = GIB};

	EXPECT(ask(&rules, request).reserve, false);
	request.freed_smaller_before = true;
	EXPECT(ask(&rules, request).reserve, true);
}
