/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - one device: its gpu_ops, handle cache, promise and counters. Private to core.
 *
 * Byte counters are atomics because pages change under the mutex of their own reservation, and
 * several reservations change at once. They are exact whenever nobody is in the middle of a change.
 */
#ifndef KV_CORE_SPACE_H
#define KV_CORE_SPACE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>

#include "core/agent.h"
#include "core/core.h"
#include "core/idle.h"
#include "core/rank.h"
#include "core/report.h"
#include "core/store.h"
#include "core/table.h"

struct kv_core {
	struct kv_core_hot hot;       /* must be first: hot.h */
	struct kv_core_config config; /* immutable after kv_core_new() */
	struct kv_table table;
	struct kv_reservation *recycled;   /* guarded by table.lock */
	struct kv_reservation *objects;    /* guarded by table.lock; all that were ever made */
	_Atomic(struct kv_space *) spaces; /* atomic: release when one is added, acquire to walk */
	_Atomic uint64_t manage_ids;       /* atomic: relaxed; the last one given (want.h) */
	_Atomic uint32_t n_managed; /* atomic: relaxed; who has managed something knows of it */
	_Atomic uint32_t launch_ns[KV_STATS_BUCKETS]; /* atomic: relaxed; counters, see stats.h */
};

/* See reap.c. CLOCK_MONOTONIC; 0: never, or not now. */
struct kv_reap_state {
	uint64_t seen_ns; /* marks were first seen */
	uint64_t last_ns; /* the last reap */
	uint64_t aged_ns; /* pages that are kept were last looked at, or began to be */
};

struct kv_space {
	/* immutable after kv_space_new() */
	struct kv_space *next;
	struct kv_core *core;
	const struct kv_gpu_ops *ops;
	void *gpu;
	uint64_t page_size;
	uint64_t granularity;
	struct kv_stats_sink sink;
	struct kv_agent *agent;
	uint32_t agent_slot; /* of the gate */

	struct kv_store store; /* guarded by its own lock */
	struct kv_idle idle;
	/* What last uses are told by: rises with each look of the agent, so about once per second
	 * while there is work. atomic: relaxed */
	_Atomic uint32_t tick;

	struct kv_lock lock;               /* KV_RANK_SPACE */
	uint64_t rows[KV_TABLE_ROWS / 64]; /* guarded by lock; row numbers in use */
	struct kv_report report;           /* guarded by lock */

	/* atomic: relaxed; bytes by page state, changed under the mutex of a reservation */
	_Atomic uint64_t reserved;
	_Atomic uint64_t backed;
	_Atomic uint64_t evicted;
	_Atomic uint64_t spilled;
	_Atomic uint64_t host_taken; /* host budget in use, also by pages in transit */
	/* atomic: seq_cst; rises with each change that moves the promise, so that a decision made
	 * from a reading of the driver can tell that the reading is old */
	_Atomic uint64_t generation;

	struct kv_reap_state reap; /* of the agent's thread alone */
	/* Some page may be marked for a reap. atomic: seq_cst; set inside the gate after the mark,
	 * cleared before the pages are looked at */
	_Atomic bool marked;
	/* Some page may be kept for a while (KV_PAGE_SPARE). atomic: seq_cst; set after the mark,
	 * cleared before the pages are looked at */
	_Atomic bool lingering;

	/* A flush has failed twice: fills or copies may still be under way, and nothing may be
	 * unmapped or freed before a flush succeeds. atomic: relaxed; set and cleared with the gate
	 * closed or under the mutex of the reservation concerned */
	_Atomic bool queue_stuck;

