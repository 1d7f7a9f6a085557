/* SPDX-License-Identifier: Apache-2.0 */
/* coord_slot.c - claiming, writing and freeing a slot; see coord.h. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/coord_private.h"

#define JOIN_TRIES 8
#define LOCK_TIMEOUT_NS 1000000000ull
#define LEAVE_TIMEOUT_NS 200000000ull

uint64_t kv_coord_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void begin_write(struct kv_coord_slot *slot)
{
	__atomic_store_n(&slot->seq, (slot->seq + 1) | 1, __ATOMIC_RELAXED);
	/* the odd number is seen before any change; partner is the acquire fence of
	 * kv_coord_read_slot() */
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end_write(struct kv_coord_slot *slot)
{
	slot->updated_ns = kv_coord_now_ns();
	__atomic_store_n(&slot->seq, slot->seq + 1, __ATOMIC_RELEASE);
}

/* Only the kind is checked: the C library trusts it, the rest it can wait for. */
static bool mutex_kind_is_ours(const pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t ours;
	bool same;

	if (pthread_mutexattr_init(&attr) != 0)
		return false;
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	same = pthread_mutex_init(&ours, &attr) == 0 && ours.__data.__kind == mutex->__data.__kind;
	pthread_mutexattr_destroy(&attr);
	return same;
}

static bool same_process(const struct kv_coord_slot *slot, const struct kv_coord_owner *self)
{
	return slot->owner_pid == self->pid && slot->owner_start == self->start &&
	       slot->owner_pidns == self->pidns;
}

/* Locked. The account of a slot that is free is all zero, so that sums need not look at slots. */
static void free_slot(struct kv_coord_segment *segment, uint32_t index)
{
	__atomic_store_n(&segment->slots[index].state, KV_COORD_FREE, __ATOMIC_RELEASE);
	KV_COORD_POINT("free: slot free, account not yet");
	memset(&segment->accounts[index], 0, sizeof(segment->accounts[index]));
}

/* Is the owner of a slot in use gone for good? */
static bool is_stale(struct kv_coord *coord, uint32_t index, const struct kv_coord_owner *self)
{
	const struct kv_coord_slot *slot = &coord->file.segment->slots[index];

	/* what this process had before it called exec */
	if (same_process(slot, self))
		return slot->owner_image != self->image;
	switch (kv_coord_owner_life(slot)) {
	case KV_COORD_DEAD:
		return true;
	case KV_COORD_ELSEWHERE:
		/* its record lock is seen from every pid namespace; where there are no such locks
		 * nobody is taken for dead */
		return kv_coord_file_is_marked(&coord->file, index) == 0;
	default:
		return false;
	}
}

uint32_t kv_coord_sweep(struct kv_coord *coord)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_owner self;
	uint32_t n_used = 0, n_freed = 0, end = 0;

	kv_coord_owner_self(&self);
	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		if (__atomic_load_n(&segment->slots[i].state, __ATOMIC_ACQUIRE) == KV_COORD_FREE)
			continue;
		if (is_stale(coord, i, &self)) {
			free_slot(segment, i);
			n_freed++;
		} else {
			n_used++;
			end = i + 1;
		}
	}
	segment->used_end = end;
	if (n_freed) {
		kv_coord_sum(segment);
		__atomic_add_fetch(&segment->freed, 1, __ATOMIC_RELEASE);
		kv_coord_wake(&segment->freed);
	}
	return n_used;
}

void kv_coord_sum(struct kv_coord_segment *segment)
{
	struct kv_coord_account account, sum = {0};
	uint32_t n_waiting = 0, end = kv_coord_used_end(segment, 0);

	for (uint32_t i = 0; i < end; i++) {
		kv_coord_read_account(segment, i, &account);
		sum.charged =
			kv_coord_add(sum.charged, kv_coord_add(account.charged, account.granted));
		sum.promised = kv_coord_add(sum.promised, account.promised);
		sum.native = kv_coord_add(sum.native, account.native);
		sum.host_budget = kv_coord_add(sum.host_budget, account.host_budget);
		n_waiting += account.asked != 0;
	}
	segment->charged_total = sum.charged;
	segment->promised_total = sum.promised;
	segment->native_total = sum.native;
	segment->host_budget_total = sum.host_budget;
	__atomic_store_n(&segment->n_waiting, n_waiting, __ATOMIC_RELAXED);
}

