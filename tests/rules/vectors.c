/* SPDX-License-Identifier: Apache-2.0 */
/* vectors.c - see vectors.h. */
#include "tests/rules/vectors.h"

#include <criterion/criterion.h>
#include <string.h>

#include "shim/profiles/profiles.h"

void vector_put(struct vector *v, uint32_t size, uint32_t align, uint64_t value)
{
	v->size = (v->size + align - 1) / align * align;
	v->offsets[v->n] = v->size;
	v->sizes[v->n++] = size;
	memset(v->block + v->size, 0, size);
	memcpy(v->block + v->size, &value, size < 8 ? size : 8);
	v->size += size;
}

void vector_longs(struct vector *v, uint32_t n, const int64_t *values)
{
	for (uint32_t i = 0; i < n; i++)
		vector_put(v, 8, 8, values[i]);
}

void vector_ints(struct vector *v, uint32_t n, const int32_t *values)
{
	for (uint32_t i = 0; i < n; i++)
		vector_put(v, 4, 4, (uint32_t)values[i]);
}

void vector_uint3(struct vector *v, uint32_t divisor)
{
	vector_put(v, 12, 4, 1);
	memcpy(v->block + v->size - 4, &divisor, 4);
}

struct kv_ruleset *profile_llama(void)
{
	struct kv_rules_error error;
	struct kv_ruleset *set;
	int err = kv_ruleset_parse(kv_profile_llama, kv_profile_llama_size, &set, &error);

	cr_assert_eq(err, 0, "llama.rules:%u: %s", error.line, error.reason);
	return set;
}

struct kv_rule *rule_for(const struct kv_ruleset *set, const char *mangled, const struct vector *v)
{
	struct kv_rule *rule = NULL;
	int err = kv_rule_match(set, mangled, v->n, v->sizes, &rule, NULL);

	cr_assert_eq(err, 0, "%s: %d", mangled, err);
	return rule;
}

int reach(const struct kv_rule *rule, const struct vector *v, struct kv_shadows *shadows,
	struct kv_reach *ret_reach)
{
	struct kv_launch launch = {.block = v->block, .block_size = v->size, .offsets = v->offsets};

	memcpy(launch.grid, v->grid, sizeof(launch.grid));
	memcpy(launch.threads, v->threads, sizeof(launch.threads));
	return kv_rule_reach(rule, &launch, shadows, 2 * MIB, ret_reach);
}

struct kv_shadows *shadows_new(void)
{
	struct kv_shadows_config config = {
		.n_shadows = 64, .upload_bytes = 65536, .total_bytes = 1 << 20, .n_consumed = 1024};
	struct kv_shadows *s;

	cr_assert_eq(kv_shadows_new(&config, &s), 0);
	return s;
}

void vector_set_rows(struct vector *v, uint64_t dst, uint64_t index, int64_t tokens)
{
	int64_t total = tokens * 1024, plane = PLANE / 2;

	*v = (struct vector){.grid = {total / 256, 1, 1}, .threads = {256, 1, 1}};
	vector_longs(v, 17,
		(int64_t[]){SCRATCH + 0x10103000, index, dst, total, tokens, 1, 1, 1, 1024, total,
			total, 1, tokens, tokens, 1024, plane, plane});
	vector_uint3(v, 1024);
	vector_uint3(v, tokens);
	for (int i = 0; i < 3; i++)
		vector_uint3(v, 1);
}

void vector_set_rows_quant(struct vector *v, uint64_t dst, uint64_t index, int64_t tokens)
{
	int64_t total = tokens * 1024, plane = 131072 * 1088;

	*v = (struct vector){.grid = {total / 8192 + 1, 1, 1}, .threads = {256, 1, 1}};
	vector_longs(v, 17,
		(int64_t[]){SCRATCH + 0x8917000, index, dst, total / 32, tokens, 1, 1, 1, 1024,
			total, total, 1, tokens, tokens, 1088, plane, plane});
	vector_uint3(v, 1024);
	vector_uint3(v, tokens);
	for (int i = 0; i < 3; i++)
		vector_uint3(v, 1);
}

void vector_rope(struct vector *v, uint64_t src, uint64_t dst, uint64_t index, int32_t tokens,
	int32_t stride)
{
	int32_t all = tokens * 1024;

	*v = (struct vector){.grid = {8 * tokens, 1, 1}, .threads = {1, 256, 1}};
	vector_put(v, 8, 8, src);
	vector_put(v, 8, 8, dst);
	vector_ints(v, 11, (int32_t[]){128, 8, tokens, 128, 1024, all, 128, 1024, all, 128, 0});
	vector_put(v, 8, 8, SCRATCH + 0x80000);
	vector_ints(v, 3, (int32_t[]){1065353216, 0, 1065353216});
	vector_put(v, 8, 4, 0x4243400000000000ull);
	vector_ints(v, 1, (int32_t[]){1062243009});
	vector_put(v, 8, 8, 0);
	vector_put(v, 8, 8, index);
	vector_ints(v, 1, &stride);
	vector_put(v, 1, 1, !index);
}

void vector_norm_rope(struct vector *v, uint64_t dst, uint64_t index, uint32_t tokens)
{
	int64_t all = tokens * 1024;

	*v = (struct vector){.grid = {8, tokens, 1}, .threads = {256, 1, 1}};
	vector_put(v, 8, 8, SCRATCH + 0x8303000);
	vector_put(v, 8, 8, dst);
	vector_put(v, 4, 4, 128);
	vector_longs(v, 6, (int64_t[]){128, 1024, all, 128, 1024, all});
	vector_put(v, 4, 4, 925353388);
	vector_longs(v, 4, (int64_t[]){SCRATCH - 0x528800, 128, 128, 128});
	for (int i = 0; i < 4; i++)
		vector_uint3(v, i ? 1 : 128);
	vector_put(v, 4, 4, 128);
	vector_put(v, 8, 8, SCRATCH + 0x80000);
	vector_ints(v, 3, (int32_t[]){1065353216, 0, 1065353216});
	vector_put(v, 8, 4, 0x4243400000000000ull);
	vector_ints(v, 1, (int32_t[]){1062243009});
	vector_put(v, 8, 8, 0);
	vector_put(v, 8, 8, index);
	vector_put(v, 4, 4, 1024);
	vector_put(v, 1, 1, 1);
}

void vector_flash(struct vector *v, uint64_t k, uint64_t vv, int32_t n_kv, int32_t streams)
{
	int64_t plane = PLANE / (streams > 1 ? 2 : 1);

	*v = (struct vector){.grid = {1, 6, 32}, .threads = {32, 4, 1}};
	vector_longs(v, 8,
		(int64_t[]){SCRATCH + 0x10903000, k, vv, SCRATCH + 0x82800, 0, 0,
			SCRATCH + 0x10083000, SCRATCH + 0x20000000});
	vector_ints(v, 7, (int32_t[]){1035273459, 0, 1065353216, 1065353216, 32, 0, 128});
	vector_uint3(v, 1);
	vector_ints(v, 11, (int32_t[]){32, 1, 16384, 512, 16384, 128, n_kv, 8, streams, 2048, 256});
	vector_longs(v, 1, &plane);
	vector_ints(v, 2, (int32_t[]){2048, 256});
	vector_longs(v, 1, &plane);
	vector_ints(v, 5, (int32_t[]){1, 1, 1, 2 * n_kv, 2 * n_kv});
	vector_longs(v, 1, (int64_t[]){2 * n_kv});
}
