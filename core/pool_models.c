/* SPDX-License-Identifier: Apache-2.0 */
/* pool_models.c - the models that share a pool: minima, maxima, and how they follow use. See
 * pool.h.
 */
#include "core/pool_private.h"

#include <errno.h>

#include "core/poison.h"

bool kv_pool_is_model(const struct kv_pool *pool, uint32_t model)
{
	return model < KV_POOL_MODELS && pool->models[model].in_use;
}

uint64_t kv_pool_left_for(const struct kv_pool *pool, uint32_t model)
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

int kv_pool_admit(const struct kv_pool *pool, uint32_t model, uint64_t more)
{
	const struct kv_pool_model *m = &pool->models[model].m;

	if (m->used > m->max || more > m->max - m->used)
		return -EDQUOT;
	return more > kv_pool_left_for(pool, model) ? -ENOSPC : 0;
}

void kv_pool_charge(struct kv_pool *pool, uint32_t model, uint64_t more)
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
		pool->models[free_row] = (struct kv_pool_row){true, {.min = min, .max = max}};
		*ret_model = free_row;
	}
	pthread_mutex_unlock(&pool->mutex);
	return error;
}

int kv_pool_model_remove(struct kv_pool *pool, uint32_t model)
{
	int error = -ENOENT;

	pthread_mutex_lock(&pool->mutex);
	if (kv_pool_is_model(pool, model))
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
	if (kv_pool_is_model(pool, model)) {
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
