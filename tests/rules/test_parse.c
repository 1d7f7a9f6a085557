/* SPDX-License-Identifier: Apache-2.0 */
/* test_parse.c - rule files, good and bad. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hooks/rules/rules.h"
#include "hooks/rules/signature.h"

#define HEAD \
	"rules 1\ntype __half 2\nfamily f\nvariant v\ntemplate T N\nparams T*, long x3, uint3\n"

static int parse(const char *text, struct kv_ruleset **ret_set, struct kv_rules_error *ret_error)
{
	return kv_ruleset_parse(text, strlen(text), ret_set, ret_error);
}

static void expect_error(const char *text, uint32_t line, const char *part)
{
	struct kv_rules_error error;
	struct kv_ruleset *set;

	cr_assert_eq(parse(text, &set, &error), -EINVAL, "accepted: %s", text);
	cr_assert_eq(error.line, line, "line %u (%s) of: %s", error.line, error.reason, text);
	cr_assert(strstr(error.reason, part), "\"%s\" is not about \"%s\"", error.reason, part);
}

Test(parse, a_file_with_comments_blank_lines_and_carriage_returns_is_read)
{
	static const char text[] =
		"# first a comment\r\n\nrules 1 # here too\r\n"
		"family alone\n\n   family two\n\tvariant one\nparams _, int x2\n";
	struct kv_rules_error error;
	struct kv_ruleset *set;
	uint32_t n;

	cr_assert_eq(parse(text, &set, &error), 0, "%u: %s", error.line, error.reason);
	cr_assert_eq(kv_ruleset_families(set), 2);
	cr_assert_str_eq(kv_ruleset_family(set, 0, &n), "alone");
	cr_assert_eq(n, 0);
	cr_assert_str_eq(kv_ruleset_family(set, 1, &n), "two");
	cr_assert_eq(n, 1);
	kv_ruleset_free(set);
}

Test(parse, an_error_is_told_with_line_and_reason_and_nothing_of_the_file_is_used)
{
	expect_error("", 0, "empty");
	expect_error("# nothing\n", 1, "empty");
	expect_error("family f\n", 1, "rules 1");
	expect_error("rules 2\n", 1, "format 2");
	expect_error("rules 1 x\n", 1, "too much");
	expect_error("rules 1\nfrobnicate\n", 2, "frobnicate");
	expect_error("rules 1\nvariant v\n", 2, "family");
	expect_error("rules 1\nfamily f\nfamily f\n", 3, "twice");
	expect_error("rules 1\nfamily f g\n", 2, "only a name");
	expect_error("rules 1\nfamily f\nvariant v\n", 3, "params");
	expect_error("rules 1\ntype t 0\n", 2, "begin at 1");
	expect_error("rules 1\ntype t 99999\n", 2, "no number up to 4096");
	expect_error("rules 1\ntype t 2\ntype t 2\n", 3, "twice");
	expect_error("rules 1\ntype t two\n", 2, "a number expected");
	expect_error(HEAD "params int\n", 7, "once");
	expect_error(HEAD "template A\n", 7, "before");
	expect_error(HEAD "where X = a\n", 7, "no template argument");
	expect_error(HEAD "where T a\n", 7, "'='");
	expect_error(HEAD "where T =\n", 7, "choice");
	expect_error(HEAD "read 5 bytes 1\n", 7, "begins at a parameter");
	expect_error(HEAD "read p9 bytes 1\n", 7, "5 parameters");
	expect_error(HEAD "read p0 dim 2 bytes 1\n", 7, "'by'");
	expect_error(HEAD "read p0\n", 7, "'bytes'");
	expect_error(HEAD "read p0 bytes\n", 7, "missing");
	expect_error(HEAD "read p0 bytes 1 dead\n", 7, "too much");
	expect_error(HEAD
		"read p0 dim 1 by 1 dim 1 by 1 dim 1 by 1 dim 1 by 1 dim 1 by 1 bytes 1\n",
		7, "more than 4");
	expect_error(HEAD "write p0 index p1 count 1 stride 1 bytes 1\n", 7, "i32 or i64");
	expect_error(HEAD "write p0 index 7 i64 count 1 stride 1 bytes 1\n", 7, "index array");
	expect_error(HEAD "extent p0 rows p1 by 2\n", 7, "'length'");
	expect_error(HEAD "let a = size(U)\n", 7, "U is no template argument");
	expect_error(HEAD "let a = b\n", 7, "'b' is not known");
	expect_error(HEAD "let a = p1.2:f32\n", 7, "no parameter type");
	expect_error(HEAD "keep 3\n", 7, "a parameter expected");
	expect_error(HEAD "keep p1 + 8\n", 7, "a parameter expected");
	expect_error(HEAD "keep\n", 7, "");
	expect_error(HEAD "let a = (p1\n", 7, "')' expected");
	expect_error(HEAD "let a = min(p1)\n", 7, "',' expected");
	expect_error(HEAD "let a = 99999999999999999999\n", 7, "no number");
	expect_error(HEAD "let a = grid.w\n", 7, "x, y or z");
	expect_error(HEAD "require ((((((((((((((((((1))))))))))))))))))\n", 7, "too deep");
	expect_error(HEAD "require 1+(2+(3+(4+(5+(6+(7+(8+(9+(10+(11+(12+(13+14))))))))))))\n", 7,
		"too deep");
	expect_error("rules 1\nfamily f\nvariant v\nparams int x65\n", 4, "more than 64");
	expect_error("rules 1\nfamily f\nvariant v\nparams int,,int\n", 4, "type is missing");
	expect_error("rules 1\nfamily f\nvariant v\nread p0 bytes 1\n", 4, "0 parameters");
}

Test(parse, a_nul_byte_is_refused)
{
	struct kv_rules_error error;
	struct kv_ruleset *set;

	cr_assert_eq(kv_ruleset_parse("rules 1\nfam\0ily f\n", 18, &set, &error), -EINVAL);
	cr_assert_eq(error.line, 2);
}

Test(parse, limits_are_errors_and_not_overflows)
{
	struct kv_rules_error error;
	struct kv_ruleset *set;
	char text[16384] = HEAD;

	for (int i = 0; i < 60; i++)
		strcat(text, "require p1 + p1 + p1 + p1 + p1 + p1 == 1\n");
	cr_assert_eq(parse(text, &set, &error), -EINVAL);
	strcpy(text, "rules 1\n");
	for (int i = 0; i < 300; i++)
		snprintf(text + strlen(text), 32, "family f%d\n", i);
	cr_assert_eq(parse(text, &set, &error), -EINVAL);
	cr_assert(strstr(error.reason, "too many families"));
}

/* ---- expressions, through a kernel with three counts and one struct ---- */

