/* SPDX-License-Identifier: Apache-2.0 */
/* test_ledger.c - core on a device that it shares: what it asks the ledger, and when. */
#include "tests/unit/test.h"

#define P 4096ull

/* A ledger of a few numbers: this process may hold so many bytes. */
struct fake_ledger {
	uint64_t capacity, charged, most_charged;
	uint64_t promised, promise_max;
	uint64_t gives;        /* what others give when they are asked */
	uint64_t unneeded_max; /* bytes that nobody will miss */
	bool grants;           /* it believes that there is enough, however often it is asked */
	uint32_t n_charges, n_waits, n_seen, n_forgets;
	uint64_t wanted; /* of the last wait */
	int promise_error;
};

static int charge(void *ctx, uint64_t bytes)
{
	struct fake_ledger *l = ctx;

	l->n_charges++;
	if (l->charged + bytes > l->capacity)
		return -ENOMEM;
	l->charged += bytes;
	if (l->charged > l->most_charged)
		l->most_charged = l->charged;
	return 0;
}

static int charge_unneeded(void *ctx, uint64_t bytes, uint64_t keep)
{
	struct fake_ledger *l = ctx;

	cr_assert(keep > 0);
	if (bytes > l->unneeded_max)
		return -ENOMEM;
	l->unneeded_max -= bytes;
	l->charged += bytes;
	return 0;
}

static void uncharge(void *ctx, uint64_t bytes)
{
	struct fake_ledger *l = ctx;

	cr_assert_geq(l->charged, bytes, "nothing goes back that was not charged");
	l->charged -= bytes;
}

static int wait_for(void *ctx, const struct kv_ledger_wait *wait)
{
	struct fake_ledger *l = ctx;

	l->n_waits++;
	l->wanted = wait->bytes;
	if (l->grants)
		return 0;
	if (!l->gives)
		return -ENOMEM;
	l->capacity += l->gives;
	l->gives = 0;
	return 0;
}

static void seen(void *ctx, uint64_t free_bytes, uint64_t total_bytes)
{
	struct fake_ledger *l = ctx;

	cr_assert_leq(free_bytes, total_bytes);
	l->n_seen++;
}

static int promise(void *ctx, uint64_t reserve, uint64_t native)
{
	struct fake_ledger *l = ctx;

	if (l->promise_error)
		return l->promise_error;
	if (l->promised + reserve + native > l->promise_max)
		return -ENOMEM;
	l->promised += reserve;
	return 0;
}

static void unpromise(void *ctx, uint64_t bytes)
{
	struct fake_ledger *l = ctx;

	l->promised -= bytes;
}

static void promised(void *ctx, uint64_t bytes)
{
	struct fake_ledger *l = ctx;

	l->promised += bytes;
}

static void forget(void *ctx)
{
	struct fake_ledger *l = ctx;

	l->charged = 0;
	l->n_forgets++;
}

static const struct kv_ledger_ops ops = {
	.charge = charge,
	.charge_unneeded = charge_unneeded,
	.uncharge = uncharge,
	.wait = wait_for,
	.seen = seen,
	.promise = promise,
	.unpromise = unpromise,
	.promised = promised,
	.forget = forget,
};

static void open_with(
	struct fixture *f, struct fake_ledger *l, uint64_t capacity, uint64_t host_pages)
{
	l->capacity = capacity;
	l->promise_max = 1000 * P;
	fixture_open(f, (struct fixture_options){.device_pages = 100,
				.spare_pages = 2,
				.host_pages = host_pages,
				.ledger = {.ops = &ops, .ctx = l}});
}