	/* atomic: relaxed; counters, see struct kv_process_stats */
	_Atomic uint64_t driver_calls;
	_Atomic uint64_t submissions;
	_Atomic uint64_t quiesces;
	_Atomic uint64_t quiesce_timeouts;
	_Atomic uint64_t quiesce_ns_max;
	_Atomic uint64_t n_reservations;
	_Atomic uint64_t n_static;
	_Atomic uint64_t pages_backed;
	_Atomic uint64_t pages_released;
	_Atomic uint64_t pages_evicted;
	_Atomic uint64_t pages_not_copied;
	_Atomic uint64_t pages_restored;
	_Atomic uint64_t pages_spilled;
	_Atomic uint64_t evictions;
	_Atomic uint64_t evicted_bytes;
	_Atomic uint64_t evict_ns;
	_Atomic uint64_t restores;
	_Atomic uint64_t restored_bytes;
	_Atomic uint64_t restore_ns;
	_Atomic uint64_t pages_promoted;
	_Atomic uint64_t pages_ahead;
	_Atomic uint64_t pages_ahead_used;
	_Atomic uint64_t reclaims;
	_Atomic uint64_t reclaimed_bytes;
	_Atomic uint64_t refused;
	_Atomic uint64_t passed;
	_Atomic uint64_t denied;
	_Atomic uint64_t waits;
	_Atomic uint64_t wait_timeouts;
	_Atomic uint64_t waits_crossed;
	_Atomic uint64_t wait_ns;
	_Atomic uint64_t wait_ns_max;
	_Atomic uint32_t wait_hist[KV_STATS_BUCKETS];
	_Atomic uint64_t last_submission_ns;
	_Atomic uint64_t native;
	_Atomic uint64_t native_peak;
	_Atomic uint64_t backed_peak;

	struct kv_lock stats_lock; /* KV_RANK_STATS; the order in which the sink is told */
};

/* Calls visit for each space of core; a macro-free walk. */
static inline struct kv_space *kv_space_first(struct kv_core *core)
{
	return atomic_load_explicit(&core->spaces, memory_order_acquire);
}

static inline void kv_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Counts one and returns the new value. */
static inline uint64_t kv_count_next(_Atomic uint64_t *counter)
{
	return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) + 1;
}

