/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_snapshot.h - what the policy is told of a segment, and the turns of one who waits. Private
 * to core/coord_*.c.
 */
#ifndef KV_CORE_COORD_SNAPSHOT_H
#define KV_CORE_COORD_SNAPSHOT_H

#include "core/coord_private.h"
#include "core/policy.h"

struct kv_coord_snapshot {
	struct kv_policy_snapshot policy;
	uint64_t charged;              /* by all */
	uint32_t me;                   /* index of this process in policy.processes */
	bool waits[KV_POLICY_MAX];     /* each of them, for memory of this or of another device */
	uint32_t slots[KV_POLICY_MAX]; /* of each of them */
};

/* Locked. asks: what this process wants beyond what is charged. silent_ns: a request that is not
 * answered for so long makes its process silent. */
void kv_coord_snapshot(struct kv_coord *coord, uint64_t asks, uint64_t residency_ns,
	uint64_t silent_ns, struct kv_coord_snapshot *ret_snapshot);

/* Room for one decision; used with the segment's mutex held. Too large for somebody else's stack.
 */
struct kv_coord_scratch {
	struct kv_coord_snapshot snapshot;
	struct kv_policy_decision decisions[KV_POLICY_DECISIONS];
};

/* One wait for device memory, in turns. */
struct kv_coord_wait {
	struct kv_coord *coord;
	struct kv_coord_scratch *scratch;
	uint64_t bytes;
	uint64_t lock_ns; /* patience of a turn with the mutex; 0: one look, and no other turn
			     without it */
	uint64_t deadline_ns;
	uint64_t residency_ns;
	uint64_t silent_ns;
	bool descends; /* nobody is counted on who waits; may change between turns */

	bool locked_once; /* out: the mutex could be had */
	char line[200];   /* out: the last decision that is new; "" none */
	/* between turns */
	uint64_t swept_ns;
	uint32_t freed; /* value of the futex word before the decision */
	uint32_t ring[KV_COORD_SLOTS];
	uint32_t n_ring;
	uint8_t n_asked[KV_COORD_SLOTS]; /* how often */
};

/*
 * Looks whether bytes can be had, and asks those whom the policy names. 0: they can be charged for;
 * -EAGAIN: asked, sleep and look again; -ENOMEM: nobody can give so much; -EDEADLK: nobody who does
 * not wait; -ETIMEDOUT: the deadline has passed. *ret_grant, whatever came of it: so many bytes
 * were charged to the account beyond what it had. The ledger's mutex is held, so that nothing else
 * of this process changes its charge.
 */
int kv_coord_wait_look(struct kv_coord_wait *wait, uint64_t *ret_grant);
/* Rings those who were asked, and sleeps until something is freed, a moment has passed or the
 * deadline is there. No lock is held. */
void kv_coord_wait_sleep(struct kv_coord_wait *wait);

#endif
