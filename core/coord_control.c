/* SPDX-License-Identifier: Apache-2.0 */
/* coord_control.c - what is asked of a process: its limits, and commands with answers; see coord.h.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/coord_private.h"

/* A waiter looks again this often whether the one it waits for still lives. */
#define LOOK_NS 100000000ull

void kv_coord_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void kv_coord_sleep(uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000ull),
		.tv_nsec = (long)(timeout_ns % 1000000000ull)};

	syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0);
}

uint32_t *kv_coord_doorbell(struct kv_coord *coord)
{
	return &coord->file.segment->slots[coord->index].control.doorbell;
}

void kv_coord_ring(struct kv_coord *coord, uint32_t slot)
{
	uint32_t *doorbell;

	if (slot >= KV_COORD_SLOTS)
		return;
	doorbell = &coord->file.segment->slots[slot].control.doorbell;
	/* release: what was posted is seen by who sees the bell; partner is the agent's acquire */
	__atomic_add_fetch(doorbell, 1, __ATOMIC_RELEASE);
	kv_coord_wake(doorbell);
}

int kv_coord_find_pid(struct kv_coord *coord, int32_t pid, uint32_t *ret_slot)
{
	struct kv_coord_owner self;
	bool found = false;

	kv_coord_owner_self(&self);
	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		const struct kv_coord_slot *slot = &coord->file.segment->slots[i];
		bool here;

		if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == KV_COORD_FREE ||
			slot->owner_pid != pid)
			continue;
		/* killed, and the pid is another's by now: the slot waits to be repaired */
		if (kv_coord_owner_life(slot) == KV_COORD_DEAD)
			continue;
		here = slot->owner_pidns == self.pidns;
		if (!found || here)
			*ret_slot = i;
		found = true;
		if (here)
			break;
	}
	return found ? 0 : -ESRCH;
}

/* The slot if it is in use. */
static struct kv_coord_slot *used_slot(struct kv_coord *coord, uint32_t index)
{
	struct kv_coord_slot *slot;

	if (index >= KV_COORD_SLOTS)
		return NULL;
	slot = &coord->file.segment->slots[index];
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == KV_COORD_FREE ? NULL : slot;
}

static void read_limits(const struct kv_coord_control *control, struct kv_coord_limits *limits,
	uint32_t *generation)
{
	/* acquire: partner is the release store of kv_coord_set_limits(); the limits are at least
	 * as new as the generation that is returned */
	*generation = __atomic_load_n(&control->limits_generation, __ATOMIC_ACQUIRE);
	limits->min = __atomic_load_n(&control->limits.min, __ATOMIC_RELAXED);
	limits->max = __atomic_load_n(&control->limits.max, __ATOMIC_RELAXED);
	limits->host_budget = __atomic_load_n(&control->limits.host_budget, __ATOMIC_RELAXED);
	limits->weight = __atomic_load_n(&control->limits.weight, __ATOMIC_RELAXED);
	limits->idle_ms = __atomic_load_n(&control->limits.idle_ms, __ATOMIC_RELAXED);
	/* hostile values */
	if (limits->weight == 0 || limits->weight > KV_COORD_WEIGHT_MAX)
		limits->weight = KV_COORD_WEIGHT;
	if (limits->min > limits->max)
		limits->min = limits->max;
}

int kv_coord_limits(struct kv_coord *coord, uint32_t slot, struct kv_coord_limits *ret_limits,
	uint32_t *ret_generation)
{
	struct kv_coord_slot *used = used_slot(coord, slot);
	uint32_t generation;

	if (!used)
		return -ESRCH;
	read_limits(&used->control, ret_limits, &generation);
	if (ret_generation)
		*ret_generation = generation;
	return 0;
}

static int change_limits(
	struct kv_coord_control *control, const struct kv_coord_limits *limits, uint32_t mask)
{
	struct kv_coord_limits old, merged;
	uint32_t generation;

