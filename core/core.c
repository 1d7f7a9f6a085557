/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.c - the life of the core and its spaces, and what walks all reservations.
 */
#include "core/core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/agent.h"
#include "core/backing.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

/* Drains that may time out before a space is dropped without returning its memory to the driver. */
#define DROP_TRIES 40

#ifdef KV_DEBUG_CHECKS
__thread uint32_t kv_ranks_held __attribute__((tls_model("initial-exec")));
#endif

int kv_core_new(const struct kv_core_config *config, struct kv_core **ret_core)
{
	struct kv_core *core = NULL;

	/* Aligned to the cache lines of the gate. */
	if (posix_memalign((void **)&core, _Alignof(struct kv_core), sizeof(*core)))
		return -ENOMEM;
	core->hot.grains = calloc(KV_GRAINS_BOTH, sizeof(*core->hot.grains));
	if (!core->hot.grains) {
		free(core);
		return -ENOMEM;
	}
	core->config = *config;
	core->recycled = NULL;
	core->objects = NULL;
	atomic_init(&core->spaces, NULL);
	for (unsigned i = 0; i < KV_STATS_BUCKETS; i++)
		atomic_init(&core->launch_ns[i], 0);
	atomic_init(&core->hot.n_live, 0);
	atomic_init(&core->hot.n_unsettled, 0);
	atomic_init(&core->hot.revision, 0);
	atomic_init(&core->hot.lo, 0);
	atomic_init(&core->hot.hi, 0);
	kv_gate_init(&core->hot.gate);
	kv_table_init(&core->table, &core->hot);
	*ret_core = core;
	return 0;
}

void kv_core_free(struct kv_core *core)
{
	struct kv_reservation *r;
	struct kv_space *space;

	if (!core)
		return;
	for (space = kv_space_first(core); space; space = space->next)
		kv_agent_free(space->agent);
	while ((r = core->objects)) {
		core->objects = r->next_object;
		kv_lock_destroy(&r->lock);
		free(r->pages);
		free(r);
	}
	while ((space = kv_space_first(core))) {
		atomic_store(&core->spaces, space->next);
		kv_store_destroy(&space->store);
		kv_lock_destroy(&space->lock);
		kv_lock_destroy(&space->stats_lock);
		free(space);
	}
	kv_lock_destroy(&core->table.lock);
	free(core->hot.grains);
	free(core);
}

uint32_t kv_core_thread_slot(struct kv_core *core)
{
	uint32_t slot = kv_gate_slot_new(&core->hot.gate);

	kv_waiting_thread(core, slot);
	return slot;
}

int kv_space_new(struct kv_core *core, const struct kv_gpu_ops *ops, void *gpu,
	uint64_t granularity, const struct kv_stats_sink *sink, struct kv_space **ret_space)
{
	uint64_t page_size = core->config.page_size ? core->config.page_size : granularity;
	struct kv_space *space;

	if (granularity == 0 || (granularity & (granularity - 1)) || page_size % granularity)
		return -EINVAL;
	space = calloc(1, sizeof(*space));
	if (!space)
		return -ENOMEM;
	space->core = core;
	space->ops = ops;
	space->gpu = gpu;
	space->page_size = page_size;
	space->granularity = granularity;
	if (sink)
		space->sink = *sink;
	if (kv_store_init(&space->store, page_size, core->config.spare_bytes) < 0)
		goto no_store;
	if (kv_agent_new(&space->agent) < 0)
		goto no_agent;
	space->agent_slot = kv_gate_slot_new(&core->hot.gate);
	space->idle.first_passes = kv_gate_passes(&core->hot.gate);
	atomic_init(&space->idle.wanted_ns, core->config.idle_ns);
	kv_lock_init(&space->lock, KV_RANK_SPACE);
	kv_lock_init(&space->stats_lock, KV_RANK_STATS);

	space->next = kv_space_first(core);
	while (!atomic_compare_exchange_weak_explicit(
		&core->spaces, &space->next, space, memory_order_release, memory_order_acquire))
		;
	*ret_space = space;
	return 0;

no_agent:
	kv_store_destroy(&space->store);
no_store:
	free(space);
	return -ENOMEM;
}

void *kv_space_gpu(const struct kv_space *space)
{
	return space->gpu;
}

