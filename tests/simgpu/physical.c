/* SPDX-License-Identifier: Apache-2.0 */
/* physical.c - extents of device memory and the handles of cuMemCreate. Guarded by sim_memory_lock.
 */
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/*
 * Free extents of one store, sorted. The store is larger than the device, so that fragmentation of
 * the offsets never looks like a lack of memory; what may be taken is decided by the accounting
 * alone.
 */
struct space {
	struct sim_store *store;
	struct {
		uint64_t offset, size;
	} * free;
	size_t n, cap;
};

static struct space spaces[SIM_MAX_DEVICES + 1]; /* the last: host memory */

static struct space *space_of(int device)
{
	struct space *s = &spaces[device < 0 ? SIM_MAX_DEVICES : device];

	if (!s->store) {
		uint64_t size = sim_config.memory * 4 + (1ull << 30);
		s->free = malloc(64 * sizeof(*s->free));
		s->store = s->free ? sim_store_new(size, 0xa5, false) : NULL;
		if (!s->store) {
			free(s->free);
			s->free = NULL;
			return NULL;
		}
		s->cap = 64;
		s->n = 1;
		s->free[0].offset = 0;
		s->free[0].size = s->store->size;
		if (device >= 0)
			sim_devices[device].store = s->store;
	}
	return s;
}

static uint64_t whole_blocks(uint64_t size)
{
	return (size + SIM_BLOCK - 1) / SIM_BLOCK * SIM_BLOCK;
}

CUresult sim_extent_take(int device, uint64_t size, struct sim_extent *ret)
{
	struct space *s = space_of(device);
	uint64_t need = whole_blocks(size);

	if (!s || !size || need < size)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (device >= 0 && sim_account_take(device, size))
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < s->n; i++) {
		if (s->free[i].size < need)
			continue;
		*ret = (struct sim_extent){s->store, device, s->free[i].offset, size};
		s->free[i].offset += need;
		s->free[i].size -= need;
		if (!s->free[i].size) {
			memmove(&s->free[i], &s->free[i + 1], (s->n - i - 1) * sizeof(*s->free));
			s->n--;
		}
		return CUDA_SUCCESS;
	}
	if (device >= 0)
		sim_account_give(device, size);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

void sim_extent_give(struct sim_extent *extent)
{
	struct space *s = space_of(extent->device);
	uint64_t offset = extent->offset, size = whole_blocks(extent->size);
	size_t low = 0, high = s->n;

	sim_store_forget(s->store, offset, size);
	if (extent->device >= 0)
		sim_account_give(extent->device, extent->size);
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (s->free[mid].offset < offset)
			low = mid + 1;
		else
			high = mid;
	}
	bool joins_left = low > 0 && s->free[low - 1].offset + s->free[low - 1].size == offset;
	bool joins_right = low < s->n && offset + size == s->free[low].offset;
	if (joins_left) {
		s->free[low - 1].size += size;
		if (joins_right) {
			s->free[low - 1].size += s->free[low].size;
			memmove(&s->free[low], &s->free[low + 1],
				(s->n - low - 1) * sizeof(*s->free));
			s->n--;
		}
		return;
	}
	if (joins_right) {
		s->free[low].offset = offset;
		s->free[low].size += size;
		return;
	}
	if (s->n == s->cap) {
		void *more = realloc(s->free, 2 * s->cap * sizeof(*s->free));
		if (!more)
			return; /* offsets are plenty: forget this piece */
		s->free = more;
		s->cap *= 2;
	}
	memmove(&s->free[low + 1], &s->free[low], (s->n - low) * sizeof(*s->free));
	s->free[low].offset = offset;
	s->free[low].size = size;
	s->n++;
}

/* ---- handles ---- */

/* An id is slot | generation << 32, so that a stale one is known as stale. */
static struct slot {
	struct sim_handle *handle;
	uint32_t generation;
	uint32_t next_free; /* slot + 1 */
} * slots;
static uint32_t n_slots, first_free;

struct sim_handle *sim_handle_find(CUmemGenericAllocationHandle id)
{
	uint32_t slot = (uint32_t)id - 1;

	if (slot >= n_slots || !slots[slot].handle || slots[slot].handle->id != id)
		return NULL;
	return slots[slot].handle;
}

CUresult sim_handle_new(const CUmemAllocationProp *prop, uint64_t size, struct sim_handle **ret)
{
	int device = prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE ? prop->location.id : -1;
	struct sim_handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult result = sim_extent_take(device, size, &handle->extent);
	if (result != CUDA_SUCCESS)
		goto fail;
	if (device < 0)
		sim_store_expose(handle->extent.store, handle->extent.offset, size);
	if (!first_free) {
		uint32_t cap = n_slots ? n_slots * 2 : 256;
		struct slot *more = realloc(slots, cap * sizeof(*slots));
		if (!more) {
			sim_extent_give(&handle->extent);
			result = CUDA_ERROR_OUT_OF_MEMORY;
			goto fail;
		}
		slots = more;
		for (uint32_t i = cap; i-- > n_slots;) {
			slots[i] = (struct slot){NULL, 0, first_free};
			first_free = i + 1;
		}
		n_slots = cap;
	}
	uint32_t slot = first_free - 1;
	first_free = slots[slot].next_free;
	slots[slot].handle = handle;
	handle->id = (uint64_t)++slots[slot].generation << 32 | (slot + 1);
	handle->prop = *prop;
	handle->refs = 1;
	handle->manager = sim_is_manager();
	*ret = handle;
	return CUDA_SUCCESS;
fail:
	free(handle);
	return result;
}

void sim_handle_put(struct sim_handle *handle)
{
	if (handle->refs || handle->mappings)
		return;
	uint32_t slot = (uint32_t)handle->id - 1;
	slots[slot].handle = NULL;
	slots[slot].next_free = first_free;
	first_free = slot + 1;
	sim_extent_give(&handle->extent);
	free(handle);
}

void sim_handles_each(void (*visit)(struct sim_handle *handle))
{
	for (uint32_t i = 0; i < n_slots; i++)
		if (slots[i].handle)
			visit(slots[i].handle);
}
