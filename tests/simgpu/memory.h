/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - address ranges, physical memory and the bytes.
 *
 * A store is a sparse file of bytes with one linear alias in this process; per block of 64 KiB it
 * knows whether the block was never written (reads as the store's virgin byte), is zero, or has
 * data. A range is a piece of address space: a reservation with mappings, a plain allocation, or
 * host memory that the device reads. Everything here is guarded by sim_memory_lock unless it says
 * otherwise.
 */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include "internal.h"

/* ---- bytes (store.c) ---- */

#define SIM_BLOCK (64ull << 10)

struct sim_store {
	int fd; /* -1: anonymous */
	uint8_t *base;
	uint8_t *states; /* enum sim_block, one per block */
	uint64_t size;
	uint8_t virgin; /* what a byte that was never written reads as */
};

enum sim_block { SIM_BLOCK_VIRGIN = 0, SIM_BLOCK_ZERO = 1, SIM_BLOCK_DATA = 2 };

/* size is rounded up to blocks; anonymous: no file. NULL: no address space. */
struct sim_store *sim_store_new(uint64_t size, uint8_t virgin, bool anonymous);
void sim_store_free(struct sim_store *store);
void sim_store_read(const struct sim_store *store, uint64_t offset, void *buffer, uint64_t size);
void sim_store_write(struct sim_store *store, uint64_t offset, const void *buffer, uint64_t size);
/* pattern of element bytes (1, 2, 4) from offset, size a multiple of element. */
void sim_store_fill(struct sim_store *store, uint64_t offset, uint64_t size, uint32_t pattern,
	uint32_t element);
/* Copies between stores; zero and virgin blocks stay cheap. */
void sim_store_copy(struct sim_store *dst, uint64_t dst_offset, const struct sim_store *src,
	uint64_t src_offset, uint64_t size);
/* Back to virgin; the pages go back to the host. Block-aligned. */
void sim_store_forget(struct sim_store *store, uint64_t offset, uint64_t size);
/* Blocks become plain data (virgin ones zero): the memory is to be shared with the host. */
void sim_store_expose(struct sim_store *store, uint64_t offset, uint64_t size);
/* Offset of the first difference, or size if equal. */
uint64_t sim_store_compare(const struct sim_store *a, uint64_t a_offset, const struct sim_store *b,
	uint64_t b_offset, uint64_t size);

/* ---- physical memory (physical.c) ---- */

struct sim_location {
	int device; /* -1: host */
};

/* An extent of a device's store, or of the host store (device -1). */
struct sim_extent {
	struct sim_store *store;
	int device;
	uint64_t offset, size; /* size as accounted */
};
/* CUDA_ERROR_OUT_OF_MEMORY. Accounted; virgin. */
CUresult sim_extent_take(int device, uint64_t size, struct sim_extent *ret);
void sim_extent_give(struct sim_extent *extent);

struct sim_handle {
	CUmemGenericAllocationHandle id;
	CUmemAllocationProp prop;
	struct sim_extent extent;
	uint32_t refs; /* of the program: create, retain, import */
	uint32_t mappings;
	bool manager;
};
struct sim_handle *sim_handle_find(CUmemGenericAllocationHandle id);
CUresult sim_handle_new(const CUmemAllocationProp *prop, uint64_t size, struct sim_handle **ret);
void sim_handle_put(struct sim_handle *handle); /* frees when nothing holds it */
void sim_handles_each(void (*visit)(struct sim_handle *handle));

/* ---- address ranges (range.c) ---- */

enum sim_range_kind {
	SIM_RANGE_RESERVED, /* cuMemAddressReserve */
	SIM_RANGE_DEVICE,   /* cuMemAlloc, cuMemAllocPitch, module globals */
	SIM_RANGE_POOL,     /* cuMemAllocAsync */
	SIM_RANGE_MANAGED,
	SIM_RANGE_HOST,       /* cuMemHostAlloc, cuMemAllocHost */
	SIM_RANGE_REGISTERED, /* cuMemHostRegister */
};

struct sim_mapping {
	uint64_t base, size, offset;
	struct sim_handle *handle;
	uint8_t readable, writable; /* bit per device */
	bool reached;               /* by some device, at some time */
	bool host_visible;
	bool manager;
};

struct sim_range {
	enum sim_range_kind kind;
	uint64_t base, size;
	uint64_t span; /* bytes of address space taken */
	int device;
	struct sim_context *context; /* NULL for reservations */
	struct sim_extent extent;    /* DEVICE, POOL */
	struct sim_mapping **pages;  /* RESERVED: per 2 MiB */
	uint64_t n_pages;
	struct sim_store *mirror; /* the ideal memory, or NULL */
	bool manager, internal;
	unsigned flags;
	uint64_t id;
	void *pool;
	bool free_queued; /* cuMemFreeAsync has been called */
	int sync_memops;
};

/* Takes address space (inaccessible) and inserts the range. NULL: none left. */
struct sim_range *sim_range_new(
	enum sim_range_kind kind, uint64_t size, uint64_t align, uint64_t hint);
/* A range over host memory that exists. NULL: it overlaps another. */
struct sim_range *sim_range_over(enum sim_range_kind kind, uint64_t base, uint64_t size);
void sim_range_free(struct sim_range *range);
struct sim_range *sim_range_find(uint64_t addr); /* containing addr */
struct sim_range *sim_range_at(uint64_t base);   /* starting there */
void sim_ranges_each(void (*visit)(struct sim_range *range, void *arg), void *arg);
uint64_t sim_ranges_count(void);
struct sim_mapping *sim_range_mapping(const struct sim_range *range, uint64_t addr);

/* ---- access (access.c) ---- */

/* Where a stretch of addresses lives. */
struct sim_segment {
	struct sim_store *store; /* NULL: host memory at bytes */
	uint64_t offset;
	uint8_t *bytes;
	uint64_t size;
	struct sim_range *range; /* NULL: host memory that no range knows */
	struct sim_store *mirror;
	uint64_t mirror_offset;
};

struct sim_access {
	struct sim_context *context; /* whose device touches; NULL: the driver itself */
	bool write, copy; /* copy: by a copy engine, which reaches the owner's memory too */
	bool host_ok;     /* addresses outside every range are pageable host memory */
	const char *why;  /* out: what is wrong when segment fails */
};

/* The longest segment at addr, at most size. False: not mapped or not accessible. */
bool sim_segment(struct sim_access *access, uint64_t addr, uint64_t size, struct sim_segment *ret);

/* Runs copies, sets, notes and memory operations. Take sim_memory_lock themselves. */
void sim_run_copy(struct sim_run *run, const struct sim_copy *copy);
void sim_run_set(struct sim_run *run, const struct sim_set *set);
void sim_run_note(struct sim_run *run, const struct sim_note *note);
bool sim_run_memop(struct sim_run *run, const struct sim_memop *memop);
/* Checks that the ranges are mapped and accessible, for errors at the call. */
CUresult sim_check_copy(struct sim_context *context, const struct sim_copy *copy);
CUresult sim_check_set(struct sim_context *context, const struct sim_set *set);
/* Records a fault of the running work: reports, sticky 700. */
void sim_fault(struct sim_run *run, uint64_t addr, bool write, const char *why);

/* ---- native allocations (alloc.c) ---- */

CUresult sim_native_alloc(
	struct sim_context *context, enum sim_range_kind kind, uint64_t size, uint64_t *ret_addr);
void sim_native_free(struct sim_range *range);
/* Frees what belongs to the context (NULL pool ranges included). */
void sim_native_drop(struct sim_context *context);
void sim_pool_free_async(uint64_t addr);
CUresult sim_pool_alloc_async(
	void *pool, struct sim_context *context, uint64_t size, uint64_t *ret);
extern uint64_t sim_pages_mapped;

#endif