struct kv_agent *kv_space_agent(const struct kv_space *space)
{
	return space->agent;
}

void kv_core_each_space(
	struct kv_core *core, void (*visit)(void *ctx, struct kv_space *space), void *ctx)
{
	struct kv_space *space;

	for (space = kv_space_first(core); space; space = space->next)
		visit(ctx, space);
}

void kv_space_drop(struct kv_space *space, int ops_work)
{
	struct kv_core *core = space->core;
	struct kv_reservation *r;
	uint64_t start, base = 0;
	int error = -ENODEV;

	if (ops_work) {
		error = kv_quiesce_patiently(space, DROP_TRIES, &start);
		/* The owner of the context ends it in any case. With work that never ends, or
		 * without a device that answers, we leave everything to the driver. An open capture
		 * does not run: nothing is in flight that would mind. */
		if (error < 0 && error != -EBUSY)
			ops_work = 0;
	}
	/* Nobody may be inside while reservations go, drained or not. */
	if (error < 0)
		kv_quiesce_gate(space, &start);

	while ((r = kv_table_next(&core->table, base, &base))) {
		if (kv_reservation_space_of(r) == space)
			kv_reservation_destroy(r, ops_work);
	}
	if (ops_work) {
		kv_space_trim(space, UINT64_MAX);
		kv_host_collect(space);
	}
	kv_store_forget(space);
	if (space->sink.ledger.ops)
		space->sink.ledger.ops->forget(space->sink.ledger.ctx);
	kv_quiesce_end(space, start);
	kv_space_publish(space);
}

void kv_core_watch(struct kv_core *core, uint64_t low, uint64_t high)
{
	kv_lock_take(&core->table.lock);
	kv_grains_count(&core->hot.grains[KV_GRAINS_FAR], KV_CORE_GRAIN_BITS, low, high, 1);
	kv_lock_drop(&core->table.lock);
}

struct kv_reservation *kv_core_find(struct kv_core *core, kv_gpu_addr addr)
{
	bool quiet;

	return kv_table_find(&core->table, addr, &quiet);
}

bool kv_core_hits_row(struct kv_core *core, uint64_t addr, struct kv_reservation **ret_reservation)
{
	bool quiet = false;
	struct kv_reservation *r = kv_table_find(&core->table, addr, &quiet);

	if (!r || quiet)
		return false;
	*ret_reservation = r;
	return true;
}

int kv_core_each(struct kv_core *core, int (*visit)(void *ctx, struct kv_reservation *r), void *ctx)
{
	struct kv_reservation *r;
	uint64_t base = 0;
	int res = 0;

	while (res == 0 && (r = kv_table_next(&core->table, base, &base)))
		res = visit(ctx, r);
	return res;
}

void kv_leak_all(struct kv_core *core, enum kv_static_reason reason, const char *by)
{
	struct kv_reservation *r;
	uint64_t base = 0;

	/* All of them static and whole already, as at every launch but the first of such a kernel.
	 */
	if (atomic_load_explicit(&core->hot.lo, memory_order_relaxed) ==
		atomic_load_explicit(&core->hot.hi, memory_order_relaxed))
		return;
	while ((r = kv_table_next(&core->table, base, &base)))
		kv_leak(r, reason, by);
}

int kv_settle_all(struct kv_core *core)
{
	struct kv_reservation *r;
	uint64_t base = 0;
	int error = 0;

	while (error == 0 && (r = kv_table_next(&core->table, base, &base))) {
		if (kv_reservation_is_static(r)
				? kv_reservation_is_whole(r)
				: !atomic_load_explicit(&r->managed, memory_order_acquire))
			continue;
		kv_reservation_lock(r);
		if (r->unsettled) {
			struct kv_space *space = kv_reservation_space_of(r);

			error = kv_reservation_is_static(r) ? kv_back_whole(r)
							    : kv_settle_wanted(r);
			kv_back_count(space);
			kv_reservation_unlock(r);
			kv_space_publish(space);
			continue;
		}
		kv_reservation_unlock(r);
	}
	return error;
}

void kv_core_log(struct kv_core *core, int level, const char *topic, const char *format, ...)
{
	char text[256];
	va_list args;

	kv_rank_assert_none();
	if (!core->config.log)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	core->config.log(core->config.log_ctx, level, topic, text);
}
