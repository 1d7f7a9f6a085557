/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reservation.c - the life of a reservation, and what can be asked about it.
 */
#include "core/reservation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/page.h"
#include "core/space.h"
#include "core/poison.h"

#define KV_PRIORITY 128 /* unless somebody says otherwise */

/* ---- objects ---- */

/* An object from the recycled ones or a new one, with n_pages EMPTY pages; locked by nobody. */
static struct kv_reservation *object_new(struct kv_core *core, uint64_t n_pages)
{
	struct kv_page *pages = calloc(n_pages, sizeof(*pages));
	struct kv_reservation *r;

	if (!pages)
		return NULL;
	kv_lock_take(&core->table.lock);
	r = core->recycled;
	if (r)
		core->recycled = r->next_recycled;
	kv_lock_drop(&core->table.lock);
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r) {
			free(pages);
			return NULL;
		}
		kv_lock_init(&r->lock, KV_RANK_RESERVATION);
		kv_lock_take(&core->table.lock);
		r->next_object = core->objects;
		core->objects = r;
		kv_lock_drop(&core->table.lock);
	}
	kv_lock_take(&r->lock);
	r->pages = pages;
	r->n_pages = n_pages;
	kv_lock_drop(&r->lock);
	return r;
}

static void object_recycle(struct kv_core *core, struct kv_reservation *r)
{
	kv_lock_take(&r->lock);
	free(r->pages);
	r->pages = NULL;
	r->n_pages = 0;
	kv_lock_drop(&r->lock);
	kv_lock_take(&core->table.lock);
	r->next_recycled = core->recycled;
	core->recycled = r;
	kv_lock_drop(&core->table.lock);
}

/* The lowest free row number: readers of the shared segment see the first few only. -ENOSPC: none.
 */
static int row_take(struct kv_space *space, uint32_t *ret_row)
{
	uint32_t row = 0;

	kv_lock_take(&space->lock);
	while (row < KV_TABLE_ROWS && (space->rows[row / 64] & (1ull << (row % 64))))
		row++;
	if (row < KV_TABLE_ROWS)
		space->rows[row / 64] |= 1ull << (row % 64);
	kv_lock_drop(&space->lock);
	if (row == KV_TABLE_ROWS)
		return -ENOSPC;
	*ret_row = row;
	return 0;
}

static void row_give(struct kv_space *space, uint32_t row)
{
	kv_lock_take(&space->lock);
	space->rows[row / 64] &= ~(1ull << (row % 64));
	kv_lock_drop(&space->lock);
}

/* ---- life ---- */

static void describe(struct kv_reservation *r, struct kv_space *space, kv_gpu_addr base,
	uint32_t row, uint64_t requested, const char *tag, int score)
{
	kv_lock_take(&r->lock);
	atomic_store_explicit(&r->space, space, memory_order_relaxed);
	atomic_store_explicit(&r->requested, requested, memory_order_relaxed);
	atomic_store_explicit(&r->reserved, r->n_pages * space->page_size, memory_order_relaxed);
	atomic_store_explicit(&r->static_reason, KV_STATIC_NO, memory_order_release);
	atomic_store_explicit(&r->quiet, false, memory_order_release);
	atomic_store_explicit(&r->loose, false, memory_order_relaxed);
	r->pinned = false;
	atomic_store_explicit(&r->priority, KV_PRIORITY, memory_order_relaxed);
	r->page_size = space->page_size;
	memset(r->n_in_state, 0, sizeof(r->n_in_state));
	r->n_in_state[KV_PAGE_EMPTY] = r->n_pages;
	memset(r->cells, 0, sizeof(r->cells));
	r->n_with_memory = 0;
	r->big = 0;
	r->unsettled = false;
	r->changed = true;
	r->backed_peak = 0;
	r->version++;
	r->row = row;
	r->score = score;
	r->created_ns = kv_gpu_now(space);
	memset(r->static_by, 0, sizeof(r->static_by));
	memset(r->tag, 0, sizeof(r->tag));
	memset(r->rules, 0, sizeof(r->rules));
	atomic_store_explicit(&r->is_ruled, false, memory_order_relaxed);
	if (tag)
		memcpy(r->tag, tag, strnlen(tag, sizeof(r->tag) - 1));
	atomic_store_explicit(&r->base, base, memory_order_relaxed);
	kv_lock_drop(&r->lock);
}

/* Big ones do not share the grains by which launches tell what is of interest. */
static int reserve_range(struct kv_space *space, uint64_t size, kv_gpu_addr *ret_base)
{
	uint64_t align = space->granularity, grain = 1ull << KV_CORE_GRAIN_BITS;

	if (size >= grain && grain % align == 0)
		align = grain;
	return kv_gpu_range_reserve(space, size, align, ret_base);
}