/*
 * The dead one may have stood between any two stores. What it can have left is a slot half claimed
 * or half freed: the sweep frees it, since its owner is dead, and a claim writes every field anew;
 * an account of a free slot that is not zero yet; and old sums. All else is one store.
 */
static void repair(struct kv_coord *coord)
{
	struct kv_coord_segment *segment = coord->file.segment;

	kv_coord_sweep(coord);
	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++)
		if (segment->slots[i].state == KV_COORD_FREE)
			memset(&segment->accounts[i], 0, sizeof(segment->accounts[i]));
	kv_coord_sum(segment);
	segment->n_repairs++;
}

int kv_coord_lock_within(struct kv_coord *coord, uint64_t timeout_ns)
{
	struct kv_coord_segment *segment = coord->file.segment;
	uint64_t deadline = kv_coord_now_ns() + timeout_ns;
	struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000ull),
		.tv_nsec = (long)(deadline % 1000000000ull)};
	int error;

	if (!mutex_kind_is_ours(&segment->mutex))
		return -EPROTO;
	error = pthread_mutex_clocklock(&segment->mutex, CLOCK_MONOTONIC, &until);
	if (error == EOWNERDEAD) {
		repair(coord);
		error = pthread_mutex_consistent(&segment->mutex);
	}
	/* What the C library says of a mutex that we never left like that */
	if (error == ENOTRECOVERABLE || error == EINVAL || error == EDEADLK || error == EPERM)
		return -EPROTO;
	return -error;
}

/* As the request says, as far as it makes sense. */
static struct kv_coord_limits sensible(struct kv_coord_limits limits)
{
	if (limits.weight == 0 || limits.weight > KV_COORD_WEIGHT_MAX)
		limits.weight = KV_COORD_WEIGHT;
	if (limits.max == 0)
		limits.max = KV_COORD_NO_LIMIT;
	if (limits.min > limits.max)
		limits.min = limits.max;
	return limits;
}

/* What others ask of a process begins anew with its owner; the counters of posts and rings go on,
 * so that a ticket of the owner before is never taken for one of this one. */
static void reset_control(struct kv_coord_control *control, const struct kv_coord_limits *limits)
{
	control->limits = sensible(*limits);
	control->limits_seen = ++control->limits_generation;
	for (uint32_t i = 0; i < KV_COORD_COMMANDS; i++) {
		struct kv_coord_command *command = &control->commands[i];

		command->bytes = 0;
		command->result = -ESRCH;
		command->by_pid = 0;
		memset(command->tag, 0, sizeof(command->tag));
		__atomic_store_n(&command->answered, command->asked, __ATOMIC_RELEASE);
		kv_coord_wake(&command->answered);
	}
}

/* Locked. -EUSERS: none is free. */
static int claim(struct kv_coord *coord, const struct kv_coord_request *request)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_owner self;

	kv_coord_owner_self(&self);
	kv_coord_sweep(coord);
	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		struct kv_coord_slot *slot = &segment->slots[i];

		if (slot->state != KV_COORD_FREE)
			continue;
		/* A living process still holds it, whatever the slot says: not ours to take. Where
		 * there are no record locks the slot alone counts. */
		if (kv_coord_file_mark(&coord->file, i) == -EAGAIN)
			continue;
		KV_COORD_POINT("claim: marked");
		if (segment->used_end <= i)
			segment->used_end = i + 1;
		memset(&segment->accounts[i], 0, sizeof(segment->accounts[i]));
		segment->accounts[i].activity_ns = kv_coord_now_ns();
		begin_write(slot);
		__atomic_store_n(&slot->generation, slot->generation + 1, __ATOMIC_RELAXED);
		slot->owner_pid = self.pid;
		slot->owner_start = self.start;
		slot->owner_pidns = self.pidns;
		slot->owner_uid = self.uid;
		slot->owner_image = self.image;
		KV_COORD_POINT("claim: owner written");
		slot->n_rows = 0;
		memcpy(slot->name, self.name, sizeof(slot->name));
		memset(slot->note, 0, sizeof(slot->note));
		memset(&slot->process, 0, sizeof(slot->process));
		memset(slot->rows, 0, sizeof(slot->rows));
		memset(slot->reserved, 0, sizeof(slot->reserved));
		reset_control(&slot->control, &request->limits);
		__atomic_store_n(&slot->state, KV_COORD_ACTIVE, __ATOMIC_RELEASE);
		KV_COORD_POINT("claim: active, still being written");
		end_write(slot);
		coord->index = i;
		coord->generation = slot->generation;
		coord->limits_seen = slot->control.limits_generation - 1;
		return 0;
	}
	return -EUSERS;
}

