/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_query.c - the driver's names of information, pointer queries and what only managed memory
 * allows.
 */
#include "hooks/call.h"
#include "hooks/exports.h"
#include "hooks/history.h"
#include "hooks/query.h"

/* ---- information ---- */

CUresult CUDAAPI cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
	return kv_info(KV_REAL(cuMemGetInfo_v2), free_bytes, total);
}

/* 32 bits: the driver clips, and so do we. What it refuses, we do not answer. */
CUresult CUDAAPI cuMemGetInfo(unsigned int *free_bytes, unsigned int *total)
{
	unsigned int driver_free = 0, driver_total = 0;
	size_t free_wide, total_wide;
	CUresult res;

	kv_hooks_ready();
	if (!kv_hooks_active() || kv_thread.depth)
		return KV_REAL(cuMemGetInfo)(free_bytes, total);
	res = KV_REAL(cuMemGetInfo)(&driver_free, &driver_total);
	if (res == CUDA_SUCCESS)
		res = kv_info(KV_REAL(cuMemGetInfo_v2), &free_wide, &total_wide);
	if (res != CUDA_SUCCESS)
		return res;
	if (free_bytes)
		*free_bytes = free_wide < driver_free ? (unsigned int)free_wide : driver_free;
	if (total)
		*total = driver_total;
	return CUDA_SUCCESS;
}

/* ---- pointer queries ---- */

CUresult CUDAAPI cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr addr)
{
	return kv_query_range(KV_REAL(cuMemGetAddressRange_v2), base, size, addr);
}

/* 32-bit addresses are never in a reservation. */
CUresult CUDAAPI cuMemGetAddressRange(CUdeviceptr_v1 *base, unsigned int *size, CUdeviceptr_v1 addr)
{
	return KV_REAL(cuMemGetAddressRange)(base, size, addr);
}

CUresult CUDAAPI cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr addr)
{
	return kv_query_attribute(KV_REAL(cuPointerGetAttribute), data, attribute, addr);
}

CUresult CUDAAPI cuPointerGetAttributes(
	unsigned int n, CUpointer_attribute *attributes, void **data, CUdeviceptr addr)
{
	return kv_query_attributes(KV_REAL(cuPointerGetAttributes), n, attributes, data, addr);
}

/* ---- managed memory only: the driver refuses a reservation as it refuses native memory ---- */

CUresult CUDAAPI cuMemRangeGetAttribute(
	void *data, size_t size, CUmem_range_attribute attribute, CUdeviceptr addr, size_t count)
{
	__typeof__(kv_real.cuMemRangeGetAttribute) real = KV_REAL(cuMemRangeGetAttribute);
	size_t clipped = count;
	CUdeviceptr twin = kv_query_twin(addr, &clipped);

	return twin ? real(data, size, attribute, twin, clipped)
		    : real(data, size, attribute, addr, count);
}

CUresult CUDAAPI cuMemRangeGetAttributes(void **data, size_t *sizes,
	CUmem_range_attribute *attributes, size_t n, CUdeviceptr addr, size_t count)
{
	__typeof__(kv_real.cuMemRangeGetAttributes) real = KV_REAL(cuMemRangeGetAttributes);
	size_t clipped = count;
	CUdeviceptr twin = kv_query_twin(addr, &clipped);

	return twin ? real(data, sizes, attributes, n, twin, clipped)
		    : real(data, sizes, attributes, n, addr, count);
}

#define PREFETCH(symbol) \
	CUresult CUDAAPI symbol(CUdeviceptr addr, size_t count, CUdevice device, CUstream stream) \
	{ \
		__typeof__(kv_real.symbol) real = KV_REAL(symbol); \
		size_t clipped = count; \
		CUdeviceptr twin = kv_query_twin(addr, &clipped); \
\
		return twin ? real(twin, clipped, device, stream) \
			    : real(addr, count, device, stream); \
	}

PREFETCH(cuMemPrefetchAsync)
PREFETCH(cuMemPrefetchAsync_ptsz)

#define PREFETCH_V2(symbol) \
	CUresult CUDAAPI symbol(CUdeviceptr addr, size_t count, CUmemLocation location, \
		unsigned int flags, CUstream stream) \
	{ \
		__typeof__(kv_real.symbol) real = KV_REAL(symbol); \
		size_t clipped = count; \
		CUdeviceptr twin = kv_query_twin(addr, &clipped); \
\
		return twin ? real(twin, clipped, location, flags, stream) \
			    : real(addr, count, location, flags, stream); \
	}

PREFETCH_V2(cuMemPrefetchAsync_v2)
PREFETCH_V2(cuMemPrefetchAsync_v2_ptsz)

CUresult CUDAAPI cuMemAdvise(CUdeviceptr addr, size_t count, CUmem_advise advice, CUdevice device)
{
	__typeof__(kv_real.cuMemAdvise) real = KV_REAL(cuMemAdvise);
	size_t clipped = count;
	CUdeviceptr twin = kv_query_twin(addr, &clipped);

	return twin ? real(twin, clipped, advice, device) : real(addr, count, advice, device);
}

CUresult CUDAAPI cuMemAdvise_v2(
	CUdeviceptr addr, size_t count, CUmem_advise advice, CUmemLocation location)
{
	__typeof__(kv_real.cuMemAdvise_v2) real = KV_REAL(cuMemAdvise_v2);
	size_t clipped = count;
	CUdeviceptr twin = kv_query_twin(addr, &clipped);

	return twin ? real(twin, clipped, advice, location) : real(addr, count, advice, location);
}

/* A batch with a reservation in it is refused as a whole, as one with native memory in it is. */
#define PREFETCH_BATCH(symbol) \
	CUresult CUDAAPI symbol(CUdeviceptr *addrs, size_t *sizes, size_t n, \
		CUmemLocation *locations, size_t *idxs, size_t n_locations, \
		unsigned long long flags, CUstream stream) \
	{ \
		__typeof__(kv_real.symbol) real = KV_REAL(symbol); \
\
		if (kv_query_any(addrs, n)) \
			return CUDA_ERROR_INVALID_VALUE; \
		return real(addrs, sizes, n, locations, idxs, n_locations, flags, stream); \
	}

PREFETCH_BATCH(cuMemPrefetchBatchAsync)
PREFETCH_BATCH(cuMemPrefetchBatchAsync_ptsz)
PREFETCH_BATCH(cuMemDiscardAndPrefetchBatchAsync)
PREFETCH_BATCH(cuMemDiscardAndPrefetchBatchAsync_ptsz)

#define DISCARD_BATCH(symbol) \
	CUresult CUDAAPI symbol(CUdeviceptr *addrs, size_t *sizes, size_t n, \
		unsigned long long flags, CUstream stream) \
	{ \
		__typeof__(kv_real.symbol) real = KV_REAL(symbol); \
\
		return kv_query_any(addrs, n) ? CUDA_ERROR_INVALID_VALUE \
					      : real(addrs, sizes, n, flags, stream); \
	}

DISCARD_BATCH(cuMemDiscardBatchAsync)
DISCARD_BATCH(cuMemDiscardBatchAsync_ptsz)
