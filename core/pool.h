/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - pieces of an address range, by best fit, and who may have how much of it.
 *
 * Pure: no memory of any device, no clock. A piece is taken from the smallest free extent that is
 * large enough, so that long extents stay for long sequences; it can grow into the free extent
 * behind it. Taking, growing and giving cost O(log n) in the number of free extents.
 *
 * Models share a pool: each has a minimum that the others leave it and a maximum. All functions are
 * thread-safe (a mutex inside, a leaf). Sizes are bytes.
 */
#ifndef KV_CORE_POOL_H
#define KV_CORE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define KV_POOL_MODELS 64u

struct kv_pool;

struct kv_pool_piece {
	uint64_t id; /* 48 bits, not 0; not used again for a million others in its place */
	uint64_t offset, length;
};

struct kv_pool_counts {
	uint64_t capacity, used, used_peak, largest_free;
	uint64_t n_pieces, n_free; /* pieces taken, free extents */
	uint64_t n_looks;          /* tree nodes looked at so far */
};

struct kv_pool_model {
	uint64_t min, max, used, used_peak;
	uint64_t recent_peak; /* since the last kv_pool_rebalance() */
	uint64_t n_pieces;
};

/* capacity at least 1. -EINVAL, -ENOMEM. */
int kv_pool_new(uint64_t capacity, struct kv_pool **ret_pool);
void kv_pool_free(struct kv_pool *pool);

/* -ERANGE: min exceeds max, or the minima of all models the capacity. -ENOSPC: KV_POOL_MODELS. */
int kv_pool_model_add(struct kv_pool *pool, uint64_t min, uint64_t max, uint32_t *ret_model);
/* -EBUSY: it has pieces. -ENOENT. */
int kv_pool_model_remove(struct kv_pool *pool, uint32_t model);
int kv_pool_model_get(struct kv_pool *pool, uint32_t model, struct kv_pool_model *ret_model);

/*
 * A piece for a model. -EINVAL: length is 0. -ENOENT: no such model. -EDQUOT: its maximum. -ENOSPC:
 * no free extent is long enough, or the others' minima stand against it. -ENOMEM: no host memory.
 */
int kv_pool_take(
	struct kv_pool *pool, uint32_t model, uint64_t length, struct kv_pool_piece *ret_piece);
/* The longest that a take by the model could have now; 0: nothing. */
uint64_t kv_pool_longest(struct kv_pool *pool, uint32_t model);
/* Makes a piece longer, in place. -EINVAL: not longer. -ENOENT. -EDQUOT, -ENOSPC as for take. */
int kv_pool_grow(struct kv_pool *pool, uint64_t id, uint64_t length);
/* The longest that it could grow to now; 0: no such piece. */
uint64_t kv_pool_room(struct kv_pool *pool, uint64_t id);
/* Makes a piece shorter, to at least one byte: the undo of grow. -EINVAL, -ENOENT. */
int kv_pool_shrink(struct kv_pool *pool, uint64_t id, uint64_t length);
/* -ENOENT: no such piece, or given before. ret_piece (may be NULL): what it was. */
int kv_pool_give(struct kv_pool *pool, uint64_t id, struct kv_pool_piece *ret_piece);
int kv_pool_find(struct kv_pool *pool, uint64_t id, struct kv_pool_piece *ret_piece);
/* Whose it is. -ENOENT. */
int kv_pool_model_of(struct kv_pool *pool, uint64_t id, uint32_t *ret_model);
/* Where a take of this length would be put; -ENOSPC. Changes nothing. */
int kv_pool_peek(struct kv_pool *pool, uint64_t length, uint64_t *ret_offset);

void kv_pool_counts(struct kv_pool *pool, struct kv_pool_counts *ret_counts);

/*
 * Every minimum and maximum moves halfway toward the model's recent peak plus a quarter: minima
 * down to it, maxima up and down to it, never below what is in use; the minima still fit the
 * capacity.
 */
void kv_pool_rebalance(struct kv_pool *pool);

/* 0, or -EPROTO: extents do not tile the range, the tree is not in order, sums are wrong. */
int kv_pool_check(struct kv_pool *pool);

#endif
