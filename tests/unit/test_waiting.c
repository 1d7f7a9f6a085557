/* SPDX-License-Identifier: Apache-2.0 */
/* test_waiting.c - how long a submission waits for others, and in which order of devices. */
#include <errno.h>
#include <string.h>

#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull
#define SECOND 1000000000ull

static struct fixture f;

/* A device whose memory others have, all but capacity bytes, and never give. */
struct device {
	uint64_t capacity, charged;
	int elsewhere;
	uint32_t n_waits;
	uint64_t starts[8]; /* of the waits */
	bool descended[8];
	int n_elsewhere_seen; /* of the other device, while one waits on this one */
	int result;
};
static struct device devices[2];

static int charge(void *ctx, uint64_t bytes)
{
	struct device *d = ctx;

	if (d->charged + bytes > d->capacity)
		return -ENOMEM;
	d->charged += bytes;
	return 0;
}

static void uncharge(void *ctx, uint64_t bytes)
{
	struct device *d = ctx;

	d->charged -= bytes;
}

static int wait_in_vain(void *ctx, const struct kv_ledger_wait *wait)
{
	struct device *d = ctx, *other = &devices[d == &devices[0]];

	if (d->n_waits < 8) {
		d->starts[d->n_waits] = wait->start_ns;
		d->descended[d->n_waits] = wait->descends && wait->descends(wait->arg);
	}
	d->n_waits++;
	d->n_elsewhere_seen = other->elsewhere;
	fake_gpu_set_time(f.gpu, kv_gpu_now(f.space) + SECOND);
	return d->result ? d->result : -ENOMEM;
}

static void elsewhere(void *ctx, int n)
{
	struct device *d = ctx;

	d->elsewhere += n;
}

static void seen(void *ctx, uint64_t free_bytes, uint64_t total_bytes)
{
}

static int promise(void *ctx, uint64_t reserve, uint64_t native)
{
	return 0;
}

static void nothing(void *ctx, uint64_t bytes)
{
}

static void forget(void *ctx)
{
	struct device *d = ctx;

	d->charged = 0;
}

static const struct kv_ledger_ops ops = {
	.charge = charge,
	.uncharge = uncharge,
	.wait = wait_in_vain,
	.elsewhere = elsewhere,
	.seen = seen,
	.promise = promise,
	.unpromise = nothing,
	.forget = forget,
};

/* Memory for so many pages on the first device. */
static void open_space(uint64_t pages)
{
	memset(devices, 0, sizeof(devices));
	devices[0].capacity = pages * P;
	fixture_open(&f, (struct fixture_options){.device_pages = 100,
				 .host_pages = 100,
				 .ledger = {.ops = &ops, .ctx = &devices[0], .order = {7}}});
	fake_gpu_set_time(f.gpu, 1000 * SECOND);
}

