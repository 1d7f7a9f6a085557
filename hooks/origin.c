/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.c - a small array: reservations are few, and nobody looks here on the launch path.
 */
#include "hooks/origin.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct kv_origin *rows; /* guarded by mutex */
static uint32_t n_rows, size;  /* guarded by mutex */
/* The driver counts its buffers from below; ours cannot be mistaken for one of them. */
static uint64_t next_id = 1ull << 62; /* guarded by mutex */

bool kv_origin_add(struct kv_origin *origin)
{
	bool added = true;

	pthread_mutex_lock(&mutex);
	if (n_rows == size) {
		uint32_t wanted = size ? size * 2 : 64;
		struct kv_origin *grown = realloc(rows, wanted * sizeof(*rows));

		if (grown) {
			rows = grown;
			size = wanted;
		} else {
			added = false;
		}
	}
	if (added) {
		origin->id = next_id++;
		rows[n_rows++] = *origin;
	}
	pthread_mutex_unlock(&mutex);
	return added;
}

void kv_origin_remove(CUdeviceptr base)
{
	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_rows; i++) {
		if (rows[i].base == base) {
			rows[i] = rows[--n_rows];
			break;
		}
	}
	pthread_mutex_unlock(&mutex);
}

bool kv_origin_find(CUdeviceptr base, struct kv_origin *ret_origin)
{
	bool found = false;

	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_rows && !found; i++) {
		if (rows[i].base == base) {
			*ret_origin = rows[i];
			found = true;
		}
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

bool kv_origin_next(CUcontext ctx, CUdeviceptr after, struct kv_origin *ret_origin)
{
	bool found = false;

	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_rows; i++) {
		if (rows[i].ctx != ctx || rows[i].base <= after)
			continue;
		if (!found || rows[i].base < ret_origin->base)
			*ret_origin = rows[i];
		found = true;
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

bool kv_origin_elsewhere(
	const struct kv_device *device, CUcontext ctx, struct kv_origin *ret_origin)
{
	bool found = false;

	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_rows && !found; i++) {
		if (rows[i].device == device && rows[i].ctx != ctx) {
			*ret_origin = rows[i];
			found = true;
		}
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

void kv_origin_forget(const struct kv_device *device)
{
	pthread_mutex_lock(&mutex);
	for (uint32_t i = n_rows; i-- > 0;) {
		if (rows[i].device == device)
			rows[i] = rows[--n_rows];
	}
	pthread_mutex_unlock(&mutex);
}
