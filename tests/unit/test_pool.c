/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pool.c - the pool against a simple model of it, its costs in counts, models and their
 * limits; the predictor.
 */
#include "core/pool.h"
#include "core/predict.h"
#include "tests/unit/test.h"

#define CAPACITY 512u
#define PIECES 96

static uint32_t random_state = 1;

static uint32_t pick(uint32_t below)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % below;
}

static struct kv_pool *new_pool(uint64_t capacity, uint32_t *ret_model)
{
	struct kv_pool *pool;

	EXPECT(kv_pool_new(capacity, &pool), 0);
	EXPECT(kv_pool_model_add(pool, 0, UINT64_MAX, ret_model), 0);
	return pool;
}

/* ---- the simple model: who owns each byte ---- */

static uint8_t owner[CAPACITY + 1];

/* The shortest hole that is long enough, of those the first; -1: none. */
static int64_t best_hole(uint32_t length)
{
	uint32_t best = UINT32_MAX, best_length = UINT32_MAX;

	for (uint32_t at = 0; at < CAPACITY;) {
		uint32_t end = at;

		while (end < CAPACITY && !owner[end])
			end++;
		if (end - at >= length && end - at < best_length) {
			best = at;
			best_length = end - at;
		}
		at = end == at ? at + 1 : end;
	}
	return best == UINT32_MAX ? -1 : (int64_t)best;
}

static uint32_t room_behind(uint32_t end)
{
	uint32_t at = end;

	while (at < CAPACITY && !owner[at])
		at++;
	return at - end;
}

Test(pool, does_what_a_simple_model_of_it_does)
{
	struct kv_pool_piece pieces[PIECES] = {{0}};
	uint32_t model;
	struct kv_pool *pool = new_pool(CAPACITY, &model);

	memset(owner, 0, sizeof(owner));
	for (int step = 0; step < 40000; step++) {
		uint32_t i = pick(PIECES), length = 1 + pick(pick(4) ? 12 : 60), room;
		struct kv_pool_piece *p = &pieces[i];

		if (!p->id) {
			int64_t hole = best_hole(length);

			EXPECT(kv_pool_take(pool, model, length, p), hole < 0 ? -ENOSPC : 0);
			if (hole >= 0) {
				EXPECT(p->offset, hole);
				memset(owner + hole, 1, length);
			}
		} else if (pick(3) == 0) {
			room = room_behind((uint32_t)(p->offset + p->length));
			EXPECT(kv_pool_room(pool, p->id), p->length + room);
			EXPECT(kv_pool_grow(pool, p->id, p->length + length),
				length <= room ? 0 : -ENOSPC);
			if (length <= room) {
				memset(owner + p->offset + p->length, 1, length);
				p->length += length;
			}
		} else if (pick(6) == 0) {
			EXPECT(kv_pool_shrink(pool, p->id, (p->length + 1) / 2), 0);
			memset(owner + p->offset + (p->length + 1) / 2, 0, p->length / 2);
			p->length = (p->length + 1) / 2;
		} else {
			EXPECT(kv_pool_give(pool, p->id, NULL), 0);
			EXPECT(kv_pool_give(pool, p->id, NULL), -ENOENT);
			memset(owner + p->offset, 0, p->length);
			p->id = 0;
		}
		EXPECT(kv_pool_check(pool), 0);
	}
	kv_pool_free(pool);
}

/* Nodes looked at per call with so many live pieces, on average. */
static double looks_per_call(uint32_t n)
{
	uint64_t *ids = calloc(n, sizeof(*ids)), calls = 0;
	struct kv_pool_counts before, after;
	struct kv_pool_piece piece;
	uint32_t model;
	struct kv_pool *pool = new_pool((uint64_t)n * 64, &model);

	for (uint32_t i = 0; i < n; i++) {
		EXPECT(kv_pool_take(pool, model, 1 + pick(60), &piece), 0);
		ids[i] = piece.id;
	}
	/* Every other one goes: as many holes as can be. */
	for (uint32_t i = 0; i < n; i += 2) {
		EXPECT(kv_pool_give(pool, ids[i], NULL), 0);
		ids[i] = 0;
	}
	kv_pool_counts(pool, &before);
	for (uint32_t i = 0; i < 2000; i++) {
		uint32_t k = pick(n / 2) * 2;

		if (ids[k])
			EXPECT(kv_pool_give(pool, ids[k], NULL), 0);
		EXPECT(kv_pool_take(pool, model, 1 + pick(60), &piece), 0);
		calls += 1 + (ids[k] != 0);
		ids[k] = piece.id;
	}
	kv_pool_counts(pool, &after);
	EXPECT(kv_pool_check(pool), 0);
	kv_pool_free(pool);
	free(ids);
	return (double)(after.n_looks - before.n_looks) / (double)calls;
}

