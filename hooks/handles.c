/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handles.c - see handles.h.
 *
 * The driver may give the value of a released handle to a new one while the old memory is still
 * mapped: memory has an identity of its own here, and a released handle's value is forgotten.
 */
#include "hooks/handles.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

struct memory {
	uint64_t id;
	uint64_t handle; /* 0: released */
	uint64_t size;
	struct kv_space *space; /* NULL: not counted */
	uint32_t references, mappings;
};

struct mapping {
	uint64_t start;
	uint64_t end;
	uint64_t id;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all below; innermost */
static struct memory *memories;                           /* sorted by id, which only grow */
static struct mapping *mappings;                          /* sorted by start */
static uint32_t n_memories, n_mappings, size_memories, size_mappings;
static uint64_t last_id;

/* ---- the two tables; mutex is held ---- */

/* Room for one more element. *size elements of each bytes are there. */
static bool grow(void **table, uint32_t n, uint32_t *size, size_t each)
{
	uint32_t wanted = *size ? *size * 2 : 32;
	void *grown;

	if (n < *size)
		return true;
	grown = realloc(*table, wanted * each);
	if (!grown)
		return false;
	*table = grown;
	*size = wanted;
	return true;
}

/* Handles in use are few, and made and released rarely. */
static struct memory *memory_of(uint64_t handle)
{
	for (uint32_t i = n_memories; handle && i-- > 0;) {
		if (memories[i].handle == handle)
			return &memories[i];
	}
	return NULL;
}

static struct memory *memory_with(uint64_t id)
{
	uint32_t low = 0, high = n_memories;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (memories[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n_memories && memories[low].id == id ? &memories[low] : NULL;
}

/* Index of the first mapping that starts at addr or above. */
static uint32_t lower_bound(uint64_t addr)
{
	uint32_t low = 0, high = n_mappings;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (mappings[middle].start < addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct memory *memory_at(uint64_t addr)
{
	uint32_t i = lower_bound(addr + 1);

	return i && addr < mappings[i - 1].end ? memory_with(mappings[i - 1].id) : NULL;
}

static struct memory *memory_new(uint64_t handle)
{
	struct memory *m;

	if (!grow((void **)&memories, n_memories, &size_memories, sizeof(*memories)))
		return NULL;
	m = &memories[n_memories++];
	*m = (struct memory){.id = ++last_id, .handle = handle, .references = 1};
	return m;
}

/* Something that uses it is gone: nothing left, and it goes too, and is taken off the books. */
static void put(struct memory *m, struct kv_space **ret_space, uint64_t *ret_size)
{
	if (m->references || m->mappings)
		return;
	*ret_space = m->space;
	*ret_size += m->size;
	memmove(m, m + 1, (size_t)(&memories[n_memories] - (m + 1)) * sizeof(*m));
	n_memories--;
}

/* ---- the books; mutex is not held ---- */

static void account(struct kv_space *space, int64_t delta)
{
	if (space && delta)
		kv_space_native(space, delta);
}

void kv_handles_created(uint64_t handle, uint64_t size, struct kv_space *space)
{
	struct memory *m;

	pthread_mutex_lock(&mutex);
	m = memory_new(handle);
	if (m) {
		m->size = size;
		m->space = space;
	}
	pthread_mutex_unlock(&mutex);
	if (m)
		account(space, (int64_t)size);
}

void kv_handles_retained(uint64_t handle, uint64_t addr)
{
	struct memory *m;

	pthread_mutex_lock(&mutex);
	m = memory_of(handle);
	if (!m && addr && (m = memory_at(addr)))
		m->handle = handle; /* released before, and named again */
	if (m)
		m->references++;
	else
		memory_new(handle); /* another process's, in its books; its size is not told */
	pthread_mutex_unlock(&mutex);
}

void kv_handles_released(uint64_t handle)
{
	struct kv_space *space = NULL;
	uint64_t size = 0;
	struct memory *m;

	pthread_mutex_lock(&mutex);
	m = memory_of(handle);
	if (m && --m->references == 0) {
		m->handle = 0;
		put(m, &space, &size);
	}
	pthread_mutex_unlock(&mutex);
	account(space, -(int64_t)size);
}

void kv_handles_mapped(uint64_t handle, uint64_t addr, uint64_t size)
{
	struct memory *m;
	uint32_t i;

	pthread_mutex_lock(&mutex);
	m = memory_of(handle);
	if (m && grow((void **)&mappings, n_mappings, &size_mappings, sizeof(*mappings))) {
		i = lower_bound(addr);
		memmove(&mappings[i + 1], &mappings[i], (n_mappings - i) * sizeof(*mappings));
		mappings[i] = (struct mapping){addr, addr + size, m->id};
		n_mappings++;
		m->mappings++;
	}
	pthread_mutex_unlock(&mutex);
}

/* Takes the first mapping that begins in [addr, end) off the table. False: there is none. */
static bool unmap_one(uint64_t addr, uint64_t end, struct kv_space **ret_space, uint64_t *ret_size)
{
	uint32_t i = lower_bound(addr);
	struct memory *m;

	if (i == n_mappings || mappings[i].start >= end)
		return false;
	m = memory_with(mappings[i].id);
	memmove(&mappings[i], &mappings[i + 1], (n_mappings - i - 1) * sizeof(*mappings));
	n_mappings--;
	if (m) {
		m->mappings--;
		put(m, ret_space, ret_size);
	}
	return true;
}

void kv_handles_unmapped(uint64_t addr, uint64_t size)
{
	bool more = true;

	while (more) {
		struct kv_space *space = NULL;
		uint64_t freed = 0;

		pthread_mutex_lock(&mutex);
		more = unmap_one(addr, addr + size, &space, &freed);
		pthread_mutex_unlock(&mutex);
		account(space, -(int64_t)freed);
	}
}
