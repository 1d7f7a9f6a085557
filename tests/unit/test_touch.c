/* SPDX-License-Identifier: Apache-2.0 */
/* test_touch.c - P1, P2 and P7: what a submission makes of pages. */
#include "tests/unit/test.h"

#define P 4096ull

Test(touch, a_fresh_reservation_has_no_memory_and_reads_as_zero)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(fake_gpu_device_used(f.gpu), 0);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 10);
	EXPECT(app_read(&f, &b, 0, 10 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(touch, backs_exactly_the_pages_that_the_range_meets)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(app_write(&f, &b, 2 * P + 100, 1, 9), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT(app_write(&f, &b, 4 * P - 1, 2, 9), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 3);
	EXPECT(kv_reservation_page_state(b.r, 1), KV_PAGE_EMPTY);
	EXPECT(kv_reservation_page_state(b.r, 5), KV_PAGE_EMPTY);
	EXPECT(app_read(&f, &b, 0, 10 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(touch, is_clipped_to_the_reservation)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_touch(b.r, 3 * P, UINT64_MAX), 0);
	EXPECT(kv_touch(b.r, 4 * P, 1), 0);
	EXPECT(kv_touch(b.r, UINT64_MAX, UINT64_MAX), 0);
	EXPECT(kv_touch(b.r, 0, 0), 0);
	kv_core_leave(f.core, f.slot);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(touch, without_memory_says_enomem_and_keeps_complete_runs)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 8});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 2 * P, P, 1), 0);
	fake_gpu_set_foreign(f.gpu, 4 * P); /* three pages are free */
	EXPECT(app_write(&f, &b, 0, 8 * P, 2), -ENOMEM);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 3); /* 0, 1 and 2; the run 3..7 was undone */
	EXPECT(kv_reservation_page_state(b.r, 3), KV_PAGE_EMPTY);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, 3 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(touch, spills_to_host_memory_when_the_device_is_full)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 4, .host_pages = 4});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 3), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 4);
	EXPECT(f.process.spilled, 4 * P);
	EXPECT(f.process.pages_spilled, 4);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(touch, without_host_handles_says_enomem_instead_of_spilling)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 4, .host_pages = 4});
	fake_gpu_set_host_handles(f.gpu, false);
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 3), -ENOMEM);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 8);
	EXPECT(f.process.spilled, 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(run, tells_empty_pages_from_others_and_stops_at_the_end)
{
	struct fixture f;
	struct buffer b;
	struct kv_run run;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 2 * P, 2 * P, 3), 0);
	kv_run_at(b.r, 10, 8 * P, &run);
	cr_assert(run.empty && run.offset == 10 && run.length == 2 * P - 10);
	kv_run_at(b.r, 2 * P, 8 * P, &run);
	cr_assert(!run.empty && run.length == 2 * P);
	kv_run_at(b.r, 3 * P + 5, 3 * P + 9, &run);
	cr_assert(!run.empty && run.length == 4);
	kv_run_at(b.r, 4 * P, UINT64_MAX, &run);
	cr_assert(run.empty && run.length == 4 * P);
	kv_run_at(b.r, 9 * P, 10 * P, &run); /* outside: left to the driver */
	cr_assert(!run.empty && run.length == P);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(zero, over_empty_pages_costs_nothing)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(app_zero(&f, &b, 0, 8 * P), 0);
	EXPECT(app_zero(&f, &b, 100, 3 * P), 0);
	EXPECT(fake_gpu_all_calls(f.gpu), 0);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 8);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(zero, drops_the_host_copies_of_whole_evicted_pages_and_restores_the_edges)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 5), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 8);
	EXPECT(app_zero(&f, &b, P + 1, 4 * P), 0);
	EXPECT(kv_reservation_page_state(b.r, 0), KV_PAGE_EVICTED);
	EXPECT(kv_reservation_page_state(b.r, 1), KV_PAGE_BACKED);
	EXPECT(kv_reservation_page_state(b.r, 2), KV_PAGE_EMPTY);
	EXPECT(kv_reservation_page_state(b.r, 4), KV_PAGE_EMPTY);
	EXPECT(kv_reservation_page_state(b.r, 5), KV_PAGE_BACKED);
	EXPECT(kv_reservation_page_state(b.r, 6), KV_PAGE_EVICTED);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(zero, of_backed_pages_makes_them_reapable_until_they_are_touched)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 5), 0);
	EXPECT(app_zero(&f, &b, 0, 8 * P), 0);
	EXPECT(app_write(&f, &b, 3 * P, 1, 6), 0);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 7 * P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(zero, is_not_believed_when_somebody_touched_before_it_was_done)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 2 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * P, 5), 0);
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_zero(b.r, 0, 2 * P), 0);
	EXPECT(kv_touch(b.r, 0, 1), 0); /* another thread's copy, submitted before our fill */
	memset(b.ideal, 0, 2 * P);
	fake_gpu_write(f.gpu, b.base, b.ideal, 2 * P);
	kv_zero_done(b.r, 0, 2 * P);
	kv_core_leave(f.core, f.slot);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, P);
	EXPECT(kv_reservation_page_state(b.r, 0), KV_PAGE_BACKED);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(zero, submitted_last_but_run_first_loses_no_write)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 2 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * P, 5), 0);
	EXPECT(app_zero(&f, &b, 0, 2 * P), 0);
	/* A kernel that was submitted before the fill, and waited for it, writes now. */
	b.ideal[7] = 9;
	fake_gpu_write(f.gpu, b.base + 7, b.ideal + 7, 1);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, P);
	EXPECT(kv_reservation_page_state(b.r, 0), KV_PAGE_BACKED);
	EXPECT(app_zero(&f, &b, 0, P), 0);
	b.ideal[7] = 9;
	fake_gpu_write(f.gpu, b.base + 7, b.ideal + 7, 1);
	EXPECT(kv_evict(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(kv_reservation_page_state(b.r, 0), KV_PAGE_EVICTED);
	EXPECT(app_read(&f, &b, 0, 2 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(leak, makes_the_reservation_whole_at_the_next_settle_with_one_handle)
{
	struct fixture f;
	struct buffer b;
	struct kv_reservation *hit;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 64 * P, &b), 0);
	EXPECT(kv_core_hits(f.core, b.base + 5, &hit), true);
	fake_gpu_reset_calls(f.gpu);
	kv_leak(b.r, KV_STATIC_KERNEL, "first");
	kv_leak(b.r, KV_STATIC_UPLOAD, "second");
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 64); /* a leak backs nothing by itself */
	EXPECT(kv_reservation_is_static(b.r), true);
	EXPECT(kv_reservation_is_whole(b.r), false);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(kv_reservation_is_whole(b.r), true);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_HANDLE_CREATE), 1);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_MAP), 1);
	EXPECT(fake_gpu_all_calls(f.gpu), 5);
	EXPECT(kv_core_hits(f.core, b.base + 5, &hit), false);
	cr_assert_str_eq(f.rows[0].static_by, "first");
	EXPECT(f.rows[0].static_reason, KV_STATIC_KERNEL);
	EXPECT(f.process.n_static, 1);
	EXPECT(app_wild_write(&f, &b, 17, 3 * P, 4), 0);
	EXPECT(app_read(&f, &b, 0, 64 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(leak, falls_back_to_pages_when_there_is_no_such_handle)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 16 * P, &b), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_HANDLE_CREATE, 1, -ENOMEM);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 16);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_HANDLE_CREATE), 17);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(leak, of_a_reservation_in_use_backs_the_rest_in_runs)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 16 * P, &b), 0);
	EXPECT(app_write(&f, &b, 4 * P, P, 8), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_SET_ACCESS), 2);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_ZERO), 2);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_FLUSH), 1);
	EXPECT(app_read(&f, &b, 0, 16 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(leak, of_everything_reaches_every_reservation)
{
	struct fixture f;
	struct buffer b[5];

	fixture_open(&f, (struct fixture_options){0});
	for (int i = 0; i < 5; i++)
		EXPECT(buffer_new(&f, 3 * P, &b[i]), 0);
	kv_leak_all(f.core, KV_STATIC_HOST_MEMORY, NULL);
	EXPECT(app_wild_write(&f, &b[2], 0, 3 * P, 4), 0);
	for (int i = 0; i < 5; i++) {
		EXPECT(kv_reservation_is_whole(b[i].r), true);
		EXPECT(f.rows[i].static_reason, KV_STATIC_HOST_MEMORY);
	}
	EXPECT_SANE(&f);
	for (int i = 0; i < 5; i++)
		EXPECT(buffer_free(&f, &b[i]), 0);
	CLOSE(&f);
}

Test(settle, without_memory_says_enomem_and_succeeds_once_there_is_some)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 8});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	fake_gpu_set_foreign(f.gpu, 8 * P);
	EXPECT(app_leak(&f, &b), -ENOMEM);
	EXPECT_SANE(&f);
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT(app_wild_write(&f, &b, 0, 8 * P, 1), 0);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(transient, pages_that_were_empty_and_stay_zero_go_at_the_next_reap)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, P, 5), 0);
	/* In place, over pages 0 and 3: page 3 is not zero afterwards. */
	EXPECT(app_transient(&f, &b, false, 3 * P, 10, 7), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 6 * P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 2);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(transient, dead_pages_go_without_being_read_unless_touched_meanwhile)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, P, 5), 0);
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), 0);
	EXPECT(app_write(&f, &b, 2 * P, P, 6), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 6 * P);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_OUT), 0);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(transient, after_a_live_one_a_dead_one_does_not_hide_what_was_written)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_transient(&f, &b, false, P, 10, 7), 0);
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), 0);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 3 * P);
	EXPECT(app_read(&f, &b, 0, 4 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(transient, without_memory_says_enomem_and_leaves_no_mark)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 8});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	fake_gpu_set_foreign(f.gpu, 6 * P);
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), -ENOMEM);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
