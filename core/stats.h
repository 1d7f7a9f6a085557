/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - what core counts, in the fixed-width form that the shared segment carries.
 *
 * Rules of this layout (the models are perf's and rr's): fixed-width fields only, no pointers, no
 * size_t, no bool; append only; a change that is not an append raises KV_COORD_LAYOUT in
 * coord_shm.h. Bytes unless the name says otherwise. Core writes, readers treat every value as
 * hostile.
 */
#ifndef KV_CORE_STATS_H
#define KV_CORE_STATS_H

#include <stdint.h>

#define KV_STATS_NAME_MAX 128u

/* What a page is. The numbers are part of the layout (struct kv_reservation_stats.pages). */
enum kv_page_state {
	KV_PAGE_EMPTY = 0,   /* no memory, reads as zero */
	KV_PAGE_BACKED = 1,  /* device memory, mapped */
	KV_PAGE_EVICTED = 2, /* content in host memory, not mapped */
	KV_PAGE_SPILLED = 3, /* content in host memory, mapped in place */
	KV_PAGE_BUSY = 4,    /* in transit; seen only under the reservation's mutex */
};

/* Why a reservation is static (struct kv_reservation_stats.static_reason). */
enum kv_static_reason {
	KV_STATIC_NO = 0,
	KV_STATIC_KERNEL = 1,      /* an unknown kernel got a pointer into it; static_by names it */
	KV_STATIC_UPLOAD = 2,      /* a pointer into it was found in uploaded data */
	KV_STATIC_HOST_MEMORY = 3, /* an unknown kernel reads host memory that may hold pointers */
	KV_STATIC_EXPORT = 4,      /* exported, retained, registered or mapped for a peer */
	KV_STATIC_GRAPH = 5,       /* part of a graph whose nodes cannot be read at launch */
	KV_STATIC_OPTION = 6,      /* asked for by an option or a tag */
	KV_STATIC_ARRAY = 7, /* bound to a texture, an array or another object of the driver */
};

/* One reservation. */
struct kv_reservation_stats {
	uint64_t base;      /* device address, 0: the row is free */
	uint64_t requested; /* what the engine asked for */
	uint64_t reserved;  /* rounded up to pages */
	uint64_t backed;    /* device memory behind it now */
	uint64_t backed_peak;
	uint64_t evicted; /* content in host memory, unmapped */
	uint64_t spilled; /* content in host memory, mapped in place */
	uint64_t page_size;
	uint32_t pages[8];                 /* pages by state, index enum kv_page_state */
	uint32_t static_reason;            /* enum kv_static_reason */
	uint32_t score;                    /* of selection, biased by +1000; 0 unknown */
	uint64_t created_ns;               /* CLOCK_MONOTONIC */
	char static_by[KV_STATS_NAME_MAX]; /* NUL-terminated kernel or entry point */
	char tag[32];
};

/* One process on one device. */
struct kv_process_stats {
	uint64_t reserved;
	uint64_t backed;
	uint64_t backed_peak;
	uint64_t evicted;
	uint64_t spilled;
	uint64_t spare;  /* recycled handles kept for the next page */
	uint64_t native; /* what the engine allocated past us and has not freed */
	uint64_t native_peak;
	uint64_t host_budget;
	uint64_t n_reservations;
	uint64_t n_static;
	uint64_t pages_backed;   /* counters since start: pages given memory ... */
	uint64_t pages_released; /* ... whose memory was taken away */
	uint64_t pages_evicted;
	uint64_t pages_restored;
	uint64_t pages_spilled;
	uint64_t driver_calls; /* made by core, all kinds */
	uint64_t submissions;  /* that needed the slow path */
	uint64_t quiesces;     /* gate closed and drained */
	uint64_t quiesce_timeouts;
	uint64_t quiesce_ns_max;     /* longest time the gate was closed */
	uint64_t refused;            /* allocations refused because no promise could be made */
	uint64_t passed;             /* allocations above the floor that were left native */
	uint64_t last_submission_ns; /* CLOCK_MONOTONIC, coarse: slow-path submissions only */
};

#endif
