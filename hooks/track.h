/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track.h - ranges that are not reservations but that the launch path or a free must know:
 * host memory that the GPU can read (pinned, registered, managed) and native device allocations.
 */
#ifndef KV_HOOKS_TRACK_H
#define KV_HOOKS_TRACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct kv_space;

enum kv_track_kind {
	KV_TRACK_NATIVE = 1, /* cuMemAlloc and friends, stream-ordered and pool allocations */
	KV_TRACK_PINNED = 3, /* cuMemHostAlloc, cuMemAllocHost */
	KV_TRACK_REGISTERED = 4,
	KV_TRACK_MANAGED = 5,
};

/* Remembers; duplicates replace. Never fails visibly: if there is no memory, accounting is short.
 */
void kv_track_add(enum kv_track_kind kind, uint64_t addr, uint64_t size, struct kv_space *space);
/* Forgets the range that starts at addr. Returns its size, 0 if unknown; corrects the statistics.
 */
uint64_t kv_track_remove(enum kv_track_kind kind, uint64_t addr);
/* The same for memory that goes with the context owner. */
void kv_track_add_owned(enum kv_track_kind kind, uint64_t addr, uint64_t size,
	struct kv_space *space, const void *owner);
/* A context is gone, and what it owned of the device's native allocations; with_pools: also what no
 * context owned. */
void kv_track_forget(struct kv_space *space, const void *owner, bool with_pools);
/* The native allocation that contains addr. */
bool kv_track_find(
	uint64_t addr, enum kv_track_kind *ret_kind, uint64_t *ret_base, uint64_t *ret_size);

/* [hot] True if word lies in host memory that the GPU can read. Lock-free; two compares when no
 * such range is near. */
bool kv_track_is_host_visible(uint64_t word);
/* The span of a table: only widened; of an empty one: the highest address and 0. */
struct kv_track_bounds {
	/* atomic: relaxed; whoever was given an address was given these bounds before it */
	_Atomic uint64_t low, high;
};
/* For kv_track_host_bounds() only. */
extern struct kv_track_bounds kv_track_host;

/* [hot] The span of all host memory that the GPU can read; high is below low if there is none. */
static inline void kv_track_host_bounds(uint64_t *ret_low, uint64_t *ret_high)
{
	*ret_low = atomic_load_explicit(&kv_track_host.low, memory_order_relaxed);
	*ret_high = atomic_load_explicit(&kv_track_host.high, memory_order_relaxed);
}

#endif
