/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.c - addresses in data that the program sends to the device: a kernel may follow them
 * without ever getting them as a parameter.
 */
#include <string.h>

#include "hooks/call.h"
#include "hooks/launch.h"

/* The span of all reservations, so that a word is nearly always told apart by one subtraction. */
struct span {
	uint64_t low, high;
};

static int widen(void *ctx, struct kv_reservation *r)
{
	uint64_t base = kv_reservation_base(r);
	struct span *span = ctx;

	if (base < span->low)
		span->low = base;
	if (base + kv_reservation_reserved(r) > span->high)
		span->high = base + kv_reservation_reserved(r);
	return 0;
}

static void scan(const unsigned char *at, uint64_t n_words, const struct span *span,
	void (*found)(void *ctx, struct kv_reservation *r), void *ctx)
{
	uint64_t width = span->high - span->low, word;

	for (; n_words; n_words--, at += sizeof(word)) {
		struct kv_reservation *r;

		memcpy(&word, at, sizeof(word));
		if (kv_likely(word - span->low >= width))
			continue;
		r = kv_core_find(kv_hooks.core, word);
		if (r)
			found(ctx, r);
	}
}

void kv_upload_find(const void *host, uint64_t length,
	void (*found)(void *ctx, struct kv_reservation *r), void *ctx)
{
	struct span span = {UINT64_MAX, 0};
	uint64_t skip = -(uintptr_t)host % 8;

	if (length < 8 || length > kv_hooks.config.scan_bytes || !host)
		return;
	kv_core_each(kv_hooks.core, widen, &span);
	if (span.low >= span.high)
		return;
	scan(host, length / 8, &span, found, ctx);
	/* A source that is not aligned: its words may be, in memory or on the device. Both are
	 * looked at. */
	if (skip && length >= skip + 8)
		scan((const unsigned char *)host + skip, (length - skip) / 8, &span, found, ctx);
}

static void leak(void *ctx, struct kv_reservation *r)
{
	kv_leak(r, KV_STATIC_UPLOAD, ctx);
}

void kv_upload_scan(const void *host, uint64_t length, const char *by)
{
	kv_upload_find(host, length, leak, (void *)by);
}
