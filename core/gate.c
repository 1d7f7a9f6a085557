/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.c - closing, opening and waiting at the submission gate. The open case is inline in gate.h.
 */
#include "core/gate.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/poison.h"

#define NSEC_PER_SEC 1000000000ull
/* Far above what a thread needs to step back from a closed gate, also on a busy machine. */
#define QUIET_WAIT_NS (5 * NSEC_PER_SEC)

/* Keeps errno: this runs inside calls of the application. */
static int futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	int saved = errno;
	long res = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
	int error = res < 0 ? -errno : 0;

	errno = saved;
	return error;
}

static void futex_wake(_Atomic uint32_t *word, int n_waiters)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n_waiters, NULL, NULL, 0);
	errno = saved;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static bool is_empty(const struct kv_gate *gate)
{
	for (uint32_t i = 0; i < KV_GATE_SLOTS; i++) {
		if (kv_gate_slot_inside(&gate->slots[i]) != 0)
			return false;
	}
	return true;
}

void kv_gate_init(struct kv_gate *gate)
{
	for (uint32_t i = 0; i < KV_GATE_SLOTS; i++) {
		atomic_init(&gate->slots[i].word, 0);
		atomic_init(&gate->slots[i].others, 0);
	}
	atomic_init(&gate->closed, 0);
	atomic_init(&gate->next_slot, 0);
	atomic_init(&gate->left, 0);
	atomic_init(&gate->closer, 0);
	atomic_init(&gate->n_standing, 0);
}

uint32_t kv_gate_slot_new(struct kv_gate *gate)
{
	return atomic_fetch_add_explicit(&gate->next_slot, 1, memory_order_relaxed) % KV_GATE_SLOTS;
}

uint64_t kv_gate_passes(const struct kv_gate *gate)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < KV_GATE_SLOTS; i++)
		n += atomic_load_explicit(&gate->slots[i].word, memory_order_relaxed) >>
		     KV_GATE_PASS_SHIFT;
	return n;
}

uint64_t kv_gate_launches(const struct kv_gate *gate)
{
	uint64_t passes = kv_gate_passes(gate), others = 0;

	for (uint32_t i = 0; i < KV_GATE_SLOTS; i++)
		others += atomic_load_explicit(&gate->slots[i].others, memory_order_relaxed);
	/* somebody may be counted here who is still inside */
	return passes > others ? passes - others : 0;
}

void kv_gate_enter_closed(struct kv_gate *gate, uint32_t slot)
{
	_Atomic uint64_t *word = &gate->slots[slot % KV_GATE_SLOTS].word;

	atomic_fetch_add(&gate->n_standing, 1);
	do {
		/* Step back, or the closer would wait for us while we wait for it. */
		atomic_fetch_sub(word, 1);
		kv_gate_leave_closed(gate);
		futex_wait(&gate->closed, 1, NULL);
		atomic_fetch_add(word, 1);
	} while (atomic_load(&gate->closed) != 0);
	atomic_fetch_sub(&gate->n_standing, 1);
}

void kv_gate_leave_closed(struct kv_gate *gate)
{
	/* The closer reads left before it looks at the slots, so that a change after its look makes
	 * its wait return at once. */
	atomic_fetch_add(&gate->left, 1);
	futex_wake(&gate->left, 1);
}

int kv_gate_close(struct kv_gate *gate, uint64_t timeout_ns)
{
	uint64_t start = now_ns();

	if (atomic_exchange(&gate->closer, 1) != 0)
		return -EBUSY;
	atomic_store(&gate->closed, 1);
	for (;;) {
		uint32_t left = atomic_load(&gate->left);
		uint64_t spent, rest;
		struct timespec ts;

		if (is_empty(gate))
			return 0;
		spent = now_ns() - start;
		if (spent >= timeout_ns)
			break;
		rest = timeout_ns - spent;
		ts.tv_sec = (time_t)(rest / NSEC_PER_SEC);
		ts.tv_nsec = (long)(rest % NSEC_PER_SEC);
		futex_wait(&gate->left, left, &ts);
	}
	kv_gate_open(gate);
	return -ETIMEDOUT;
}

void kv_gate_open(struct kv_gate *gate)
{
	atomic_store(&gate->closed, 0);
	futex_wake(&gate->closed, INT_MAX);
	/* Last: the next closer must not have its gate opened by the line above. */
	atomic_store(&gate->closer, 0);
}

void kv_gate_let_pass(struct kv_gate *gate, uint64_t timeout_ns)
{
	const struct timespec pause = {.tv_nsec = 50000};
	uint64_t start = now_ns();

	/* Those who come while it is open do not stand, so that this ends. */
	while (atomic_load(&gate->n_standing) && now_ns() - start < timeout_ns)
		nanosleep(&pause, NULL);
}

void kv_gate_wait(struct kv_gate *gate)
{
	while (atomic_load(&gate->closer) != 0) {
		if (atomic_load(&gate->closed) != 0)
			futex_wait(&gate->closed, 1, NULL);
		else
			sched_yield(); /* between two stores of the closer */
	}
}

bool kv_gate_is_quiet(const struct kv_gate *gate)
{
	/* Who meets a closed gate is inside for the moment that it takes to step back. */
	uint64_t start = now_ns();

	do {
		if (atomic_load(&gate->closed) == 0)
			return false;
		if (is_empty(gate))
			return true;
		sched_yield();
	} while (now_ns() - start < QUIET_WAIT_NS);
	return false;
}
