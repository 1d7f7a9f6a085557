/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planes_body.h - the table of planes, for planes*.c only.
 *
 *   planes.c        the table; launches; the end of what was known
 *   planes_write.c  writers: what grows in step, and ahead
 *   planes_read.c   readers: what is dead
 *
 * One entry per address at which a plane begins: as writers name it (a tensor, all its streams) and
 * as readers do (one stream of it); for the first stream they are the same. Entries lie in a hash
 * table that is read without a lock. All fields are relaxed atomics: what two threads write at once
 * is a hint at worst, since each release is checked against the proof under the mutex.
 */
#ifndef KV_HOOKS_PLANES_BODY_H
#define KV_HOOKS_PLANES_BODY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "hooks/planes.h"

/* 64 layers of keys and values for 24 streams. */
#define N_SLOTS 4096u
#define N_PLANES (N_SLOTS * 3 / 4)
#define N_WINDOWS 4u

/* struct plane.base of a slot that held a plane once. No address is that low. */
#define GONE 1u

/* Pages that are known to have memory: [low, high). */
struct window {
	_Atomic uint64_t low, high;
	_Atomic uint64_t revision; /* as of this kv_planes_revision() */
	_Atomic uint64_t reach;    /* who writes beyond it is about to leave; at most high */
	_Atomic uint32_t ahead;    /* enum ahead */
};

/* Of the page behind a window. */
enum ahead { FAR, NEAR, ASKED };

struct plane {
	_Atomic uint64_t base; /* 0: the slot was never used. atomic: release when one is added */
	_Atomic uint64_t row_stride;

	/* As writers name it. Nothing was written while low >= high. */
	_Atomic uint64_t low, high;          /* all that was ever written lies between */
	_Atomic uint64_t row_first, row_end; /* the last write; after a clear see CLEARED */
	struct window windows[N_WINDOWS];    /* where it wrote lately */
	_Atomic uint32_t next_window;

	/* As readers name it. */
	_Atomic uint64_t end; /* address; 0: never read */
	_Atomic bool proven;
	_Atomic uint64_t n_proofs; /* state of the table when it was not proven */
	/* While the extent ends within (live_low, live_high] nothing more is dead. */
	_Atomic uint64_t live_low, live_high;
	_Atomic uint64_t dead_from; /* from here on all has been released */
	_Atomic uint64_t revision;  /* kv_planes_revision() when it was */
};

/* row_first after a clear: planes that were cleared together are in step. */
#define CLEARED (1ull << 63)

struct kv_planes {
	struct plane slots[N_SLOTS];
	pthread_mutex_t mutex;   /* leaf; never held across a call into core */
	uint16_t used[N_PLANES]; /* guarded by mutex; slots that hold a plane */
	uint32_t n_used;         /* guarded by mutex */
	uint64_t n_clears;       /* guarded by mutex */
	bool told_full;          /* guarded by mutex */
	/* Rises when something is written that may prove a plane. atomic: relaxed */
	_Atomic uint64_t n_proofs;
	/* Rises when a window has come NEAR. atomic: relaxed; whoever raises it pokes the agent,
	 * which synchronises */
	_Atomic uint64_t n_near;
	/* All extents that were read are multiples of so many rows; 0: none so far. atomic: relaxed
	 */
	_Atomic uint64_t grid;
	/* Rises when planes are forgotten or cleared. atomic: relaxed */
	_Atomic uint64_t n_changes;
};
extern struct kv_planes kv_planes __attribute__((visibility("hidden")));

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

static inline uint32_t slot_of(uint64_t base)
{
	return (uint32_t)((base * 0x9e3779b97f4a7c15ull) >> 52) % N_SLOTS;
}

/* NULL: not known. */
static inline struct plane *kv_planes_find(uint64_t base)
{
	for (uint32_t i = 0, at = slot_of(base); i < N_SLOTS; i++, at = (at + 1) % N_SLOTS) {
		uint64_t here =
			atomic_load_explicit(&kv_planes.slots[at].base, memory_order_acquire);

		if (here == base)
			return &kv_planes.slots[at];
		if (!here)
			break;
	}
	return NULL;
}

/* [mutex] The entry of a plane, made if there is none. NULL: no room. *ret_full: for the first time
 * (the caller says so, by kv_planes_say_full(), once the mutex is free). */
struct plane *kv_planes_entry(uint64_t base, uint64_t row_stride, bool *ret_full);
void kv_planes_say_full(bool full);

#endif
