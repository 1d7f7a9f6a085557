/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reap.c - when pages that nobody will miss go: soon after they have been marked, by the agent.
 *
 * Marks come in bursts, one for each plane of a cache, so that it waits a little for the rest of a
 * burst, and longer between two reaps: each closes the gate until what is in flight is done. Work
 * that does not finish in time and open captures are tried again; all in all within a second after
 * the device could be drained.
 *
 * Spare pages grow old in two steps, half of linger_ns each, and then are marked like the others.
 */
#include "core/agent.h"
#include "core/page.h"
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

/* Spare pages of r that are old are marked for the next reap, the others grow old. ret_marked,
 * ret_left: how many of either. */
static void age_pages(struct kv_reservation *r, uint64_t *ret_marked, uint64_t *ret_left)
{
	kv_lock_take(&r->lock);
	for (uint64_t i = 0; kv_reservation_is_live(r) && i < r->n_pages; i++) {
		struct kv_page *page = &r->pages[i];

		if (!(page->flags & KV_PAGE_SPARE))
			continue;
		if (kv_page_is_ready(page) && (page->flags & KV_PAGE_OLD)) {
			page->flags &= ~(KV_PAGE_SPARE | KV_PAGE_OLD | KV_PAGE_AHEAD);
			page->flags |= KV_PAGE_DEAD;
			++*ret_marked;
		} else {
			page->flags |= KV_PAGE_OLD;
			++*ret_left;
		}
	}
	kv_lock_drop(&r->lock);
}

uint64_t kv_linger_task(void *ctx, uint64_t now_ns)
{
	struct kv_space *space = ctx;
	struct kv_reap_state *state = &space->reap;
	uint64_t half_ns = space->core->config.linger_ns / 2, marked = 0, left = 0, base = 0;
	struct kv_reservation *r;

	if (!half_ns || !atomic_load(&space->lingering)) {
		state->aged_ns = 0;
		return KV_AGENT_NEVER;
	}
	if (!state->aged_ns)
		state->aged_ns = now_ns;
	if (now_ns - state->aged_ns < half_ns)
		return state->aged_ns + half_ns - now_ns;
	state->aged_ns = now_ns;
	atomic_store(&space->lingering, false);
	while ((r = kv_table_next(&space->core->table, base, &base))) {
		if (kv_reservation_space_of(r) == space)
			age_pages(r, &marked, &left);
	}
	if (left)
		atomic_store(&space->lingering, true);
	if (marked)
		kv_space_mark(space);
	return left ? half_ns : KV_AGENT_NEVER;
}
