/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reservation.h - the body of a reservation and of its pages. Private to core.
 *
 * Objects live as long as the core and are used again for later reservations, so that a stale
 * pointer is wrong at worst, never wild. What is read without the mutex is atomic.
 */
#ifndef KV_CORE_RESERVATION_H
#define KV_CORE_RESERVATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "core/rank.h"

/* struct kv_page.flags */
enum {
	KV_PAGE_ZERO = 1 << 0, /* mapped, last filled with zero (P2); read before it goes */
	KV_PAGE_ZEROING =
		1 << 1, /* a zero fill is being submitted; untouched since it was announced */
	KV_PAGE_TRANSIENT = 1 << 2, /* was zero before a transient touch, untouched since (P7) */
	KV_PAGE_DEAD = 1 << 3,      /* what is in it is never read; untouched since (P5, P7, P8) */
	KV_PAGE_HOST = 1 << 4,      /* the memory behind it is host memory */
	KV_PAGE_BIG = 1 << 5,       /* mapped by the reservation's one big handle */
	KV_PAGE_SPARE = 1 << 6,     /* as DEAD, but its memory is kept for a while */
	KV_PAGE_OLD = 1 << 7,       /* beside SPARE: half of that while is over */
	KV_PAGE_COPIED = 1 << 8,    /* BACKED, and host holds the same content; see kept.c */
	KV_PAGE_AHEAD = 1 << 9,     /* beside SPARE: backed before anybody touched it */

	/* What the application's next access makes untrue. */
	KV_PAGE_GUESSES = KV_PAGE_ZERO | KV_PAGE_ZEROING | KV_PAGE_TRANSIENT | KV_PAGE_DEAD |
			  KV_PAGE_SPARE | KV_PAGE_OLD | KV_PAGE_AHEAD,
};

/*
 * A page that is EMPTY or EVICTED and has memory (kv_page_has_memory()) is a leftover: an unmap
 * failed after its content was given up. It counts as not backed; the next touch fills it again.
 */
struct kv_page {
	kv_gpu_handle handle; /* memory of one page, 0: none of its own */
	void *host;    /* content while EVICTED, and while BUSY on the way from or to it; with
			  KV_PAGE_COPIED also while BACKED */
	uint8_t state; /* enum kv_page_state */
	uint16_t flags;
	uint32_t used; /* space->tick when it was last touched */
};

struct kv_reservation {
	struct kv_reservation *next_object;   /* immutable after the object is made */
	struct kv_reservation *next_recycled; /* guarded by the table's lock */

	/* atomic: relaxed; constant while the reservation lives, base 0: not live */
	_Atomic(struct kv_space *) space;
	_Atomic uint64_t base;
	_Atomic uint64_t requested;
	_Atomic uint64_t reserved;

	_Atomic uint32_t static_reason; /* atomic: release under lock, acquire */
	_Atomic bool quiet;             /* atomic: release under lock, acquire; static and whole,
					 * and no launch need be looked at for what it writes */
	_Atomic bool loose; /* atomic: relaxed, written under lock; something may write anywhere in
			     * it without a word: see kept.c */
	bool pinned;        /* guarded by lock; exported: others know its memory, which must stay */

	struct kv_lock lock; /* KV_RANK_RESERVATION; guards everything below */
	struct kv_page *pages;
	uint64_t n_pages;
	uint64_t page_size;
	uint64_t n_in_state[5];            /* pages by enum kv_page_state */
	uint32_t cells[KV_STATS_CELLS][3]; /* pages by cell of the map: BACKED, EVICTED, SPILLED */
	uint64_t n_with_memory;            /* mapped, also leftovers */
	kv_gpu_handle big;                 /* memory of all pages, 0: none */
	bool unsettled;                    /* counted in hot.n_unsettled */
	bool changed;                      /* the statistics sink has not been told */
	uint64_t backed_peak;              /* bytes */
	uint32_t row;                      /* for the statistics sink */
	uint32_t version;                  /* of the statistics, rises with each change */
	int score;
	uint64_t created_ns;
	char static_by[KV_STATS_NAME_MAX];
	char tag[32];
	char rules[32];        /* the family of rules that reaches it */
	_Atomic bool is_ruled; /* atomic: relaxed, written under lock; rules says something */

