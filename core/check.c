/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - the invariant checkers: everything that core believes, verified against itself.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/page.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

/* Sums over the reservations of one space. */
struct sums {
	uint64_t in_state[5]; /* bytes */
	uint64_t reserved;
	uint64_t on_host;  /* bytes of host memory behind pages, leftovers included */
	uint64_t n_copies; /* host slots in use */
	uint64_t n_reservations;
	uint64_t n_static;
	uint64_t n_marked; /* pages that wait for a reap */
	uint64_t n_spare;  /* pages that are kept for a while */
};

struct check {
	char *text;
	uint32_t size;
	int result;
};

static int fail(struct check *check, const char *format, ...)
	__attribute__((format(__printf__, 2, 3)));

static int fail(struct check *check, const char *format, ...)
{
	va_list args;

	if (check->result == 0 && check->size) {
		va_start(args, format);
		vsnprintf(check->text, check->size, format, args);
		va_end(args);
	}
	check->result = -EPROTO;
	return check->result;
}

#define LLX(value) ((unsigned long long)(value))

static int check_page(struct check *check, struct kv_reservation *r, uint64_t i, struct sums *sums)
{
	const struct kv_page *page = &r->pages[i];
	unsigned long long base = kv_reservation_base(r);
	bool memory = kv_page_has_memory(page);

	if (page->state >= KV_PAGE_BUSY)
		return fail(check, "0x%llx page %llu: state %u at rest", base, LLX(i), page->state);
	if (kv_page_is_ready(page) && !memory)
		return fail(check, "0x%llx page %llu: mapped without memory", base, LLX(i));
	if ((page->state == KV_PAGE_EVICTED || (page->flags & KV_PAGE_COPIED)) !=
		(page->host != NULL))
		return fail(check, "0x%llx page %llu: state %u, host copy %p", base, LLX(i),
			page->state, page->host);
	if ((page->flags & KV_PAGE_COPIED) &&
		(page->state != KV_PAGE_BACKED || !kv_reservation_keeps(r) ||
			!kv_reservation_is_static(r)))
		return fail(
			check, "0x%llx page %llu: a copy in state %u", base, LLX(i), page->state);
	if (page->state == KV_PAGE_BACKED && (page->flags & KV_PAGE_HOST))
		return fail(check, "0x%llx page %llu: BACKED by host memory", base, LLX(i));
	if (page->state == KV_PAGE_SPILLED && !(page->flags & KV_PAGE_HOST))
		return fail(check, "0x%llx page %llu: SPILLED to device memory", base, LLX(i));
	if ((page->flags & KV_PAGE_GUESSES) &&
		(!kv_page_is_ready(page) || kv_reservation_is_static(r)))
		return fail(check, "0x%llx page %llu: flags 0x%x in state %u", base, LLX(i),
			page->flags, page->state);
	if ((page->flags & KV_PAGE_BIG) && (!r->big || page->handle))
		return fail(check, "0x%llx page %llu: two memories, or none", base, LLX(i));
	if (r->big && !(page->flags & KV_PAGE_BIG))
		return fail(check, "0x%llx page %llu: outside the one handle", base, LLX(i));
	sums->in_state[page->state] += r->page_size;
	sums->n_copies += page->host != NULL;
	sums->n_marked += !!(page->flags & (KV_PAGE_ZERO | KV_PAGE_TRANSIENT | KV_PAGE_DEAD));
	sums->n_spare += !!(page->flags & KV_PAGE_SPARE);
	if (page->flags & KV_PAGE_HOST)
		sums->on_host += r->page_size;
	return 0;
}

static int check_wants(struct check *check, struct kv_reservation *r)
{
	unsigned long long base = kv_reservation_base(r);
	uint64_t n_wanted = 0, n_ready = 0;

	if ((atomic_load(&r->managed) != 0) != (r->wants != NULL))
		return fail(check, "0x%llx: managed, but without counts", base);
	for (uint64_t i = 0; r->wants && i < r->n_pages; i++) {
		n_wanted += r->wants[i] != 0;
		n_ready += r->wants[i] != 0 && kv_page_is_ready(&r->pages[i]);
		if (r->wants[i] && (r->pages[i].flags & (KV_PAGE_DEAD | KV_PAGE_SPARE)))
			return fail(check, "0x%llx page %llu: wanted and dead", base, LLX(i));
	}
	if (n_wanted != r->n_wanted || n_ready != r->n_wanted_ready)
		return fail(check,
			"0x%llx: %llu pages wanted, %llu of them mapped; counted %llu, %llu", base,
			LLX(n_wanted), LLX(n_ready), LLX(r->n_wanted), LLX(r->n_wanted_ready));
	if (r->wants && kv_reservation_is_static(r))
		return fail(check, "0x%llx: managed and static", base);
	return 0;
}

static int check_reservation(struct check *check, struct kv_reservation *r, struct sums *sums)
{
	unsigned long long base = kv_reservation_base(r);
	uint64_t n[5] = {0}, n_with_memory = 0;
	bool is_static = kv_reservation_is_static(r), whole;

	if (kv_reservation_reserved(r) != r->n_pages * r->page_size ||
		kv_reservation_requested(r) > kv_reservation_reserved(r))
		return fail(check, "0x%llx: sizes do not fit", base);
	for (uint64_t i = 0; i < r->n_pages; i++) {
		if (check_page(check, r, i, sums) < 0)
			return check->result;
		n[r->pages[i].state]++;
		n_with_memory += kv_page_has_memory(&r->pages[i]);
	}
	for (int i = 0; i < 5; i++) {
		if (n[i] != r->n_in_state[i])
			return fail(check, "0x%llx: %llu pages in state %d, counted %llu", base,
				LLX(n[i]), i, LLX(r->n_in_state[i]));
	}
	if (n_with_memory != r->n_with_memory)
		return fail(check, "0x%llx: %llu pages with memory, counted %llu", base,
			LLX(n_with_memory), LLX(r->n_with_memory));
	whole = n[KV_PAGE_BACKED] + n[KV_PAGE_SPILLED] == r->n_pages;
	if (atomic_load(&r->quiet) != (is_static && whole && !kv_reservation_keeps(r)))
		return fail(check, "0x%llx: whole flag is wrong", base);
	if (r->unsettled != kv_reservation_owes(r, is_static))
		return fail(check, "0x%llx: unsettled flag is wrong", base);
	if (check_wants(check, r) < 0)
		return check->result;
	sums->reserved += kv_reservation_reserved(r);
	sums->n_reservations++;
	sums->n_static += is_static;
	return 0;
}

