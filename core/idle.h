/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle.h - is this process at work? What a space knows about it. Private to core.
 *
 * Only the space's agent writes here, but for wanted_ns. Nothing on the launch path takes part: the
 * gate counts who passes anyway, and the agent reads its count.
 */
#ifndef KV_CORE_IDLE_H
#define KV_CORE_IDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct kv_space;

struct kv_idle {
	_Atomic uint64_t wanted_ns; /* evict after so long without a submission, 0: never; atomic:
				       relaxed */
	_Atomic uint64_t submitted; /* as last seen; atomic: relaxed, for the statistics */
	_Atomic uint64_t last_ns;   /* when that last changed; atomic: relaxed */
	_Atomic uint32_t activity;  /* enum kv_coord_activity; atomic: relaxed */
	uint64_t first_passes;      /* of the gate, before this space */
	uint64_t published_ns;
	uint64_t published_submitted;
	uint64_t retry_ns; /* an eviction was refused: not again before */
};

/* The agent's task; ctx: the space. */
uint64_t kv_idle_task(void *ctx, uint64_t now_ns);

#endif