Test(waiting, of_one_submission_has_one_bound_and_the_next_one_has_its_own)
{
	struct buffer a, b;

	open_space(0);
	EXPECT(buffer_new(&f, 10 * P, &a), 0);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_touch(a.r, 0, 2 * P), 0); /* spilled, after a second in vain */
	EXPECT(kv_touch(b.r, 0, 2 * P), 0);
	EXPECT(kv_touch(a.r, 4 * P, P), 0);
	kv_core_leave(f.core, f.slot);
	EXPECT(devices[0].n_waits, 3);
	EXPECT(devices[0].starts[1], devices[0].starts[0]);
	EXPECT(devices[0].starts[2], devices[0].starts[0]);
	EXPECT(app_write(&f, &b, 8 * P, P, 1), 0);
	EXPECT(devices[0].starts[3] - devices[0].starts[0] >= 3 * SECOND, true);
	EXPECT(kv_counted(&f.space->wait_timeouts), 4);
	EXPECT(kv_counted(&f.space->waits_crossed), 0);
	EXPECT(buffer_free(&f, &a), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

/* Another device of the same core, before or after the first one, with memory for ten pages. */
static struct kv_space *second_device(uint8_t order)
{
	struct kv_stats_sink sink = {.ledger = {.ops = &ops, .ctx = &devices[1]}};
	struct kv_space *space;

	sink.ledger.order[0] = order;
	devices[1].capacity = 10 * P;
	cr_assert_eq(kv_space_new(f.core, &fake_gpu_ops, f.gpu, P, &sink, &space), 0);
	return space;
}

static void wait_beside(uint8_t order, bool descends_when_held)
{
	struct kv_reservation *r;
	struct kv_space *space;
	struct buffer a;

	open_space(0);
	space = second_device(order);
	EXPECT(buffer_new(&f, 10 * P, &a), 0);
	EXPECT(kv_reservation_new(space, 4 * P, NULL, 0, &r), 0);
	EXPECT(app_write(&f, &a, 0, P, 1), 0);
	EXPECT(devices[0].n_waits, 1);
	EXPECT(devices[0].descended[0], false); /* nothing is held there */
	/* the other device knows of it as long as it lasts */
	EXPECT(devices[0].n_elsewhere_seen, 1);
	EXPECT(devices[1].elsewhere, 0);
	EXPECT(devices[0].elsewhere, 0);
	kv_core_enter(f.core, f.slot);
	EXPECT(kv_touch(r, 0, P), 0);
	kv_core_leave(f.core, f.slot);
	devices[0].result = descends_when_held ? -EDEADLK : 0;
	EXPECT(app_write(&f, &a, P, P, 1), 0);
	EXPECT(devices[0].descended[1], descends_when_held);
	EXPECT(kv_counted(&f.space->waits_crossed), descends_when_held);
	EXPECT(kv_counted(&f.space->wait_timeouts), 2);
	EXPECT(buffer_free(&f, &a), 0);
	EXPECT(kv_reservation_free(f.core, kv_reservation_base(r)), 0);
	kv_space_drop(space, 1);
	CLOSE(&f);
}

Test(waiting, descends_with_pages_of_a_device_that_comes_after)
{
	wait_beside(9, true);
}

Test(waiting, does_not_descend_with_pages_of_a_device_that_comes_before)
{
	wait_beside(5, false);
}

Test(waiting, outside_the_gate_is_not_told_to_anybody_since_pages_can_be_given_meanwhile)
{
	struct kv_space *space;
	bool aside;

	open_space(0);
	space = second_device(9);
	EXPECT(kv_space_make_room(f.space, P, kv_gpu_now(f.space), &aside), false);
	EXPECT(devices[0].n_waits, 1);
	EXPECT(devices[0].n_elsewhere_seen, 0);
	EXPECT(devices[0].descended[0], false);
	kv_space_drop(space, 1);
	CLOSE(&f);
}

/* ---- what comes back from host memory ---- */

#define LARGE (4ull << 20)

/* The place of the first call of this kind from at on, FAKE_ORDER_MAX: none. */
static uint32_t next_call(enum fake_call kind, uint32_t at)
{
	while (at < FAKE_ORDER_MAX && fake_gpu_call_at(f.gpu, at) != kind)
		at++;
	return at;
}

static void open_evicted(struct buffer *b)
{
	fixture_open(&f, (struct fixture_options){.page = LARGE, .device_pages = 20});
	EXPECT(buffer_new(&f, 10 * LARGE, b), 0);
	for (uint64_t i = 0; i < 10; i++)
		EXPECT(app_write(&f, b, i * LARGE, LARGE, (uint8_t)(i + 1)), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	fake_gpu_reset_calls(f.gpu);
}

Test(restoring, copies_one_window_while_the_next_one_gets_its_memory)
{
	uint32_t copied = 0, mapped, n = 0;
	uint64_t bytes;
	struct buffer b;

	open_evicted(&b);
	EXPECT(kv_restore(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 10 * LARGE);
	/* 16 MiB, 16 MiB and the rest: each copy is under way before the next page is mapped */
	for (mapped = next_call(FAKE_MAP, 0); mapped < FAKE_ORDER_MAX;
		mapped = next_call(FAKE_MAP, copied)) {
		copied = next_call(FAKE_COPY_IN, mapped);
		cr_assert_lt(copied, FAKE_ORDER_MAX);
		n++;
	}
	EXPECT(n, 3);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_SET_ACCESS), 3);
	/* and is waited for once, after the last one */
	EXPECT(fake_gpu_calls(f.gpu, FAKE_FLUSH), 1);
	EXPECT(next_call(FAKE_FLUSH, 0) > copied, true);
	EXPECT(app_read(&f, &b, 0, 10 * LARGE), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(restoring, that_fails_in_a_later_window_keeps_the_earlier_ones_and_all_content)
{
	enum fake_call kind;
	struct buffer b;

	/* each call of the second window, and the first of the third */
	for (uint64_t nth = 11; nth <= 21; nth++) {
		open_evicted(&b);
		fake_gpu_fail_nth(f.gpu, nth, -EIO);
		EXPECT(kv_touch(b.r, 0, 10 * LARGE) < 0, true);
		EXPECT(fake_gpu_has_failed(f.gpu, &kind), true);
		EXPECT(kv_reservation_page_state(b.r, 0), KV_PAGE_BACKED);
		EXPECT(kv_reservation_page_state(b.r, 9), KV_PAGE_EVICTED);
		EXPECT_SANE(&f);
		EXPECT(app_read(&f, &b, 0, 10 * LARGE), 0);
		EXPECT(buffer_free(&f, &b), 0);
		CLOSE(&f);
	}
}
