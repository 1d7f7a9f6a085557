/* SPDX-License-Identifier: Apache-2.0 */
/* test_reach.c - what the compiled-in rules say about launches of the kernels of a real engine. */
#include <stdio.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tests/rules/vectors.h"

#define ROW 2048ull

static void upload_rows(struct kv_shadows *s, uint64_t at, int64_t first, int64_t n)
{
	int64_t index[512];

	for (int64_t i = 0; i < n; i++)
		index[i] = first + i;
	kv_shadows_upload(s, at, index, n * sizeof(index[0]));
}

static void expect_access(const struct kv_reach *r, uint32_t i, enum kv_access_kind kind,
	uint64_t addr, uint64_t length)
{
	cr_assert_lt(i, r->n_accesses);
	cr_assert_eq(r->accesses[i].kind, kind, "access %u is of kind %d", i, r->accesses[i].kind);
	cr_assert_eq(r->accesses[i].addr, addr, "access %u begins at %#lx", i,
		(long)r->accesses[i].addr);
	cr_assert_eq(r->accesses[i].length, length, "access %u has %#lx bytes", i,
		(long)r->accesses[i].length);
}

static char variant[64];

/* Rule and answer for one vector; the answer is what is wanted. */
static void reach_of(
	const char *name, const struct vector *v, struct kv_shadows *s, struct kv_reach *r)
{
	struct kv_ruleset *set = profile_llama();
	struct kv_rule *rule = rule_for(set, name, v);

	cr_assert_eq(reach(rule, v, s, r), 0, "%s is not understood", name);
	/* The name belongs to the rules, which go now. */
	snprintf(variant, sizeof(variant), "%s", r->variant);
	r->variant = variant;
	kv_rule_free(rule);
	kv_ruleset_free(set);
}

static int refused(const char *name, const struct vector *v)
{
	struct kv_ruleset *set = profile_llama();
	struct kv_rule *rule = rule_for(set, name, v);
	struct kv_reach r;
	int err = reach(rule, v, NULL, &r);

	kv_rule_free(rule);
	kv_ruleset_free(set);
	return err;
}

Test(writers, set_rows_touches_the_rows_that_the_uploaded_indices_name)
{
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v;

	vector_set_rows(&v, V_PLANE, INDEX, 88);
	upload_rows(s, INDEX, 512, 88);
	reach_of(NAME_SET_ROWS, &v, s, &r);
	cr_assert_eq(r.n_accesses, 2);
	expect_access(&r, 0, KV_ACCESS_WRITE, V_PLANE + 512 * ROW, 88 * ROW);
	expect_access(&r, 1, KV_ACCESS_READ, INDEX, 88 * 8);
	cr_assert_eq(r.explained, 1 << 1 | 1 << 2);
	cr_assert_eq(r.n_planes, 1);
	cr_assert_eq(r.planes[0].base, V_PLANE);
	cr_assert_eq(r.planes[0].row_stride, ROW);
	cr_assert_eq(r.n_extents, 0);
	kv_shadows_free(s);
}

Test(writers, set_rows_without_a_shadow_may_touch_its_plane_and_nothing_else)
{
	struct kv_reach r;
	struct vector v;

	vector_set_rows(&v, V_PLANE, INDEX, 1);
	reach_of(NAME_SET_ROWS, &v, NULL, &r);
	cr_assert_eq(r.n_accesses, 2);
	expect_access(&r, 0, KV_ACCESS_WHOLE, V_PLANE, PLANE);
	cr_assert(r.accesses[0].coarse);
	cr_assert_not(r.accesses[0].dead);
}

