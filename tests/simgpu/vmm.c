/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm.c - cuMemAddressReserve, cuMemCreate, cuMemMap and their like, with every documented rule
 * enforced.
 *
 * A call that breaks a rule is reported as VIOLATION and fails with CUDA_ERROR_INVALID_VALUE;
 * nothing has changed.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api_protos.h"
#include "memory.h"

uint64_t sim_pages_mapped; /* mappings made, ever */

typedef unsigned long long ull;

static bool vmm_missing(void)
{
	return sim_config.no_vmm;
}

CUresult sim_cuMemAddressReserve(
	CUdeviceptr *ptr, size_t size, size_t align, CUdeviceptr addr, unsigned long long flags)
{
	CUresult result = CUDA_SUCCESS;

	if (vmm_missing())
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&sim_memory_lock);
	if (!ptr || flags || !size || size % 4096 || addr % 4096 || (align & (align - 1))) {
		sim_report(SIM_VIOLATION,
			"cuMemAddressReserve: size 0x%llx, alignment 0x%llx, flags %llu", (ull)size,
			(ull)align, flags);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	struct sim_range *range = sim_range_new(
		SIM_RANGE_RESERVED, size, align < SIM_GRANULARITY ? SIM_GRANULARITY : align, addr);
	if (!range)
		result = CUDA_ERROR_OUT_OF_MEMORY;
	else
		*ptr = range->base;
out:
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
	CUresult result = CUDA_SUCCESS;

	if (vmm_missing())
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_at(ptr);
	if (!range || range->kind != SIM_RANGE_RESERVED) {
		sim_report(SIM_VIOLATION, "cuMemAddressFree(0x%llx): no reservation starts there",
			ptr);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	if (range->size != size) {
		sim_report(SIM_VIOLATION,
			"cuMemAddressFree(0x%llx, 0x%llx): the reservation has 0x%llx bytes", ptr,
			(ull)size, (ull)range->size);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	for (uint64_t i = 0; i < range->n_pages; i++)
		if (range->pages[i]) {
			sim_report(SIM_VIOLATION,
				"cuMemAddressFree(0x%llx): still mapped at 0x%llx", ptr,
				(ull)range->pages[i]->base);
			result = CUDA_ERROR_INVALID_VALUE;
			goto out;
		}
	sim_range_free(range);
out:
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

static bool location_ok(const CUmemLocation *location)
{
	switch (location->type) {
	case CU_MEM_LOCATION_TYPE_DEVICE:
		return location->id >= 0 && location->id < sim_config.n_devices;
	case CU_MEM_LOCATION_TYPE_HOST:
		return true;
	case CU_MEM_LOCATION_TYPE_HOST_NUMA:
		return location->id == 0;
	default:
		return false;
	}
}

CUresult sim_cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
	CUmemAllocationGranularity_flags option)
{
	if (vmm_missing())
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!granularity || !prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
		!location_ok(&prop->location) || (unsigned)option > 1)
		return CUDA_ERROR_INVALID_VALUE;
	*granularity = SIM_GRANULARITY;
	return CUDA_SUCCESS;
}

CUresult sim_cuMemCreate(CUmemGenericAllocationHandle *ret, size_t size,
	const CUmemAllocationProp *prop, unsigned long long flags)
{
	CUresult result = CUDA_SUCCESS;
	struct sim_handle *handle;

	if (vmm_missing())
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&sim_memory_lock);
	if (!ret || !prop || flags || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED) {
		sim_report(SIM_VIOLATION, "cuMemCreate: a wrong argument");
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	if (!location_ok(&prop->location)) {
		/* A fair question to the driver, not a broken rule. */
		result = CUDA_ERROR_INVALID_DEVICE;
		goto out;
	}
	if (!size || size % SIM_GRANULARITY) {
		sim_report(SIM_VIOLATION,
			"cuMemCreate: %llu bytes are no multiple of the granularity", (ull)size);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	if (prop->location.type == CU_MEM_LOCATION_TYPE_HOST && prop->requestedHandleTypes) {
		sim_report(SIM_VIOLATION, "cuMemCreate: host memory cannot be exported");
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	result = sim_handle_new(prop, size, &handle);
	if (result == CUDA_SUCCESS)
		*ret = handle->id;
out:
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemRelease(CUmemGenericAllocationHandle id)
{
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&sim_memory_lock);
	struct sim_handle *handle = sim_handle_find(id);
	if (!handle || !handle->refs) {
		sim_report(SIM_VIOLATION,
			"cuMemRelease(0x%llx): no such handle, or released already", id);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	handle->refs--;
	sim_handle_put(handle);
out:
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

/* The reservation that holds all of [ptr, ptr+size), aligned to pages. NULL: *ret_why. */
static struct sim_range *reserved(uint64_t ptr, uint64_t size, const char **ret_why)
{
	struct sim_range *range = sim_range_find(ptr);

	*ret_why = NULL;
	if (!size || ptr % SIM_GRANULARITY || size % SIM_GRANULARITY)
		*ret_why = "not a multiple of the granularity";
	else if (!range || range->kind != SIM_RANGE_RESERVED)
		*ret_why = "no reservation";
	else if (size > range->size - (ptr - range->base))
		*ret_why = "goes beyond the reservation";
	return *ret_why ? NULL : range;
}

CUresult sim_cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle id,
	unsigned long long flags)
{
	CUresult result = CUDA_SUCCESS;
	const char *why;

	if (vmm_missing())
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_handle *handle = sim_handle_find(id);
	struct sim_range *range = reserved(ptr, size, &why);
	if (!range) {
		sim_report(SIM_VIOLATION, "cuMemMap(0x%llx, 0x%llx): %s", ptr, (ull)size, why);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	if (!handle || !handle->refs) {
		sim_report(SIM_VIOLATION, "cuMemMap(0x%llx): no such handle 0x%llx", ptr, id);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	if (offset || flags) {
		sim_report(SIM_VIOLATION,
			"cuMemMap(0x%llx): offset 0x%llx and flags 0x%llx must be 0", ptr,
			(ull)offset, flags);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	if (size > handle->extent.size) {
		sim_report(SIM_VIOLATION, "cuMemMap(0x%llx): 0x%llx bytes of a handle of 0x%llx",
			ptr, (ull)size, (ull)handle->extent.size);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	uint64_t first = (ptr - range->base) / SIM_GRANULARITY, n = size / SIM_GRANULARITY;
	for (uint64_t i = first; i < first + n; i++)
		if (range->pages[i]) {
			sim_report(SIM_VIOLATION, "cuMemMap(0x%llx): 0x%llx is mapped already", ptr,
				(ull)(range->base + i * SIM_GRANULARITY));
			result = CUDA_ERROR_INVALID_VALUE;
			goto out;
		}
	struct sim_mapping *m = calloc(1, sizeof(*m));
	if (!m) {
		result = CUDA_ERROR_OUT_OF_MEMORY;
		goto out;
	}
	m->base = ptr;
	m->size = size;
	m->handle = handle;
	m->manager = sim_is_manager();
	handle->mappings++;
	for (uint64_t i = first; i < first + n; i++)
		range->pages[i] = m;
	sim_pages_mapped += n;
out:
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

static void hide_from_host(struct sim_mapping *m)
{
	if (m->host_visible)
		mmap((void *)m->base, m->size, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	m->host_visible = false;
}

/* NULL: [ptr, ptr+size) is whole mappings without a hole; else what is wrong. */
static const char *whole_mappings(const struct sim_range *range, uint64_t ptr, uint64_t size)
{
	for (uint64_t at = ptr; at < ptr + size;) {
		const struct sim_mapping *m = sim_range_mapping(range, at);
		if (!m)
			return "there is a hole";
		if (m->base != at || m->base + m->size > ptr + size)
			return "only a part of a mapping";
		at += m->size;
	}
	return NULL;
}

/* False: no device has ever had access to any of it, so that no work can mean it, wherever it
 * points. */
static bool was_reached(const struct sim_range *range, uint64_t ptr, uint64_t size)
{
	const struct sim_mapping *m;

	for (uint64_t at = ptr; at < ptr + size; at += m->size) {
		m = sim_range_mapping(range, at);
		if (m->reached)
			return true;
	}
	return false;
}

CUresult sim_cuMemUnmap(CUdeviceptr ptr, size_t size)
{
	CUresult result = CUDA_SUCCESS;
	const char *why;

	if (vmm_missing())
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&sim_lock);
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = reserved(ptr, size, &why);
	if (range)
		why = whole_mappings(range, ptr, size);
	if (why) {
		sim_report(SIM_VIOLATION, "cuMemUnmap(0x%llx, 0x%llx): %s", ptr, (ull)size, why);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	/* The driver does not wait and would not notice: reported, and done all the same. */
	const char *busy = NULL;
	if (was_reached(range, ptr, size))
		busy = sim_work_in_flight(ptr, size, range->base, range->base + range->size);
	if (busy)
		sim_report(SIM_VIOLATION, "cuMemUnmap(0x%llx, 0x%llx) while %s may still touch it",
			ptr, (ull)size, busy);
	for (uint64_t at = ptr; at < ptr + size;) {
		struct sim_mapping *m = sim_range_mapping(range, at);
		uint64_t first = (at - range->base) / SIM_GRANULARITY,
			 n = m->size / SIM_GRANULARITY;
		for (uint64_t i = first; i < first + n; i++)
			range->pages[i] = NULL;
		at += m->size;
		hide_from_host(m);
		m->handle->mappings--;
		sim_handle_put(m->handle);
		free(m);
	}
out:
	pthread_mutex_unlock(&sim_memory_lock);
	pthread_mutex_unlock(&sim_lock);
	return result;
}

/* Lets the host touch host-located memory in place. */
static bool show_to_host(struct sim_mapping *m)
{
	const struct sim_extent *e = &m->handle->extent;

	if (m->host_visible)
		return true;
	if (mmap((void *)m->base, m->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    e->store->fd, (off_t)(e->offset + m->offset)) == MAP_FAILED)
		return false;
	m->host_visible = true;
	return true;
}

static CUresult set_access(struct sim_mapping *m, const CUmemAccessDesc *desc)
{
	uint8_t bit = (uint8_t)(1u << (desc->location.id & 7));

	if (desc->location.type != CU_MEM_LOCATION_TYPE_DEVICE) {
		if (m->handle->extent.device >= 0)
			return CUDA_ERROR_NOT_SUPPORTED;
		if (desc->flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)
			hide_from_host(m);
		else if (!show_to_host(m))
			return CUDA_ERROR_OUT_OF_MEMORY;
		return CUDA_SUCCESS;
	}
	m->readable &= (uint8_t)~bit;
	m->writable &= (uint8_t)~bit;
	if (desc->flags & CU_MEM_ACCESS_FLAGS_PROT_READ) {
		m->readable |= bit;
		m->reached = true;
	}
	if (desc->flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
		m->writable |= bit;
	return CUDA_SUCCESS;
}

CUresult sim_cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	CUresult result = CUDA_SUCCESS;
	const char *why;

	if (vmm_missing())
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = reserved(ptr, size, &why);
	if (range)
		why = whole_mappings(range, ptr, size);
	if (why) {
		sim_report(
			SIM_VIOLATION, "cuMemSetAccess(0x%llx, 0x%llx): %s", ptr, (ull)size, why);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	if (!desc || !count) {
		sim_report(SIM_VIOLATION, "cuMemSetAccess(0x%llx): no descriptor", ptr);
		result = CUDA_ERROR_INVALID_VALUE;
		goto out;
	}
	for (size_t i = 0; i < count; i++)
		if (!location_ok(&desc[i].location) || desc[i].flags == 2 ||
			(unsigned)desc[i].flags > 3) {
			sim_report(SIM_VIOLATION,
				"cuMemSetAccess(0x%llx): descriptor %llu is wrong", ptr, (ull)i);
			result = CUDA_ERROR_INVALID_VALUE;
			goto out;
		}
	for (uint64_t at = ptr; at < ptr + size && result == CUDA_SUCCESS;) {
		struct sim_mapping *m = sim_range_mapping(range, at);
		for (size_t i = 0; i < count && result == CUDA_SUCCESS; i++)
			result = set_access(m, &desc[i]);
		at += m->size;
	}
out:
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemGetAccess(
	unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (!flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE ||
		!location_ok(location))
		return result;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(ptr);
	struct sim_mapping *m =
		range && range->kind == SIM_RANGE_RESERVED ? sim_range_mapping(range, ptr) : NULL;
	if (m) {
		*flags = m->writable >> location->id & 1   ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
			 : m->readable >> location->id & 1 ? CU_MEM_ACCESS_FLAGS_PROT_READ
							   : CU_MEM_ACCESS_FLAGS_PROT_NONE;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemGetAllocationPropertiesFromHandle(
	CUmemAllocationProp *prop, CUmemGenericAllocationHandle id)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&sim_memory_lock);
	struct sim_handle *handle = sim_handle_find(id);
	if (handle && prop) {
		*prop = handle->prop;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *ret, void *addr)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	uint64_t at = (uint64_t)addr;

	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(at);
	struct sim_mapping *m =
		range && range->kind == SIM_RANGE_RESERVED ? sim_range_mapping(range, at) : NULL;
	if (m && ret) {
		m->handle->refs++;
		*ret = m->handle->id;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

/* ---- exports: a file that names a handle of this process; no other process can import it ---- */

struct token {
	uint64_t magic;
	int64_t pid;
	CUmemGenericAllocationHandle id;
};
#define TOKEN_MAGIC 0x53494d48414e444cull

CUresult sim_cuMemExportToShareableHandle(void *ret, CUmemGenericAllocationHandle id,
	CUmemAllocationHandleType type, unsigned long long flags)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (!ret || flags || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return result;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_handle *handle = sim_handle_find(id);
	if (handle &&
		handle->prop.requestedHandleTypes & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) {
		struct token token = {TOKEN_MAGIC, getpid(), id};
		int fd = memfd_create("simgpu-handle", MFD_CLOEXEC);
		if (fd >= 0 && pwrite(fd, &token, sizeof(token), 0) == sizeof(token)) {
			*(int *)ret = fd;
			result = CUDA_SUCCESS;
		} else {
			if (fd >= 0)
				close(fd);
			result = CUDA_ERROR_OPERATING_SYSTEM;
		}
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_cuMemImportFromShareableHandle(
	CUmemGenericAllocationHandle *ret, void *os_handle, CUmemAllocationHandleType type)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct token token = {0};

	if (!ret || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return result;
	if (pread((int)(intptr_t)os_handle, &token, sizeof(token), 0) != sizeof(token) ||
		token.magic != TOKEN_MAGIC)
		return result;
	if (token.pid != getpid())
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_handle *handle = sim_handle_find(token.id);
	if (handle) {
		handle->refs++;
		*ret = token.id;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}
