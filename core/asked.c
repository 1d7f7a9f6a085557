/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asked.c - reservations of one tag put away, and brought back, because somebody asks for it.
 */
#include <errno.h>
#include <string.h>

#include "core/reservation.h"
#include "core/space.h"
#include "core/want.h"
#include "core/poison.h"

static bool has_tag(struct kv_reservation *r, const struct kv_space *space, const char *tag)
{
	bool has;

	kv_lock_take(&r->lock);
	has = kv_reservation_is_live(r) && kv_reservation_space_of(r) == space &&
	      (tag[0] == '\0' || strncmp(r->tag, tag, sizeof(r->tag)) == 0);
	kv_lock_drop(&r->lock);
	return has;
}

int kv_space_pause(struct kv_space *space, const char *tag, uint64_t *ret_bytes)
{
	struct kv_reservation *r;
	uint64_t base = 0, done = 0, got;
	int error = -ENOENT, first_error = 0;

	while ((r = kv_table_next(&space->core->table, base, &base))) {
		if (!has_tag(r, space, tag))
			continue;
		got = 0;
		error = kv_pause(r, true, &got);
		if (first_error == 0)
			first_error = error;
		done = kv_add_sat(done, got);
	}
	if (ret_bytes)
		*ret_bytes = done;
	return first_error ? first_error : error;
}

int kv_space_resume(struct kv_space *space, const char *tag, uint64_t *ret_bytes)
{
	struct kv_gate *gate = &space->core->hot.gate;
	struct kv_reservation *r;
	uint64_t base = 0, before = kv_counted(&space->evicted);
	int error = -ENOENT, first_error = 0;

	/* One at a time, so that others can close the gate in between. */
	while ((r = kv_table_next(&space->core->table, base, &base))) {
		if (!has_tag(r, space, tag))
			continue;
		kv_gate_enter(gate, space->agent_slot);
		error = kv_resume(r);
		kv_gate_leave_uncounted(gate, space->agent_slot);
		if (first_error == 0)
			first_error = error;
	}
	kv_space_publish(space);
	if (ret_bytes)
		*ret_bytes = kv_sub_sat(before, kv_counted(&space->evicted));
	return first_error ? first_error : error;
}
