/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.c - host copies that stay true: what was restored and only read since goes without copying.
 *
 * A page that is restored is the same as its copy until somebody writes it. Of most reservations
 * that cannot be known: an unknown kernel got a pointer once and may use it again. But some are
 * only ever filled by copies, which are exact, and read by kernels that take a pointer to const:
 * weights. As long as that is all that happens to a static reservation, it keeps its copies
 * (KV_PAGE_COPIED), and a touch drops those of its range.
 *
 * It ends for good (loose) with the first pointer that may be written through, in whatever way it
 * gets out: from then on nothing says when it is used. Until then no launch may go unseen, so that
 * such a reservation is never quiet, also before it is first evicted.
 */
#include "core/page.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

bool kv_reservation_keeps(const struct kv_reservation *r)
{
	return !atomic_load_explicit(&r->loose, memory_order_relaxed) &&
	       kv_reservation_space_of(r)->core->config.keep_copies;
}

void kv_copies_drop(struct kv_reservation *r, uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++) {
		if (r->pages[i].flags & KV_PAGE_COPIED)
			kv_page_drop_host(r, i);
	}
}

void kv_copies_end(struct kv_reservation *r)
{
	if (!kv_reservation_keeps(r))
		return;
	atomic_store_explicit(&r->loose, true, memory_order_relaxed);
	kv_copies_drop(r, 0, r->n_pages);
}
