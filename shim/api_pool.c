/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_pool.c - kvshim_pool.h: pools over a reservation that is managed by hints; see api_pool.h.
 */
#include "shim/api_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/agent.h"
#include "core/pool.h"
#include "core/predict.h"
#include "core/want.h"
#include "hooks/hooks.h"
#include "shim/log.h"

#define LOOK_NS 20000000ull     /* between two looks ahead */
#define HORIZON_NS 200000000ull /* how far they look */
#define POOLS_MAX 65535u        /* that a process makes */
#define SLICE_NS 5000000ull     /* between two tries of a request that waits */

static struct {
	pthread_mutex_t mutex; /* a leaf */
	pthread_cond_t turns;
	struct kv_api_pool *list;
	uint64_t last_id;
} pools = {.mutex = PTHREAD_MUTEX_INITIALIZER, .turns = PTHREAD_COND_INITIALIZER};

/* ---- turns ---- */

struct kv_api_pool *kv_api_pool_claim(uint64_t id, const char *call, int *ret_error)
{
	struct kv_api_pool *pool = NULL;

	*ret_error = kv_api_ready();
	if (*ret_error < 0)
		return NULL;
	pthread_mutex_lock(&pools.mutex);
	for (;;) {
		for (pool = pools.list; pool && pool->id != id; pool = pool->next)
			;
		if (!pool || !pool->busy)
			break;
		pthread_cond_wait(&pools.turns, &pools.mutex);
	}
	if (pool)
		pool->busy = true;
	pthread_mutex_unlock(&pools.mutex);
	if (!pool)
		*ret_error = kv_api_refuse(KVSHIM_ERR_UNKNOWN, call,
			"there is no pool, model or "
			"cache %llu",
			(unsigned long long)id);
	return pool;
}

void kv_api_pool_yield(struct kv_api_pool *pool)
{
	pthread_mutex_lock(&pools.mutex);
	pool->busy = false;
	pthread_cond_broadcast(&pools.turns);
	pthread_mutex_unlock(&pools.mutex);
}

/* Gives the turn away for a while, until something may have become free. The pool may be gone then:
 * NULL. */
struct kv_api_pool *kv_api_pool_step_back(
	struct kv_api_pool *pool, const char *call, int *ret_error)
{
	uint64_t id = pool->id;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)SLICE_NS;
	if (until.tv_nsec >= 1000000000l) {
		until.tv_nsec -= 1000000000l;
		until.tv_sec++;
	}
	pthread_mutex_lock(&pools.mutex);
	pool->busy = false;
	pthread_cond_broadcast(&pools.turns);
	/* What other processes free does not signal: hence the slices. */
	pthread_cond_timedwait(&pools.turns, &pools.mutex, &until);
	pthread_mutex_unlock(&pools.mutex);
	return kv_api_pool_claim(id, call, ret_error);
}

uint64_t kv_api_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- pages ---- */

static int want(struct kv_api_pool *pool, const struct kv_span *span)
{
	int error;

	if (!kv_call_enter())
		return -ENODEV;
	error = kv_want(pool->r, pool->manage, span, 1);
	kv_call_leave();
	return error;
}

int kv_api_pool_want(struct kv_api_pool *pool, uint64_t offset, uint64_t length)
{
	struct kv_span span = {offset, length};
	int error = want(pool, &span);

	if (error == -ENOMEM) {
		kv_api_reap();
		error = want(pool, &span);
	}
	return error;
}

void kv_api_pool_unwant(struct kv_api_pool *pool, uint64_t offset, uint64_t length)
{
	struct kv_span span = {offset, length};

	if (length == 0 || !kv_call_enter())
		return;
	kv_unwant(pool->r, pool->manage, &span, 1);
	kv_call_leave();
}

static void drop_kept(void *ctx, const struct kv_span *span)
{
	kv_api_pool_unwant(ctx, span->offset, span->length);
}

