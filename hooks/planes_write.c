/* SPDX-License-Identifier: Apache-2.0 */
/* planes_write.c - writers of planes: see planes.h and planes_body.h. */
#include "core/agent.h"
#include "hooks/call.h"
#include "hooks/planes.h"
#include "hooks/planes_body.h"

/* Ranges that are backed in one batch. */
#define N_BATCH 512u

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

	for (uint32_t i = 0; i < kv_planes.n_used; i++) {
		const struct plane *q = &kv_planes.slots[kv_planes.used[i]];

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

/* After the next write but one of this length the window may be left, by it or by who reads it: its
 * next page will be wanted. */
static inline void look_ahead(struct window *w, const struct kv_written *span)
{
	struct kv_reservation *r;

	if (kv_likely(span->high + 2 * (span->high - span->low) <= GET(w->reach)) ||
		GET(w->ahead) != FAR || !kv_hooks.config.ahead)
		return;
	SET(w->ahead, NEAR);
	atomic_fetch_add_explicit(&kv_planes.n_near, 1, memory_order_relaxed);
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
	uint64_t p_base = GET(p->base), high;

	SET(w->high, 0); /* in between it fits nothing */
	SET(w->low, base + (span->low - base) / page * page);
	SET(w->revision, kv_planes_revision());
	SET(w->ahead, FAR);
	high = base + (span->high - base + page - 1) / page * page;
	SET(w->reach, p_base + kv_planes_reach(span->low - p_base, high - p_base,
				       GET(p->row_stride), kv_planes_grid()));
	SET(w->high, high);
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
	pthread_mutex_lock(&kv_planes.mutex);
	p = kv_planes_entry(base, row_stride, &full);
	if (p) {
		for (uint32_t i = 0; new_pages && i < n; i++)
			batch_add(&batch, kv_reservation_base(r), spans[i].low, spans[i].high);
		if (new_pages)
			collect_siblings(&batch, r, p, spans, n);
		note_written(p, base, row_stride, spans, n);
		atomic_fetch_add_explicit(&kv_planes.n_proofs, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&kv_planes.mutex);
	kv_planes_say_full(full);
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
	struct plane *p = kv_planes_find(base);
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
	return GET(kv_planes.n_near);
}

uint64_t kv_planes_grid(void)
{
	return GET(kv_planes.grid);
}

uint32_t kv_planes_ahead(const struct kv_space *space, uint64_t *pages, uint32_t room)
{
	uint32_t n = 0;

	pthread_mutex_lock(&kv_planes.mutex);
	for (uint32_t i = 0; i < kv_planes.n_used; i++) {
		struct plane *p = &kv_planes.slots[kv_planes.used[i]];
		/* A look-up without a lock. */
		struct kv_reservation *r = kv_core_find(kv_hooks.core, GET(p->base));

		for (uint32_t k = 0; r && k < N_WINDOWS && n < room; k++) {
			struct window *w = &p->windows[k];
			uint32_t near = NEAR;

			if (GET(w->ahead) == NEAR && kv_reservation_space(r) == space &&
				GET(w->high) - kv_reservation_base(r) <
					kv_reservation_reserved(r) &&
				atomic_compare_exchange_strong_explicit(&w->ahead, &near, ASKED,
					memory_order_relaxed, memory_order_relaxed))
				pages[n++] = GET(w->high);
		}
	}
	pthread_mutex_unlock(&kv_planes.mutex);
	return n;
}
