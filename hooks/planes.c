/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planes.c - see planes.h.
 *
 * One entry per address at which a plane begins: as writers name it (a tensor, all its streams) and
 * as readers do (one stream of it); for the first stream they are the same. Entries lie in a hash
 * table that is read without a lock. All fields are relaxed atomics: what two threads write at once
 * is a hint at worst, since each release is checked against the proof under the mutex.
 */
#include "hooks/planes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/agent.h"
#include "hooks/call.h"

/* 64 layers of keys and values for 24 streams. */
#define N_SLOTS 4096u
#define N_PLANES (N_SLOTS * 3 / 4)
#define N_WINDOWS 4u
/* Ranges that are backed in one batch. */
#define N_BATCH 512u

/* struct plane.base of a slot that held a plane once. No address is that low. */
#define GONE 1u

/* Pages that are known to have memory: [low, high). */
struct window {
	_Atomic uint64_t low, high;
	_Atomic uint64_t revision; /* as of this kv_planes_revision() */
	_Atomic uint32_t ahead;    /* enum ahead */
};

/* Of the page behind a window. */
enum ahead { FAR, NEAR, ASKED };

struct plane {
	_Atomic uint64_t base; /* 0: the slot was never used. atomic: release when one is added */
	_Atomic uint64_t row_stride;

	/* As writers name it. Nothing was written while low >= high. */
	_Atomic uint64_t low, high;          /* all that was ever written lies between */
	_Atomic uint64_t row_first, row_end; /* the last write; after a clear see CLEARED */
	struct window windows[N_WINDOWS];    /* where it wrote lately */
	_Atomic uint32_t next_window;

	/* As readers name it. */
	_Atomic uint64_t end; /* address; 0: never read */
	_Atomic bool proven;
	_Atomic uint64_t n_proofs; /* state of the table when it was not proven */
	/* While the extent ends within (live_low, live_high] nothing more is dead. */
	_Atomic uint64_t live_low, live_high;
	_Atomic uint64_t dead_from; /* from here on all has been released */
	_Atomic uint64_t revision;  /* kv_planes_revision() when it was */
};

/* row_first after a clear: planes that were cleared together are in step. */
#define CLEARED (1ull << 63)

