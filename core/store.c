/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - spare handles and host slabs.
 */
#include "core/store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/space.h"
#include "core/poison.h"

struct kv_slab {
	struct kv_slab *next;
	char *memory;
	uint32_t n_slots;
	uint32_t n_used;
	uint32_t first_maybe_free; /* no free slot below */
	bool used[];
};

int kv_store_init(struct kv_store *store, uint64_t page_size, uint64_t spare_bytes)
{
	uint64_t n = spare_bytes / page_size;

	if (n > UINT32_MAX / sizeof(kv_gpu_handle))
		n = UINT32_MAX / sizeof(kv_gpu_handle);
	store->max_spares = (uint32_t)n;
	store->n_spares = 0;
	store->spares = NULL;
	store->slabs = NULL;
	store->n_slots_used = 0;
	if (n) {
		/* Untouched, so that a generous bound costs address space only. */
		store->spares = malloc(n * sizeof(*store->spares));
		if (!store->spares)
			return -ENOMEM;
	}
	kv_lock_init(&store->lock, KV_RANK_STORE);
	return 0;
}

static void free_slabs(struct kv_store *store)
{
	struct kv_slab *slab;

	while ((slab = store->slabs)) {
		store->slabs = slab->next;
		free(slab);
	}
	store->n_slots_used = 0;
}

void kv_store_destroy(struct kv_store *store)
{
	free_slabs(store);
	free(store->spares);
	kv_lock_destroy(&store->lock);
}

kv_gpu_handle kv_spare_pop(struct kv_space *space)
{
	struct kv_store *store = &space->store;
	kv_gpu_handle handle = 0;

	kv_lock_take(&store->lock);
	if (store->n_spares)
		handle = store->spares[--store->n_spares];
	kv_lock_drop(&store->lock);
	return handle;
}

int kv_spare_push(struct kv_space *space, kv_gpu_handle handle)
{
	struct kv_store *store = &space->store;
	bool kept = false;

	kv_lock_take(&store->lock);
	if (store->n_spares < store->max_spares) {
		store->spares[store->n_spares++] = handle;
		kept = true;
	}
	kv_lock_drop(&store->lock);
	return kept ? 0 : kv_gpu_device_release(space, handle, space->page_size);
}

uint64_t kv_spare_bytes(struct kv_space *space)
{
	uint64_t n;

	kv_lock_take(&space->store.lock);
	n = space->store.n_spares;
	kv_lock_drop(&space->store.lock);
	return n * space->page_size;
}

uint64_t kv_space_trim(struct kv_space *space, uint64_t bytes)
{
	uint64_t freed = 0;
	kv_gpu_handle handle;

	while (freed < bytes && (handle = kv_spare_pop(space))) {
		if (kv_gpu_device_release(space, handle, space->page_size) == 0)
			freed = kv_add_sat(freed, space->page_size);
		kv_space_changed(space);
	}
	if (freed)
		kv_space_publish(space);
	return freed;
}

/* Up to n_wanted adjacent free slots; 0 if there is none. store->lock is held. */
static uint32_t take_slots(
	struct kv_slab *slab, uint64_t page_size, uint32_t n_wanted, void **ret_host)
{
	uint32_t first = slab->first_maybe_free, n = 0;

	while (first < slab->n_slots && slab->used[first])
		first++;
	while (n < n_wanted && first + n < slab->n_slots && !slab->used[first + n])
		slab->used[first + n++] = true;
	slab->first_maybe_free = first + n;
	slab->n_used += n;
	if (n)
		*ret_host = slab->memory + first * page_size;
	return n;
}

static int new_slab(struct kv_space *space, uint32_t n_wanted, struct kv_slab **ret_slab)
{
	uint64_t n_slots = KV_SLAB_BYTES / space->page_size;
	struct kv_slab *slab;
	void *memory;
	int error;

	if (n_slots == 0)
		n_slots = 1;
	slab = calloc(1, sizeof(*slab) + n_slots * sizeof(slab->used[0]));
	if (!slab)
		return -ENOMEM;
	error = kv_gpu_host_alloc(space, n_slots * space->page_size, &memory);
	if (error == -ENOMEM && n_slots > 1) {
		/* Short of memory: no more than is needed now. */
		n_slots = n_wanted < n_slots ? n_wanted : 1;
		error = kv_gpu_host_alloc(space, n_slots * space->page_size, &memory);
	}
	if (error < 0) {
		free(slab);
		return error;
	}
	slab->memory = memory;
	slab->n_slots = (uint32_t)n_slots;
	*ret_slab = slab;
	return 0;
}

int kv_host_take(struct kv_space *space, uint32_t n_wanted, void **ret_host, uint32_t *ret_n)
{
	struct kv_store *store = &space->store;
	struct kv_slab *slab;
	uint32_t n = 0;
	int error;

	kv_lock_take(&store->lock);
	for (slab = store->slabs; slab && n == 0; slab = slab->next)
		n = take_slots(slab, space->page_size, n_wanted, ret_host);
	store->n_slots_used += n;
	kv_lock_drop(&store->lock);
	if (n == 0) {
		error = new_slab(space, n_wanted, &slab);
		if (error < 0)
			return error;
		kv_lock_take(&store->lock);
		n = take_slots(slab, space->page_size, n_wanted, ret_host);
		slab->next = store->slabs;
		store->slabs = slab;
		store->n_slots_used += n;
		kv_lock_drop(&store->lock);
	}
	*ret_n = n;
	return 0;
}

void kv_host_give(struct kv_space *space, void *host)
{
	struct kv_store *store = &space->store;
	struct kv_slab *slab;
	uint64_t at = 0;

	kv_lock_take(&store->lock);
	for (slab = store->slabs; slab; slab = slab->next) {
		at = ((char *)host - slab->memory) / space->page_size;
		if ((char *)host >= slab->memory && at < slab->n_slots)
			break;
	}
	assert(slab && slab->used[at]);
	slab->used[at] = false;
	slab->n_used--;
	store->n_slots_used--;
	if (at < slab->first_maybe_free)
		slab->first_maybe_free = (uint32_t)at;
	kv_lock_drop(&store->lock);
}

void kv_host_collect(struct kv_space *space)
{
	struct kv_store *store = &space->store;
	struct kv_slab *empty = NULL, *slab, **link;

	if (kv_gpu_quiet_queue(space, false) < 0)
		return;
	kv_lock_take(&store->lock);
	for (link = &store->slabs; (slab = *link);) {
		if (slab->n_used == 0) {
			*link = slab->next;
			slab->next = empty;
			empty = slab;
		} else {
			link = &slab->next;
		}
	}
	kv_lock_drop(&store->lock);
	while ((slab = empty)) {
		empty = slab->next;
		/* No remedy if it fails: the memory stays pinned until the process ends. */
		kv_gpu_host_free(space, slab->memory);
		free(slab);
	}
}

void kv_store_forget(struct kv_space *space)
{
	struct kv_store *store = &space->store;

	kv_lock_take(&store->lock);
	store->n_spares = 0;
	free_slabs(store);
	kv_lock_drop(&store->lock);
	kv_space_changed(space);
}
