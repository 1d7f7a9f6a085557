/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_cache.c - kvshim_pool.h: models, and caches for their sequences; see api_pool.h.
 */
#include <errno.h>
#include <string.h>

#include "core/agent.h"
#include "core/want.h"
#include "shim/api_pool.h"

/* ---- caches ---- */

static uint64_t backed(struct kv_api_pool *pool)
{
	struct kv_reservation_stats stats;

	kv_reservation_stats(pool->r, &stats);
	return stats.backed;
}

/* What one request goes by. */
struct request {
	struct kv_api_pool *pool;
	uint32_t model;
	uint64_t token_bytes, tokens;
	uint64_t grow; /* the piece to grow; 0: a new one */
	uint64_t had;  /* bytes that it had */
	struct kv_pool_piece piece;
};

static bool is_short(int error)
{
	return error == -ENOMEM || error == -ENOSPC || error == -EDQUOT;
}

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
	error = kv_api_pool_want(pool, q->piece.offset + q->had, bytes - q->had);
	/* What is backed for requests to come must not stand against one that has come. */
	if (is_short(error) && kv_api_pool_forsake(pool))
		error = kv_api_pool_want(pool, q->piece.offset + q->had, bytes - q->had);
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
	kv_api_pool_placed(pool, q->piece.offset, q->piece.length);
	return 0;
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
		if (kv_api_now_ns() >= deadline)
			return -ETIMEDOUT;
		q->pool->waits += !waited;
		waited = true;
		q->pool = kv_api_pool_step_back(q->pool, call, &gone);
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
		kv_api_pool_yield(q->pool);
		return error == -EDQUOT ? KVSHIM_ERR_LIMIT : kv_api_error(error);
	}
	if (!q->grow)
		kv_predict_add(&q->pool->history, kv_api_now_ns(), asked * q->token_bytes);
	q->pool->degraded += q->tokens < asked;
	model->degraded += q->tokens < asked;
	model->tokens += q->tokens - q->had / q->token_bytes;
	cache = (struct kvshim_cache){
		.id = q->pool->id << KV_API_POOL_SHIFT | q->piece.id,
		.address = q->pool->base + q->piece.offset,
		.tokens = q->tokens,
		.room = kv_pool_room(q->pool->pieces, q->piece.id) / q->token_bytes,
		.is_short = q->tokens < asked,
	};
	kv_agent_poke(q->pool->predicts ? kv_space_agent(q->pool->space) : NULL);
	kv_api_pool_yield(q->pool);
	return KV_API_GIVE(ret_cache, cache, call);
}

/* The pool of a model or cache, with its turn taken. */
static int begin(struct request *q, uint64_t id, const char *call)
{
	int error;

	q->pool = kv_api_pool_claim(KV_API_POOL_OF(id), call, &error);
	return q->pool ? 0 : error;
}

static int unknown(struct kv_api_pool *pool, const char *call, uint64_t id)
{
	kv_api_pool_yield(pool);
	return kv_api_refuse(KVSHIM_ERR_UNKNOWN, call, "there is no model or cache %llu",
		(unsigned long long)id);
}

/* The model's row for an id, NULL: none. */
static struct pool_model *model_of(struct kv_api_pool *pool, uint64_t id)
{
	uint64_t i = KV_API_REST_OF(id) - 1;

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
	uint64_t deadline = kv_api_now_ns() + timeout_ms * 1000000ull;
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
		kv_api_pool_yield(q.pool);
		return kv_api_refuse(KVSHIM_ERR_TOO_LONG, __func__, "%lld tokens of model '%s'",
			(long long)tokens, m->name);
	}
	q.model = (uint32_t)(KV_API_REST_OF(model) - 1);
	q.token_bytes = m->token_bytes;
	error = fulfil(&q, when_short, deadline, __func__);
	return finish(&q, (uint64_t)tokens, error, ret_cache, __func__);
}

int kvshim_cache_extend(uint64_t cache, int64_t tokens, int when_short, uint32_t timeout_ms,
	struct kvshim_cache *ret_cache)
{
	uint64_t deadline = kv_api_now_ns() + timeout_ms * 1000000ull;
	struct request q = {.tokens = (uint64_t)tokens};
	struct pool_model *m;
	int error = check_arguments(tokens, when_short, ret_cache, __func__);

	if (error == 0)
		error = begin(&q, cache, __func__);
	if (error < 0)
		return error;
	if (kv_pool_find(q.pool->pieces, KV_API_REST_OF(cache), &q.piece) < 0 ||
		kv_pool_model_of(q.pool->pieces, KV_API_REST_OF(cache), &q.model) < 0)
		return unknown(q.pool, __func__, cache);
	m = &q.pool->models[q.model];
	q.token_bytes = m->token_bytes;
	q.grow = q.piece.id;
	q.had = q.piece.length;
	if (q.tokens > m->max_tokens || q.tokens * q.token_bytes <= q.had) {
		kv_api_pool_yield(q.pool);
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
	if (kv_pool_give(q.pool->pieces, KV_API_REST_OF(cache), &piece) < 0)
		return unknown(q.pool, __func__, cache);
	kv_api_pool_give_back(q.pool, piece.offset, piece.length);
	kv_agent_poke(q.pool->predicts ? kv_space_agent(q.pool->space) : NULL);
	kv_api_pool_yield(q.pool);
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

	error = KV_API_TAKE(d, model, 120, __func__);
	if (error < 0)
		return error;
	d.name[sizeof(d.name) - 1] = '\0';
	bytes = kvshim_model_token_bytes(&d);
	if (!ret_model || !bytes || !d.max_tokens || !d.name[0] ||
		__builtin_mul_overflow(bytes, d.max_tokens, &longest))
		return kv_api_refuse(KVSHIM_ERR_INVALID, __func__,
			"model '%s': no bytes per token, no longest sequence, or no name", d.name);
	q.pool = kv_api_pool_claim(pool, __func__, &error);
	if (!q.pool)
		return error;
	error = kv_pool_model_add(
		q.pool->pieces, d.min_bytes, d.max_bytes ? d.max_bytes : UINT64_MAX, &row);
	if (error == 0) {
		q.pool->models[row] = (struct pool_model){
			.in_use = true, .token_bytes = bytes, .max_tokens = d.max_tokens};
		memcpy(q.pool->models[row].name, d.name, sizeof(d.name));
		*ret_model = q.pool->id << KV_API_POOL_SHIFT | (row + 1);
	}
	kv_api_pool_yield(q.pool);
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
	error = kv_pool_model_remove(q.pool->pieces, (uint32_t)(KV_API_REST_OF(model) - 1));
	if (error == 0)
		m->in_use = false;
	kv_api_pool_yield(q.pool);
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
	kv_pool_model_get(q.pool->pieces, (uint32_t)(KV_API_REST_OF(model) - 1), &limits);
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
	kv_api_pool_yield(q.pool);
	return KV_API_GIVE(ret_stats, stats, __func__);
}
