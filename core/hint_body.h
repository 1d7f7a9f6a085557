/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint_body.h - the body of a region. Private to hint.c (registry and declaring) and hint_block.c
 * (what lives).
 */
#ifndef KV_CORE_HINT_BODY_H
#define KV_CORE_HINT_BODY_H

#include <pthread.h>

#include "core/hint.h"

enum block {
	DEAD = 0,
	LIVE = 1,
	WAITING = 2, /* released, with steps to come */
	LISTED = 3,  /* during a call: named by it */
};

/* One reservation that a region lies in, with the ranges that lie in it. */
struct place {
	struct kv_reservation *r;
	uint64_t id;          /* of want.h */
	uint64_t base;        /* of the reservation */
	uint64_t first, n;    /* of its ranges, which are sorted by address */
	struct kv_span *rest; /* what lies outside the hulls and is wanted all the time */
	uint64_t n_rest;
	bool rest_wanted;
};

struct waiting {
	int64_t block;
	uint64_t due; /* step */
};

struct kv_region {
	struct kv_region *next; /* guarded by the registry's mutex */
	struct kv_regions *regions;
	uint64_t id;

	/* immutable once declared */
	uint64_t n_blocks, n_ranges, n_places;
	struct kv_region_range *ranges;
	struct place *places;

	/* of whose turn it is */
	uint8_t *blocks; /* enum block */
	uint64_t n_live, n_waiting, n_touched, n_released;
	uint64_t step;
	struct waiting *waiting;
	uint64_t waiting_size;
	struct kv_span *spans; /* scratch */
	uint64_t spans_size;
	bool stale;

	bool busy, ended;   /* guarded by the registry's mutex */
	uint32_t n_waiters; /* guarded by the registry's mutex */
};

struct kv_regions {
	struct kv_core *core;
	pthread_mutex_t mutex; /* a leaf */
	pthread_cond_t turns;
	struct kv_region *list; /* guarded by mutex */
	uint64_t last_id;       /* guarded by mutex */
	bool declaring;         /* guarded by mutex; one at a time, for the look at the others */
};

#endif