Test(pool, costs_grow_with_the_logarithm_of_what_is_live)
{
	double per_call[4];
	uint32_t n = 1000;

	for (int i = 0; i < 4; i++, n *= 10) {
		per_call[i] = looks_per_call(n);
		SAY("%8u live pieces: %.1f nodes per call", n, per_call[i]);
	}
	/* Ten times as many pieces cost some more nodes each, not ten times as many. */
	cr_assert(per_call[3] < per_call[0] * 4);
	for (int i = 1; i < 4; i++)
		cr_assert(per_call[i] - per_call[i - 1] < 40);
}

Test(pool, models_keep_their_minima_and_maxima)
{
	struct kv_pool_piece a, b;
	struct kv_pool_model m;
	struct kv_pool *pool;
	uint32_t x, y, z;

	EXPECT(kv_pool_new(0, &pool), -EINVAL);
	EXPECT(kv_pool_new(1000, &pool), 0);
	EXPECT(kv_pool_model_add(pool, 300, 600, &x), 0);
	EXPECT(kv_pool_model_add(pool, 200, 900, &y), 0);
	EXPECT(kv_pool_model_add(pool, 501, 900, &z), -ERANGE);
	EXPECT(kv_pool_model_add(pool, 9, 8, &z), -ERANGE);
	EXPECT(kv_pool_take(pool, y, 701, &a), -ENOSPC);
	EXPECT(kv_pool_longest(pool, y), 700);
	EXPECT(kv_pool_take(pool, y, 700, &a), 0);
	EXPECT(kv_pool_take(pool, x, 601, &b), -EDQUOT);
	EXPECT(kv_pool_longest(pool, x), 300);
	EXPECT(kv_pool_take(pool, x, 300, &b), 0);
	EXPECT(kv_pool_longest(pool, x), 0);
	EXPECT(kv_pool_take(pool, 7, 1, &b), -ENOENT);
	EXPECT(kv_pool_take(pool, x, 0, &b), -EINVAL);
	EXPECT(kv_pool_model_remove(pool, y), -EBUSY);
	EXPECT(kv_pool_give(pool, a.id, NULL), 0);
	/* y used 700 at most, x 300: limits move halfway to a quarter more. */
	kv_pool_rebalance(pool);
	EXPECT(kv_pool_model_get(pool, y, &m), 0);
	EXPECT(m.max, 888);
	EXPECT(m.min, 200);
	kv_pool_rebalance(pool);
	EXPECT(kv_pool_model_get(pool, y, &m), 0);
	EXPECT(m.min, 100);
	EXPECT(kv_pool_model_get(pool, x, &m), 0);
	cr_assert(m.max >= m.used && m.min <= m.max);
	EXPECT(kv_pool_model_remove(pool, y), 0);
	EXPECT(kv_pool_model_remove(pool, y), -ENOENT);
	EXPECT(kv_pool_check(pool), 0);
	kv_pool_free(pool);
}

Test(pool, wrong_calls_change_nothing)
{
	struct kv_pool_piece a;
	uint32_t model;
	struct kv_pool *pool = new_pool(100, &model);
	uint64_t offset;

	EXPECT(kv_pool_take(pool, model, 60, &a), 0);
	EXPECT(kv_pool_grow(pool, a.id, 60), -EINVAL);
	EXPECT(kv_pool_grow(pool, a.id, 101), -ENOSPC);
	EXPECT(kv_pool_grow(pool, a.id + 1, 61), -ENOENT);
	EXPECT(kv_pool_shrink(pool, a.id, 0), -EINVAL);
	EXPECT(kv_pool_shrink(pool, a.id, 61), -EINVAL);
	EXPECT(kv_pool_give(pool, 0, NULL), -ENOENT);
	EXPECT(kv_pool_give(pool, UINT64_MAX, NULL), -ENOENT);
	EXPECT(kv_pool_find(pool, a.id ^ 1ull << 30, &a), -ENOENT);
	EXPECT(kv_pool_room(pool, 0), 0);
	EXPECT(kv_pool_peek(pool, 41, &offset), -ENOSPC);
	EXPECT(kv_pool_peek(pool, 40, &offset), 0);
	EXPECT(offset, 60);
	EXPECT(kv_pool_find(pool, a.id, &a), 0);
	EXPECT(a.length, 60);
	EXPECT(kv_pool_check(pool), 0);
	kv_pool_free(pool);
}

