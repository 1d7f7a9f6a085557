/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hint.c - regions: geometry, blocks over several reservations, and what is undone.
 */
#include "core/hint.h"
#include "tests/unit/test.h"

typedef struct kv_region_range range;

static int touch(struct fixture *f, struct kv_regions *all, uint64_t id, int64_t first, int64_t n)
{
	struct kv_region *region = kv_region_claim(all, id);
	int64_t blocks[64];
	int error;

	for (int64_t i = 0; i < n; i++)
		blocks[i] = first + i;
	kv_core_enter(f->core, f->slot);
	error = kv_region_touch(region, blocks, (uint64_t)n);
	kv_core_leave(f->core, f->slot);
	kv_region_yield(region);
	return error;
}

static int release(
	struct fixture *f, struct kv_regions *all, uint64_t id, int64_t block, uint32_t after_steps)
{
	struct kv_region *region = kv_region_claim(all, id);
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_region_release(region, &block, 1, after_steps);
	kv_core_leave(f->core, f->slot);
	kv_region_yield(region);
	return error;
}

static int step(struct fixture *f, struct kv_regions *all, uint64_t id)
{
	struct kv_region *region = kv_region_claim(all, id);
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_region_step(region);
	kv_core_leave(f->core, f->slot);
	kv_region_yield(region);
	return error;
}

static struct kv_region_state state_of(struct kv_regions *all, uint64_t id)
{
	struct kv_region *region = kv_region_claim(all, id);
	struct kv_region_state state;

	kv_region_state(region, &state);
	kv_region_yield(region);
	return state;
}

Test(hint, pieces_may_interleave_but_not_share_a_byte)
{
	const range inner[] = {{100, 40, 10}, {110, 40, 10}, {120, 40, 20}};
	const range shares[] = {{100, 40, 10}, {109, 40, 10}};
	const range behind[] = {{100, 40, 10}, {135, 40, 10}};
	const range other_stride[] = {{100, 40, 10}, {110, 50, 10}};
	const range apart[] = {{100, 40, 10}, {470, 50, 10}};
	const range wraps[] = {{UINT64_MAX - 5, 40, 10}};
	const range narrow[] = {{100, 5, 10}};
	const range empty[] = {{100, 5, 0}};

	EXPECT(kv_geometry_check(inner, 3, 10), 0);
	EXPECT(kv_geometry_check(shares, 2, 10), -EEXIST);
	EXPECT(kv_geometry_check(behind, 2, 10), -EEXIST);
	EXPECT(kv_geometry_check(other_stride, 2, 10), -EEXIST);
	EXPECT(kv_geometry_check(apart, 2, 10), 0);
	EXPECT(kv_geometry_check(wraps, 1, 1), -EOVERFLOW);
	EXPECT(kv_geometry_check(narrow, 1, 2), -EEXIST);
	EXPECT(kv_geometry_check(narrow, 1, 1), 0);
	EXPECT(kv_geometry_check(empty, 1, 1), -EINVAL);
	EXPECT(kv_geometry_check(inner, 0, 1), -EINVAL);
	EXPECT(kv_geometry_check(inner, 1, 0), -EINVAL);
	EXPECT(kv_geometry_check(inner, 1, UINT64_MAX / 2), -EOVERFLOW);
}

/* Two layers in reservations of their own, blocks of one page. */
static void two_layers(struct fixture *f, struct kv_regions **ret_all, struct buffer *a,
	struct buffer *b, struct kv_region_config *config, uint64_t *ret_id)
{
	range ranges[2];

	EXPECT(kv_regions_new(f->core, ret_all), 0);
	EXPECT(buffer_new(f, 8 * f->page, a), 0);
	EXPECT(buffer_new(f, 8 * f->page, b), 0);
	ranges[0] = (range){a->base, f->page, f->page};
	ranges[1] = (range){b->base, f->page, f->page};
	config->n_blocks = 8;
	config->n_ranges = 2;
	config->ranges = ranges;
	EXPECT(kv_region_declare(*ret_all, config, ret_id), 0);
	EXPECT(kv_region_declare(*ret_all, config, ret_id), -EEXIST);
}

