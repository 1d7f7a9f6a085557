/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress.c - the test option that evicts everything at an interval: a task of the agent. (The
 * option that evicts before every n-th submission is part of the gate, in submit.c.)
 */
#include "hooks/call.h"
#include "hooks/device.h"

static _Atomic uint64_t next_ns[KV_DEVICES_MAX]; /* atomic: relaxed; by the device's agent only */

uint64_t kv_stress_task(void *ctx, uint64_t now_ns)
{
	struct kv_device *device = ctx;
	_Atomic uint64_t *next = &next_ns[device->ordinal];
	uint64_t interval_ns = kv_hooks.config.evict_interval_ms * 1000000ull;
	uint64_t due_ns = atomic_load_explicit(next, memory_order_relaxed);

	/* Others may poke the agent as often as they like. */
	if (now_ns < due_ns)
		return due_ns - now_ns;
	if (due_ns && kv_hooks_active() &&
		!atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		kv_evict(device->space, UINT64_MAX, NULL);
	atomic_store_explicit(next, now_ns + interval_ns, memory_order_relaxed);
	return interval_ns;
}
