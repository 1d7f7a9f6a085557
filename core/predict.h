/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.h - how much a pool will be asked for soon, from what it was asked for. Pure.
 */
#ifndef KV_CORE_PREDICT_H
#define KV_CORE_PREDICT_H

#include <stdint.h>

#include "core/want.h"

#define KV_PREDICT_HISTORY 64u

/* The last requests, in a ring. Zero-initialised; owned by whoever asks. */
struct kv_predict {
	uint64_t n; /* requests so far */
	uint64_t at_ns[KV_PREDICT_HISTORY];
	uint64_t length[KV_PREDICT_HISTORY]; /* bytes */
};

/* Time does not run backward: an earlier one counts as the last one. */
void kv_predict_add(struct kv_predict *p, uint64_t at_ns, uint64_t length);
/*
 * Bytes that will be asked for in [now, now + horizon): the requests that the rate of the history
 * promises, rounded up, each of the length that nine of ten had at most. 0 with less than four
 * requests, and when the last one is longer ago than four times the history lasted: that load is
 * over. Saturates.
 */
uint64_t kv_predict_bytes(const struct kv_predict *p, uint64_t now_ns, uint64_t horizon_ns);

#define KV_KEEP_MAX 64u

/*
 * Places that were given back and stay backed for requests to come: best fit takes what has just
 * become free. Oldest first; none is empty, and they do not overlap. Zero-initialised; its owner
 * backs a span as long as it is in here.
 */
struct kv_keep {
	uint32_t n;
	uint64_t bytes;
	struct kv_span spans[KV_KEEP_MAX];
};

/* Called for each span that is kept no longer. */
typedef void (*kv_keep_drop_fn)(void *ctx, const struct kv_span *span);

/* Keeps one more; the oldest goes if there are too many. */
void kv_keep_add(struct kv_keep *keep, struct kv_span span, kv_keep_drop_fn drop, void *ctx);
/* The oldest go until no more than this is kept. */
void kv_keep_trim(struct kv_keep *keep, uint64_t bytes, kv_keep_drop_fn drop, void *ctx);
/* A request has this place now: what overlaps it is kept no longer. */
void kv_keep_taken(struct kv_keep *keep, struct kv_span span, kv_keep_drop_fn drop, void *ctx);

#endif
