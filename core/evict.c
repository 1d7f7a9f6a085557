/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict.c - taking pages away from a quiesced device: to host memory, or to nothing.
 *
 * The gate is closed and the device drained all the while, so that a page that is read here is not
 * written by anybody until it is unmapped. Each reservation's pages go in chunks: copied out in
 * runs, one flush, looked at, unmapped in runs. Before the unmap of a chunk nothing has changed.
 */
#include <errno.h>
#include <string.h>

#include "core/page.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

/* Device bytes per chunk: bounds the host memory that is taken for pages that turn out to be zero.
 */
#define CHUNK_BYTES (512ull << 20)
/* What was not touched for longer is all the same. */
#define OLDEST_TICKS 256u

/* One walk over the reservations of a space. */
struct sweep {
	struct kv_space *space;
	uint64_t wanted;   /* device bytes still to be released; saturates at 0 */
	uint64_t released; /* device bytes */
	bool forgotten;    /* take only pages whose content is known not to matter */
	bool spares;       /* beside them, those whose memory was to be kept for a while */
	bool verify;       /* read MAYBE_ZERO pages, take those that are zero; keep no copies */
	bool keep;         /* released handles become spares */
	uint32_t tick;     /* now */
	uint32_t min_age;  /* in ticks: only pages that were not touched for so long */
	int error;         /* the first one */
};

/* Marks of pages that are probably zero. A fill that was submitted last need not have run last: a
 * write held back by a host function comes after it. So the pages are read before they go. */
#define MAYBE_ZERO (KV_PAGE_ZERO | KV_PAGE_TRANSIENT)

/* True if the page's content will never be read: it may go without a look. */
static bool is_forgotten(const struct kv_page *page)
{
	return page->flags & (KV_PAGE_DEAD | KV_PAGE_SPARE);
}

/* True if it goes in a walk that takes only what is forgotten. */
static bool is_first(const struct sweep *sweep, const struct kv_page *page)
{
	return page->flags & (sweep->spares ? KV_PAGE_DEAD | KV_PAGE_SPARE : KV_PAGE_DEAD);
}

static bool is_wanted(const struct sweep *sweep, const struct kv_page *page)
{
	/* SPILLED pages cost no device memory; they go only when they cost nothing to lose. */
	if (page->state == KV_PAGE_SPILLED)
		return (sweep->forgotten && is_first(sweep, page)) ||
		       (sweep->verify && (page->flags & MAYBE_ZERO));
	if (page->state != KV_PAGE_BACKED)
		return false;
	if (sweep->forgotten)
		return is_first(sweep, page);
	if (sweep->verify)
		return page->flags & MAYBE_ZERO;
	return sweep->tick - page->used >= sweep->min_age;
}

