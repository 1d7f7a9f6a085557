/* SPDX-License-Identifier: Apache-2.0 */
/* test_linger.c - pages that nobody will read again and that keep their memory for a while. */
#include <errno.h>

#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull
#define LINGER 1000ull

/* One buffer of 8 pages, all written; pages 4 and 5 are spare since the time 100. */
static void open_with_spares(struct fixture *f, struct buffer *b, uint64_t linger_ns)
{
	fixture_open(f, (struct fixture_options){.linger_ns = linger_ns});
	EXPECT(buffer_new(f, 8 * P, b), 0);
	EXPECT(app_write(f, b, 0, 8 * P, 5), 0);
	EXPECT(app_release_later(f, b, 4 * P, 2 * P), 2 * P);
	if (linger_ns)
		EXPECT(kv_linger_task(f->space, 100), linger_ns / 2);
}

Test(linger, takes_pages_after_the_time_and_not_before_half_of_it)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	open_with_spares(&f, &b, LINGER);
	EXPECT(kv_space_is_marked(f.space), false);
	EXPECT(kv_linger_task(f.space, 100 + LINGER / 2 - 1), 1);
	EXPECT(kv_linger_task(f.space, 100 + LINGER / 2), LINGER / 2);
	EXPECT(kv_space_is_marked(f.space), false);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 0);
	EXPECT_SANE(&f);
	EXPECT(kv_linger_task(f.space, 100 + LINGER), KV_AGENT_NEVER);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 2 * P);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 2);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_OUT), 0);
	EXPECT(kv_linger_task(f.space, 100 + 2 * LINGER), KV_AGENT_NEVER);
	EXPECT_SANE(&f);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(linger, is_taken_back_by_a_touch_however_late)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes, losses;

	open_with_spares(&f, &b, LINGER);
	EXPECT(app_write(&f, &b, 4 * P, 1, 6), 0);
	EXPECT(kv_linger_task(f.space, 100 + LINGER / 2), LINGER / 2);
	losses = kv_core_losses(f.core);
	EXPECT(kv_linger_task(f.space, 100 + LINGER), KV_AGENT_NEVER);
	/* Who has touched it before must do it again, or lose it. */
	EXPECT(kv_core_losses(f.core) > losses, true);
	EXPECT(app_write(&f, &b, 5 * P, 1, 7), 0);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(linger, makes_whoever_replays_touches_repeat_them)
{
	struct fixture f;
	struct buffer b;
	uint64_t losses, revision;

	fixture_open(&f, (struct fixture_options){.linger_ns = LINGER});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * P, 5), 0);
	losses = kv_core_losses(f.core);
	EXPECT(app_release_later(&f, &b, 2 * P, P), 0); /* it has no memory */
	EXPECT(kv_core_losses(f.core), losses);
	EXPECT(app_release_later(&f, &b, P, P), P);
	EXPECT(kv_core_losses(f.core) > losses, true);
	EXPECT(app_release_later(&f, &b, P, P), 0); /* old news */
	revision = kv_core_revision(f.core);
	EXPECT(app_write(&f, &b, P, 1, 6), 0);
	EXPECT(kv_core_revision(f.core) > revision, true);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(linger, ends_when_memory_is_asked_for_and_nothing_is_copied)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	open_with_spares(&f, &b, 0);
	EXPECT(kv_linger_task(f.space, 100), KV_AGENT_NEVER);
	EXPECT(kv_evict(f.space, 2 * P, &bytes), 0);
	EXPECT(bytes, 2 * P);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 2);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_OUT), 0);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(linger, says_nothing_of_what_is_in_host_memory)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.linger_ns = LINGER});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 5), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(app_release_later(&f, &b, 2 * P, 2 * P), 0);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	EXPECT(app_read(&f, &b, 0, 2 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(linger, is_no_word_about_a_static_reservation)
{
	struct fixture f;
	struct buffer b;

	open_with_spares(&f, &b, LINGER);
	EXPECT(app_leak(&f, &b), 0); /* whoever writes from now on says nothing */
	EXPECT(app_release_later(&f, &b, 0, P), 0);
	EXPECT(app_wild_write(&f, &b, 4 * P, P, 9), 0);
	EXPECT(kv_linger_task(f.space, 100 + LINGER / 2), KV_AGENT_NEVER);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(linger, of_what_is_released_as_well_is_over)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	open_with_spares(&f, &b, LINGER);
	EXPECT(app_release(&f, &b, 4 * P, P), P);
	EXPECT(app_release_later(&f, &b, 4 * P, P), 0);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, P);
	/* A kernel that keeps what is dead as it is does not bring it back; another one does. */
	EXPECT(app_shift(&f, &b, true, 5 * P, P, 0), 0);
	EXPECT(kv_linger_task(f.space, 100 + LINGER / 2), LINGER / 2);
	EXPECT(app_shift(&f, &b, false, 5 * P, P, 8), 0);
	EXPECT(kv_linger_task(f.space, 100 + LINGER), KV_AGENT_NEVER);
	EXPECT(kv_reap(f.space, &bytes), 0);
	EXPECT(bytes, 0);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
