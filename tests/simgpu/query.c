/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.c - what an address is: ranges, pointer attributes, IPC, exports, managed-memory hints.
 *
 * Answers for VMM memory differ from those for cuMemAlloc as they do with the real driver:
 * cuMemGetAddressRange knows one mapping, RANGE_* the reservation, MAPPING_* the mapping, there is
 * no context and no legacy IPC.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api_protos.h"
#include "memory.h"

CUresult sim_cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr addr)
{
	CUresult result = CUDA_ERROR_NOT_FOUND;

	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(addr);
	if (range && range->kind == SIM_RANGE_RESERVED) {
		struct sim_mapping *m = sim_range_mapping(range, addr);
		if (m) {
			if (base)
				*base = m->base;
			if (size)
				*size = m->size;
			result = CUDA_SUCCESS;
		}
	} else if (range && range->kind != SIM_RANGE_REGISTERED) {
		if (base)
			*base = range->base;
		if (size)
			*size = range->size;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

/* What an attribute says about VMM memory. m: NULL in a hole. */
static CUresult vmm_attribute(void *data, CUpointer_attribute attribute,
	const struct sim_range *range, const struct sim_mapping *m)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		if (!m)
			return CUDA_ERROR_INVALID_VALUE;
		*(unsigned *)data =
			m->handle->extent.device >= 0 ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = NULL;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		if (!m)
			return CUDA_ERROR_INVALID_VALUE;
		*(int *)data = m->handle->extent.device < 0 ? -1 : m->handle->extent.device;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(void **)data = m && m->host_visible ? (void *)m->base : NULL;
		return m && m->host_visible ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(bool *)data = m != NULL;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		if (!m)
			return CUDA_ERROR_INVALID_VALUE;
		*(unsigned long long *)data = m->handle->prop.requestedHandleTypes;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*(bool *)data = m && m->handle->prop.allocFlags.gpuDirectRDMACapable;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*(bool *)data = false;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		if (!m)
			return CUDA_ERROR_INVALID_VALUE;
		*(size_t *)data = m->size;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		if (!m)
			return CUDA_ERROR_INVALID_VALUE;
		*(CUdeviceptr *)data = m->base;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

static CUresult native_attribute(
	void *data, CUpointer_attribute attribute, const struct sim_range *range)
{
	bool host = range->kind == SIM_RANGE_HOST || range->kind == SIM_RANGE_REGISTERED;
	bool managed = range->kind == SIM_RANGE_MANAGED;

	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned *)data = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = (CUcontext)range->context;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = range->device;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(void **)data = NULL;
		return host || managed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_MAPPED:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*(bool *)data = true;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = 0;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*(bool *)data = range->kind == SIM_RANGE_DEVICE;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(CUmemoryPool *)data = range->pool;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)data = range->size;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)data = range->base;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

/* With sim_memory_lock. */
static CUresult attribute_of(void *data, CUpointer_attribute attribute, CUdeviceptr addr)
{
	struct sim_range *range = sim_range_find(addr);

	if (!data)
		return CUDA_ERROR_INVALID_VALUE;
	if (attribute == CU_POINTER_ATTRIBUTE_MAPPED && !range) {
		*(bool *)data = false;
		return CUDA_SUCCESS;
	}
	if (!range)
		return CUDA_ERROR_INVALID_VALUE;
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = addr;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)data = range->id;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(unsigned *)data = range->kind == SIM_RANGE_MANAGED;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
		*(unsigned *)data = (unsigned)range->sync_memops;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)data = range->base;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)data = range->size;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(unsigned *)data = CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(unsigned long long *)data = range->id;
		return CUDA_SUCCESS;
	default:
		break;
	}
	if (range->kind == SIM_RANGE_RESERVED) {
		if (attribute == CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE) {
			*(CUmemoryPool *)data = NULL;
			return CUDA_SUCCESS;
		}
		return vmm_attribute(data, attribute, range, sim_range_mapping(range, addr));
	}
	return native_attribute(data, attribute, range);
}

CUresult sim_cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr addr)
{
	pthread_mutex_lock(&sim_memory_lock);
	CUresult result = attribute_of(data, attribute, addr);
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

static size_t attribute_size(CUpointer_attribute attribute)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MAPPED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		return 1;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		return 4;
	default:
		return 8;
	}
}