static int evaluate(const char *expression, const int64_t counts[3], int64_t *ret_value)
{
	int64_t block[6] = {0x100000, counts[0], counts[1], counts[2], 0, 0};
	uint32_t offsets[5] = {0, 8, 16, 24, 32}, sizes[5] = {8, 8, 8, 8, 12};
	struct kv_launch launch = {.block = (void *)block,
		.block_size = 44,
		.offsets = offsets,
		.grid = {3, 5, 7},
		.threads = {11, 13, 17}};
	struct kv_rules_error error;
	struct kv_ruleset *set;
	struct kv_rule *rule;
	struct kv_reach r;
	char text[512];
	int err;

	((uint32_t *)block)[10] = 1234;
	snprintf(text, sizeof(text), HEAD "read p0 bytes %s\n", expression);
	cr_assert_eq(parse(text, &set, &error), 0, "%s: %s", expression, error.reason);
	cr_assert_eq(
		kv_rule_match(set, "_Z1fI6__halfLi32EEvPT_lll5uint3", 5, sizes, &rule, NULL), 0);
	err = kv_rule_reach(rule, &launch, NULL, 4096, &r);
	if (!err)
		*ret_value = r.n_accesses ? (int64_t)r.accesses[0].length : 0;
	kv_rule_free(rule);
	kv_ruleset_free(set);
	return err;
}

