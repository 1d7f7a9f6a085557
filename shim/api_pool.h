/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_pool.h - a pool behind kvshim_pool.h, shared by api_pool.c (pools, turns, pages, looking
 * ahead) and api_cache.c (requests, caches, models).
 *
 * One thread at a time works on a pool: the turn is taken before the gate is entered, and no mutex
 * is held across a call into core.
 */
#ifndef KV_SHIM_API_POOL_H
#define KV_SHIM_API_POOL_H

#include "core/pool.h"
#include "core/predict.h"
#include "shim/api.h"

struct kv_reservation;
struct kv_space;

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
	struct kv_keep keep;
	uint64_t requests, waits, degraded, failed, hits, misses;
};

/* An id carries its pool: 16 bits, above what identifies a model or a piece. */
#define KV_API_POOL_SHIFT 48
#define KV_API_POOL_OF(id) ((id) >> KV_API_POOL_SHIFT)
#define KV_API_REST_OF(id) ((id) & ((1ull << KV_API_POOL_SHIFT) - 1))

/* The pool, with its turn taken; NULL: *ret_error says why, and one line for call has been logged
 * if there is no such pool. */
struct kv_api_pool *kv_api_pool_claim(uint64_t id, const char *call, int *ret_error);
void kv_api_pool_yield(struct kv_api_pool *pool);
/* Gives the turn away for a while, until something may have become free. As claim: the pool may be
 * gone then. */
struct kv_api_pool *kv_api_pool_step_back(
	struct kv_api_pool *pool, const char *call, int *ret_error);

/* [turn] Pages under a piece: kv_want() and kv_unwant() from outside the gate. */
int kv_api_pool_want(struct kv_api_pool *pool, uint64_t offset, uint64_t length);
void kv_api_pool_unwant(struct kv_api_pool *pool, uint64_t offset, uint64_t length);

/*
 * [turn] Looking ahead: what is given back stays backed as long as requests are expected to take
 * it; a request that has been placed takes it; and all of it goes when memory is short. forsake:
 * whether there was anything.
 */
void kv_api_pool_give_back(struct kv_api_pool *pool, uint64_t offset, uint64_t length);
void kv_api_pool_placed(struct kv_api_pool *pool, uint64_t offset, uint64_t length);
bool kv_api_pool_forsake(struct kv_api_pool *pool);

/* CLOCK_MONOTONIC. */
uint64_t kv_api_now_ns(void);

#endif
