/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_copy2d.c - the driver's names of copies of boxes and of batches.
 */
#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/exports.h"

#define WAY(symbol, s, is_async, is_per_thread) \
	{ \
		.stream = (s), .async = (is_async), .per_thread = (is_per_thread), .by = #symbol \
	}

#define BOX(symbol, body, type, is_per_thread) \
	CUresult CUDAAPI symbol(const type *desc) \
	{ \
		struct kv_way way = WAY(symbol, NULL, false, is_per_thread); \
\
		return body(&way, KV_REAL(symbol), NULL, desc); \
	}

#define BOX_ASYNC(symbol, body, type, is_per_thread) \
	CUresult CUDAAPI symbol(const type *desc, CUstream stream) \
	{ \
		struct kv_way way = WAY(symbol, stream, true, is_per_thread); \
\
		return body(&way, NULL, KV_REAL(symbol), desc); \
	}

BOX(cuMemcpy2D_v2, kv_copy_2d, CUDA_MEMCPY2D_v2, false)
BOX(cuMemcpy2D_v2_ptds, kv_copy_2d, CUDA_MEMCPY2D_v2, true)
BOX(cuMemcpy2DUnaligned_v2, kv_copy_2d, CUDA_MEMCPY2D_v2, false)
BOX(cuMemcpy2DUnaligned_v2_ptds, kv_copy_2d, CUDA_MEMCPY2D_v2, true)
BOX(cuMemcpy3D_v2, kv_copy_3d, CUDA_MEMCPY3D_v2, false)
BOX(cuMemcpy3D_v2_ptds, kv_copy_3d, CUDA_MEMCPY3D_v2, true)
BOX(cuMemcpy3DPeer, kv_copy_3d_peer, CUDA_MEMCPY3D_PEER_v1, false)
BOX(cuMemcpy3DPeer_ptds, kv_copy_3d_peer, CUDA_MEMCPY3D_PEER_v1, true)

BOX_ASYNC(cuMemcpy2DAsync_v2, kv_copy_2d, CUDA_MEMCPY2D_v2, false)
BOX_ASYNC(cuMemcpy2DAsync_v2_ptsz, kv_copy_2d, CUDA_MEMCPY2D_v2, true)
BOX_ASYNC(cuMemcpy3DAsync_v2, kv_copy_3d, CUDA_MEMCPY3D_v2, false)
BOX_ASYNC(cuMemcpy3DAsync_v2_ptsz, kv_copy_3d, CUDA_MEMCPY3D_v2, true)
BOX_ASYNC(cuMemcpy3DPeerAsync, kv_copy_3d_peer, CUDA_MEMCPY3D_PEER_v1, false)
BOX_ASYNC(cuMemcpy3DPeerAsync_ptsz, kv_copy_3d_peer, CUDA_MEMCPY3D_PEER_v1, true)

/* ---- batches ---- */

#define BATCH(symbol, is_per_thread) \
	CUresult CUDAAPI symbol(CUdeviceptr *dst, CUdeviceptr *src, size_t *n, size_t copies, \
		CUmemcpyAttributes_v1 *attributes, size_t *idxs, size_t attributes_n, \
		size_t *failed, CUstream stream) \
	{ \
		return kv_copy_batch(&(struct kv_batch){ \
			.way = WAY(symbol, stream, true, is_per_thread), \
			.dsts = dst, \
			.srcs = src, \
			.sizes = n, \
			.count = copies, \
			.attrs = attributes, \
			.attr_idxs = idxs, \
			.n_attrs = attributes_n, \
			.fail_idx = failed, \
			.real = KV_REAL(symbol), \
		}); \
	}

#define BATCH_V2(symbol, is_per_thread) \
	CUresult CUDAAPI symbol(CUdeviceptr *dst, CUdeviceptr *src, size_t *n, size_t copies, \
		CUmemcpyAttributes_v1 *attributes, size_t *idxs, size_t attributes_n, \
		CUstream stream) \
	{ \
		return kv_copy_batch(&(struct kv_batch){ \
			.way = WAY(symbol, stream, true, is_per_thread), \
			.dsts = dst, \
			.srcs = src, \
			.sizes = n, \
			.count = copies, \
			.attrs = attributes, \
			.attr_idxs = idxs, \
			.n_attrs = attributes_n, \
			.real_v2 = KV_REAL(symbol), \
		}); \
	}

BATCH(cuMemcpyBatchAsync, false)
BATCH(cuMemcpyBatchAsync_ptsz, true)
BATCH_V2(cuMemcpyBatchAsync_v2, false)
BATCH_V2(cuMemcpyBatchAsync_v2_ptsz, true)

#define BATCH_3D(symbol, is_per_thread) \
	CUresult CUDAAPI symbol(size_t n, CUDA_MEMCPY3D_BATCH_OP_v1 *list, size_t *failed, \
		unsigned long long bits, CUstream stream) \
	{ \
		return kv_copy_batch3d(&(struct kv_batch3d){ \
			.way = WAY(symbol, stream, true, is_per_thread), \
			.ops = list, \
			.count = n, \
			.fail_idx = failed, \
			.flags = bits, \
			.real = KV_REAL(symbol), \
		}); \
	}

#define BATCH_3D_V2(symbol, is_per_thread) \
	CUresult CUDAAPI symbol(size_t n, CUDA_MEMCPY3D_BATCH_OP_v1 *list, \
		unsigned long long bits, CUstream stream) \
	{ \
		return kv_copy_batch3d(&(struct kv_batch3d){ \
			.way = WAY(symbol, stream, true, is_per_thread), \
			.ops = list, \
			.count = n, \
			.flags = bits, \
			.real_v2 = KV_REAL(symbol), \
		}); \
	}

BATCH_3D(cuMemcpy3DBatchAsync, false)
BATCH_3D(cuMemcpy3DBatchAsync_ptsz, true)
BATCH_3D_V2(cuMemcpy3DBatchAsync_v2, false)
BATCH_3D_V2(cuMemcpy3DBatchAsync_v2_ptsz, true)

#define DECOMPRESS(symbol, is_per_thread) \
	CUresult CUDAAPI symbol(CUmemDecompressParams *params, size_t count, unsigned int flags, \
		size_t *error_index, CUstream stream) \
	{ \
		struct kv_way way = WAY(symbol, stream, true, is_per_thread); \
\
		return kv_copy_decompress( \
			&way, KV_REAL(symbol), params, count, flags, error_index); \
	}

DECOMPRESS(cuMemBatchDecompressAsync, false)
DECOMPRESS(cuMemBatchDecompressAsync_ptsz, true)
