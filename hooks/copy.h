/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h - copies and sets: the exact ranges that they touch (P1), and what need not be touched
 * because it is zero already (P2).
 *
 * A copy out of EMPTY pages backs nothing: what it would have read is zero, and the target gets
 * zeros in the same place of the stream's order. A zero fill of EMPTY pages is nothing at all. A
 * copy that is being captured becomes part of a graph: the reservations that it names leak.
 *
 * Everything here is called by the exported functions in exports_copy.c and exports_set.c.
 */
#ifndef KV_HOOKS_COPY_H
#define KV_HOOKS_COPY_H

#include "hooks/submit.h"

/* How a call is ordered. */
struct kv_way {
	CUstream stream; /* NULL for calls that take none */
	bool async;
	bool per_thread; /* stream NULL is the per-thread stream */
	const char *by;  /* entry point, for the log */
};

struct kv_copy;
/* One piece of a linear copy, by the driver's own function. */
typedef CUresult (*kv_copy_issue)(
	const struct kv_copy *copy, uint64_t dst, uint64_t src, uint64_t length);

/* A linear copy. Addresses of host memory are pointers. */
struct kv_copy {
	struct kv_way way;
	uint64_t dst, src, length;
	bool dst_host, src_host; /* the entry point says so; else it is looked up */
	bool src_any;            /* src may be host memory all the same */
	bool fill_by_copy;       /* zeros are copied, not set: dst may be of another context */
	CUcontext dst_ctx, src_ctx;
	const void *box; /* for issue */
	kv_copy_issue issue;
	union {
		PFN_cuMemcpy_v4000 any;
		PFN_cuMemcpyAsync_v4000 any_async;
		PFN_cuMemcpyHtoD_v3020 htod;
		PFN_cuMemcpyHtoDAsync_v3020 htod_async;
		PFN_cuMemcpyDtoH_v3020 dtoh;
		PFN_cuMemcpyDtoHAsync_v3020 dtoh_async;
		PFN_cuMemcpyDtoD_v3020 dtod;
		PFN_cuMemcpyDtoDAsync_v3020 dtod_async;
		PFN_cuMemcpyPeer_v4000 peer;
		PFN_cuMemcpyPeerAsync_v4000 peer_async;
		PFN_cuMemcpy2D_v3020 box2d;
		PFN_cuMemcpy2DAsync_v3020 box2d_async;
	} real;
};

/* Makes the copy. */
CUresult kv_copy_linear(const struct kv_copy *copy);
/* [inside] The same when the caller has entered the gate and leaves it. */
CUresult kv_copy_inside(const struct kv_copy *copy);

/*
 * [inside] Backs [addr, addr+length), which begins in r; nothing if r is NULL. CUDA_SUCCESS: the
 * driver may be called. A range that runs over the end is refused here, as the driver refuses one
 * that runs over the end of an allocation: what it would do about one that runs into an address
 * range without memory is not documented.
 */
CUresult kv_copy_touch(struct kv_reservation *r, uint64_t addr, uint64_t length);

/*
 * [inside] A copy of length bytes out of src, which is in no reservation, is being captured: the
 * graph reads src again at each launch. host: src is host memory for sure.
 */
void kv_copy_recorded(uint64_t src, uint64_t length, bool host, const char *by);

/* The zero page behind a reservation's device; 0 if there is none. */
CUdeviceptr kv_copy_zeros(struct kv_reservation *r);
/* True if [offset, offset+length) of r is EMPTY as a whole. */
bool kv_copy_is_empty(struct kv_reservation *r, uint64_t offset, uint64_t length);
/* May the host write what is at addr? Asks the driver if it has to. */
bool kv_copy_host_writes(uint64_t addr);
/* Can the host read what is at addr, which is in no reservation? Asks the driver if it has to. */
bool kv_copy_host_reads(uint64_t addr);

/* ---- boxes (copy2d.c): 2D, 3D and peer forms; exactly one of the two functions of each kind is
 * used ---- */

CUresult kv_copy_2d(const struct kv_way *way, PFN_cuMemcpy2D_v3020 real,
	PFN_cuMemcpy2DAsync_v3020 real_async, const CUDA_MEMCPY2D_v2 *box);