int kv_reservation_new(struct kv_space *space, uint64_t requested, const char *tag, int score,
	struct kv_reservation **ret_reservation)
{
	struct kv_core *core = space->core;
	uint64_t n_pages, size;
	struct kv_reservation *r;
	kv_gpu_addr base;
	uint32_t row;
	int error;

	if (requested == 0)
		return -EINVAL;
	n_pages = (requested - 1) / space->page_size + 1;
	if (n_pages > INT64_MAX / space->page_size)
		return -ENOMEM;
	size = n_pages * space->page_size;

	error = kv_promise_take(space, size);
	if (error < 0)
		return error;
	error = row_take(space, &row);
	if (error < 0)
		goto promise;
	r = object_new(core, n_pages);
	if (!r) {
		error = -ENOSPC;
		goto row;
	}
	error = reserve_range(space, size, &base);
	if (error < 0) {
		error = error == -ENOMEM ? -ENOSPC : error;
		goto object;
	}
	describe(r, space, base, row, requested, tag, score);
	error = kv_table_insert(&core->table, r, base, base + size);
	if (error < 0)
		goto range;
	atomic_fetch_add_explicit(&core->hot.n_live, 1, memory_order_relaxed);
	kv_count(&space->n_reservations, 1);
	kv_reservation_publish(r);
	kv_space_publish(space);
	*ret_reservation = r;
	return 0;

range:
	atomic_store_explicit(&r->base, 0, memory_order_relaxed);
	kv_gpu_range_free(space, base, size);
object:
	object_recycle(core, r);
row:
	row_give(space, row);
promise:
	kv_promise_give(space, size);
	return error;
}

static void keep_first(int *error, int new_error)
{
	if (*error == 0)
		*error = new_error;
}

/* Unmaps and releases everything. What cannot be unmapped is left to the driver: returns the first
 * error. */
static int release_pages(struct kv_reservation *r, bool *ret_clean)
{
	struct kv_space *space = kv_reservation_space_of(r);
	int error = 0, res;
	uint64_t a, b;

	*ret_clean = false;
	error = kv_gpu_quiet_queue(space, false);
	if (error < 0)
		return error;
	*ret_clean = true;
	if (r->big) {
		error = kv_gpu_unmap(space, kv_page_addr(r, 0), r->n_pages * r->page_size);
		if (error < 0)
			*ret_clean = false;
		else
			error = kv_gpu_device_release(space, r->big, r->n_pages * r->page_size);
		return error;
	}
	for (a = 0; a < r->n_pages; a = b) {
		b = a + 1;
		if (r->pages[a].handle == 0)
			continue;
		while (b < r->n_pages && r->pages[b].handle != 0)
			b++;
		res = kv_gpu_unmap(space, kv_page_addr(r, a), (b - a) * r->page_size);
		if (res < 0) {
			keep_first(&error, res);
			*ret_clean = false;
			continue;
		}
		for (uint64_t i = a; i < b; i++)
			keep_first(&error, kv_page_detach(r, i, true));
	}
	return error;
}

/* The pages leave the books, whatever became of their memory. */
static void forget_pages(struct kv_reservation *r)
{
	struct kv_space *space = kv_reservation_space_of(r);

	for (uint64_t i = 0; i < r->n_pages; i++) {
		struct kv_page *page = &r->pages[i];

		kv_page_drop_host(r, i);
		if (page->state == KV_PAGE_EVICTED) {
			kv_page_set(r, i, KV_PAGE_EMPTY);
		} else if (page->state != KV_PAGE_EMPTY) {
			if (kv_page_is_ready(page))
				kv_count(&space->pages_released, 1);
			kv_page_set(r, i, KV_PAGE_BUSY);
			kv_page_set(r, i, KV_PAGE_EMPTY);
		}
		if (page->handle && (page->flags & KV_PAGE_HOST))
			kv_budget_give(space, r->page_size);
	}
	r->n_with_memory = 0;
	r->big = 0;
	kv_core_revise(space->core);
}

int kv_reservation_destroy(struct kv_reservation *r, int ops_work)
{
	struct kv_space *space = kv_reservation_space_of(r);
	struct kv_core *core = space->core;
	uint64_t size = kv_reservation_reserved(r);
	kv_gpu_addr base = kv_reservation_base(r);
	bool clean = true;
	int error = 0;

	kv_table_remove(&core->table, r);
	kv_lock_take(&r->lock);
	if (ops_work) {
		kv_gpu_batch_begin(space);
		error = release_pages(r, &clean);
		kv_gpu_batch_end(space);
	}
	forget_pages(r);
	kv_manage_forget(r);
	if (r->unsettled)
		atomic_fetch_sub_explicit(&core->hot.n_unsettled, 1, memory_order_relaxed);
	r->unsettled = false;
	if (kv_reservation_is_static(r))
		kv_count(&space->n_static, -1);
	atomic_store_explicit(&r->base, 0, memory_order_relaxed);
	r->version++;
	kv_lock_drop(&r->lock);

	/* A range with a mapping in it cannot be freed, and must not be used again either. */
	if (ops_work && clean)
		keep_first(&error, kv_gpu_range_free(space, base, size));
	kv_reservation_publish(r);
	row_give(space, r->row);
	object_recycle(core, r);
	kv_promise_give(space, size);
	kv_count(&space->n_reservations, -1);
	atomic_fetch_sub_explicit(&core->hot.n_live, 1, memory_order_relaxed);
	return error;
}

