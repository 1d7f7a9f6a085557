/* SPDX-License-Identifier: Apache-2.0 */
/* test_counts.c - what backing costs, in calls into the driver. */
#include "tests/unit/test.h"

#define P (2ull << 20)
#define PAGES 512ull /* 1 GiB */

static void report(struct fixture *f, const char *what)
{
	uint64_t all = fake_gpu_all_calls(f->gpu);

	SAY("%s: %llu driver calls for %llu pages (%.3f per page): create %llu, map %llu, "
	    "set_access %llu, zero %llu, copy_in %llu, flush %llu",
		what, (unsigned long long)all, (unsigned long long)PAGES, (double)all / PAGES,
		(unsigned long long)fake_gpu_calls(f->gpu, FAKE_HANDLE_CREATE),
		(unsigned long long)fake_gpu_calls(f->gpu, FAKE_MAP),
		(unsigned long long)fake_gpu_calls(f->gpu, FAKE_SET_ACCESS),
		(unsigned long long)fake_gpu_calls(f->gpu, FAKE_ZERO),
		(unsigned long long)fake_gpu_calls(f->gpu, FAKE_COPY_IN),
		(unsigned long long)fake_gpu_calls(f->gpu, FAKE_FLUSH));
}

static void touch_all(struct fixture *f, struct kv_reservation *r)
{
	fake_gpu_reset_calls(f->gpu);
	kv_core_enter(f->core, f->slot);
	EXPECT(kv_touch(r, 0, PAGES * P), 0);
	EXPECT(kv_settle(f->core), 0);
	kv_core_leave(f->core, f->slot);
}

/* Every page counted in its cell, by the definition of the cells. */
static void expect_map(struct fixture *f, struct buffer *b, uint64_t n_pages)
{
	for (uint64_t c = 0; c < KV_STATS_CELLS; c++) {
		uint64_t first = c * n_pages / KV_STATS_CELLS,
			 end = (c + 1) * n_pages / KV_STATS_CELLS;
		uint64_t backed = 0, evicted = 0;

		for (uint64_t i = first; i < end; i++) {
			enum kv_page_state state = kv_reservation_page_state(b->r, i);

			backed += state == KV_PAGE_BACKED;
			evicted += state == KV_PAGE_EVICTED;
		}
		EXPECT(f->rows[0].map[c].backed,
			end > first ? (backed * 255 + (end - first) - 1) / (end - first) : 0);
		EXPECT(f->rows[0].map[c].evicted,
			end > first ? (evicted * 255 + (end - first) - 1) / (end - first) : 0);
		EXPECT(f->rows[0].map[c].spilled, 0);
	}
}

Test(counts, of_pages_by_cells_of_the_map)
{
	static const uint64_t sizes[] = {1, 3, 63, 64, 65, 200, 511};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct fixture f;
		struct buffer b;
		uint64_t n = sizes[i];

		fixture_open(&f, (struct fixture_options){.device_pages = 1024});
		EXPECT(buffer_new(&f, n * 4096, &b), 0);
		expect_map(&f, &b, n);
		EXPECT(app_write(&f, &b, 0, (n + 1) / 2 * 4096, 1), 0);
		expect_map(&f, &b, n);
		EXPECT(kv_evict(f.space, (n + 1) / 3 * 4096, NULL), 0);
		expect_map(&f, &b, n);
		EXPECT(app_write(&f, &b, (n - 1) * 4096, 4096, 2), 0);
		expect_map(&f, &b, n);
		EXPECT(buffer_free(&f, &b), 0);
		EXPECT(f.rows[0].map[0].backed, 0);
		CLOSE(&f);
	}
}