static int join_once(const struct kv_coord_request *request, struct kv_coord *coord, char *text,
	uint32_t text_size)
{
	int error = kv_coord_file_open(request, &coord->file, text, text_size);

	if (error)
		return error;
	error = kv_coord_lock_within(coord, coord->lock_timeout_ns);
	if (error) {
		if (error == -EPROTO && text && text_size)
			snprintf(text, text_size, "its mutex is damaged");
		goto close_file;
	}
	/* The last one to leave removes the file, under the mutex: then ours is nobody's any more
	 */
	error = kv_coord_file_is_linked(&coord->file) ? claim(coord, request) : -EAGAIN;
	pthread_mutex_unlock(&coord->file.segment->mutex);
	if (!error)
		return 0;
close_file:
	kv_coord_file_close(&coord->file);
	return error;
}

int kv_coord_join(const struct kv_coord_request *request, struct kv_coord **ret_coord, char *text,
	uint32_t text_size)
{
	struct kv_coord *coord = calloc(1, sizeof(*coord));
	int error = -EAGAIN;

	if (!coord)
		return -ENOMEM;
	if (text && text_size)
		text[0] = '\0';
	coord->lock_timeout_ns =
		request->lock_timeout_ns ? request->lock_timeout_ns : LOCK_TIMEOUT_NS;
	for (int i = 0; error == -EAGAIN && i < JOIN_TRIES; i++)
		error = join_once(request, coord, text, text_size);
	if (error) {
		free(coord);
		return error;
	}
	pthread_mutex_init(&coord->mutex, NULL);
	coord->slot = &coord->file.segment->slots[coord->index];
	*ret_coord = coord;
	return 0;
}

int kv_coord_attach(const char *path, struct kv_coord **ret_coord, char *text, uint32_t text_size)
{
	struct kv_coord *coord = calloc(1, sizeof(*coord));
	int error;

	if (!coord)
		return -ENOMEM;
	if (text && text_size)
		text[0] = '\0';
	coord->lock_timeout_ns = LOCK_TIMEOUT_NS;
	coord->index = KV_COORD_SLOTS;
	error = kv_coord_file_attach(path, &coord->file, text, text_size);
	if (error) {
		free(coord);
		return error;
	}
	pthread_mutex_init(&coord->mutex, NULL);
	*ret_coord = coord;
	return 0;
}

void kv_coord_detach(struct kv_coord *coord)
{
	kv_coord_file_close(&coord->file);
	pthread_mutex_destroy(&coord->mutex);
	free(coord);
}

bool kv_coord_is_mine(const struct kv_coord *coord)
{
	return !__atomic_load_n(&coord->gone, __ATOMIC_RELAXED) && coord->index < KV_COORD_SLOTS &&
	       coord->file.segment->slots[coord->index].generation == coord->generation;
}

/* Gives up a slot that is this process's. */
static void leave_slot(struct kv_coord *coord)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_slot *slot = &segment->slots[coord->index];
	int locked = kv_coord_lock_within(coord, LEAVE_TIMEOUT_NS);

	/* Freeing needs no mutex, the slot is ours; the mutex only tells whether we are the last
	 * one */
	if (kv_coord_is_mine(coord)) {
		kv_coord_file_unmark(&coord->file, coord->index);
		free_slot(segment, coord->index);
	}
	__atomic_store_n(&coord->gone, true, __ATOMIC_RELAXED);
	if (locked == 0) {
		/* a request that came too late is answered: nobody is there */
		if (slot->state == KV_COORD_FREE)
			reset_control(&slot->control, &slot->control.limits);
		kv_coord_sum(segment);
		if (kv_coord_sweep(coord) == 0 && kv_coord_file_is_linked(&coord->file))
			unlink(coord->file.path);
		pthread_mutex_unlock(&segment->mutex);
	}
	__atomic_add_fetch(&segment->freed, 1, __ATOMIC_RELEASE);
	kv_coord_wake(&segment->freed);
}

