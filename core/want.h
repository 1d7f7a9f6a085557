/* SPDX-License-Identifier: Apache-2.0 */
/*
 * want.h - reservations about which somebody knows what lives in them (P5): managed ones; and
 * reservations that are put away for a while: paused ones.
 *
 * A managed reservation counts, for each of its pages, how many live things lie on it. A page with
 * a count is wanted: it is mapped before every later submission, as all pages of a static one are.
 * A page without one holds nothing that will be read again: it is marked dead and goes at the next
 * quiesced point. A launch that points into a managed reservation says nothing new, so that
 * kv_leak() does not make it static; what would have leaked is remembered for the time when it is
 * managed no more.
 *
 * The counts are guarded by the reservation's mutex. Every function takes it; none may be called
 * with a lock held. r may have been freed meanwhile: id tells (-ENOENT).
 */
#ifndef KV_CORE_WANT_H
#define KV_CORE_WANT_H

#include "core/core.h"

/* Bytes of a reservation. */
struct kv_span {
	uint64_t offset, length;
};

struct kv_manage_config {
	bool keep;            /* what has content now is wanted until told otherwise */
	uint64_t watchdog_ns; /* longest work without a hint (kv_manage_alive()); 0: no bound */
};

/*
 * [outside] From now on r is managed; several managers may share it, the first one's config holds.
 * Without keep, what the pages hold is dead. Static ones turn elastic again. *ret_id: for the
 * other calls. -EBUSY: others than this process's kernels know its memory (exported, bound to an
 * object of the driver). -ENOMEM. Errors of kv_evict() where it had to be taken apart; r is static
 * and as it was then.
 */
int kv_manage_begin(
	struct kv_reservation *r, const struct kv_manage_config *config, uint64_t *ret_id);
/*
 * One manager less; with the last one r is managed no more, and static at once if something would
 * have leaked meanwhile. What was wanted is kept. May be called inside or outside.
 */
void kv_manage_end(struct kv_reservation *r, uint64_t id);
/* True if r is managed, by this id. */
bool kv_manage_is(const struct kv_reservation *r, uint64_t id);
/* True if anybody manages r. */
bool kv_manage_any(const struct kv_reservation *r);
/* A hint, or a sign of life of the one who gives them: the watchdog starts anew. */
void kv_manage_alive(struct kv_reservation *r, uint64_t id);

/*
 * [inside] One thing more lives in each of the spans, which lie inside r. EMPTY and EVICTED pages
 * among them are backed and restored, with one flush for all. -ENOMEM and other errors of
 * kv_touch(): no count has changed. -ENOENT.
 */
int kv_want(struct kv_reservation *r, uint64_t id, const struct kv_span *spans, uint64_t n);
/*
 * [inside] One thing less. Pages on which nothing lives any more are marked dead. -ENOENT. -ERANGE:
 * some page has no count; nothing has changed. Makes no gpu_ops call but the clock's.
 */
int kv_unwant(struct kv_reservation *r, uint64_t id, const struct kv_span *spans, uint64_t n);

/* Wanted pages of r; 0 if it is not managed. */
uint64_t kv_wanted_pages(struct kv_reservation *r);

/*
 * Work that may reach managed reservations without naming them (a graph that names them): tells
 * their watchdogs. One relaxed load when none is managed. May be called inside.
 */
void kv_manage_work(struct kv_core *core, const char *by);

/*
 * [outside] Puts r away: its device memory goes, its content with it unless keep, and submissions
 * do not bring it back, even if it is static or wanted, until one names it or kv_resume() is
 * called. *ret_bytes: device bytes released. Errors of kv_evict(); -EBUSY also if it is pinned. r
 * may be partly put away then, and is not paused.
 */
int kv_pause(struct kv_reservation *r, bool keep, uint64_t *ret_bytes);
/*
 * [inside] The end of that: what must be mapped for the next submission is, with its content. 0
 * also if it was not paused. Errors as kv_touch(): it is not paused any more, and the next
 * submission tries again.
 */
int kv_resume(struct kv_reservation *r);
bool kv_is_paused(const struct kv_reservation *r);

#endif
