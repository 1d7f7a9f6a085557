/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_ledger_body.h - what the two halves of the ledger share: charges and waits
 * (coord_ledger.c), and promises (coord_promise.c). Private to them.
 */
#ifndef KV_CORE_COORD_LEDGER_BODY_H
#define KV_CORE_COORD_LEDGER_BODY_H

#include "core/coord_ledger.h"
#include "core/coord_private.h"
#include "core/coord_snapshot.h"

#define LOCK_NS 20000000ull    /* a page's patience with the segment's mutex */
#define BLIND_NS 1000000000ull /* without asking, after the mutex could not be had */
#define FRESH_NS 1000000000ull /* what was waited for is left to who waited, until it is used */

struct kv_coord_ledger {
	struct kv_coord_ledger_config config; /* immutable */
	pthread_mutex_t mutex;
	uint64_t used;    /* guarded by mutex; bytes of handles, also of those being made */
	uint64_t charged; /* guarded by mutex; the account's, which only we write */
	uint64_t waiting; /* guarded by mutex; bytes that this process's threads wait for */
	uint64_t aside;   /* guarded by mutex; of charged: for native memory that is being made */
	uint64_t fresh; /* guarded by mutex; of charged: was waited for, and is not used yet ... */
	uint64_t fresh_ns;       /* ... since this CLOCK_MONOTONIC */
	uint64_t no_grant_ns;    /* guarded by mutex; until then what is given is for all */
	uint64_t blind_until_ns; /* atomic: relaxed; until then nobody waits for the mutex */
	struct kv_coord_scratch scratch; /* guarded by the segment's mutex */
	uint64_t n_locks;                /* atomic: relaxed */
};

static inline struct kv_coord_account *account_of(struct kv_coord *coord)
{
	return &coord->file.segment->accounts[coord->index];
}

/*
 * Takes the segment's mutex within timeout_ns, or at once or not at all while it is known not to be
 * had: the waits of one call of the program, however many there are, do not add up. Errors of
 * kv_coord_lock_within().
 */
int kv_coord_ledger_lock(struct kv_coord *coord, uint64_t timeout_ns);
/* The same for what goes on alone after it: from then on it is known. */
int kv_coord_ledger_lock_or_go_blind(struct kv_coord *coord, uint64_t timeout_ns);

/* Of struct kv_ledger_ops (ledger.h). */
void kv_coord_ledger_seen(void *ctx, uint64_t free_bytes, uint64_t total_bytes);
int kv_coord_ledger_promise(void *ctx, uint64_t reserve, uint64_t native);
void kv_coord_ledger_unpromise(void *ctx, uint64_t bytes);
void kv_coord_ledger_promised(void *ctx, uint64_t bytes);

#endif
