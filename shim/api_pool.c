/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_pool.c - kvshim_pool.h: pools over a reservation that is managed by hints, and their models.
 *
 * One thread at a time works on a pool: the turn is taken before the gate is entered, and no mutex
 * is held across a call into core.
 */
#include "shim/api.h"

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

/* One per pool. */
struct pool_model {
	bool in_use;
	uint64_t token_bytes, max_tokens;
	uint64_t requests, degraded, failed, tokens;
	char name[64];
};

struct kv_api_pool {
	struct kv_api_pool *next; /* guarded by pools.mutex */
	bool busy;                /* guarded by pools.mutex; somebody has the turn */

	/* immutable once it is in the list */
	uint64_t id, base;
	struct kv_reservation *r;
	struct kv_space *space;
	uint64_t manage; /* of want.h */
	struct kv_pool *pieces;
	bool predicts;

	/* of whose turn it is */
	struct pool_model models[KV_POOL_MODELS];
	struct kv_predict history;
	uint64_t ahead_offset, ahead_length;
	uint64_t requests, waits, degraded, failed, hits, misses;
};

static struct {
	pthread_mutex_t mutex; /* a leaf */
	pthread_cond_t turns;
	struct kv_api_pool *list;
	uint64_t last_id;
} pools = {.mutex = PTHREAD_MUTEX_INITIALIZER, .turns = PTHREAD_COND_INITIALIZER};

/* ---- turns ---- */

static struct kv_api_pool *claim(uint64_t id, const char *call, int *ret_error)
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

static void yield(struct kv_api_pool *pool)
{
	pthread_mutex_lock(&pools.mutex);
	pool->busy = false;
	pthread_cond_broadcast(&pools.turns);
	pthread_mutex_unlock(&pools.mutex);
}

/* Gives the turn away for a while, until something may have become free. The pool may be gone then:
 * NULL. */
static struct kv_api_pool *step_back(struct kv_api_pool *pool, const char *call, int *ret_error)
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
	return claim(id, call, ret_error);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- pages ---- */

static int want(struct kv_api_pool *pool, uint64_t offset, uint64_t length)
{
	struct kv_span span = {offset, length};
	int error;

	if (!kv_call_enter())
		return -ENODEV;
	error = kv_want(pool->r, pool->manage, &span, 1);
	kv_call_leave();
	return error;
}

static void unwant(struct kv_api_pool *pool, uint64_t offset, uint64_t length)
{
	struct kv_span span = {offset, length};

	if (length == 0 || !kv_call_enter())
		return;
	kv_unwant(pool->r, pool->manage, &span, 1);
	kv_call_leave();
}

static uint64_t backed(struct kv_api_pool *pool)
{
	struct kv_reservation_stats stats;

	kv_reservation_stats(pool->r, &stats);
	return stats.backed;
}

