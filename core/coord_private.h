/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_private.h - what the parts of the coordinator share. Private to core/coord_*.c.
 *
 * KV_COORD_POINT(name) labels an instruction at which a process may be killed. Nothing in the
 * product; in a build with KV_COORD_POINTS it calls kv_coord_point_hook, which tests set.
 */
#ifndef KV_CORE_COORD_PRIVATE_H
#define KV_CORE_COORD_PRIVATE_H

#include <stdbool.h>

#include "core/coord.h"
#include "core/coord_file.h"
#include "core/coord_owner.h"

struct kv_coord_ledger;

struct kv_coord {
	struct kv_coord_file file;  /* immutable after join, but for its descriptor */
	uint32_t index;             /* immutable after join; KV_COORD_SLOTS: no slot of its own */
	uint32_t generation;        /* immutable after join; of the slot when it was claimed */
	uint64_t lock_timeout_ns;   /* immutable after join */
	pthread_mutex_t mutex;      /* of this process: one writer of the slot at a time */
	struct kv_coord_slot *slot; /* guarded by mutex; NULL after leave or in a forked child */
	struct kv_coord_ledger *ledger; /* immutable once made; NULL: none */
	bool gone;                      /* atomic: relaxed; has left, or is a forked child's copy */
	uint32_t limits_seen;           /* atomic: relaxed; of kv_coord_new_limits() */
};

#ifdef KV_COORD_POINTS
extern void (*kv_coord_point_hook)(const char *name);
#define KV_COORD_POINT(name) \
	do { \
		if (kv_coord_point_hook) \
			kv_coord_point_hook(name); \
	} while (0)
#else
#define KV_COORD_POINT(name) \
	do { \
	} while (0)
#endif

/* Numbers of others are hostile: sums and differences stay within 64 bits. */
static inline uint64_t kv_coord_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t kv_coord_minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* A field of an account: others read it without the mutex. */
static inline void put64(uint64_t *field, uint64_t value)
{
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
}

static inline uint64_t get64(const uint64_t *field)
{
	return __atomic_load_n(field, __ATOMIC_RELAXED);
}

uint64_t kv_coord_now_ns(void);
/*
 * Takes the segment's mutex; repairs what a dead holder has left. -ETIMEDOUT; -EPROTO: the mutex is
 * damaged.
 */
int kv_coord_lock_within(struct kv_coord *coord, uint64_t timeout_ns);
/* Takes back the slots of the dead. Locked. Returns how many are in use. */
uint32_t kv_coord_sweep(struct kv_coord *coord);
/*
 * How many accounts a sum has to look at. Rises before a slot is taken, falls in a sweep, and is
 * believed as far as there are slots. at_least: the caller's own, which is always among them.
 * Locked.
 */
static inline uint32_t kv_coord_used_end(const struct kv_coord_segment *segment, uint32_t at_least)
{
	uint32_t end = segment->used_end > at_least ? segment->used_end : at_least;

	return end < KV_COORD_SLOTS ? end : KV_COORD_SLOTS;
}
/* Makes the sums of the segment anew. Locked. */
void kv_coord_sum(struct kv_coord_segment *segment);
/* True if the slot that was claimed is still this process's. Locked, or it may just have changed.
 */
bool kv_coord_is_mine(const struct kv_coord *coord);
/* Posts one request. Locked. */
void kv_coord_post_locked(struct kv_coord_command *command, uint64_t bytes, uint32_t flags,
	const char *tag, uint32_t *ret_ticket);
/* In the child after a fork. */
void kv_coord_ledger_forked(struct kv_coord *coord);
/* Wakes everybody who waits on a process-shared futex word. */
void kv_coord_wake(uint32_t *word);
/* Waits while *word is value, at most timeout_ns. Spurious returns are normal. */
void kv_coord_sleep(uint32_t *word, uint32_t value, uint64_t timeout_ns);

#endif
