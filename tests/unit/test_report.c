/* SPDX-License-Identifier: Apache-2.0 */
/* test_report.c - what a process is told that it could get, and room for native allocations. */
#include "core/report.h"
#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull
#define SECOND 1000000000ull
#define TOTAL (100 * P)

static struct fixture f;

/* A ledger of numbers. */
static uint64_t could; /* that others would let us have */
static int could_error, wait_error;
static uint32_t n_refusals; /* waits that fail before the others */
static uint32_t n_seen, n_settled, n_waits;
static uint64_t waited_for, waited_since, wait_costs;
static int64_t aside; /* for native memory */

static int fake_could_get(void *ctx, uint64_t *ret_bytes)
{
	if (could_error)
		return could_error;
	*ret_bytes = could;
	return 0;
}

static void fake_seen(void *ctx, uint64_t free_bytes, uint64_t total_bytes)
{
	n_seen++;
}

static int fake_wait(void *ctx, const struct kv_ledger_wait *wait)
{
	n_waits++;
	waited_for = wait->bytes;
	waited_since = wait->start_ns;
	fake_gpu_set_time(f.gpu, kv_gpu_now(f.space) + wait_costs);
	if (n_refusals) {
		n_refusals--;
		return -ENOMEM;
	}
	return wait_error;
}

static void fake_put_aside(void *ctx, int64_t keep)
{
	n_settled++;
	aside += keep;
}

static int fake_charge(void *ctx, uint64_t bytes)
{
	return 0;
}

static void fake_nothing(void *ctx, uint64_t bytes)
{
}

static int fake_promise(void *ctx, uint64_t reserve, uint64_t native)
{
	return 0;
}

static void fake_forget(void *ctx)
{
}

static const struct kv_ledger_ops fake_ops = {
	.charge = fake_charge,
	.uncharge = fake_nothing,
	.wait = fake_wait,
	.seen = fake_seen,
	.promise = fake_promise,
	.unpromise = fake_nothing,
	.forget = fake_forget,
	.could_get = fake_could_get,
	.put_aside = fake_put_aside,
};

static void open_space(bool shared)
{
	fixture_open(
		&f, (struct fixture_options){.page = P, .device_pages = 100, .spare_pages = 8});
	if (shared)
		f.space->sink.ledger = (struct kv_ledger){.ops = &fake_ops};
	fake_gpu_set_time(f.gpu, 1000 * SECOND);
}

static uint64_t report(uint64_t free_pages)
{
	return kv_space_report(f.space, free_pages * P, TOTAL) / P;
}

Test(report, what_is_promised_is_not_free_and_what_is_kept_is)
{
	struct buffer b;

	open_space(false);
	EXPECT(report(90), 90);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(report(90), 80);
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	EXPECT(report(86), 80);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(kv_spare_bytes(f.space), 4 * P);
	EXPECT(report(86), 90);
	CLOSE(&f);
}

Test(report, does_not_rise_behind_the_back_of_the_process)
{
	open_space(false);
	EXPECT(report(50), 50);
	EXPECT(report(60), 50); /* a neighbour has freed something */
	kv_space_native(f.space, 20 * P);
	EXPECT(report(40), 40);
	EXPECT(report(45), 40);
	kv_space_native(f.space, -5 * (int64_t)P);
	EXPECT(report(60), 45); /* its own part of that */
	CLOSE(&f);
}

Test(report, after_a_minute_it_is_a_new_question)
{
	open_space(false);
	EXPECT(report(50), 50);
	fake_gpu_set_time(f.gpu, 1059 * SECOND);
	EXPECT(report(60), 50);
	fake_gpu_set_time(f.gpu, 1120 * SECOND);
	EXPECT(report(60), 60);
	CLOSE(&f);
}

Test(report, counts_what_others_would_give_and_stays_within_what_the_ledger_allows)
{
	open_space(true);
	could = 70 * P;
	EXPECT(report(50), 70);
	EXPECT(n_seen, 1);
	could = 30 * P; /* a maximum */
	EXPECT(report(50), 30);
	could_error = -EAGAIN;
	fake_gpu_set_time(f.gpu, 2000 * SECOND);
	EXPECT(report(50), 50); /* the driver's word, if there is no other */
	CLOSE(&f);
}

static bool kept;

static bool make_room(uint64_t size)
{
	return kv_space_make_room(f.space, size, kv_gpu_now(f.space), &kept);
}

Test(room, spare_pages_go_first_and_nobody_is_asked_for_what_they_are_enough_for)
{
	struct buffer b;

	open_space(true);
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(make_room(3 * P), true);
	EXPECT(n_waits, 0);
	EXPECT(kept, true);
	EXPECT(aside, 3 * P);
	EXPECT(kv_spare_bytes(f.space), P);
	wait_error = -ENOMEM;
	EXPECT(make_room(3 * P), true); /* one page has come */
	EXPECT(n_waits, 1);
	EXPECT(waited_for, 3 * P);
	EXPECT(make_room(3 * P), false);
	CLOSE(&f);
}

Test(room, others_are_asked_and_what_they_gave_is_left_to_the_driver)
{
	open_space(true);
	EXPECT(make_room(3 * P), true);
	EXPECT(n_waits, 1);
	EXPECT(n_settled, 2);
	/* nobody else gets it, until it has been made use of */
	EXPECT(kept, true);
	EXPECT(aside, 3 * P);
	kv_space_room_used(f.space, 3 * P);
	EXPECT(aside, 0);
	CLOSE(&f);
}

Test(room, all_tries_of_one_allocation_share_one_bound)
{
	uint64_t start;

	open_space(true);
	start = kv_gpu_now(f.space);
	fake_gpu_set_foreign(f.gpu, 99 * P);
	n_refusals = 1000;
	wait_costs = SECOND / 2;
	EXPECT(kv_space_make_room(f.space, 3 * P, start, &kept), false);
	EXPECT(kept, false);
	EXPECT(waited_since, start);
	EXPECT(n_waits, 3); /* a second and a half, no more than three of these waits */
	EXPECT(kv_space_make_room(f.space, 3 * P, start, &kept), false);
	EXPECT(n_waits, 4); /* the last look of the next try */
	EXPECT(aside, 0);
	fake_gpu_set_foreign(f.gpu, 0);
	CLOSE(&f);
}

Test(room, what_nobody_can_give_now_is_asked_for_again_if_others_hold_it)
{
	open_space(true);
	n_refusals = 1;
	EXPECT(make_room(3 * P), false); /* nobody holds it */
	EXPECT(n_waits, 1);
	fake_gpu_set_foreign(f.gpu, 99 * P);
	n_refusals = 1;
	EXPECT(make_room(3 * P), true);
	EXPECT(n_waits, 3);
	fake_gpu_set_foreign(f.gpu, 0);
	CLOSE(&f);
}

Test(room, who_is_alone_has_nobody_to_ask)
{
	open_space(false);
	EXPECT(make_room(3 * P), false);
	CLOSE(&f);
}