/* Several at once: what does not apply is 0, and that is no error. */
CUresult sim_cuPointerGetAttributes(
	unsigned int n, CUpointer_attribute *attributes, void **data, CUdeviceptr addr)
{
	if (!n || !attributes || !data)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_memory_lock);
	for (unsigned i = 0; i < n; i++) {
		if (!data[i] || attribute_of(data[i], attributes[i], addr) == CUDA_SUCCESS)
			continue;
		memset(data[i], 0, attribute_size(attributes[i]));
		if (attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
			*(int *)data[i] = -2; /* CU_DEVICE_INVALID */
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return CUDA_SUCCESS;
}

CUresult sim_cuPointerSetAttribute(
	const void *value, CUpointer_attribute attribute, CUdeviceptr addr)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
		return result;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(addr);
	if (range && range->kind == SIM_RANGE_RESERVED) {
		result = CUDA_ERROR_NOT_SUPPORTED;
	} else if (range) {
		range->sync_memops = *(const int *)value != 0;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

/* ---- IPC: handles are made, but no other process can open them ---- */

CUresult sim_cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr addr)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (!handle)
		return result;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(addr);
	if (range && range->kind == SIM_RANGE_DEVICE) {
		uint64_t words[2] = {(uint64_t)getpid(), range->base};
		memset(handle, 0, sizeof(*handle));
		memcpy(handle, words, sizeof(words));
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuIpcOpenMemHandle_v2(CUdeviceptr *ret, CUipcMemHandle handle, unsigned int flags)
{
	uint64_t words[2];

	memcpy(words, &handle, sizeof(words));
	/* The process that made a handle cannot open it. */
	return words[0] == (uint64_t)getpid() ? CUDA_ERROR_INVALID_CONTEXT
					      : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult sim_cuIpcOpenMemHandle(CUdeviceptr *ret, CUipcMemHandle handle, unsigned int flags)
{
	return sim_cuIpcOpenMemHandle_v2(ret, handle, flags);
}

CUresult sim_cuIpcCloseMemHandle(CUdeviceptr addr)
{
	return CUDA_ERROR_INVALID_VALUE;
}

/* A dma-buf of a range that must be wholly mapped: here only a file to hold. */
CUresult sim_cuMemGetHandleForAddressRange(void *ret, CUdeviceptr addr, size_t size,
	CUmemRangeHandleType type, unsigned long long flags)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (!ret || type != CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD || !size || addr % 4096 ||
		size % 4096)
		return result;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(addr);
	bool ok = range && size <= range->size - (addr - range->base);
	for (uint64_t at = addr; ok && range->kind == SIM_RANGE_RESERVED && at < addr + size;
		at += SIM_GRANULARITY)
		ok = sim_range_mapping(range, at) != NULL;
	pthread_mutex_unlock(&sim_memory_lock);
	if (!ok)
		return result;
	int fd = memfd_create("simgpu-dmabuf", MFD_CLOEXEC);
	if (fd < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	*(int *)ret = fd;
	return CUDA_SUCCESS;
}

CUresult sim_cuFlushGPUDirectRDMAWrites(
	CUflushGPUDirectRDMAWritesTarget target, CUflushGPUDirectRDMAWritesScope scope)
{
	return CUDA_SUCCESS;
}

/* ---- hints: for managed memory only, and without effect ---- */

static CUresult managed_only(CUdeviceptr addr, size_t size)
{
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(addr);
	bool ok = range && range->kind == SIM_RANGE_MANAGED && size &&
		  size <= range->size - (addr - range->base);
	pthread_mutex_unlock(&sim_memory_lock);
	return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult sim_cuMemPrefetchAsync(CUdeviceptr addr, size_t size, CUdevice dev, CUstream stream)
{
	return managed_only(addr, size);
}

CUresult sim_cuMemPrefetchAsync_v2(
	CUdeviceptr addr, size_t size, CUmemLocation location, unsigned int flags, CUstream stream)
{
	return managed_only(addr, size);
}

CUresult sim_cuMemAdvise(CUdeviceptr addr, size_t size, CUmem_advise advice, CUdevice dev)
{
	return managed_only(addr, size);
}

CUresult sim_cuMemAdvise_v2(
	CUdeviceptr addr, size_t size, CUmem_advise advice, CUmemLocation location)
{
	return managed_only(addr, size);
}

CUresult sim_cuMemRangeGetAttribute(void *data, size_t data_size, CUmem_range_attribute attribute,
	CUdeviceptr addr, size_t size)
{
	CUresult result = managed_only(addr, size);

	if (result == CUDA_SUCCESS && data)
		memset(data, 0, data_size);
	return result;
}

CUresult sim_cuMemRangeGetAttributes(void **data, size_t *data_sizes,
	CUmem_range_attribute *attributes, size_t n, CUdeviceptr addr, size_t size)
{
	CUresult result = managed_only(addr, size);

	for (size_t i = 0; i < n && data && data_sizes && result == CUDA_SUCCESS; i++)
		memset(data[i], 0, data_sizes[i]);
	return result;
}

static CUresult managed_batch(CUdeviceptr *addrs, size_t *sizes, size_t n)
{
	CUresult result = n && addrs && sizes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;

	for (size_t i = 0; i < n && result == CUDA_SUCCESS; i++)
		result = managed_only(addrs[i], sizes[i]);
	return result;
}

CUresult sim_cuMemPrefetchBatchAsync(CUdeviceptr *addrs, size_t *sizes, size_t n,
	CUmemLocation *locations, size_t *indices, size_t n_locations, unsigned long long flags,
	CUstream stream)
{
	return managed_batch(addrs, sizes, n);
}

CUresult sim_cuMemDiscardBatchAsync(
	CUdeviceptr *addrs, size_t *sizes, size_t n, unsigned long long flags, CUstream stream)
{
	return managed_batch(addrs, sizes, n);
}

CUresult sim_cuMemDiscardAndPrefetchBatchAsync(CUdeviceptr *addrs, size_t *sizes, size_t n,
	CUmemLocation *locations, size_t *indices, size_t n_locations, unsigned long long flags,
	CUstream stream)
{
	return managed_batch(addrs, sizes, n);
}
