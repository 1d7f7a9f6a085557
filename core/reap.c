/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reap.c - when pages that nobody will miss go: soon after they have been marked, by the agent.
 *
 * Marks come in bursts, one for each plane of a cache, so that it waits a little for the rest of a
 * burst, and longer between two reaps: each closes the gate until what is in flight is done. Work
 * that does not finish in time and open captures are tried again; all in all within a second after
 * the device could be drained.
 */
#include "core/agent.h"
#include "core/space.h"
#include "core/poison.h"

#define BURST_NS 50000000ull
#define PAUSE_NS 250000000ull
#define RETRY_NS 50000000ull

uint64_t kv_reap_task(void *ctx, uint64_t now_ns)
{
	struct kv_space *space = ctx;
	struct kv_reap_state *state = &space->reap;
	uint64_t due_ns;

	if (!atomic_load(&space->marked)) {
		state->seen_ns = 0;
		return KV_AGENT_NEVER;
	}
	if (!state->seen_ns)
		state->seen_ns = now_ns;
	due_ns = state->seen_ns + BURST_NS;
	if (state->last_ns && due_ns < state->last_ns + PAUSE_NS)
		due_ns = state->last_ns + PAUSE_NS;
	if (now_ns < due_ns)
		return due_ns - now_ns;
	if (kv_reap(space, NULL) < 0)
		return RETRY_NS;
	state->last_ns = now_ns;
	state->seen_ns = 0;
	/* Some were marked meanwhile, or could not go for an error. */
	return atomic_load(&space->marked) ? PAUSE_NS : KV_AGENT_NEVER;
}
