/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint.h - regions: which blocks of an engine's own cache live (P5), over managed reservations.
 *
 * A region is a geometry (each block has a piece in each of several ranges) and the state of each
 * block. A block that lives is counted on the pages of all its pieces (want.h).
 *
 * One thread at a time works on a region: kv_region_claim() waits for the turn, before the gate is
 * entered, and kv_region_yield() ends it. Functions marked [claimed] need it. Regions are found by
 * id in a registry with a mutex of its own, a leaf.
 */
#ifndef KV_CORE_HINT_H
#define KV_CORE_HINT_H

#include "core/want.h"

struct kv_region;
struct kv_regions;

struct kv_region_range {
	uint64_t address, stride, bytes;
};

struct kv_region_config {
	uint64_t n_blocks;
	uint64_t n_ranges;
	const struct kv_region_range *ranges; /* copied */
	bool keep, part;                      /* see kvshim.h */
	uint64_t watchdog_ns;                 /* 0: none */
};

struct kv_region_state {
	uint64_t n_blocks, n_live, n_waiting;
	uint64_t n_touched, n_released; /* calls */
	uint64_t wanted, backed;        /* bytes, in the reservations concerned */
	bool is_static;                 /* some of it is not managed any more */
};

/* ---- geometry, pure (hint_geometry.c) ---- */

/* 0; -EINVAL: no block, no range, no bytes; -EOVERFLOW: an end beyond 2^64; -EEXIST: pieces of
 * different blocks or ranges share a byte. */
int kv_geometry_check(const struct kv_region_range *ranges, uint64_t n_ranges, uint64_t n_blocks);
/* True if pieces of the one share a byte with pieces of the other; true also where strides differ
 * and the hulls meet. */
bool kv_geometry_meets(const struct kv_region_range *a, uint64_t n_blocks_a,
	const struct kv_region_range *b, uint64_t n_blocks_b);
/* Bytes from the first of the range to behind its last. */
uint64_t kv_geometry_hull(const struct kv_region_range *range, uint64_t n_blocks);

/* ---- regions ---- */

int kv_regions_new(struct kv_core *core, struct kv_regions **ret_regions);
/* For tests: ends and frees all regions. Nobody may use them. */
void kv_regions_free(struct kv_regions *regions);

/*
 * [outside] Declares a region; the turn is not taken. With part false, what lies outside the hulls
 * is wanted as long as the region exists; it is backed by the next kv_region_touch() or submission.
 * As kv_geometry_check(); -EEXIST also against other regions; -ERANGE: a range leaves its
 * reservation; -EFAULT: an address in no reservation; -EBUSY, -ENOMEM and others as
 * kv_manage_begin().
 */
int kv_region_declare(
	struct kv_regions *regions, const struct kv_region_config *config, uint64_t *ret_id);

/* Waits for the turn. NULL: no such region (any more). */
struct kv_region *kv_region_claim(struct kv_regions *regions, uint64_t id);
void kv_region_yield(struct kv_region *region);

/* [claimed] The region is no more; yields. May be called inside or outside. */
void kv_region_end(struct kv_region *region);

/*
 * [claimed, inside] These blocks live. -ENOENT: no such block. -ENOMEM and other errors of
 * kv_want(): no block has changed. -ESTALE: the memory is gone, or static.
 */
int kv_region_touch(struct kv_region *region, const int64_t *blocks, uint64_t n);
/*
 * [claimed, inside] They do not, after so many steps. -ENOENT: a block does not live, or comes
 * twice: nothing has changed. -ENOMEM, -ESTALE.
 */
int kv_region_release(
	struct kv_region *region, const int64_t *blocks, uint64_t n, uint32_t after_steps);
/* [claimed, inside] One step nearer. -ESTALE. */
int kv_region_step(struct kv_region *region);

/*
 * [claimed] Blocks of which a byte lies in the bytes (whole false), or that lie wholly inside
 * (whole true): [*ret_first, *ret_end), maybe none. -EOPNOTSUPP: several ranges. -ERANGE: not
 * inside.
 */
int kv_region_blocks(struct kv_region *region, uint64_t address, uint64_t length, bool whole,
	int64_t *ret_first, int64_t *ret_end);
/* [claimed] True if the block lives and does not wait to be released. */
bool kv_region_lives(const struct kv_region *region, int64_t block);
void kv_region_state(struct kv_region *region, struct kv_region_state *ret_state);

#endif
