/* SPDX-License-Identifier: Apache-2.0 */
/*
 * predict.c - see predict.h.
 */
#include "core/predict.h"

#include <stdlib.h>
#include <string.h>

#include "core/poison.h"

#define LEAST 4u

static uint64_t in_history(const struct kv_predict *p)
{
	return p->n < KV_PREDICT_HISTORY ? p->n : KV_PREDICT_HISTORY;
}

/* back: 0 the last request. */
static uint64_t at(const struct kv_predict *p, uint64_t back)
{
	return p->at_ns[(p->n - 1 - back) % KV_PREDICT_HISTORY];
}

void kv_predict_add(struct kv_predict *p, uint64_t at_ns, uint64_t length)
{
	if (p->n && at_ns < at(p, 0))
		at_ns = at(p, 0);
	p->at_ns[p->n % KV_PREDICT_HISTORY] = at_ns;
	p->length[p->n % KV_PREDICT_HISTORY] = length;
	p->n++;
}

static int by_length(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t kv_predict_bytes(const struct kv_predict *p, uint64_t now_ns, uint64_t horizon_ns)
{
	uint64_t lengths[KV_PREDICT_HISTORY], n = in_history(p), span, since, bytes;
	double expected;

	if (n < LEAST)
		return 0;
	span = at(p, 0) - at(p, n - 1);
	since = now_ns > at(p, 0) ? now_ns - at(p, 0) : 0;
	if (since / 4 > span)
		return 0;
	/* The pause since the last one counts as soon as it is longer than usual. */
	if (since > span / (n - 1))
		span += since;
	expected = span ? (double)(n - 1) * (double)horizon_ns / (double)span : (double)n;
	if (expected > (double)n)
		expected = (double)n; /* no further than one history ahead */
	memcpy(lengths, p->length, n * sizeof(*lengths));
	qsort(lengths, n, sizeof(*lengths), by_length);
	n = (uint64_t)expected + (expected > (double)(uint64_t)expected);
	if (__builtin_mul_overflow(n, lengths[(in_history(p) * 9 - 1) / 10], &bytes))
		return UINT64_MAX;
	return bytes;
}

/* ---- what is kept ---- */

static void drop_at(struct kv_keep *keep, uint32_t i, kv_keep_drop_fn drop, void *ctx)
{
	struct kv_span span = keep->spans[i];

	keep->bytes -= span.length;
	keep->n--;
	memmove(keep->spans + i, keep->spans + i + 1, (keep->n - i) * sizeof(*keep->spans));
	drop(ctx, &span);
}

void kv_keep_add(struct kv_keep *keep, struct kv_span span, kv_keep_drop_fn drop, void *ctx)
{
	if (keep->n == KV_KEEP_MAX)
		drop_at(keep, 0, drop, ctx);
	keep->spans[keep->n++] = span;
	keep->bytes += span.length;
}

void kv_keep_trim(struct kv_keep *keep, uint64_t bytes, kv_keep_drop_fn drop, void *ctx)
{
	while (keep->bytes > bytes)
		drop_at(keep, 0, drop, ctx);
}

void kv_keep_taken(struct kv_keep *keep, struct kv_span span, kv_keep_drop_fn drop, void *ctx)
{
	for (uint32_t i = keep->n; i-- > 0;) {
		const struct kv_span *s = &keep->spans[i];

		if (s->offset < span.offset + span.length && span.offset < s->offset + s->length)
			drop_at(keep, i, drop, ctx);
	}
}
