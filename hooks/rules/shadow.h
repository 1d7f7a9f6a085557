/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shadow.h - index shadows: what small uploads left in device memory, remembered by destination.
 *
 * A shadow is not a proof. It holds for engines whose contract is that an index array is read by
 * its kernels before anything else is put in its place; so it may be consumed once per destination
 * plane and upload, and dies as soon as something else is seen to write there, or when an unknown
 * kernel gets a pointer into it.
 *
 * Memory is bounded: a number of shadows and a number of bytes, fixed when the table is made; the
 * oldest go first, counted. All operations are O(log n) in the number of shadows (plus what they
 * remove and copy). Only uploads and copies allocate, and only where the bytes of an earlier upload
 * cannot be reused.
 *
 * Not thread-safe: the user of a table guards it.
 */
#ifndef KV_RULES_SHADOW_H
#define KV_RULES_SHADOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct kv_grains;
struct kv_quick;
struct kv_shadows;

struct kv_shadows_config {
	uint32_t n_shadows;    /* at most; 1..65535 */
	uint32_t upload_bytes; /* larger uploads are not remembered */
	uint64_t total_bytes;  /* of remembered content */
	uint32_t n_consumed;   /* remembered (upload, plane) pairs; rounded up to a power of two */
	/* May be NULL, else KV_SHADOW_MARKS counters, zero at first, that outlive the table: how
	 * many shadows have a byte in a grain, for readers that hold no lock. atomic: relaxed; who
	 * was told of an upload finds it marked */
	_Atomic uint8_t *marks;
	/* May be NULL, else the same for readers in more of a hurry, in grains of the same size;
	 * outlives the table */
	struct kv_grains *near;
	/* May be NULL, else small shadows are shown there too (quick.h), closed while the table
	 * changes; outlives the table */
	struct kv_quick *quick;
};

/* Grains are told apart modulo 64 MiB, so that a grain may seem marked that is not. */
enum {
	KV_SHADOW_GRAIN_BITS = 8,
	KV_SHADOW_MARKS = 1 << 18,
};

/* [hot] 0: no shadow has a byte in the grain of addr. */
static inline uint8_t kv_shadow_mark(const _Atomic uint8_t *marks, uint64_t addr)
{
	return atomic_load_explicit(
		&marks[addr >> KV_SHADOW_GRAIN_BITS & (KV_SHADOW_MARKS - 1)], memory_order_relaxed);
}

/* Counters; all only rise, but n and bytes. */
struct kv_shadows_stats {
	uint32_t n;
	uint64_t bytes;
	uint64_t uploads, copies; /* that made a shadow */
	uint64_t too_large;       /* uploads above upload_bytes */
	uint64_t dropped;         /* gone for want of room */
	uint64_t killed;          /* gone because something else wrote or pointed there */
	uint64_t consumed,
		refused; /* refused: there was a shadow, but it had been consumed already */
};

/* -EINVAL: a limit is zero or too large. -ENOMEM. */
int kv_shadows_new(const struct kv_shadows_config *config, struct kv_shadows **ret_shadows);
void kv_shadows_free(struct kv_shadows *s);

/*
 * length bytes went from host memory to dst, executed in program order (never for a captured
 * upload). What was remembered about any of these bytes is forgotten; if the upload is small enough
 * its content is copied now. Running out of memory only loses the shadow.
 */
void kv_shadows_upload(struct kv_shadows *s, uint64_t dst, const void *host, uint64_t length);
/*
 * length bytes went from src to dst on the device. If all of src is remembered, dst is from now on
 * (as an upload of its own: the planes that consumed src have not consumed dst); else dst is
 * forgotten.
 */
void kv_shadows_copy(struct kv_shadows *s, uint64_t dst, uint64_t src, uint64_t length);
/* [addr, addr + length) was or may be written by something else. */
void kv_shadows_kill(struct kv_shadows *s, uint64_t addr, uint64_t length);
/* An unknown kernel got this address. [hot] */
void kv_shadows_point(struct kv_shadows *s, uint64_t addr);
/* Everything: an unknown kernel could have written anywhere. */
void kv_shadows_clear(struct kv_shadows *s);

/*
 * [hot] The content of [addr, addr + length), for one use by the plane at this address; valid until
 * the table is changed. NULL: not remembered, consumed by this plane already, or the consumption
 * cannot be remembered.
 */
const void *kv_shadows_consume(
	struct kv_shadows *s, uint64_t addr, uint64_t length, uint64_t plane);

/*
 * [hot] The same without using it up. *ret_start, *ret_length: the shadow that it lies in.
 */
const void *kv_shadows_peek(const struct kv_shadows *s, uint64_t addr, uint64_t length,
	uint64_t plane, uint64_t *ret_start, uint64_t *ret_length);

/* The serial number of the youngest shadow that there ever was, 0: none yet. */
uint64_t kv_shadows_last(const struct kv_shadows *s);
/*
 * [hot] Asks about each shadow younger than serial number since whether it dies, and forgets those
 * that do. Returns kv_shadows_last(). O(younger ones).
 */
uint64_t kv_shadows_sweep(struct kv_shadows *s, uint64_t since,
	bool (*dies)(void *ctx, uint64_t addr, uint64_t length), void *ctx);

/*
 * The serial number of the upload that the first byte at addr came from, 0 if none is remembered.
 * Two equal numbers for equal addresses mean equal content.
 */
uint64_t kv_shadows_serial(const struct kv_shadows *s, uint64_t addr);

void kv_shadows_stats(const struct kv_shadows *s, struct kv_shadows_stats *ret_stats);
/* Walks everything. 0, or -EPROTO if the table is not what it should be (tests, debug builds). */
int kv_shadows_check(const struct kv_shadows *s);

#endif
