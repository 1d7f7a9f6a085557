/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvshim_pool.h - the cooperative pool: programs that ask for cache space by sequence length. Part
 * of kvshim.h; not to be included alone.
 *
 * A pool is an address range of which nothing is backed until something is allocated in it. Models
 * register with a pool; each has a minimum that the others leave it and a maximum. A cache is a
 * contiguous piece for one sequence, which grows in place; what a new one holds is undefined. Lay
 * it out token by token ([token][layer][key, value][head][element]), so that it can grow.
 */
#ifndef KVSHIM_POOL_H
#define KVSHIM_POOL_H

enum kvshim_pool_flags {
	/* Back memory ahead of requests, from their history; the operator may have switched that
	 * off (KVSHIM_PREDICT=off). */
	KVSHIM_POOL_PREDICT = 1,
};

struct kvshim_pool_desc {
	uint64_t size;     /* sizeof(struct kvshim_pool_desc) */
	uint64_t capacity; /* bytes of address range, rounded up to pages */
	uint32_t flags;    /* enum kvshim_pool_flags */
	uint32_t reserved; /* 0 */
	char name[32];     /* the tag of its reservation; "": "pool" */
};

/*
 * On the device of the calling thread's current context. The range is promised like any other
 * reservation: NO_MEMORY: it cannot be. INVALID, INERT, DEVICE (no current context).
 *
 * ```c
 * struct kvshim_pool_desc desc = {sizeof(desc), 1ull << 30, KVSHIM_POOL_PREDICT, 0, "pool"};
 * struct kvshim_model_desc model = {sizeof(model), 32, 8, 128, 2, 0, 8192, 0, 0, "llama"};
 * struct kvshim_cache cache = {sizeof(cache), 0, 0, 0, 0, 0};
 * uint64_t pool, id;
 * if (kvshim_pool_create(&desc, &pool) == 0) {
 *	if (kvshim_model_register(pool, &model, &id) == 0 &&
 *		kvshim_cache_alloc(id, 1000, KVSHIM_SHORT_DEGRADE, 0, &cache) == 0) {
 *		// cache.tokens tokens fit at cache.address
 *		kvshim_cache_extend(cache.id, 1200, KVSHIM_SHORT_WAIT, 50, &cache);
 *		kvshim_cache_free(cache.id);
 *	}
 *	kvshim_pool_destroy(pool);
 * }
 * ```
 */
KVSHIM_FUNCTION(int, kvshim_pool_create, (const struct kvshim_pool_desc *desc, uint64_t *ret_pool),
	(desc, ret_pool), KVSHIM_ERR_ABSENT)
/* UNKNOWN. IN_USE: caches are allocated. Waits for the device. */
KVSHIM_FUNCTION(int, kvshim_pool_destroy, (uint64_t pool), (pool), KVSHIM_ERR_ABSENT)

struct kvshim_model_desc {
	uint64_t size; /* sizeof(struct kvshim_model_desc) */
	uint32_t layers;
	uint32_t kv_heads;
	uint32_t head_size;     /* elements */
	uint32_t element_bytes; /* 2 for half precision */
	uint64_t token_bytes;   /* 0: layers * 2 * kv_heads * head_size * element_bytes */
	uint64_t max_tokens;    /* longest sequence */
	uint64_t min_bytes;     /* the others leave it so much */
	uint64_t max_bytes;     /* 0: the pool's capacity */
	char name[64];
};
/* Bytes per token of a model; 0: a field is 0, or the product overflows 64 bits. Needs no shim.
 *
 * ```c
 * struct kvshim_model_desc model = {sizeof(model), 32, 8, 128, 2, 0, 8192, 0, 0, "llama"};
 * assert(kvshim_model_token_bytes(&model) == 131072);
 * ```
 */
static inline uint64_t kvshim_model_token_bytes(const struct kvshim_model_desc *model)
{
	uint64_t bytes = model->token_bytes;

	if (bytes)
		return bytes;
	if (__builtin_mul_overflow(
		    (uint64_t)model->layers * 2, (uint64_t)model->kv_heads, &bytes) ||
		__builtin_mul_overflow(bytes, (uint64_t)model->head_size, &bytes) ||
		__builtin_mul_overflow(bytes, (uint64_t)model->element_bytes, &bytes))
		return 0;
	return bytes;
}
/* UNKNOWN: no such pool. INVALID: no bytes per token, no longest sequence, no name. BOUNDS: the
 * minima of all models exceed the capacity, or minimum exceeds maximum. NO_MEMORY: too many (64).
 */
