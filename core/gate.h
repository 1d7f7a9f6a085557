/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - the submission gate: many submitters, one who closes it.
 *
 * A thread enters the gate before it looks at pages and leaves it after the driver call that
 * submits the work has returned. Whoever wants to take pages away closes the gate, which returns
 * when every submitter has left; only then may device work be drained and a page be unmapped.
 *
 * Entering costs one atomic add on a cache line that, with fewer threads than slots, no other
 * thread writes. Slots are counters: threads that share one are slower, never wrong.
 */
#ifndef KV_CORE_GATE_H
#define KV_CORE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define KV_GATE_SLOTS 128u

/*
 * Low 16 bits: how many threads are inside; above them: how many have passed, modulo 2^48. One
 * word, so that counting costs a submission nothing: leaving adds one and takes one off in one add.
 */
struct kv_gate_slot {
	_Alignas(64) _Atomic uint64_t word; /* atomic: seq_cst, partner is closed in kv_gate */
	_Atomic uint64_t others; /* atomic: relaxed; of those that have passed: no launches */
};
#define KV_GATE_PASS_SHIFT 16
#define KV_GATE_INSIDE ((1ull << KV_GATE_PASS_SHIFT) - 1)

struct kv_gate {
	struct kv_gate_slot slots[KV_GATE_SLOTS];
	_Alignas(64) _Atomic uint32_t closed; /* 1 while closed; also the futex word of waiters */
	_Atomic uint32_t next_slot;           /* atomic: relaxed, hands out slot numbers */
	_Atomic uint32_t left;                /* futex word of the closer */
	_Atomic uint32_t closer;              /* 1 while somebody holds the right to close */
	_Atomic uint32_t n_standing;          /* threads that have met the closed gate */
};

void kv_gate_init(struct kv_gate *gate);

/* A slot number for a new thread, to be kept in its thread-local state. Never fails. */
uint32_t kv_gate_slot_new(struct kv_gate *gate);

/* The slow halves of kv_gate_enter() and kv_gate_leave(): the gate is closed. Keep errno. */
void kv_gate_enter_closed(struct kv_gate *gate, uint32_t slot);
void kv_gate_leave_closed(struct kv_gate *gate);

/*
 * Enters. Waits (futex) while the gate is closed. Not recursive: a thread is inside at most once.
 * The add and the load are seq_cst, and so are the closer's store and its loads of the slots:
 * either the closer sees this thread inside or this thread sees the gate closed. Returns the slot's
 * word as it was before.
 */
static inline uint64_t kv_gate_enter(struct kv_gate *gate, uint32_t slot)
{
	uint64_t word = atomic_fetch_add(&gate->slots[slot % KV_GATE_SLOTS].word, 1);

	if (__builtin_expect(atomic_load(&gate->closed) != 0, 0))
		kv_gate_enter_closed(gate, slot);
	return word;
}

/* Leaves. The same pairing: either the closer sees the slot fall or this thread wakes it. */
static inline void kv_gate_leave(struct kv_gate *gate, uint32_t slot)
{
	atomic_fetch_add(&gate->slots[slot % KV_GATE_SLOTS].word, KV_GATE_INSIDE);
	if (__builtin_expect(atomic_load(&gate->closed) != 0, 0))
		kv_gate_leave_closed(gate);
}

/* The same for who was inside on an errand of our own: does not count as a pass. */
static inline void kv_gate_leave_uncounted(struct kv_gate *gate, uint32_t slot)
{
	atomic_fetch_sub(&gate->slots[slot % KV_GATE_SLOTS].word, 1);
	if (__builtin_expect(atomic_load(&gate->closed) != 0, 0))
		kv_gate_leave_closed(gate);
}

static inline uint32_t kv_gate_slot_inside(const struct kv_gate_slot *slot)
{
	return (uint32_t)(atomic_load(&slot->word) & KV_GATE_INSIDE);
}

/* How often threads have entered and left, modulo 2^64: two readings that differ mean that work was
 * submitted in between. Reads 128 cache lines: not for the launch path. */
uint64_t kv_gate_passes(const struct kv_gate *gate);
/* Those of them that kv_gate_count_other() was not called for: kernels and graphs. */
uint64_t kv_gate_launches(const struct kv_gate *gate);

/* Who is inside by this slot submits something that is no launch (n is 1), or does so after all
 * (n is -1). */
static inline void kv_gate_count_other(struct kv_gate *gate, uint32_t slot, int64_t n)
{
	atomic_fetch_add_explicit(
		&gate->slots[slot % KV_GATE_SLOTS].others, (uint64_t)n, memory_order_relaxed);
}

/*
 * Closes the gate and waits until nobody is inside, at most timeout_ns (measured by
 * CLOCK_MONOTONIC). 0: closed and empty, the caller must open it. -EBUSY: somebody else is closing
 * or has closed it. -ETIMEDOUT: somebody stayed inside; the gate is open again. Must not be called
 * from inside.
 */
int kv_gate_close(struct kv_gate *gate, uint64_t timeout_ns);
void kv_gate_open(struct kv_gate *gate);
/*
 * For who closes it again and again: waits until those who stood at the closed gate have come
 * through, at most timeout_ns. Without it the closer, which is running, would be faster every time.
 */
void kv_gate_let_pass(struct kv_gate *gate, uint64_t timeout_ns);
/* Waits until whoever has closed the gate has opened it; returns at once when it is open. Keeps
 * errno. */
void kv_gate_wait(struct kv_gate *gate);

/* True if the gate is closed and nobody stays inside (checkers only; may take a while). */
bool kv_gate_is_quiet(const struct kv_gate *gate);

#endif