Test(hint, blocks_are_backed_in_all_layers_and_go_in_all)
{
	struct fixture f;
	struct buffer a, b;
	struct kv_regions *all;
	struct kv_region_config config = {0};
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	two_layers(&f, &all, &a, &b, &config, &id);
	EXPECT(touch(&f, all, id, 2, 3), 0);
	EXPECT(pages_in(&a, KV_PAGE_BACKED), 3);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 3);
	EXPECT(touch(&f, all, id, 6, 3), -ENOENT);
	EXPECT(release(&f, all, id, 3, 0), 0);
	EXPECT(release(&f, all, id, 3, 0), -ENOENT);
	EXPECT(release(&f, all, id, 4, 1), 0);
	/* Touched again before its step: it stays. */
	EXPECT(touch(&f, all, id, 4, 1), 0);
	EXPECT(release(&f, all, id, 2, 2), 0);
	EXPECT(step(&f, all, id), 0);
	EXPECT(state_of(all, id).n_live, 2);
	EXPECT(step(&f, all, id), 0);
	EXPECT(state_of(all, id).n_live, 1);
	EXPECT(state_of(all, id).n_waiting, 0);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(state_of(all, id).backed, 2 * f.page);
	EXPECT_SANE(&f);
	kv_regions_free(all);
	EXPECT(buffer_free(&f, &a), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(hint, without_memory_for_all_layers_none_is_touched)
{
	struct fixture f;
	struct buffer a, b;
	struct kv_regions *all;
	struct kv_region_config config = {0};
	uint64_t id;

	fixture_open(&f, (struct fixture_options){.device_pages = 20});
	two_layers(&f, &all, &a, &b, &config, &id);
	EXPECT(touch(&f, all, id, 0, 1), 0);
	fake_gpu_set_foreign(f.gpu, 14 * f.page);
	/* Four pages are left: the first layer fits, the second does not. */
	EXPECT(touch(&f, all, id, 1, 3), -ENOMEM);
	EXPECT(state_of(all, id).n_live, 1);
	EXPECT(state_of(all, id).wanted, 2 * f.page);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(touch(&f, all, id, 1, 2), 0);
	EXPECT(state_of(all, id).wanted, 6 * f.page);
	EXPECT_SANE(&f);
	kv_regions_free(all);
	EXPECT(buffer_free(&f, &a), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(hint, every_call_of_the_driver_may_fail_once)
{
	for (uint64_t nth = 1; nth < 40; nth++) {
		struct fixture f;
		struct buffer a, b;
		struct kv_regions *all;
		struct kv_region_config config = {0};
		uint64_t id, live;
		int error;

		fixture_open(&f, (struct fixture_options){0});
		two_layers(&f, &all, &a, &b, &config, &id);
		EXPECT(touch(&f, all, id, 0, 2), 0);
		fake_gpu_fail_nth(f.gpu, nth, -EIO);
		error = touch(&f, all, id, 1, 4);
		cr_assert(error == 0 || error == -EIO);
		fake_gpu_fail_nth(f.gpu, 0, 0);
		live = error ? 2 : 5;
		EXPECT(state_of(all, id).n_live, live);
		EXPECT(state_of(all, id).wanted, 2 * live * f.page);
		EXPECT(touch(&f, all, id, 1, 4), 0);
		EXPECT_SANE(&f);
		kv_regions_free(all);
		EXPECT(buffer_free(&f, &a), 0);
		EXPECT(buffer_free(&f, &b), 0);
		fixture_close(&f);
	}
}

Test(hint, when_hints_stop_the_region_is_stale_and_its_memory_whole)
{
	struct fixture f;
	struct buffer a, b;
	struct kv_regions *all;
	struct kv_region_config config = {.watchdog_ns = 1u << 20};
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	two_layers(&f, &all, &a, &b, &config, &id);
	EXPECT(touch(&f, all, id, 0, 1), 0);
	fake_gpu_set_time(f.gpu, 1u << 30);
	EXPECT(app_leak(&f, &a), 0);
	cr_assert(kv_reservation_is_static(a.r));
	EXPECT(pages_in(&a, KV_PAGE_BACKED), 8);
	EXPECT(touch(&f, all, id, 1, 1), -ESTALE);
	EXPECT(release(&f, all, id, 0, 0), -ESTALE);
	EXPECT(step(&f, all, id), -ESTALE);
	cr_assert(state_of(all, id).is_static);
	EXPECT_SANE(&f);
	kv_regions_free(all);
	EXPECT(buffer_free(&f, &a), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(hint, what_lies_beside_the_ranges_is_mapped_unless_it_is_said_to_be_unused)
{
	for (int part = 0; part < 2; part++) {
		struct fixture f;
		struct buffer b;
		struct kv_regions *all;
		range one;
		struct kv_region_config config = {
			.n_blocks = 4, .n_ranges = 1, .ranges = &one, .part = part};
		uint64_t id;

		fixture_open(&f, (struct fixture_options){0});
		EXPECT(kv_regions_new(f.core, &all), 0);
		EXPECT(buffer_new(&f, 16 * f.page, &b), 0);
		one = (range){b.base + 2 * f.page, 2 * f.page, f.page};
		EXPECT(kv_region_declare(all, &config, &id), 0);
		EXPECT(touch(&f, all, id, 1, 1), 0);
		/* Two pages before the hull of seven, seven behind it. */
		EXPECT(pages_in(&b, KV_PAGE_BACKED), part ? 1 : 10);
		EXPECT_SANE(&f);
		one.address = b.base + 10 * f.page;
		EXPECT(kv_region_declare(all, &config, &id), -ERANGE);
		one.address = 5;
		EXPECT(kv_region_declare(all, &config, &id), -EFAULT);
		kv_regions_free(all);
		EXPECT(buffer_free(&f, &b), 0);
		CLOSE(&f);
	}
}

Test(hint, bytes_name_the_blocks_that_they_touch_or_cover)
{
	struct fixture f;
	struct buffer b;
	struct kv_regions *all;
	range one;
	struct kv_region_config config = {.n_blocks = 4, .n_ranges = 1, .ranges = &one};
	struct kv_region *region;
	int64_t first, end;
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(kv_regions_new(f.core, &all), 0);
	EXPECT(buffer_new(&f, 16 * f.page, &b), 0);
	one = (range){b.base, 100, 60};
	EXPECT(kv_region_declare(all, &config, &id), 0);
	region = kv_region_claim(all, id);
#define BLOCKS(from, length, whole, a, z) \
	do { \
		EXPECT(kv_region_blocks(region, b.base + (from), length, whole, &first, &end), 0); \
		cr_assert(first == (a) && end == (z), "%ld to %ld", (long)first, (long)end); \
	} while (0)
	BLOCKS(0, 360, false, 0, 4);
	BLOCKS(0, 360, true, 0, 4);
	BLOCKS(59, 1, false, 0, 1);
	BLOCKS(60, 40, false, 1, 1); /* a gap */
	BLOCKS(60, 41, false, 1, 2);
	BLOCKS(1, 259, true, 1, 3);
	BLOCKS(1, 258, true, 1, 2);
	BLOCKS(10, 20, true, 1, 1);
	BLOCKS(100, 0, false, 1, 1);
	EXPECT(kv_region_blocks(region, b.base, 361, false, &first, &end), -ERANGE);
	EXPECT(kv_region_blocks(region, b.base - 1, 1, false, &first, &end), -ERANGE);
	kv_region_yield(region);
	cr_assert(!kv_region_claim(all, id + 1));
	kv_regions_free(all);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