Test(counts, of_a_gibibyte_touched_at_once)
{
	struct fixture f;
	struct kv_reservation *r;
	struct kv_process_stats before, after;

	fixture_open(&f, (struct fixture_options){.page = P,
				 .device_pages = 2 * PAGES,
				 .spare_pages = PAGES,
				 .no_content = true});
	EXPECT(kv_reservation_new(f.space, PAGES * P, NULL, 0, &r), 0);
	kv_space_stats(f.space, &before);
	touch_all(&f, r);
	kv_space_stats(f.space, &after);
	report(&f, "first touch of 1 GiB");
	EXPECT(fake_gpu_calls(f.gpu, FAKE_HANDLE_CREATE), PAGES);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_MAP), PAGES);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_SET_ACCESS), 1);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_ZERO), 1);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_FLUSH), 1);
	EXPECT(fake_gpu_all_calls(f.gpu), 2 * PAGES + 3);
	EXPECT(after.driver_calls - before.driver_calls, 2 * PAGES + 3);
	EXPECT(after.submissions - before.submissions, 1);

	/* Nothing to do: nothing done. */
	touch_all(&f, r);
	EXPECT(fake_gpu_all_calls(f.gpu), 0);

	/* Zeroed, reaped, touched again: the handles are there. */
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_zero(r, 0, PAGES * P), 0);
	kv_zero_done(r, 0, PAGES * P);
	kv_core_leave(f.core, f.slot);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_DRAIN), 1);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_UNMAP), 2); /* one a chunk of 512 MiB */
	touch_all(&f, r);
	report(&f, "second touch of 1 GiB, handles recycled");
	EXPECT(fake_gpu_calls(f.gpu, FAKE_HANDLE_CREATE), 0);
	EXPECT(fake_gpu_all_calls(f.gpu), PAGES + 3);
	EXPECT(kv_reservation_free(f.core, kv_reservation_base(r)), 0);
	CLOSE(&f);
}

Test(counts, of_a_gibibyte_that_turned_static_untouched)
{
	struct fixture f;
	struct kv_reservation *r;

	fixture_open(&f,
		(struct fixture_options){.page = P, .device_pages = 2 * PAGES, .no_content = true});
	EXPECT(kv_reservation_new(f.space, PAGES * P, NULL, 0, &r), 0);
	kv_leak(r, KV_STATIC_KERNEL, "k");
	touch_all(&f, r);
	report(&f, "static 1 GiB, one handle");
	EXPECT(fake_gpu_all_calls(f.gpu), 5);
	EXPECT(kv_reservation_free(f.core, kv_reservation_base(r)), 0);
	CLOSE(&f);
}

Test(counts, scattered_pages_share_one_flush)
{
	struct fixture f;
	struct kv_reservation *r;

	fixture_open(&f,
		(struct fixture_options){.page = P, .device_pages = 2 * PAGES, .no_content = true});
	EXPECT(kv_reservation_new(f.space, PAGES * P, NULL, 0, &r), 0);
	kv_core_enter(f.core, f.slot);
	for (uint64_t i = 0; i < PAGES; i += 2)
		EXPECT(kv_touch(r, i * P, 1), 0);
	kv_core_leave(f.core, f.slot);
	touch_all(&f, r);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_SET_ACCESS), PAGES / 2);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_ZERO), PAGES / 2);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_FLUSH), 1);
	EXPECT(kv_reservation_free(f.core, kv_reservation_base(r)), 0);
	CLOSE(&f);
}

Test(counts, of_launches_are_submissions_that_are_nothing_else)
{
	struct kv_process_stats stats;
	struct fixture f;

	fixture_open(&f, (struct fixture_options){0});
	for (int i = 0; i < 10; i++) {
		kv_core_enter(f.core, f.slot);
		if (i % 5 == 0)
			kv_core_count_other(f.core, f.slot, 1);
		kv_core_leave(f.core, f.slot);
	}
	kv_space_stats(f.space, &stats);
	EXPECT(stats.launches, 8);
	/* who has told that it is something else, and then is a launch after all */
	kv_core_enter(f.core, f.slot);
	kv_core_count_other(f.core, f.slot, 1);
	kv_core_count_other(f.core, f.slot, -1);
	kv_core_leave(f.core, f.slot);
	/* somebody inside is told of before it has passed */
	kv_core_enter(f.core, f.slot);
	kv_core_count_other(f.core, f.slot, 1);
	kv_space_stats(f.space, &stats);
	EXPECT(stats.launches, 8);
	kv_core_leave(f.core, f.slot);
	kv_space_stats(f.space, &stats);
	EXPECT(stats.launches, 9);
	CLOSE(&f);
}

Test(counts, of_what_launches_cost_go_to_the_bucket_of_their_size)
{
	static const struct {
		uint64_t ns;
		unsigned bucket;
	} cases[] = {{0, 0}, {1, 0}, {2, 1}, {3, 1}, {1023, 9}, {1024, 10}, {UINT64_MAX, 31}};
	struct kv_process_stats stats;
	struct fixture f;

	fixture_open(&f, (struct fixture_options){0});
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t before;

		kv_space_stats(f.space, &stats);
		before = stats.launch_ns[cases[i].bucket];
		kv_core_count_launch(f.core, cases[i].ns);
		kv_space_stats(f.space, &stats);
		EXPECT(stats.launch_ns[cases[i].bucket], before + 1);
	}
	EXPECT(stats.launch_sample, KV_LAUNCH_SAMPLE);
	CLOSE(&f);
}
