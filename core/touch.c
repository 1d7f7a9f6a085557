/* SPDX-License-Identifier: Apache-2.0 */
/*
 * touch.c - what a submission says about the pages that it may reach (DESIGN 1: P1, P2, P7).
 */
#include <errno.h>
#include <string.h>

#include "core/backing.h"
#include "core/page.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

/* [offset, offset + length) clipped to r; false if nothing is left. */
static bool clip(struct kv_reservation *r, uint64_t *offset, uint64_t *length)
{
	uint64_t size = kv_reservation_reserved(r);

	if (*offset >= size)
		return false;
	if (*length > size - *offset)
		*length = size - *offset;
	return *length > 0;
}

static bool is_quiet(struct kv_reservation *r)
{
	return atomic_load_explicit(&r->quiet, memory_order_acquire);
}

/* What was thought of the pages [first, end) is not true any more: they are used. */
static void use_pages(struct kv_reservation *r, uint64_t first, uint64_t end)
{
	uint32_t tick =
		atomic_load_explicit(&kv_reservation_space_of(r)->tick, memory_order_relaxed);
	uint64_t n_ahead = 0;
	uint16_t flags = 0;

	for (uint64_t i = first; i < end; i++) {
		flags |= r->pages[i].flags;
		n_ahead += !!(r->pages[i].flags & KV_PAGE_AHEAD);
		r->pages[i].flags &= ~KV_PAGE_GUESSES;
		r->pages[i].used = tick;
		if (r->pages[i].flags & KV_PAGE_COPIED)
			kv_page_drop_host(r, i);
	}
	if (flags & (KV_PAGE_DEAD | KV_PAGE_SPARE))
		kv_core_revise(kv_reservation_space_of(r)->core);
	if (n_ahead)
		kv_count(&kv_reservation_space_of(r)->pages_ahead_used, n_ahead);
}

/* Series of pages at once: what is on the stack is bounded. */
#define SERIES_MAX 256u

/* [lock] n <= SERIES_MAX ranges. */
static int touch_some(struct kv_reservation *r, const struct kv_range *ranges, uint32_t n_ranges)
{
	struct kv_series series[SERIES_MAX];
	uint32_t n = 0;
	int error;

	for (uint32_t i = 0; i < n_ranges; i++) {
		uint64_t offset = ranges[i].offset, length = ranges[i].length;

		if (!clip(r, &offset, &length))
			continue;
		series[n].first = offset / r->page_size;
		series[n++].end = (offset + length - 1) / r->page_size + 1;
	}
	if (!n)
		return 0;
	atomic_store_explicit(&r->paused, false, memory_order_relaxed);
	/* A static one has to be whole for this submission anyway: all at once is cheaper. */
	if (kv_reservation_is_static(r))
		error = kv_back_whole(r);
	else
		error = kv_back_series(r, series, n);
	for (uint32_t i = 0; i < n && error == 0; i++)
		use_pages(r, series[i].first, series[i].end);
	return error;
}

int kv_touch_ranges(struct kv_reservation *r, const struct kv_range *ranges, uint32_t n_ranges)
{
	struct kv_space *space = kv_reservation_space_of(r);
	int error = 0;
	bool slow;

	/* Static and whole: nothing to back, and nothing is believed about its content. */
	if (is_quiet(r))
		return 0;
	kv_reservation_lock(r);
	for (uint32_t i = 0; i < n_ranges && error == 0; i += SERIES_MAX) {
		uint32_t n = n_ranges - i < SERIES_MAX ? n_ranges - i : SERIES_MAX;

		if (kv_reservation_is_live(r))
			error = touch_some(r, ranges + i, n);
	}
	slow = r->changed;
	kv_reservation_unlock(r);
	if (slow) {
		kv_back_count(space);
		kv_space_publish(space);
	}
	return error;
}

int kv_touch(struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	const struct kv_range range = {offset, length};

	if (!clip(r, &offset, &length))
		return 0;
	return kv_touch_ranges(r, &range, 1);
}

void kv_run_at(struct kv_reservation *r, uint64_t offset, uint64_t end, struct kv_run *ret_run)
{
	uint64_t size = kv_reservation_reserved(r), page, at;
	bool empty = false;

	/* Beyond the end it is for the driver to say what is wrong. */
	if (end > size && offset < size)
		end = size;
	at = end;
	kv_lock_take(&r->lock);
	page = offset / r->page_size;
	if (page < r->n_pages) {
		empty = r->pages[page].state == KV_PAGE_EMPTY;
		for (page++; page < r->n_pages && page * r->page_size < end; page++) {
			if ((r->pages[page].state == KV_PAGE_EMPTY) != empty)
				break;
		}
		at = page * r->page_size;
	}
	kv_lock_drop(&r->lock);
	ret_run->offset = offset;
	ret_run->length = (at < end ? at : end) - offset;
	ret_run->empty = empty;
}

