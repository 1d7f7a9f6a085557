/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead.c - growth ahead of the decode: a task of the agent backs the pages that planes are about
 * to reach, so that the thread that submits work finds them ready.
 *
 * One page for each plane and stream, when the next write but one may reach it. It is a spare page
 * like the one beyond a plane that has become shorter, and goes like that one if the write never
 * comes.
 */
#include "core/agent.h"
#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/planes.h"

#define PAGES_MAX 256u
/* While a capture is open nothing is done beside it. */
#define CAPTURE_NS 10000000ull

static _Atomic uint64_t seen[KV_DEVICES_MAX]; /* atomic: relaxed; by the device's agent only */

/* Those of the pages that lie in r; the others stay in the list. */
static uint32_t take(
	struct kv_reservation *r, uint64_t *pages, uint32_t *n, struct kv_range *ranges)
{
	uint64_t base = kv_reservation_base(r), size = kv_reservation_reserved(r);
	uint32_t taken = 0, left = 0;

	for (uint32_t i = 0; i < *n; i++) {
		if (pages[i] - base < size)
			ranges[taken++] = (struct kv_range){pages[i] - base, 1};
		else
			pages[left++] = pages[i];
	}
	*n = left;
	return taken;
}

uint64_t kv_ahead_task(void *ctx, uint64_t now_ns)
{
	struct kv_device *device = ctx;
	_Atomic uint64_t *before = &seen[device->ordinal];
	struct kv_range ranges[PAGES_MAX];
	uint64_t pages[PAGES_MAX], near = kv_planes_near();
	struct kv_reservation *r;
	uint32_t n, n_ranges;

	(void)now_ns;
	if (near == atomic_load_explicit(before, memory_order_relaxed) || !kv_hooks_active())
		return KV_AGENT_NEVER;
	if (atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		return CAPTURE_NS;
	atomic_store_explicit(before, near, memory_order_relaxed);
	while ((n = kv_planes_ahead(device->space, pages, PAGES_MAX))) {
		while (n) {
			r = kv_core_find(kv_hooks.core, pages[0]);
			n_ranges = r ? take(r, pages, &n, ranges) : 0;
			if (!n_ranges) /* beyond the end of its allocation, or freed */
				pages[0] = pages[--n];
			/* There is none to spare: whoever needs it will say so. */
			else if (kv_touch_ahead(device->space, r, ranges, n_ranges) < 0)
				return KV_AGENT_NEVER;
		}
	}
	return KV_AGENT_NEVER;
}
