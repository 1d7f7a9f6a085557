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
	uint32_t state;      /* enum kv_coord_state */
	uint32_t generation;
	uint32_t seq;        /* sequence lock of everything below */
	int32_t owner_pid;   /* as seen in the owner's pid namespace */
	uint64_t owner_start;
	uint64_t owner_pidns; /* inode of /proc/self/ns/pid */
	uint32_t owner_uid;
	uint32_t n_rows;     /* reservations, also those beyond KV_COORD_ROWS */
	char name[64];       /* /proc/self/comm */
	char note[128];
	uint64_t updated_ns; /* CLOCK_MONOTONIC of the last write */
	struct kv_process_stats process;
	struct kv_reservation_stats rows[KV_COORD_ROWS];
	uint64_t reserved[32];
};

struct kv_coord_segment {
	uint64_t magic;
	uint32_t layout;
	uint32_t header_size;  /* offsetof(struct kv_coord_segment, slots) */
	uint32_t slot_size;
	uint32_t n_slots;
	uint64_t size;         /* of the file */
	uint8_t gpu_uuid[16];
	char gpu_name[64];
	uint64_t gpu_total;    /* bytes */
	uint32_t mutex_size;   /* sizeof(pthread_mutex_t) of who made it */
	uint32_t ready;        /* 1 once everything above is valid; atomic: release/acquire */
	union {
		pthread_mutex_t mutex; /* robust, process-shared */
		uint8_t mutex_space[64];
	};
	uint64_t reserved[32];
	struct kv_coord_slot slots[KV_COORD_SLOTS];
};

#endif