/* The pages wholly inside [offset, offset + length), which may be none: first >= end. */
static void inner_pages(struct kv_reservation *r, uint64_t offset, uint64_t length,
	uint64_t *ret_first, uint64_t *ret_end)
{
	*ret_first = (offset + r->page_size - 1) / r->page_size;
	*ret_end = (offset + length) / r->page_size;
}

int kv_zero(struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	uint64_t first, end, inner_first, inner_end;
	bool slow;
	int error = 0;

	if (is_quiet(r) || !clip(r, &offset, &length))
		return 0;
	/* Before copies are dropped: if the submission is to fail for want of memory, then without
	 * loss. */
	error = kv_settle(kv_reservation_space_of(r)->core);
	if (error < 0)
		return error;
	kv_reservation_lock(r);
	if (!kv_reservation_is_live(r))
		goto out;
	first = offset / r->page_size;
	end = (offset + length - 1) / r->page_size + 1;
	inner_pages(r, offset, length, &inner_first, &inner_end);

	/* The pages at the edges keep the rest of their content. Those that are EMPTY read as zero
	 * before and after; what is mapped stays as good a guess as it was. */
	if (first < inner_first && r->pages[first].state == KV_PAGE_EVICTED)
		error = kv_back(r, first, first + 1);
	if (error == 0 && end > inner_end && r->pages[end - 1].state == KV_PAGE_EVICTED)
		error = kv_back(r, end - 1, end);
	if (error < 0)
		goto out;
	kv_copies_drop(r, first, end);
	for (uint64_t i = inner_first; i < inner_end; i++) {
		struct kv_page *page = &r->pages[i];

		if (page->state == KV_PAGE_EVICTED) {
			kv_page_drop_host(r, i);
			kv_page_set(r, i, KV_PAGE_EMPTY);
		} else if (kv_page_is_ready(page) && !kv_reservation_is_static(r)) {
			page->flags |= KV_PAGE_ZEROING;
		}
	}
out:
	slow = r->changed;
	kv_reservation_unlock(r);
	if (slow) {
		struct kv_space *space = kv_reservation_space_of(r);

		kv_back_count(space);
		kv_space_publish(space);
	}
	return error;
}

void kv_zero_done(struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	uint64_t first, end, n = 0;

	if (is_quiet(r) || !clip(r, &offset, &length))
		return;
	kv_lock_take(&r->lock);
	if (kv_reservation_is_live(r) && !kv_reservation_is_static(r)) {
		inner_pages(r, offset, length, &first, &end);
		for (uint64_t i = first; i < end; i++) {
			struct kv_page *page = &r->pages[i];

			/* Another thread's touch since kv_zero() has cleared the mark. */
			if (page->flags & KV_PAGE_ZEROING) {
				page->flags &= ~(KV_PAGE_ZEROING | KV_PAGE_TRANSIENT);
				page->flags |= KV_PAGE_ZERO; /* beside DEAD, if it was */
				n++;
			}
		}
	}
	kv_lock_drop(&r->lock);
	if (n)
		kv_space_mark(kv_reservation_space_of(r));
}

static void leak(struct kv_reservation *r, enum kv_static_reason reason, const char *by)
{
	struct kv_space *space = kv_reservation_space_of(r);
	char text[KV_STATS_NAME_MAX];
	kv_gpu_addr base;

	kv_unpause(r);
	if (reason == KV_STATIC_NO || (kv_reservation_is_static(r) && reason != KV_STATIC_EXPORT))
		return;
	if (atomic_load_explicit(&r->managed, memory_order_acquire) &&
		kv_manage_hides(r, reason, by))
		return;
	kv_reservation_lock(r);
	if (kv_reservation_is_live(r) && reason == KV_STATIC_EXPORT)
		r->pinned = true;
	if (!kv_reservation_is_live(r) || kv_reservation_is_static(r)) {
		kv_reservation_unlock(r);
		return;
	}
	atomic_store_explicit(&r->static_reason, reason, memory_order_release);
	if (by)
		memcpy(r->static_by, by, strnlen(by, sizeof(r->static_by) - 1));
	memcpy(text, r->static_by, sizeof(text));
	base = kv_reservation_base(r);
	/* From now on any work may write any byte without a word. */
	for (uint64_t i = 0; i < r->n_pages; i++)
		r->pages[i].flags &= ~KV_PAGE_GUESSES;
	r->changed = true;
	kv_count(&space->n_static, 1);
	kv_reservation_unlock(r);
	kv_space_publish(space);
	kv_core_log(space->core, 3, "core", "reservation 0x%llx is static now (reason %d): %s",
		(unsigned long long)base, (int)reason, text);
}

void kv_leak(struct kv_reservation *r, enum kv_static_reason reason, const char *by)
{
	if (reason != KV_STATIC_NO && kv_reservation_keeps(r)) {
		kv_reservation_lock(r);
		if (kv_reservation_is_live(r))
			kv_copies_end(r);
		kv_reservation_unlock(r);
		kv_core_log(kv_reservation_space_of(r)->core, 3, "core",
			"reservation 0x%llx keeps no copies, it may be written by: %s",
			(unsigned long long)kv_reservation_base(r), by ? by : "?");
	}
	leak(r, reason, by);
}