static int check_table(struct check *check, struct kv_core *core)
{
	struct kv_table *table = &core->table;
	uint32_t n = atomic_load(&table->n_rows);
	uint64_t last_end = 0, lo = 0, hi = 0;

	if (atomic_load(&table->seq) & 1)
		return fail(check, "table: a writer never ended");
	for (uint32_t i = 0; i < n; i++) {
		struct kv_reservation *r = atomic_load(&table->reservation[i]);
		uint64_t base = atomic_load(&table->base[i]), end = atomic_load(&table->end[i]);

		if (base < last_end || end <= base)
			return fail(check, "table: row %u is out of order", i);
		if (base != kv_reservation_base(r) || end - base != kv_reservation_reserved(r))
			return fail(check, "table: row %u is not its reservation", i);
		if (atomic_load(&table->quiet[i]) != atomic_load(&r->quiet))
			return fail(check, "table: row %u: quiet is wrong", i);
		if (!atomic_load(&table->quiet[i])) {
			lo = hi ? lo : base;
			hi = end;
			for (uint64_t at = base; at < end; at += 1ull << KV_CORE_GRAIN_BITS)
				if (!kv_grains_or(0, core->hot.grains, KV_GRAINS_FAR,
					    KV_CORE_GRAIN_BITS, &at))
					return fail(check, "table: row %u is not in its grains", i);
		}
		last_end = end;
	}
	if (atomic_load(&core->hot.lo) != lo || atomic_load(&core->hot.hi) != hi)
		return fail(check, "table: bounds are wrong");
	if (atomic_load(&core->hot.n_live) != n)
		return fail(check, "%u reservations, %u rows", atomic_load(&core->hot.n_live), n);
	return 0;
}

static int check_space(struct check *check, struct kv_space *space, uint32_t *n_unsettled)
{
	struct kv_core *core = space->core;
	struct kv_reservation *r;
	struct sums sums = {0};
	uint64_t base = 0;

	while ((r = kv_table_next(&core->table, base, &base))) {
		if (kv_reservation_space_of(r) != space)
			continue;
		kv_lock_take(&r->lock);
		check_reservation(check, r, &sums);
		*n_unsettled += r->unsettled;
		kv_lock_drop(&r->lock);
		if (check->result < 0)
			return check->result;
	}
	if (sums.in_state[KV_PAGE_BACKED] != kv_counted(&space->backed) ||
		sums.in_state[KV_PAGE_EVICTED] != kv_counted(&space->evicted) ||
		sums.in_state[KV_PAGE_SPILLED] != kv_counted(&space->spilled))
		return fail(check, "space: bytes by state do not add up");
	if (sums.reserved != kv_counted(&space->reserved))
		return fail(check, "space: promised %llu bytes, reserved %llu",
			LLX(kv_counted(&space->reserved)), LLX(sums.reserved));
	if (sums.on_host != kv_counted(&space->host_taken))
		return fail(check, "space: host budget is wrong");
	if (sums.on_host > core->config.host_budget)
		return fail(check, "space: host budget is overdrawn");
	if (sums.n_copies != space->store.n_slots_used)
		return fail(check, "space: %llu host copies, %llu slots", LLX(sums.n_copies),
			LLX(space->store.n_slots_used));
	if (sums.n_marked && !atomic_load(&space->marked))
		return fail(check, "space: %llu pages marked, and nobody will look",
			LLX(sums.n_marked));
	if (sums.n_spare && !atomic_load(&space->lingering))
		return fail(check, "%llu pages are kept for a while, and nobody knows",
			LLX(sums.n_spare));
	if (space->store.n_spares > space->store.max_spares)
		return fail(check, "space: too many spares");
	if (sums.n_reservations != kv_counted(&space->n_reservations) ||
		sums.n_static != kv_counted(&space->n_static))
		return fail(check, "space: reservations do not add up");
	return 0;
}

int kv_core_check(struct kv_core *core, char *text, uint32_t size)
{
	struct check check = {.text = text, .size = size};
	struct kv_space *space;
	uint32_t n_unsettled = 0;

	if (size)
		text[0] = '\0';
	if (check_table(&check, core) < 0)
		return check.result;
	for (space = kv_space_first(core); space; space = space->next) {
		if (check_space(&check, space, &n_unsettled) < 0)
			return check.result;
	}
	if (atomic_load(&core->hot.n_unsettled) != n_unsettled)
		return fail(&check, "%u reservations to settle, counted %u", n_unsettled,
			atomic_load(&core->hot.n_unsettled));
	if (atomic_load(&core->hot.gate.closed) || atomic_load(&core->hot.gate.closer))
		return fail(&check, "gate: closed at rest");
	for (uint32_t i = 0; i < KV_GATE_SLOTS; i++) {
		if (kv_gate_slot_inside(&core->hot.gate.slots[i]))
			return fail(&check, "gate: somebody is inside slot %u", i);
	}
	return 0;
}