static struct plane slots[N_SLOTS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint16_t used[N_PLANES]; /* guarded by mutex; slots that hold a plane */
static uint32_t n_used;         /* guarded by mutex */
static uint64_t n_clears;       /* guarded by mutex */
static bool told_full;          /* guarded by mutex */
/* Rises when something is written that may prove a plane. atomic: relaxed */
static _Atomic uint64_t n_proofs;
/* Rises when a window has come NEAR. atomic: relaxed; whoever raises it pokes the agent, which
 * synchronises */
static _Atomic uint64_t n_near;
/* Rises when planes are forgotten or cleared. atomic: relaxed */
static _Atomic uint64_t n_changes;

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

uint64_t kv_planes_revision(void)
{
	return kv_core_revision(kv_hooks.core) + GET(n_changes);
}

/* ---- the table ---- */

static uint32_t slot_of(uint64_t base)
{
	return (uint32_t)((base * 0x9e3779b97f4a7c15ull) >> 52) % N_SLOTS;
}

/* NULL: not known. */
static struct plane *find(uint64_t base)
{
	for (uint32_t i = 0, at = slot_of(base); i < N_SLOTS; i++, at = (at + 1) % N_SLOTS) {
		uint64_t here = atomic_load_explicit(&slots[at].base, memory_order_acquire);

		if (here == base)
			return &slots[at];
		if (!here)
			break;
	}
	return NULL;
}

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

/* [mutex] The entry of a plane, made if there is none. NULL: no room. *ret_full: for the first time
 * (the caller says so once the mutex is free). */
static struct plane *entry(uint64_t base, uint64_t row_stride, bool *ret_full)
{
	struct plane *p = find(base);
	uint32_t at = slot_of(base);

	if (p) {
		/* The same memory, used for something else. */
		if (GET(p->row_stride) != row_stride)
			reset(p, row_stride);
		return p;
	}
	if (n_used == N_PLANES) {
		*ret_full = !told_full;
		told_full = true;
		return NULL;
	}
	while (GET(slots[at].base) > GONE)
		at = (at + 1) % N_SLOTS;
	p = &slots[at];
	reset(p, row_stride);
	used[n_used++] = (uint16_t)at;
	atomic_store_explicit(&p->base, base, memory_order_release);
	return p;
}

static void say_full(bool full)
{
	if (full)
		kv_hooks_log(1, "planes",
			"more than %u planes: the memory of the others does not shrink", N_PLANES);
}

/* [mutex] The i-th of those in use goes. */
static void drop(uint32_t i)
{
	uint32_t at = used[i];

	used[i] = used[--n_used];
	SET(slots[at].base, GONE);
	/* A search ends at a slot that was never used: those before one need not be passed. */
	while (GET(slots[at].base) == GONE && !GET(slots[(at + 1) % N_SLOTS].base)) {
		SET(slots[at].base, 0);
		at = (at + N_SLOTS - 1) % N_SLOTS;
	}
}

/* ---- writers ---- */

/* A batch of ranges of one reservation. */
struct batch {
	uint32_t n;
	struct kv_range ranges[N_BATCH];
};

static void batch_add(struct batch *batch, uint64_t base, uint64_t low, uint64_t high)
{
	if (batch->n < N_BATCH)
		batch->ranges[batch->n++] = (struct kv_range){low - base, high - low};
}

/* True if a page of the spans in r is EMPTY. */
static bool grows(struct kv_reservation *r, const struct kv_written *spans, uint32_t n)
{
	uint64_t base = kv_reservation_base(r), size = kv_reservation_reserved(r), at;
	struct kv_run run;

	for (uint32_t i = 0; i < n; i++) {
		for (at = spans[i].low - base; at < spans[i].high - base && at < size;
			at += run.length) {
			kv_run_at(r, at, spans[i].high - base, &run);
			if (run.empty)
				return true;
		}
	}
	return false;
}

/* The same rows of q, which begins in r, as the spans of a plane at base. */
static void add_rows(struct batch *batch, struct kv_reservation *r, const struct plane *q,
	uint64_t base, uint64_t row_stride, const struct kv_written *spans, uint32_t n)
{
	uint64_t r_base = kv_reservation_base(r), q_base = GET(q->base),
		 stride = GET(q->row_stride);
	uint64_t room = r_base + kv_reservation_reserved(r) - q_base, low, high;

	for (uint32_t i = 0; i < n; i++) {
		if (!__builtin_mul_overflow((spans[i].low - base) / row_stride, stride, &low) &&
			!__builtin_mul_overflow(
				(spans[i].high - base + row_stride - 1) / row_stride, stride,
				&high) &&
			high <= room)
			batch_add(batch, r_base, q_base + low, q_base + high);
	}
}

/*
 * [mutex] Who was written where p was written last, and has not been written at the spans yet, will
 * be: the same rows of theirs. Only within r, whose pages one call can back at once.
 */
static void collect_siblings(struct batch *batch, struct kv_reservation *r, const struct plane *p,
	const struct kv_written *spans, uint32_t n)
{
	uint64_t r_base = kv_reservation_base(r), r_size = kv_reservation_reserved(r);

	for (uint32_t i = 0; i < n_used; i++) {
		const struct plane *q = &slots[used[i]];

		if (q != p && GET(q->base) - r_base < r_size && GET(q->low) < GET(q->high) &&
			GET(q->row_first) == GET(p->row_first) &&
			GET(q->row_end) == GET(p->row_end))
			add_rows(batch, r, q, GET(p->base), GET(p->row_stride), spans, n);
	}
}

/* What the spans say about p beyond its pages. */
static void note_written(struct plane *p, uint64_t base, uint64_t row_stride,
	const struct kv_written *spans, uint32_t n)
{
	uint64_t low = spans[0].low, high = spans[n - 1].high;

	SET(p->row_first, (low - base) / row_stride);
	SET(p->row_end, (high - base + row_stride - 1) / row_stride);
	if (low < GET(p->low))
		SET(p->low, low);
	if (high > GET(p->high))
		SET(p->high, high);
}

/* The write after the next one of this length may leave the window: its next page will be wanted.
 */
static inline void look_ahead(struct window *w, const struct kv_written *span)
{
	struct kv_reservation *r;

	if (kv_likely(span->high + 2 * (span->high - span->low) <= GET(w->high)) ||
		GET(w->ahead) != FAR || !kv_hooks.config.ahead)
		return;
	SET(w->ahead, NEAR);
	atomic_fetch_add_explicit(&n_near, 1, memory_order_relaxed);
	r = kv_core_find(kv_hooks.core, span->low);
	if (r)
		kv_agent_poke(kv_space_agent(kv_reservation_space(r)));
}

/* The pages of the span have memory now. */
static void add_window(struct plane *p, struct kv_reservation *r, const struct kv_written *span)
{
	uint64_t page = kv_reservation_page_size(r), base = kv_reservation_base(r);
	uint32_t at = atomic_fetch_add_explicit(&p->next_window, 1, memory_order_relaxed);
	struct window *w = &p->windows[at % N_WINDOWS];

	SET(w->high, 0); /* in between it fits nothing */
	SET(w->low, base + (span->low - base) / page * page);
	SET(w->revision, kv_planes_revision());
	SET(w->ahead, FAR);
	SET(w->high, base + (span->high - base + page - 1) / page * page);
	look_ahead(w, span);
}

/* A new page, or a new plane. */
static void write_slowly(
	uint64_t base, uint64_t row_stride, const struct kv_written *spans, uint32_t n)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, base);
	bool new_pages, full = false;
	struct batch batch;
	struct plane *p;

	if (!r || kv_reservation_is_static(r))
		return;
	new_pages = grows(r, spans, n);
	batch.n = 0;
	pthread_mutex_lock(&mutex);
	p = entry(base, row_stride, &full);
	if (p) {
		for (uint32_t i = 0; new_pages && i < n; i++)
			batch_add(&batch, kv_reservation_base(r), spans[i].low, spans[i].high);
		if (new_pages)
			collect_siblings(&batch, r, p, spans, n);
		note_written(p, base, row_stride, spans, n);
		atomic_fetch_add_explicit(&n_proofs, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&mutex);
	say_full(full);
	/* What this cannot give, the accesses that need it will ask for, one by one. */
	if (!p || (new_pages && kv_touch_ranges(r, batch.ranges, batch.n) < 0))
		return;
	for (uint32_t i = 0; i < n; i++)
		add_window(p, r, &spans[i]);
}

