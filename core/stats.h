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
	KV_STATIC_HINTS = 8, /* managed by hints that stopped while work went on */
};

#define KV_STATS_CELLS 64u   /* of a reservation's page map */
#define KV_STATS_BUCKETS 32u /* of a histogram: bucket i counts [2^i, 2^(i+1)) nanoseconds */

/* Upper bound of the bucket of a histogram that the percentile lies in; 0 if nothing was counted.
 */
static inline uint64_t kv_stats_quantile(const uint32_t buckets[KV_STATS_BUCKETS], uint64_t percent)
{
	uint64_t total = 0, seen = 0;

	for (uint32_t i = 0; i < KV_STATS_BUCKETS; i++)
		total += buckets[i];
	for (uint32_t i = 0; total && i < KV_STATS_BUCKETS; i++) {
		seen += buckets[i];
		if (seen * 100 >= total * percent)
			return 2ull << i;
	}
	return 0;
}

/*
 * One cell of the page map. Cell c of n pages covers the pages [c*n/64, (c+1)*n/64); with fewer
 * than 64 pages some cells cover none and are all zero. Shares in 1/255 of the cell's pages,
 * rounded up, so that 0 means none; what is missing to 255 is EMPTY.
 */
struct kv_page_cell {
	uint8_t backed;
	uint8_t evicted;
	uint8_t spilled;
	uint8_t dead; /* of backed: marked to go at the next quiesced point; meant if dead of the
		       * reservation is not 0 */
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
	char rules[32]; /* family of the kernel rules that reach it; "" none so far */
	uint64_t dead;  /* of backed: marked to go at the next quiesced point. 0: not counted, and
			   core does not: marks come and go with touches that publish nothing */
	uint64_t pad[3];
	struct kv_page_cell map[KV_STATS_CELLS];
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
	uint64_t last_activity_ns;   /* CLOCK_MONOTONIC, coarse: any submission */
	uint64_t submitted;          /* driver calls that queue work, all of them */
	uint64_t launches;           /* of submitted: kernels and graphs */
	uint64_t waits;              /* for device memory that others had to give */
	uint64_t wait_timeouts;      /* of waits: nothing came in time */
	uint64_t wait_ns;            /* of all waits together */
	uint64_t wait_ns_max;
	uint64_t pages_promoted; /* SPILLED pages that came back to the device */
	uint64_t evictions;      /* times that pages were moved out, idle or on request */
	uint64_t evicted_bytes;  /* ... bytes copied */
	uint64_t evict_ns;       /* ... time it took */
	uint64_t restores;       /* times that pages were moved back in */
	uint64_t restored_bytes;
	uint64_t restore_ns;
	uint64_t reclaims;        /* requests of others that were answered */
	uint64_t reclaimed_bytes; /* ... device bytes that they brought */
	uint64_t denied;          /* charges that the ledger refused at first asking */
	uint64_t dead; /* of backed: marked to go at the next quiesced point; 0: not counted */
	uint64_t host_taken;                  /* of host_budget: in use */
	uint64_t launch_sample;               /* one launch in so many is timed; 0: none */
	uint32_t launch_ns[KV_STATS_BUCKETS]; /* histogram of what a timed launch cost until it
						 reached the driver: the shim's part */
	uint32_t wait_hist[KV_STATS_BUCKETS]; /* histogram of waits, ns */
	uint64_t pages_not_copied; /* of pages_evicted: the copy of last time was still true */
	uint64_t pages_ahead;      /* backed before they were needed */
	uint64_t pages_ahead_used; /* of them: were needed afterwards, nobody had to wait */
	uint64_t waits_crossed;    /* of wait_timeouts: ended at once, so that processes do not wait
				      for each other over several devices */
	uint64_t pad[12];
};

#endif
