/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backing.h - giving pages memory. Private to core. The mutex of the reservation is held by every
 * caller, and the caller is inside the gate: pages cannot be taken away meanwhile.
 */
#ifndef KV_CORE_BACKING_H
#define KV_CORE_BACKING_H

#include "core/reservation.h"

/*
 * Makes the pages [first, end) readable: EMPTY ones zeroed, EVICTED ones restored. Errors as
 * kv_touch(): complete runs before the failure stay backed, the rest is as it was. If others share
 * the device and it is full, the mutex is let go of while they are asked, and taken again.
 */
int kv_back(struct kv_reservation *r, uint64_t first, uint64_t end);
/* The same for several series of pages, in any order, with one flush for all. */
struct kv_series {
	uint64_t first, end;
};
int kv_back_series(struct kv_reservation *r, const struct kv_series *series, uint32_t n);
/* The same for pages that nobody needs yet, with memory that nobody will miss (kv_unneeded_take()):
 * nobody is asked or waited for, and nothing is spilled. -ENOMEM: there is none. */
int kv_back_unneeded(struct kv_reservation *r, const struct kv_series *series, uint32_t n);
/* The same for all pages, with one handle if r is static and nothing of it is mapped. */
int kv_back_whole(struct kv_reservation *r);
/* Notes that a submission took the slow path. */
void kv_back_count(struct kv_space *space);

#endif