	/* ---- want.h ---- */
	/* atomic: release under lock, acquire; 0: not managed. What follows is meant while it is */
	_Atomic uint64_t managed;
	_Atomic uint64_t hinted_ns;     /* atomic: relaxed; time of the last hint */
	_Atomic uint32_t hidden_reason; /* atomic: relaxed, written under lock; why it would be
					 * static if it were not managed */
	_Atomic uint8_t priority;       /* atomic: relaxed; the lowest is evicted first */
	_Atomic bool paused;            /* atomic: relaxed, written under lock */
	uint64_t watchdog_ns;           /* constant while it is managed */
	uint32_t *wants;         /* guarded by lock; live things per page; NULL: not managed */
	uint64_t n_wanted;       /* guarded by lock; pages with a count */
	uint64_t n_wanted_ready; /* guarded by lock; those of them that are mapped */
	uint32_t n_managers;     /* guarded by lock */
	char hidden_by[KV_STATS_NAME_MAX]; /* guarded by lock */

	uint32_t published; /* guarded by the space's stats_lock; version that the sink knows */
};

static inline struct kv_space *kv_reservation_space_of(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->space, memory_order_relaxed);
}

static inline kv_gpu_addr kv_page_addr(const struct kv_reservation *r, uint64_t page)
{
	return atomic_load_explicit(&r->base, memory_order_relaxed) + page * r->page_size;
}

static inline bool kv_reservation_is_live(const struct kv_reservation *r)
{
	return atomic_load_explicit(&r->base, memory_order_relaxed) != 0;
}

/* [lock] True if something has to be mapped again before the next submission. */
static inline bool kv_reservation_owes(const struct kv_reservation *r, bool is_static)
{
	if (!kv_reservation_is_live(r) || atomic_load_explicit(&r->paused, memory_order_relaxed))
		return false;
	if (is_static)
		return r->n_in_state[KV_PAGE_BACKED] + r->n_in_state[KV_PAGE_SPILLED] < r->n_pages;
	return r->wants && r->n_wanted_ready < r->n_wanted;
}

/* True if what is restored keeps its copy until it is written (kept.c). */
bool kv_reservation_keeps(const struct kv_reservation *r);
/* [lock] The copies of the pages [first, end) that are mapped are not true any more. */
void kv_copies_drop(struct kv_reservation *r, uint64_t first, uint64_t end);
/* [lock] r may be written anywhere, from now on and for good. */
void kv_copies_end(struct kv_reservation *r);

/* [lock] Backs what is wanted and not mapped (want.c). As kv_back(). */
int kv_settle_wanted(struct kv_reservation *r);
/* [lock] r is about to go: nobody manages it any more (want.c). */
void kv_manage_forget(struct kv_reservation *r);
/*
 * r would leak: true if it is managed, so that it need not. The reason is remembered. False also
 * when the watchdog has just ended that (want.c).
 */
bool kv_manage_hides(struct kv_reservation *r, enum kv_static_reason reason, const char *by);
/* Submissions bring r back again (want.c). One relaxed load if it is not paused. */
void kv_unpause(struct kv_reservation *r);

void kv_reservation_lock(struct kv_reservation *r);
/*
 * Drops the mutex after bringing up to date what depends on the pages: whole, quiet, unsettled, the
 * table's row and the statistics of the reservation. Takes the table's and the stats lock, so no
 * other lock may be held.
 */
void kv_reservation_unlock(struct kv_reservation *r);

/* Tells the sink about r as it is. r is not locked. */
void kv_reservation_publish(struct kv_reservation *r);

/* Frees r, whose space is quiesced. ops_work 0: without any gpu_ops call. First error. */
int kv_reservation_destroy(struct kv_reservation *r, int ops_work);

#endif