static bool all_zero(const void *memory, uint64_t size)
{
	const char *bytes = memory;

	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static bool needs_copy(const struct kv_page *page)
{
	return page->state == KV_PAGE_BUSY && !is_forgotten(page) &&
	       !(page->flags & KV_PAGE_COPIED);
}

/* Takes host slots for the BUSY pages of [first, end) that need a copy, and queues the copies. */
static int copy_out(struct kv_reservation *r, uint64_t first, uint64_t end, bool *ret_queued)
{
	struct kv_space *space = kv_reservation_space_of(r);
	uint64_t a, b;

	for (a = first; a < end; a = b) {
		uint32_t n;
		void *host;
		int error;

		b = a + 1;
		if (!needs_copy(&r->pages[a]))
			continue;
		while (b < end && needs_copy(&r->pages[b]) &&
			!((r->pages[a].flags ^ r->pages[b].flags) & KV_PAGE_HOST))
			b++;
		error = kv_host_take(
			space, b - a > UINT32_MAX ? UINT32_MAX : (uint32_t)(b - a), &host, &n);
		if (error < 0)
			return error;
		b = a + n;
		for (uint64_t i = a; i < b; i++)
			r->pages[i].host = (char *)host + (i - a) * r->page_size;
		error = kv_gpu_copy_out(space, host, kv_page_addr(r, a), n * r->page_size);
		if (error < 0)
			return error;
		*ret_queued = true;
	}
	return 0;
}

/* Back to mapped, as before: no copy is kept. */
static void keep_page(struct kv_reservation *r, uint64_t page)
{
	kv_page_drop_host(r, page);
	kv_page_set(
		r, page, (r->pages[page].flags & KV_PAGE_HOST) ? KV_PAGE_SPILLED : KV_PAGE_BACKED);
}

/* The page, unmapped, has lost its memory: EVICTED or EMPTY. */
static void lose_page(struct kv_reservation *r, uint64_t page)
{
	struct kv_space *space = kv_reservation_space_of(r);

	kv_count(&space->pages_released, 1);
	kv_core_revise(space->core);
	/* A copy of what nobody reads may be left from before. */
	if (is_forgotten(&r->pages[page]))
		kv_page_drop_host(r, page);
	if (r->pages[page].host) {
		kv_count(&space->pages_not_copied, !!(r->pages[page].flags & KV_PAGE_COPIED));
		kv_page_set(r, page, KV_PAGE_EVICTED);
		kv_count(&space->pages_evicted, 1);
	} else {
		kv_page_set(r, page, KV_PAGE_EMPTY);
	}
}

/* Unmaps the BUSY pages of [first, end) in runs and gives their memory back. */
static void take_away(struct sweep *sweep, struct kv_reservation *r, uint64_t first, uint64_t end)
{
	struct kv_space *space = sweep->space;
	uint64_t a, b;
	int error;

	for (a = first; a < end; a = b) {
		b = a + 1;
		if (r->pages[a].state != KV_PAGE_BUSY)
			continue;
		while (b < end && r->pages[b].state == KV_PAGE_BUSY)
			b++;
		error = kv_gpu_unmap(space, kv_page_addr(r, a), (b - a) * r->page_size);
		if (error < 0 && sweep->error == 0)
			sweep->error = error;
		for (uint64_t i = a; i < b; i++) {
			bool device = !(r->pages[i].flags & KV_PAGE_HOST);

			if (error < 0) {
				keep_page(r, i);
				continue;
			}
			/* A release that fails has no remedy: the driver keeps the memory. */
			if (!r->big)
				kv_page_detach(r, i, sweep->keep);
			r->pages[i].flags &= ~KV_PAGE_BIG;
			lose_page(r, i);
			if (device) {
				sweep->released += r->page_size;
				sweep->wanted = kv_sub_sat(sweep->wanted, r->page_size);
			}
		}
		if (error == 0 && r->big) {
			kv_gpu_device_release(space, r->big, r->n_pages * r->page_size);
			r->big = 0;
			r->n_with_memory = 0;
		}
	}
}

/* Pages of [first, end) that were copied and are zero need no copy; of a reap, the others stay. */
static void look_at_copies(
	struct sweep *sweep, struct kv_reservation *r, uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++) {
		struct kv_page *page = &r->pages[i];

		if (page->state != KV_PAGE_BUSY || !page->host || (page->flags & KV_PAGE_COPIED))
			continue;
		if (all_zero(page->host, r->page_size)) {
			kv_page_drop_host(r, i);
		} else if (sweep->verify) {
			page->flags &= ~KV_PAGE_GUESSES; /* not looked at again */
			keep_page(r, i);
		}
	}
}

/* The wanted pages of [first, end). On failure they are what they were. */
static void sweep_chunk(struct sweep *sweep, struct kv_reservation *r, uint64_t first, uint64_t end)
{
	bool queued = false;
	int error;

	for (uint64_t i = first; i < end; i++) {
		if (r->big || is_wanted(sweep, &r->pages[i]))
			kv_page_set(r, i, KV_PAGE_BUSY);
	}
	error = copy_out(r, first, end, &queued);
	/* Also after a failure: the copies queued must not write into slots that are given back. */
	if (queued) {
		int flush_error = kv_gpu_flush(sweep->space);

		if (flush_error < 0)
			kv_gpu_quiet_queue(sweep->space, true);
		if (error == 0)
			error = flush_error;
	}
	if (error < 0) {
		if (sweep->error == 0)
			sweep->error = error;
		for (uint64_t i = first; i < end; i++) {
			if (r->pages[i].state == KV_PAGE_BUSY)
				keep_page(r, i);
		}
		return;
	}
	look_at_copies(sweep, r, first, end);
	take_away(sweep, r, first, end);
}

