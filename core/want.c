/* SPDX-License-Identifier: Apache-2.0 */
/*
 * want.c - managed and paused reservations; see want.h.
 */
#include "core/want.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/backing.h"
#include "core/page.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

/* Pages that a span lies on: [first, end). */
static void pages_of(const struct kv_reservation *r, const struct kv_span *span,
	uint64_t *ret_first, uint64_t *ret_end)
{
	*ret_first = span->offset / r->page_size;
	*ret_end = span->length ? (span->offset + span->length - 1) / r->page_size + 1 : *ret_first;
}

/* [lock] Live, managed, and by this id. */
static bool is_ours(const struct kv_reservation *r, uint64_t id)
{
	return kv_reservation_is_live(r) && r->wants &&
	       atomic_load_explicit(&r->managed, memory_order_relaxed) == id;
}

/* [lock] What the page holds will not be read again. */
static void bury(struct kv_reservation *r, uint64_t i)
{
	struct kv_page *page = &r->pages[i];

	if (page->state == KV_PAGE_EVICTED) {
		kv_page_drop_host(r, i);
		kv_page_set(r, i, KV_PAGE_EMPTY);
	} else if (kv_page_is_ready(page)) {
		page->flags &= ~KV_PAGE_GUESSES;
		page->flags |= KV_PAGE_DEAD;
	}
}

/* ---- managing ---- */

/* [lock] The first manager. 0 or -ENOMEM. */
static int take_over(
	struct kv_reservation *r, const struct kv_manage_config *config, uint64_t *ret_id)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint32_t reason = atomic_load_explicit(&r->static_reason, memory_order_relaxed);

	r->wants = calloc(r->n_pages, sizeof(*r->wants));
	if (!r->wants)
		return -ENOMEM;
	r->n_wanted = r->n_wanted_ready = 0;
	r->n_managers = 1;
	r->watchdog_ns = config->watchdog_ns;
	atomic_store_explicit(&r->hinted_ns, kv_gpu_now(space), memory_order_relaxed);
	atomic_store_explicit(&r->hidden_reason, reason, memory_order_relaxed);
	memcpy(r->hidden_by, r->static_by, sizeof(r->hidden_by));
	kv_copies_end(r);
	if (reason != KV_STATIC_NO) {
		atomic_store_explicit(&r->static_reason, KV_STATIC_NO, memory_order_release);
		memset(r->static_by, 0, sizeof(r->static_by));
		kv_count(&space->n_static, -1);
	}
	r->changed = true;
	*ret_id = kv_count_next(&space->core->manage_ids);
	atomic_store_explicit(&r->managed, *ret_id, memory_order_release);
	atomic_fetch_add_explicit(&space->core->n_managed, 1, memory_order_relaxed);
	return 0;
}

/* [lock] What has content: all of it lives once, or none of it any more. */
static void sort_pages(struct kv_reservation *r, bool keep)
{
	for (uint64_t i = 0; i < r->n_pages; i++) {
		if (r->pages[i].state == KV_PAGE_EMPTY)
			continue;
		if (!keep) {
			bury(r, i);
			continue;
		}
		r->wants[i] = 1;
		r->n_wanted++;
		r->n_wanted_ready += kv_page_is_ready(&r->pages[i]);
		r->pages[i].flags &= ~KV_PAGE_GUESSES;
	}
}

/* Others know the memory: it is nobody's to manage. */
static bool is_known_elsewhere(const struct kv_reservation *r)
{
	uint32_t reason = atomic_load_explicit(&r->static_reason, memory_order_relaxed);

	return r->pinned || reason == KV_STATIC_EXPORT || reason == KV_STATIC_ARRAY;
}

int kv_manage_begin(
	struct kv_reservation *r, const struct kv_manage_config *config, uint64_t *ret_id)
{
	struct kv_space *space = kv_reservation_space_of(r);
	int error = 0;

	for (;;) {
		bool big = false;

		kv_reservation_lock(r);
		if (!kv_reservation_is_live(r)) {
			error = -ENOENT;
		} else if (is_known_elsewhere(r)) {
			error = -EBUSY;
		} else if (r->wants) {
			r->n_managers++;
			*ret_id = atomic_load_explicit(&r->managed, memory_order_relaxed);
		} else if (r->big) {
			big = true; /* one handle for all pages: none of them could go */
		} else {
			error = take_over(r, config, ret_id);
			if (error == 0)
				sort_pages(r, config->keep);
		}
		kv_reservation_unlock(r);
		if (!big)
			break;
		error = kv_evict_one(r, NULL);
		if (error < 0)
			return error;
	}
	kv_space_mark(space);
	kv_space_publish(space);
	return error;
}

/* [lock] Nobody manages r any more. Returns the reason why it is static from now on. */
static uint32_t let_go(struct kv_reservation *r)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint32_t reason = atomic_load_explicit(&r->hidden_reason, memory_order_relaxed);

	free(r->wants);
	r->wants = NULL;
	r->n_wanted = r->n_wanted_ready = 0;
	r->n_managers = 0;
	atomic_store_explicit(&r->managed, 0, memory_order_release);
	atomic_fetch_sub_explicit(&space->core->n_managed, 1, memory_order_relaxed);
	r->changed = true;
	return reason;
}