Test(expressions, have_the_values_that_arithmetic_gives_them)
{
	static const struct {
		const char *text;
		int64_t value;
	} cases[] = {
		{"2 + 3 * 4", 14},
		{"(2 + 3) * 4", 20},
		{"20 - 5 - 3", 12},
		{"100 / 7 % 5", 4},
		{"min(p1, p2) + max(p1, p2)", 30},
		{"p4.2", 1234},
		{"p4.2:u16", 1234},
		{"p3:i32 + 100", 95},
		{"p3:u8", 251},
		{"size(T) * value(N)", 64},
		{"per(T) + size(__half)", 3},
		{"grid.x * grid.y * grid.z + threads.x + threads.y + threads.z", 146},
		{"(p1 == 10) + (p1 != 10) * 2 + (p1 < 11) * 4 + (p1 <= 10) * 8 + (p1 > 10) * 16 + "
		 "(p1 >= 10) * 32",
			45},
		{"0x10", 16},
	};
	int64_t counts[3] = {10, 20, -5}, value;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(evaluate(cases[i].text, counts, &value), 0, "%s", cases[i].text);
		cr_assert_eq(value, cases[i].value, "%s is %ld", cases[i].text, (long)value);
	}
}

Test(expressions, that_overflow_or_divide_by_zero_are_not_understood)
{
	static const char *const bad[] = {"p1 * p2", "p1 + p1 + p1", "p2 / p3", "p2 % p3", "0 - p2",
		"0 - p1 - p1 - p1", "p0 + p1"};
	int64_t counts[3] = {INT64_MAX - 1, INT64_MAX / 2, 0}, value;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(evaluate(bad[i], counts, &value), -ENOTSUP, "%s", bad[i]);
}

Test(dimensions, nest_and_join_where_they_are_dense)
{
	static const char text[] = HEAD "read p0 dim p2 by p3 dim p1 by 100 bytes 60\n";
	int64_t block[6] = {0x100000, 10, 3, 50000, 0, 0};
	uint32_t offsets[5] = {0, 8, 16, 24, 32}, sizes[5] = {8, 8, 8, 8, 12};
	struct kv_launch launch = {.block = (void *)block, .block_size = 44, .offsets = offsets};
	struct kv_rules_error error;
	struct kv_ruleset *set;
	struct kv_rule *rule;
	struct kv_reach r;

	cr_assert_eq(parse(text, &set, &error), 0);
	cr_assert_eq(
		kv_rule_match(set, "_Z1fI6__halfLi32EEvPT_lll5uint3", 5, sizes, &rule, NULL), 0);
	cr_assert_eq(kv_rule_reach(rule, &launch, NULL, 4096, &r), 0);
	cr_assert_eq(r.n_accesses, 3);
	for (uint32_t i = 0; i < 3; i++) {
		cr_assert_eq(r.accesses[i].addr, 0x100000 + i * 50000);
		cr_assert_eq(r.accesses[i].length, 9 * 100 + 60);
	}
	/* Too many blocks to tell apart: one that covers them, and says so. */
	block[2] = 5000;
	cr_assert_eq(kv_rule_reach(rule, &launch, NULL, 4096, &r), 0);
	cr_assert_eq(r.n_accesses, 1);
	cr_assert_eq(r.accesses[0].length, 4999 * 50000ll + 960);
	cr_assert(r.accesses[0].coarse);
	block[2] = INT64_MAX / 2;
	cr_assert_eq(kv_rule_reach(rule, &launch, NULL, 4096, &r), -ENOTSUP);
	kv_rule_free(rule);
	kv_ruleset_free(set);
}

