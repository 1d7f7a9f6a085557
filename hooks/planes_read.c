/* SPDX-License-Identifier: Apache-2.0 */
/* planes_read.c - readers of planes: see planes.h and planes_body.h. */
#include "hooks/call.h"
#include "hooks/planes.h"
#include "hooks/planes_body.h"

/* [mutex] True if a recognised writer writes this plane: rows of the same stride, counted from a
 * whole number of planes before it. */
static bool is_proven(const struct kv_extent *x)
{
	for (uint32_t i = 0; i < kv_planes.n_used; i++) {
		const struct plane *w = &kv_planes.slots[kv_planes.used[i]];
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

/* [mutex] What all extents have in common. */
static void learn_grid(const struct kv_extent *x)
{
	uint64_t a = (x->live - x->plane) / x->row_stride, b = GET(kv_planes.grid), rest;

	while (b) {
		rest = a % b;
		a = b;
		b = rest;
	}
	SET(kv_planes.grid, a);
}

/* [mutex] Notes the extent in p. */
static void note_extent(struct plane *p, const struct kv_extent *x, struct kv_reservation *r,
	uint64_t revision, struct found *found)
{
	uint64_t page = kv_reservation_page_size(r), base = kv_reservation_base(r);
	uint64_t pages = (x->live - base + page - 1) / page, from = base + (pages + 1) * page;
	bool news =
		GET(p->revision) != revision || GET(p->end) != x->end || from < GET(p->dead_from);

	if (x->live < x->end && x->row_stride)
		learn_grid(x);
	if (GET(p->end) != x->end)
		SET(p->proven, false);
	SET(p->end, x->end);
	if (!GET(p->proven)) {
		uint64_t proofs = GET(kv_planes.n_proofs);

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
	pthread_mutex_lock(&kv_planes.mutex);
	p = kv_planes_entry(x->plane, x->row_stride, &full);
	if (p)
		note_extent(p, x, r, revision, &found);
	pthread_mutex_unlock(&kv_planes.mutex);
	kv_planes_say_full(full);
	if (found.proven && found.spare < found.end)
		kv_release_later(r, found.spare,
			(found.from < found.end ? found.from : found.end) - found.spare);
	if (found.news)
		kv_release(r, found.from, found.end - found.from);
}

void kv_planes_read(const struct kv_extent *extent)
{
	const struct plane *p = kv_planes_find(extent->plane);

	if (extent->live <= extent->plane || extent->live > extent->end)
		return;
	if (p && GET(p->row_stride) == extent->row_stride && GET(p->end) == extent->end) {
		if (GET(p->proven) ? extent->live > GET(p->live_low) &&
					     extent->live <= GET(p->live_high) &&
					     GET(p->revision) == kv_planes_revision()
				   : GET(p->n_proofs) == GET(kv_planes.n_proofs))
			return;
	}
	read_slowly(extent);
}
