/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_copy.c - the driver's names of all linear copies, and of those with an array on one side.
 */
#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/exports.h"

#define WAY(symbol, s, is_async, is_per_thread) \
	{ \
		.stream = (s), .async = (is_async), .per_thread = (is_per_thread), .by = #symbol \
	}

/* ---- one piece by the driver's function ---- */

#define PIECE(name, ...) \
	static CUresult name(const struct kv_copy *c, uint64_t dst, uint64_t src, uint64_t n) \
	{ \
		return c->real.name(__VA_ARGS__); \
	}

PIECE(any, dst, src, n)
PIECE(any_async, dst, src, n, c->way.stream)
PIECE(htod, dst, (const void *)src, n)
PIECE(htod_async, dst, (const void *)src, n, c->way.stream)
PIECE(dtoh, (void *)dst, src, n)
PIECE(dtoh_async, (void *)dst, src, n, c->way.stream)
PIECE(dtod, dst, src, n)
PIECE(dtod_async, dst, src, n, c->way.stream)
PIECE(peer, dst, c->dst_ctx, src, c->src_ctx, n)
PIECE(peer_async, dst, c->dst_ctx, src, c->src_ctx, n, c->way.stream)

/* piece: one of the above, also the member of real. The rest: further fields. */
#define COPY(symbol, s, is_async, is_per_thread, piece, to, from, n, ...) \
	kv_copy_linear(&(struct kv_copy){.way = WAY(symbol, s, is_async, is_per_thread), \
		.dst = (uint64_t)(to), \
		.src = (uint64_t)(from), \
		.length = (n), \
		.issue = piece, \
		.real.piece = KV_REAL(symbol), \
		__VA_ARGS__})

/* ---- host and device decided by address ---- */

CUresult CUDAAPI cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
	return COPY(cuMemcpy, NULL, false, false, any, dst, src, n, .src_any = true);
}

CUresult CUDAAPI cuMemcpy_ptds(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
	return COPY(cuMemcpy_ptds, NULL, false, true, any, dst, src, n, .src_any = true);
}

CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
{
	return COPY(cuMemcpyAsync, stream, true, false, any_async, dst, src, n, .src_any = true);
}

CUresult CUDAAPI cuMemcpyAsync_ptsz(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
{
	return COPY(
		cuMemcpyAsync_ptsz, stream, true, true, any_async, dst, src, n, .src_any = true);
}

/* ---- host to device ---- */

CUresult CUDAAPI cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t n)
{
	return COPY(cuMemcpyHtoD_v2, NULL, false, false, htod, dst, src, n, .src_host = true);
}

CUresult CUDAAPI cuMemcpyHtoD_v2_ptds(CUdeviceptr dst, const void *src, size_t n)
{
	return COPY(cuMemcpyHtoD_v2_ptds, NULL, false, true, htod, dst, src, n, .src_host = true);
}

CUresult CUDAAPI cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t n, CUstream stream)
{
	return COPY(cuMemcpyHtoDAsync_v2, stream, true, false, htod_async, dst, src, n,
		.src_host = true);
}

CUresult CUDAAPI cuMemcpyHtoDAsync_v2_ptsz(
	CUdeviceptr dst, const void *src, size_t n, CUstream stream)
{
	return COPY(cuMemcpyHtoDAsync_v2_ptsz, stream, true, true, htod_async, dst, src, n,
		.src_host = true);
}

/* ---- device to host ---- */

CUresult CUDAAPI cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t n)
{
	return COPY(cuMemcpyDtoH_v2, NULL, false, false, dtoh, dst, src, n, .dst_host = true);
}

CUresult CUDAAPI cuMemcpyDtoH_v2_ptds(void *dst, CUdeviceptr src, size_t n)
{
	return COPY(cuMemcpyDtoH_v2_ptds, NULL, false, true, dtoh, dst, src, n, .dst_host = true);
}

CUresult CUDAAPI cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t n, CUstream stream)
{
	return COPY(cuMemcpyDtoHAsync_v2, stream, true, false, dtoh_async, dst, src, n,
		.dst_host = true);
}