	read_limits(control, &old, &generation);
	merged = old;
	if (mask & KV_COORD_LIMIT_MIN)
		merged.min = limits->min;
	if (mask & KV_COORD_LIMIT_MAX)
		merged.max = limits->max;
	if (mask & KV_COORD_LIMIT_HOST_BUDGET)
		merged.host_budget = limits->host_budget;
	if (mask & KV_COORD_LIMIT_WEIGHT)
		merged.weight = limits->weight;
	if (mask & KV_COORD_LIMIT_IDLE_MS)
		merged.idle_ms = limits->idle_ms;
	if (merged.min > merged.max || merged.weight == 0 || merged.weight > KV_COORD_WEIGHT_MAX)
		return -EINVAL;
	if (memcmp(&merged, &old, sizeof(merged)) == 0)
		return 0;
	/* Whoever reads between two of these stores sees a mixture of two sets that were both asked
	 * for; the generation, last, makes the owner look again. */
	__atomic_store_n(&control->limits.min, merged.min, __ATOMIC_RELAXED);
	KV_COORD_POINT("limits: half written");
	__atomic_store_n(&control->limits.max, merged.max, __ATOMIC_RELAXED);
	__atomic_store_n(&control->limits.host_budget, merged.host_budget, __ATOMIC_RELAXED);
	__atomic_store_n(&control->limits.weight, merged.weight, __ATOMIC_RELAXED);
	__atomic_store_n(&control->limits.idle_ms, merged.idle_ms, __ATOMIC_RELAXED);
	__atomic_store_n(&control->limits_generation, generation + 1, __ATOMIC_RELEASE);
	return 0;
}

int kv_coord_set_limits(
	struct kv_coord *coord, uint32_t slot, const struct kv_coord_limits *limits, uint32_t mask)
{
	struct kv_coord_slot *used;
	int error = kv_coord_lock_within(coord, coord->lock_timeout_ns);

	if (error)
		return error;
	used = used_slot(coord, slot);
	error = used ? change_limits(&used->control, limits, mask) : -ESRCH;
	kv_coord_unlock(coord);
	if (!error)
		kv_coord_ring(coord, slot);
	return error;
}

void kv_coord_post_locked(struct kv_coord_command *command, uint64_t bytes, uint32_t flags,
	const char *tag, uint32_t *ret_ticket)
{
	bool pending = command->asked != __atomic_load_n(&command->answered, __ATOMIC_ACQUIRE);

	if (!pending || bytes > command->bytes)
		__atomic_store_n(&command->bytes, bytes, __ATOMIC_RELAXED);
	__atomic_store_n(
		&command->flags, pending ? command->flags | flags : flags, __ATOMIC_RELAXED);
	__atomic_store_n(&command->by_pid, (int32_t)getpid(), __ATOMIC_RELAXED);
	/* Nobody reads these two when nothing is pending: the owner's answer comes after its last
	 * look at them. */
	if (!pending) {
		command->asked_ns = kv_coord_now_ns();
		memset(command->tag, 0, sizeof(command->tag));
		if (tag)
			memcpy(command->tag, tag, strnlen(tag, sizeof(command->tag) - 1));
	}
	*ret_ticket = command->asked + 1;
	KV_COORD_POINT("post: written, not asked");
	/* release: the parameters are seen by who sees the ticket; partner is kv_coord_next() */
	__atomic_store_n(&command->asked, *ret_ticket, __ATOMIC_RELEASE);
}

/* Somebody else has asked the same of another tag, and is not answered yet. Locked. */
static bool is_taken(const struct kv_coord_command *command, const char *tag)
{
	return tag && command->asked != __atomic_load_n(&command->answered, __ATOMIC_ACQUIRE) &&
	       strncmp(command->tag, tag, sizeof(command->tag) - 1) != 0;
}

int kv_coord_post(struct kv_coord *coord, uint32_t slot, enum kv_coord_command_kind kind,
	uint64_t bytes, const char *tag, uint32_t *ret_ticket)
{
	struct kv_coord_slot *used;
	int error;

	if ((unsigned)kind > KV_COORD_RESUME)
		return -EINVAL;
	error = kv_coord_lock_within(coord, coord->lock_timeout_ns);
	if (error)
		return error;
	kv_coord_sweep(coord);
	used = used_slot(coord, slot);
	if (!used || used->state != KV_COORD_ACTIVE)
		error = -ESRCH;
	else if (is_taken(&used->control.commands[kind], tag))
		error = -EBUSY;
	else
		kv_coord_post_locked(
			&used->control.commands[kind], bytes, KV_COORD_IN_USE_TOO, tag, ret_ticket);
	kv_coord_unlock(coord);
	if (!error)
		kv_coord_ring(coord, slot);
	return error;
}

int kv_coord_wait(struct kv_coord *coord, uint32_t slot, enum kv_coord_command_kind kind,
	uint32_t ticket, uint64_t timeout_ns, int64_t *ret_result)
{
	uint64_t start = kv_coord_now_ns(), spent;
	struct kv_coord_command *command;
	uint32_t answered;

	if (slot >= KV_COORD_SLOTS || (unsigned)kind > KV_COORD_RESUME)
		return -EINVAL;
	command = &coord->file.segment->slots[slot].control.commands[kind];
	for (;;) {
		/* acquire: the result is seen; partner is the release of kv_coord_answer() */
		answered = __atomic_load_n(&command->answered, __ATOMIC_ACQUIRE);
		if ((int32_t)(answered - ticket) >= 0)
			break;
		if (!used_slot(coord, slot) ||
			kv_coord_owner_life(&coord->file.segment->slots[slot]) == KV_COORD_DEAD)
			return -ESRCH;
		spent = kv_coord_now_ns() - start;
		if (spent >= timeout_ns)
			return -ETIMEDOUT;
		kv_coord_sleep(&command->answered, answered,
			timeout_ns - spent < LOOK_NS ? timeout_ns - spent : LOOK_NS);
	}
	*ret_result = __atomic_load_n(&command->result, __ATOMIC_RELAXED);
	return *ret_result == -ESRCH ? -ESRCH : 0;
}

