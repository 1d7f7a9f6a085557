/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.c - see history.h.
 */
#include "hooks/history.h"

#include <stdatomic.h>

/* All atomic: relaxed, counters (history.h). */
static _Atomic uint64_t uploaded, free_reported, last_size, freed_largest;
static _Atomic uint32_t calls_since_info, same_size;

/* What counts as a family member that was made for a warm-up, and as an upload of weights. */
#define LARGE (1u << 20)
#define UPLOAD_LARGE (64u << 10)

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

void kv_history_upload(uint64_t length)
{
	atomic_fetch_add_explicit(&uploaded, length, memory_order_relaxed);
	atomic_fetch_add_explicit(&calls_since_info, 1, memory_order_relaxed);
	if (length >= UPLOAD_LARGE)
		SET(same_size, 0);
}

void kv_history_info(uint64_t free_bytes)
{
	SET(free_reported, free_bytes);
	SET(calls_since_info, 0);
}

void kv_history_free(uint64_t size)
{
	atomic_fetch_add_explicit(&calls_since_info, 1, memory_order_relaxed);
	if (size >= LARGE && size > GET(freed_largest))
		SET(freed_largest, size);
}

void kv_history_alloc(uint64_t size, struct kv_select_request *request)
{
	uint64_t freed = GET(freed_largest);
	bool same = GET(last_size) == size;

	request->free_reported = GET(free_reported);
	request->calls_since_info =
		atomic_fetch_add_explicit(&calls_since_info, 1, memory_order_relaxed);
	request->same_size_before = same ? GET(same_size) : 0;
	request->uploaded_bytes = GET(uploaded);
	request->freed_smaller_before = freed && freed < size;
	SET(same_size, same ? GET(same_size) + 1 : 1);
	SET(last_size, size);
}
