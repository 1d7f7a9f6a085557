/* SPDX-License-Identifier: Apache-2.0 */
/* test_ahead.c - pages that get memory before they are needed. */
#include <errno.h>

#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull
#define LINGER 1000ull

static int ahead(struct fixture *f, struct buffer *b, uint64_t first, uint64_t n)
{
	const struct kv_range range = {first * P, n * P};

	return kv_touch_ahead(f->space, b->r, &range, 1);
}

Test(ahead, of_a_write_the_pages_are_there_and_the_write_asks_the_driver_for_nothing)
{
	struct fixture f;
	struct buffer b;
	struct kv_process_stats stats;
	uint64_t calls, losses;

	fixture_open(&f, (struct fixture_options){.linger_ns = LINGER});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * P, 5), 0);
	losses = kv_core_losses(f.core);
	EXPECT(ahead(&f, &b, 1, 3), 0); /* one is there already */
	EXPECT(kv_core_losses(f.core) > losses, true);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT_SANE(&f);
	calls = kv_counted(&f.space->driver_calls);
	EXPECT(app_write(&f, &b, 2 * P, P, 6), 0);
	EXPECT(kv_counted(&f.space->driver_calls), calls);
	kv_space_stats(f.space, &stats);
	EXPECT(stats.pages_ahead, 2);
	EXPECT(stats.pages_ahead_used, 1);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ahead, of_nothing_the_pages_go_after_a_while)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){.linger_ns = LINGER});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(ahead(&f, &b, 0, 3), 0);
	EXPECT(app_write(&f, &b, 0, P, 5), 0);
	EXPECT(kv_linger_task(f.space, 100), LINGER / 2);
	EXPECT(kv_linger_task(f.space, 100 + LINGER / 2), LINGER / 2);
	EXPECT(kv_linger_task(f.space, 100 + LINGER), KV_AGENT_NEVER);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 2 * P);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ahead, asks_nobody_and_takes_no_host_memory)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 4, .host_pages = 8});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 3 * P, 5), 0);
	EXPECT(ahead(&f, &b, 3, 2), -ENOMEM);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 3);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 0);
	EXPECT_SANE(&f);
	EXPECT(app_write(&f, &b, 3 * P, 2 * P, 6), 0); /* who needs it may spill */
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 1);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ahead, leaves_what_has_content_or_is_static_or_not_its_own_alone)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * P, 5), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(ahead(&f, &b, 0, 3), 0);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 2);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT(ahead(&f, &b, 4, 100), 0);
	EXPECT(ahead(&f, &b, 3, 0), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(ahead(&f, &b, 0, 4), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 0);
	EXPECT(app_read(&f, &b, 0, 4 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ahead, fails_at_any_call_without_a_trace)
{
	for (uint64_t n = 1; n < 40; n++) {
		struct fixture f;
		struct buffer b;
		int error;

		fixture_open(&f, (struct fixture_options){.spare_pages = 1});
		EXPECT(buffer_new(&f, 8 * P, &b), 0);
		EXPECT(app_write(&f, &b, 0, P, 5), 0);
		fake_gpu_fail_nth(f.gpu, n, n & 1 ? -ENOMEM : -EIO);
		error = ahead(&f, &b, 0, 4);
		EXPECT((error < 0) == fake_gpu_has_failed(f.gpu, NULL), true);
		fake_gpu_fail_nth(f.gpu, 0, 0);
		EXPECT_SANE(&f);
		EXPECT(app_write(&f, &b, P, 3 * P, 6), 0);
		EXPECT(app_read(&f, &b, 0, 8 * P), 0);
		EXPECT(buffer_free(&f, &b), 0);
		CLOSE(&f);
	}
}

Test(ahead, leaves_a_sixty_fourth_of_the_device_to_those_who_need_it)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 128});
	EXPECT(buffer_new(&f, 128 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 120 * P, 5), 0);
	EXPECT(ahead(&f, &b, 120, 7), -ENOMEM);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 120);
	EXPECT(ahead(&f, &b, 120, 6), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 126);
	EXPECT(ahead(&f, &b, 126, 1), -ENOMEM);
	EXPECT(app_write(&f, &b, 120 * P, 8 * P, 6), 0);
	EXPECT(app_read(&f, &b, 0, 128 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ahead, of_anything_the_pages_go_first_to_whoever_needs_memory)
{
	struct fixture f;
	struct buffer b;
	bool aside;

	fixture_open(&f, (struct fixture_options){.device_pages = 128, .linger_ns = LINGER});
	EXPECT(buffer_new(&f, 100 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 50 * P, 5), 0);
	EXPECT(ahead(&f, &b, 50, 10), 0);
	/* a neighbour asks for what nobody uses */
	EXPECT(kv_space_give(f.space, 4 * P, false) >= 4 * P, true);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 50);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 0);
	/* a native allocation of the program does not fit */
	EXPECT(ahead(&f, &b, 50, 10), 0);
	EXPECT(kv_space_make_room(f.space, 4 * P, kv_gpu_now(f.space), &aside), true);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 50);
	EXPECT(app_read(&f, &b, 0, 100 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
