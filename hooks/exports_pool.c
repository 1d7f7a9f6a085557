/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_pool.c - stream-ordered memory and the engine's own virtual memory: native, counted.
 */
#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/exports.h"

/* ---- stream-ordered memory and pools ---- */

#define ALLOC_ASYNC(symbol, per_thread) \
	CUresult CUDAAPI symbol(CUdeviceptr *addr, size_t size, CUstream stream) \
	{ \
		CUresult res = kv_native_admit(size); \
\
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(addr, size, stream); \
		return kv_native_async( \
			res, per_thread, stream, res == CUDA_SUCCESS ? *addr : 0, size); \
	}

ALLOC_ASYNC(cuMemAllocAsync, false)
ALLOC_ASYNC(cuMemAllocAsync_ptsz, true)

#define ALLOC_FROM_POOL(symbol, per_thread) \
	CUresult CUDAAPI symbol( \
		CUdeviceptr *addr, size_t size, CUmemoryPool pool, CUstream stream) \
	{ \
		CUresult res = kv_native_admit(size); \
\
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(addr, size, pool, stream); \
		return kv_native_async( \
			res, per_thread, stream, res == CUDA_SUCCESS ? *addr : 0, size); \
	}

ALLOC_FROM_POOL(cuMemAllocFromPoolAsync, false)
ALLOC_FROM_POOL(cuMemAllocFromPoolAsync_ptsz, true)

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr addr, CUstream stream)
{
	return kv_free_async(KV_REAL(cuMemFreeAsync), false, addr, stream);
}

CUresult CUDAAPI cuMemFreeAsync_ptsz(CUdeviceptr addr, CUstream stream)
{
	return kv_free_async(KV_REAL(cuMemFreeAsync_ptsz), true, addr, stream);
}

/* What a pool holds beyond its allocations, the driver's free figure shows by itself. */
CUresult CUDAAPI cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	return KV_REAL(cuMemPoolCreate)(pool, props);
}

CUresult CUDAAPI cuMemPoolDestroy(CUmemoryPool pool)
{
	return KV_REAL(cuMemPoolDestroy)(pool);
}

CUresult CUDAAPI cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	return KV_REAL(cuMemPoolTrimTo)(pool, keep);
}

CUresult CUDAAPI cuMemPoolExportToShareableHandle(
	void *handle, CUmemoryPool pool, CUmemAllocationHandleType type, unsigned long long flags)
{
	return KV_REAL(cuMemPoolExportToShareableHandle)(handle, pool, type, flags);
}

/* The size of what another process shares is not told: known as a range of one byte. */
CUresult CUDAAPI cuMemPoolImportPointer(
	CUdeviceptr *addr, CUmemoryPool pool, CUmemPoolPtrExportData *data)
{
	CUresult res = KV_REAL(cuMemPoolImportPointer)(addr, pool, data);

	return kv_native_made(res, KV_TRACK_NATIVE, res == CUDA_SUCCESS ? *addr : 0, 0);
}

/* ---- virtual memory management by the engine ---- */

CUresult CUDAAPI cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
	const CUmemAllocationProp *prop, unsigned long long flags)
{
	return kv_vmm_create(KV_REAL(cuMemCreate), handle, size, prop, flags);
}

CUresult CUDAAPI cuMemImportFromShareableHandle(
	CUmemGenericAllocationHandle *handle, void *os_handle, CUmemAllocationHandleType type)
{
	CUresult res = KV_REAL(cuMemImportFromShareableHandle)(handle, os_handle, type);

	return kv_vmm_retained(res, res == CUDA_SUCCESS ? *handle : 0, 0);
}

CUresult CUDAAPI cuMemRelease(CUmemGenericAllocationHandle handle)
{
	return kv_vmm_release(KV_REAL(cuMemRelease), handle);
}

CUresult CUDAAPI cuMemAddressReserve(CUdeviceptr *addr, size_t size, size_t alignment,
	CUdeviceptr hint, unsigned long long flags)
{
	return KV_REAL(cuMemAddressReserve)(addr, size, alignment, hint, flags);
}

CUresult CUDAAPI cuMemAddressFree(CUdeviceptr addr, size_t size)
{
	__typeof__(kv_real.cuMemAddressFree) real = KV_REAL(cuMemAddressFree);

	return kv_vmm_is_ours(addr, size) ? CUDA_ERROR_INVALID_VALUE : real(addr, size);
}

CUresult CUDAAPI cuMemMap(CUdeviceptr addr, size_t size, size_t offset,
	CUmemGenericAllocationHandle handle, unsigned long long flags)
{
	return kv_vmm_map(KV_REAL(cuMemMap), addr, size, offset, handle, flags);
}

CUresult CUDAAPI cuMemUnmap(CUdeviceptr addr, size_t size)
{
	return kv_vmm_unmap(KV_REAL(cuMemUnmap), addr, size);
}

CUresult CUDAAPI cuMemSetAccess(
	CUdeviceptr addr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	__typeof__(kv_real.cuMemSetAccess) real = KV_REAL(cuMemSetAccess);

	return kv_vmm_is_ours(addr, size) ? CUDA_ERROR_INVALID_VALUE
					  : real(addr, size, desc, count);
}

CUresult CUDAAPI cuMemMapArrayAsync(CUarrayMapInfo *list, unsigned int count, CUstream stream)
{
	return kv_vmm_map_array(KV_REAL(cuMemMapArrayAsync), list, count, stream);
}

CUresult CUDAAPI cuMemMapArrayAsync_ptsz(CUarrayMapInfo *list, unsigned int count, CUstream stream)
{
	return kv_vmm_map_array(KV_REAL(cuMemMapArrayAsync_ptsz), list, count, stream);
}