Test(signatures, are_taken_apart_at_their_own_commas_and_brackets)
{
	static const struct {
		const char *text, *name;
		uint32_t n_template, n_params;
		const char *last_template, *last_param;
	} cases[] = {
		{"void k<float, long, __half>(float const*, long)", "k", 3, 2, "__half", "long"},
		{"k(int)", "k", 0, 1, NULL, "int"},
		{"k()", "k", 0, 0, NULL, NULL},
		{"void k<(ggml_type)8, &(void ns::g<float>(char const*, char*)), true>(a<b, c>)",
			"k", 3, 1, "true", "a<b, c>"},
		{"void _INTERNAL_12_x_cu_34::k<1>(int, void (*)(int, int))", "k", 1, 2, "1",
			"void (*)(int, int)"},
		{"(anonymous namespace)::k(int)", "k", 0, 1, NULL, "int"},
		{"void (anonymous namespace)::k<32>(int)", "k", 1, 1, "32", "int"},
		{"void other::k<32>(int)", "other::k", 1, 1, "32", "int"},
		{"void k<(1)>(2), 3>(int)", "k", 0, 0, "", NULL},
	};
	struct kv_signature s;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = kv_signature_parse_text(cases[i].text, &s);

		if (cases[i].last_template && !*cases[i].last_template) {
			cr_assert_eq(err, -EINVAL, "%s", cases[i].text);
			continue;
		}
		cr_assert_eq(err, 0, "%s", cases[i].text);
		cr_assert(kv_text_is(s.name, cases[i].name), "%.*s", (int)s.name.length, s.name.at);
		cr_assert_eq(s.n_template, cases[i].n_template, "%s", cases[i].text);
		cr_assert_eq(s.n_params, cases[i].n_params, "%s", cases[i].text);
		if (s.n_template)
			cr_assert(kv_text_is(
				s.template_args[s.n_template - 1], cases[i].last_template));
		if (s.n_params)
			cr_assert(kv_text_is(s.params[s.n_params - 1], cases[i].last_param));
		kv_signature_free(&s);
	}
	cr_assert_eq(kv_signature_parse("not mangled", &s), -EINVAL);
	cr_assert_eq(kv_signature_parse("_Z", &s), -EINVAL);
}

Test(signatures, a_name_is_found_in_a_mangled_one_only_as_a_whole_identifier)
{
	cr_assert(kv_mangled_has("_Z9rope_normIfEv", "rope_norm"));
	cr_assert(kv_mangled_has("_ZN3foo9rope_normEv", "rope_norm"));
	cr_assert(kv_mangled_has("rope_norm", "rope_norm"));
	cr_assert_not(kv_mangled_has("_Z19rope_norm_rope_normIfEv", "rope_norm"));
	cr_assert_not(kv_mangled_has("_Z8rope_nor", "rope_norm"));
}

Test(parse, a_structure_with_a_tail_is_found_among_the_parameters)
{
	static const char text[] = "rules 1\ntail fusion_args\ntail other_args\n";
	static const char name[] = "_Z13mul_mat_vec_fIfEvPKfPKi11fusion_argsPfi10other_args";
	struct kv_rules_error error;
	struct kv_ruleset *set;

	cr_assert_eq(parse(text, &set, &error), 0, "%u: %s", error.line, error.reason);
	cr_assert_eq(kv_rule_tails(set, name, 6), 1 << 2 | 1 << 5);
	cr_assert_eq(kv_rule_tails(set, name, 5), 0, "another layout is another kernel");
	cr_assert_eq(kv_rule_tails(set, "_Z1fIfEvP11fusion_args", 1), 0, "a pointer is one");
	cr_assert_eq(kv_rule_tails(set, "_Z1fIfEvPf", 1), 0);
	cr_assert_eq(kv_rule_tails(set, "fusion_args", 1), 0);
	kv_ruleset_free(set);
	expect_error("rules 1\ntail\n", 2, "a name");
	expect_error("rules 1\ntail a b\n", 2, "only a name");
}
