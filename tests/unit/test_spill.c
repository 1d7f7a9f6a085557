/* SPDX-License-Identifier: Apache-2.0 */
/* test_spill.c - SPILLED pages and their way back to the device. */
#include "core/agent.h"
#include "core/space.h"
#include "core/spill.h"
#include "tests/unit/test.h"

#define P 4096ull
#define SECOND 1000000000ull

static struct fixture f;
static struct buffer b;

/* A device with eight pages, six of them somebody else's: two pages BACKED, six SPILLED. */
static void open_full(void)
{
	fixture_open(&f, (struct fixture_options){
				 .page = P, .device_pages = 8, .spare_pages = 2, .host_pages = 8});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	fake_gpu_set_foreign(f.gpu, 6 * P);
	for (int i = 0; i < 8; i++)
		EXPECT(app_write(&f, &b, (uint64_t)i * P, P, (uint8_t)(i + 1)), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 2);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 6);
}

static void close_full(void)
{
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, b.size), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(spill, pages_come_back_when_the_device_has_memory_again)
{
	uint64_t bytes = 0;

	open_full();
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT(kv_promote(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 6 * P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(f.process.pages_promoted, 6);
	EXPECT(f.process.spilled, 0);
	EXPECT(f.process.host_taken, 0); /* the budget is whole again */
	EXPECT(kv_promote(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 0);
	close_full();
}

Test(spill, as_many_come_back_as_there_is_memory_or_as_are_asked_for)
{
	uint64_t bytes = 0;

	open_full();
	fake_gpu_set_foreign(f.gpu, 4 * P);
	EXPECT(kv_promote(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 2 * P);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 4);
	EXPECT_SANE(&f);
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT(kv_promote(f.space, P, &bytes), 0);
	EXPECT(bytes, P);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 3);
	close_full();
}

Test(spill, on_a_full_device_nobody_is_stopped)
{
	uint64_t bytes = 77, quiesces;

	open_full();
	quiesces = kv_counted(&f.space->quiesces);
	EXPECT(kv_promote(f.space, UINT64_MAX, &bytes), -ENOMEM);
	EXPECT(bytes, 77);
	EXPECT(kv_counted(&f.space->quiesces), quiesces);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 6);
	fake_gpu_set_foreign(f.gpu, 0);
	close_full();
}

Test(spill, work_in_flight_and_captures_are_left_alone)
{
	open_full();
	fake_gpu_set_foreign(f.gpu, 0);
	fake_gpu_set_busy(f.gpu, 1);
	EXPECT(kv_promote(f.space, UINT64_MAX, NULL), -ETIMEDOUT);
	fake_gpu_set_capture(f.gpu, true);
	EXPECT(kv_promote(f.space, UINT64_MAX, NULL), -EBUSY);
	fake_gpu_set_capture(f.gpu, false);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 6);
	EXPECT_SANE(&f);
	EXPECT(kv_promote(f.space, UINT64_MAX, NULL), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	close_full();
}

Test(spill, what_others_know_stays_where_it_is)
{
	uint64_t bytes = 0;

	open_full();
	kv_leak(b.r, KV_STATIC_EXPORT, "cuMemExportToShareableHandle");
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT(kv_promote(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 0);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 6);
	close_full();
}

Test(spill, a_static_reservation_stays_whole)
{
	open_full();
	EXPECT(app_leak(&f, &b), 0);
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT(kv_promote(f.space, UINT64_MAX, NULL), 0);
	EXPECT(kv_reservation_is_whole(b.r), true);
	EXPECT(app_wild_write(&f, &b, 5 * P, P, 99), 0);
	close_full();
}

Test(spill, whatever_call_of_the_driver_fails_no_content_is_lost)
{
	uint32_t n_failed = 0;

	for (uint64_t n = 1; n < 200; n++) {
		enum fake_call kind;

		open_full();
		fake_gpu_set_foreign(f.gpu, 0);
		fake_gpu_fail_nth(f.gpu, n, n % 2 ? -EIO : -ENOMEM);
		kv_promote(f.space, UINT64_MAX, NULL);
		EXPECT_SANE(&f);
		if (!fake_gpu_has_failed(f.gpu, &kind)) {
			fake_gpu_fail_nth(f.gpu, 0, 0);
			close_full();
			break;
		}
		n_failed++;
		EXPECT(app_read(&f, &b, 0, b.size), 0);
		EXPECT(kv_promote(f.space, UINT64_MAX, NULL), 0);
		EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
		EXPECT_SANE(&f);
		EXPECT(buffer_free(&f, &b), 0);
		/* A release that fails has no remedy: the driver keeps the memory. */
		if (kind == FAKE_HANDLE_RELEASE || kind == FAKE_HOST_FREE)
			fixture_close(&f);
		else
			CLOSE(&f);
	}
	cr_assert(n_failed > 20, "%u calls failed", n_failed);
}

Test(spill, flushes_that_fail_leave_the_content_where_it_can_be_read)
{
	open_full();
	fake_gpu_set_foreign(f.gpu, 0);
	fake_gpu_fail_kind(f.gpu, FAKE_FLUSH, 2, -EIO);
	EXPECT(kv_promote(f.space, UINT64_MAX, NULL), -EIO);
	EXPECT_SANE(&f);
	EXPECT_SANE(&f);
	EXPECT(kv_promote(f.space, UINT64_MAX, NULL), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	close_full();
}

Test(spill, the_agent_looks_once_per_second_and_hurries_while_it_succeeds)
{
	open_full();
	EXPECT(kv_promote_task(f.space, 1 * SECOND), SECOND); /* full */
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT(kv_promote_task(f.space, 2 * SECOND), SECOND); /* all in one go */
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(kv_promote_task(f.space, 3 * SECOND), SECOND);
	close_full();
}