void kv_manage_end(struct kv_reservation *r, uint64_t id)
{
	uint32_t reason = KV_STATIC_NO;
	char by[KV_STATS_NAME_MAX] = "";

	kv_reservation_lock(r);
	if (is_ours(r, id) && --r->n_managers == 0) {
		memcpy(by, r->hidden_by, sizeof(by));
		reason = let_go(r);
	}
	kv_reservation_unlock(r);
	if (reason != KV_STATIC_NO)
		kv_leak(r, reason, by);
}

bool kv_manage_is(const struct kv_reservation *r, uint64_t id)
{
	return id && atomic_load_explicit(&r->managed, memory_order_acquire) == id;
}

bool kv_manage_any(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->managed, memory_order_relaxed) != 0;
}

void kv_manage_alive(struct kv_reservation *r, uint64_t id)
{
	if (kv_manage_is(r, id))
		atomic_store_explicit(&r->hinted_ns, kv_gpu_now(kv_reservation_space_of(r)),
			memory_order_relaxed);
}

/* ---- what lives where ---- */

/* [lock] Counts the spans up, or down again. */
static void count_spans(struct kv_reservation *r, const struct kv_span *spans, uint64_t n, bool up)
{
	uint64_t first, end;

	for (uint64_t s = 0; s < n; s++) {
		pages_of(r, &spans[s], &first, &end);
		for (uint64_t i = first; i < end; i++) {
			bool ready = kv_page_is_ready(&r->pages[i]);

			if (up ? r->wants[i]++ == 0 : --r->wants[i] == 0) {
				r->n_wanted += up ? 1 : -1ull;
				r->n_wanted_ready += ready ? (up ? 1 : -1ull) : 0;
			}
		}
	}
}

/*
 * [lock] Backs the wanted pages of [first, end) that are not ready, in runs. The lock is let go of
 * while others are asked for memory: nobody may manage r any more afterwards.
 */
static int back_wanted(struct kv_reservation *r, uint64_t first, uint64_t end)
{
	uint64_t a, b;
	int error = 0;

	for (a = first; a < end && error == 0 && r->wants; a = b) {
		b = a + 1;
		if (!r->wants[a] || kv_page_is_ready(&r->pages[a]))
			continue;
		while (b < end && r->wants[b] && !kv_page_is_ready(&r->pages[b]))
			b++;
		error = kv_back(r, a, b);
	}
	return error;
}

/* [lock] Nothing lives any more on the pages of the spans that have no count. */
static void bury_unwanted(struct kv_reservation *r, const struct kv_span *spans, uint64_t n)
{
	uint64_t first, end;

	for (uint64_t s = 0; s < n; s++) {
		pages_of(r, &spans[s], &first, &end);
		for (uint64_t i = first; i < end; i++) {
			if (r->wants[i] == 0)
				bury(r, i);
		}
	}
}

int kv_want(struct kv_reservation *r, uint64_t id, const struct kv_span *spans, uint64_t n)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t first, end, low = UINT64_MAX, high = 0;
	int error = 0;
	bool slow;

	kv_reservation_lock(r);
	if (!is_ours(r, id)) {
		error = -ENOENT;
		goto out;
	}
	atomic_store_explicit(&r->paused, false, memory_order_relaxed);
	count_spans(r, spans, n, true);
	for (uint64_t s = 0; s < n; s++) {
		pages_of(r, &spans[s], &first, &end);
		for (uint64_t i = first; i < end; i++)
			r->pages[i].flags &= ~KV_PAGE_GUESSES;
		low = first < low ? first : low;
		high = end > high ? end : high;
	}
	if (r->n_wanted_ready < r->n_wanted)
		error = back_wanted(r, low, high);
	if (!is_ours(r, id)) {
		error = -ENOENT;
	} else if (error < 0) {
		count_spans(r, spans, n, false);
		bury_unwanted(r, spans, n);
	}
out:
	slow = r->changed;
	kv_reservation_unlock(r);
	if (error < 0)
		kv_space_mark(space);
	if (slow) {
		kv_back_count(space);
		kv_space_publish(space);
	}
	return error;
}

int kv_unwant(struct kv_reservation *r, uint64_t id, const struct kv_span *spans, uint64_t n)
{
	uint64_t first, end;
	int error = 0;

	kv_reservation_lock(r);
	if (!is_ours(r, id)) {
		error = -ENOENT;
		goto out;
	}
	for (uint64_t s = 0; s < n && error == 0; s++) {
		pages_of(r, &spans[s], &first, &end);
		for (uint64_t i = first; i < end && error == 0; i++)
			error = i < r->n_pages && r->wants[i] ? 0 : -ERANGE;
	}
	if (error < 0)
		goto out;
	count_spans(r, spans, n, false);
	bury_unwanted(r, spans, n);
out:
	kv_reservation_unlock(r);
	if (error == 0)
		kv_space_mark(kv_reservation_space_of(r));
	return error;
}

