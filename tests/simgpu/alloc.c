/* SPDX-License-Identifier: Apache-2.0 */
/* alloc.c - native allocations: device, pitched, managed, pinned and registered host memory. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "api_protos.h"
#include "memory.h"

typedef unsigned long long ull;

CUresult sim_native_alloc(
	struct sim_context *context, enum sim_range_kind kind, uint64_t size, uint64_t *ret_addr)
{
	int device = context->device->ordinal;
	struct sim_extent extent = {0};
	bool host = kind == SIM_RANGE_HOST || kind == SIM_RANGE_MANAGED;
	CUresult result = CUDA_SUCCESS;

	if (!size)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_memory_lock);
	uint64_t bytes = (size + 511) / 512 * 512;
	if (bytes < size) {
		result = CUDA_ERROR_OUT_OF_MEMORY;
		goto out;
	}
	if (kind == SIM_RANGE_MANAGED)
		result = sim_account_take(device, bytes) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
	else if (!host)
		result = sim_extent_take(device, bytes, &extent);
	if (result != CUDA_SUCCESS)
		goto out;
	/* Big allocations of the driver are aligned to its page, small ones to 512 bytes and more.
	 */
	struct sim_range *range =
		sim_range_new(kind, size, size >= 1 << 20 ? SIM_GRANULARITY : 4096, 0);
	if (range && host && mprotect((void *)range->base, range->span, PROT_READ | PROT_WRITE)) {
		sim_range_free(range);
		range = NULL;
	}
	if (!range) {
		if (kind == SIM_RANGE_MANAGED)
			sim_account_give(device, bytes);
		else if (!host)
			sim_extent_give(&extent);
		result = CUDA_ERROR_OUT_OF_MEMORY;
		goto out;
	}
	range->device = device;
	range->context = context;
	range->extent = extent;
	*ret_addr = range->base;
out:
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

void sim_native_free(struct sim_range *range)
{
	if (range->kind == SIM_RANGE_DEVICE || range->kind == SIM_RANGE_POOL)
		sim_extent_give(&range->extent);
	else if (range->kind == SIM_RANGE_MANAGED)
		sim_account_give(range->device, (range->size + 511) / 512 * 512);
	sim_range_free(range);
}

static void drop(struct sim_range *range, void *context)
{
	if (range->context == context)
		sim_native_free(range);
}

void sim_native_drop(struct sim_context *context)
{
	pthread_mutex_lock(&sim_memory_lock);
	sim_ranges_each(drop, context);
	pthread_mutex_unlock(&sim_memory_lock);
}

CUresult sim_cuMemAlloc_v2(CUdeviceptr *ret, size_t size)
{
	uint64_t addr;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = sim_native_alloc(sim_context_current(), SIM_RANGE_DEVICE, size, &addr);
	if (result == CUDA_SUCCESS)
		*ret = addr;
	return result;
}

