/* SPDX-License-Identifier: Apache-2.0 */
/* test_kept.c - host copies that stay true until somebody writes the page. */
#include "core/reservation.h"
#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull

static struct fixture f;
static struct buffer b;

/* Eight pages of content, filled by exact writes and known to a kernel that only reads. */
static void open_buffer(bool keep)
{
	fixture_open(
		&f, (struct fixture_options){.page = P, .spare_pages = 4, .keep_copies = keep});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 42), 0);
	EXPECT(app_leak_read(&f, &b), 0);
}

static uint64_t evict(void)
{
	uint64_t before = fake_gpu_calls(f.gpu, FAKE_COPY_OUT);

	EXPECT(kv_evict_gently(f.space, UINT64_MAX, false, NULL), 0);
	EXPECT(kv_counted(&f.space->backed), 0);
	EXPECT_SANE(&f);
	return fake_gpu_calls(f.gpu, FAKE_COPY_OUT) - before;
}

static void close_buffer(void)
{
	EXPECT(app_wild_read(&f, &b, 0, b.size), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(fake_gpu_host_used(f.gpu), 0);
	CLOSE(&f);
}

Test(kept, what_was_only_read_goes_without_copying_the_second_time)
{
	open_buffer(true);
	EXPECT(evict() > 0, true);
	EXPECT(f.process.pages_not_copied, 0);
	EXPECT(f.process.evicted_bytes, 8 * P);
	EXPECT(app_wild_read(&f, &b, 0, 8 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(app_leak_read(&f, &b), 0);
	EXPECT(evict(), 0);
	EXPECT(f.process.pages_not_copied, 8);
	EXPECT(f.process.evicted_bytes, 8 * P);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 8);
	close_buffer();
}

Test(kept, without_the_option_everything_is_copied_each_time)
{
	open_buffer(false);
	evict();
	EXPECT(app_wild_read(&f, &b, 0, 8 * P), 0);
	EXPECT(evict() > 0, true);
	EXPECT(f.process.pages_not_copied, 0);
	close_buffer();
}

Test(kept, an_exact_write_costs_the_copies_of_its_pages_only)
{
	open_buffer(true);
	evict();
	EXPECT(app_write(&f, &b, P + 7, P, 17), 0); /* two pages */
	EXPECT(evict() > 0, true);
	EXPECT(f.process.pages_not_copied, 6);
	EXPECT(f.process.evicted_bytes, 10 * P);
	EXPECT(app_zero(&f, &b, 4 * P, P), 0);
	EXPECT(evict() > 0, true);
	close_buffer();
}

Test(kept, a_pointer_to_write_through_ends_it_for_good)
{
	open_buffer(true);
	evict();
	EXPECT(app_leak(&f, &b), 0);
	EXPECT_SANE(&f);
	EXPECT(kv_reservation_is_whole(b.r), true);
	EXPECT(app_wild_write(&f, &b, 3 * P, 5, 99), 0);
	EXPECT(evict() > 0, true);
	EXPECT(app_wild_write(&f, &b, 5 * P, 5, 98), 0);
	EXPECT(evict() > 0, true);
	EXPECT(f.process.pages_not_copied, 0);
	close_buffer();
}

Test(kept, it_is_over_before_it_begins_if_the_pointer_was_given_away_earlier)
{
	open_buffer(true);
	EXPECT(app_leak(&f, &b), 0);
	evict();
	EXPECT(app_wild_write(&f, &b, 0, 8 * P, 1), 0);
	evict();
	EXPECT(f.process.pages_not_copied, 0);
	close_buffer();
}

Test(kept, a_transient_kernel_may_have_written_its_range)
{
	open_buffer(true);
	evict();
	EXPECT(app_transient(&f, &b, false, 2 * P, P, 5), 0);
	evict();
	EXPECT(f.process.pages_not_copied, 0);
	close_buffer();
}

Test(kept, an_eviction_that_fails_keeps_the_content)
{
	open_buffer(true);
	evict();
	EXPECT(app_wild_read(&f, &b, 0, 8 * P), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_UNMAP, 1, -EIO);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), -EIO);
	EXPECT_SANE(&f);
	EXPECT(app_wild_read(&f, &b, 0, 8 * P), 0);
	evict();
	close_buffer();
}

Test(kept, an_elastic_reservation_keeps_no_copies)
{
	fixture_open(&f, (struct fixture_options){.page = P, .keep_copies = true});
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 42), 0);
	evict();
	EXPECT(kv_restore(f.space, UINT64_MAX, NULL), 0);
	EXPECT_SANE(&f);
	evict();
	EXPECT(f.process.pages_not_copied, 0);
	EXPECT(app_read(&f, &b, 0, 8 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(kept, a_copy_of_a_page_that_has_died_goes_with_the_page)
{
	open_buffer(true);
	evict();
	EXPECT(app_wild_read(&f, &b, 0, 8 * P), 0);
	EXPECT(app_leak_read(&f, &b), 0);
	/* Nothing in core marks pages of a static reservation: whatever will, must not pay for it.
	 */
	kv_reservation_lock(b.r);
	b.r->pages[1].flags |= KV_PAGE_DEAD;
	b.r->pages[2].flags |= KV_PAGE_SPARE;
	EXPECT(!!(b.r->pages[1].flags & b.r->pages[2].flags & KV_PAGE_COPIED), true);
	kv_reservation_unlock(b.r);
	EXPECT(evict(), 0);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 6);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 2);
	EXPECT(f.process.pages_not_copied, 6);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(fake_gpu_host_used(f.gpu), 0);
	CLOSE(&f);
}