Test(ledger, every_handle_is_charged_and_given_back_once)
{
	struct fake_ledger l = {0};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 100 * P, 0);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(l.promised, 10 * P);
	EXPECT(app_write(&f, &b, 0, 10 * P, 1), 0);
	EXPECT(l.charged, 10 * P);
	EXPECT(kv_evict(f.space, 4 * P, NULL), 0);
	EXPECT(l.charged, 6 * P);
	EXPECT(app_zero(&f, &b, 0, 10 * P), 0);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(l.charged, 2 * P); /* spares stay charged */
	EXPECT(app_write(&f, &b, 0, P, 1), 0);
	EXPECT(l.charged, 2 * P); /* a recycled one is not charged again */
	EXPECT(kv_space_trim(f.space, UINT64_MAX), P);
	EXPECT(l.charged, P);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(l.promised, 0u);
	EXPECT(kv_space_trim(f.space, UINT64_MAX), P);
	EXPECT(l.charged, 0u);
	CLOSE(&f);
	EXPECT(l.n_forgets, 1u);
}

Test(ledger, one_big_handle_is_charged_as_a_whole)
{
	struct fake_ledger l = {0};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 100 * P, 0);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(app_wild_write(&f, &b, 0, P, 3), 0);
	EXPECT(l.charged, 10 * P);
	EXPECT(l.n_charges, 1u);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(l.charged, 0u);
	EXPECT(app_wild_write(&f, &b, P, P, 3), 0);
	EXPECT(l.charged, 10 * P);
	EXPECT(buffer_free(&f, &b), 0);
	kv_space_trim(f.space, UINT64_MAX);
	EXPECT(l.charged, 0u);
	CLOSE(&f);
}

