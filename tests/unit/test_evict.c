/* SPDX-License-Identifier: Apache-2.0 */
/* test_evict.c - taking pages away, and getting them back byte for byte. */
#include "core/reservation.h"
#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull

Test(evict, moves_everything_to_host_memory_and_touch_brings_it_back)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){.spare_pages = 100});
	EXPECT(buffer_new(&f, 20 * P, &b), 0);
	for (int i = 0; i < 20; i++)
		EXPECT(app_write(&f, &b, i * P, P, i + 1), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 20 * P);
	EXPECT(fake_gpu_device_used(f.gpu), 0); /* not even as spares */
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 20);
	EXPECT(f.process.evicted, 20 * P);
	EXPECT_SANE(&f);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(app_read(&f, &b, 0, 20 * P), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_IN), 1);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_ZERO), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_FLUSH), 1);
	EXPECT(f.process.pages_restored, 20);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, pages_that_are_all_zero_become_empty_and_keep_no_copy)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(app_write(&f, &b, 6 * P - 1, 1, 1), 0); /* the last byte of page 5 */
	EXPECT(kv_evict(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 8 * P);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 7);
	EXPECT(kv_reservation_page_state(b.r, 5), KV_PAGE_EVICTED);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, takes_no_more_than_asked_and_what_is_zero_first)
{
	struct fixture f;
	struct buffer b, c;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(buffer_new(&f, 8 * P, &c), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 1), 0);
	EXPECT(app_write(&f, &c, 0, 8 * P, 2), 0);
	EXPECT(app_zero(&f, &c, 0, 3 * P), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(kv_evict(f.space, 2 * P + 1, &bytes), 0);
	EXPECT(bytes, 3 * P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(pages_in(&c, KV_PAGE_EMPTY), 3);
	EXPECT(kv_evict(f.space, 2 * P, &bytes), 0);
	EXPECT(bytes, 2 * P);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 2);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(app_read(&f, &c, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(buffer_free(&f, &c), 0);
	CLOSE(&f);
}

Test(evict, takes_a_big_handle_whole_and_it_comes_back_as_one)
{
	struct fixture f;
	struct buffer b;
	struct kv_reservation *hit;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(app_wild_write(&f, &b, P, 3 * P, 9), 0);
	EXPECT(kv_evict(f.space, 1, &bytes), 0);
	EXPECT(bytes, 8 * P);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 3);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 5);
	EXPECT(kv_core_hits(f.core, b.base, &hit), true);
	EXPECT_SANE(&f);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(app_wild_write(&f, &b, 0, 1, 9), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_HANDLE_CREATE), 1);
	EXPECT(kv_reservation_is_whole(b.r), true);
	EXPECT(kv_core_hits(f.core, b.base, &hit), false);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	/* And as pages, when there is no such handle. */
	EXPECT(kv_evict(f.space, 1, &bytes), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_HANDLE_CREATE, 1, -ENOMEM);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(app_wild_write(&f, &b, 0, 8 * P, 3), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, leaves_spilled_pages_alone)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){.device_pages = 4, .host_pages = 4});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 3), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 4 * P);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 4);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, changes_nothing_while_work_does_not_finish_or_a_capture_is_open)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes = 77;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 1), 0);
	fake_gpu_set_busy(f.gpu, 1);
	EXPECT(kv_evict(f.space, UINT64_MAX, &bytes), -ETIMEDOUT);
	fake_gpu_set_capture(f.gpu, true);
	EXPECT(kv_evict(f.space, UINT64_MAX, &bytes), -EBUSY);
	EXPECT(kv_reap(f.space, &bytes), 0); /* nothing to reap: nobody is asked */
	EXPECT(bytes, 0);
	fake_gpu_set_capture(f.gpu, false);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(kv_evict_all(f.core), 0);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 8);
	EXPECT(f.process.quiesce_timeouts, 1);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, times_out_while_somebody_is_inside_and_the_gate_opens_again)
{
	struct fixture f;
	struct buffer b;
	uint32_t other;

	fixture_open(&f, (struct fixture_options){0});
	other = kv_core_thread_slot(f.core);
	EXPECT(buffer_new(&f, P, &b), 0);
	EXPECT(app_write(&f, &b, 0, P, 1), 0);
	kv_core_enter(f.core, other);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), -ETIMEDOUT);
	EXPECT(app_write(&f, &b, 0, P, 2), 0); /* not shut out */
	kv_core_leave(f.core, other);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(app_read(&f, &b, 0, P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, is_busy_while_somebody_else_has_closed_the_gate)
{
	struct fixture f;
	struct buffer b;
	struct kv_gate *gate;

	fixture_open(&f, (struct fixture_options){0});
	gate = &((struct kv_core_hot *)f.core)->gate;
	EXPECT(buffer_new(&f, P, &b), 0);
	EXPECT(app_write(&f, &b, 0, P, 1), 0);
	EXPECT(kv_gate_close(gate, 1000000000), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), -EBUSY);
	kv_gate_open(gate);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, without_host_memory_says_enomem_and_pages_stay)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 1), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_HOST_ALLOC, 2, -ENOMEM);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), -ENOMEM);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT_SANE(&f);
	/* Short of memory, but not without: a small slab will do. */
	fake_gpu_fail_kind(f.gpu, FAKE_HOST_ALLOC, 1, -ENOMEM);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(fake_gpu_host_used(f.gpu), 8 * P);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(kv_evict(f.space, 0, NULL), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(fake_gpu_host_used(f.gpu), 0);
	CLOSE(&f);
}

