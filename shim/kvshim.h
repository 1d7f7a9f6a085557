/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvshim.h - what a program can say to kvshim, and ask of it. Version 1 of the interface.
 *
 * A program needs no library to link with: each function here is looked up once, when it is first
 * called, and answers KVSHIM_ERR_ABSENT in a process that runs without the shim. So the same
 * program runs with `LD_PRELOAD=libkvshim.so` and without it. No CUDA header is needed: an address
 * is a uint64_t (the value of a CUdeviceptr), a device is its ordinal.
 *
 * All functions return 0 (or what they say) or one of KVSHIM_ERRORS, which are negative; what they
 * fill in is written on success only, except where said. A call that fails because of its arguments
 * has changed nothing, and the shim says why in one line of its log. Any thread may call any
 * function. Sizes and lengths are bytes unless the name says otherwise.
 *
 * Functions that give memory (kvshim_touch(), kvshim_cache_alloc(), ...) return when the memory is
 * mapped: call them before the work that uses it is submitted. They may wait for the device, and
 * for memory of other processes as long as the operator allows (KVSHIM_WAIT_MS). None may be called
 * from a host function or callback of the driver.
 *
 * A structure begins with its size: set it to sizeof. A newer shim knows what an older program does
 * not have, and the other way round.
 *
 * docs/api.md shows how the parts fit, and lists what is refused with which error.
 *
 * Whoever defines KVSHIM_DIRECT gets plain declarations, to link with libkvshim.so itself.
 */
#ifndef KVSHIM_H
#define KVSHIM_H

#include <stddef.h>
#include <stdint.h>

#define KVSHIM_API_VERSION 1

/* id, number, text. Numbers are never used again for something else. */
#define KVSHIM_ERRORS(X) \
	X(ABSENT, -1, "the shim is not in this process") \
	X(INERT, -2, "the shim does nothing in this process: switched off, forked, or no driver") \
	X(INVALID, -3, "an argument makes no sense") \
	X(FOREIGN, -4, "the address is not in memory that the shim manages") \
	X(OVERLAP, -5, "the geometry overlaps itself or another region") \
	X(BOUNDS, -6, "the geometry reaches beyond the allocation, or overflows") \
	X(UNKNOWN, -7, "there is no such region, block, pool, model, cache or tag") \
	X(NO_MEMORY, -8, "there is no memory") \
	X(TIMEOUT, -9, "it did not become possible in time") \
	X(BUSY, -10, "not now: a capture is open, or others hold the memory") \
	X(GONE, -11, "the memory was freed, or its region has become static") \
	X(TOO_LONG, -12, "longer than the model's longest sequence") \
	X(LIMIT, -13, "the model's maximum is reached") \
	X(DEVICE, -14, "the driver failed, or there is no such device") \
	X(UNSUPPORTED, -15, "this version of the shim cannot do that") \
	X(IN_USE, -16, "something of it is still in use") \
	X(UNDERFLOW, -17, "more was popped than pushed")

enum kvshim_error {
#define KVSHIM_ENUM(id, number, text) KVSHIM_ERR_##id = number,
	KVSHIM_ERRORS(KVSHIM_ENUM)
#undef KVSHIM_ENUM
};

/* ---- how a function is found ---- */

#if defined(KVSHIM_DIRECT)
#define KVSHIM_FUNCTION(type, name, parameters, arguments, absent) \
	__attribute__((visibility("default"))) type name parameters;
