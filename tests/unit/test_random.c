/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_random.c - random operations against an ideal memory: what is read is what was written,
 * whatever was evicted, reaped, spilled or failed meanwhile. Seeded: the same steps in every run,
 * other ones with another KV_TEST_SEED (a number; 0 if it is not set).
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/space.h"
#include "core/reservation.h"
#include "core/spill.h"
#include "tests/unit/test.h"

#define P 128ull
#define N_BUFFERS 4

struct random {
	struct fixture f;
	struct buffer b[N_BUFFERS];
	uint64_t state;
	bool keep; /* copies */
	uint64_t n_refused, n_failed;
	uint64_t now_ns;
};

static uint64_t next(struct random *x, uint64_t below)
{
	/* xorshift64*, as published by Vigna */
	x->state ^= x->state >> 12;
	x->state ^= x->state << 25;
	x->state ^= x->state >> 27;
	return (x->state * 2685821657736338717ull >> 33) % below;
}

/* Unknown kernels: until one gets a pointer that it may write through, they read. */
static int static_step(
	struct random *x, struct buffer *b, uint64_t offset, uint64_t size, uint8_t value)
{
	if (!kv_reservation_is_static(b->r)) {
		if (next(x, 40))
			return 0;
		return next(x, 2) ? app_leak(&x->f, b) : app_leak_read(&x->f, b);
	}
	if (!atomic_load(&b->r->loose) && x->keep)
		return next(x, 10) ? app_wild_read(&x->f, b, offset, size) : app_leak(&x->f, b);
	return app_wild_write(&x->f, b, offset, size, value);
}

static int touch_step(struct random *x, struct buffer *b)
{
	uint64_t offset = next(x, b->size), size = 1 + next(x, b->size - offset);
	uint8_t value = 1 + next(x, 255);

	if (size > 5 * P && next(x, 4))
		size = 1 + next(x, 5 * P);
	switch (next(x, 13)) {
	case 0:
	case 1:
	case 2:
		return app_write(&x->f, b, offset, size, value);
	case 3:
		return app_read(&x->f, b, offset, size);
	case 4:
		return app_download(&x->f, b, offset, size);
	case 5:
	case 6:
		return app_zero(&x->f, b, offset, size);
	case 7:
		/* In place on rows that hold something, as a K-shift: what it leaves elsewhere is
		 * zero. */
		return app_transient(&x->f, b, false, offset, size, next(x, 2) ? value : 0);
	case 8:
		return app_transient(&x->f, b, true, 0, 0, 0);
	case 9:
	case 10:
		if (next(x, 2))
			app_release(&x->f, b, offset, size);
		else
			app_release_later(&x->f, b, offset, size);
		return 0;
	case 11:
		return app_shift(&x->f, b, next(x, 2), offset, size, next(x, 2) ? value : 0);
	default:
		return static_step(x, b, offset, size, value);
	}
}

static int look_ahead(struct random *x)
{
	struct buffer *b = &x->b[next(x, N_BUFFERS)];
	struct kv_range ranges[2];

	if (!b->r)
		return 0;
	for (int i = 0; i < 2; i++)
		ranges[i] = (struct kv_range){next(x, b->size), next(x, 3 * P)};
	return kv_touch_ahead(x->f.space, b->r, ranges, 2);
}

static int quiet_step(struct random *x)
{
	switch (next(x, 10)) {
	case 0:
		return kv_evict_all(x->f.core);
	case 1:
	case 2:
		return kv_evict(x->f.space, next(x, 40 * P), NULL);
	case 3:
	case 4:
		return kv_reap(x->f.space, NULL);
	case 5:
		return kv_promote(x->f.space, next(x, 10 * P), NULL);
	case 6:
		return kv_restore(x->f.space, next(x, 20 * P), NULL);
	case 8:
		return look_ahead(x);
	case 7:
		kv_linger_task(x->f.space, x->now_ns++);
		return 0;
	default:
		kv_space_trim(x->f.space, next(x, 4 * P));
		return 0;
	}
}

static int step(struct random *x)
{
	struct buffer *b = &x->b[next(x, N_BUFFERS)];
	int error;

	if (!b->r) {
		error = buffer_new(&x->f, 1 + next(x, 30 * P), b);
		x->n_refused += error == -ENOMEM;
		return error == -ENOMEM ? 0 : error;
	}
	if (next(x, 12) == 0)
		return quiet_step(x);
	if (next(x, 60) == 0) {
		int64_t foreign = next(x, 30) * P;

		/* Others take memory that was promised to us: only now can a touch fail. */
		fake_gpu_set_foreign(x->f.gpu, next(x, 3) ? 0 : foreign);
	}
	if (next(x, 80) == 0)
		return buffer_free(&x->f, b);
	return touch_step(x, b);
}

static void walk(uint64_t seeded, uint64_t n_steps, bool failures)
{
	struct random x = {
		.state = seeded * 0x9E3779B97F4A7C15ull | 1, .keep = seeded % 2, .now_ns = 1};

	fixture_open(&x.f, (struct fixture_options){.page = P,
				   .device_pages = 80,
				   .spare_pages = 5,
				   .host_pages = 12,
				   .linger_ns = 2,
				   .keep_copies = x.keep});
	for (uint64_t i = 0; i < n_steps; i++) {
		bool injected = failures && next(&x, 20) == 0;
		int error;

		if (injected)
			fake_gpu_fail_nth(x.f.gpu, 1 + next(&x, 12), -EIO);
		error = step(&x);
		if (injected) {
			injected = fake_gpu_has_failed(x.f.gpu, NULL);
			fake_gpu_fail_nth(x.f.gpu, 0, 0);
		}
		x.n_failed += error < 0;
		cr_assert(error != -EUCLEAN, "seed %llu step %llu: content lost",
			(unsigned long long)seeded, (unsigned long long)i);
		cr_assert(error == 0 || error == -ENOMEM || (error == -EIO && injected),
			"seed %llu step %llu: %d", (unsigned long long)seeded,
			(unsigned long long)i, error);
		if (i % 8 == 0 || error < 0)
			EXPECT_SANE(&x.f);
	}
	fake_gpu_set_foreign(x.f.gpu, 0);
	SAY("%llu steps: %llu refused, %llu failed, %llu pages not copied",
		(unsigned long long)n_steps, (unsigned long long)x.n_refused,
		(unsigned long long)x.n_failed, (unsigned long long)x.f.process.pages_not_copied);
	for (int i = 0; i < N_BUFFERS; i++) {
		if (!x.b[i].r)
			continue;
		EXPECT(app_read(&x.f, &x.b[i], 0, x.b[i].size), 0);
		EXPECT(buffer_free(&x.f, &x.b[i]), 0);
	}
	if (failures)
		fixture_close(&x.f); /* the driver may have kept what could not be released */
	else
		CLOSE(&x.f);
}

static uint64_t seed(uint64_t number)
{
	const char *given = getenv("KV_TEST_SEED");

	return (given ? strtoull(given, NULL, 0) : 0) * 4 + number;
}

Test(random, a_hundred_thousand_steps_lose_nothing)
{
	walk(seed(1), 50000, false);
	walk(seed(2), 50000, false);
}

Test(random, a_device_that_fails_now_and_then_loses_nothing)
{
	walk(seed(3), 25000, true);
	walk(seed(4), 25000, true);
}
