/* SPDX-License-Identifier: Apache-2.0 */
/* coord_slot.c - claiming, writing and freeing a slot; see coord.h. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/coord.h"
#include "core/coord_file.h"
#include "core/coord_owner.h"

#define JOIN_TRIES 8
#define LOCK_TIMEOUT_NS 1000000000ull
#define LEAVE_TIMEOUT_NS 200000000ull

struct kv_coord {
	struct kv_coord_file file;  /* immutable after join */
	uint32_t index;             /* immutable after join */
	uint64_t lock_timeout_ns;   /* immutable after join */
	pthread_mutex_t mutex;      /* of this process: one writer of the slot at a time */
	struct kv_coord_slot *slot; /* guarded by mutex; NULL after leave or in a forked child */
};

static uint64_t now_ns(void)
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
	slot->updated_ns = now_ns();
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

/* Takes back the slots of the dead, and those that this process had before it called exec. Locked.
 */
static uint32_t sweep(struct kv_coord_segment *segment, const struct kv_coord_owner *self)
{
	uint32_t n_used = 0;

	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		struct kv_coord_slot *slot = &segment->slots[i];
		bool stale;

		if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) == KV_COORD_FREE)
			continue;
		if (same_process(slot, self))
			stale = slot->owner_image != self->image;
		else
			stale = kv_coord_owner_life(slot) == KV_COORD_DEAD;
		if (stale)
			__atomic_store_n(&slot->state, KV_COORD_FREE, __ATOMIC_RELEASE);
		else
			n_used++;
	}
	return n_used;
}

static int lock_segment(struct kv_coord_segment *segment, uint64_t timeout_ns)
{
	uint64_t deadline = now_ns() + timeout_ns;
	struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000ull),
		.tv_nsec = (long)(deadline % 1000000000ull)};
	struct kv_coord_owner self;
	int error;

	if (!mutex_kind_is_ours(&segment->mutex))
		return -EPROTO;
	error = pthread_mutex_clocklock(&segment->mutex, CLOCK_MONOTONIC, &until);
	if (error == EOWNERDEAD) {
		/* The dead one may have stood between any two stores. What it can have left is a
		 * slot half claimed: sweep() frees it, since its owner is dead, and a claim writes
		 * every field anew. */
		kv_coord_owner_self(&self);
		sweep(segment, &self);
		error = pthread_mutex_consistent(&segment->mutex);
	}
	/* What the C library says of a mutex that we never left like that */
	if (error == ENOTRECOVERABLE || error == EINVAL || error == EDEADLK || error == EPERM)
		return -EPROTO;
	return -error;
}

/* Locked. -EUSERS: none is free. */
static int claim(struct kv_coord_segment *segment, uint32_t *ret_index)
{
	struct kv_coord_owner self;

	kv_coord_owner_self(&self);
	sweep(segment, &self);
	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		struct kv_coord_slot *slot = &segment->slots[i];

		if (slot->state != KV_COORD_FREE)
			continue;
		begin_write(slot);
		__atomic_store_n(&slot->generation, slot->generation + 1, __ATOMIC_RELAXED);
		slot->owner_pid = self.pid;
		slot->owner_start = self.start;
		slot->owner_pidns = self.pidns;
		slot->owner_uid = self.uid;
		slot->owner_image = self.image;
		slot->n_rows = 0;
		memcpy(slot->name, self.name, sizeof(slot->name));
		memset(slot->note, 0, sizeof(slot->note));
		memset(&slot->process, 0, sizeof(slot->process));
		memset(slot->rows, 0, sizeof(slot->rows));
		memset(slot->reserved, 0, sizeof(slot->reserved));
		__atomic_store_n(&slot->state, KV_COORD_ACTIVE, __ATOMIC_RELEASE);
		end_write(slot);
		*ret_index = i;
		return 0;
	}
	return -EUSERS;
}

static int join_once(const struct kv_coord_request *request, struct kv_coord *coord, char *text,
	uint32_t text_size)
{
	struct kv_coord_segment *segment;
	int error = kv_coord_file_open(request, &coord->file, text, text_size);

	if (error)
		return error;
	segment = coord->file.segment;
	error = lock_segment(segment, coord->lock_timeout_ns);
	if (error) {
		if (error == -EPROTO && text && text_size)
			snprintf(text, text_size, "its mutex is damaged");
		goto close_file;
	}
	/* The last one to leave removes the file, under the mutex: then ours is nobody's any more
	 */
	error = kv_coord_file_is_linked(&coord->file) ? claim(segment, &coord->index) : -EAGAIN;
	pthread_mutex_unlock(&segment->mutex);
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

void kv_coord_leave(struct kv_coord *coord)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_owner self;
	struct kv_coord_slot *slot;
	int locked;

	pthread_mutex_lock(&coord->mutex);
	slot = coord->slot;
	coord->slot = NULL;
	pthread_mutex_unlock(&coord->mutex);
	if (!slot)
		return;
	/* Freeing needs no mutex, the slot is ours; the mutex only tells whether we are the last
	 * one */
	locked = lock_segment(segment, LEAVE_TIMEOUT_NS);
	__atomic_store_n(&slot->state, KV_COORD_FREE, __ATOMIC_RELEASE);
	if (locked == 0) {
		kv_coord_owner_self(&self);
		if (sweep(segment, &self) == 0 && kv_coord_file_is_linked(&coord->file))
			unlink(coord->file.path);
		pthread_mutex_unlock(&segment->mutex);
	}
	/* the mapping stays: another thread may be just behind a put */
	close(coord->file.fd);
	coord->file.fd = -1;
}

void kv_coord_forget(struct kv_coord *coord)
{
	/* The only thread of the child: a lock that another thread of the parent held stays held */
	coord->slot = NULL;
	pthread_mutex_init(&coord->mutex, NULL);
}

void kv_coord_put_process(struct kv_coord *coord, const struct kv_process_stats *stats)
{
	pthread_mutex_lock(&coord->mutex);
	if (coord->slot) {
		begin_write(coord->slot);
		coord->slot->process = *stats;
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
	if (coord->slot) {
		begin_write(coord->slot);
		coord->slot->rows[row] = *stats;
		end_write(coord->slot);
	}
	pthread_mutex_unlock(&coord->mutex);
}

void kv_coord_put_state(struct kv_coord *coord, enum kv_coord_state state, const char *note)
{
	pthread_mutex_lock(&coord->mutex);
	if (coord->slot && state != KV_COORD_FREE) {
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
	return lock_segment(coord->file.segment, coord->lock_timeout_ns);
}

void kv_coord_unlock(struct kv_coord *coord)
{
	pthread_mutex_unlock(&coord->file.segment->mutex);
}
