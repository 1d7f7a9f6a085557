/* SPDX-License-Identifier: Apache-2.0 */
/* test_gate.c - the gate, one thread at a time; many threads are in threads.c. */
#include "core/gate.h"
#include "tests/unit/test.h"

static struct kv_gate gate;

Test(gate, closes_at_once_when_nobody_is_inside)
{
	kv_gate_init(&gate);
	EXPECT(kv_gate_is_quiet(&gate), false);
	EXPECT(kv_gate_close(&gate, 0), 0);
	EXPECT(kv_gate_is_quiet(&gate), true);
	kv_gate_open(&gate);
	EXPECT(kv_gate_is_quiet(&gate), false);
}

Test(gate, has_one_closer_at_a_time)
{
	kv_gate_init(&gate);
	EXPECT(kv_gate_close(&gate, 0), 0);
	EXPECT(kv_gate_close(&gate, 0), -EBUSY);
	kv_gate_open(&gate);
	EXPECT(kv_gate_close(&gate, 0), 0);
	kv_gate_open(&gate);
	kv_gate_wait(&gate); /* open: returns at once */
}

Test(gate, is_open_again_after_a_time_out)
{
	kv_gate_init(&gate);
	kv_gate_enter(&gate, 3);
	EXPECT(kv_gate_close(&gate, 1000), -ETIMEDOUT);
	kv_gate_enter(&gate, 4); /* would wait for ever at a closed gate */
	kv_gate_leave(&gate, 4);
	kv_gate_leave(&gate, 3);
	EXPECT(kv_gate_close(&gate, 1000), 0);
	kv_gate_open(&gate);
}

Test(gate, counts_who_has_passed_and_not_who_steps_back_or_runs_errands)
{
	uint64_t before;

	kv_gate_init(&gate);
	EXPECT(kv_gate_passes(&gate), 0);
	kv_gate_enter(&gate, 3);
	EXPECT(kv_gate_passes(&gate), 0);
	EXPECT(kv_gate_slot_inside(&gate.slots[3]), 1);
	kv_gate_leave(&gate, 3);
	EXPECT(kv_gate_passes(&gate), 1);
	kv_gate_enter(&gate, 5);
	kv_gate_leave_uncounted(&gate, 5);
	EXPECT(kv_gate_passes(&gate), 1);
	EXPECT(kv_gate_slot_inside(&gate.slots[5]), 0);
	for (int i = 0; i < 100000; i++) { /* more than what is inside could hold */
		kv_gate_enter(&gate, 3);
		kv_gate_leave(&gate, 3);
	}
	EXPECT(kv_gate_passes(&gate), 100001);
	EXPECT(kv_gate_slot_inside(&gate.slots[3]), 0);
	before = kv_gate_passes(&gate);
	EXPECT(kv_gate_close(&gate, 0), 0);
	kv_gate_open(&gate);
	EXPECT(kv_gate_passes(&gate), before);
}

Test(gate, threads_beyond_the_number_of_slots_share_them)
{
	kv_gate_init(&gate);
	for (uint32_t i = 0; i < 2 * KV_GATE_SLOTS; i++)
		EXPECT(kv_gate_slot_new(&gate), i % KV_GATE_SLOTS);
	kv_gate_enter(&gate, 1);
	kv_gate_enter(&gate, 1); /* another thread */
	kv_gate_leave(&gate, 1);
	EXPECT(kv_gate_close(&gate, 0), -ETIMEDOUT);
	kv_gate_leave(&gate, 1);
	EXPECT(kv_gate_close(&gate, 0), 0);
}