/* ---- the predictor ---- */

#define SECOND 1000000000ull

static uint64_t dropped[8];
static uint32_t n_dropped;

static void drop(void *ctx, const struct kv_span *span)
{
	(void)ctx;
	dropped[n_dropped++ % 8] = span->offset;
}

Test(predict, what_is_kept_goes_when_it_is_taken_or_too_much)
{
	struct kv_keep keep = {0};

	n_dropped = 0;
	for (uint64_t i = 0; i < KV_KEEP_MAX; i++)
		kv_keep_add(&keep, (struct kv_span){i * 100, 50}, drop, NULL);
	cr_assert(keep.bytes == 50 * KV_KEEP_MAX && n_dropped == 0);
	/* One too many: the oldest goes. */
	kv_keep_add(&keep, (struct kv_span){100000, 7}, drop, NULL);
	cr_assert(n_dropped == 1 && dropped[0] == 0 && keep.n == KV_KEEP_MAX);
	/* Touching is not overlapping. */
	kv_keep_taken(&keep, (struct kv_span){150, 50}, drop, NULL);
	cr_assert_eq(n_dropped, 1);
	kv_keep_taken(&keep, (struct kv_span){149, 52}, drop, NULL);
	cr_assert(n_dropped == 3 && dropped[1] == 200 && dropped[2] == 100);
	kv_keep_trim(&keep, keep.bytes, drop, NULL);
	cr_assert_eq(n_dropped, 3);
	kv_keep_trim(&keep, keep.bytes - 1, drop, NULL);
	cr_assert(n_dropped == 4 && dropped[3] == 300);
	n_dropped = 0;
	kv_keep_trim(&keep, 0, drop, NULL);
	cr_assert(keep.n == 0 && keep.bytes == 0 && n_dropped == KV_KEEP_MAX - 3);
}

Test(predict, says_nothing_without_a_history)
{
	struct kv_predict p = {0};

	EXPECT(kv_predict_bytes(&p, 5, SECOND), 0);
	for (int i = 0; i < 3; i++)
		kv_predict_add(&p, (uint64_t)i * SECOND, 100);
	EXPECT(kv_predict_bytes(&p, 3 * SECOND, SECOND), 0);
}

Test(predict, a_steady_load_is_expected_to_go_on_and_one_that_ended_is_not)
{
	struct kv_predict p = {0};

	for (uint64_t i = 0; i < 200; i++)
		kv_predict_add(&p, i * SECOND / 10, 1000);
	EXPECT(kv_predict_bytes(&p, 20 * SECOND, SECOND), 10000);
	EXPECT(kv_predict_bytes(&p, 20 * SECOND, SECOND / 100), 1000);
	/* A pause makes less likely that it goes on; a long one ends it. */
	cr_assert(kv_predict_bytes(&p, 25 * SECOND, SECOND) < 10000);
	EXPECT(kv_predict_bytes(&p, 60 * SECOND, SECOND), 0);
	/* No further than a history ahead. */
	EXPECT(kv_predict_bytes(&p, 20 * SECOND, 3600 * SECOND), KV_PREDICT_HISTORY * 1000);
}

Test(predict, nine_of_ten_lengths_fit)
{
	struct kv_predict p = {0};

	for (uint64_t i = 1; i <= 60; i++)
		kv_predict_add(&p, i * SECOND, i % 10 ? 10 : 100000);
	EXPECT(kv_predict_bytes(&p, 60 * SECOND, SECOND), 10);
}

Test(predict, strange_times_and_lengths_do_no_harm)
{
	struct kv_predict p = {0};

	for (int i = 0; i < 100; i++)
		kv_predict_add(&p, 1000 - (uint64_t)i, UINT64_MAX);
	EXPECT(kv_predict_bytes(&p, 0, SECOND), -1ll);
	EXPECT(kv_predict_bytes(&p, UINT64_MAX, SECOND), 0);
}