Test(writers, rows_that_lie_apart_become_ranges_of_their_own_unless_pages_join_them)
{
	int64_t index[] = {70000, 3, 70001, 1, 5000};
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v;

	vector_set_rows(&v, K_PLANE, INDEX, 5);
	kv_shadows_upload(s, INDEX, index, sizeof(index));
	reach_of(NAME_SET_ROWS, &v, s, &r);
	cr_assert_eq(r.n_accesses, 4);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE + ROW, 3 * ROW);
	expect_access(&r, 1, KV_ACCESS_WRITE, K_PLANE + 5000 * ROW, ROW);
	expect_access(&r, 2, KV_ACCESS_WRITE, K_PLANE + 70000 * ROW, 2 * ROW);
	kv_shadows_free(s);
}

Test(writers, more_ranges_than_there_is_room_for_become_one_that_covers_them)
{
	struct kv_shadows *s = shadows_new();
	int64_t index[KV_REACH_ACCESSES + 1];
	struct kv_reach r;
	struct vector v;

	for (int64_t i = 0; i <= KV_REACH_ACCESSES; i++)
		index[i] = 10 + 2048 * ((i * 37) % (KV_REACH_ACCESSES + 1));
	/* The plane has 131072 rows: 64 times 2048 is past its end. */
	for (int64_t i = 0; i <= KV_REACH_ACCESSES; i++)
		index[i] = index[i] < 131072 ? index[i] : 131000;
	vector_set_rows(&v, K_PLANE, INDEX, KV_REACH_ACCESSES + 1);
	kv_shadows_upload(s, INDEX, index, sizeof(index));
	reach_of(NAME_SET_ROWS, &v, s, &r);
	cr_assert_leq(r.n_accesses, KV_REACH_ACCESSES);
	for (int64_t i = 0; i <= KV_REACH_ACCESSES; i++) {
		bool covered = false;

		for (uint32_t j = 0; j < r.n_accesses; j++)
			covered |= K_PLANE + index[i] * ROW >= r.accesses[j].addr &&
				   K_PLANE + (index[i] + 1) * ROW <=
					   r.accesses[j].addr + r.accesses[j].length;
		cr_assert(covered, "row %ld", (long)index[i]);
	}
	kv_shadows_free(s);
}

Test(writers, an_index_outside_the_plane_or_below_zero_is_not_understood)
{
	struct kv_ruleset *set = profile_llama();
	int64_t past = 131072, negative = -1;
	struct kv_shadows *s = shadows_new();
	struct kv_rule *rule;
	struct kv_reach r;
	struct vector v;

	vector_set_rows(&v, K_PLANE, INDEX, 1);
	rule = rule_for(set, NAME_SET_ROWS, &v);
	kv_shadows_upload(s, INDEX, &past, sizeof(past));
	cr_assert_eq(reach(rule, &v, s, &r), -ENOTSUP);
	kv_shadows_upload(s, INDEX, &negative, sizeof(negative));
	cr_assert_eq(reach(rule, &v, s, &r), -ENOTSUP);
	kv_rule_free(rule);
	kv_ruleset_free(set);
	kv_shadows_free(s);
}

Test(writers, quantised_rows_have_the_stride_of_their_blocks)
{
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v;

	vector_set_rows_quant(&v, K_PLANE, INDEX, 512);
	upload_rows(s, INDEX, 2000, 512);
	reach_of(NAME_SET_ROWS_QUANT, &v, s, &r);
	cr_assert_eq(r.n_accesses, 2);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE + 2000 * 1088, 512 * 1088);
	cr_assert_eq(r.planes[0].row_stride, 1088);
	kv_shadows_free(s);
}

Test(writers, the_list_of_counts_of_2025_is_understood)
{
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v = {.grid = {1, 1, 1}};

	vector_longs(&v, 20,
		(int64_t[]){SCRATCH, INDEX, K_PLANE, 1024, 2, 1, 1, 2, 1, 1, 1, 1024, 2048, 2048, 1,
			2, 2, 1024, PLANE / 2, PLANE / 2});
	upload_rows(s, INDEX, 7, 2);
	reach_of(NAME_SET_ROWS_COUNTS, &v, s, &r);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE + 7 * ROW, 2 * ROW);
	kv_shadows_free(s);
}