/*
 * The next chunk: from the first wanted page at or after first until there are enough of them.
 * Returns where it ends, behind its last wanted page; *ret_first == the end: there is none. Most
 * walks find little, and pages that nobody wants are looked at here only.
 */
static uint64_t next_chunk(
	const struct sweep *sweep, struct kv_reservation *r, uint64_t first, uint64_t *ret_first)
{
	uint64_t limit = sweep->wanted;
	uint64_t bytes = 0, end = r->n_pages;

	/* What is forgotten takes no host memory. */
	if (!sweep->forgotten && limit > CHUNK_BYTES)
		limit = CHUNK_BYTES;
	*ret_first = end;
	for (uint64_t i = first; i < r->n_pages && bytes < limit; i++) {
		if (!is_wanted(sweep, &r->pages[i]))
			continue;
		if (bytes == 0)
			*ret_first = i;
		bytes += r->page_size;
		end = i + 1;
	}
	return end;
}

static void sweep_reservation(struct sweep *sweep, struct kv_reservation *r)
{
	uint64_t first, end;

	kv_reservation_lock(r);
	if (kv_reservation_space_of(r) != sweep->space || !kv_reservation_is_live(r))
		goto out;
	if (r->pinned)
		goto out; /* another process or a network card would go on using the old memory */
	if (r->big) {
		/* One mapping: it goes whole. It is static, so nothing of it is forgotten. */
		if (!sweep->forgotten && !sweep->verify &&
			r->n_in_state[KV_PAGE_BACKED] == r->n_pages)
			sweep_chunk(sweep, r, 0, r->n_pages);
		goto out;
	}
	for (first = 0; first < r->n_pages && sweep->wanted && sweep->error == 0; first = end) {
		end = next_chunk(sweep, r, first, &first);
		if (first < end)
			sweep_chunk(sweep, r, first, end);
	}
out:
	kv_reservation_unlock(r);
}

/* The lowest priority above last (-1: any) among the reservations of the space; 256: none. */
static int next_priority(struct kv_space *space, int last)
{
	struct kv_reservation *r;
	uint64_t base = 0;
	int lowest = 256;

	while ((r = kv_table_next(&space->core->table, base, &base))) {
		int priority = kv_reservation_priority(r);

		if (kv_reservation_space_of(r) == space && priority > last && priority < lowest)
			lowest = priority;
	}
	return lowest;
}

/* The reservations of one priority that are or are not static. */
static void sweep_priority(struct sweep *sweep, int want_static, int priority)
{
	struct kv_core *core = sweep->space->core;
	struct kv_reservation *r;
	uint64_t base = 0;

	while (sweep->wanted && sweep->error == 0 &&
		(r = kv_table_next(&core->table, base, &base))) {
		if (kv_reservation_priority(r) == priority &&
			kv_reservation_is_static(r) == (want_static == 1))
			sweep_reservation(sweep, r);
	}
}

/* Reservations that are (1) or are not (0) static, by rising priority. */
static void sweep_space(struct sweep *sweep, int want_static)
{
	int priority = -1;

	while ((priority = next_priority(sweep->space, priority)) < 256)
		sweep_priority(sweep, want_static, priority);
}

/*
 * The same for elastic ones, those pages first that were touched least lately: by powers of two of
 * the tick, since a walk per tick would take longer than it saves. Of a graph that is launched
 * again and again pages are not touched anew; they are, once one of them has gone.
 */
static void sweep_by_age(struct sweep *sweep)
{
	int priority = -1;

	sweep->tick = atomic_load_explicit(&sweep->space->tick, memory_order_relaxed);
	while ((priority = next_priority(sweep->space, priority)) < 256) {
		/* With everything to go there is no order. */
		sweep->min_age = sweep->wanted == UINT64_MAX ? 0 : OLDEST_TICKS;
		for (;; sweep->min_age /= 2) {
			sweep_priority(sweep, 0, priority);
			if (sweep->min_age == 0)
				break;
		}
	}
}

/* Quiesces, and makes sure that nothing of our own is under way either. */
static int begin(struct sweep *sweep, uint64_t *ret_start)
{
	int error = kv_quiesce_begin(sweep->space, ret_start);

	if (error < 0)
		return error;
	error = kv_gpu_quiet_queue(sweep->space, false);
	if (error < 0)
		kv_quiesce_end(sweep->space, *ret_start);
	return error;
}

