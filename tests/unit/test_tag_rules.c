/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tag_rules.c - tags by rules.
 */
#include "core/tag_rules.h"
#include "tests/unit/test.h"

static const char *const libraries[] = {"libother.so", NULL, "libtorch_cuda.so"};
static const char *const symbols[] = {NULL, "make_kv_cache", "main"};

static const char *name_for(const char *rules, uint64_t size, uint64_t order)
{
	static struct kv_tag_rule rule;
	struct kv_select_request request = {
		.size = size, .libraries = libraries, .symbols = symbols, .n_frames = 3};

	memset(&rule, 0, sizeof(rule));
	return kv_tag_rules_match(rules, &request, order, &rule) ? rule.name : "-";
}

#define GIVES(rules, size, order, name) cr_assert_str_eq(name_for(rules, size, order), name)

Test(tag_rules, the_first_rule_of_which_all_conditions_hold_counts)
{
	const char *rules =
		"a/lazy size=1M-2M order=2,b/native/7 size=1M-2M, c/eager caller=libtorch*,"
		"d/keep/255 symbol=make_*";

	GIVES(rules, 1u << 20, 2, "a");
	GIVES(rules, 1u << 20, 1, "b");
	GIVES(rules, 5, 0, "c");
	GIVES("d/keep/255 symbol=make_?v_cache", 5, 0, "d");
	GIVES("d/keep symbol=make_?", 5, 0, "-");
	GIVES("d/keep caller=libother.so symbol=absent", 5, 0, "-");
	GIVES("", 5, 0, "-");
	GIVES(NULL, 5, 0, "-");
}

Test(tag_rules, mode_and_priority_are_those_of_the_rule)
{
	struct kv_select_request request = {.size = 9};
	struct kv_tag_rule rule;

	cr_assert(kv_tag_rules_match("x/eager/12", &request, 0, &rule));
	cr_assert(rule.tag == KV_TAG_EAGER && rule.priority == 12);
	cr_assert(kv_tag_rules_match("x/native", &request, 0, &rule));
	cr_assert(rule.tag == KV_TAG_NATIVE && rule.priority == 128);
}

Test(tag_rules, a_malformed_rule_is_passed_over_and_reported)
{
	static const char *const bad[] = {"x", "x/", "/lazy", "x/fast", "x/lazy/256", "x/lazy/",
		"x/lazy size=", "x/lazy size=2-1", "x/lazy order=0", "x/lazy order=-1",
		"x/lazy y/lazy", "x/lazy colour=red", "size=5",
		"a_name_that_is_longer_than_what_is_kept_of_it/lazy"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char two[128];

		EXPECT(kv_tag_rules_check(bad[i]), -EINVAL);
		GIVES(bad[i], 5, 1, "-");
		snprintf(two, sizeof(two), "%s,good/lazy", bad[i]);
		GIVES(two, 5, 1, "good");
	}
	EXPECT(kv_tag_rules_check("a/lazy,, b/eager/0 order=3 "), 0);
	EXPECT(kv_tag_rules_check(NULL), 0);
	cr_assert(!kv_tag_rules_need_frames("a/lazy size=5,b/eager order=1"));
	cr_assert(kv_tag_rules_need_frames("a/lazy size=5,b/eager symbol=x"));
}