Test(writers, rotation_fused_with_the_row_write_touches_all_heads_of_each_token)
{
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v;

	vector_rope(&v, SCRATCH + 0x10303000, K_PLANE, INDEX, 512, 1024);
	upload_rows(s, INDEX, 0, 512);
	reach_of(NAME_ROPE, &v, s, &r);
	cr_assert_str_eq(r.variant, "fused_offset");
	cr_assert_eq(r.n_accesses, 2);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE, 512 * ROW);
	cr_assert_eq(r.explained, 1 << 1 | 1 << 20);
	kv_shadows_free(s);
}

Test(writers, rotation_that_is_not_fused_is_an_unknown_kernel)
{
	struct vector v;

	vector_rope(&v, SCRATCH + 0x10303000, SCRATCH, 0, 512, 0);
	cr_assert_eq(refused(NAME_ROPE, &v), -ENOTSUP);
}

Test(writers, norm_and_rotation_in_one_take_their_tokens_from_the_grid)
{
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v;

	vector_norm_rope(&v, K_PLANE, INDEX, 2);
	upload_rows(s, INDEX, 1023, 2);
	reach_of(NAME_NORM_ROPE, &v, s, &r);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE + 1023 * ROW, 2 * ROW);
	cr_assert_eq(r.explained, 1ull << 1 | 1ull << 26);
	kv_shadows_free(s);
}

Test(shift, the_whole_plane_is_rotated_in_place_and_what_was_empty_stays_dead)
{
	struct kv_reach r;
	struct vector v;

	vector_rope(&v, K_PLANE, K_PLANE, 0, 131072, 0);
	reach_of(NAME_ROPE_SHIFT, &v, NULL, &r);
	cr_assert_str_eq(r.variant, "shift_offset");
	cr_assert_eq(r.n_accesses, 2);
	expect_access(&r, 0, KV_ACCESS_WHOLE, K_PLANE, PLANE);
	expect_access(&r, 1, KV_ACCESS_WHOLE, K_PLANE, PLANE);
	cr_assert(r.accesses[0].dead && r.accesses[1].dead);
	cr_assert_eq(r.explained, 3);
	cr_assert_eq(r.n_planes, 0);
}

Test(shift, packing_a_quantised_plane_is_transient_but_not_dead)
{
	struct kv_reach r;
	struct vector v = {.grid = {65536, 1, 1}};

	vector_longs(&v, 17,
		(int64_t[]){SCRATCH, K_PLANE, 134217728, 128, 8, 131072, 4, 512, 4096, 536870912,
			128, 8, 131072, 34, 136, 1088, 142606336});
	reach_of(NAME_CPY_F32_Q, &v, NULL, &r);
	cr_assert_eq(r.n_accesses, 1);
	expect_access(&r, 0, KV_ACCESS_WHOLE, K_PLANE, 131072ull * 1088);
	cr_assert_not(r.accesses[0].dead);
	cr_assert_eq(r.explained, 2);
}

Test(readers, attention_reads_the_rows_below_its_extent_and_those_above_are_dead)
{
	static const char *const names[] = {NAME_FLASH_VEC, NAME_FLASH_F16, NAME_FLASH_TILE};
	struct kv_reach r;
	struct vector v;

	for (int i = 0; i < 3; i++) {
		vector_flash(&v, K_PLANE, V_PLANE, 768, 1);
		reach_of(names[i], &v, NULL, &r);
		cr_assert_eq(r.n_accesses, 2);
		expect_access(&r, 0, KV_ACCESS_READ, K_PLANE, 768 * ROW);
		expect_access(&r, 1, KV_ACCESS_READ, V_PLANE, 768 * ROW);
		cr_assert_eq(r.explained, 1 << 1 | 1 << 2);
		cr_assert_eq(r.n_extents, 2);
		cr_assert_eq(r.extents[1].plane, V_PLANE);
		cr_assert_eq(r.extents[1].live, V_PLANE + 768 * ROW);
		cr_assert_eq(r.extents[1].end, V_PLANE + PLANE);
		cr_assert_eq(r.extents[1].row_stride, ROW);
	}
}

