/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quiesce.c - the gate closed and the device drained: the only time at which a page may go.
 *
 * Bounded, because work in flight may wait for a thread that waits at the gate (a host function
 * that waits for the next launch). On a time-out the gate opens again and stays open for a while.
 */
#include <errno.h>
#include <time.h>

#include "core/space.h"
#include "core/poison.h"

#define DRAIN_TIMEOUT_NS 50000000ull
/* Drains that may fail for another reason than time. */
#define ERROR_TRIES 10
#define PAUSE_MIN_NS 1000000l
#define PAUSE_MAX_NS 50000000l

static uint64_t timeout_of(const struct kv_space *space)
{
	uint64_t timeout_ns = space->core->config.drain_timeout_ns;

	return timeout_ns ? timeout_ns : DRAIN_TIMEOUT_NS;
}

/* Keeps errors of the gate apart from those of drain: -EAGAIN is a gate that somebody else has
 * closed. */
static int begin(struct kv_space *space, int drain, uint64_t *ret_start)
{
	struct kv_gate *gate = &space->core->hot.gate;
	uint64_t start = 0;
	int error;

	kv_rank_assert_none();
	error = kv_gate_close(gate, timeout_of(space));
	if (error == -EBUSY)
		return -EAGAIN;
	if (error == 0) {
		start = kv_gpu_now(space);
		if (drain)
			error = kv_gpu_drain(space, timeout_of(space));
		if (error < 0)
			kv_gate_open(gate);
	}
	if (error == -ETIMEDOUT) {
		kv_count(&space->quiesce_timeouts, 1);
		/* Nothing else has changed that would tell the monitors. */
		kv_space_publish(space);
	}
	if (error < 0)
		return error;
	kv_count(&space->quiesces, 1);
	*ret_start = start;
	return 0;
}

int kv_quiesce_begin(struct kv_space *space, uint64_t *ret_start)
{
	int error = begin(space, 1, ret_start);

	return error == -EAGAIN ? -EBUSY : error;
}

void kv_quiesce_gate(struct kv_space *space, uint64_t *ret_start)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MIN_NS};

	/* Whoever is inside may wait for somebody who waits at the gate. */
	while (begin(space, 0, ret_start) < 0) {
		kv_gate_wait(&space->core->hot.gate);
		nanosleep(&pause, NULL);
	}
}

void kv_quiesce_end(struct kv_space *space, uint64_t start)
{
	uint64_t now = kv_gpu_now(space);

	kv_count_max(&space->quiesce_ns_max, kv_sub_sat(now, start));
	kv_gate_open(&space->core->hot.gate);
}

int kv_quiesce_patiently(struct kv_space *space, uint32_t max_timeouts, uint64_t *ret_start)
{
	struct timespec pause = {.tv_nsec = PAUSE_MIN_NS};
	uint32_t n_timeouts = 0, n_errors = 0;
	int error;

	while ((error = begin(space, 1, ret_start)) < 0) {
		if (error == -EAGAIN) {
			kv_gate_wait(&space->core->hot.gate);
			continue;
		}
		if (error == -EBUSY || error == -ENODEV)
			break;
		if (error == -ETIMEDOUT && ++n_timeouts == max_timeouts)
			break;
		/* Not knowing whether the device is idle is no reason to take memory from under it.
		 */
		if (error != -ETIMEDOUT && ++n_errors == ERROR_TRIES)
			break;
		/* Those who wait at the gate get their turn before it closes again: what we wait
		 * for may depend on them. */
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < PAUSE_MAX_NS)
			pause.tv_nsec *= 2;
	}
	return error;
}