Test(ledger, others_are_asked_before_anything_is_spilled)
{
	struct fake_ledger l = {.gives = 6 * P};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 4 * P, 100);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 10 * P, 1), 0);
	EXPECT(l.n_waits, 1u);
	cr_assert(l.n_seen >= 2);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 10);
	EXPECT(f.process.waits, 1u);
	EXPECT(f.process.wait_timeouts, 0u);
	EXPECT(f.process.denied, 1u);
	EXPECT(app_read(&f, &b, 0, 10 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ledger, what_nobody_gives_is_spilled_and_counted)
{
	struct fake_ledger l = {.gives = P};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 4 * P, 100);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 10 * P, 1), 0);
	cr_assert(l.n_waits >= 1);
	cr_assert(l.most_charged <= 5 * P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED) + pages_in(&b, KV_PAGE_SPILLED), 10);
	cr_assert(pages_in(&b, KV_PAGE_SPILLED) >= 5);
	EXPECT(f.process.wait_timeouts, 1u);
	EXPECT(app_read(&f, &b, 0, 10 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	kv_space_trim(f.space, UINT64_MAX);
	EXPECT(l.charged, 0u);
	CLOSE(&f);
}

Test(ledger, without_host_memory_the_submission_fails_and_nothing_is_lost)
{
	struct fake_ledger l = {0};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 4 * P, 0);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 7), 0);
	EXPECT(app_write(&f, &b, 4 * P, 6 * P, 8), -ENOMEM);
	EXPECT(l.n_waits, 1u);
	EXPECT(l.wanted, 6 * P);
	EXPECT(app_read(&f, &b, 0, 4 * P), 0);
	l.capacity = 100 * P;
	EXPECT(app_write(&f, &b, 4 * P, 6 * P, 8), 0);
	EXPECT(app_read(&f, &b, 0, 10 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ledger, memory_that_the_driver_does_not_have_is_waited_for_like_any_other)
{
	struct fake_ledger l = {.gives = P};
	struct fixture f;
	struct buffer b;

	/* the ledger knows of more than there is: somebody without an account took it */
	open_with(&f, &l, 1000 * P, 100);
	EXPECT(buffer_new(&f, 110 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 110 * P, 1), 0);
	EXPECT(l.n_waits, 2u);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 100);
	EXPECT(pages_in(&b, KV_PAGE_SPILLED), 10);
	EXPECT(l.charged, 100 * P);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ledger, that_grants_what_the_driver_refuses_again_and_again_is_not_asked_for_ever)
{
	struct fake_ledger l = {.grants = true};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 100 * P, 0);
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 2 * P, 5), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_HANDLE_CREATE, 10000, -ENOMEM);
	EXPECT(app_write(&f, &b, 2 * P, 2 * P, 6), -ENOMEM);
	EXPECT(l.n_waits > 1 && l.n_waits < 100, true);
	fake_gpu_fail_kind(f.gpu, FAKE_HANDLE_CREATE, 3, -ENOMEM);
	EXPECT(app_write(&f, &b, 2 * P, 2 * P, 6), 0); /* somebody was only slow */
	EXPECT(app_read(&f, &b, 0, 4 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(l.charged, 2 * P);
	CLOSE(&f);
}

Test(ledger, promises_are_for_the_ledger_to_make)
{
	struct fake_ledger l = {0};
	struct fixture f;
	struct buffer b, c;

	open_with(&f, &l, 100 * P, 0);
	l.promise_max = 300 * P; /* others have host budgets */
	EXPECT(buffer_new(&f, 250 * P, &b), 0);
	EXPECT(buffer_new(&f, 60 * P, &c), -ENOMEM);
	EXPECT(f.process.refused, 1u);
	EXPECT(kv_space_admit_native(f.space, 50 * P), 0);
	EXPECT(kv_space_admit_native(f.space, 51 * P), -ENOMEM);
	EXPECT(l.promised, 250 * P);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(l.promised, 0u);
	CLOSE(&f);
}

Test(ledger, that_cannot_be_asked_leaves_the_decision_to_the_process)
{
	struct fake_ledger l = {.promise_error = -EAGAIN};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 100 * P, 0);
	EXPECT(buffer_new(&f, 101 * P, &b), -ENOMEM);
	EXPECT(buffer_new(&f, 100 * P, &b), 0);
	cr_assert_eq(l.promised, 100 * P, "others know of it when they ask");
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ledger, what_is_asked_for_is_given_cheapest_first)
{
	struct fake_ledger l = {0};
	struct fixture f;
	struct buffer b;

	open_with(&f, &l, 100 * P, 0);
	EXPECT(buffer_new(&f, 20 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 20 * P, 1), 0);
	EXPECT(app_zero(&f, &b, 0, 2 * P), 0);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(f.process.spare, 2 * P);
	EXPECT(app_release(&f, &b, 2 * P, 3 * P), 3 * P);
	/* a spare one, then a dead one; what is busy stays if it may */
	EXPECT(kv_space_give(f.space, P, true), P);
	EXPECT(f.process.spare, P);
	EXPECT(kv_space_give(f.space, 3 * P, true), 3 * P);
	EXPECT(f.process.spare, P);
	EXPECT(kv_space_give(f.space, 100 * P, false), P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 15);
	EXPECT(kv_space_give(f.space, 5 * P, true), 5 * P);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 5);
	EXPECT(l.charged, 10 * P);
	EXPECT(app_read(&f, &b, 5 * P, 15 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(ledger, pages_that_nobody_needs_yet_are_charged_if_nobody_misses_them)
{
	struct fake_ledger l = {.unneeded_max = 5 * P, .gives = 50 * P};
	const struct kv_range some = {4 * P, 4 * P}, more = {8 * P, 2 * P};
	struct fixture f;
	struct buffer b;
	uint32_t n_charges;

	open_with(&f, &l, 4 * P, 100);
	EXPECT(buffer_new(&f, 20 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 7), 0);
	n_charges = l.n_charges;
	EXPECT(kv_touch_ahead(f.space, b.r, &some, 1), 0);
	EXPECT(l.charged, 8 * P);
	EXPECT(kv_touch_ahead(f.space, b.r, &more, 1), -ENOMEM);
	EXPECT(l.charged, 8 * P);
	/* what the driver does not have goes back at once */
	l.unneeded_max = 2 * P;
	fake_gpu_fail_kind(f.gpu, FAKE_HANDLE_CREATE, 1, -ENOMEM);
	EXPECT(kv_touch_ahead(f.space, b.r, &more, 1), -ENOMEM);
	EXPECT(l.charged, 8 * P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(l.n_charges, n_charges);
	EXPECT(l.n_waits, 0u);
	EXPECT(app_read(&f, &b, 0, 20 * P), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}