void kv_coord_leave(struct kv_coord *coord)
{
	struct kv_coord_slot *slot;

	pthread_mutex_lock(&coord->mutex);
	slot = coord->slot;
	coord->slot = NULL;
	pthread_mutex_unlock(&coord->mutex);
	if (slot)
		leave_slot(coord);
	else if (coord->index < KV_COORD_SLOTS)
		return; /* has left before, or a forked child */
	/* the mapping stays: another thread may be just behind a put */
	kv_coord_file_let_go(&coord->file);
}

void kv_coord_forget(struct kv_coord *coord)
{
	/* The only thread of the child: a lock that another thread of the parent held stays held */
	coord->slot = NULL;
	__atomic_store_n(&coord->gone, true, __ATOMIC_RELAXED);
	pthread_mutex_init(&coord->mutex, NULL);
	kv_coord_ledger_forked(coord);
}

/* The part of it that the ledger sums up. */
static void put_account(struct kv_coord_account *account, const struct kv_process_stats *stats)
{
	__atomic_store_n(&account->native, stats->native, __ATOMIC_RELAXED);
	__atomic_store_n(&account->spare, stats->spare, __ATOMIC_RELAXED);
	__atomic_store_n(&account->dead, stats->dead, __ATOMIC_RELAXED);
	__atomic_store_n(&account->activity_ns,
		stats->last_activity_ns > stats->last_submission_ns ? stats->last_activity_ns
								    : stats->last_submission_ns,
		__ATOMIC_RELAXED);
}

void kv_coord_put_process(struct kv_coord *coord, const struct kv_process_stats *stats)
{
	pthread_mutex_lock(&coord->mutex);
	if (coord->slot && kv_coord_is_mine(coord)) {
		begin_write(coord->slot);
		coord->slot->process = *stats;
		put_account(&coord->file.segment->accounts[coord->index], stats);
		coord->slot->n_rows = (uint32_t)stats->n_reservations;
		end_write(coord->slot);
	}
	pthread_mutex_unlock(&coord->mutex);
}

void kv_coord_put_row(
	struct kv_coord *coord, uint32_t row, const struct kv_reservation_stats *stats)
{
	if (row >= KV_COORD_ROWS)
		return;
	pthread_mutex_lock(&coord->mutex);
	if (coord->slot && kv_coord_is_mine(coord)) {
		begin_write(coord->slot);
		coord->slot->rows[row] = *stats;
		end_write(coord->slot);
	}
	pthread_mutex_unlock(&coord->mutex);
}

void kv_coord_put_state(struct kv_coord *coord, enum kv_coord_state state, const char *note)
{
	pthread_mutex_lock(&coord->mutex);
	if (coord->slot && kv_coord_is_mine(coord) && state != KV_COORD_FREE) {
		begin_write(coord->slot);
		snprintf(coord->slot->note, sizeof(coord->slot->note), "%s", note ? note : "");
		__atomic_store_n(&coord->slot->state, (uint32_t)state, __ATOMIC_RELEASE);
		end_write(coord->slot);
	}
	pthread_mutex_unlock(&coord->mutex);
}

struct kv_coord_segment *kv_coord_segment(struct kv_coord *coord)
{
	return coord->file.segment;
}

uint32_t kv_coord_slot_index(const struct kv_coord *coord)
{
	return coord->index;
}

int kv_coord_lock(struct kv_coord *coord)
{
	return kv_coord_lock_within(coord, coord->lock_timeout_ns);
}

void kv_coord_unlock(struct kv_coord *coord)
{
	pthread_mutex_unlock(&coord->file.segment->mutex);
}