Test(readers, two_streams_with_one_extent_are_two_planes_each)
{
	struct kv_reach r;
	struct vector v;

	vector_flash(&v, K_PLANE, V_PLANE, 256, 2);
	reach_of(NAME_FLASH_F16, &v, NULL, &r);
	cr_assert_eq(r.n_accesses, 4);
	expect_access(&r, 0, KV_ACCESS_READ, K_PLANE, 256 * ROW);
	expect_access(&r, 1, KV_ACCESS_READ, K_PLANE + PLANE / 2, 256 * ROW);
	expect_access(&r, 3, KV_ACCESS_READ, V_PLANE + PLANE / 2, 256 * ROW);
	cr_assert_eq(r.n_extents, 4);
	cr_assert_eq(r.extents[1].plane, K_PLANE + PLANE / 2);
	cr_assert_eq(r.extents[1].end, K_PLANE + PLANE);
}

Test(readers, an_attention_without_rows_reads_nothing_and_a_negative_extent_is_refused)
{
	struct kv_reach r;
	struct vector v;

	vector_flash(&v, K_PLANE, V_PLANE, 0, 1);
	reach_of(NAME_FLASH_VEC, &v, NULL, &r);
	cr_assert_eq(r.n_accesses, 0);
	vector_flash(&v, K_PLANE, V_PLANE, -256, 1);
	cr_assert_eq(refused(NAME_FLASH_VEC, &v), -ENOTSUP);
}

Test(readers, conversions_read_the_blocks_of_their_elements)
{
	struct kv_reach r;
	struct vector v = {.grid = {256, 1, 1}};

	vector_longs(&v, 3, (int64_t[]){K_PLANE, SCRATCH, 524288});
	reach_of(NAME_DEQUANTIZE_Q8, &v, NULL, &r);
	expect_access(&r, 0, KV_ACCESS_READ, K_PLANE, 512 * 1088);
	reach_of(NAME_CONVERT_CONT, &v, NULL, &r);
	expect_access(&r, 0, KV_ACCESS_READ, K_PLANE, 4 * 524288 * 2);
	v = (struct vector){.grid = {1, 256, 8}};
	vector_longs(&v, 5, (int64_t[]){K_PLANE, SCRATCH, 128, 256, 8});
	vector_uint3(&v, 8);
	vector_longs(&v, 3, (int64_t[]){32, 4, 8192});
	reach_of(NAME_DEQUANTIZE, &v, NULL, &r);
	expect_access(&r, 0, KV_ACCESS_READ, K_PLANE, 256 * 32 * 22);
}

Test(readers, products_with_keys_read_n_kv_rows_and_with_transposed_values_every_row_of_the_plane)
{
	struct kv_reach r;
	struct vector v = {.grid = {24, 32, 1}, .threads = {32, 1, 1}};

	vector_longs(&v, 4, (int64_t[]){K_PLANE, SCRATCH, 0, SCRATCH});
	vector_ints(&v, 16,
		(int32_t[]){64, 1, 32, 512, 2048, 768, 0, 0, 4, 64, 128, 768, 1, 67108864, 4096,
			24576});
	reach_of(NAME_MUL_MAT_F, &v, NULL, &r);
	cr_assert_eq(r.n_accesses, 1);
	expect_access(&r, 0, KV_ACCESS_READ, K_PLANE, 768 * ROW);

	v = (struct vector){.grid = {128, 32, 1}, .threads = {128, 1, 1}};
	vector_longs(&v, 3, (int64_t[]){V_PLANE, SCRATCH, 0});
	vector_put(&v, 48, 8, 0);
	vector_put(&v, 8, 8, SCRATCH);
	vector_ints(&v, 1, (int32_t[]){384});
	vector_uint3(&v, 0);
	vector_ints(&v, 3, (int32_t[]){131072, 384, 128});
	vector_uint3(&v, 4);
	vector_ints(&v, 3, (int32_t[]){16777216, 768, 128});
	vector_uint3(&v, 1);
	vector_ints(&v, 4, (int32_t[]){134217728, 24576, 4096, 0});
	reach_of(NAME_MUL_MAT_VEC_F, &v, NULL, &r);
	cr_assert_eq(r.n_accesses, 1);
	expect_access(&r, 0, KV_ACCESS_READ, V_PLANE, 1023ull * 131072 * 2 + 1536);
}

