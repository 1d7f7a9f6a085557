/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_private.h - what the parts of a pool know of each other. Private to core/pool*.c. The pool's
 * mutex is held by every caller of what is declared here.
 */
#ifndef KV_CORE_POOL_PRIVATE_H
#define KV_CORE_POOL_PRIVATE_H

#include <pthread.h>

#include "core/pool.h"
#include "core/pool_tree.h"

struct kv_pool_row {
	bool in_use;
	struct kv_pool_model m;
};

struct kv_pool {
	pthread_mutex_t mutex; /* guards everything */
	struct kv_extent_tree tree;
	uint32_t n_extents, size; /* entries in use or used before, and allocated */
	uint32_t unused;          /* list of entries, by behind */
	uint32_t first;           /* by address */
	uint64_t capacity, used, used_peak;
	uint64_t n_pieces, n_free;
	struct kv_pool_row models[KV_POOL_MODELS];
};

/* ---- pool_extents.c: extents tile the range; entries of an array, linked by address ---- */

/* Room for one more entry. 0, or -ENOMEM: nothing has changed. */
int kv_pool_make_entry(struct kv_pool *pool);
/* An entry behind another one (or the first); there is room for it. */
uint32_t kv_pool_new_extent(
	struct kv_pool *pool, uint32_t before, uint64_t offset, uint64_t length);
/* The entry, which is not in the tree, goes. Its range is the caller's to give to a neighbour. */
void kv_pool_drop_extent(struct kv_pool *pool, uint32_t i);
/* Into the tree of free ones, and out of it. */
void kv_pool_make_free(struct kv_pool *pool, uint32_t i);
void kv_pool_make_taken(struct kv_pool *pool, uint32_t i);
/* The free extent behind i, or KV_EXTENT_NONE. */
uint32_t kv_pool_free_behind(const struct kv_pool *pool, uint32_t i);
/* An extent that is or becomes free swallows its free neighbour behind. */
void kv_pool_join_behind(struct kv_pool *pool, uint32_t i);
/* Takes the piece's tail away, which becomes free. There is room for an entry. */
void kv_pool_cut(struct kv_pool *pool, uint32_t i, uint64_t length);
/* The id of a piece; and its entry, KV_EXTENT_NONE: there is none of that id. */
uint64_t kv_pool_id_of(const struct kv_pool *pool, uint32_t i);
uint32_t kv_pool_entry(const struct kv_pool *pool, uint64_t id);
/* True if extents tile [0, capacity), no two free ones side by side, and the counts are theirs. */
bool kv_pool_tiles(const struct kv_pool *pool);

/* ---- pool_models.c: who may have how much ---- */

bool kv_pool_is_model(const struct kv_pool *pool, uint32_t model);
/* What the other models' minima leave of the bytes that nobody uses. */
uint64_t kv_pool_left_for(const struct kv_pool *pool, uint32_t model);
/* May the model have so much more? 0, -EDQUOT or -ENOSPC. */
int kv_pool_admit(const struct kv_pool *pool, uint32_t model, uint64_t more);
/* It has so much more. */
void kv_pool_charge(struct kv_pool *pool, uint32_t model, uint64_t more);

#endif
