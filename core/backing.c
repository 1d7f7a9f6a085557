/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backing.c - giving pages memory, in runs.
 *
 * A run is a maximal series of adjacent pages that need memory. Per page: one handle (recycled or
 * created) and one map call; per run: one set_access, and one zero or copy for each series of pages
 * that want the same; per call: one flush. All pages of the call are BUSY until the flush has
 * returned. A run whose content comes back from host memory goes in windows: while one of them is
 * being copied the next one is given its memory.
 */
#include "core/backing.h"

#include <errno.h>

#include "core/page.h"
#include "core/space.h"
#include "core/poison.h"

/* Bytes of copies between two looks at the next pages: some dozen calls of the driver, and long
 * enough a copy to hide them. */
#define WINDOW_BYTES (16ull << 20)

static bool needs_memory(const struct kv_page *page)
{
	return page->state == KV_PAGE_EMPTY || page->state == KV_PAGE_EVICTED;
}

void kv_back_count(struct kv_space *space)
{
	kv_count(&space->submissions, 1);
	atomic_store_explicit(&space->last_submission_ns, kv_gpu_now(space), memory_order_relaxed);
}

/* Where the memory of pages may come from. */
struct source {
	bool may_spill; /* from the host, if the device has none */
	uint64_t *paid; /* not NULL: only so many bytes, which have been charged */
};

/* A handle out of what has been charged. */
static int paid_memory(struct kv_space *space, uint64_t *paid, kv_gpu_handle *ret_handle)
{
	int error;

	if (*paid < space->page_size)
		return -ENOMEM;
	error = kv_gpu_handle_create_charged(space, space->page_size, KV_GPU_DEVICE, ret_handle);
	if (error == 0)
		*paid -= space->page_size;
	return error;
}

/*
 * A handle for one page. ret_where: 0 or KV_PAGE_HOST. Spares come first, so that there is nothing
 * to trim when the device is full; what is left then is the host budget, if it may be spilled.
 */
static int page_memory(struct kv_space *space, const struct source *source,
	kv_gpu_handle *ret_handle, uint8_t *ret_where)
{
	kv_gpu_handle handle = kv_spare_pop(space);
	int error;

	*ret_where = 0;
	if (handle) {
		*ret_handle = handle;
		return 0;
	}
	if (source->paid)
		return paid_memory(space, source->paid, ret_handle);
	error = kv_gpu_handle_create(space, space->page_size, KV_GPU_DEVICE, ret_handle);
	if (error != -ENOMEM || !source->may_spill)
		return error;
	if (!kv_budget_take(space, space->page_size))
		return -ENOMEM;
	error = kv_gpu_handle_create(space, space->page_size, KV_GPU_HOST, ret_handle);
	if (error < 0) {
		kv_budget_give(space, space->page_size);
		return error == -EOPNOTSUPP ? -ENOMEM : error;
	}
	*ret_where = KV_PAGE_HOST;
	return 0;
}

/*
 * Pages that were to become readable go back to what they were. queued: fills may
 * be under way. If the device cannot be made to let go of a page, the page stays mapped as a
 * leftover.
 */
static void undo(struct kv_reservation *r, uint64_t first, uint64_t end, bool queued)
{
	struct kv_space *space = kv_reservation_space_of(r);
	bool stuck = kv_gpu_quiet_queue(space, queued) < 0;
	uint64_t a, b;

	for (a = first; a < end; a = b) {
		bool mapped = r->pages[a].state == KV_PAGE_BUSY && r->pages[a].handle != 0;

		b = a + 1;
		if (!mapped)
			continue;
		while (b < end && r->pages[b].state == KV_PAGE_BUSY && r->pages[b].handle != 0)
			b++;
		if (stuck || kv_gpu_unmap(space, kv_page_addr(r, a), (b - a) * r->page_size) < 0)
			continue;
		for (uint64_t i = a; i < b; i++)
			kv_page_detach(r, i, true);
	}
	for (uint64_t i = first; i < end; i++) {
		if (r->pages[i].state == KV_PAGE_BUSY)
			kv_page_set(r, i, r->pages[i].host ? KV_PAGE_EVICTED : KV_PAGE_EMPTY);
	}
}

/* True if page b may be filled by the call that fills the page before it. */
static bool fills_on(const struct kv_reservation *r, uint64_t b)
{
	const struct kv_page *before = &r->pages[b - 1], *page = &r->pages[b];

	if ((before->flags ^ page->flags) & (KV_PAGE_HOST | KV_PAGE_BIG))
		return false;
	if (!before->host)
		return !page->host;
	return page->host == (char *)before->host + r->page_size;
}

/* Queues what gives [first, end), mapped and BUSY, its content. ret_queued: something was queued.
 */