/* [turn] Looks ahead: what requests will want soon is backed now, where they will be put. */
static void look_ahead(struct kv_api_pool *pool)
{
	uint64_t bytes = kv_predict_bytes(&pool->history, now_ns(), HORIZON_NS), offset = 0;
	struct kv_pool_counts counts;

	kv_pool_counts(pool->pieces, &counts);
	if (bytes > counts.largest_free)
		bytes = counts.largest_free;
	if (bytes && kv_pool_peek(pool->pieces, bytes, &offset) < 0)
		bytes = 0;
	if (offset == pool->ahead_offset && bytes == pool->ahead_length)
		return;
	/* The new span first, so that what both cover stays. Without memory there is none. */
	if (bytes && want(pool, offset, bytes) < 0)
		bytes = 0;
	unwant(pool, pool->ahead_offset, pool->ahead_length);
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
		pool = claim(id, __func__, &error);
		if (pool) {
			look_ahead(pool);
			yield(pool);
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

	error = KV_API_TAKE(d, desc, __func__);
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
	pool->predicts = d.flags & KVSHIM_POOL_PREDICT;
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

	pool = claim(id, __func__, &error);
	if (!pool)
		return error;
	kv_pool_counts(pool->pieces, &counts);
	if (counts.n_pieces) {
		yield(pool);
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

	pool = claim(id, __func__, &error);
	if (!pool)
		return error;
	kv_pool_rebalance(pool->pieces);
	yield(pool);
	return 0;
}

/* ---- caches ---- */

/* An id carries its pool: 16 bits, above what identifies a model or a piece. */
#define POOL_SHIFT 48
#define POOL_OF(id) ((id) >> POOL_SHIFT)
#define REST_OF(id) ((id) & ((1ull << POOL_SHIFT) - 1))

/* What one request goes by. */
struct request {
	struct kv_api_pool *pool;
	uint32_t model;
	uint64_t token_bytes, tokens;
	uint64_t grow; /* the piece to grow; 0: a new one */
	uint64_t had;  /* bytes that it had */
	struct kv_pool_piece piece;
};

/* [turn] Takes or grows, and backs. Undone on an error. */
static int try(struct request *q, uint64_t bytes)
{
	struct kv_api_pool *pool = q->pool;
	uint64_t before = backed(pool);
	int error;

	if (q->grow) {
		error = kv_pool_grow(pool->pieces, q->grow, bytes);
		if (error == 0)
			error = kv_pool_find(pool->pieces, q->grow, &q->piece);
	} else {
		error = kv_pool_take(pool->pieces, q->model, bytes, &q->piece);
	}
	if (error < 0)
		return error;
	error = want(pool, q->piece.offset + q->had, bytes - q->had);
	if (error < 0) {
		if (q->grow)
			kv_pool_shrink(pool->pieces, q->grow, q->had);
		else
			kv_pool_give(pool->pieces, q->piece.id, NULL);
		return error;
	}
	if (backed(pool) > before)
		pool->misses++;
	else
		pool->hits++;
	return 0;
}

static bool is_short(int error)
{
	return error == -ENOMEM || error == -ENOSPC || error == -EDQUOT;
}

/* [turn] The most tokens for which there is a place and memory; at least one more than it had. */
static int degrade(struct request *q)
{
	uint64_t most = q->grow ? kv_pool_room(q->pool->pieces, q->grow)
				: kv_pool_longest(q->pool->pieces, q->model);
	uint64_t low = q->had / q->token_bytes, high = most / q->token_bytes;
	int error = -ENOSPC;

	if (high > q->tokens)
		high = q->tokens;
	/* high may do, low is had anyway. */
	while (high > low) {
		uint64_t middle;

		error = try(q, high * q->token_bytes);
		if (!is_short(error)) {
			if (error == 0)
				q->tokens = high;
			return error;
		}
		/* Memory is short: half of what is asked in addition, until it fits. */
		middle = low + (high - low) / 2;
		high = middle == high ? low : middle;
	}
	return error;
}

/* [turn, given away while waiting; NULL in q->pool if the pool is gone] */
static int fulfil(struct request *q, int when_short, uint64_t deadline, const char *call)
{
	uint64_t bytes = q->tokens * q->token_bytes;
	bool waited = false;
	int error, gone;

	for (;;) {
		error = try(q, bytes);
		if (!is_short(error))
			return error;
		if (when_short == KVSHIM_SHORT_DEGRADE)
			return degrade(q);
		if (when_short == KVSHIM_SHORT_FAIL)
			return error;
		if (now_ns() >= deadline)
			return -ETIMEDOUT;
		q->pool->waits += !waited;
		waited = true;
		q->pool = step_back(q->pool, call, &gone);
		if (!q->pool)
			return -ENOENT;
		if (q->grow && kv_pool_find(q->pool->pieces, q->grow, &q->piece) < 0)
			return -ENOENT; /* freed while we waited */
	}
}

/* [turn] Books the outcome, answers and yields. */
static int finish(struct request *q, uint64_t asked, int error, struct kvshim_cache *ret_cache,
	const char *call)
{
	struct pool_model *model;
	struct kvshim_cache cache;

	if (!q->pool)
		return KVSHIM_ERR_GONE;
	model = &q->pool->models[q->model];
	q->pool->requests++;
	model->requests++;
	if (error < 0) {
		q->pool->failed++;
		model->failed++;
		yield(q->pool);
		return error == -EDQUOT ? KVSHIM_ERR_LIMIT : kv_api_error(error);
	}
	if (!q->grow)
		kv_predict_add(&q->pool->history, now_ns(), asked * q->token_bytes);
	q->pool->degraded += q->tokens < asked;
	model->degraded += q->tokens < asked;
	model->tokens += q->tokens - q->had / q->token_bytes;
	cache = (struct kvshim_cache){
		.id = q->pool->id << POOL_SHIFT | q->piece.id,
		.address = q->pool->base + q->piece.offset,
		.tokens = q->tokens,
		.room = kv_pool_room(q->pool->pieces, q->piece.id) / q->token_bytes,
		.is_short = q->tokens < asked,
	};
	kv_agent_poke(q->pool->predicts ? kv_space_agent(q->pool->space) : NULL);
	yield(q->pool);
	return KV_API_GIVE(ret_cache, cache, call);
}

/* The pool of a model or cache, with its turn taken. */
static int begin(struct request *q, uint64_t id, const char *call)
{
	int error;

	q->pool = claim(POOL_OF(id), call, &error);
	return q->pool ? 0 : error;
}

static int unknown(struct kv_api_pool *pool, const char *call, uint64_t id)
{
	yield(pool);
	return kv_api_refuse(KVSHIM_ERR_UNKNOWN, call, "there is no model or cache %llu",
		(unsigned long long)id);
}

/* The model's row for an id, NULL: none. */
static struct pool_model *model_of(struct kv_api_pool *pool, uint64_t id)
{
	uint64_t i = REST_OF(id) - 1;

	return i < KV_POOL_MODELS && pool->models[i].in_use ? &pool->models[i] : NULL;
}

static int check_arguments(int64_t tokens, int when_short, const void *answer, const char *call)
{
	if (tokens <= 0 || when_short < KVSHIM_SHORT_FAIL || when_short > KVSHIM_SHORT_DEGRADE ||
		!answer)
		return kv_api_refuse(KVSHIM_ERR_INVALID, call,
			"%lld tokens, when short %d: not a request", (long long)tokens, when_short);
	return 0;
}

int kvshim_cache_alloc(uint64_t model, int64_t tokens, int when_short, uint32_t timeout_ms,
	struct kvshim_cache *ret_cache)
{
	uint64_t deadline = now_ns() + timeout_ms * 1000000ull;
	struct request q = {.tokens = (uint64_t)tokens};
	struct pool_model *m;
	int error = check_arguments(tokens, when_short, ret_cache, __func__);

	if (error == 0)
		error = begin(&q, model, __func__);
	if (error < 0)
		return error;
	m = model_of(q.pool, model);
	if (!m)
		return unknown(q.pool, __func__, model);
	if (q.tokens > m->max_tokens) {
		yield(q.pool);
		return kv_api_refuse(KVSHIM_ERR_TOO_LONG, __func__, "%lld tokens of model '%s'",
			(long long)tokens, m->name);
	}
	q.model = (uint32_t)(REST_OF(model) - 1);
	q.token_bytes = m->token_bytes;
	error = fulfil(&q, when_short, deadline, __func__);
	return finish(&q, (uint64_t)tokens, error, ret_cache, __func__);
}

int kvshim_cache_extend(uint64_t cache, int64_t tokens, int when_short, uint32_t timeout_ms,
	struct kvshim_cache *ret_cache)
{
	uint64_t deadline = now_ns() + timeout_ms * 1000000ull;
	struct request q = {.tokens = (uint64_t)tokens};
	struct pool_model *m;
	int error = check_arguments(tokens, when_short, ret_cache, __func__);

	if (error == 0)
		error = begin(&q, cache, __func__);
	if (error < 0)
		return error;
	if (kv_pool_find(q.pool->pieces, REST_OF(cache), &q.piece) < 0 ||
		kv_pool_model_of(q.pool->pieces, REST_OF(cache), &q.model) < 0)
		return unknown(q.pool, __func__, cache);
	m = &q.pool->models[q.model];
	q.token_bytes = m->token_bytes;
	q.grow = q.piece.id;
	q.had = q.piece.length;
	if (q.tokens > m->max_tokens || q.tokens * q.token_bytes <= q.had) {
		yield(q.pool);
		return kv_api_refuse(
			q.tokens > m->max_tokens ? KVSHIM_ERR_TOO_LONG : KVSHIM_ERR_INVALID,
			__func__, "%lld tokens of model '%s'", (long long)tokens, m->name);
	}
	error = fulfil(&q, when_short, deadline, __func__);
	return finish(&q, (uint64_t)tokens, error, ret_cache, __func__);
}

int kvshim_cache_free(uint64_t cache)
{
	struct kv_pool_piece piece;
	struct request q = {0};
	int error = begin(&q, cache, __func__);

	if (error < 0)
		return error;
	if (kv_pool_give(q.pool->pieces, REST_OF(cache), &piece) < 0)
		return unknown(q.pool, __func__, cache);
	unwant(q.pool, piece.offset, piece.length);
	kv_agent_poke(q.pool->predicts ? kv_space_agent(q.pool->space) : NULL);
	yield(q.pool);
	return 0;
}

/* ---- models ---- */

int kvshim_model_register(uint64_t pool, const struct kvshim_model_desc *model, uint64_t *ret_model)
{
	struct kvshim_model_desc d;
	struct request q = {0};
	uint64_t bytes, longest;
	uint32_t row;
	int error;

	error = KV_API_TAKE(d, model, __func__);
	if (error < 0)
		return error;
	d.name[sizeof(d.name) - 1] = '\0';
	bytes = kvshim_model_token_bytes(&d);
	if (!ret_model || !bytes || !d.max_tokens || !d.name[0] ||
		__builtin_mul_overflow(bytes, d.max_tokens, &longest))
		return kv_api_refuse(KVSHIM_ERR_INVALID, __func__,
			"model '%s': no bytes per token, no longest sequence, or no name", d.name);
	q.pool = claim(pool, __func__, &error);
	if (!q.pool)
		return error;
	error = kv_pool_model_add(
		q.pool->pieces, d.min_bytes, d.max_bytes ? d.max_bytes : UINT64_MAX, &row);
	if (error == 0) {
		q.pool->models[row] = (struct pool_model){
			.in_use = true, .token_bytes = bytes, .max_tokens = d.max_tokens};
		memcpy(q.pool->models[row].name, d.name, sizeof(d.name));
		*ret_model = q.pool->id << POOL_SHIFT | (row + 1);
	}
	yield(q.pool);
	if (error < 0)
		return kv_api_refuse(kv_api_error(error), __func__,
			"model '%s': its minimum, or too many models", d.name);
	return 0;
}

int kvshim_model_unregister(uint64_t model)
{
	struct request q = {0};
	struct pool_model *m;
	int error = begin(&q, model, __func__);

	if (error < 0)
		return error;
	m = model_of(q.pool, model);
	if (!m)
		return unknown(q.pool, __func__, model);
	error = kv_pool_model_remove(q.pool->pieces, (uint32_t)(REST_OF(model) - 1));
	if (error == 0)
		m->in_use = false;
	yield(q.pool);
	return error < 0 ? kv_api_refuse(KVSHIM_ERR_IN_USE, __func__, "the model has caches") : 0;
}

int kvshim_model_stats_get(uint64_t model, struct kvshim_model_stats *ret_stats)
{
	struct kvshim_model_stats stats;
	struct kv_pool_model limits = {0};
	struct request q = {0};
	struct pool_model *m;
	int error = begin(&q, model, __func__);

	if (error < 0)
		return error;
	m = model_of(q.pool, model);
	if (!m)
		return unknown(q.pool, __func__, model);
	kv_pool_model_get(q.pool->pieces, (uint32_t)(REST_OF(model) - 1), &limits);
	stats = (struct kvshim_model_stats){
		.token_bytes = m->token_bytes,
		.min_bytes = limits.min,
		.max_bytes = limits.max,
		.used = limits.used,
		.used_peak = limits.used_peak,
		.n_caches = limits.n_pieces,
		.requests = m->requests,
		.degraded = m->degraded,
		.failed = m->failed,
		.tokens = m->tokens,
	};
	memcpy(stats.name, m->name, sizeof(stats.name));
	yield(q.pool);
	return KV_API_GIVE(ret_stats, stats, __func__);
}

int kvshim_pool_stats_get(uint64_t id, struct kvshim_pool_stats *ret_stats)
{
	struct kvshim_pool_stats stats;
	struct kv_pool_counts counts;
	struct kv_api_pool *pool;
	int error;

	pool = claim(id, __func__, &error);
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
		.ahead = pool->ahead_length,
		.requests = pool->requests,
		.waits = pool->waits,
		.degraded = pool->degraded,
		.failed = pool->failed,
		.hits = pool->hits,
		.misses = pool->misses,
	};
	yield(pool);
	return KV_API_GIVE(ret_stats, stats, __func__);
}
