/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - who gets how much of a device, and who gives: a function of a snapshot.
 *
 * No lock, no clock, no allocation, no I/O: the same snapshot always gives the same answer. All
 * amounts in bytes of device memory for pages.
 *
 * Fair share: weighted max-min. What is there is poured out by weight, until each has what it wants
 * or its maximum; what one does not want goes to the others (work-conserving). Minima come first:
 * each process is given the smaller of its minimum and what it wants before anything is poured; if
 * the minima together exceed the device, they are poured out in the same way among themselves. Only
 * processes that submit work want anything: what an idle one holds is lent to it.
 *
 * Who gives, in this order:
 *   1. spare handles of others: nothing is lost, no gate is closed;
 *   2. pages whose content is never read again;
 *   3. idle processes, the longest idle first: one copy, and one back when they wake;
 *   4. busy processes above their fair share, the most above it first, never below it; only for one
 *      that is itself below its share, and not within residency_ns of having got their pages, so
 * that two busy processes do not take the same page from each other again and again. It follows
 * that of two busy processes at most one ever waits for the other's pages in use: who is above its
 * share asks only for what nobody uses. Waiting therefore has no cycles.
 */
#ifndef KV_CORE_POLICY_H
#define KV_CORE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define KV_POLICY_MAX 256u /* processes */
#define KV_POLICY_DECISIONS (4u * KV_POLICY_MAX + 1)
#define KV_POLICY_TEXT 96u

struct kv_policy_process {
	int32_t pid;     /* for the text only */
	bool busy;       /* submits work */
	bool silent;     /* has not answered an earlier request in time: not asked again */
	uint32_t weight; /* at least 1 */
	uint64_t held;   /* now */
	uint64_t wants;  /* held and what it asks for; at least held */
	uint64_t spare;  /* of held */
	uint64_t dead;   /* of held, beside spare */
	uint64_t pinned; /* of held, never given */
	uint64_t min;
	uint64_t max;
	uint64_t activity_ns; /* last submission */
	uint64_t resident_ns; /* last time that it waited for pages and got them */
};

struct kv_policy_snapshot {
	uint64_t capacity; /* of the device, for pages of all these processes */
	uint64_t now_ns;
	uint64_t residency_ns; /* least time that pages are kept once they were waited for */
	uint32_t n;            /* at most KV_POLICY_MAX */
	struct kv_policy_process processes[KV_POLICY_MAX];
};

/* Why (the numbers are those of enum kv_coord_reason). */
enum kv_policy_reason {
	KV_POLICY_SPARE = 0,
	KV_POLICY_DEAD = 1,
	KV_POLICY_IDLE = 2,
	KV_POLICY_SHARE = 3,
	KV_POLICY_LIMIT =
		4, /* the requester has reached its own maximum: victim is the requester */
	KV_POLICY_NOBODY = 5, /* the rest cannot be had: victim is the requester */
};

struct kv_policy_decision {
	uint32_t requester; /* index into processes */
	uint32_t victim;
	enum kv_policy_reason reason;
	uint64_t bytes;
	char text[KV_POLICY_TEXT]; /* one line, with its reasons */
};

/* The fair share of each process. shares: n numbers. */
void kv_policy_shares(const struct kv_policy_snapshot *snapshot, uint64_t *ret_shares);

/*
 * Bytes that the requester may have at once, of those that nobody holds: up to bytes, within its
 * maximum. The minima of others that are not used are not held back: they come first when asked
 * for.
 */
uint64_t kv_policy_grant(
	const struct kv_policy_snapshot *snapshot, uint32_t requester, uint64_t bytes);

/*
 * Who gives how much so that the requester can have bytes more than it holds, beyond what is free.
 * At most KV_POLICY_DECISIONS decisions; their victims' bytes add up to bytes at most; with LIMIT
 * and NOBODY among them the sum is bytes. No victim is asked for more than it has to give. Returns
 * how many.
 */
uint32_t kv_policy_decide(const struct kv_policy_snapshot *snapshot, uint32_t requester,
	uint64_t bytes, struct kv_policy_decision *ret_decisions);

/* What a process must give up on its own: what it holds above its maximum. */
uint64_t kv_policy_excess(const struct kv_policy_process *process);

#endif
