/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - stream-ordered allocation.
 *
 * An allocation takes its memory at the call; a free gives it back when the stream comes to it. A
 * pool is little more than its attributes: nothing is kept for later.
 */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "memory.h"

#define POOL_MAGIC 0x504f4f4cu

struct CUmemPoolHandle_st {
	uint32_t magic;
	struct sim_device *device;
	bool is_default;
	uint64_t attributes[16];
	uint64_t used, high; /* bytes; guarded by sim_memory_lock */
	uint8_t access;      /* bit per device */
};

static struct CUmemPoolHandle_st *pool_of(CUmemoryPool handle)
{
	return handle && (uintptr_t)handle % 8 == 0 && handle->magic == POOL_MAGIC ? handle : NULL;
}

static struct CUmemPoolHandle_st *pool_new(struct sim_device *device)
{
	struct CUmemPoolHandle_st *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->magic = POOL_MAGIC;
	pool->device = device;
	for (int i = CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES;
		i <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES; i++)
		pool->attributes[i] = 1;
	return pool;
}

static struct CUmemPoolHandle_st *default_pool(struct sim_device *device)
{
	pthread_mutex_lock(&sim_lock);
	if (!device->default_pool) {
		device->default_pool = pool_new(device);
		if (device->default_pool)
			device->default_pool->is_default = true;
		device->pool = device->default_pool;
	}
	pthread_mutex_unlock(&sim_lock);
	return device->default_pool;
}

static CUresult pool_alloc(
	CUdeviceptr *ret, size_t size, struct CUmemPoolHandle_st *pool, CUstream handle)
{
	CUresult result;
	uint64_t addr;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (!ret || !pool)
		return CUDA_ERROR_INVALID_VALUE;
	/* Allocation nodes are not modelled. */
	if (stream->capture)
		return sim_capture_break(stream);
	result = sim_native_alloc(stream->context, SIM_RANGE_POOL, size, &addr);
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&sim_memory_lock);
	sim_range_at(addr)->pool = pool;
	pool->used += size;
	if (pool->used > pool->high)
		pool->high = pool->used;
	pthread_mutex_unlock(&sim_memory_lock);
	*ret = addr;
	return CUDA_SUCCESS;
}

CUresult sim_cuMemAllocAsync(CUdeviceptr *ret, size_t size, CUstream stream)
{
	struct sim_device *device = sim_context_current()->device;

	default_pool(device);
	return pool_alloc(ret, size, device->pool, stream);
}

CUresult sim_cuMemAllocFromPoolAsync(
	CUdeviceptr *ret, size_t size, CUmemoryPool pool, CUstream stream)
{
	return pool_alloc(ret, size, pool_of(pool), stream);
}

void sim_pool_free_async(uint64_t addr)
{
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_at(addr);
	if (range && range->free_queued) {
		struct CUmemPoolHandle_st *pool = range->pool;
		if (pool)
			pool->used -= range->size;
		sim_native_free(range);
	}
	pthread_mutex_unlock(&sim_memory_lock);
}

CUresult sim_cuMemFreeAsync(CUdeviceptr addr, CUstream handle)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (stream->capture)
		return sim_capture_break(stream);
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_at(addr);
	bool ok = range && !range->free_queued && !range->internal &&
		  (range->kind == SIM_RANGE_POOL || range->kind == SIM_RANGE_DEVICE);
	if (ok)
		range->free_queued = true;
	pthread_mutex_unlock(&sim_memory_lock);
	if (!ok) {
		sim_report(SIM_VIOLATION,
			"cuMemFreeAsync(0x%llx): no such allocation, or freed already",
			(unsigned long long)addr);
		return CUDA_ERROR_INVALID_VALUE;
	}
	struct sim_work work = {.type = SIM_WORK_FREE, .memory = {.addr = addr}};
	return sim_submit(stream, &work);
}

/* ---- pools ---- */