/* True if p wrote there a moment ago, and the pages have not gone. */
static bool in_window(struct plane *p, const struct kv_written *span, uint64_t revision)
{
	for (uint32_t i = 0; i < N_WINDOWS; i++) {
		struct window *w = &p->windows[i];

		if (span->low >= GET(w->low) && span->high <= GET(w->high) &&
			GET(w->revision) == revision) {
			look_ahead(w, span);
			return true;
		}
	}
	return false;
}

void kv_planes_write(
	uint64_t base, uint64_t row_stride, const struct kv_written *spans, uint32_t n_spans)
{
	uint64_t revision = kv_planes_revision();
	struct plane *p = find(base);
	bool known = p && GET(p->row_stride) == row_stride;

	if (!row_stride || !n_spans || spans[0].low < base)
		return;
	for (uint32_t i = 0; known && i < n_spans; i++)
		known = in_window(p, &spans[i], revision);
	if (known)
		note_written(p, base, row_stride, spans, n_spans);
	else
		write_slowly(base, row_stride, spans, n_spans);
}

uint64_t kv_planes_near(void)
{
	return GET(n_near);
}

uint32_t kv_planes_ahead(const struct kv_space *space, uint64_t *pages, uint32_t room)
{
	uint32_t n = 0;

	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_used; i++) {
		struct plane *p = &slots[used[i]];
		/* A look-up without a lock. */
		struct kv_reservation *r = kv_core_find(kv_hooks.core, GET(p->base));

		for (uint32_t k = 0; r && k < N_WINDOWS && n < room; k++) {
			struct window *w = &p->windows[k];
			uint32_t near = NEAR;

			if (GET(w->ahead) == NEAR && kv_reservation_space(r) == space &&
				atomic_compare_exchange_strong_explicit(&w->ahead, &near, ASKED,
					memory_order_relaxed, memory_order_relaxed))
				pages[n++] = GET(w->high);
		}
	}
	pthread_mutex_unlock(&mutex);
	return n;
}

/* ---- readers ---- */

/* [mutex] True if a recognised writer writes this plane: rows of the same stride, counted from a
 * whole number of planes before it. */
