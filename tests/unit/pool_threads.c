/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_threads.c - sixteen threads on one pool: no piece is had twice. For ThreadSanitizer, too.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/pool.h"

#define THREADS 16
#define CAPACITY 4096u
#define STEPS 3000
#define PIECES 24

static struct kv_pool *pool;
static _Atomic uint8_t taken[CAPACITY]; /* atomic: relaxed; who has a piece is alone on it */
static _Atomic uint32_t problems;
static uint32_t models[4];

static void mark(uint64_t from, uint64_t to, uint8_t value)
{
	for (uint64_t i = from; i < to; i++) {
		if (atomic_exchange_explicit(&taken[i], value, memory_order_relaxed) == value)
			atomic_fetch_add(&problems, 1);
	}
}

static void one_step(struct kv_pool_piece *p, uint32_t model, uint32_t random)
{
	uint64_t length = 1 + random % 40;

	if (!p->id) {
		if (kv_pool_take(pool, model, length, p) == 0)
			mark(p->offset, p->offset + p->length, 1);
		else
			p->id = 0;
	} else if (random % 3 == 0) {
		if (kv_pool_grow(pool, p->id, p->length + length) == 0) {
			mark(p->offset + p->length, p->offset + p->length + length, 1);
			p->length += length;
		}
	} else {
		mark(p->offset, p->offset + p->length, 0);
		if (kv_pool_give(pool, p->id, NULL) < 0)
			atomic_fetch_add(&problems, 1);
		p->id = 0;
	}
}

static void *work(void *arg)
{
	uint32_t random = (uint32_t)(uintptr_t)arg * 7919 + 1;
	struct kv_pool_piece pieces[PIECES] = {{0}};
	struct kv_pool_counts counts;

	for (int i = 0; i < STEPS; i++) {
		random = random * 1664525u + 1013904223u;
		one_step(&pieces[(random >> 8) % PIECES], models[random >> 30], random >> 13);
		if (i % 512 == 0)
			kv_pool_rebalance(pool);
		kv_pool_counts(pool, &counts);
		if (counts.used > CAPACITY)
			atomic_fetch_add(&problems, 1);
	}
	for (int i = 0; i < PIECES; i++) {
		if (pieces[i].id) {
			mark(pieces[i].offset, pieces[i].offset + pieces[i].length, 0);
			kv_pool_give(pool, pieces[i].id, NULL);
		}
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	struct kv_pool_counts counts;

	if (kv_pool_new(CAPACITY, &pool) < 0)
		return 1;
	for (int i = 0; i < 4; i++)
		kv_pool_model_add(pool, 100, CAPACITY, &models[i]);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	kv_pool_counts(pool, &counts);
	if (kv_pool_check(pool) < 0 || counts.used || counts.n_free != 1)
		atomic_fetch_add(&problems, 1);
	kv_pool_free(pool);
	printf("%d threads, %d steps each: %u problems\n", THREADS, STEPS, atomic_load(&problems));
	return atomic_load(&problems) ? 1 : 0;
}