void kv_api_pool_give_back(struct kv_api_pool *pool, uint64_t offset, uint64_t length)
{
	if (pool->predicts)
		kv_keep_add(&pool->keep, (struct kv_span){offset, length}, drop_kept, pool);
	else
		kv_api_pool_unwant(pool, offset, length);
}

void kv_api_pool_placed(struct kv_api_pool *pool, uint64_t offset, uint64_t length)
{
	kv_keep_taken(&pool->keep, (struct kv_span){offset, length}, drop_kept, pool);
}

bool kv_api_pool_forsake(struct kv_api_pool *pool)
{
	bool any = pool->ahead_length || pool->keep.n;

	kv_keep_trim(&pool->keep, 0, drop_kept, pool);
	kv_api_pool_unwant(pool, pool->ahead_offset, pool->ahead_length);
	pool->ahead_length = 0;
	return any;
}

/* [turn] Looks ahead: what requests will want soon stays or is backed now, where they will be put.
 */
static void look_ahead(struct kv_api_pool *pool)
{
	uint64_t bytes = kv_predict_bytes(&pool->history, kv_api_now_ns(), HORIZON_NS), offset = 0;
	struct kv_pool_counts counts;

	kv_keep_trim(&pool->keep, bytes, drop_kept, pool);
	bytes -= pool->keep.bytes;
	kv_pool_counts(pool->pieces, &counts);
	if (bytes > counts.largest_free)
		bytes = counts.largest_free;
	if (bytes && kv_pool_peek(pool->pieces, bytes, &offset) < 0)
		bytes = 0;
	if (offset == pool->ahead_offset && bytes == pool->ahead_length)
		return;
	/* The new span first, so that what both cover stays. Without memory there is none. */
	if (bytes && kv_api_pool_want(pool, offset, bytes) < 0)
		bytes = 0;
	kv_api_pool_unwant(pool, pool->ahead_offset, pool->ahead_length);
	pool->ahead_offset = offset;
	pool->ahead_length = bytes;
}

/* The agent's task: all pools of a space. */
static uint64_t look_at_pools(void *ctx, uint64_t unused)
{
	uint64_t after = 0, id;
	bool any = false;

	(void)unused;
	for (;;) {
		struct kv_api_pool *pool, *next = NULL;
		int error;

		pthread_mutex_lock(&pools.mutex);
		for (pool = pools.list; pool; pool = pool->next) {
			if (pool->id > after && pool->predicts && pool->space == ctx &&
				(!next || pool->id < next->id))
				next = pool;
		}
		id = next ? next->id : 0;
		pthread_mutex_unlock(&pools.mutex);
		if (!id)
			return any ? LOOK_NS : KV_AGENT_NEVER;
		after = id;
		pool = kv_api_pool_claim(id, __func__, &error);
		if (pool) {
			look_ahead(pool);
			kv_api_pool_yield(pool);
			any = true;
		}
	}
}

/* ---- pools ---- */

