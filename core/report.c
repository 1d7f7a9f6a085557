/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - how much memory a process is told that it could get; see kv_space_report().
 */
#include "core/report.h"

#include "core/space.h"
#include "core/poison.h"

/* Engines measure by asking before and after; whoever asks after a longer time sizes something
 * anew. */
#define WINDOW_NS (60 * 1000000000ull)

uint64_t kv_space_report(struct kv_space *space, uint64_t driver_free, uint64_t driver_total)
{
	uint64_t now_ns = kv_gpu_now(space);
	/* What is kept for reuse is at hand, what reservations were promised is not. */
	uint64_t bytes = kv_sub_sat(
		kv_space_could_get(space, driver_free, driver_total), kv_space_unbacked(space));
	uint64_t own = kv_add_sat(kv_counted(&space->reserved), kv_counted(&space->native));
	struct kv_report *last = &space->report;

	kv_lock_take(&space->lock);
	if (last->asked && kv_sub_sat(now_ns, last->asked_ns) < WINDOW_NS) {
		uint64_t highest = kv_add_sat(last->bytes, kv_sub_sat(last->own, own));

		if (bytes > highest)
			bytes = highest;
	}
	*last = (struct kv_report){.asked = true, .asked_ns = now_ns, .bytes = bytes, .own = own};
	kv_lock_drop(&space->lock);
	return bytes;
}
