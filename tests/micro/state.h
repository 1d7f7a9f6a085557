/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - this process's slot of the shim's shared segment, read as any monitor would.
 */
#ifndef MICRO_STATE_H
#define MICRO_STATE_H

#include <stdbool.h>

#include "core/coord_shm.h"

/* Maps the segment that has a slot of this process. False: there is none. */
bool state_find_self(void);
/* A consistent copy of the process counters; false without a slot. */
bool state_process(struct kv_process_stats *ret_stats);
/*
 * Waits until the counter at this offset in struct kv_process_stats is above value: an event of
 * another thread, not a time. False after 20 seconds, which is a failure.
 */
bool state_wait_above(unsigned long offset, uint64_t value);
/* The same for a reservation without any device memory behind it. */
bool state_wait_gone(uint64_t base);
#define STATE_COUNTER(field) __builtin_offsetof(struct kv_process_stats, field)
uint64_t state_counter(unsigned long offset);
/* A copy of the row of the reservation that starts at base. False: there is none. */
bool state_reservation(uint64_t base, struct kv_reservation_stats *ret_row);

#endif