Test(readers, a_product_whose_channels_are_chosen_on_the_device_is_refused)
{
	struct vector v = {.grid = {24, 32, 1}, .threads = {32, 1, 1}};

	vector_longs(&v, 4, (int64_t[]){K_PLANE, SCRATCH, SCRATCH + 64, SCRATCH});
	vector_ints(&v, 16,
		(int32_t[]){64, 1, 32, 512, 2048, 768, 0, 0, 4, 64, 128, 768, 1, 67108864, 4096,
			24576});
	cr_assert_eq(refused(NAME_MUL_MAT_F, &v), -ENOTSUP);
}

Test(copies, a_copy_into_a_view_writes_exactly_the_view)
{
	struct kv_reach r;
	struct vector v = {.grid = {32, 1, 1}};

	vector_longs(&v, 17,
		(int64_t[]){SCRATCH, K_PLANE + 100 * ROW, 3072, 128, 8, 3, 4, 512, 4096, 12288,
			3072, 1, 1, 2, 6144, 6144, 6144});
	reach_of(NAME_CPY_SCALAR, &v, NULL, &r);
	cr_assert_eq(r.n_accesses, 2);
	expect_access(&r, 0, KV_ACCESS_READ, SCRATCH, 12288);
	expect_access(&r, 1, KV_ACCESS_WRITE, K_PLANE + 100 * ROW, 3 * ROW);
	cr_assert_eq(r.explained, 3);
}

/* 32 heads, as recorded. */
Test(copies, addresses_that_are_left_in_memory_are_never_explained)
{
	struct kv_ruleset *set = profile_llama();
	struct kv_rule *rule;
	struct kv_reach r;
	struct vector v = {.grid = {1, 2, 1}, .threads = {16, 16, 1}};

	for (uint64_t i = 0; i < 5; i++)
		vector_put(&v, 8, 8, i ? SCRATCH + (i << 20) : K_PLANE);
	vector_longs(&v, 11,
		(int64_t[]){
			32, 1, 32, 33554432, 268435456, 524288, 16777216, 131072, 4194304, 4, 1});
	rule = rule_for(set, NAME_BATCHED_PTRS, &v);
	cr_assert(kv_rule_keeps(rule));
	cr_assert_eq(reach(rule, &v, NULL, &r), 0);
	cr_assert_eq(r.n_accesses, 2);
	expect_access(&r, 0, KV_ACCESS_WRITE, SCRATCH + (3 << 20), 512);
	expect_access(&r, 1, KV_ACCESS_WRITE, SCRATCH + (4 << 20), 256);
	cr_assert_eq(r.explained, 1 << 3 | 1 << 4);
	kv_rule_free(rule);
	/* As builds before the summer of 2025 have it. */
	rule = rule_for(set, "_Z22k_compute_batched_ptrsPK6__halfS1_PcPPKvPPvlllmmmmmmll", &v);
	cr_assert(kv_rule_keeps(rule));
	kv_rule_free(rule);
	kv_ruleset_free(set);
}