static int fill(struct kv_reservation *r, uint64_t first, uint64_t end, bool *ret_queued)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t a, b;
	int error;

	for (a = first; a < end; a = b) {
		uint64_t size;

		for (b = a + 1; b < end && fills_on(r, b); b++)
			;
		size = (b - a) * r->page_size;
		if (r->pages[a].host)
			error = kv_gpu_copy_in(space, kv_page_addr(r, a), r->pages[a].host, size);
		else
			error = kv_gpu_zero(space, kv_page_addr(r, a), size);
		if (error < 0)
			return error;
		*ret_queued = true;
	}
	return 0;
}

/* Maps and starts to fill one run. On failure the run is as it was. */
static int back_run(
	struct kv_reservation *r, uint64_t first, uint64_t end, const struct source *source)
{
	struct kv_space *space = kv_reservation_space_of(r);
	bool queued = false;
	uint64_t i;
	int error = 0;

	for (i = first; i < end; i++) {
		kv_gpu_handle handle;
		uint8_t where;

		kv_page_set(r, i, KV_PAGE_BUSY);
		if (kv_page_has_memory(&r->pages[i]))
			continue;
		error = page_memory(space, source, &handle, &where);
		if (error < 0)
			goto fail;
		error = kv_gpu_map(space, kv_page_addr(r, i), r->page_size, handle);
		/* Attached even when map failed: detaching knows where it goes. */
		kv_page_attach(r, i, handle, where);
		if (error < 0) {
			kv_page_detach(r, i, true);
			goto fail;
		}
	}
	error = kv_gpu_set_access(space, kv_page_addr(r, first), (end - first) * r->page_size);
	if (error < 0)
		goto fail;
	error = fill(r, first, end, &queued);
	if (error < 0)
		goto fail;
	return 0;

fail:
	undo(r, first, end, queued);
	return error;
}

/* The fills are done: BUSY pages are readable, host copies go. */
static void commit(struct kv_reservation *r, uint64_t first, uint64_t end)
{
	struct kv_space *space = kv_reservation_space_of(r);

	kv_core_revise(space->core);
	for (uint64_t i = first; i < end; i++) {
		struct kv_page *page = &r->pages[i];

		if (page->state != KV_PAGE_BUSY)
			continue;
		page->used = atomic_load_explicit(&space->tick, memory_order_relaxed);
		if (page->host) {
			kv_count(&space->pages_restored, 1);
			if (kv_reservation_is_static(r) && kv_reservation_keeps(r) &&
				!(page->flags & KV_PAGE_HOST))
				page->flags |= KV_PAGE_COPIED;
			else
				kv_page_drop_host(r, i);
		}
		if (page->flags & KV_PAGE_HOST) {
			kv_page_set(r, i, KV_PAGE_SPILLED);
			kv_count(&space->pages_spilled, 1);
		} else {
			kv_page_set(r, i, KV_PAGE_BACKED);
			kv_count(&space->pages_backed, 1);
		}
	}
}

/* The end of what is backed at once from first on: as far as pages need memory, but for what is to
 * be copied not farther than a window. */
static uint64_t window_end(const struct kv_reservation *r, uint64_t first, uint64_t end)
{
	uint64_t copied = 0, i;

	for (i = first; i < end && needs_memory(&r->pages[i]) && copied < WINDOW_BYTES; i++)
		copied += r->pages[i].host ? r->page_size : 0;
	return i;
}

/* Starts to back what needs it in [first, end). *ret_queued: some of it was. */
static int back_pages(struct kv_reservation *r, uint64_t first, uint64_t end,
	const struct source *source, bool *ret_queued)
{
	uint64_t a = first, b;
	int error = 0;

	while (error == 0) {
		while (a < end && !needs_memory(&r->pages[a]))
			a++;
		if (a >= end)
			break;
		b = window_end(r, a, end);
		error = back_run(r, a, b, source);
		if (error == 0)
			*ret_queued = true;
		a = b;
	}
	return error;
}

/* Counts what came back from host memory since before (EVICTED pages of r) and start_ns. */
static void count_restore(struct kv_reservation *r, uint64_t before, uint64_t start_ns)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t now = r->n_in_state[KV_PAGE_EVICTED];

	if (now >= before)
		return;
	kv_count(&space->restores, 1);
	kv_count(&space->restored_bytes, (before - now) * r->page_size);
	kv_count(&space->restore_ns, kv_sub_sat(kv_gpu_now(space), start_ns));
}

/* With what is to be had now. */
static int back_now(struct kv_reservation *r, const struct kv_series *series, uint32_t n,
	const struct source *source)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t n_evicted = r->n_in_state[KV_PAGE_EVICTED];
	uint64_t start_ns = n_evicted ? kv_gpu_now(space) : 0;
	bool queued = false;
	int error = 0, flush_error;

	if (r->n_in_state[KV_PAGE_EMPTY] + n_evicted == 0)
		return 0;
	for (uint32_t i = 0; i < n && error == 0; i++)
		error = back_pages(r, series[i].first, series[i].end, source, &queued);
	if (!queued)
		return error;
	flush_error = kv_gpu_flush(space);
	for (uint32_t i = 0; i < n; i++) {
		if (flush_error < 0)
			undo(r, series[i].first, series[i].end, true);
		else
			commit(r, series[i].first, series[i].end);
	}
	count_restore(r, n_evicted, start_ns);
	return flush_error < 0 ? flush_error : error;
}

