/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - what core has counted, copied out and told to the sink.
 */
#include "core/stats.h"

#include <string.h>

#include "core/coord_shm.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

#define SCORE_BIAS 1000

void kv_core_count_launch(struct kv_core *core, uint64_t ns)
{
	unsigned bucket = 63u - (unsigned)__builtin_clzll(ns | 1);

	if (bucket >= KV_STATS_BUCKETS)
		bucket = KV_STATS_BUCKETS - 1;
	atomic_fetch_add_explicit(&core->launch_ns[bucket], 1, memory_order_relaxed);
}

void kv_space_stats(const struct kv_space *space, struct kv_process_stats *ret_stats)
{
	/* The lock of the spares is the only part of the space that this writes to. */
	struct kv_space *s = (struct kv_space *)space;
	struct kv_process_stats stats = {
		.reserved = kv_counted(&s->reserved),
		.backed = kv_counted(&s->backed),
		.evicted = kv_counted(&s->evicted),
		.spilled = kv_counted(&s->spilled),
		.spare = kv_spare_bytes(s),
		.native = kv_counted(&s->native),
		.native_peak = kv_counted(&s->native_peak),
		.host_budget = s->core->config.host_budget,
		.n_reservations = kv_counted(&s->n_reservations),
		.n_static = kv_counted(&s->n_static),
		.pages_backed = kv_counted(&s->pages_backed),
		.pages_released = kv_counted(&s->pages_released),
		.pages_evicted = kv_counted(&s->pages_evicted),
		.pages_not_copied = kv_counted(&s->pages_not_copied),
		.pages_restored = kv_counted(&s->pages_restored),
		.pages_spilled = kv_counted(&s->pages_spilled),
		.driver_calls = kv_counted(&s->driver_calls),
		.submissions = kv_counted(&s->submissions),
		.quiesces = kv_counted(&s->quiesces),
		.quiesce_timeouts = kv_counted(&s->quiesce_timeouts),
		.quiesce_ns_max = kv_counted(&s->quiesce_ns_max),
		.refused = kv_counted(&s->refused),
		.passed = kv_counted(&s->passed),
		.last_submission_ns = kv_counted(&s->last_submission_ns),
		.host_taken = kv_counted(&s->host_taken),
		.denied = kv_counted(&s->denied),
		.waits = kv_counted(&s->waits),
		.wait_timeouts = kv_counted(&s->wait_timeouts),
		.waits_crossed = kv_counted(&s->waits_crossed),
		.wait_ns = kv_counted(&s->wait_ns),
		.wait_ns_max = kv_counted(&s->wait_ns_max),
		.last_activity_ns = kv_counted(&s->idle.last_ns),
		.submitted = kv_counted(&s->idle.submitted),
		.launches = kv_gate_launches(&s->core->hot.gate),
		.launch_sample = KV_LAUNCH_SAMPLE,
		.evictions = kv_counted(&s->evictions),
		.evicted_bytes = kv_counted(&s->evicted_bytes),
		.evict_ns = kv_counted(&s->evict_ns),
		.restores = kv_counted(&s->restores),
		.restored_bytes = kv_counted(&s->restored_bytes),
		.restore_ns = kv_counted(&s->restore_ns),
		.pages_promoted = kv_counted(&s->pages_promoted),
		.pages_ahead = kv_counted(&s->pages_ahead),
		.pages_ahead_used = kv_counted(&s->pages_ahead_used),
		.reclaims = kv_counted(&s->reclaims),
		.reclaimed_bytes = kv_counted(&s->reclaimed_bytes),
	};

	for (unsigned i = 0; i < KV_STATS_BUCKETS; i++)
		stats.wait_hist[i] = atomic_load_explicit(&s->wait_hist[i], memory_order_relaxed);
	for (unsigned i = 0; i < KV_STATS_BUCKETS; i++)
		stats.launch_ns[i] =
			atomic_load_explicit(&s->core->launch_ns[i], memory_order_relaxed);
	kv_count_max(&s->backed_peak, stats.backed);
	stats.backed_peak = kv_counted(&s->backed_peak);
	*ret_stats = stats;
}

void kv_space_limits(const struct kv_space *space, struct kv_coord_limits *ret_limits)
{
	const struct kv_core_config *config = &space->core->config;

	if (space->sink.limits && space->sink.limits(space->sink.ctx, ret_limits) == 0)
		return;
	*ret_limits = (struct kv_coord_limits){
		.max = KV_COORD_NO_LIMIT,
		.host_budget = config->host_budget,
		.weight = KV_COORD_WEIGHT,
		.idle_ms = (uint32_t)(config->idle_ns / 1000000),
	};
}