CUresult sim_cuMemPoolCreate(CUmemoryPool *ret, const CUmemPoolProps *props)
{
	if (!ret || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_NOT_SUPPORTED;
	struct sim_device *device = sim_device_of(props->location.id);
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	*ret = pool_new(device);
	return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult sim_cuMemPoolDestroy(CUmemoryPool handle)
{
	struct CUmemPoolHandle_st *pool = pool_of(handle);

	if (!pool || pool->is_default)
		return CUDA_ERROR_INVALID_VALUE;
	/* Allocations may outlive it: its bytes stay until the last is gone. */
	if (pool->device->pool == pool)
		pool->device->pool = pool->device->default_pool;
	pool->magic = pool->used ? SIM_DEAD_MAGIC : 0;
	if (!pool->used)
		free(pool);
	return CUDA_SUCCESS;
}

CUresult sim_cuMemPoolTrimTo(CUmemoryPool handle, size_t keep)
{
	return pool_of(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult sim_cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value)
{
	struct CUmemPoolHandle_st *pool = pool_of(handle);

	if (!pool || !value || (unsigned)attribute > 15)
		return CUDA_ERROR_INVALID_VALUE;
	if (attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
		pool->attributes[attribute] = (uint64_t) * (int *)value;
	else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH)
		pool->high = pool->used;
	else
		pool->attributes[attribute] = *(cuuint64_t *)value;
	return CUDA_SUCCESS;
}

CUresult sim_cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value)
{
	struct CUmemPoolHandle_st *pool = pool_of(handle);

	if (!pool || !value || (unsigned)attribute > 15)
		return CUDA_ERROR_INVALID_VALUE;
	switch (attribute) {
	case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
	case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
		*(int *)value = (int)pool->attributes[attribute];
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
	case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
		*(cuuint64_t *)value = pool->used;
		break;
	case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
	case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
		*(cuuint64_t *)value = pool->high;
		break;
	default:
		*(cuuint64_t *)value = pool->attributes[attribute];
	}
	return CUDA_SUCCESS;
}

CUresult sim_cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc *desc, size_t n)
{
	struct CUmemPoolHandle_st *pool = pool_of(handle);

	if (!pool || !desc)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < n; i++) {
		uint8_t bit = (uint8_t)(1u << (desc[i].location.id & 7));
		if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
			!sim_device_of(desc[i].location.id))
			return CUDA_ERROR_INVALID_VALUE;
		pool->access = desc[i].flags ? pool->access | bit : pool->access & (uint8_t)~bit;
	}
	return CUDA_SUCCESS;
}

CUresult sim_cuMemPoolGetAccess(
	CUmemAccess_flags *flags, CUmemoryPool handle, CUmemLocation *location)
{
	struct CUmemPoolHandle_st *pool = pool_of(handle);

	if (!pool || !flags || !location)
		return CUDA_ERROR_INVALID_VALUE;
	bool yes =
		location->id == pool->device->ordinal || (pool->access >> (location->id & 7) & 1);
	*flags = yes ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
	return CUDA_SUCCESS;
}

CUresult sim_cuDeviceGetDefaultMemPool(CUmemoryPool *ret, CUdevice dev)
{
	struct sim_device *device = sim_device_of(dev);

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	*ret = default_pool(device);
	return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult sim_cuDeviceGetMemPool(CUmemoryPool *ret, CUdevice dev)
{
	CUresult result = sim_cuDeviceGetDefaultMemPool(ret, dev);

	if (result == CUDA_SUCCESS)
		*ret = sim_devices[dev].pool;
	return result;
}

CUresult sim_cuDeviceSetMemPool(CUdevice dev, CUmemoryPool handle)
{
	struct sim_device *device = sim_device_of(dev);
	struct CUmemPoolHandle_st *pool = pool_of(handle);

	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	if (!pool || pool->device != device)
		return CUDA_ERROR_INVALID_VALUE;
	default_pool(device);
	device->pool = pool;
	return CUDA_SUCCESS;
}

CUresult sim_cuMemGetDefaultMemPool(
	CUmemoryPool *ret, CUmemLocation *location, CUmemAllocationType type)
{
	if (!location || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
		type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_NOT_SUPPORTED;
	return sim_cuDeviceGetDefaultMemPool(ret, location->id);
}

CUresult sim_cuMemGetMemPool(CUmemoryPool *ret, CUmemLocation *location, CUmemAllocationType type)
{
	if (!location || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
		type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_NOT_SUPPORTED;
	return sim_cuDeviceGetMemPool(ret, location->id);
}

CUresult sim_cuMemSetMemPool(CUmemLocation *location, CUmemAllocationType type, CUmemoryPool pool)
{
	if (!location || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
		type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_NOT_SUPPORTED;
	return sim_cuDeviceSetMemPool(location->id, pool);
}
