/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.c - the page state machine and its book-keeping.
 */
#include "core/page.h"

#include <assert.h>

#include "core/space.h"
#include "core/poison.h"

#define BIT(state) (1u << (state))

/* Row: from. EVICTED to EMPTY is the only change without BUSY: a host copy is dropped, nothing
 * moves. */
static const uint8_t may_go_to[] = {
	[KV_PAGE_EMPTY] = BIT(KV_PAGE_BUSY),
	[KV_PAGE_BACKED] = BIT(KV_PAGE_BUSY),
	[KV_PAGE_EVICTED] = BIT(KV_PAGE_BUSY) | BIT(KV_PAGE_EMPTY),
	[KV_PAGE_SPILLED] = BIT(KV_PAGE_BUSY),
	[KV_PAGE_BUSY] = BIT(KV_PAGE_EMPTY) | BIT(KV_PAGE_BACKED) | BIT(KV_PAGE_EVICTED) |
			 BIT(KV_PAGE_SPILLED),
};

bool kv_page_may(enum kv_page_state from, enum kv_page_state to)
{
	return (unsigned)from < sizeof(may_go_to) && (may_go_to[from] & BIT(to));
}

static _Atomic uint64_t *bytes_in_state(struct kv_space *space, enum kv_page_state state)
{
	switch (state) {
	case KV_PAGE_BACKED:
		return &space->backed;
	case KV_PAGE_EVICTED:
		return &space->evicted;
	case KV_PAGE_SPILLED:
		return &space->spilled;
	default:
		return NULL;
	}
}

/* The page map of the statistics: kept here, since nobody has the time to walk all pages for it. */
static uint32_t *cell_of(struct kv_reservation *r, uint64_t page, enum kv_page_state state)
{
	/* the cell c with c*n/64 <= page < (c+1)*n/64 (stats.h) */
	uint64_t cell = ((page + 1) * KV_STATS_CELLS - 1) / r->n_pages;

	if (state < KV_PAGE_BACKED || state > KV_PAGE_SPILLED)
		return NULL;
	return &r->cells[cell][state - KV_PAGE_BACKED];
}

void kv_page_set(struct kv_reservation *r, uint64_t page, enum kv_page_state to)
{
	struct kv_page *p = &r->pages[page];
	struct kv_space *space = kv_reservation_space_of(r);
	_Atomic uint64_t *bytes;
	uint32_t *cell;

#ifdef KV_DEBUG_CHECKS
	assert(kv_page_may(p->state, to));
#endif
	bytes = bytes_in_state(space, p->state);
	if (bytes)
		kv_count(bytes, -r->page_size);
	bytes = bytes_in_state(space, to);
	if (bytes)
		kv_count(bytes, r->page_size);
	if (kv_page_is_ready(p))
		kv_core_lose(space->core);
	cell = cell_of(r, page, p->state);
	if (cell)
		--*cell;
	cell = cell_of(r, page, to);
	if (cell)
		++*cell;
	r->n_in_state[p->state]--;
	r->n_in_state[to]++;
	if (r->wants && r->wants[page])
		r->n_wanted_ready -= kv_page_is_ready(p);
	p->state = to;
	if (r->wants && r->wants[page])
		r->n_wanted_ready += kv_page_is_ready(p);
	/* On the way (BUSY) they are kept: a move that fails has changed nothing. */
	if (to == KV_PAGE_EMPTY || to == KV_PAGE_EVICTED)
		p->flags &= ~(KV_PAGE_GUESSES | KV_PAGE_COPIED);
	if (r->n_in_state[KV_PAGE_BACKED] * r->page_size > r->backed_peak)
		r->backed_peak = r->n_in_state[KV_PAGE_BACKED] * r->page_size;
	r->changed = true;
	kv_space_changed(space);
}

void kv_page_attach(struct kv_reservation *r, uint64_t page, kv_gpu_handle handle, uint8_t where)
{
	struct kv_page *p = &r->pages[page];

	p->handle = handle;
	p->flags = (p->flags & ~KV_PAGE_HOST) | where;
	r->n_with_memory++;
}

int kv_page_detach(struct kv_reservation *r, uint64_t page, bool keep)
{
	struct kv_page *p = &r->pages[page];
	struct kv_space *space = kv_reservation_space_of(r);
	kv_gpu_handle handle = p->handle;
	int error = 0;

	r->n_with_memory--;
	p->handle = 0;
	if (p->flags & KV_PAGE_HOST) {
		p->flags &= ~KV_PAGE_HOST;
		error = kv_gpu_handle_release(space, handle);
		kv_budget_give(space, r->page_size);
	} else if (keep) {
		error = kv_spare_push(space, handle);
	} else {
		error = kv_gpu_device_release(space, handle, r->page_size);
	}
	kv_space_changed(space);
	return error;
}

void kv_page_drop_host(struct kv_reservation *r, uint64_t page)
{
	struct kv_page *p = &r->pages[page];

	if (p->host) {
		kv_host_give(kv_reservation_space_of(r), p->host);
		p->host = NULL;
	}
	p->flags &= ~KV_PAGE_COPIED;
}
