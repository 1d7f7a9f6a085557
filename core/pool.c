/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - see pool.h. Extents tile the range; they lie in an array, linked by address, and those
 * that are free in a tree by length (pool_tree.h).
 */
#include "core/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool_tree.h"
#include "core/poison.h"

/* An id: which entry, and how often it has been used before. 48 bits in all. */
#define INDEX_BITS 28
#define INDEX_MASK ((1u << INDEX_BITS) - 1)
#define GENERATION_MASK ((1u << 20) - 1)

struct model {
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
	struct model models[KV_POOL_MODELS];
};

/* ---- extents ---- */

/* Room for one more entry. */
static int make_entry(struct kv_pool *pool)
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

/* An entry behind another one (or the first); there is room for it. */
static uint32_t new_extent(struct kv_pool *pool, uint32_t before, uint64_t offset, uint64_t length)
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

static void drop_extent(struct kv_pool *pool, uint32_t i)
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

static void make_free(struct kv_pool *pool, uint32_t i)
{
	pool->tree.extents[i].taken = false;
	kv_extent_insert(&pool->tree, i);
	pool->n_free++;
}

static void make_taken(struct kv_pool *pool, uint32_t i)
{
	kv_extent_remove(&pool->tree, i);
	pool->tree.extents[i].taken = true;
	pool->n_free--;
}

/* The free extent behind i, or none. */
static uint32_t free_behind(const struct kv_pool *pool, uint32_t i)
{
	uint32_t behind = pool->tree.extents[i].behind;

	return behind != KV_EXTENT_NONE && !pool->tree.extents[behind].taken ? behind
									     : KV_EXTENT_NONE;
}

/* A free extent swallows its free neighbour behind. */
static void join_behind(struct kv_pool *pool, uint32_t i)
{
	uint32_t behind = free_behind(pool, i);

	if (behind == KV_EXTENT_NONE)
		return;
	kv_extent_remove(&pool->tree, behind);
	pool->n_free--;
	pool->tree.extents[i].length += pool->tree.extents[behind].length;
	drop_extent(pool, behind);
}

/* Takes the piece's tail away, which becomes free. There is room for an entry. */
static void cut(struct kv_pool *pool, uint32_t i, uint64_t length)
{
	uint64_t offset = pool->tree.extents[i].offset + length;
	uint64_t rest = pool->tree.extents[i].length - length;
	uint32_t tail;

	if (rest == 0)
		return;
	pool->tree.extents[i].length = length;
	tail = new_extent(pool, i, offset, rest);
	join_behind(pool, tail);
	make_free(pool, tail);
}

static uint64_t id_of(const struct kv_pool *pool, uint32_t i)
{
	uint64_t generation = pool->tree.extents[i].generation & GENERATION_MASK;

	return (generation << INDEX_BITS) + i + 1;
}

static uint32_t find(const struct kv_pool *pool, uint64_t id)
{
	uint64_t i = (id & INDEX_MASK) - 1;

	if (id == 0 || i >= pool->n_extents || !pool->tree.extents[i].in_use ||
		!pool->tree.extents[i].taken || id_of(pool, (uint32_t)i) != id)
		return KV_EXTENT_NONE;
	return (uint32_t)i;
}

/* ---- models ---- */

static bool is_model(const struct kv_pool *pool, uint32_t model)
{
	return model < KV_POOL_MODELS && pool->models[model].in_use;
}

/* What the other models' minima leave of the bytes that nobody uses. */
static uint64_t left_for(const struct kv_pool *pool, uint32_t model)
{
	uint64_t left = pool->capacity - pool->used;

	for (uint32_t i = 0; i < KV_POOL_MODELS; i++) {
		const struct kv_pool_model *m = &pool->models[i].m;
		uint64_t owed;

		if (i == model || !pool->models[i].in_use || m->min <= m->used)
			continue;
		owed = m->min - m->used;
		left = left > owed ? left - owed : 0;
	}
	return left;
}

/* May the model have so much more? 0, -EDQUOT or -ENOSPC. */
static int admit(const struct kv_pool *pool, uint32_t model, uint64_t more)
{
	const struct kv_pool_model *m = &pool->models[model].m;

	if (m->used > m->max || more > m->max - m->used)
		return -EDQUOT;
	return more > left_for(pool, model) ? -ENOSPC : 0;
}

