/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead.c - pages that get their memory before a submission needs it.
 *
 * They are spare from the start: zero, so that nobody misses one that goes again.
 */
#include "core/backing.h"
#include "core/page.h"
#include "core/space.h"
#include "core/poison.h"

#define SERIES_MAX 256u

/* [lock] The EMPTY pages among those that the ranges touch, one series for each. */
static uint32_t collect(struct kv_reservation *r, const struct kv_range *ranges, uint32_t n_ranges,
	struct kv_series *series)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_ranges; i++) {
		uint64_t last = kv_add_sat(ranges[i].offset, ranges[i].length) - 1;

		for (uint64_t p = ranges[i].offset / r->page_size;
			ranges[i].length && p < r->n_pages && p <= last / r->page_size; p++) {
			if (n < SERIES_MAX && r->pages[p].state == KV_PAGE_EMPTY)
				series[n++] = (struct kv_series){p, p + 1};
		}
	}
	return n;
}

int kv_touch_ahead(struct kv_space *space, struct kv_reservation *r, const struct kv_range *ranges,
	uint32_t n_ranges)
{
	struct kv_gate *gate = &space->core->hot.gate;
	struct kv_series series[SERIES_MAX];
	uint64_t done = 0;
	uint32_t n = 0;
	int error = 0;

	kv_gate_enter(gate, space->agent_slot);
	kv_reservation_lock(r);
	if (kv_reservation_is_live(r) && kv_reservation_space_of(r) == space &&
		!kv_reservation_is_static(r) && !r->wants &&
		!atomic_load_explicit(&r->paused, memory_order_relaxed))
		n = collect(r, ranges, n_ranges, series);
	if (n)
		error = kv_back_unneeded(r, series, n);
	for (uint32_t i = 0; i < n; i++) {
		struct kv_page *page = &r->pages[series[i].first];

		if (!kv_page_is_ready(page) || (page->flags & KV_PAGE_AHEAD))
			continue;
		page->flags |= KV_PAGE_SPARE | KV_PAGE_AHEAD;
		done++;
	}
	kv_reservation_unlock(r);
	if (done) {
		kv_count(&space->pages_ahead, done);
		kv_space_linger(space);
	}
	/* It is no work of the program's: an idle process stays idle. */
	kv_gate_leave_uncounted(gate, space->agent_slot);
	if (done)
		kv_space_publish(space);
	return error;
}
