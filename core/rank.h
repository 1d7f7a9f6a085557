/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank.h - every lock of core, in the one order in which they may be taken.
 *
 * A thread may take a lock only if all locks that it holds have a lower rank. Debug builds
 * (KV_DEBUG_CHECKS) keep the ranks held in a thread-local mask and assert the order, and that a
 * gpu_ops call is made with no lock held but the mutex of one reservation.
 *
 * The gate is no lock: being inside it does not count, and no lock is held while it is entered or
 * closed.
 */
#ifndef KV_CORE_RANK_H
#define KV_CORE_RANK_H

#include <assert.h>
#include <pthread.h>
#include <stdint.h>

enum kv_rank {
	KV_RANK_TABLE = 0, /* rows of the reservation table, recycled reservation objects */
	KV_RANK_SPACE = 1, /* promise decisions and row numbers of one space */
	KV_RANK_RESERVATION =
		2,         /* pages of one reservation; the only one held across gpu_ops calls */
	KV_RANK_STORE = 3, /* spare handles and host slabs of one space */
	KV_RANK_STATS = 4, /* leaf: order of what the statistics sink is told */
};

struct kv_lock {
	pthread_mutex_t mutex;
	enum kv_rank rank; /* immutable after init */
};

#ifdef KV_DEBUG_CHECKS
/* Bit n: this thread holds a lock of rank n. Debug builds only. */
extern __thread uint32_t kv_ranks_held __attribute__((tls_model("initial-exec")));
#endif

static inline void kv_lock_init(struct kv_lock *lock, enum kv_rank rank)
{
	pthread_mutex_init(&lock->mutex, NULL);
	lock->rank = rank;
}

static inline void kv_lock_destroy(struct kv_lock *lock)
{
	pthread_mutex_destroy(&lock->mutex);
}

static inline void kv_lock_take(struct kv_lock *lock)
{
#ifdef KV_DEBUG_CHECKS
	assert((kv_ranks_held >> lock->rank) == 0);
#endif
	pthread_mutex_lock(&lock->mutex);
#ifdef KV_DEBUG_CHECKS
	kv_ranks_held |= 1u << lock->rank;
#endif
}

static inline void kv_lock_drop(struct kv_lock *lock)
{
#ifdef KV_DEBUG_CHECKS
	assert(kv_ranks_held & (1u << lock->rank));
	kv_ranks_held &= ~(1u << lock->rank);
#endif
	pthread_mutex_unlock(&lock->mutex);
}

/* Asserts that a gpu_ops call may be made now. */
static inline void kv_rank_assert_gpu_call(void)
{
#ifdef KV_DEBUG_CHECKS
	assert((kv_ranks_held & ~(1u << KV_RANK_RESERVATION)) == 0);
#endif
}

/* Asserts that this thread holds no lock of core: before waits, log lines and callbacks. */
static inline void kv_rank_assert_none(void)
{
#ifdef KV_DEBUG_CHECKS
	assert(kv_ranks_held == 0);
#endif
}

#endif