CUresult sim_cuMemAllocPitch_v2(
	CUdeviceptr *ret, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	if (!ret || !pitch || !width || !height || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	size_t row = (width + 511) / 512 * 512;
	CUresult result = sim_cuMemAlloc_v2(ret, row * height);
	if (result == CUDA_SUCCESS)
		*pitch = row;
	return result;
}

CUresult sim_cuMemAllocManaged(CUdeviceptr *ret, size_t size, unsigned int flags)
{
	uint64_t addr;

	if (!ret || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = sim_native_alloc(sim_context_current(), SIM_RANGE_MANAGED, size, &addr);
	if (result == CUDA_SUCCESS)
		*ret = addr;
	return result;
}

/* Finds what cuMemFree may free. NULL: reported. The lock is held by the caller. */
static struct sim_range *freeable(uint64_t addr, const char *call)
{
	struct sim_range *range = sim_range_at(addr);

	if (range && !range->free_queued &&
		(range->kind == SIM_RANGE_DEVICE || range->kind == SIM_RANGE_POOL ||
			range->kind == SIM_RANGE_MANAGED) &&
		!range->internal)
		return range;
	range = sim_range_find(addr);
	if (range && range->kind == SIM_RANGE_RESERVED)
		sim_report(SIM_VIOLATION, "%s(0x%llx): the address is mapped by cuMemMap", call,
			(ull)addr);
	else
		sim_report(SIM_VIOLATION, "%s(0x%llx): %s", call, (ull)addr,
			range ? "not the base of an allocation, or freed already"
			      : "no such allocation, or freed already");
	return NULL;
}

CUresult sim_cuMemFree_v2(CUdeviceptr addr)
{
	CUresult result = CUDA_SUCCESS;
	struct sim_device *device = NULL;

	if (!addr)
		return CUDA_SUCCESS;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = freeable(addr, "cuMemFree");
	if (range)
		device = &sim_devices[range->device];
	else
		result = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&sim_memory_lock);
	if (!device)
		return result;
	/* Waits for the device, as the driver does. */
	sim_device_wait(device);
	pthread_mutex_lock(&sim_memory_lock);
	range = freeable(addr, "cuMemFree");
	if (range)
		sim_native_free(range);
	else
		result = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemHostAlloc(void **ret, size_t size, unsigned int flags)
{
	uint64_t addr;

	if (!ret || (flags & ~7u))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = sim_native_alloc(sim_context_current(), SIM_RANGE_HOST, size, &addr);
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&sim_memory_lock);
	sim_range_at(addr)->flags = flags | CU_MEMHOSTALLOC_DEVICEMAP;
	pthread_mutex_unlock(&sim_memory_lock);
	*ret = (void *)addr;
	return CUDA_SUCCESS;
}

CUresult sim_cuMemAllocHost_v2(void **ret, size_t size)
{
	return sim_cuMemHostAlloc(ret, size, 0);
}

CUresult sim_cuMemFreeHost(void *addr)
{
	CUresult result = CUDA_SUCCESS;

	if (!addr)
		return CUDA_SUCCESS;
	sim_context_wait(sim_context_current());
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_at((uint64_t)addr);
	if (range && range->kind == SIM_RANGE_HOST) {
		sim_native_free(range);
	} else {
		sim_report(SIM_VIOLATION, "cuMemFreeHost(%p): no such allocation, or freed already",
			addr);
		result = CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemHostGetDevicePointer_v2(CUdeviceptr *ret, void *addr, unsigned int flags)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find((uint64_t)addr);
	if (ret && !flags && range &&
		(range->kind == SIM_RANGE_HOST || range->kind == SIM_RANGE_REGISTERED)) {
		*ret = (CUdeviceptr)addr;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemHostGetFlags(unsigned int *flags, void *addr)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find((uint64_t)addr);
	if (flags && range && range->kind == SIM_RANGE_HOST) {
		*flags = range->flags;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemHostRegister_v2(void *addr, size_t size, unsigned int flags)
{
	CUresult result = CUDA_SUCCESS;

	if (!addr || !size)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *inside = sim_range_find((uint64_t)addr);
	struct sim_range *range = NULL;
	if (inside && inside->kind == SIM_RANGE_RESERVED)
		result = CUDA_ERROR_INVALID_VALUE;
	else if (!(range = sim_range_over(SIM_RANGE_REGISTERED, (uint64_t)addr, size)))
		result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	if (range) {
		range->context = sim_context_current();
		range->device = range->context->device->ordinal;
		range->flags = flags;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemHostUnregister(void *addr)
{
	CUresult result = CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;

	sim_context_wait(sim_context_current());
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_at((uint64_t)addr);
	if (range && range->kind == SIM_RANGE_REGISTERED) {
		sim_range_free(range);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
	int device = sim_context_current()->device->ordinal;

	if (ret_free)
		*ret_free = sim_account_free(device);
	if (ret_total)
		*ret_total = sim_config.memory;
	return CUDA_SUCCESS;
}
