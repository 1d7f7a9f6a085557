/* SPDX-License-Identifier: Apache-2.0 */
/* planes.c - see planes.h: the table, launches, and the end of what was known. */
#include "hooks/planes.h"

#include "hooks/call.h"
#include "hooks/planes_body.h"

struct kv_planes kv_planes = {.mutex = PTHREAD_MUTEX_INITIALIZER};

uint64_t kv_planes_revision(void)
{
	return kv_core_revision(kv_hooks.core) + GET(kv_planes.n_changes);
}

/* ---- the table ---- */

/* What is known of a plane, except its place. */
static void reset(struct plane *p, uint64_t row_stride)
{
	SET(p->row_stride, row_stride);
	SET(p->low, UINT64_MAX);
	SET(p->high, 0);
	SET(p->row_first, UINT64_MAX);
	SET(p->row_end, 0);
	for (uint32_t i = 0; i < N_WINDOWS; i++) {
		SET(p->windows[i].low, 0);
		SET(p->windows[i].high, 0);
		SET(p->windows[i].ahead, FAR);
	}
	SET(p->end, 0);
	SET(p->proven, false);
	SET(p->n_proofs, UINT64_MAX);
	SET(p->live_low, 0);
	SET(p->live_high, 0);
	SET(p->dead_from, UINT64_MAX);
}

struct plane *kv_planes_entry(uint64_t base, uint64_t row_stride, bool *ret_full)
{
	struct plane *p = kv_planes_find(base);
	uint32_t at = slot_of(base);

	if (p) {
		/* The same memory, used for something else. */
		if (GET(p->row_stride) != row_stride)
			reset(p, row_stride);
		return p;
	}
	if (kv_planes.n_used == N_PLANES) {
		*ret_full = !kv_planes.told_full;
		kv_planes.told_full = true;
		return NULL;
	}
	while (GET(kv_planes.slots[at].base) > GONE)
		at = (at + 1) % N_SLOTS;
	p = &kv_planes.slots[at];
	reset(p, row_stride);
	kv_planes.used[kv_planes.n_used++] = (uint16_t)at;
	atomic_store_explicit(&p->base, base, memory_order_release);
	return p;
}

void kv_planes_say_full(bool full)
{
	if (full)
		kv_hooks_log(1, "planes",
			"more than %u planes: the memory of the others does not shrink", N_PLANES);
}

/* [mutex] The i-th of those in use goes. */
static void drop(uint32_t i)
{
	uint32_t at = kv_planes.used[i];

	kv_planes.used[i] = kv_planes.used[--kv_planes.n_used];
	SET(kv_planes.slots[at].base, GONE);
	/* A search ends at a slot that was never used: those before one need not be passed. */
	while (GET(kv_planes.slots[at].base) == GONE &&
		!GET(kv_planes.slots[(at + 1) % N_SLOTS].base)) {
		SET(kv_planes.slots[at].base, 0);
		at = (at + N_SLOTS - 1) % N_SLOTS;
	}
}

/* ---- launches ---- */

/* They rise in address if the rule has one line that writes there. */
uint32_t kv_planes_spans(const struct kv_reach *reach, uint32_t i, struct kv_written *spans)
{
	uint64_t base = reach->planes[i].base, end = UINT64_MAX;
	uint32_t n = 0;

	for (uint32_t k = 0; k < reach->n_planes; k++) {
		if (reach->planes[k].base > base && reach->planes[k].base < end)
			end = reach->planes[k].base;
	}
	for (uint32_t k = 0; k < reach->n_accesses; k++) {
		const struct kv_access *a = &reach->accesses[k];

		if (a->kind == KV_ACCESS_WRITE && a->addr >= base && a->addr < end && !a->coarse &&
			(!n || a->addr >= spans[n - 1].high))
			spans[n++] = (struct kv_written){a->addr, a->addr + a->length};
	}
	return n;
}

void kv_planes_launch(const struct kv_reach *reach)
{
	struct kv_written spans[KV_REACH_ACCESSES];

	for (uint32_t i = 0; i < reach->n_planes; i++)
		kv_planes_write(reach->planes[i].base, reach->planes[i].row_stride, spans,
			kv_planes_spans(reach, i, spans));
	for (uint32_t i = 0; i < reach->n_extents; i++)
		kv_planes_read(&reach->extents[i]);
}

/* ---- the end of what was known ---- */

void kv_planes_clear(uint64_t base, uint64_t length)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, base);
	bool any = false;

	pthread_mutex_lock(&kv_planes.mutex);
	kv_planes.n_clears++;
	for (uint32_t i = 0; i < kv_planes.n_used; i++) {
		struct plane *p = &kv_planes.slots[kv_planes.used[i]];
		uint64_t at = GET(p->base);

		if (at - base >= length)
			continue;
		any |= GET(p->low) < GET(p->high);
		SET(p->row_first, CLEARED | kv_planes.n_clears);
		SET(p->row_end, 0);
	}
	pthread_mutex_unlock(&kv_planes.mutex);
	if (!r || kv_reservation_is_static(r))
		return;
	if (any)
		atomic_fetch_add_explicit(&kv_planes.n_changes, 1, memory_order_relaxed);
	/* All of it is zero, whoever wrote it before (older builds write no planes, but views). */
	kv_release(r, base - kv_reservation_base(r), length);
}

void kv_planes_forget(uint64_t base, uint64_t length)
{
	pthread_mutex_lock(&kv_planes.mutex);
	for (uint32_t i = kv_planes.n_used; i-- > 0;) {
		if (GET(kv_planes.slots[kv_planes.used[i]].base) - base < length)
			drop(i);
	}
	pthread_mutex_unlock(&kv_planes.mutex);
	atomic_fetch_add_explicit(&kv_planes.n_changes, 1, memory_order_relaxed);
}
