/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_threads.c - sixteen threads in the C API at once: caches of one pool, blocks of one region,
 * tags, statistics, pools that come and go. What a cache or a block holds is its own. For
 * ThreadSanitizer and AddressSanitizer.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tests/api/door.h"

#define THREADS 16
#define STEPS 1200
#define CACHES 4
#define BLOCKS_EACH 4
#define PAGE 4096u

static uint64_t pool, models[2], region, blocks_at;
static _Atomic uint32_t problems;

static void expect(int got, int wanted, const char *what)
{
	if (got == wanted)
		return;
	if (atomic_fetch_add(&problems, 1) < 20)
		fprintf(stderr, "%s: %d, not %d\n", what, got, wanted);
}

struct mine {
	uint32_t random;
	uint8_t id;
	struct kvshim_cache caches[CACHES];
	bool live[BLOCKS_EACH];
};

static uint32_t pick(struct mine *me, uint32_t below)
{
	me->random = me->random * 1664525u + 1013904223u;
	return (me->random >> 8) % below;
}

static void fill(struct mine *me, const struct kvshim_cache *c)
{
	expect(door_use(c->address, c->tokens * 64, me->id, true), 0, "a cache is written");
}

static void cache_step(struct mine *me)
{
	struct kvshim_cache *c = &me->caches[pick(me, CACHES)];
	int when = (int)pick(me, 3), error;

	if (!c->id) {
		c->size = sizeof(*c);
		error = kvshim_cache_alloc(models[pick(me, 2)], 1 + pick(me, 300), when, 2, c);
		if (error == 0)
			fill(me, c);
		else if (error != KVSHIM_ERR_NO_MEMORY && error != KVSHIM_ERR_TIMEOUT &&
			 error != KVSHIM_ERR_LIMIT)
			expect(error, 0, "a cache");
	} else if (pick(me, 3) == 0) {
		error = kvshim_cache_extend(
			c->id, (int64_t)c->tokens + 1 + pick(me, 50), when, 1, c);
		if (error == 0)
			fill(me, c);
		else if (error == KVSHIM_ERR_UNKNOWN || error == KVSHIM_ERR_INVALID)
			expect(error, 0, "a longer cache");
	} else {
		expect(door_use(c->address, c->tokens * 64, me->id, false), 0, "a cache's content");
		expect(kvshim_cache_free(c->id), 0, "free");
		expect(kvshim_cache_free(c->id), KVSHIM_ERR_UNKNOWN, "free twice");
		c->id = 0;
	}
}

static void block_step(struct mine *me)
{
	uint32_t i = pick(me, BLOCKS_EACH);
	int64_t block = me->id * BLOCKS_EACH + i;
	uint64_t at = blocks_at + (uint64_t)block * PAGE / 2;

	if (!me->live[i]) {
		expect(kvshim_touch(region, &block, 1), 0, "touch");
		expect(door_use(at, 64, me->id, true), 0, "a block is written");
		me->live[i] = true;
	} else if (pick(me, 2)) {
		expect(door_use(at, 64, me->id, false), 0, "a block's content");
	} else {
		expect(kvshim_release(region, &block, 1, (int)pick(me, 2)), 0, "release");
		expect(kvshim_step(region), 0, "step");
		expect(kvshim_step(region), 0, "step");
		me->live[i] = false;
	}
}

static void other_step(struct mine *me)
{
	struct kvshim_pool_desc desc = {sizeof(desc), 8 * PAGE, 0, 0, "brief"};
	struct kvshim_pool_stats stats = {.size = sizeof(stats)};
	struct kvshim_reservation row = {.size = sizeof(row)};
	struct kvshim_quota quota = {.size = sizeof(quota)};
	struct kvshim_stats all = {.size = sizeof(all)};
	uint64_t brief;

	switch (pick(me, 6)) {
	case 0:
		expect(kvshim_pool_create(&desc, &brief), 0, "a pool");
		expect(kvshim_pool_destroy(brief), 0, "its end");
		break;
	case 1:
		expect(kvshim_tag_push("mine", KVSHIM_MODE_LAZY, 3), 0, "push");
		expect(kvshim_tag_pop(), 0, "pop");
		break;
	case 2:
		expect(kvshim_pool_stats_get(pool, &stats), 0, "statistics of a pool");
		break;
	case 3:
		while (kvshim_reservation_next(row.base, &row) == 0)
			;
		break;
	case 4:
		expect(kvshim_stats_get(0, &all), 0, "statistics");
		expect(kvshim_quota_get(0, &quota), 0, "quota");
		break;
	default:
		expect(kvshim_pool_rebalance(pool), 0, "rebalance");
		break;
	}
}

static void *work(void *arg)
{
	struct mine me = {
		.random = (uint32_t)(uintptr_t)arg * 7919 + 1, .id = (uint8_t)(uintptr_t)arg};

	for (int i = 0; i < STEPS; i++) {
		uint32_t what = pick(&me, 8);

		if (what < 4)
			cache_step(&me);
		else if (what < 7)
			block_step(&me);
		else
			other_step(&me);
	}
	for (int i = 0; i < CACHES; i++) {
		if (me.caches[i].id)
			expect(kvshim_cache_free(me.caches[i].id), 0, "free at the end");
	}
	return NULL;
}

static void set_up(struct buffer *b)
{
	struct kvshim_pool_desc desc = {sizeof(desc), 64 * PAGE, KVSHIM_POOL_PREDICT, 0, "pool"};
	struct kvshim_model_desc model = {sizeof(model), 0, 0, 0, 0, 64, 1000, 0, 0, "model"};
	struct kvshim_range range = {0, PAGE / 2, PAGE / 2};
	struct kvshim_region_desc of_region = {
		sizeof(of_region), THREADS * BLOCKS_EACH, 1, &range, 0, UINT32_MAX, "kv"};

	expect(buffer_new(&door, THREADS * BLOCKS_EACH * PAGE / 2, b), 0, "memory");
	range.address = blocks_at = b->base;
	expect(kvshim_region_declare(&of_region, &region), 0, "region");
	expect(kvshim_pool_create(&desc, &pool), 0, "pool");
	expect(kvshim_model_register(pool, &model, &models[0]), 0, "model");
	model.max_bytes = 20 * PAGE;
	expect(kvshim_model_register(pool, &model, &models[1]), 0, "model");
}

int main(void)
{
	struct kvshim_pool_stats stats = {.size = sizeof(stats)};
	pthread_t threads[THREADS];
	const char *problem;
	struct buffer b;

	door_open((struct fixture_options){.device_pages = 2048, .host_pages = 2048});
	set_up(&b);
	for (uintptr_t i = 0; i < THREADS; i++)
		expect(pthread_create(&threads[i], NULL, work, (void *)i), 0, "thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	expect(kvshim_pool_stats_get(pool, &stats), 0, "statistics");
	expect((int)(stats.used + stats.n_caches), 0, "what is left");
	expect(kvshim_pool_destroy(pool), 0, "the pool's end");
	expect(kvshim_region_end(region), 0, "the region's end");
	expect(buffer_free(&door, &b), 0, "memory");
	problem = door_close();
	if (problem)
		fprintf(stderr, "%s\n", problem);
	printf("%d threads, %d steps each, %llu requests, %llu waits, %llu degraded: %u problems\n",
		THREADS, STEPS, (unsigned long long)stats.requests, (unsigned long long)stats.waits,
		(unsigned long long)stats.degraded, atomic_load(&problems));
	return problem || atomic_load(&problems) ? 1 : 0;
}