int kvshim_pool_create(const struct kvshim_pool_desc *desc, uint64_t *ret_pool)
{
	struct kv_manage_config manage = {0};
	struct kvshim_pool_desc d;
	struct kv_api_pool *pool;
	int error;

	error = KV_API_TAKE(d, desc, 56, __func__);
	if (error < 0)
		return error;
	d.name[sizeof(d.name) - 1] = '\0';
	if (!ret_pool || d.capacity == 0 || d.capacity > INT64_MAX ||
		(d.flags & ~(uint32_t)KVSHIM_POOL_PREDICT))
		return kv_api_refuse(
			KVSHIM_ERR_INVALID, __func__, "no capacity, or flags that there are not");
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return KVSHIM_ERR_NO_MEMORY;
	error = kv_hooks_allocate(d.capacity, d.name[0] ? d.name : "pool", &pool->r);
	if (error < 0)
		goto memory;
	kv_call_begin();
	error = kv_manage_begin(pool->r, &manage, &pool->manage);
	kv_call_end();
	if (error < 0)
		goto reservation;
	error = kv_pool_new(kv_reservation_reserved(pool->r), &pool->pieces);
	if (error < 0)
		goto managed;
	pool->base = kv_reservation_base(pool->r);
	pool->space = kv_reservation_space(pool->r);
	pool->predicts = kv_api_may_predict && (d.flags & KVSHIM_POOL_PREDICT);
	pthread_mutex_lock(&pools.mutex);
	if (pools.last_id < POOLS_MAX) {
		pool->id = *ret_pool = ++pools.last_id;
		pool->next = pools.list;
		pools.list = pool;
	}
	pthread_mutex_unlock(&pools.mutex);
	if (!pool->id) {
		error = -ENOSPC;
		goto pieces;
	}
	if (pool->predicts) {
		error = kv_agent_add(kv_space_agent(pool->space), look_at_pools, pool->space);
		if (error < 0 && error != -EEXIST)
			kv_log(KV_LOG_WARN, "api",
				"no thread that looks ahead (error %d): nothing is predicted",
				-error);
		kv_agent_poke(kv_space_agent(pool->space));
	}
	return 0;

pieces:
	kv_pool_free(pool->pieces);
managed:
	kv_manage_end(pool->r, pool->manage);
reservation:
	kv_hooks_release(kv_reservation_base(pool->r));
memory:
	free(pool);
	if (kv_api_ready() < 0)
		return KVSHIM_ERR_INERT;
	return kv_api_refuse(kv_api_error(error), __func__, "no reservation of %llu bytes",
		(unsigned long long)d.capacity);
}

int kvshim_pool_destroy(uint64_t id)
{
	struct kv_api_pool *pool, **at;
	struct kv_pool_counts counts;
	int error;

	pool = kv_api_pool_claim(id, __func__, &error);
	if (!pool)
		return error;
	kv_pool_counts(pool->pieces, &counts);
	if (counts.n_pieces) {
		kv_api_pool_yield(pool);
		return kv_api_refuse(KVSHIM_ERR_IN_USE, __func__, "pool %llu has %llu caches",
			(unsigned long long)id, (unsigned long long)counts.n_pieces);
	}
	pthread_mutex_lock(&pools.mutex);
	for (at = &pools.list; *at != pool; at = &(*at)->next)
		;
	*at = pool->next;
	pthread_cond_broadcast(&pools.turns);
	pthread_mutex_unlock(&pools.mutex);
	kv_manage_end(pool->r, pool->manage);
	kv_hooks_release(pool->base);
	kv_pool_free(pool->pieces);
	free(pool);
	return 0;
}

int kvshim_pool_rebalance(uint64_t id)
{
	struct kv_api_pool *pool;
	int error;

	pool = kv_api_pool_claim(id, __func__, &error);
	if (!pool)
		return error;
	kv_pool_rebalance(pool->pieces);
	kv_api_pool_yield(pool);
	return 0;
}

int kvshim_pool_stats_get(uint64_t id, struct kvshim_pool_stats *ret_stats)
{
	struct kvshim_pool_stats stats;
	struct kv_pool_counts counts;
	struct kv_api_pool *pool;
	int error;

	pool = kv_api_pool_claim(id, __func__, &error);
	if (!pool)
		return error;
	kv_pool_counts(pool->pieces, &counts);
	stats = (struct kvshim_pool_stats){
		.capacity = counts.capacity,
		.used = counts.used,
		.used_peak = counts.used_peak,
		.largest_free = counts.largest_free,
		.n_caches = counts.n_pieces,
		.n_free = counts.n_free,
		.wanted = kv_wanted_pages(pool->r) * kv_reservation_page_size(pool->r),
		.ahead = pool->ahead_length + pool->keep.bytes,
		.requests = pool->requests,
		.waits = pool->waits,
		.degraded = pool->degraded,
		.failed = pool->failed,
		.hits = pool->hits,
		.misses = pool->misses,
	};
	kv_api_pool_yield(pool);
	return KV_API_GIVE(ret_stats, stats, __func__);
}
