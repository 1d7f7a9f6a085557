/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot.h - the part of core that every launch looks at, inlined into its callers.
 *
 * Included by core.h, which documents the functions; not to be included alone. struct kv_core_hot
 * is the first member of struct kv_core and the only part of it that other rooms can see. They must
 * use the functions, not the fields.
 *
 * No function here takes a lock, allocates or, with the gate open, makes a system call.
 */
#ifndef KV_CORE_HOT_H
#define KV_CORE_HOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/gate.h"
#include "core/grains.h"

struct kv_core;
struct kv_reservation;

/* 16 MiB; so that addresses are told apart modulo 1 TiB. Reservations of at least this size share
 * no grain with another if the device can align them. */
#define KV_CORE_GRAIN_BITS 24u

enum {
	/* Of KV_CORE_GRAIN_BITS: a counter is zero only where nothing is watched (kv_core_watch())
	 * and kv_core_hits() is not true. Written with the table's lock held. */
	KV_GRAINS_FAR,
	/* The caller's own, all zero at first: beside the others, so that a launch needs one
	 * address. Core does not look at them. */
	KV_GRAINS_NEAR,
	KV_GRAINS_BOTH
};

struct kv_core_hot {
	struct kv_gate gate; /* first: its address costs a launch nothing */
	/* atomic: relaxed; who was given a reservation's address was given this count before it */
	_Atomic uint32_t n_live;
	/* Reservations that are static and not whole. atomic: relaxed; it rises either in the
	 * thread that is about to submit, or while the gate is closed (which synchronises by
	 * itself) */
	_Atomic uint32_t n_unsettled;
	/* Bounds of the reservations that need attention: not (static and whole); lo == hi: none.
	 * atomic: relaxed, each on its own: any mix of an old and a new bound covers every
	 * reservation that needed attention before and after */
	_Atomic uint64_t lo;
	_Atomic uint64_t hi;
	/* Rises when a page gets memory or loses it, or is taken off the list of what goes at the
	 * next reap. atomic: relaxed; what a thread has caused itself it sees, what is lost is lost
	 * while the gate is closed, the rest it may see late */
	_Atomic uint64_t revision;
	struct kv_grains *grains; /* both; immutable after init, not NULL */
	/* See kv_core_losses(). atomic: relaxed; rises in the thread that then submits, or with the
	 * gate closed */
	_Atomic uint64_t losses;
};

/* The slow half of kv_core_hits(): addr is within the bounds. */
bool kv_core_hits_row(struct kv_core *core, uint64_t addr, struct kv_reservation **ret_reservation);
/* The slow half of kv_settle(): something is not whole. */
int kv_settle_all(struct kv_core *core);

static inline bool kv_core_is_idle(const struct kv_core *core)
{
	const struct kv_core_hot *hot = (const struct kv_core_hot *)core;

	return atomic_load_explicit(&hot->n_live, memory_order_relaxed) == 0;
}

static inline bool kv_core_hits(
	struct kv_core *core, uint64_t addr, struct kv_reservation **ret_reservation)
{
	const struct kv_core_hot *hot = (const struct kv_core_hot *)core;
	uint64_t lo = atomic_load_explicit(&hot->lo, memory_order_relaxed);
	uint64_t hi = atomic_load_explicit(&hot->hi, memory_order_relaxed);

	if (addr - lo >= hi - lo)
		return false;
	return kv_core_hits_row(core, addr, ret_reservation);
}

/*
 * [inside] Every address for which kv_core_hits() could be true lies in [*ret_low, *ret_high), now
 * and until the caller leaves the gate, unless it gets the address of a new reservation meanwhile.
 */
static inline void kv_core_bounds(const struct kv_core *core, uint64_t *ret_low, uint64_t *ret_high)
{
	const struct kv_core_hot *hot = (const struct kv_core_hot *)core;

	*ret_low = atomic_load_explicit(&hot->lo, memory_order_relaxed);
	*ret_high = atomic_load_explicit(&hot->hi, memory_order_relaxed);
}

/* [inside] [hot] Closer than the two bounds above, for one word at a time: KV_GRAINS_BOTH of them.
 */
static inline struct kv_grains *kv_core_grains(const struct kv_core *core)
{
	const struct kv_core_hot *hot = (const struct kv_core_hot *)core;

	return hot->grains;
}

/*
 * [inside] [hot] As long as this is the same, no page has got or lost memory, and none that was
 * released has been touched since: what was touched once is still there.
 */
static inline uint64_t kv_core_revision(const struct kv_core *core)
{
	const struct kv_core_hot *hot = (const struct kv_core_hot *)core;

	return atomic_load_explicit(&hot->revision, memory_order_relaxed);
}

/* Returns the slot's word as it was before (gate.h). */
static inline uint64_t kv_core_enter(struct kv_core *core, uint32_t slot)
{
	struct kv_core_hot *hot = (struct kv_core_hot *)core;

	return kv_gate_enter(&hot->gate, slot);
}

/* See kv_gate_count_other(). */
static inline void kv_core_count_other(struct kv_core *core, uint32_t slot, int64_t n)
{
	struct kv_core_hot *hot = (struct kv_core_hot *)core;

	kv_gate_count_other(&hot->gate, slot, n);
}

static inline void kv_core_leave(struct kv_core *core, uint32_t slot)
{
	struct kv_core_hot *hot = (struct kv_core_hot *)core;

	kv_gate_leave(&hot->gate, slot);
}

/*
 * [inside] Rises whenever a page may have lost its memory, or may lose it at the next reap unless
 * it is touched again, and when reservations come, go or become static. As long as it has not
 * changed since before a kv_touch(), that touch need not be repeated.
 */
static inline uint64_t kv_core_losses(const struct kv_core *core)
{
	const struct kv_core_hot *hot = (const struct kv_core_hot *)core;

	return atomic_load_explicit(&hot->losses, memory_order_relaxed);
}

/* Core's own: something of that kind happens. */
static inline void kv_core_lose(struct kv_core *core)
{
	struct kv_core_hot *hot = (struct kv_core_hot *)core;

	atomic_fetch_add_explicit(&hot->losses, 1, memory_order_relaxed);
}

/* [inside] How many reservations kv_settle() would have something to do for. */
static inline uint32_t kv_core_unsettled(const struct kv_core *core)
{
	const struct kv_core_hot *hot = (const struct kv_core_hot *)core;

	return atomic_load_explicit(&hot->n_unsettled, memory_order_relaxed);
}

static inline int kv_settle(struct kv_core *core)
{
	if (!kv_core_unsettled(core))
		return 0;
	return kv_settle_all(core);
}

#endif