#ifdef __cplusplus
extern "C" {
#endif
#else
#include <dlfcn.h>
#ifdef __cplusplus
extern "C" {
#endif
/* The address of name, NULL without the shim; *cache remembers both. */
static inline void *kvshim_lookup_(const char *name, void **cache)
{
	void *found = __atomic_load_n(cache, __ATOMIC_ACQUIRE);

	if (!found) {
		found = dlsym(RTLD_DEFAULT, name);
		__atomic_store_n(cache, found ? found : (void *)cache, __ATOMIC_RELEASE);
	}
	return found == (void *)cache ? NULL : found;
}
#define KVSHIM_FUNCTION(type, name, parameters, arguments, absent) \
	static inline __attribute__((unused)) type name parameters \
	{ \
		static void *kvshim_cache_; \
		union { \
			void *object; \
			type(*function) parameters; \
		} it; \
		it.object = kvshim_lookup_(#name, &kvshim_cache_); \
		return it.object ? it.function arguments : (absent); \
	}
#endif

/* ---- errors and versions ---- */

/*
 * A sentence without a full stop; "" for 0. Never NULL. Needs no shim.
 *
 * ```c
 * int err = kvshim_version();
 * if (err < 0)
 *	fprintf(stderr, "no elastic memory: %s\n", kvshim_strerror(err));
 * ```
 */
static inline const char *kvshim_strerror(int error)
{
	switch (error) {
	case 0:
		return "";
#define KVSHIM_CASE(id, number, text) \
	case number: \
		return text;
		KVSHIM_ERRORS(KVSHIM_CASE)
#undef KVSHIM_CASE
	default:
		return "an error that this header does not know";
	}
}

/* The interface's version in the shim that is loaded: 1 or more, or KVSHIM_ERR_ABSENT. It need not
 * be active; see kvshim_active(). */
KVSHIM_FUNCTION(int, kvshim_version, (void), (), KVSHIM_ERR_ABSENT)
/* 1: the shim works in this process. 0: not yet, the program has made no driver call. ABSENT,
 * INERT. */
KVSHIM_FUNCTION(int, kvshim_active, (void), (), KVSHIM_ERR_ABSENT)

/* ---- tags: what the calling thread allocates next ---- */

enum kvshim_mode {
	KVSHIM_MODE_KEEP = 0,   /* as the options say; only the name and the priority count */
	KVSHIM_MODE_LAZY = 1,   /* a reservation, whatever its size */
	KVSHIM_MODE_EAGER = 2,  /* a reservation, whole from the start: it can be paused */
	KVSHIM_MODE_NATIVE = 3, /* the driver's own memory */
};

/*
 * Allocations of this thread carry the tag until it is popped. name: up to 31 characters are kept.
 * priority: 0 (the first to be evicted) to 255, 128 is that of memory without a tag. Up to 16 tags
 * may lie on each other. INVALID: no name, or a mode or priority that there is not; NO_MEMORY: too
 * many.
 *
 * ```c
 * if (kvshim_tag_push("kv", KVSHIM_MODE_LAZY, 128) == 0) {
 *	// ... cudaMalloc of the cache ...
 *	kvshim_tag_pop();
 * }
 * ```
 */
KVSHIM_FUNCTION(int, kvshim_tag_push, (const char *name, int mode, int priority),
	(name, mode, priority), KVSHIM_ERR_ABSENT)
/* UNDERFLOW: nothing was pushed by this thread. */
KVSHIM_FUNCTION(int, kvshim_tag_pop, (void), (), KVSHIM_ERR_ABSENT)

/*
 * Puts all memory with this tag away, of all devices: its device memory goes to the neighbours.
 *keep 1: the content goes to host memory and comes back; 0: it is dropped, and reads as zero
 * afterwards. Work that is submitted without naming the memory does not bring it back; work that
 * names it does, so that nothing can fault. *ret_bytes (may be NULL): device bytes released, also
 *on an error. UNKNOWN: nothing has this tag. BUSY: a capture is open, or the memory is exported.
 * TIMEOUT: work in flight did not end; what was put away stays away. NO_MEMORY: no host memory.
 *
 * ```c
 * uint64_t bytes = 0;
 * int err = kvshim_tag_pause("kv", 1, &bytes);
 * if (err == 0)
 *	err = kvshim_tag_resume("kv", &bytes);
 * ```
 */
KVSHIM_FUNCTION(int, kvshim_tag_pause, (const char *name, int keep, uint64_t *ret_bytes),
	(name, keep, ret_bytes), KVSHIM_ERR_ABSENT)
/* Back again, before the next work. What was elastic comes back piece by piece, when it is used.
 * *ret_bytes: device bytes mapped by this call. UNKNOWN, NO_MEMORY, DEVICE. */
KVSHIM_FUNCTION(int, kvshim_tag_resume, (const char *name, uint64_t *ret_bytes), (name, ret_bytes),
	KVSHIM_ERR_ABSENT)

/* ---- hints: a region whose blocks the program itself allocates ---- */

/*
 * One piece of every block: block b has it at address + b * stride. A layer's keys, for one; as
 * many ranges as a block has pieces (layers, times two if keys and values lie apart).
 */
struct kvshim_range {
	uint64_t address;
	uint64_t stride; /* at least bytes */
	uint64_t bytes;  /* at least 1 */
};

enum kvshim_region_flags {
	KVSHIM_REGION_KEEP = 1, /* what has content when the region is declared lives on until the
				 * region ends; else it is dead */
	KVSHIM_REGION_PART = 2, /* what lies in the same allocations outside the ranges is not used,
				 * or belongs to other regions; else it is mapped all the time */
};

struct kvshim_region_desc {
	uint64_t size; /* sizeof(struct kvshim_region_desc) */
	uint64_t n_blocks;
	uint64_t n_ranges;
	const struct kvshim_range *ranges;
	uint32_t flags;       /* enum kvshim_region_flags */
	uint32_t watchdog_ms; /* longest work without a hint; 0: ten seconds; UINT32_MAX: any */
	char name[32];        /* for logs and statistics */
};

/*
 * Declares a region: from now on kernels may touch blocks that were touched by hint, and no other
 * part of the ranges; and the region's memory follows the hints. A kernel that gets a pointer to it
 * does not make it static. *ret_region: for the calls below. May be called when no work that uses
 * the memory is in flight. INVALID, OVERLAP, BOUNDS: the geometry. FOREIGN: a range is not in a
 * reservation of the shim (below its size floor, for one): nothing needs to be hinted there. BUSY:
 * the memory is exported, or a capture is open. NO_MEMORY, DEVICE.
 *
 * ```c
 * // 1000 blocks of 64 KiB, in two layers that were allocated one by one
 * uint64_t layers[2] = {0, 0};  // from cudaMalloc
 * struct kvshim_range ranges[2] = {{layers[0], 65536, 65536}, {layers[1], 65536, 65536}};
 * struct kvshim_region_desc desc = {sizeof(desc), 1000, 2, ranges, 0, 0, "kv"};
 * uint64_t region;
 * int64_t blocks[3] = {5, 6, 7};
 * if (kvshim_region_declare(&desc, &region) == 0) {
 *	kvshim_touch(region, blocks, 3);      // before the first kernel that uses them
 *	// ... launch ...
 *	kvshim_release(region, blocks, 3, 0); // the launch above still may use them
 *	kvshim_region_end(region);
 * }
 * ```
 */
KVSHIM_FUNCTION(int, kvshim_region_declare,
	(const struct kvshim_region_desc *desc, uint64_t *ret_region), (desc, ret_region),
	KVSHIM_ERR_ABSENT)
/* No more hints. If kernels have had pointers to the memory it is static from now on, as it would
 * have been without hints. UNKNOWN. */
KVSHIM_FUNCTION(int, kvshim_region_end, (uint64_t region), (region), KVSHIM_ERR_ABSENT)

/*
 * The work about to be submitted, and work after it, may use these n blocks, until they are
 * released. Blocks that are touched already stay so. Also a sign of life, n may be 0. Content of a
 * block that was released may be lost: it reads as zero or as what it was. UNKNOWN: no such region
 * or block. INVALID: n is negative. NO_MEMORY: none of the blocks is touched by this call (see
 * kvshim_quota_get()). GONE: the memory was freed, or the watchdog has made it static: then
 * everything may be used.
 */
KVSHIM_FUNCTION(int, kvshim_touch, (uint64_t region, const int64_t *blocks, int64_t n),
	(region, blocks, n), KVSHIM_ERR_ABSENT)
/*
 * Nobody will read these blocks before they are touched and written again. Work that was submitted
 * before this call may still use them: their memory goes after it. after_steps: as many steps more
 * (kvshim_step()) may be submitted that use them, for engines that plan ahead; 0: none. UNKNOWN: no
 * such region, or a block that is not touched (or listed twice): none was released. INVALID: n or
 * after_steps is negative or above 1000 steps. GONE, NO_MEMORY.
 */
KVSHIM_FUNCTION(int, kvshim_release,
	(uint64_t region, const int64_t *blocks, int64_t n, int after_steps),
	(region, blocks, n, after_steps), KVSHIM_ERR_ABSENT)
/*
 * The same by address: touches all blocks of which a byte lies in [address, address + length);
 * releases those that lie wholly inside and are touched. Only for regions with one range. BOUNDS:
 * not inside the range. UNSUPPORTED: more ranges.
 */
KVSHIM_FUNCTION(int, kvshim_touch_bytes, (uint64_t region, uint64_t address, int64_t length),
	(region, address, length), KVSHIM_ERR_ABSENT)
KVSHIM_FUNCTION(int, kvshim_release_bytes, (uint64_t region, uint64_t address, int64_t length),
	(region, address, length), KVSHIM_ERR_ABSENT)
/* A step of the engine begins: a sign of life, and what was released with after_steps comes one
 * step nearer. UNKNOWN, GONE. */
KVSHIM_FUNCTION(int, kvshim_step, (uint64_t region), (region), KVSHIM_ERR_ABSENT)

struct kvshim_region_stats {
	uint64_t size; /* sizeof(struct kvshim_region_stats) */
	uint64_t n_blocks;
	uint64_t live;    /* blocks touched, and not yet released */
	uint64_t waiting; /* of those: released, but some steps are to come */
	uint64_t touched; /* calls so far, and ... */
	uint64_t released;
	uint64_t wanted; /* bytes of pages that live blocks lie on, in the region's allocations */
	uint64_t backed; /* device bytes behind those allocations now */
	uint32_t is_static; /* 1: the watchdog has ended it */
	uint32_t reserved;
};
/* UNKNOWN, INVALID. */
KVSHIM_FUNCTION(int, kvshim_region_stats_get,
	(uint64_t region, struct kvshim_region_stats *ret_stats), (region, ret_stats),
	KVSHIM_ERR_ABSENT)

/* ---- how much there is ---- */

struct kvshim_quota {
	uint64_t size;       /* sizeof(struct kvshim_quota) */
	uint64_t backed;     /* device bytes behind this process's reservations */
	uint64_t growth;     /* what could be backed in addition at this moment */
	uint64_t limit;      /* backed + growth */
	uint64_t generation; /* rises when limit changes by a page or more */
};

/*
 * What this process may have on a device. It moves with the neighbours: an engine whose blocks in
 * use come near the limit preempts now, rather than meet NO_MEMORY. Counted is what is free, what
 * neighbours would give when they are asked, and the maximum that the operator has set. Calls the
 * driver. DEVICE: the process has no reservation there.
 *
 * ```c
 * struct kvshim_quota quota = {sizeof(quota), 0, 0, 0, 0};
 * if (kvshim_quota_get(0, &quota) == 0)
 *	printf("%llu bytes more\n", (unsigned long long)quota.growth);
 * ```
 */
KVSHIM_FUNCTION(int, kvshim_quota_get, (int device, struct kvshim_quota *ret_quota),
	(device, ret_quota), KVSHIM_ERR_ABSENT)
/*
 * A file descriptor (an eventfd, non-blocking, close-on-exec) that becomes readable when the limit
 * of the device has changed; read eight bytes, then ask kvshim_quota_get(). It is looked at ten
 * times a second. One per device: the same at each call; the shim owns it. DEVICE, NO_MEMORY,
 * UNSUPPORTED.
 */
KVSHIM_FUNCTION(int, kvshim_quota_fd, (int device), (device), KVSHIM_ERR_ABSENT)

/* ---- what the shim does in this process ---- */

struct kvshim_stats {
	uint64_t size; /* sizeof(struct kvshim_stats) */
	uint64_t reserved;
	uint64_t backed;
	uint64_t backed_peak;
	uint64_t evicted; /* content in host memory */
	uint64_t spilled; /* content in host memory, mapped in place */
	uint64_t spare;   /* device memory at hand for the next pages */
	uint64_t native;  /* what was allocated past the shim */
	uint64_t native_peak;
	uint64_t host_budget;
	uint64_t reservations;
	uint64_t reservations_static;
	uint64_t pages_backed; /* counters since the start ... */
	uint64_t pages_released;
	uint64_t pages_evicted;
	uint64_t pages_restored;
	uint64_t pages_spilled;
	uint64_t driver_calls;
	uint64_t submissions;
	uint64_t quiesces;
	uint64_t quiesce_timeouts;
	uint64_t quiesce_ns_max;
	uint64_t refused;            /* allocations that could not be promised */
	uint64_t passed;             /* allocations that were left native */
	uint64_t last_submission_ns; /* CLOCK_MONOTONIC; work that had to be looked at */
	uint64_t waits;              /* for device memory that neighbours had to give */
	uint64_t wait_timeouts;      /* of them: nothing came in time */
	uint64_t wait_ns;            /* all of them together */
	uint64_t wait_ns_max;
	uint64_t pages_promoted;   /* of pages_spilled: came back to the device */
	uint64_t pages_not_copied; /* of pages_evicted: the copy of last time was still true */
	uint64_t pages_ahead;      /* backed before they were needed */
	uint64_t pages_ahead_used; /* of them: were needed afterwards */
	uint64_t evictions;        /* idle, on request, or to make room */
	uint64_t evicted_bytes;    /* copied by them */
	uint64_t evict_ns;         /* all of them together */
	uint64_t restores;         /* of what was moved out */
	uint64_t restored_bytes;
	uint64_t restore_ns;
	uint64_t reclaims;         /* requests of neighbours that were answered, and ... */
	uint64_t reclaimed_bytes;  /* ... the device bytes that they got */
	uint64_t denied;           /* pages that the ledger refused at first asking */
	uint64_t host_taken;       /* of host_budget: in use */
	uint64_t submitted;        /* driver calls that queue work */
	uint64_t launches;         /* of submitted: kernels and graphs */
	uint64_t launch_ns_p50;    /* what the shim adds to a launch: half of those that were timed
				    * stayed below this power of two. 0: none was timed yet */
	uint64_t launch_ns_p99;    /* 99 of 100 */
	uint64_t last_activity_ns; /* CLOCK_MONOTONIC; any work, to a second */
	/* What the options said, or what an operator has set since. */
	uint64_t min;        /* device bytes that neighbours cannot ask back while they are used */
	uint64_t max;        /* device bytes that are never exceeded; UINT64_MAX: no maximum */
	uint64_t host_limit; /* as the operator has set host_budget */
	uint64_t weight;     /* of the fair share; 100 unless said otherwise */
	uint64_t idle_ms;    /* without work, until everything is moved out; 0: never */
	uint64_t state;      /* enum kvshim_state */
};
enum kvshim_state {
	KVSHIM_STATE_BUSY = 0,    /* submits work, or has not been idle for long enough */
	KVSHIM_STATE_IDLE = 1,    /* nothing submitted for idle_ms */
	KVSHIM_STATE_EVICTED = 2, /* nothing of it is on the device: content is in host memory */
};
/*
 * Of one device, as kvshim-stat shows it. DEVICE: the process has had no reservation there.
 *
 * ```c
 * struct kvshim_stats stats = {0};
 * stats.size = sizeof(stats);
 * if (kvshim_stats_get(0, &stats) == 0)
 *	printf("%llu of %llu bytes are backed\n", (unsigned long long)stats.backed,
 *		(unsigned long long)stats.reserved);
 * ```
 */
KVSHIM_FUNCTION(int, kvshim_stats_get, (int device, struct kvshim_stats *ret_stats),
	(device, ret_stats), KVSHIM_ERR_ABSENT)

struct kvshim_reservation {
	uint64_t size; /* sizeof(struct kvshim_reservation) */
	uint64_t base;
	uint64_t requested;
	uint64_t reserved;
	uint64_t backed;
	uint64_t backed_peak;
	uint64_t evicted;
	uint64_t spilled;
	uint64_t page_size;
	uint64_t wanted;        /* bytes of pages on which hinted blocks live */
	uint64_t created_ns;    /* CLOCK_MONOTONIC */
	uint32_t static_reason; /* 0: elastic; else as kvshim-stat names it */
	int32_t priority;       /* 0 to 255 */
	uint32_t is_managed;    /* 1: by hints */
	uint32_t is_paused;
	char static_by[128];
	char tag[32];
};
/* The reservation of this process with the lowest base above `after` (0: the first), on any device.
 * UNKNOWN: there is none. */
KVSHIM_FUNCTION(int, kvshim_reservation_next,
	(uint64_t after, struct kvshim_reservation *ret_reservation), (after, ret_reservation),
	KVSHIM_ERR_ABSENT)

#ifndef KVSHIM_DIRECT
#include "kvshim_pool.h"
#else
#include "shim/kvshim_pool.h"
#endif

#ifdef __cplusplus
}
#endif

#endif