Test(match, a_family_with_another_parameter_list_is_named_but_not_bound)
{
	struct kv_ruleset *set = profile_llama();
	const char *family = NULL;
	struct kv_rule *rule;

	/* One count more. */
	cr_assert_eq(
		kv_rule_match(set,
			"_Z10k_set_rowsIfl6__halfEvPKT_PKT0_PT1_lllllllllllllll5uint3S9_S9_S9_S9_",
			0, NULL, &rule, &family),
		-ENOTSUP);
	cr_assert_str_eq(family, "k_set_rows");
	cr_assert_eq(kv_rule_match(set, "k_set_rows", 0, NULL, &rule, &family), -ENOTSUP);
	cr_assert_eq(
		kv_rule_match(set, "_Z12rms_norm_f32ILi256EEvPKfPfif", 0, NULL, &rule, &family),
		-ENOENT);
	cr_assert_null(family);
	cr_assert_eq(kv_rule_match(set, "_Z10k_set_rows", 0, NULL, &rule, &family), -ENOENT);
	cr_assert_eq(kv_rule_match(set, "_Z11xk_set_rowsv", 0, NULL, &rule, &family), -ENOENT);
	kv_ruleset_free(set);
}

Test(match, a_layout_that_contradicts_the_name_is_not_bound)
{
	struct kv_ruleset *set = profile_llama();
	struct kv_rule *rule;
	struct vector v;

	vector_set_rows(&v, K_PLANE, INDEX, 1);
	v.sizes[17] = 8;
	cr_assert_eq(kv_rule_match(set, NAME_SET_ROWS, v.n, v.sizes, &rule, NULL), -ENOTSUP);
	v.sizes[17] = 12;
	cr_assert_eq(kv_rule_match(set, NAME_SET_ROWS, v.n - 1, v.sizes, &rule, NULL), -ENOTSUP);
	kv_ruleset_free(set);
}

Test(launches, parameters_are_read_from_an_array_of_pointers_as_well_and_never_past_a_short_block)
{
	struct kv_ruleset *set = profile_llama();
	const void *params[64];
	struct kv_launch launch = {.params = params};
	struct kv_rule *rule;
	struct kv_reach r;
	struct vector v;

	vector_flash(&v, K_PLANE, V_PLANE, 768, 1);
	rule = rule_for(set, NAME_FLASH_VEC, &v);
	for (uint32_t i = 0; i < v.n; i++)
		params[i] = v.block + v.offsets[i];
	cr_assert_eq(kv_rule_reach(rule, &launch, NULL, 2 * MIB, &r), 0);
	expect_access(&r, 0, KV_ACCESS_READ, K_PLANE, 768 * ROW);
	params[22] = NULL;
	cr_assert_eq(kv_rule_reach(rule, &launch, NULL, 2 * MIB, &r), -ENOTSUP);
	v.size = 100;
	cr_assert_eq(reach(rule, &v, NULL, &r), -ENOTSUP);
	kv_rule_free(rule);
	kv_ruleset_free(set);
}

/* ---- shadows and rules together ---- */

Test(traps, an_index_array_is_consumed_once_per_plane_and_upload)
{
	struct kv_ruleset *set = profile_llama();
	struct kv_shadows *s = shadows_new();
	struct kv_rule *rule;
	struct kv_reach r;
	struct vector v;

	vector_set_rows(&v, K_PLANE, INDEX, 1);
	rule = rule_for(set, NAME_SET_ROWS, &v);
	upload_rows(s, INDEX, 600, 1);
	cr_assert_eq(reach(rule, &v, s, &r), 0);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE + 600 * ROW, ROW);
	/* Again, the same plane: something else may be in the array by now. */
	cr_assert_eq(reach(rule, &v, s, &r), 0);
	expect_access(&r, 0, KV_ACCESS_WHOLE, K_PLANE, PLANE);
	/* Another plane of the same upload, and the first one after a new upload, are fine. */
	vector_set_rows(&v, V_PLANE, INDEX, 1);
	cr_assert_eq(reach(rule, &v, s, &r), 0);
	expect_access(&r, 0, KV_ACCESS_WRITE, V_PLANE + 600 * ROW, ROW);
	upload_rows(s, INDEX, 601, 1);
	vector_set_rows(&v, K_PLANE, INDEX, 1);
	cr_assert_eq(reach(rule, &v, s, &r), 0);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE + 601 * ROW, ROW);
	kv_rule_free(rule);
	kv_ruleset_free(set);
	kv_shadows_free(s);
}

