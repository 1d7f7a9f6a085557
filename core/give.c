/* SPDX-License-Identifier: Apache-2.0 */
/* give.c - giving device memory back because somebody asks for it; see ledger.h. */
#include "core/core.h"
#include "core/space.h"
#include "core/poison.h"

uint64_t kv_space_give_unused(struct kv_space *space, uint64_t bytes)
{
	uint64_t freed = kv_space_trim(space, bytes), got = 0, spare;

	/* What is dead or zero becomes spare handles, up to the number that is kept; what is above
	 * that went to the driver at once. */
	if (freed < bytes) {
		spare = kv_spare_bytes(space);
		if (kv_reap_spares(space, &got) < 0)
			got = 0;
		spare = kv_sub_sat(kv_spare_bytes(space), spare);
		freed = kv_add_sat(freed, kv_sub_sat(got, spare));
	}
	if (freed < bytes)
		freed = kv_add_sat(freed, kv_space_trim(space, bytes - freed));
	return freed;
}

uint64_t kv_space_give(struct kv_space *space, uint64_t bytes, bool busy_too)
{
	uint64_t freed = kv_space_give_unused(space, bytes), got = 0;

	/* Errors (the device is busy beyond the bound, a capture is open) are not told: the caller
	 * counts bytes, and asks again if they are too few. */
	if (freed < bytes && busy_too && kv_evict_beside_work(space, bytes - freed, &got) == 0)
		freed = kv_add_sat(freed, got);
	kv_count(&space->reclaims, 1);
	kv_count(&space->reclaimed_bytes, freed);
	return freed;
}