/* Opens the gate. Nothing released and an error is an error, anything else is success.
 */
static int sweep_end(struct sweep *sweep, uint64_t start, uint64_t *ret_bytes)
{
	struct kv_space *space = sweep->space;

	kv_host_collect(space);
	kv_quiesce_end(space, start);
	kv_space_publish(space);
	if (sweep->error < 0 && sweep->released == 0)
		return sweep->error;
	if (ret_bytes)
		*ret_bytes = sweep->released;
	return 0;
}

int kv_evict(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes)
{
	struct sweep sweep = {.space = space, .wanted = bytes, .spares = true};
	uint64_t start;
	int error;

	if (bytes == 0 || kv_counted(&space->backed) == 0) {
		kv_host_collect(space);
		if (ret_bytes)
			*ret_bytes = 0;
		return 0;
	}
	error = begin(&sweep, &start);
	if (error < 0)
		return error;
	/* The cheapest first: what nobody reads, what is zero, what need not come back before the
	 * next submission, then the rest. */
	sweep.forgotten = true;
	sweep_space(&sweep, 0);
	sweep.forgotten = false;
	sweep.verify = true;
	sweep_space(&sweep, 0);
	sweep.verify = false;
	sweep_by_age(&sweep);
	sweep_space(&sweep, 1);
	return sweep_end(&sweep, start, ret_bytes);
}

int kv_evict_one(struct kv_reservation *r, uint64_t *ret_bytes)
{
	struct sweep sweep = {
		.space = kv_reservation_space_of(r), .wanted = UINT64_MAX, .spares = true};
	uint64_t start;
	int error;

	error = begin(&sweep, &start);
	if (error < 0)
		return error;
	sweep.forgotten = true;
	sweep_reservation(&sweep, r);
	sweep.forgotten = false;
	sweep_reservation(&sweep, r);
	return sweep_end(&sweep, start, ret_bytes);
}

int kv_evict_all(struct kv_core *core)
{
	struct kv_space *space;
	int first_error = 0;

	for (space = kv_space_first(core); space; space = space->next) {
		int error;

		if (kv_counted(&space->backed) == 0)
			continue;
		error = kv_evict(space, UINT64_MAX, NULL);
		if (first_error == 0)
			first_error = error;
	}
	return first_error;
}

/* True if a page of the space has one of the marks: nobody is to wait at the gate for nothing. */
static bool has_marks(struct kv_space *space, uint16_t marks)
{
	struct kv_reservation *r;
	uint64_t base = 0;
	bool found = false;

	while (!found && (r = kv_table_next(&space->core->table, base, &base))) {
		if (kv_reservation_space_of(r) != space)
			continue;
		kv_lock_take(&r->lock);
		for (uint64_t i = 0; i < r->n_pages && !found; i++)
			found = r->pages[i].flags & marks;
		kv_lock_drop(&r->lock);
	}
	return found;
}

static int reap(struct kv_space *space, bool spares, uint64_t *ret_bytes)
{
	struct sweep sweep = {.space = space, .wanted = UINT64_MAX, .spares = spares, .keep = true};
	uint16_t marks = MAYBE_ZERO | KV_PAGE_DEAD | (spares ? KV_PAGE_SPARE : 0);
	bool marked = atomic_exchange(&space->marked, false) || spares;
	uint64_t start;
	int error;

	if (!marked || !has_marks(space, marks)) {
		kv_host_collect(space);
		if (ret_bytes)
			*ret_bytes = 0;
		return 0;
	}
	error = begin(&sweep, &start);
	if (error < 0) {
		kv_space_mark(space);
		return error;
	}
	sweep.forgotten = true;
	sweep_space(&sweep, 0);
	sweep.forgotten = false;
	sweep.verify = true;
	sweep_space(&sweep, 0);
	if (sweep.error < 0)
		kv_space_mark(space); /* what is left is for the next time */
	return sweep_end(&sweep, start, ret_bytes);
}

int kv_reap(struct kv_space *space, uint64_t *ret_bytes)
{
	return reap(space, false, ret_bytes);
}

int kv_reap_spares(struct kv_space *space, uint64_t *ret_bytes)
{
	return reap(space, true, ret_bytes);
}

bool kv_space_is_marked(const struct kv_space *space)
{
	return atomic_load_explicit(&space->marked, memory_order_relaxed);
}