Test(traps, memory_that_a_copy_reused_inside_the_graph_is_no_index_array_any_more)
{
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v;

	/* Position and both index arrays lie side by side; one copy goes over all of them. */
	upload_rows(s, INDEX, 5, 1);
	upload_rows(s, INDEX + 0x1000, 5, 1);
	kv_shadows_copy(s, INDEX - 0x800, SCRATCH + 0x900000, 16384);
	vector_set_rows(&v, K_PLANE, INDEX + 0x1000, 1);
	reach_of(NAME_SET_ROWS, &v, s, &r);
	expect_access(&r, 0, KV_ACCESS_WHOLE, K_PLANE, PLANE);
	kv_shadows_free(s);
}

Test(traps, in_node_order_the_writer_that_comes_before_the_reuse_still_finds_its_indices)
{
	struct kv_shadows *s = shadows_new();
	struct kv_reach r;
	struct vector v;

	upload_rows(s, INDEX, 5, 1);
	vector_set_rows(&v, K_PLANE, INDEX, 1);
	reach_of(NAME_SET_ROWS, &v, s, &r);
	kv_shadows_kill(s, INDEX - 0x800, 16384);
	expect_access(&r, 0, KV_ACCESS_WRITE, K_PLANE + 5 * ROW, ROW);
	vector_set_rows(&v, V_PLANE, INDEX, 1);
	reach_of(NAME_SET_ROWS, &v, s, &r);
	expect_access(&r, 0, KV_ACCESS_WHOLE, V_PLANE, PLANE);
	kv_shadows_free(s);
}

Test(traps, attention_over_scratch_memory_names_no_written_plane)
{
	struct kv_reach r;
	struct vector v;

	/* Keys and values converted into the compute buffer: an extent, but no writer's plane. */
	vector_flash(&v, SCRATCH + 0x1000000, SCRATCH + 0x2000000, 256, 1);
	reach_of(NAME_FLASH_F16, &v, NULL, &r);
	cr_assert_eq(r.n_planes, 0);
	cr_assert_eq(r.n_extents, 2);
	cr_assert_geq(r.extents[0].plane, SCRATCH);
}

Test(traps, integers_that_look_like_addresses_are_no_accesses)
{
	struct kv_reach r;
	struct vector v;

	/* Strides and counts with the bits of an address of the cache: only p1 and p2 are
	 * addresses. */
	vector_flash(&v, 0x302000000, 0x312000000, 512, 1);
	reach_of(NAME_FLASH_F16, &v, NULL, &r);
	cr_assert_eq(r.explained, 1 << 1 | 1 << 2);
	cr_assert_eq(r.n_accesses, 2);
}

Test(traps, planes_that_share_a_page_keep_their_own_extents)
{
	struct kv_reach r;
	struct vector v;

	vector_flash(&v, K_PLANE + 0x1800, K_PLANE + 0x1800 + 66048 * ROW, 256, 1);
	reach_of(NAME_FLASH_VEC, &v, NULL, &r);
	cr_assert_eq(r.extents[0].plane, K_PLANE + 0x1800);
	cr_assert_eq(r.extents[0].live, K_PLANE + 0x1800 + 256 * ROW);
	cr_assert_eq(r.extents[1].plane, K_PLANE + 0x1800 + 66048 * ROW);
}
