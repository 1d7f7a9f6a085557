/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_want.c - managed reservations: what is wanted is mapped before every submission, what is not
 * goes; and paused ones.
 */
#include "core/want.h"
#include "tests/unit/test.h"

#define SPAN(first, n) ((struct kv_span){(first)*f.page, (n)*f.page})

static const struct kv_manage_config nothing;

static int want(struct fixture *f, struct buffer *b, uint64_t id, struct kv_span span)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_want(b->r, id, &span, 1);
	kv_core_leave(f->core, f->slot);
	return error;
}

static int unwant(struct fixture *f, struct kv_reservation *r, uint64_t id,
	const struct kv_span *spans, uint64_t n)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_unwant(r, id, spans, n);
	kv_core_leave(f->core, f->slot);
	return error;
}

static int resume(struct fixture *f, struct buffer *b)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_resume(b->r);
	kv_core_leave(f->core, f->slot);
	return error;
}

/* What any submission does that names nothing. */
static int submit_something(struct fixture *f)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_settle(f->core);
	kv_core_leave(f->core, f->slot);
	return error;
}

Test(want, what_lives_is_backed_and_goes_when_nothing_lives_on_its_page)
{
	struct fixture f;
	struct buffer b;
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 16 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &id), 0);
	/* Two things on page 3: one and a half pages each. */
	EXPECT(want(&f, &b, id, ((struct kv_span){2 * f.page, f.page * 3 / 2})), 0);
	EXPECT(want(&f, &b, id, ((struct kv_span){f.page * 7 / 2, f.page * 3 / 2})), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 3);
	EXPECT(kv_wanted_pages(b.r), 3);
	EXPECT_SANE(&f);
	EXPECT(unwant(&f, b.r, id, &(struct kv_span){2 * f.page, f.page * 3 / 2}, 1), 0);
	EXPECT(kv_wanted_pages(b.r), 2);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 2);
	EXPECT(kv_reservation_page_state(b.r, 2), KV_PAGE_EMPTY);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, what_is_wanted_again_before_it_went_stays_with_its_content)
{
	struct fixture f;
	struct buffer b;
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &id), 0);
	EXPECT(want(&f, &b, id, SPAN(1, 2)), 0);
	EXPECT(app_write(&f, &b, f.page, 2 * f.page, 7), 0);
	EXPECT(unwant(&f, b.r, id, &SPAN(1, 2), 1), 0);
	EXPECT(want(&f, &b, id, SPAN(1, 1)), 0);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT(app_read(&f, &b, f.page, f.page), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, what_is_wanted_and_evicted_is_back_before_the_next_submission)
{
	struct fixture f;
	struct buffer b;
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &id), 0);
	EXPECT(want(&f, &b, id, SPAN(2, 3)), 0);
	EXPECT(app_write(&f, &b, 2 * f.page, 3 * f.page, 9), 0);
	EXPECT(app_leak(&f, &b), 0);
	cr_assert(!kv_reservation_is_static(b.r));
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 0);
	EXPECT_SANE(&f);
	EXPECT(submit_something(&f), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 3);
	EXPECT(app_wild_write(&f, &b, 3 * f.page, f.page, 1), 0);
	EXPECT(app_read(&f, &b, 2 * f.page, 3 * f.page), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, what_would_have_leaked_leaks_when_nobody_manages_it_any_more)
{
	struct fixture f;
	struct buffer b;
	uint64_t id, second;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &id), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &second), 0);
	cr_assert(id == second);
	EXPECT(want(&f, &b, id, SPAN(0, 1)), 0);
	EXPECT(app_leak(&f, &b), 0);
	kv_manage_end(b.r, id);
	cr_assert(!kv_reservation_is_static(b.r));
	kv_manage_end(b.r, id);
	cr_assert(kv_reservation_is_static(b.r) && !kv_manage_is(b.r, id));
	EXPECT(unwant(&f, b.r, id, &SPAN(0, 1), 1), -ENOENT);
	EXPECT(want(&f, &b, id, SPAN(0, 1)), -ENOENT);
	EXPECT(submit_something(&f), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, a_static_one_turns_elastic_and_keeps_its_content_if_asked)
{
	struct fixture f;
	struct buffer b, other;
	struct kv_manage_config keep = {.keep = true};
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * f.page, &b), 0);
	EXPECT(buffer_new(&f, 4 * f.page, &other), 0);
	/* Leaked before use: one handle for all pages. */
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(submit_something(&f), 0);
	EXPECT(app_wild_write(&f, &b, f.page, f.page, 3), 0);
	EXPECT(app_write(&f, &other, 0, f.page, 4), 0);
	EXPECT(kv_manage_begin(b.r, &keep, &id), 0);
	EXPECT(kv_manage_begin(other.r, &nothing, &id), 0);
	EXPECT_SANE(&f);
	EXPECT(kv_wanted_pages(b.r), 1);
	EXPECT(submit_something(&f), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT(app_read(&f, &b, 0, 4 * f.page), 0);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(pages_in(&other, KV_PAGE_BACKED), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(buffer_free(&f, &other), 0);
	CLOSE(&f);
}

Test(want, a_wrong_release_changes_nothing)
{
	struct fixture f;
	struct buffer b;
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 8 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &id), 0);
	EXPECT(want(&f, &b, id, SPAN(0, 2)), 0);
	EXPECT(unwant(&f, b.r, id, &SPAN(1, 2), 1), -ERANGE);
	EXPECT(unwant(&f, b.r, id, &SPAN(7, 4), 1), -ERANGE);
	EXPECT(unwant(&f, b.r, id + 1, &SPAN(0, 1), 1), -ENOENT);
	EXPECT(kv_wanted_pages(b.r), 2);
	kv_leak(b.r, KV_STATIC_EXPORT, "export");
	EXPECT(kv_manage_begin(b.r, &nothing, &id), -EBUSY);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, memory_that_cannot_be_had_leaves_the_counts_as_they_were)
{
	struct fixture f;
	struct buffer b;
	uint64_t id;

	fixture_open(&f, (struct fixture_options){.device_pages = 16});
	EXPECT(buffer_new(&f, 16 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &id), 0);
	EXPECT(want(&f, &b, id, SPAN(0, 2)), 0);
	fake_gpu_set_foreign(f.gpu, 12 * f.page);
	EXPECT(want(&f, &b, id, SPAN(2, 6)), -ENOMEM);
	EXPECT(kv_wanted_pages(b.r), 2);
	EXPECT_SANE(&f);
	EXPECT(submit_something(&f), 0);
	EXPECT(want(&f, &b, id, SPAN(2, 2)), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, the_watchdog_makes_it_whole_when_hints_stop_and_work_goes_on)
{
	struct fixture f;
	struct buffer b;
	struct kv_manage_config config = {.watchdog_ns = 1000};
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	fake_gpu_set_time(f.gpu, 5000);
	EXPECT(buffer_new(&f, 4 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &config, &id), 0);
	fake_gpu_set_time(f.gpu, 6000);
	EXPECT(app_leak(&f, &b), 0);
	cr_assert(kv_manage_is(b.r, id));
	kv_manage_alive(b.r, id);
	fake_gpu_set_time(f.gpu, 6900);
	EXPECT(app_leak(&f, &b), 0);
	cr_assert(kv_manage_is(b.r, id));
	/* Time alone does nothing. */
	fake_gpu_set_time(f.gpu, 7500);
	kv_manage_work(f.core, "another graph");
	cr_assert(kv_manage_is(b.r, id));
	EXPECT(app_leak(&f, &b), 0);
	cr_assert(!kv_manage_is(b.r, id) && kv_reservation_is_static(b.r));
	EXPECT(submit_something(&f), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, a_graph_that_names_it_tells_the_watchdog_when_it_runs)
{
	struct fixture f;
	struct buffer b;
	struct kv_manage_config config = {.watchdog_ns = 1000};
	uint64_t id;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &config, &id), 0);
	kv_leak(b.r, KV_STATIC_GRAPH, "captured");
	cr_assert(kv_manage_is(b.r, id));
	fake_gpu_set_time(f.gpu, 1u << 30);
	kv_manage_work(f.core, "cuGraphLaunch");
	cr_assert(kv_reservation_is_static(b.r));
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, what_is_paused_stays_away_until_it_is_named_or_resumed)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * f.page, &b), 0);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(submit_something(&f), 0);
	EXPECT(app_wild_write(&f, &b, 0, 2 * f.page, 5), 0);
	EXPECT(kv_pause(b.r, true, &bytes), 0);
	EXPECT(bytes, 4 * f.page);
	EXPECT_SANE(&f);
	EXPECT(submit_something(&f), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 0);
	EXPECT(resume(&f, &b), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT(app_read(&f, &b, 0, 4 * f.page), 0);
	/* Named by a kernel: back by itself. */
	EXPECT(kv_pause(b.r, true, &bytes), 0);
	EXPECT(app_leak(&f, &b), 0);
	cr_assert(!kv_is_paused(b.r));
	EXPECT(app_read(&f, &b, 0, 4 * f.page), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, what_is_paused_without_its_content_is_zero_afterwards)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * f.page, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * f.page, 5), 0);
	fake_gpu_reset_calls(f.gpu);
	EXPECT(kv_pause(b.r, false, &bytes), 0);
	EXPECT(bytes, 2 * f.page);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_COPY_OUT), 0);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 4);
	memset(b.ideal, 0, 4 * f.page);
	EXPECT(app_read(&f, &b, 0, 4 * f.page), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, a_pause_that_fails_leaves_everything_usable)
{
	struct fixture f;
	struct buffer b;
	uint64_t bytes;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * f.page, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * f.page, 5), 0);
	fake_gpu_set_busy(f.gpu, 1);
	EXPECT(kv_pause(b.r, true, &bytes), -ETIMEDOUT);
	cr_assert(!kv_is_paused(b.r));
	EXPECT(app_read(&f, &b, 0, 2 * f.page), 0);
	kv_leak(b.r, KV_STATIC_EXPORT, "export");
	EXPECT(kv_pause(b.r, true, &bytes), -EBUSY);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(want, the_lowest_priority_is_evicted_first)
{
	struct fixture f;
	struct buffer high, low;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * f.page, &high), 0);
	EXPECT(buffer_new(&f, 4 * f.page, &low), 0);
	EXPECT(kv_reservation_priority(low.r), 128);
	kv_reservation_set_priority(low.r, 3);
	EXPECT(app_write(&f, &high, 0, 4 * f.page, 1), 0);
	EXPECT(app_write(&f, &low, 0, 4 * f.page, 2), 0);
	EXPECT(kv_evict(f.space, 3 * f.page, NULL), 0);
	EXPECT(pages_in(&high, KV_PAGE_BACKED), 4);
	EXPECT(pages_in(&low, KV_PAGE_BACKED), 1);
	kv_reservation_set_priority(low.r, 200);
	EXPECT(kv_evict(f.space, 3 * f.page, NULL), 0);
	EXPECT(pages_in(&high, KV_PAGE_BACKED), 1);
	EXPECT(app_read(&f, &low, 0, 4 * f.page), 0);
	EXPECT(app_read(&f, &high, 0, 4 * f.page), 0);
	EXPECT(buffer_free(&f, &high), 0);
	EXPECT(buffer_free(&f, &low), 0);
	CLOSE(&f);
}

