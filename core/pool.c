/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - pieces: taken from the shortest free extent that is long enough, grown, cut and given
 * back. See pool.h.
 */
#include "core/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "core/pool_private.h"
#include "core/poison.h"

int kv_pool_new(uint64_t capacity, struct kv_pool **ret_pool)
{
	struct kv_pool *pool;

	if (capacity == 0)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->tree.root = pool->unused = pool->first = KV_EXTENT_NONE;
	pool->capacity = capacity;
	if (kv_pool_make_entry(pool) < 0) {
		free(pool);
		return -ENOMEM;
	}
	pthread_mutex_init(&pool->mutex, NULL);
	kv_pool_make_free(pool, kv_pool_new_extent(pool, KV_EXTENT_NONE, 0, capacity));
	*ret_pool = pool;
	return 0;
}

void kv_pool_free(struct kv_pool *pool)
{
	pthread_mutex_destroy(&pool->mutex);
	free(pool->tree.extents);
	free(pool);
}

static void describe(const struct kv_pool *pool, uint32_t i, struct kv_pool_piece *ret_piece)
{
	if (ret_piece)
		*ret_piece = (struct kv_pool_piece){kv_pool_id_of(pool, i),
			pool->tree.extents[i].offset, pool->tree.extents[i].length};
}

int kv_pool_take(
	struct kv_pool *pool, uint32_t model, uint64_t length, struct kv_pool_piece *ret_piece)
{
	uint32_t i = KV_EXTENT_NONE;
	int error = 0;

