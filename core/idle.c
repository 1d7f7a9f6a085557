/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle.c - a process that submits nothing gives its device memory back, and gets its content back
 * with its first submission.
 *
 * The agent reads how often the gate has been passed: once per second, which is all that an idle
 * process costs, and more often only while it waits for the idle time to be over. Evicting goes by
 * windows, each with the gate closed for one bulk copy, so that a submission that comes meanwhile
 * waits for one window and not for all; then the rest stays where it is.
 */
#include "core/idle.h"

#include <errno.h>

#include "core/agent.h"
#include "core/backing.h"
#include "core/coord_shm.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/spill.h"
#include "core/want.h"
#include "core/poison.h"

#define NSEC_PER_SEC 1000000000ull
/* Between two looks, and between two publications. */
#define LOOK_NS NSEC_PER_SEC
#define LOOK_MIN_NS 10000000ull
/* Device bytes that go with the gate closed once. */
#define WINDOW_BYTES (1ull << 30)
/* The same for a process at work: some milliseconds of a bus. */
#define WORK_WINDOW_BYTES (128ull << 20)
/* For those who stood at the gate during a window: they only have to be scheduled. */
#define LET_PASS_NS NSEC_PER_SEC
/* Device bytes that come back between two chances for others to close the gate. */
#define RESTORE_BYTES (256ull << 20)

static void set_activity(struct kv_space *space, enum kv_coord_activity activity)
{
	struct kv_idle *idle = &space->idle;

	if (atomic_exchange_explicit(&idle->activity, activity, memory_order_relaxed) == activity)
		return;
	if (space->sink.activity)
		space->sink.activity(space->sink.ctx, activity);
}

/* ---- evicting by windows ---- */

static uint64_t passes(struct kv_space *space)
{
	return kv_gate_passes(&space->core->hot.gate);
}

static uint64_t pages_copied(struct kv_space *space)
{
	return kv_sub_sat(kv_counted(&space->pages_evicted), kv_counted(&space->pages_not_copied));
}

static int evict_windows(struct kv_space *space, uint64_t bytes, uint64_t window, bool while_idle,
	uint64_t *ret_bytes)
{
	uint64_t before = passes(space), start = kv_gpu_now(space), copied, done = 0, got = 0;
	int error = 0;

	copied = pages_copied(space);
	while (done < bytes && kv_counted(&space->backed)) {
		uint64_t rest = bytes - done;

		error = kv_evict(space, rest < window ? rest : window, &got);
		if (error < 0 || got == 0)
			break;
		done = kv_add_sat(done, got);
		/* a submission waits for one window, not for all of them */
		kv_gate_let_pass(&space->core->hot.gate, LET_PASS_NS);
		if (while_idle && passes(space) != before)
			break;
	}
	if (kv_counted(&space->evicted) && kv_counted(&space->backed) == 0)
		set_activity(space, KV_COORD_EVICTED);
	if (done) {
		copied = pages_copied(space) - copied;
		kv_count(&space->evictions, 1);
		kv_count(&space->evicted_bytes, copied * space->page_size);
		kv_count(&space->evict_ns, kv_sub_sat(kv_gpu_now(space), start));
		kv_space_publish(space);
	}
	if (error < 0 && done == 0)
		return error;
	if (ret_bytes)
		*ret_bytes = done;
	return 0;
}

int kv_evict_gently(struct kv_space *space, uint64_t bytes, bool while_idle, uint64_t *ret_bytes)
{
	return evict_windows(space, bytes, WINDOW_BYTES, while_idle, ret_bytes);
}

int kv_evict_beside_work(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes)
{
	return evict_windows(space, bytes, WORK_WINDOW_BYTES, false, ret_bytes);
}

/* ---- restoring ahead of any submission ---- */

/* Backs EVICTED pages of r, at most about bytes. ret_bytes: how much. [inside] */
static int restore_some(struct kv_reservation *r, uint64_t bytes, uint64_t *ret_bytes)
{
	uint64_t before, a, b;
	int error = 0;

	*ret_bytes = 0;
	kv_reservation_lock(r);
	before = r->n_in_state[KV_PAGE_EVICTED];
	if (!kv_reservation_is_live(r) || before == 0 || kv_is_paused(r))
		goto out;
	if (kv_reservation_is_static(r)) {
		error = kv_back_whole(r);
		goto count;
	}
	for (a = 0; a < r->n_pages && *ret_bytes < bytes && error == 0; a = b) {
		b = a + 1;
		if (r->pages[a].state != KV_PAGE_EVICTED)
			continue;
		while (b < r->n_pages && r->pages[b].state == KV_PAGE_EVICTED &&
			(b - a) * r->page_size < bytes - *ret_bytes)
			b++;
		error = kv_back(r, a, b);
		*ret_bytes += (b - a) * r->page_size;
	}
count:
	*ret_bytes = (before - r->n_in_state[KV_PAGE_EVICTED]) * r->page_size;
out:
	kv_reservation_unlock(r);
	return error;
}

