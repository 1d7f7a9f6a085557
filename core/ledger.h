/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger.h - who may hold how much of a device that several processes share: what core asks.
 *
 * A table of functions, so that core knows no shared memory: core/coord_ledger.c implements it over
 * the segment, unit tests over a few numbers. A space without one is alone on its device, as far as
 * it knows, and asks the driver only.
 *
 * Bytes are device bytes of physical handles (pages that are backed, and spare ones): charged
 * before the driver is asked to create one, given back after it has released it. Functions may be
 * called with the mutex of one reservation held, except where it says otherwise; none calls the
 * driver.
 */
#ifndef KV_CORE_LEDGER_H
#define KV_CORE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

struct kv_space;

struct kv_ledger_wait {
	uint64_t bytes;
	uint64_t start_ns; /* CLOCK_MONOTONIC */
	/* Asked in each turn, no lock is held; NULL: never. True: nobody is waited for who waits.
	 */
	bool (*descends)(const void *arg);
	const void *arg;
};

struct kv_ledger_ops {
	/* 0, or -ENOMEM: not now. Waits for nobody, but for the ledger's own mutex at most some
	 * milliseconds. Most charges touch this process's memory only. */
	int (*charge)(void *ctx, uint64_t bytes);
	void (*uncharge)(void *ctx, uint64_t bytes);
	/*
	 * May be NULL. Charges bytes (0: only looks) for pages that nobody needs yet, if nobody
	 * will miss them: no process waits for memory, and keep bytes of the device stay with
	 * nobody afterwards. -ENOMEM: not now. Asks nobody.
	 */
	int (*charge_unneeded)(void *ctx, uint64_t bytes, uint64_t keep);
	/*
	 * Asks others to give, and waits until bytes can be charged or start_ns lies further back
	 * than the bound. No lock may be held. 0: try again; -ENOMEM: nobody can give so much now,
	 * do without; -EDEADLK: the same, but somebody could who is waiting as well (waiting.c).
	 * What has come until then can be charged in any case.
	 */
	int (*wait)(void *ctx, const struct kv_ledger_wait *wait);
	/* May be NULL. n threads more (or less) wait for memory of another device with the gate
	 * entered. */
	void (*elsewhere)(void *ctx, int n);
	/* What the driver says of the whole device, to learn what is used by those who keep no
	 * account.
	 */
	void (*seen)(void *ctx, uint64_t free_bytes, uint64_t total_bytes);
	/*
	 * May reserve bytes of address space be promised, or native bytes be taken, so that all
	 * promises on the device still hold? If so the promise is noted. -ENOMEM: no. -EAGAIN: the
	 * ledger cannot be asked now: decide alone.
	 */
	int (*promise)(void *ctx, uint64_t reserve, uint64_t native);
	void (*unpromise)(void *ctx, uint64_t bytes);
	/* May be NULL. What was promised alone, after -EAGAIN: noted for those who ask later. Waits
	 * for nobody. */
	void (*promised)(void *ctx, uint64_t bytes);
	/*
	 * May be NULL. What was granted and is not held goes back, but for keep bytes of it, which
	 * are put aside for native memory that is about to be made: for no page of this process,
	 * and for nobody else, until put_aside() is called with the same number of bytes less than
	 * nothing. Calls add up. No lock may be held.
	 */
	void (*put_aside)(void *ctx, int64_t keep);
	/* Bytes that this process could be charged with in addition, after others were asked and
	 * within its own maximum. May be NULL. -EAGAIN: it cannot be told now. No lock may be held.
	 */
	int (*could_get)(void *ctx, uint64_t *ret_bytes);
	/* All handles are gone without a release each: the device was reset. */
	void (*forget)(void *ctx);
};

struct kv_ledger {
	const struct kv_ledger_ops *ops; /* NULL: none */
	void *ctx;
	uint8_t order[16]; /* of the device among all devices, the same for all processes */
};

/*
 * [outside] What others have asked of this process and what its limits demand now: spare handles,
 * dead pages, then eviction. bytes: to free, UINT64_MAX: all. busy_too: also pages of work that
 * goes on, by quiescing. Returns the bytes of device memory that went back to the driver. For the
 * agent.
 */
uint64_t kv_space_give(struct kv_space *space, uint64_t bytes, bool busy_too);
/* [outside] The first part of it: spare handles; then, which takes a drain, dead pages and those
 * that are only kept or came ahead. */
uint64_t kv_space_give_unused(struct kv_space *space, uint64_t bytes);

#endif