CUresult CUDAAPI cuMemcpyDtoHAsync_v2_ptsz(void *dst, CUdeviceptr src, size_t n, CUstream stream)
{
	return COPY(cuMemcpyDtoHAsync_v2_ptsz, stream, true, true, dtoh_async, dst, src, n,
		.dst_host = true);
}

/* ---- device to device ---- */

CUresult CUDAAPI cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
	return COPY(cuMemcpyDtoD_v2, NULL, false, false, dtod, dst, src, n, .box = NULL);
}

CUresult CUDAAPI cuMemcpyDtoD_v2_ptds(CUdeviceptr dst, CUdeviceptr src, size_t n)
{
	return COPY(cuMemcpyDtoD_v2_ptds, NULL, false, true, dtod, dst, src, n, .box = NULL);
}

CUresult CUDAAPI cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
{
	return COPY(
		cuMemcpyDtoDAsync_v2, stream, true, false, dtod_async, dst, src, n, .box = NULL);
}

CUresult CUDAAPI cuMemcpyDtoDAsync_v2_ptsz(
	CUdeviceptr dst, CUdeviceptr src, size_t n, CUstream stream)
{
	return COPY(cuMemcpyDtoDAsync_v2_ptsz, stream, true, true, dtod_async, dst, src, n,
		.box = NULL);
}

/* ---- between contexts ---- */

CUresult CUDAAPI cuMemcpyPeer(
	CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t n)
{
	return COPY(cuMemcpyPeer, NULL, false, false, peer, dst, src, n, .fill_by_copy = true,
		.dst_ctx = dst_ctx, .src_ctx = src_ctx);
}

CUresult CUDAAPI cuMemcpyPeer_ptds(
	CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src, CUcontext src_ctx, size_t n)
{
	return COPY(cuMemcpyPeer_ptds, NULL, false, true, peer, dst, src, n, .fill_by_copy = true,
		.dst_ctx = dst_ctx, .src_ctx = src_ctx);
}

CUresult CUDAAPI cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src,
	CUcontext src_ctx, size_t n, CUstream stream)
{
	return COPY(cuMemcpyPeerAsync, stream, true, false, peer_async, dst, src, n,
		.fill_by_copy = true, .dst_ctx = dst_ctx, .src_ctx = src_ctx);
}

CUresult CUDAAPI cuMemcpyPeerAsync_ptsz(CUdeviceptr dst, CUcontext dst_ctx, CUdeviceptr src,
	CUcontext src_ctx, size_t n, CUstream stream)
{
	return COPY(cuMemcpyPeerAsync_ptsz, stream, true, true, peer_async, dst, src, n,
		.fill_by_copy = true, .dst_ctx = dst_ctx, .src_ctx = src_ctx);
}

/* ---- arrays ---- */

CUresult CUDAAPI cuMemcpyDtoA_v2(CUarray dst, size_t offset, CUdeviceptr src, size_t n)
{
	struct kv_way way = WAY(cuMemcpyDtoA_v2, NULL, false, false);

	return kv_copy_dtoa(&way, KV_REAL(cuMemcpyDtoA_v2), dst, offset, src, n);
}

CUresult CUDAAPI cuMemcpyDtoA_v2_ptds(CUarray dst, size_t offset, CUdeviceptr src, size_t n)
{
	struct kv_way way = WAY(cuMemcpyDtoA_v2_ptds, NULL, false, true);

	return kv_copy_dtoa(&way, KV_REAL(cuMemcpyDtoA_v2_ptds), dst, offset, src, n);
}

CUresult CUDAAPI cuMemcpyAtoD_v2(CUdeviceptr dst, CUarray src, size_t offset, size_t n)
{
	struct kv_way way = WAY(cuMemcpyAtoD_v2, NULL, false, false);

	return kv_copy_atod(&way, KV_REAL(cuMemcpyAtoD_v2), dst, src, offset, n);
}

CUresult CUDAAPI cuMemcpyAtoD_v2_ptds(CUdeviceptr dst, CUarray src, size_t offset, size_t n)
{
	struct kv_way way = WAY(cuMemcpyAtoD_v2_ptds, NULL, false, true);

	return kv_copy_atod(&way, KV_REAL(cuMemcpyAtoD_v2_ptds), dst, src, offset, n);
}