/* One piece of at most about bytes, of whichever reservation has some. */
static int restore_piece(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes)
{
	struct kv_gate *gate = &space->core->hot.gate;
	struct kv_reservation *r;
	uint64_t base = 0;
	int error = 0;

	*ret_bytes = 0;
	kv_gate_enter(gate, space->agent_slot);
	while (error == 0 && *ret_bytes == 0 &&
		(r = kv_table_next(&space->core->table, base, &base))) {
		if (kv_reservation_space_of(r) == space)
			error = restore_some(r, bytes, ret_bytes);
	}
	kv_gate_leave_uncounted(gate, space->agent_slot);
	return error;
}

int kv_restore(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes)
{
	uint64_t done = 0, got;
	int error = 0;

	while (done < bytes && kv_counted(&space->evicted) && error == 0) {
		uint64_t rest = bytes - done;

		error = restore_piece(space, rest < RESTORE_BYTES ? rest : RESTORE_BYTES, &got);
		done = kv_add_sat(done, got);
		if (got == 0)
			break;
	}
	if (done) {
		/* Whoever asked for it wants it to stay for a while. */
		atomic_store_explicit(
			&space->idle.last_ns, kv_gpu_now(space), memory_order_relaxed);
		set_activity(space, KV_COORD_BUSY);
		kv_space_publish(space);
	}
	if (error < 0 && done == 0)
		return error;
	if (ret_bytes)
		*ret_bytes = done;
	return 0;
}

/* ---- the task ---- */

/* Nothing for wanted_ns: what can go goes. */
static void fall_asleep(struct kv_space *space, uint64_t now_ns, uint64_t wanted_ns)
{
	struct kv_idle *idle = &space->idle;

	set_activity(space, KV_COORD_IDLE);
	if (now_ns < idle->retry_ns)
		return;
	kv_space_trim(space, UINT64_MAX);
	/* Work in flight that takes its time, an open capture, no host memory: later. */
	if (kv_counted(&space->backed) && kv_evict_gently(space, UINT64_MAX, true, NULL) < 0)
		idle->retry_ns = now_ns + (wanted_ns > LOOK_NS ? wanted_ns : LOOK_NS);
	else if (kv_counted(&space->backed))
		idle->retry_ns = now_ns + LOOK_NS; /* pinned, or somebody came */
}

uint64_t kv_idle_task(void *ctx, uint64_t now_ns)
{
	struct kv_space *space = ctx;
	struct kv_idle *idle = &space->idle;
	uint64_t wanted_ns = atomic_load_explicit(&idle->wanted_ns, memory_order_relaxed);
	uint64_t submitted = passes(space) - idle->first_passes, look_ns = LOOK_NS, since_ns;

	if (submitted != kv_counted(&idle->submitted) || kv_counted(&idle->last_ns) == 0) {
		atomic_store_explicit(&idle->submitted, submitted, memory_order_relaxed);
		atomic_fetch_add_explicit(&space->tick, 1, memory_order_relaxed);
		atomic_store_explicit(&idle->last_ns, now_ns, memory_order_relaxed);
		idle->retry_ns = 0;
		set_activity(space, KV_COORD_BUSY);
	}
	since_ns = kv_sub_sat(now_ns, kv_counted(&idle->last_ns));
	if (wanted_ns && since_ns >= wanted_ns) {
		if (kv_counted(&space->backed) || kv_spare_bytes(space))
			fall_asleep(space, now_ns, wanted_ns);
	} else if (wanted_ns && kv_counted(&space->backed)) {
		look_ns = wanted_ns - since_ns;
		if (look_ns < LOOK_MIN_NS)
			look_ns = LOOK_MIN_NS;
		if (look_ns > LOOK_NS)
			look_ns = LOOK_NS;
	}
	/* What pages tell is published when they change; this is for the rest. */
	if (submitted != idle->published_submitted &&
		now_ns - idle->published_ns >= LOOK_NS - LOOK_MIN_NS) {
		idle->published_submitted = submitted;
		idle->published_ns = now_ns;
		kv_space_publish(space);
	}
	return look_ns;
}

void kv_space_set_idle(struct kv_space *space, uint64_t idle_ns)
{
	if (atomic_exchange_explicit(&space->idle.wanted_ns, idle_ns, memory_order_relaxed) !=
		idle_ns)
		kv_agent_poke(space->agent);
}

/* The embedder's turn. */
static uint64_t turn_task(void *ctx, uint64_t now_ns)
{
	struct kv_space *space = ctx;

	return space->sink.turn(space->sink.ctx, space, now_ns);
}

int kv_space_attend(struct kv_space *space)
{
	int error;

	if (kv_agent_is_running(space->agent))
		return 0;
	if (space->sink.doorbell)
		kv_agent_set_doorbell(space->agent, (_Atomic uint32_t *)space->sink.doorbell);
	error = kv_agent_add(space->agent, kv_idle_task, space);
	if (error == 0 || error == -EEXIST)
		error = kv_agent_add(space->agent, kv_reap_task, space);
	if (error == 0 || error == -EEXIST)
		error = kv_agent_add(space->agent, kv_linger_task, space);
	if (error == 0 || error == -EEXIST)
		error = kv_agent_add(space->agent, kv_promote_task, space);
	if ((error == 0 || error == -EEXIST) && space->sink.turn)
		error = kv_agent_add(space->agent, turn_task, space);
	if (error < 0 && error != -EEXIST)
		return error;
	return kv_agent_start(space->agent);
}