static bool is_proven(const struct kv_extent *x)
{
	for (uint32_t i = 0; i < n_used; i++) {
		const struct plane *w = &slots[used[i]];
		uint64_t base = GET(w->base);

		if (base <= x->plane && GET(w->row_stride) == x->row_stride &&
			(x->plane - base) % (x->end - x->plane) == 0 && GET(w->low) < x->end &&
			GET(w->high) > x->plane)
			return true;
	}
	return false;
}

/* What a look at an extent has found: bytes from the reservation's base. */
struct found {
	bool proven;
	bool news;      /* [from, end) may hold something to release */
	uint64_t spare; /* the page from here on is dead, but may be wanted soon */
	uint64_t from, end;
};

/* [mutex] Notes the extent in p. */
static void note_extent(struct plane *p, const struct kv_extent *x, struct kv_reservation *r,
	uint64_t revision, struct found *found)
{
	uint64_t page = kv_reservation_page_size(r), base = kv_reservation_base(r);
	uint64_t pages = (x->live - base + page - 1) / page, from = base + (pages + 1) * page;
	bool news =
		GET(p->revision) != revision || GET(p->end) != x->end || from < GET(p->dead_from);

	if (GET(p->end) != x->end)
		SET(p->proven, false);
	SET(p->end, x->end);
	if (!GET(p->proven)) {
		uint64_t proofs = GET(n_proofs);

		news = GET(p->n_proofs) != proofs && is_proven(x);
		SET(p->n_proofs, proofs);
		if (!news)
			return;
		SET(p->proven, true);
	}
	SET(p->live_high, 0); /* in between it fits nothing */
	SET(p->live_low, base + pages * page - page);
	SET(p->dead_from, from);
	SET(p->revision, revision);
	SET(p->live_high, base + pages * page);
	*found = (struct found){
		.proven = true,
		.news = news && from < x->end,
		.spare = pages * page,
		.from = from - base,
		.end = x->end - base,
	};
}

static void read_slowly(const struct kv_extent *x)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, x->plane);
	uint64_t revision = kv_planes_revision();
	struct found found = {0};
	struct plane *p;
	bool full = false;

	if (!r || kv_reservation_is_static(r))
		return;
	pthread_mutex_lock(&mutex);
	p = entry(x->plane, x->row_stride, &full);
	if (p)
		note_extent(p, x, r, revision, &found);
	pthread_mutex_unlock(&mutex);
	say_full(full);
	if (found.proven && found.spare < found.end)
		kv_release_later(r, found.spare,
			(found.from < found.end ? found.from : found.end) - found.spare);
	if (found.news)
		kv_release(r, found.from, found.end - found.from);
}

void kv_planes_read(const struct kv_extent *extent)
{
	const struct plane *p = find(extent->plane);

	if (extent->live <= extent->plane || extent->live > extent->end)
		return;
	if (p && GET(p->row_stride) == extent->row_stride && GET(p->end) == extent->end) {
		if (GET(p->proven) ? extent->live > GET(p->live_low) &&
					     extent->live <= GET(p->live_high) &&
					     GET(p->revision) == kv_planes_revision()
				   : GET(p->n_proofs) == GET(n_proofs))
			return;
	}
	read_slowly(extent);
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

	pthread_mutex_lock(&mutex);
	n_clears++;
	for (uint32_t i = 0; i < n_used; i++) {
		struct plane *p = &slots[used[i]];
		uint64_t at = GET(p->base);

		if (at - base >= length)
			continue;
		any |= GET(p->low) < GET(p->high);
		SET(p->row_first, CLEARED | n_clears);
		SET(p->row_end, 0);
	}
	pthread_mutex_unlock(&mutex);
	if (!r || kv_reservation_is_static(r))
		return;
	if (any)
		atomic_fetch_add_explicit(&n_changes, 1, memory_order_relaxed);
	/* All of it is zero, whoever wrote it before (older builds write no planes, but views). */
	kv_release(r, base - kv_reservation_base(r), length);
}

void kv_planes_forget(uint64_t base, uint64_t length)
{
	pthread_mutex_lock(&mutex);
	for (uint32_t i = n_used; i-- > 0;) {
		if (GET(slots[used[i]].base) - base < length)
			drop(i);
	}
	pthread_mutex_unlock(&mutex);
	atomic_fetch_add_explicit(&n_changes, 1, memory_order_relaxed);
}