void kv_leak_read(struct kv_reservation *r, enum kv_static_reason reason, const char *by)
{
	leak(r, reason, by);
}

/* What a transient touch makes of the guesses about one page. */
static void guess_transient(struct kv_page *page, bool assume_dead)
{
	/* EMPTY pages carry the mark through BUSY to BACKED. */
	if (page->state == KV_PAGE_EMPTY)
		page->flags |= KV_PAGE_TRANSIENT | (assume_dead ? KV_PAGE_DEAD : 0);
	else if (page->flags & KV_PAGE_ZERO)
		page->flags |= KV_PAGE_TRANSIENT;
	page->flags &= ~(KV_PAGE_ZERO | KV_PAGE_ZEROING);
	/* Dead only if whatever is written into it now is dead as well. */
	if (!assume_dead)
		page->flags &= ~(KV_PAGE_DEAD | KV_PAGE_SPARE | KV_PAGE_OLD | KV_PAGE_AHEAD);
}

int kv_touch_transient(struct kv_reservation *r, uint64_t offset, uint64_t length, bool assume_dead)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t first, end;
	int error = 0;

	if (is_quiet(r) || !clip(r, &offset, &length))
		return 0;
	kv_reservation_lock(r);
	if (!kv_reservation_is_live(r))
		goto out;
	atomic_store_explicit(&r->paused, false, memory_order_relaxed);
	first = offset / r->page_size;
	end = (offset + length - 1) / r->page_size + 1;
	if (kv_reservation_is_static(r)) {
		error = kv_back_whole(r);
		kv_copies_drop(r, first, end);
		goto out;
	}
	for (uint64_t i = first; i < end; i++)
		guess_transient(&r->pages[i], assume_dead && !(r->wants && r->wants[i]));
	kv_core_revise(space->core);
	error = kv_back(r, first, end);
	for (uint64_t i = first; error < 0 && i < end; i++) {
		if (!kv_page_is_ready(&r->pages[i]))
			r->pages[i].flags &= ~KV_PAGE_GUESSES;
	}
out:
	kv_reservation_unlock(r);
	kv_space_mark(space);
	kv_back_count(space);
	kv_space_publish(space);
	return error;
}

/* One page whose content is dead. True if that is news. */
static bool release_page(struct kv_reservation *r, uint64_t i)
{
	struct kv_page *page = &r->pages[i];

	if (page->state == KV_PAGE_EVICTED) {
		kv_page_drop_host(r, i);
		kv_page_set(r, i, KV_PAGE_EMPTY);
		return true;
	}
	if (!kv_page_is_ready(page) || (page->flags & KV_PAGE_DEAD))
		return false;
	page->flags &= ~(KV_PAGE_SPARE | KV_PAGE_OLD | KV_PAGE_AHEAD);
	page->flags |= KV_PAGE_DEAD;
	return true;
}

/* One page whose content is dead and whose memory may be wanted soon. True if that is news. */
static bool spare_page(struct kv_reservation *r, uint64_t i)
{
	struct kv_page *page = &r->pages[i];

	if (!kv_page_is_ready(page) || (page->flags & (KV_PAGE_DEAD | KV_PAGE_SPARE)) ||
		(r->wants && r->wants[i]))
		return false;
	page->flags |= KV_PAGE_SPARE;
	return true;
}

uint64_t kv_release(struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	uint64_t first, end, n = 0;
	bool slow;

	if (is_quiet(r) || !clip(r, &offset, &length))
		return 0;
	/* The rest of the last page belongs to nobody. */
	if (offset + length >= kv_reservation_requested(r))
		length = kv_reservation_reserved(r) - offset;
	kv_reservation_lock(r);
	if (kv_reservation_is_live(r) && !kv_reservation_is_static(r)) {
		inner_pages(r, offset, length, &first, &end);
		for (uint64_t i = first; i < end; i++)
			n += release_page(r, i);
	}
	slow = r->changed;
	length = n * r->page_size;
	kv_reservation_unlock(r);
	if (n)
		kv_space_mark(kv_reservation_space_of(r));
	if (slow)
		kv_space_publish(kv_reservation_space_of(r));
	return length;
}

uint64_t kv_release_later(struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	uint64_t first, end, n = 0;

	if (is_quiet(r) || !clip(r, &offset, &length))
		return 0;
	/* The rest of the last page belongs to nobody. */
	if (offset + length >= kv_reservation_requested(r))
		length = kv_reservation_reserved(r) - offset;
	kv_lock_take(&r->lock);
	if (kv_reservation_is_live(r) && !kv_reservation_is_static(r)) {
		inner_pages(r, offset, length, &first, &end);
		for (uint64_t i = first; i < end; i++)
			n += spare_page(r, i);
	}
	kv_lock_drop(&r->lock);
	if (n)
		kv_space_linger(kv_reservation_space_of(r));
	return n * kv_reservation_page_size(r);
}
