/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_ledger.h - the ledger of a device over its shared segment (the functions of ledger.h).
 *
 * What a process may hold stands in its account as charged. It is raised under the segment's mutex
 * only, when it fits what the device has, and by more than is needed at once: the surplus is a
 * lease, from which the next charges are paid with this process's memory alone. Going down needs no
 * mutex, since nobody else writes this account. While somebody waits, leases are given back at
 * once.
 *
 *   sum of charged + native + outside <= device     whenever something is granted
 *
 * outside is what the driver says is used and no account explains; natives cannot be stopped from
 * here, so they count as they come. What is given back because somebody asked for it is not free in
 * between: it is granted to that one (coord_grant.h), and counts as charged.
 *
 * Bounds. A charge waits for the segment's mutex for LOCK_NS at most. A wait takes wait_ns at most,
 * and LOCK_NS more, a promise the time that was given when joining. If the mutex cannot be had for
 * the length of a wait or of a promise (its holder is stopped), nothing waits for it for a second:
 * pages are taken without asking, within the maximum, promises are made alone. What is taken then
 * is charged as soon as the mutex is free: by the next charge, or by kv_coord_ledger_catch_up().
 * The driver refuses what the device does not have, so the sum of what is held has its bound all
 * the while.
 *
 * Locks: the ledger's own mutex comes after every lock of core (a leaf there), and before the
 * segment's.
 */
#ifndef KV_CORE_COORD_LEDGER_H
#define KV_CORE_COORD_LEDGER_H

#include "core/coord.h"
#include "core/ledger.h"

struct kv_coord_ledger;

struct kv_coord_ledger_config {
	uint64_t wait_ns;      /* bound on one wait for others; 0: never wait */
	uint64_t residency_ns; /* pages that were waited for are kept at least so long */
	uint64_t lease_bytes;  /* charged ahead */
	uint64_t host_budget;  /* what backs promises beyond the device */
	uint64_t overcommit;   /* what may be promised beyond both */
	/* One line per decision of the policy; may be NULL. No lock is held. */
	void (*log)(void *ctx, const char *text);
	void *log_ctx;
};

/*
 * The ledger of a slot that was joined; stays with it for good, also after leaving (then everything
 * is granted). Once per coord. -ENOMEM.
 */
int kv_coord_ledger_new(struct kv_coord *coord, const struct kv_coord_ledger_config *config,
	struct kv_ledger *ret_ledger);
/* Gives the lease back; what is held stays charged. For the agent, when others ask. No lock of
 * core. */
void kv_coord_ledger_settle(struct kv_coord *coord);
/*
 * What was taken while the mutex was not to be had, and still is held, is charged now, as far as
 * the others leave room for it: what they have in hand comes first. For the agent, in each of its
 * turns. Costs nothing when there is nothing. Returns the bytes that are still not charged.
 */
uint64_t kv_coord_ledger_catch_up(struct kv_coord *coord);
/* Bytes that this process holds above its maximum now: for its agent to give up. */
uint64_t kv_coord_ledger_excess(struct kv_coord *coord);
/*
 * Bytes of device memory that this process could have for pages beyond what it holds, if it asked
 * now: what is free, what idle ones and spares would give, within its maximum. For cuMemGetInfo.
 * -EAGAIN: cannot be told now.
 */
int kv_coord_ledger_could_get(struct kv_coord *coord, uint64_t *ret_bytes);
/* Its host budget has changed (kvshim limit). */
void kv_coord_ledger_set_host_budget(struct kv_coord *coord, uint64_t bytes);

/* For tests: how often the segment's mutex was taken to charge. */
uint64_t kv_coord_ledger_n_locks(const struct kv_coord *coord);

#endif