static inline uint64_t kv_counted(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void kv_count_max(_Atomic uint64_t *counter, uint64_t value)
{
	uint64_t old = kv_counted(counter);

	while (old < value && !atomic_compare_exchange_weak_explicit(counter, &old, value,
				      memory_order_relaxed, memory_order_relaxed))
		;
}

/* Something that the promise depends on has changed. */
static inline void kv_space_changed(struct kv_space *space)
{
	atomic_fetch_add(&space->generation, 1);
}

/* See kv_core_revision(). */
static inline void kv_core_revise(struct kv_core *core)
{
	atomic_fetch_add_explicit(&core->hot.revision, 1, memory_order_relaxed);
}

/* Pages have been marked for the next reap. No lock need be held; makes no driver call. */
static inline void kv_space_mark(struct kv_space *space)
{
	kv_core_lose(space->core);
	if (!atomic_load(&space->marked) && !atomic_exchange(&space->marked, true))
		kv_agent_poke(space->agent);
}

/* Pages have been marked as spare. No lock need be held; makes no driver call. */
static inline void kv_space_linger(struct kv_space *space)
{
	/* A touch from now on must be felt: it takes the mark back. */
	kv_core_lose(space->core);
	if (!atomic_load(&space->lingering) && !atomic_exchange(&space->lingering, true))
		kv_agent_poke(space->agent);
}

/* Tasks of the agent: kv_reap() when something has been marked, and marking spare pages that
 * nobody has touched for long enough. */
uint64_t kv_reap_task(void *ctx, uint64_t now_ns);
uint64_t kv_linger_task(void *ctx, uint64_t now_ns);

/* a + b, at most UINT64_MAX. */
static inline uint64_t kv_add_sat(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t kv_sub_sat(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* ---- promise.c ---- */

/* Bytes of pages that are neither backed nor spilled. */
uint64_t kv_space_unbacked_exact(const struct kv_space *space);

/*
 * Device bytes that could be had now, promises aside: what is free or, with others on the device,
 * what they would give within this process's maximum, and what is kept for reuse. driver_free,
 * driver_total: what the driver says; the ledger hears of it. No lock may be held.
 */
uint64_t kv_space_could_get(struct kv_space *space, uint64_t driver_free, uint64_t driver_total);
/* Charges size bytes to the promise of the space. -ENOMEM: cannot be promised. */
int kv_promise_take(struct kv_space *space, uint64_t size);
void kv_promise_give(struct kv_space *space, uint64_t size);
/* Takes size bytes of the host budget. False: not so much is left. */
bool kv_budget_take(struct kv_space *space, uint64_t size);
void kv_budget_give(struct kv_space *space, uint64_t size);

/* ---- waiting.c ---- */

/*
 * Device memory is short by bytes: tells the ledger what the driver says, lets it ask others, and
 * waits for as long as it allows, from start_ns on. inside: the caller is inside the gate. No lock
 * is held. 0: try again. -ENOMEM: do without.
 */
int kv_ledger_wait(struct kv_space *space, uint64_t bytes, uint64_t start_ns, bool inside);
/* This thread enters the gate by that slot from now on. */
void kv_waiting_thread(const struct kv_core *core, uint32_t slot);
/* [inside] When the submission that this thread makes began to wait: now, if it has not yet. */
uint64_t kv_waiting_since(struct kv_space *space);

/*
 * Charges bytes (0: only looks) for pages that nobody needs yet: they must be there, a part of the
 * device beyond them must stay free, and nobody may wait. The mutex of one reservation may be held.
 * -ENOMEM: not now; errors of memory_info. What was not used of it goes back by kv_unneeded_give().
 */
int kv_unneeded_take(struct kv_space *space, uint64_t bytes);
void kv_unneeded_give(struct kv_space *space, uint64_t bytes);

/* ---- quiesce.c ---- */

/*
 * Gate closed and device drained, both within the configured bound. 0: the caller must call
 * kv_quiesce_end(). -ETIMEDOUT, -EBUSY and errors of drain: nothing has changed, the gate is open.
 * ret_start: for kv_quiesce_end().
 */
int kv_quiesce_begin(struct kv_space *space, uint64_t *ret_start);
/* Closes the gate only, however long it takes: for a device that is not there any more. */
void kv_quiesce_gate(struct kv_space *space, uint64_t *ret_start);
void kv_quiesce_end(struct kv_space *space, uint64_t start);
/*
 * The same, for as long as it takes: tries again after time-outs, waits for another quiescer.
 * max_timeouts: bound on the time-outs, 0: none. -EBUSY: a capture is open. -ENODEV: the device is
 * gone. Other errors: drain failed again and again; work may be in flight.
 */
int kv_quiesce_patiently(struct kv_space *space, uint32_t max_timeouts, uint64_t *ret_start);

/* ---- stats.c ---- */

/* Tells the sink about the process. Takes stats_lock. */
void kv_space_publish(struct kv_space *space);
/* One line for the operator, if somebody listens. No lock may be held. */
void kv_core_log(struct kv_core *core, int level, const char *topic, const char *format, ...)
	__attribute__((format(__printf__, 4, 5)));

/* ---- gpu_ops, counted ---- */

static inline void kv_gpu_count(struct kv_space *space)
{
	kv_rank_assert_gpu_call();
	kv_count(&space->driver_calls, 1);
}

static inline uint64_t kv_gpu_now(struct kv_space *space)
{
	return space->ops->now_ns(space->gpu);
}

static inline void kv_gpu_batch_begin(struct kv_space *space)
{
	if (space->ops->batch_begin)
		space->ops->batch_begin(space->gpu);
}

static inline void kv_gpu_batch_end(struct kv_space *space)
{
	if (space->ops->batch_end)
		space->ops->batch_end(space->gpu);
}

static inline int kv_gpu_memory_info(
	struct kv_space *space, uint64_t *ret_free, uint64_t *ret_total)
{
	kv_gpu_count(space);
	return space->ops->memory_info(space->gpu, ret_free, ret_total);
}

static inline int kv_gpu_range_reserve(
	struct kv_space *space, uint64_t size, uint64_t align, kv_gpu_addr *ret_addr)
{
	kv_gpu_count(space);
	return space->ops->range_reserve(space->gpu, size, align, ret_addr);
}

static inline int kv_gpu_range_free(struct kv_space *space, kv_gpu_addr addr, uint64_t size)
{
	kv_gpu_count(space);
	return space->ops->range_free(space->gpu, addr, size);
}

/* What it takes has been charged, or is no device memory. */
static inline int kv_gpu_handle_create_charged(struct kv_space *space, uint64_t size,
	enum kv_gpu_location where, kv_gpu_handle *ret_handle)
{
	kv_gpu_count(space);
	return space->ops->handle_create(space->gpu, size, where, ret_handle);
}

/* Device memory is charged before it is created. -ENOMEM: the driver or the ledger has none. */
static inline int kv_gpu_handle_create(struct kv_space *space, uint64_t size,
	enum kv_gpu_location where, kv_gpu_handle *ret_handle)
{
	const struct kv_ledger *ledger = &space->sink.ledger;
	bool charged = ledger->ops && where == KV_GPU_DEVICE;
	int error;

	if (charged && ledger->ops->charge(ledger->ctx, size) < 0) {
		kv_count(&space->denied, 1);
		return -ENOMEM;
	}
	error = kv_gpu_handle_create_charged(space, size, where, ret_handle);
	if (error < 0 && charged)
		ledger->ops->uncharge(ledger->ctx, size);
	return error;
}

static inline int kv_gpu_handle_release(struct kv_space *space, kv_gpu_handle handle)
{
	kv_gpu_count(space);
	return space->ops->handle_release(space->gpu, handle);
}

/* A handle of device memory of so many bytes, which were charged. */
static inline int kv_gpu_device_release(struct kv_space *space, kv_gpu_handle handle, uint64_t size)
{
	const struct kv_ledger *ledger = &space->sink.ledger;
	int error = kv_gpu_handle_release(space, handle);

	/* On an error the driver keeps the memory: it stays charged */
	if (error == 0 && ledger->ops)
		ledger->ops->uncharge(ledger->ctx, size);
	return error;
}

static inline int kv_gpu_map(
	struct kv_space *space, kv_gpu_addr addr, uint64_t size, kv_gpu_handle handle)
{
	kv_gpu_count(space);
	return space->ops->map(space->gpu, addr, size, handle);
}

static inline int kv_gpu_unmap(struct kv_space *space, kv_gpu_addr addr, uint64_t size)
{
	kv_gpu_count(space);
	return space->ops->unmap(space->gpu, addr, size);
}

static inline int kv_gpu_set_access(struct kv_space *space, kv_gpu_addr addr, uint64_t size)
{
	kv_gpu_count(space);
	return space->ops->set_access(space->gpu, addr, size);
}

static inline int kv_gpu_zero(struct kv_space *space, kv_gpu_addr addr, uint64_t size)
{
	kv_gpu_count(space);
	return space->ops->zero(space->gpu, addr, size);
}

static inline int kv_gpu_copy_out(
	struct kv_space *space, void *host, kv_gpu_addr addr, uint64_t size)
{
	kv_gpu_count(space);
	return space->ops->copy_out(space->gpu, host, addr, size);
}

static inline int kv_gpu_copy_in(
	struct kv_space *space, kv_gpu_addr addr, const void *host, uint64_t size)
{
	kv_gpu_count(space);
	return space->ops->copy_in(space->gpu, addr, host, size);
}

static inline int kv_gpu_flush(struct kv_space *space)
{
	kv_gpu_count(space);
	return space->ops->flush(space->gpu);
}

/*
 * Waits for what is under way before something is unmapped. queued: the caller has queued something
 * itself, or has just met a flush that failed. On an error the queue counts as stuck until the next
 * flush that succeeds.
 */
static inline int kv_gpu_quiet_queue(struct kv_space *space, bool queued)
{
	int error;

	if (!queued && !atomic_load_explicit(&space->queue_stuck, memory_order_relaxed))
		return 0;
	error = kv_gpu_flush(space);
	atomic_store_explicit(&space->queue_stuck, error < 0, memory_order_relaxed);
	return error;
}

static inline int kv_gpu_host_alloc(struct kv_space *space, uint64_t size, void **ret_host)
{
	kv_gpu_count(space);
	return space->ops->host_alloc(space->gpu, size, ret_host);
}

static inline int kv_gpu_host_free(struct kv_space *space, void *host)
{
	kv_gpu_count(space);
	return space->ops->host_free(space->gpu, host);
}

static inline int kv_gpu_drain(struct kv_space *space, uint64_t timeout_ns)
{
	kv_gpu_count(space);
	return space->ops->drain(space->gpu, timeout_ns);
}

#endif