CUresult kv_copy_3d(const struct kv_way *way, PFN_cuMemcpy3D_v3020 real,
	PFN_cuMemcpy3DAsync_v3020 real_async, const CUDA_MEMCPY3D_v2 *box);
/* [inside] The same when the caller has entered the gate and leaves it. */
CUresult kv_copy_3d_inside(const struct kv_way *way, const CUDA_MEMCPY3D_v2 *box);
CUresult kv_copy_3d_peer(const struct kv_way *way, PFN_cuMemcpy3DPeer_v4000 real,
	PFN_cuMemcpy3DPeerAsync_v4000 real_async, const CUDA_MEMCPY3D_PEER_v1 *box);

/* ---- arrays: only one side is linear ---- */

CUresult kv_copy_dtoa(const struct kv_way *way, PFN_cuMemcpyDtoA_v3020 real, CUarray dst,
	size_t dst_offset, CUdeviceptr src, size_t length);
CUresult kv_copy_atod(const struct kv_way *way, PFN_cuMemcpyAtoD_v3020 real, CUdeviceptr dst,
	CUarray src, size_t src_offset, size_t length);

/* ---- batches (batch.c, batch3d.c) ---- */

struct kv_batch {
	struct kv_way way;
	CUdeviceptr *dsts, *srcs;
	size_t *sizes;
	size_t count;
	CUmemcpyAttributes_v1 *attrs;
	size_t *attr_idxs;
	size_t n_attrs;
	size_t *fail_idx;                      /* of the first version, may be NULL */
	PFN_cuMemcpyBatchAsync_v12080 real;    /* with fail_idx, or ... */
	PFN_cuMemcpyBatchAsync_v13000 real_v2; /* ... without */
};
CUresult kv_copy_batch(const struct kv_batch *batch);
/* The driver refuses batches on the legacy stream, whatever is in them. */
static inline bool kv_batch_is_refused(const struct kv_way *way)
{
	return way->stream == CU_STREAM_LEGACY || (!way->stream && !way->per_thread);
}

struct kv_batch3d {
	struct kv_way way;
	CUDA_MEMCPY3D_BATCH_OP_v1 *ops;
	size_t count;
	size_t *fail_idx;
	unsigned long long flags;
	PFN_cuMemcpy3DBatchAsync_v12080 real;
	PFN_cuMemcpy3DBatchAsync_v13000 real_v2;
};
CUresult kv_copy_batch3d(const struct kv_batch3d *batch);

CUresult kv_copy_decompress(const struct kv_way *way, PFN_cuMemBatchDecompressAsync_v12060 real,
	CUmemDecompressParams *params, size_t count, unsigned int flags, size_t *error_index);

/* ---- sets (set.c) ---- */

/* A set of width elements in each of height rows; linear sets have one row. */
struct kv_set {
	struct kv_way way;
	CUdeviceptr dst;
	uint64_t pitch; /* bytes between rows */
	uint32_t value;
	uint32_t element; /* bytes: 1, 2, 4 */
	uint64_t width;   /* elements */
	uint64_t height;
	bool is_2d;
	union {
		PFN_cuMemsetD8_v3020 d8;
		PFN_cuMemsetD16_v3020 d16;
		PFN_cuMemsetD32_v3020 d32;
		PFN_cuMemsetD8Async_v3020 d8_async;
		PFN_cuMemsetD16Async_v3020 d16_async;
		PFN_cuMemsetD32Async_v3020 d32_async;
		PFN_cuMemsetD2D8_v3020 d2d8;
		PFN_cuMemsetD2D16_v3020 d2d16;
		PFN_cuMemsetD2D32_v3020 d2d32;
		PFN_cuMemsetD2D8Async_v3020 d2d8_async;
		PFN_cuMemsetD2D16Async_v3020 d2d16_async;
		PFN_cuMemsetD2D32Async_v3020 d2d32_async;
	} real;
};
CUresult kv_set(const struct kv_set *set);

/*
 * [inside] Zeros at dst, which may be in a reservation or not, in the order of the way: EMPTY pages
 * are left alone. For copies out of EMPTY pages.
 */
CUresult kv_set_zero(const struct kv_way *way, CUdeviceptr dst, uint64_t length);

#endif
