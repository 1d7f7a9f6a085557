/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_grant.h - device memory that goes from who gives it straight to who waits for it. Private
 * to core/coord_*.c.
 *
 * Who asks leaves its bit in the account of who is to give. What that one gives up then does not
 * become free, so that a third could be charged with it, but becomes a grant of the account that
 * waits, in one critical section: first the giver's charge falls, then the grant rises. Whoever
 * dies between the two leaves memory that is free for all. The owner of a grant makes it part of
 * its charge when it looks next, in the same order.
 *
 * A grant ends: taken by its owner, with the account of a dead owner, with the wait (an account
 * that asks for nothing has none), or after KV_COORD_GRANT_NS, if its owner is stopped. As long as
 * it lasts it counts as charged.
 *
 * Everything here is called with the segment's mutex held.
 */
#ifndef KV_CORE_COORD_GRANT_H
#define KV_CORE_COORD_GRANT_H

#include "core/coord_private.h"

/* Notes that this process has asked the one of that slot to give. */
void kv_coord_grant_ask(struct kv_coord *coord, uint32_t slot);
/* True if somebody has asked this process and may be waiting still. Needs no mutex. */
bool kv_coord_grant_is_asked(const struct kv_coord *coord);
/*
 * Gives up to bytes of what this process is charged with to those who asked it and wait, who waits
 * longest first, no one more than it misses. The ledger's mutex is held as well. Returns how much:
 * so much less this process is charged with.
 */
uint64_t kv_coord_grant_give(struct kv_coord *coord, uint64_t bytes);
/*
 * Makes what was granted to this process part of its charge. The ledger's mutex is held as well.
 * Returns how much: so much more it is charged with.
 */
uint64_t kv_coord_grant_take(struct kv_coord *coord);
/* Ends the grant of an account that waits no more, or does not take it. account: a copy, which is
 * corrected. */
void kv_coord_grant_expire(struct kv_coord_segment *segment, uint32_t index, uint64_t now_ns,
	struct kv_coord_account *account);

#endif