Test(evict, gives_every_page_its_own_slot_over_several_slabs)
{
	struct fixture f;
	struct buffer b;
	uint64_t page = 1ull << 20; /* 64 slots in a slab */

	fixture_open(&f, (struct fixture_options){.page = page, .device_pages = 80});
	EXPECT(buffer_new(&f, 70 * page, &b), 0);
	for (int i = 0; i < 70; i++)
		EXPECT(app_write(&f, &b, i * page, 64, i + 1), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(app_read(&f, &b, 3 * page, 1), 0);
	EXPECT(app_read(&f, &b, 66 * page, 1), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	for (int i = 0; i < 70; i++)
		EXPECT(app_read(&f, &b, i * page, 64), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(reap, keeps_handles_as_spares_up_to_the_bound)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){.spare_pages = 3});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), 0);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 8 * P);
	EXPECT(fake_gpu_device_used(f.gpu), 3 * P);
	EXPECT(f.process.spare, 3 * P);
	EXPECT(kv_space_trim(f.space, P + 1), 2 * P);
	EXPECT(kv_space_trim(f.space, UINT64_MAX), P);
	EXPECT(kv_space_trim(f.space, UINT64_MAX), 0);
	EXPECT(fake_gpu_device_used(f.gpu), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(reap, gives_spilled_pages_that_are_zero_back_to_the_budget)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){.device_pages = 2, .host_pages = 4});
	EXPECT(buffer_new(&f, 6 * P, &b), 0);
	EXPECT(app_transient(&f, &b, false, 0, 0, 0), 0);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 4);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 2 * P); /* device bytes */
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 6);
	EXPECT(f.process.spilled, 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(reap, without_host_memory_takes_what_need_not_be_read)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * P, 5), 0);
	EXPECT(app_zero(&f, &b, 0, 2 * P), 0);
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), 0); /* what is maybe zero stays a guess */
	fake_gpu_fail_kind(f.gpu, FAKE_HOST_ALLOC, 2, -ENOMEM);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 6 * P);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 2 * P);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(reap, reports_a_capture_and_work_that_does_not_finish)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), 0);
	fake_gpu_set_capture(f.gpu, true);
	EXPECT(kv_reap(f.space, &bytes), -EBUSY);
	fake_gpu_set_capture(f.gpu, false);
	fake_gpu_set_busy(f.gpu, 1);
	EXPECT(kv_reap(f.space, &bytes), -ETIMEDOUT);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 8 * P);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, what_was_touched_least_lately_goes_first)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.page = P});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 1), 0);
	atomic_fetch_add(&f.space->tick, 10);
	EXPECT(app_read(&f, &b, 0, 3 * P), 0);
	atomic_fetch_add(&f.space->tick, 1);
	EXPECT(app_read(&f, &b, 5 * P, P), 0);
	EXPECT(kv_evict(f.space, 4 * P, NULL), 0);
	EXPECT(kv_reservation_page_state(b.r, 3), KV_PAGE_EVICTED);
	EXPECT(kv_reservation_page_state(b.r, 4), KV_PAGE_EVICTED);
	EXPECT(kv_reservation_page_state(b.r, 6), KV_PAGE_EVICTED);
	EXPECT(kv_reservation_page_state(b.r, 7), KV_PAGE_EVICTED);
	EXPECT(kv_evict(f.space, 3 * P, NULL), 0);
	EXPECT(kv_reservation_page_state(b.r, 5), KV_PAGE_BACKED);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, b.size), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(evict, a_process_at_work_gives_in_short_windows_and_they_are_counted)
{
	const uint64_t mib = 1ull << 20;
	struct fixture f;
	struct buffer b;

	fixture_open(
		&f, (struct fixture_options){.page = mib, .device_pages = 512, .no_content = true});
	EXPECT(buffer_new(&f, 300 * mib, &b), 0);
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_touch(b.r, 0, 300 * mib), 0);
	kv_core_leave(f.core, f.slot);
	EXPECT(kv_space_give(f.space, 300 * mib, true), 300 * mib);
	EXPECT(kv_counted(&f.space->quiesces), 3);
	EXPECT(kv_counted(&f.space->reclaimed_bytes), 300 * mib);
	EXPECT(kv_counted(&f.space->evictions), 1);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