static uint64_t bytes_missing(
	const struct kv_reservation *r, const struct kv_series *series, uint32_t n)
{
	uint64_t missing = 0;

	for (uint32_t i = 0; i < n; i++) {
		for (uint64_t page = series[i].first; page < series[i].end; page++)
			missing += needs_memory(&r->pages[page]);
	}
	return missing * r->page_size;
}

/* How often the driver may refuse what the ledger grants, and nothing be gained by asking again.
 * Then the ledger does not know who has the memory. */
#define REFUSALS_MAX 16u

/*
 * Others are asked before anything is spilled. What is backed so far stays; the mutex is let go of
 * while waiting, which only lets other submissions back more: the caller is inside the gate, so
 * nothing is taken away or freed meanwhile.
 */
int kv_back_series(struct kv_reservation *r, const struct kv_series *series, uint32_t n)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t start_ns, missing, least = UINT64_MAX;
	uint32_t n_refusals = 0;
	struct source source = {.may_spill = !space->sink.ledger.ops};
	int error = back_now(r, series, n, &source);

	if (error != -ENOMEM || source.may_spill)
		return error;
	start_ns = kv_waiting_since(space);
	do {
		missing = bytes_missing(r, series, n);
		n_refusals = missing < least ? 0 : n_refusals + 1;
		least = missing < least ? missing : least;
		kv_reservation_unlock(r);
		source.may_spill = kv_ledger_wait(space, missing, start_ns, true) < 0 ||
				   n_refusals == REFUSALS_MAX;
		kv_reservation_lock(r);
		r->changed = true; /* for the caller, who looks whether this was a slow one */
		error = back_now(r, series, n, &source);
	} while (error == -ENOMEM && !source.may_spill);
	return error;
}

int kv_back_unneeded(struct kv_reservation *r, const struct kv_series *series, uint32_t n)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t bytes = bytes_missing(r, series, n), paid;
	struct source source = {.paid = &paid};
	int error;

	if (bytes == 0)
		return 0;
	paid = kv_sub_sat(bytes, kv_spare_bytes(space));
	error = kv_unneeded_take(space, paid);
	if (error < 0)
		return error;
	error = back_now(r, series, n, &source);
	kv_unneeded_give(space, paid);
	return error;
}

int kv_back(struct kv_reservation *r, uint64_t first, uint64_t end)
{
	const struct kv_series series = {first, end};

	return kv_back_series(r, &series, 1);
}

/* All pages by one handle. -ENOMEM: there is none of this size; nothing has changed. */
static int back_big(struct kv_reservation *r)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t base = kv_page_addr(r, 0), size = r->n_pages * r->page_size;
	uint64_t n_evicted = r->n_in_state[KV_PAGE_EVICTED], start_ns = kv_gpu_now(space);
	kv_gpu_handle handle;
	bool queued = false;
	int error;

	error = kv_gpu_handle_create(space, size, KV_GPU_DEVICE, &handle);
	if (error < 0)
		return error;
	error = kv_gpu_map(space, base, size, handle);
	if (error < 0)
		goto release;
	r->big = handle;
	for (uint64_t i = 0; i < r->n_pages; i++) {
		kv_page_set(r, i, KV_PAGE_BUSY);
		r->pages[i].flags |= KV_PAGE_BIG;
	}
	r->n_with_memory = r->n_pages;
	error = kv_gpu_set_access(space, base, size);
	if (error == 0)
		error = fill(r, 0, r->n_pages, &queued);
	if (error == 0) {
		queued = true;
		error = kv_gpu_flush(space);
	}
	if (error == 0) {
		commit(r, 0, r->n_pages);
		count_restore(r, n_evicted, start_ns);
		return 0;
	}

	/* In reverse. undo() sees no handles of single pages: it resets the states. */
	bool stuck = kv_gpu_quiet_queue(space, queued) < 0;

	undo(r, 0, r->n_pages, false);
	if (stuck || kv_gpu_unmap(space, base, size) < 0)
		return error; /* all leftovers */
	for (uint64_t i = 0; i < r->n_pages; i++)
		r->pages[i].flags &= ~KV_PAGE_BIG;
	r->n_with_memory = 0;
	r->big = 0;
release:
	kv_gpu_device_release(space, handle, size);
	return error;
}

int kv_back_whole(struct kv_reservation *r)
{
	if (kv_reservation_is_static(r) && r->n_with_memory == 0) {
		int error = back_big(r);

		if (error != -ENOMEM)
			return error;
	}
	return kv_back(r, 0, r->n_pages);
}