uint64_t kv_wanted_pages(struct kv_reservation *r)
{
	uint64_t n;

	kv_lock_take(&r->lock);
	n = r->wants ? r->n_wanted : 0;
	kv_lock_drop(&r->lock);
	return n;
}

/* ---- what is kept from leaking ---- */

/* True if the last hint is too old. Then r is managed no more. */
static bool bites(struct kv_reservation *r, const char *by)
{
	uint64_t bound = r->watchdog_ns; /* constant while it is managed */
	struct kv_space *space = kv_reservation_space_of(r);
	bool bit = false;
	uint64_t now;

	if (bound == 0)
		return false;
	now = kv_gpu_now(space);
	if (kv_sub_sat(now, atomic_load_explicit(&r->hinted_ns, memory_order_relaxed)) <= bound)
		return false;
	kv_reservation_lock(r);
	if (kv_reservation_is_live(r) && r->wants) {
		let_go(r);
		bit = true;
	}
	kv_reservation_unlock(r);
	if (bit) {
		kv_leak(r, KV_STATIC_HINTS, by);
		kv_core_log(space->core, 1, "hints",
			"reservation 0x%llx: no hint while work went on: whole from now on",
			(unsigned long long)kv_reservation_base(r));
	}
	return bit;
}

bool kv_manage_hides(struct kv_reservation *r, enum kv_static_reason reason, const char *by)
{
	if (reason == KV_STATIC_EXPORT || reason == KV_STATIC_ARRAY || bites(r, by))
		return false;
	if (atomic_load_explicit(&r->hidden_reason, memory_order_relaxed) == KV_STATIC_NO) {
		kv_reservation_lock(r);
		if (r->wants && atomic_load_explicit(&r->hidden_reason, memory_order_relaxed) ==
					KV_STATIC_NO) {
			if (by)
				memcpy(r->hidden_by, by, strnlen(by, sizeof(r->hidden_by) - 1));
			atomic_store_explicit(&r->hidden_reason, reason, memory_order_relaxed);
		}
		kv_reservation_unlock(r);
	}
	return true;
}

void kv_manage_work(struct kv_core *core, const char *by)
{
	struct kv_reservation *r;
	uint64_t base = 0;

	if (atomic_load_explicit(&core->n_managed, memory_order_relaxed) == 0)
		return;
	while ((r = kv_table_next(&core->table, base, &base))) {
		if (atomic_load_explicit(&r->managed, memory_order_acquire) &&
			atomic_load_explicit(&r->hidden_reason, memory_order_relaxed) ==
				KV_STATIC_GRAPH)
			bites(r, by);
	}
}

int kv_settle_wanted(struct kv_reservation *r)
{
	return r->wants ? back_wanted(r, 0, r->n_pages) : 0;
}

void kv_manage_forget(struct kv_reservation *r)
{
	if (r->wants)
		let_go(r);
	atomic_store_explicit(&r->paused, false, memory_order_relaxed);
}

/* ---- pausing ---- */

void kv_unpause(struct kv_reservation *r)
{
	if (!kv_is_paused(r))
		return;
	kv_reservation_lock(r);
	atomic_store_explicit(&r->paused, false, memory_order_relaxed);
	kv_reservation_unlock(r);
}

int kv_pause(struct kv_reservation *r, bool keep, uint64_t *ret_bytes)
{
	int error = 0;

	*ret_bytes = 0;
	kv_reservation_lock(r);
	if (!kv_reservation_is_live(r)) {
		error = -ENOENT;
	} else if (r->pinned) {
		error = -EBUSY;
	} else {
		atomic_store_explicit(&r->paused, true, memory_order_relaxed);
		for (uint64_t i = 0; !keep && i < r->n_pages; i++)
			bury(r, i);
	}
	kv_reservation_unlock(r);
	if (error < 0)
		return error;
	if (!keep)
		kv_space_mark(kv_reservation_space_of(r));
	error = kv_evict_one(r, ret_bytes);
	if (error < 0) {
		kv_reservation_lock(r);
		atomic_store_explicit(&r->paused, false, memory_order_relaxed);
		for (uint64_t i = 0; i < r->n_pages; i++)
			r->pages[i].flags &= ~KV_PAGE_GUESSES;
		kv_reservation_unlock(r);
	}
	return error;
}

int kv_resume(struct kv_reservation *r)
{
	int error = 0;

	if (!kv_is_paused(r))
		return 0;
	kv_reservation_lock(r);
	atomic_store_explicit(&r->paused, false, memory_order_relaxed);
	if (!kv_reservation_is_live(r))
		error = 0;
	else if (kv_reservation_is_static(r))
		error = kv_back_whole(r);
	else if (r->wants)
		error = back_wanted(r, 0, r->n_pages);
	kv_reservation_unlock(r);
	return error;
}

bool kv_is_paused(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->paused, memory_order_relaxed);
}