int kv_reservation_free(struct kv_core *core, kv_gpu_addr addr)
{
	struct kv_reservation *r = kv_table_at(&core->table, addr);
	struct kv_space *space;
	uint64_t start;
	int error;

	if (!r)
		return -ENOENT;
	space = kv_reservation_space_of(r);
	error = kv_quiesce_patiently(space, 0, &start);
	if (error == -EBUSY)
		return error;
	/* A device that cannot be asked whether it is idle keeps its memory; the books are closed.
	 */
	if (error < 0)
		kv_quiesce_gate(space, &start);
	/* Freed by somebody else while we waited? */
	if (kv_table_at(&core->table, addr) == r && kv_reservation_space_of(r) == space)
		keep_first(&error, kv_reservation_destroy(r, error == 0));
	else
		error = -ENOENT;
	kv_host_collect(space);
	kv_quiesce_end(space, start);
	kv_space_publish(space);
	return error;
}

/* ---- the mutex and what follows from the pages ---- */

void kv_reservation_lock(struct kv_reservation *r)
{
	kv_lock_take(&r->lock);
	/* Whoever changes pages makes several calls. */
	kv_gpu_batch_begin(kv_reservation_space_of(r));
}

void kv_reservation_unlock(struct kv_reservation *r)
{
	struct kv_space *space = kv_reservation_space_of(r);
	struct kv_core *core = space->core;
	bool live = kv_reservation_is_live(r);
	bool whole = r->n_in_state[KV_PAGE_BACKED] + r->n_in_state[KV_PAGE_SPILLED] == r->n_pages;
	bool is_static = kv_reservation_is_static(r);
	bool quiet = live && is_static && whole && !kv_reservation_keeps(r);
	bool unsettled = kv_reservation_owes(r, is_static);
	bool refresh = quiet != atomic_load_explicit(&r->quiet, memory_order_acquire);
	bool publish = live && r->changed;

	if (unsettled != r->unsettled) {
		r->unsettled = unsettled;
		atomic_fetch_add_explicit(
			&core->hot.n_unsettled, unsettled ? 1 : -1u, memory_order_relaxed);
	}
	if (refresh)
		atomic_store_explicit(&r->quiet, quiet, memory_order_release);
	if (publish) {
		r->changed = false;
		r->version++;
	}
	kv_gpu_batch_end(space);
	kv_lock_drop(&r->lock);
	if (refresh)
		kv_table_refresh(&core->table, r);
	if (publish)
		kv_reservation_publish(r);
}

/* ---- questions ---- */

kv_gpu_addr kv_reservation_base(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->base, memory_order_relaxed);
}

void kv_reservation_ruled(struct kv_reservation *r, const char *family)
{
	if (atomic_load_explicit(&r->is_ruled, memory_order_relaxed))
		return;
	kv_reservation_lock(r);
	if (kv_reservation_is_live(r) && !r->rules[0]) {
		memcpy(r->rules, family, strnlen(family, sizeof(r->rules) - 1));
		r->changed = true;
		atomic_store_explicit(&r->is_ruled, true, memory_order_relaxed);
	}
	kv_reservation_unlock(r);
}

uint64_t kv_reservation_requested(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->requested, memory_order_relaxed);
}

uint64_t kv_reservation_reserved(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->reserved, memory_order_relaxed);
}

struct kv_space *kv_reservation_space(const struct kv_reservation *r)
{
	return kv_reservation_space_of(r);
}

void kv_reservation_set_priority(struct kv_reservation *r, uint8_t priority)
{
	atomic_store_explicit(&r->priority, priority, memory_order_relaxed);
}

uint8_t kv_reservation_priority(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->priority, memory_order_relaxed);
}

bool kv_reservation_is_static(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->static_reason, memory_order_acquire) != KV_STATIC_NO;
}

bool kv_reservation_is_whole(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->quiet, memory_order_acquire);
}

enum kv_page_state kv_reservation_page_state(struct kv_reservation *r, uint64_t page)
{
	enum kv_page_state state = KV_PAGE_EMPTY;

	kv_lock_take(&r->lock);
	if (page < r->n_pages)
		state = r->pages[page].state;
	kv_lock_drop(&r->lock);
	return state;
}

uint64_t kv_reservation_page_size(const struct kv_reservation *r)
{
	/* The same for all reservations of a space, and immutable. */
	return kv_reservation_space_of(r)->page_size;
}
