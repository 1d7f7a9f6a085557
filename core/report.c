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

/* What could be had now, for pages and for anything else. */
static uint64_t could_get(struct kv_space *space, uint64_t driver_free, uint64_t driver_total)
{
	const struct kv_ledger *ledger = &space->sink.ledger;
	uint64_t could = driver_free;

	/* With others on the device: also what they would give, within this process's maximum. */
	if (ledger->ops && ledger->ops->could_get) {
		ledger->ops->seen(ledger->ctx, driver_free, driver_total);
		if (ledger->ops->could_get(ledger->ctx, &could) < 0)
			could = driver_free;
	}
	/* What is kept for reuse is at hand, what reservations were promised is not. */
	return kv_sub_sat(kv_add_sat(could, kv_spare_bytes(space)), kv_space_unbacked(space));
}

uint64_t kv_space_report(struct kv_space *space, uint64_t driver_free, uint64_t driver_total)
{
	uint64_t now_ns = kv_gpu_now(space), bytes = could_get(space, driver_free, driver_total);
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