static void charge(struct kv_pool *pool, uint32_t model, uint64_t more)
{
	struct kv_pool_model *m = &pool->models[model].m;

	m->used += more;
	pool->used += more;
	if (m->used > m->used_peak)
		m->used_peak = m->used;
	if (m->used > m->recent_peak)
		m->recent_peak = m->used;
	if (pool->used > pool->used_peak)
		pool->used_peak = pool->used;
}

int kv_pool_model_add(struct kv_pool *pool, uint64_t min, uint64_t max, uint32_t *ret_model)
{
	uint64_t minima = min;
	uint32_t free_row = KV_POOL_MODELS;
	int error = 0;

	pthread_mutex_lock(&pool->mutex);
	for (uint32_t i = KV_POOL_MODELS; i-- > 0;) {
		if (!pool->models[i].in_use)
			free_row = i;
		else if (__builtin_add_overflow(minima, pool->models[i].m.min, &minima))
			error = -ERANGE;
	}
	if (min > max || minima > pool->capacity)
		error = -ERANGE;
	if (error == 0 && free_row == KV_POOL_MODELS)
		error = -ENOSPC;
	if (error == 0) {
		pool->models[free_row] = (struct model){true, {.min = min, .max = max}};
		*ret_model = free_row;
	}
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

int kv_pool_model_remove(struct kv_pool *pool, uint32_t model)
{
	int error = -ENOENT;

	pthread_mutex_lock(&pool->mutex);
	if (is_model(pool, model))
		error = pool->models[model].m.n_pieces ? -EBUSY : 0;
	if (error == 0)
		pool->models[model].in_use = false;
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

int kv_pool_model_get(struct kv_pool *pool, uint32_t model, struct kv_pool_model *ret_model)
{
	int error = -ENOENT;

	pthread_mutex_lock(&pool->mutex);
	if (is_model(pool, model)) {
		*ret_model = pool->models[model].m;
		error = 0;
	}
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

void kv_pool_rebalance(struct kv_pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	for (uint32_t i = 0; i < KV_POOL_MODELS; i++) {
		struct kv_pool_model *m = &pool->models[i].m;
		uint64_t aim = m->recent_peak + m->recent_peak / 4;

		if (!pool->models[i].in_use)
			continue;
		if (aim > pool->capacity)
			aim = pool->capacity;
		/* A minimum only falls: what is given up is free for whoever needs it. */
		if (m->min > aim)
			m->min -= (m->min - aim + 1) / 2;
		m->max = m->max > aim ? m->max - (m->max - aim) / 2
				      : m->max + (aim - m->max + 1) / 2;
		if (m->max < m->used)
			m->max = m->used;
		if (m->max < m->min)
			m->max = m->min;
		m->recent_peak = m->used;
	}
	pthread_mutex_unlock(&pool->mutex);
}

/* ---- pieces ---- */

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
	if (make_entry(pool) < 0) {
		free(pool);
		return -ENOMEM;
	}
	pthread_mutex_init(&pool->mutex, NULL);
	make_free(pool, new_extent(pool, KV_EXTENT_NONE, 0, capacity));
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
		*ret_piece = (struct kv_pool_piece){
			id_of(pool, i), pool->tree.extents[i].offset, pool->tree.extents[i].length};
}

int kv_pool_take(
	struct kv_pool *pool, uint32_t model, uint64_t length, struct kv_pool_piece *ret_piece)
{
	uint32_t i = KV_EXTENT_NONE;
	int error = 0;

	if (length == 0)
		return -EINVAL;
	pthread_mutex_lock(&pool->mutex);
	error = is_model(pool, model) ? admit(pool, model, length) : -ENOENT;
	if (error == 0) {
		i = kv_extent_fit(&pool->tree, length);
		error = i == KV_EXTENT_NONE ? -ENOSPC : make_entry(pool);
	}
	if (error == 0) {
		make_taken(pool, i);
		cut(pool, i, length);
		pool->tree.extents[i].model = model;
		pool->n_pieces++;
		pool->models[model].m.n_pieces++;
		charge(pool, model, length);
		describe(pool, i, ret_piece);
	}
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

uint64_t kv_pool_longest(struct kv_pool *pool, uint32_t model)
{
	uint64_t longest = 0;

	pthread_mutex_lock(&pool->mutex);
	if (is_model(pool, model)) {
		const struct kv_pool_model *m = &pool->models[model].m;
		uint32_t i = kv_extent_longest(&pool->tree);

		longest = i == KV_EXTENT_NONE ? 0 : pool->tree.extents[i].length;
		if (left_for(pool, model) < longest)
			longest = left_for(pool, model);
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
	i = find(pool, id);
	if (i == KV_EXTENT_NONE)
		goto out;
	error = -EINVAL;
	if (length <= pool->tree.extents[i].length)
		goto out;
	more = length - pool->tree.extents[i].length;
	error = admit(pool, pool->tree.extents[i].model, more);
	if (error < 0)
		goto out;
	behind = free_behind(pool, i);
	error = -ENOSPC;
	if (behind == KV_EXTENT_NONE || pool->tree.extents[behind].length < more)
		goto out;
	error = 0;
	make_taken(pool, behind);
	pool->tree.extents[behind].offset += more;
	pool->tree.extents[behind].length -= more;
	pool->tree.extents[i].length = length;
	if (pool->tree.extents[behind].length)
		make_free(pool, behind);
	else
		drop_extent(pool, behind);
	charge(pool, pool->tree.extents[i].model, more);
out:
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

uint64_t kv_pool_room(struct kv_pool *pool, uint64_t id)
{
	uint64_t room = 0, more = 0;
	uint32_t i, behind;

	pthread_mutex_lock(&pool->mutex);
	i = find(pool, id);
	if (i != KV_EXTENT_NONE) {
		const struct kv_extent *e = &pool->tree.extents[i];
		const struct kv_pool_model *m = &pool->models[e->model].m;

		behind = free_behind(pool, i);
		more = behind == KV_EXTENT_NONE ? 0 : pool->tree.extents[behind].length;
		if (left_for(pool, e->model) < more)
			more = left_for(pool, e->model);
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
	i = find(pool, id);
	if (i != KV_EXTENT_NONE)
		error = length && length <= pool->tree.extents[i].length ? make_entry(pool)
									 : -EINVAL;
	if (error == 0) {
		struct kv_extent *e = &pool->tree.extents[i];
		uint64_t less = e->length - length;

		pool->models[e->model].m.used -= less;
		pool->used -= less;
		cut(pool, i, length);
	}
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

int kv_pool_give(struct kv_pool *pool, uint64_t id, struct kv_pool_piece *ret_piece)
{
	struct kv_extent *all;
	uint32_t i, before;

	pthread_mutex_lock(&pool->mutex);
	i = find(pool, id);
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
	join_behind(pool, i);
	before = all[i].before;
	if (before != KV_EXTENT_NONE && !all[before].taken) {
		kv_extent_remove(&pool->tree, before);
		pool->n_free--;
		all[before].length += all[i].length;
		drop_extent(pool, i);
		i = before;
	}
	make_free(pool, i);
	pthread_mutex_unlock(&pool->mutex);
	return 0;
}

int kv_pool_find(struct kv_pool *pool, uint64_t id, struct kv_pool_piece *ret_piece)
{
	uint32_t i;

	pthread_mutex_lock(&pool->mutex);
	i = find(pool, id);
	if (i != KV_EXTENT_NONE)
		describe(pool, i, ret_piece);
	pthread_mutex_unlock(&pool->mutex);
	return i == KV_EXTENT_NONE ? -ENOENT : 0;
}

int kv_pool_model_of(struct kv_pool *pool, uint64_t id, uint32_t *ret_model)
{
	uint32_t i;

	pthread_mutex_lock(&pool->mutex);
	i = find(pool, id);
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

/* Extents tile [0, capacity), no two free ones side by side. */
static bool tiles(const struct kv_pool *pool)
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

int kv_pool_check(struct kv_pool *pool)
{
	uint64_t used = 0;
	bool good;

	pthread_mutex_lock(&pool->mutex);
	good = tiles(pool) && kv_extent_check(&pool->tree) == (int64_t)pool->n_free;
	for (uint32_t i = 0; i < KV_POOL_MODELS; i++)
		used += pool->models[i].in_use ? pool->models[i].m.used : 0;
	good = good && used == pool->used;
	pthread_mutex_unlock(&pool->mutex);
	return good ? 0 : -EPROTO;
}