bool kv_coord_next(struct kv_coord *coord, struct kv_coord_asked *ret_asked)
{
	struct kv_coord_control *control;
	struct kv_coord_command *oldest = NULL;
	uint64_t oldest_ns = UINT64_MAX;

	if (!kv_coord_is_mine(coord))
		return false;
	control = &coord->file.segment->slots[coord->index].control;
	for (uint32_t i = 0; i <= KV_COORD_RESUME; i++) {
		struct kv_coord_command *command = &control->commands[i];
		/* acquire: partner is the release store of post() */
		uint32_t asked = __atomic_load_n(&command->asked, __ATOMIC_ACQUIRE);

		if (asked == command->answered || (oldest && command->asked_ns >= oldest_ns))
			continue;
		oldest = command;
		oldest_ns = command->asked_ns;
		ret_asked->kind = (enum kv_coord_command_kind)i;
		ret_asked->ticket = asked;
	}
	if (!oldest)
		return false;
	ret_asked->bytes = __atomic_load_n(&oldest->bytes, __ATOMIC_RELAXED);
	ret_asked->by_pid = __atomic_load_n(&oldest->by_pid, __ATOMIC_RELAXED);
	ret_asked->flags = __atomic_load_n(&oldest->flags, __ATOMIC_RELAXED);
	ret_asked->asked_ns = oldest_ns;
	memcpy(ret_asked->tag, oldest->tag, sizeof(ret_asked->tag));
	ret_asked->tag[sizeof(ret_asked->tag) - 1] = '\0';
	return true;
}

void kv_coord_answer(struct kv_coord *coord, const struct kv_coord_asked *asked, int64_t result)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_command *command;

	if (!kv_coord_is_mine(coord) || (unsigned)asked->kind > KV_COORD_RESUME)
		return;
	command = &segment->slots[coord->index].control.commands[asked->kind];
	__atomic_store_n(&command->result, result, __ATOMIC_RELAXED);
	KV_COORD_POINT("answer: result written");
	/* release: the result comes first; partner is kv_coord_wait() */
	__atomic_store_n(&command->answered, asked->ticket, __ATOMIC_RELEASE);
	kv_coord_wake(&command->answered);
	/* Those who wait for device memory look again, whatever came of it. */
	__atomic_add_fetch(&segment->freed, 1, __ATOMIC_RELEASE);
	kv_coord_wake(&segment->freed);
}

bool kv_coord_new_limits(struct kv_coord *coord, struct kv_coord_limits *ret_limits)
{
	struct kv_coord_control *control;
	uint32_t generation;

	if (!kv_coord_is_mine(coord))
		return false;
	control = &coord->file.segment->slots[coord->index].control;
	if (__atomic_load_n(&control->limits_generation, __ATOMIC_RELAXED) ==
		__atomic_load_n(&coord->limits_seen, __ATOMIC_RELAXED))
		return false;
	read_limits(control, ret_limits, &generation);
	__atomic_store_n(&coord->limits_seen, generation, __ATOMIC_RELAXED);
	__atomic_store_n(&control->limits_seen, generation, __ATOMIC_RELAXED);
	return true;
}

void kv_coord_beat(struct kv_coord *coord)
{
	if (!kv_coord_is_mine(coord))
		return;
	/* Who closes our descriptor, or another of this file, drops our record lock, by which other
	 * pid namespaces know us. To take what one has changes nothing. */
	if (kv_coord_file_keep(&coord->file) >= 0)
		kv_coord_file_mark(&coord->file, coord->index);
	__atomic_store_n(&coord->file.segment->accounts[coord->index].alive_ns, kv_coord_now_ns(),
		__ATOMIC_RELAXED);
}

void kv_coord_put_activity(struct kv_coord *coord, enum kv_coord_activity activity)
{
	if (kv_coord_is_mine(coord) && (unsigned)activity <= KV_COORD_EVICTED)
		__atomic_store_n(&coord->file.segment->accounts[coord->index].activity,
			(uint32_t)activity, __ATOMIC_RELAXED);
}