Test(want, random_lives_keep_their_content_whatever_is_evicted)
{
	struct fixture f;
	struct buffer b;
	uint64_t id, n_live[32] = {0};
	uint32_t x = 12345;

	fixture_open(&f, (struct fixture_options){.spare_pages = 4});
	EXPECT(buffer_new(&f, 32 * f.page, &b), 0);
	EXPECT(kv_manage_begin(b.r, &nothing, &id), 0);
	for (int step = 0; step < 2000; step++) {
		uint32_t page = (x = x * 1103515245 + 12345) >> 16 & 31;

		switch ((x >> 8) % 5) {
		case 0:
			EXPECT(want(&f, &b, id, SPAN(page, 1)), 0);
			if (!n_live[page]++)
				EXPECT(app_write(&f, &b, page * f.page, f.page, (uint8_t)step), 0);
			break;
		case 1:
			EXPECT(unwant(&f, b.r, id, &SPAN(page, 1), 1), n_live[page] ? 0 : -ERANGE);
			n_live[page] -= n_live[page] != 0;
			break;
		case 2:
			if (n_live[page])
				EXPECT(app_read(&f, &b, page * f.page, f.page), 0);
			break;
		case 3:
			EXPECT(kv_evict(f.space, page * f.page, NULL), 0);
			break;
		default:
			EXPECT(kv_reap(f.space, NULL), 0);
			break;
		}
		EXPECT_SANE(&f);
	}
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
