/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_shm.h - the shared segment: one file per GPU, one slot per process.
 *
 * File kvshim-<uid>-<gpu uuid, 32 hex digits> in /dev/shm (or the directory option), mode 0600.
 * Fixed-width fields, append only, natural alignment, little endian. Every value read from it is
 * hostile: readers bound their loops by the constants below, not by what the segment says, and
 * strings are read with their size.
 *
 * A slot belongs to the process that owner_pid and owner_start name (start time as in field 22 of
 * /proc/PID/stat, so that a recycled pid is not mistaken for the owner). generation rises by one
 * whenever the slot changes hands. seq is a sequence lock: odd while the owner writes.
 * The robust process-shared mutex guards claiming and freeing slots, nothing else (for now).
 */
#ifndef KV_CORE_COORD_SHM_H
#define KV_CORE_COORD_SHM_H

#include <pthread.h>
#include <stdint.h>

#include "core/stats.h"

#define KV_COORD_MAGIC 0x6d6968732d76766bull /* "kvv-shim" */
#define KV_COORD_LAYOUT 1u
#define KV_COORD_SLOTS 256u
#define KV_COORD_ROWS 64u /* reservations shown per process; more are counted, not listed */

/* enum kv_coord_slot.state */
enum kv_coord_state {
	KV_COORD_FREE = 0,
	KV_COORD_ACTIVE = 1,
	KV_COORD_INERT = 2, /* shim loaded, cannot work; note says why */
};

struct kv_coord_slot {
	uint32_t state; /* enum kv_coord_state */
	uint32_t generation;
	uint32_t seq;      /* sequence lock of everything below */
	int32_t owner_pid; /* as seen in the owner's pid namespace */
	uint64_t owner_start;
	uint64_t owner_pidns; /* inode of /proc/self/ns/pid */
	uint32_t owner_uid;
	uint32_t n_rows; /* reservations, also those beyond KV_COORD_ROWS */
	char name[64];   /* /proc/self/comm */
	char note[128];
	uint64_t updated_ns; /* CLOCK_MONOTONIC of the last write */
	struct kv_process_stats process;
	struct kv_reservation_stats rows[KV_COORD_ROWS];
	uint64_t owner_image; /* differs after exec, which keeps pid and start time */
	uint64_t reserved[31];
};

struct kv_coord_segment {
	uint64_t magic;
	uint32_t layout;
	uint32_t header_size; /* offsetof(struct kv_coord_segment, slots) */
	uint32_t slot_size;
	uint32_t n_slots;
	uint64_t size; /* of the file */
	uint8_t gpu_uuid[16];
	char gpu_name[64];
	uint64_t gpu_total;  /* bytes */
	uint32_t mutex_size; /* sizeof(pthread_mutex_t) of who made it */
	uint32_t ready;      /* 1 once everything above is valid; atomic: release/acquire */
	union {
		pthread_mutex_t mutex; /* robust, process-shared */
		uint8_t mutex_space[64];
	};
	uint64_t reserved[32];
	struct kv_coord_slot slots[KV_COORD_SLOTS];
};

_Static_assert(sizeof(pthread_mutex_t) <= 64, "the mutex fits its space");
_Static_assert(sizeof(struct kv_coord_slot) % 8 == 0, "slots keep their alignment");

/* ---- for readers: pure, no lock, no allocation (coord_check.c, coord_owner.c) ---- */

/*
 * Is this a segment that we can read? bytes: at least min(size, sizeof(struct kv_coord_segment))
 * bytes may be read. size: of the file. 0; -EPROTONOSUPPORT: a segment of another layout; -EPROTO:
 * no segment, or a damaged one. On an error text (may be NULL) says what is wrong.
 */
int kv_coord_check_header(const void *bytes, uint64_t size, char *text, uint32_t text_size);
/*
 * Is this copy of a slot in use sensible? 0, or -EPROTO with text. Strings of a slot that passed
 * end within their arrays.
 */
int kv_coord_check_slot(const struct kv_coord_slot *copy, char *text, uint32_t text_size);
/* Header and all slots that nobody writes at this moment. As the two above. */
int kv_coord_check(const void *bytes, uint64_t size, char *text, uint32_t text_size);
/*
 * Copies a slot that is in use, under its sequence lock. 0; -ENOENT: it is free; -EAGAIN: its owner
 * was writing at every try, or died writing: the copy is made and may be torn.
 */
int kv_coord_read_slot(const struct kv_coord_slot *shared, struct kv_coord_slot *ret_copy);

enum kv_coord_life {
	KV_COORD_ALIVE = 0,
	KV_COORD_DEAD = 1,
	KV_COORD_ELSEWHERE = 2, /* in another pid namespace: cannot be told from here */
};
/* Is the owner that the slot names still there? Reads /proc. */
enum kv_coord_life kv_coord_owner_life(const struct kv_coord_slot *copy);

#endif
