/* SPDX-License-Identifier: Apache-2.0 */
/* test_release.c - what an engine will not read again: marked, and gone at the next reap. */
#include <errno.h>

#include "tests/unit/test.h"

#define P 4096ull

Test(release, takes_whole_pages_at_the_next_reap_and_copies_nothing)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){.spare_pages = 2});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 5), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(app_release(&f, &b, P - 1, 4 * P + 2), 4 * P);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_UNMAP), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT_SANE(&f);
	EXPECT(app_release(&f, &b, 0, 5 * P), P); /* the rest is old news */
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 5 * P);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 5);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_OUT), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_UNMAP), 1);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_HANDLE_RELEASE), 3); /* two are spares */
	EXPECT(f.process.spare, 2 * P);
	EXPECT(app_read(&f, &b, 5 * P, 3 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, of_less_than_a_page_does_nothing)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 5), 0);
	EXPECT(app_release(&f, &b, 1, 2 * P - 2), 0);
	EXPECT(app_release(&f, &b, 4 * P, P), 0);
	EXPECT(app_release(&f, &b, 0, 0), 0);
	EXPECT(app_read(&f, &b, 0, 4 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, up_to_the_last_byte_asked_for_takes_the_last_page)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 2 * P + 100, &b), 0);
	EXPECT(app_write(&f, &b, 0, b.size, 5), 0);
	EXPECT(app_release(&f, &b, 2 * P, 99), 0);
	EXPECT(app_release(&f, &b, 2 * P, 100), P);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, P);
	EXPECT(app_read(&f, &b, 0, 2 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, is_taken_back_by_a_touch)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 5), 0);
	EXPECT(app_release(&f, &b, 0, 4 * P), 4 * P);
	EXPECT(app_write(&f, &b, P, 1, 6), 0);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 3 * P);
	EXPECT(kv_reservation_page_state(b.r, 1), KV_PAGE_BACKED);
	EXPECT(app_read(&f, &b, P, 1), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, of_evicted_pages_drops_their_copies_at_once)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 5), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(app_release(&f, &b, P, 2 * P), 2 * P);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 2);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 2);
	EXPECT(f.process.evicted, 2 * P);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, P), 0);
	EXPECT(app_read(&f, &b, 3 * P, P), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_IN), 2);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, of_spilled_pages_gives_the_host_budget_back)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){.device_pages = 4, .host_pages = 4});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 5), 0);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 4);
	EXPECT(app_release(&f, &b, 0, 8 * P), 8 * P);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 4 * P); /* of the device */
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 8);
	EXPECT(f.process.spilled, 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, of_a_static_reservation_is_not_believed)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 5), 0);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(app_release(&f, &b, 0, 4 * P), 0);
	EXPECT(kv_evict_all(f.core), 0);
	EXPECT(app_release(&f, &b, 0, 4 * P), 0); /* nor while it is not whole */
	EXPECT(app_read(&f, &b, 0, 4 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, survives_a_zero_fill_but_not_a_transient_write_that_counts)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 5), 0);
	EXPECT(app_release(&f, &b, 0, 4 * P), 4 * P);
	EXPECT(app_zero(&f, &b, 0, P), 0);
	EXPECT(app_shift(&f, &b, false, P, P, 7), 0);
	EXPECT(app_shift(&f, &b, true, 2 * P, P, 0), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 3 * P);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_OUT), 0);
	EXPECT(app_read(&f, &b, 0, 2 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(release, waits_for_work_in_flight)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 5), 0);
	EXPECT(app_release(&f, &b, 0, 4 * P), 4 * P);
	fake_gpu_set_capture(f.gpu, true);
	EXPECT(kv_reap(f.space, &bytes), -EBUSY);
	fake_gpu_set_capture(f.gpu, false);
	fake_gpu_set_busy(f.gpu, 1);
	EXPECT(kv_reap(f.space, &bytes), -ETIMEDOUT);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT_SANE(&f);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 4 * P);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(transient, of_a_range_backs_no_page_beyond_it)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 16 * P, &b), 0);
	EXPECT(app_write(&f, &b, 4 * P, P, 5), 0);
	EXPECT(app_shift(&f, &b, true, 4 * P, 4 * P, 0), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 3 * P);
	EXPECT(app_shift(&f, &b, false, 9 * P + 1, 1, 8), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 2);
	EXPECT(app_shift(&f, &b, true, 16 * P, P, 8), 0); /* beyond the end */
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 0); /* it was not zero */
	EXPECT(app_read(&f, &b, 0, 16 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ranges, of_several_planes_are_backed_with_one_flush)
{
	const struct kv_range ranges[] = {
		{12 * P, 1}, {0, 2 * P}, {5 * P - 1, 2}, {14 * P, 100 * P}, {20 * P, 1}, {3, 0}};
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 16 * P, &b), 0);
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_touch_ranges(b.r, ranges, 6), 0);
	kv_core_leave(f.core, f.slot);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 7);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_FLUSH), 1);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_SET_ACCESS), 4);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_ZERO), 4);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, 16 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ranges, that_cannot_all_be_had_keep_what_was_complete)
{
	const struct kv_range ranges[] = {{0, 2 * P}, {4 * P, 2 * P}, {8 * P, 2 * P}};
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 16});
	EXPECT(buffer_new(&f, 16 * P, &b), 0);
	fake_gpu_set_foreign(f.gpu, 11 * P); /* five are left */
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_touch_ranges(b.r, ranges, 3), -ENOMEM);
	kv_core_leave(f.core, f.slot);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT_SANE(&f);
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT(app_read(&f, &b, 0, 16 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ranges, whose_fill_fails_are_none_of_them_backed)
{
	const struct kv_range ranges[] = {{0, 2 * P}, {4 * P, 2 * P}};
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_FLUSH, 1, -EIO);
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_touch_ranges(b.r, ranges, 2), -EIO);
	kv_core_leave(f.core, f.slot);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 8);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(revision, changes_with_pages_and_with_marks_that_are_taken_back)
{
	struct fixture f;
	struct buffer b;
	uint64_t seen;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	seen = kv_core_revision(f.core);
	EXPECT(app_write(&f, &b, 0, 4 * P, 2), 0);
	app_release(&f, &b, 2 * P, 2 * P);
	EXPECT(kv_core_revision(f.core), seen);
	EXPECT(app_write(&f, &b, 2 * P, P, 3), 0); /* was to go */
	EXPECT(kv_core_revision(f.core) != seen, 1);
	seen = kv_core_revision(f.core);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(kv_core_revision(f.core) != seen, 1);
	seen = kv_core_revision(f.core);
	EXPECT(app_write(&f, &b, 6 * P, P, 3), 0);
	EXPECT(kv_core_revision(f.core) != seen, 1);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