uint32_t kv_space_activity(const struct kv_space *space)
{
	return atomic_load_explicit(&space->idle.activity, memory_order_relaxed);
}

void kv_space_publish(struct kv_space *space)
{
	struct kv_process_stats stats;

	kv_count_max(&space->backed_peak, kv_counted(&space->backed));
	if (!space->sink.process)
		return;
	/* Read under the lock, so that the sink never goes back in time; its rank is above that of
	 * the spares, which is why their number is read before. */
	kv_space_stats(space, &stats);
	kv_lock_take(&space->stats_lock);
	space->sink.process(space->sink.ctx, &stats);
	kv_lock_drop(&space->stats_lock);
}

/* In 1/255, rounded up. */
static uint8_t share_of(uint64_t n, uint64_t all)
{
	return all ? (uint8_t)((n * 255 + all - 1) / all) : 0;
}

/* r is locked. */
static void describe_map(const struct kv_reservation *r, struct kv_page_cell *map)
{
	for (uint64_t c = 0; c < KV_STATS_CELLS; c++) {
		uint64_t first = c * r->n_pages / KV_STATS_CELLS;
		uint64_t all = (c + 1) * r->n_pages / KV_STATS_CELLS - first;
		const uint32_t *n = r->cells[c];

		if (!(n[0] | n[1] | n[2]))
			continue;
		map[c].backed = share_of(n[0], all);
		map[c].evicted = share_of(n[1], all);
		map[c].spilled = share_of(n[2], all);
	}
}

/* Fills stats; r is locked. Returns the version that this is. */
static uint32_t describe(struct kv_reservation *r, struct kv_reservation_stats *stats)
{
	uint64_t page_size = r->page_size;

	memset(stats, 0, sizeof(*stats));
	stats->base = kv_reservation_base(r);
	if (stats->base == 0)
		return r->version;
	stats->requested = kv_reservation_requested(r);
	stats->reserved = kv_reservation_reserved(r);
	stats->backed = r->n_in_state[KV_PAGE_BACKED] * page_size;
	stats->backed_peak = r->backed_peak;
	stats->evicted = r->n_in_state[KV_PAGE_EVICTED] * page_size;
	stats->spilled = r->n_in_state[KV_PAGE_SPILLED] * page_size;
	stats->page_size = page_size;
	for (int i = 0; i < 5; i++)
		stats->pages[i] = (uint32_t)r->n_in_state[i];
	stats->static_reason = atomic_load_explicit(&r->static_reason, memory_order_acquire);
	stats->score = (uint32_t)(r->score + SCORE_BIAS);
	stats->created_ns = r->created_ns;
	memcpy(stats->static_by, r->static_by, sizeof(stats->static_by));
	memcpy(stats->tag, r->tag, sizeof(stats->tag));
	memcpy(stats->rules, r->rules, sizeof(stats->rules));
	describe_map(r, stats->map);
	return r->version;
}

void kv_reservation_stats(struct kv_reservation *r, struct kv_reservation_stats *ret_stats)
{
	kv_lock_take(&r->lock);
	describe(r, ret_stats);
	kv_lock_drop(&r->lock);
}

void kv_reservation_publish(struct kv_reservation *r)
{
	struct kv_space *space = kv_reservation_space_of(r);
	struct kv_reservation_stats stats;
	uint32_t row, version;

	if (!space->sink.reservation)
		return;
	kv_lock_take(&r->lock);
	version = describe(r, &stats);
	row = r->row;
	kv_lock_drop(&r->lock);
	kv_lock_take(&space->stats_lock);
	/* Two threads may arrive here in the other order; the older story is not told any more. */
	if ((int32_t)(version - r->published) >= 0) {
		r->published = version;
		space->sink.reservation(space->sink.ctx, row, &stats);
	}
	kv_lock_drop(&space->stats_lock);
}

void kv_space_native(struct kv_space *space, int64_t delta)
{
	uint64_t now;

	now = atomic_fetch_add_explicit(&space->native, (uint64_t)delta, memory_order_relaxed) +
	      (uint64_t)delta;
	if (delta > 0)
		kv_count_max(&space->native_peak, now);
	kv_space_publish(space);
}

void kv_space_count_passed(struct kv_space *space)
{
	kv_count(&space->passed, 1);
}
