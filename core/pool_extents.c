/* SPDX-License-Identifier: Apache-2.0 */
/* pool_extents.c - the extents of a pool by address; those that are free lie in a tree by length as
 * well (pool_tree.h). See pool_private.h. */
#include "core/pool_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/poison.h"

/* An id: which entry, and how often it has been used before. 48 bits in all. */
#define INDEX_BITS 28
#define INDEX_MASK ((1u << INDEX_BITS) - 1)
#define GENERATION_MASK ((1u << 20) - 1)

int kv_pool_make_entry(struct kv_pool *pool)
{
	uint32_t size = pool->size ? pool->size * 2 : 64;
	struct kv_extent *grown;

	if (pool->unused != KV_EXTENT_NONE || pool->n_extents < pool->size)
		return 0;
	if (size > INDEX_MASK)
		return -ENOMEM;
	grown = realloc(pool->tree.extents, (size_t)size * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + pool->size, 0, (size_t)(size - pool->size) * sizeof(*grown));
	pool->tree.extents = grown;
	pool->size = size;
	return 0;
}

uint32_t kv_pool_new_extent(struct kv_pool *pool, uint32_t before, uint64_t offset, uint64_t length)
{
	struct kv_extent *e, *all = pool->tree.extents;
	uint32_t i = pool->unused, behind;

	if (i != KV_EXTENT_NONE)
		pool->unused = all[i].behind;
	else
		i = pool->n_extents++;
	e = &all[i];
	behind = before == KV_EXTENT_NONE ? pool->first : all[before].behind;
	*e = (struct kv_extent){.offset = offset,
		.length = length,
		.before = before,
		.behind = behind,
		.generation = e->generation,
		.in_use = true};
	if (before == KV_EXTENT_NONE)
		pool->first = i;
	else
		all[before].behind = i;
	if (behind != KV_EXTENT_NONE)
		all[behind].before = i;
	return i;
}

void kv_pool_drop_extent(struct kv_pool *pool, uint32_t i)
{
	struct kv_extent *all = pool->tree.extents, *e = &all[i];

	if (e->before == KV_EXTENT_NONE)
		pool->first = e->behind;
	else
		all[e->before].behind = e->behind;
	if (e->behind != KV_EXTENT_NONE)
		all[e->behind].before = e->before;
	e->in_use = false;
	e->behind = pool->unused;
	pool->unused = i;
}

void kv_pool_make_free(struct kv_pool *pool, uint32_t i)
{
	pool->tree.extents[i].taken = false;
	kv_extent_insert(&pool->tree, i);
	pool->n_free++;
}

void kv_pool_make_taken(struct kv_pool *pool, uint32_t i)
{
	kv_extent_remove(&pool->tree, i);
	pool->tree.extents[i].taken = true;
	pool->n_free--;
}

uint32_t kv_pool_free_behind(const struct kv_pool *pool, uint32_t i)
{
	uint32_t behind = pool->tree.extents[i].behind;

	return behind != KV_EXTENT_NONE && !pool->tree.extents[behind].taken ? behind
									     : KV_EXTENT_NONE;
}

void kv_pool_join_behind(struct kv_pool *pool, uint32_t i)
{
	uint32_t behind = kv_pool_free_behind(pool, i);

	if (behind == KV_EXTENT_NONE)
		return;
	kv_extent_remove(&pool->tree, behind);
	pool->n_free--;
	pool->tree.extents[i].length += pool->tree.extents[behind].length;
	kv_pool_drop_extent(pool, behind);
}

void kv_pool_cut(struct kv_pool *pool, uint32_t i, uint64_t length)
{
	uint64_t offset = pool->tree.extents[i].offset + length;
	uint64_t rest = pool->tree.extents[i].length - length;
	uint32_t tail;

	if (rest == 0)
		return;
	pool->tree.extents[i].length = length;
	tail = kv_pool_new_extent(pool, i, offset, rest);
	kv_pool_join_behind(pool, tail);
	kv_pool_make_free(pool, tail);
}

uint64_t kv_pool_id_of(const struct kv_pool *pool, uint32_t i)
{
	uint64_t generation = pool->tree.extents[i].generation & GENERATION_MASK;

	return (generation << INDEX_BITS) + i + 1;
}

uint32_t kv_pool_entry(const struct kv_pool *pool, uint64_t id)
{
	uint64_t i = (id & INDEX_MASK) - 1;

	if (id == 0 || i >= pool->n_extents || !pool->tree.extents[i].in_use ||
		!pool->tree.extents[i].taken || kv_pool_id_of(pool, (uint32_t)i) != id)
		return KV_EXTENT_NONE;
	return (uint32_t)i;
}

bool kv_pool_tiles(const struct kv_pool *pool)
{
	const struct kv_extent *all = pool->tree.extents;
	uint64_t at = 0, used = 0, n_free = 0, n_pieces = 0;
	uint32_t before = KV_EXTENT_NONE;

	for (uint32_t i = pool->first; i != KV_EXTENT_NONE; before = i, i = all[i].behind) {
		if (!all[i].in_use || all[i].offset != at || all[i].length == 0 ||
			all[i].before != before)
			return false;
		if (!all[i].taken && before != KV_EXTENT_NONE && !all[before].taken)
			return false;
		at += all[i].length;
		used += all[i].taken ? all[i].length : 0;
		n_free += !all[i].taken;
		n_pieces += all[i].taken;
	}
	return at == pool->capacity && used == pool->used && n_free == pool->n_free &&
	       n_pieces == pool->n_pieces;
}
