/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h - the states of a page and what is behind it. Private to core. The mutex of the
 * reservation is held by every caller.
 */
#ifndef KV_CORE_PAGE_H
#define KV_CORE_PAGE_H

#include "core/reservation.h"

/* True if a page may go from one state to another: the whole state machine in one place. */
bool kv_page_may(enum kv_page_state from, enum kv_page_state to);
/* Moves a page to a state and keeps all counters. Asserts kv_page_may(). */
void kv_page_set(struct kv_reservation *r, uint64_t page, enum kv_page_state to);

static inline bool kv_page_has_memory(const struct kv_page *page)
{
	return page->handle != 0 || (page->flags & KV_PAGE_BIG);
}

/* True for BACKED and SPILLED: readable by the device. */
static inline bool kv_page_is_ready(const struct kv_page *page)
{
	return page->state == KV_PAGE_BACKED || page->state == KV_PAGE_SPILLED;
}

/* Gives a page that has none its own memory, already mapped. where: KV_PAGE_HOST or 0. */
void kv_page_attach(struct kv_reservation *r, uint64_t page, kv_gpu_handle handle, uint8_t where);
/*
 * Takes the memory of a page, already unmapped, away and gives it back: to the spares if keep, else
 * to the driver. Host memory goes to the driver and its budget back. Errors of the release are
 * returned, but the page has no memory afterwards in any case.
 */
int kv_page_detach(struct kv_reservation *r, uint64_t page, bool keep);
/* The host copy of a page is not needed any more. */
void kv_page_drop_host(struct kv_reservation *r, uint64_t page);

#endif