	if (length == 0)
		return -EINVAL;
	pthread_mutex_lock(&pool->mutex);
	error = kv_pool_is_model(pool, model) ? kv_pool_admit(pool, model, length) : -ENOENT;
	if (error == 0) {
		i = kv_extent_fit(&pool->tree, length);
		error = i == KV_EXTENT_NONE ? -ENOSPC : kv_pool_make_entry(pool);
	}
	if (error == 0) {
		kv_pool_make_taken(pool, i);
		kv_pool_cut(pool, i, length);
		pool->tree.extents[i].model = model;
		pool->n_pieces++;
		pool->models[model].m.n_pieces++;
		kv_pool_charge(pool, model, length);
		describe(pool, i, ret_piece);
	}
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

uint64_t kv_pool_longest(struct kv_pool *pool, uint32_t model)
{
	uint64_t longest = 0;

	pthread_mutex_lock(&pool->mutex);
	if (kv_pool_is_model(pool, model)) {
		const struct kv_pool_model *m = &pool->models[model].m;
		uint32_t i = kv_extent_longest(&pool->tree);

		longest = i == KV_EXTENT_NONE ? 0 : pool->tree.extents[i].length;
		if (kv_pool_left_for(pool, model) < longest)
			longest = kv_pool_left_for(pool, model);
		if (m->max - (m->used < m->max ? m->used : m->max) < longest)
			longest = m->max - (m->used < m->max ? m->used : m->max);
	}
	pthread_mutex_unlock(&pool->mutex);
	return longest;
}

int kv_pool_grow(struct kv_pool *pool, uint64_t id, uint64_t length)
{
	uint64_t more;
	uint32_t i, behind;
	int error = -ENOENT;

	pthread_mutex_lock(&pool->mutex);
	i = kv_pool_entry(pool, id);
	if (i == KV_EXTENT_NONE)
		goto out;
	error = -EINVAL;
	if (length <= pool->tree.extents[i].length)
		goto out;
	more = length - pool->tree.extents[i].length;
	error = kv_pool_admit(pool, pool->tree.extents[i].model, more);
	if (error < 0)
		goto out;
	behind = kv_pool_free_behind(pool, i);
	error = -ENOSPC;
	if (behind == KV_EXTENT_NONE || pool->tree.extents[behind].length < more)
		goto out;
	error = 0;
	kv_pool_make_taken(pool, behind);
	pool->tree.extents[behind].offset += more;
	pool->tree.extents[behind].length -= more;
	pool->tree.extents[i].length = length;
	if (pool->tree.extents[behind].length)
		kv_pool_make_free(pool, behind);
	else
		kv_pool_drop_extent(pool, behind);
	kv_pool_charge(pool, pool->tree.extents[i].model, more);
out:
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

uint64_t kv_pool_room(struct kv_pool *pool, uint64_t id)
{
	uint64_t room = 0, more = 0;
	uint32_t i, behind;

	pthread_mutex_lock(&pool->mutex);
	i = kv_pool_entry(pool, id);
	if (i != KV_EXTENT_NONE) {
		const struct kv_extent *e = &pool->tree.extents[i];
		const struct kv_pool_model *m = &pool->models[e->model].m;

		behind = kv_pool_free_behind(pool, i);
		more = behind == KV_EXTENT_NONE ? 0 : pool->tree.extents[behind].length;
		if (kv_pool_left_for(pool, e->model) < more)
			more = kv_pool_left_for(pool, e->model);
		if (m->used >= m->max)
			more = 0;
		else if (m->max - m->used < more)
			more = m->max - m->used;
		room = e->length + more;
	}
	pthread_mutex_unlock(&pool->mutex);
	return room;
}

int kv_pool_shrink(struct kv_pool *pool, uint64_t id, uint64_t length)
{
	uint32_t i;
	int error = -ENOENT;

	pthread_mutex_lock(&pool->mutex);
	i = kv_pool_entry(pool, id);
	if (i != KV_EXTENT_NONE)
		error = length && length <= pool->tree.extents[i].length ? kv_pool_make_entry(pool)
									 : -EINVAL;
	if (error == 0) {
		struct kv_extent *e = &pool->tree.extents[i];
		uint64_t less = e->length - length;

		pool->models[e->model].m.used -= less;
		pool->used -= less;
		kv_pool_cut(pool, i, length);
	}
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

int kv_pool_give(struct kv_pool *pool, uint64_t id, struct kv_pool_piece *ret_piece)
{
	struct kv_extent *all;
	uint32_t i, before;

	pthread_mutex_lock(&pool->mutex);
	i = kv_pool_entry(pool, id);
	if (i == KV_EXTENT_NONE) {
		pthread_mutex_unlock(&pool->mutex);
		return -ENOENT;
	}
	describe(pool, i, ret_piece);
	all = pool->tree.extents;
	pool->models[all[i].model].m.used -= all[i].length;
	pool->models[all[i].model].m.n_pieces--;
	pool->used -= all[i].length;
	pool->n_pieces--;
	all[i].generation++;
	all[i].taken = false;
	kv_pool_join_behind(pool, i);
	before = all[i].before;
	if (before != KV_EXTENT_NONE && !all[before].taken) {
		kv_extent_remove(&pool->tree, before);
		pool->n_free--;
		all[before].length += all[i].length;
		kv_pool_drop_extent(pool, i);
		i = before;
	}
	kv_pool_make_free(pool, i);
	pthread_mutex_unlock(&pool->mutex);
	return 0;
}

int kv_pool_find(struct kv_pool *pool, uint64_t id, struct kv_pool_piece *ret_piece)
{
	uint32_t i;

	pthread_mutex_lock(&pool->mutex);
	i = kv_pool_entry(pool, id);
	if (i != KV_EXTENT_NONE)
		describe(pool, i, ret_piece);
	pthread_mutex_unlock(&pool->mutex);
	return i == KV_EXTENT_NONE ? -ENOENT : 0;
}

int kv_pool_model_of(struct kv_pool *pool, uint64_t id, uint32_t *ret_model)
{
	uint32_t i;

	pthread_mutex_lock(&pool->mutex);
	i = kv_pool_entry(pool, id);
	if (i != KV_EXTENT_NONE)
		*ret_model = pool->tree.extents[i].model;
	pthread_mutex_unlock(&pool->mutex);
	return i == KV_EXTENT_NONE ? -ENOENT : 0;
}

int kv_pool_peek(struct kv_pool *pool, uint64_t length, uint64_t *ret_offset)
{
	uint32_t i;

	pthread_mutex_lock(&pool->mutex);
	i = kv_extent_fit(&pool->tree, length);
	if (i != KV_EXTENT_NONE)
		*ret_offset = pool->tree.extents[i].offset;
	pthread_mutex_unlock(&pool->mutex);
	return i == KV_EXTENT_NONE ? -ENOSPC : 0;
}

void kv_pool_counts(struct kv_pool *pool, struct kv_pool_counts *ret_counts)
{
	uint32_t longest;

	pthread_mutex_lock(&pool->mutex);
	ret_counts->n_looks = pool->tree.n_looks;
	longest = kv_extent_longest(&pool->tree);
	ret_counts->capacity = pool->capacity;
	ret_counts->used = pool->used;
	ret_counts->used_peak = pool->used_peak;
	ret_counts->largest_free =
		longest == KV_EXTENT_NONE ? 0 : pool->tree.extents[longest].length;
	ret_counts->n_pieces = pool->n_pieces;
	ret_counts->n_free = pool->n_free;
	pthread_mutex_unlock(&pool->mutex);
}

int kv_pool_check(struct kv_pool *pool)
{
	uint64_t used = 0;
	bool good;

	pthread_mutex_lock(&pool->mutex);
	good = kv_pool_tiles(pool) && kv_extent_check(&pool->tree) == (int64_t)pool->n_free;
	for (uint32_t i = 0; i < KV_POOL_MODELS; i++)
		used += pool->models[i].in_use ? pool->models[i].m.used : 0;
	good = good && used == pool->used;
	pthread_mutex_unlock(&pool->mutex);
	return good ? 0 : -EPROTO;
}