KVSHIM_FUNCTION(int, kvshim_model_register,
	(uint64_t pool, const struct kvshim_model_desc *model, uint64_t *ret_model),
	(pool, model, ret_model), KVSHIM_ERR_ABSENT)
/* UNKNOWN. IN_USE: it has caches. */
KVSHIM_FUNCTION(int, kvshim_model_unregister, (uint64_t model), (model), KVSHIM_ERR_ABSENT)

/* What to do when memory is short. */
enum kvshim_short {
	KVSHIM_SHORT_FAIL = 0,    /* NO_MEMORY or LIMIT at once */
	KVSHIM_SHORT_WAIT = 1,    /* up to timeout_ms, then TIMEOUT */
	KVSHIM_SHORT_DEGRADE = 2, /* at once as many tokens as fit, at least one */
};

struct kvshim_cache {
	uint64_t size; /* sizeof(struct kvshim_cache) */
	uint64_t id;   /* for extend and free; of a cache that was freed: UNKNOWN */
	uint64_t address;
	uint64_t tokens;   /* that it has room for: less than asked for if is_short */
	uint64_t room;     /* tokens that it could be extended to right now */
	uint64_t is_short; /* 1: degraded */
};

/*
 * A cache for `tokens` tokens of a model. when_short: enum kvshim_short; timeout_ms counts for
 * KVSHIM_SHORT_WAIT only. INVALID: tokens is not positive, or another argument. UNKNOWN: no such
 * model. TOO_LONG. NO_MEMORY, LIMIT, TIMEOUT: short. After TIMEOUT, NO_MEMORY and LIMIT nothing is
 * allocated.
 */
KVSHIM_FUNCTION(int, kvshim_cache_alloc,
	(uint64_t model, int64_t tokens, int when_short, uint32_t timeout_ms,
		struct kvshim_cache *ret_cache),
	(model, tokens, when_short, timeout_ms, ret_cache), KVSHIM_ERR_ABSENT)
/* The same cache with room for `tokens` tokens, more than it had; its address stays. Errors as
 * above; on an error it is what it was. NO_MEMORY also: its neighbour is in the way. */
KVSHIM_FUNCTION(int, kvshim_cache_extend,
	(uint64_t cache, int64_t tokens, int when_short, uint32_t timeout_ms,
		struct kvshim_cache *ret_cache),
	(cache, tokens, when_short, timeout_ms, ret_cache), KVSHIM_ERR_ABSENT)
/* Work submitted so far may still use it. Its place may be the next cache's at once: use the caches
 * of a pool in one stream, or synchronise first. UNKNOWN: no such cache, or freed before. */
KVSHIM_FUNCTION(int, kvshim_cache_free, (uint64_t cache), (cache), KVSHIM_ERR_ABSENT)

struct kvshim_pool_stats {
	uint64_t size; /* sizeof(struct kvshim_pool_stats) */
	uint64_t capacity;
	uint64_t used; /* bytes of caches */
	uint64_t used_peak;
	uint64_t largest_free; /* longest piece of address range */
	uint64_t n_caches;
	uint64_t n_free;   /* pieces of free address range */
	uint64_t wanted;   /* bytes of pages under caches and predictions */
	uint64_t ahead;    /* of those: bytes kept or backed for requests that have not come yet */
	uint64_t requests; /* counters since the start ... */
	uint64_t waits;
	uint64_t degraded;
	uint64_t failed;
	uint64_t hits;   /* requests that found all their pages backed */
	uint64_t misses; /* requests for which something had to be mapped */
};
KVSHIM_FUNCTION(int, kvshim_pool_stats_get, (uint64_t pool, struct kvshim_pool_stats *ret_stats),
	(pool, ret_stats), KVSHIM_ERR_ABSENT)

struct kvshim_model_stats {
	uint64_t size; /* sizeof(struct kvshim_model_stats) */
	uint64_t token_bytes;
	uint64_t min_bytes;
	uint64_t max_bytes;
	uint64_t used;
	uint64_t used_peak;
	uint64_t n_caches;
	uint64_t requests;
	uint64_t degraded;
	uint64_t failed;
	uint64_t tokens; /* granted so far */
	char name[64];
};
KVSHIM_FUNCTION(int, kvshim_model_stats_get, (uint64_t model, struct kvshim_model_stats *ret_stats),
	(model, ret_stats), KVSHIM_ERR_ABSENT)

/*
 * Moves every model's minimum and maximum halfway toward what it really uses (its peak since the
 * last call, plus a quarter): what idle models gave up is free for the busy ones. Never below what
 * is in use. UNKNOWN.
 */
KVSHIM_FUNCTION(int, kvshim_pool_rebalance, (uint64_t pool), (pool), KVSHIM_ERR_ABSENT)

#endif
