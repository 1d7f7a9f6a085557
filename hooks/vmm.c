/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm.c - virtual memory management by the engine itself: counted, passed on, and kept away from
 * reservations, which native memory would not let it map or unmap either.
 */
#include <errno.h>

#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/handles.h"

static bool is_program(void)
{
	return kv_hooks_active() && !kv_thread.depth;
}

/* The device that the memory is on; NULL for host memory and devices that we leave alone. */
static struct kv_device *device_of(const CUmemAllocationProp *prop)
{
	if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
		return NULL;
	return kv_device_at(prop->location.id);
}

CUresult kv_vmm_create(PFN_cuMemCreate_v10020 real, CUmemGenericAllocationHandle *handle,
	size_t size, const CUmemAllocationProp *prop, unsigned long long flags)
{
	struct kv_device *device;
	struct kv_native_tries tries = {0};
	CUresult res;

	if (!handle || !prop || !is_program())
		return real(handle, size, prop, flags);
	device = device_of(prop);
	if (device && !kv_core_is_idle(kv_hooks.core) && kv_device_own(device)) {
		int err;

		kv_thread.depth++;
		err = kv_space_admit_native(device->space, size);
		kv_thread.depth--;
		if (err == -ENOMEM)
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	res = real(handle, size, prop, flags);
	while (kv_native_make_room(&tries, res, size))
		res = real(handle, size, prop, flags);
	if (res == CUDA_SUCCESS && device)
		kv_handles_created(*handle, size, device->space);
	kv_native_done(&tries);
	return res;
}

CUresult kv_vmm_retained(CUresult res, CUmemGenericAllocationHandle handle, CUdeviceptr addr)
{
	if (res == CUDA_SUCCESS && is_program())
		kv_handles_retained(handle, addr);
	return res;
}

CUresult kv_vmm_release(PFN_cuMemRelease_v10020 real, CUmemGenericAllocationHandle handle)
{
	/* Before the call: the value may be handed out again at once. It fails for no other reason
	 * than a handle that is none, which is in no books either. */
	if (is_program())
		kv_handles_released(handle);
	return real(handle);
}

CUresult kv_vmm_map(PFN_cuMemMap_v10020 real, CUdeviceptr addr, size_t size, size_t offset,
	CUmemGenericAllocationHandle handle, unsigned long long flags)
{
	CUresult res;

	if (kv_vmm_is_ours(addr, size))
		return CUDA_ERROR_INVALID_VALUE;
	res = real(addr, size, offset, handle, flags);
	if (res == CUDA_SUCCESS && is_program())
		kv_handles_mapped(handle, addr, size);
	return res;
}

CUresult kv_vmm_unmap(PFN_cuMemUnmap_v10020 real, CUdeviceptr addr, size_t size)
{
	CUresult res;

	if (kv_vmm_is_ours(addr, size))
		return CUDA_ERROR_INVALID_VALUE;
	res = real(addr, size);
	if (res == CUDA_SUCCESS && is_program())
		kv_handles_unmapped(addr, size);
	return res;
}

struct overlap {
	uint64_t start, end;
};

static int overlaps(void *ctx, struct kv_reservation *r)
{
	const struct overlap *range = ctx;
	uint64_t base = kv_reservation_base(r);

	return range->start < base + kv_reservation_reserved(r) && base < range->end;
}

bool kv_vmm_is_ours(CUdeviceptr addr, size_t size)
{
	struct overlap range = {addr, addr + size};

	if (!is_program() || kv_core_is_idle(kv_hooks.core))
		return false;
	return kv_core_each(kv_hooks.core, overlaps, &range) != 0;
}

CUresult kv_vmm_map_array(
	PFN_cuMemMapArrayAsync_v11010 real, CUarrayMapInfo *list, unsigned int n, CUstream stream)
{
	CUresult res;

	if (!kv_submit_enter())
		return real(list, n, stream);
	res = kv_submit_settle();
	if (res == CUDA_SUCCESS)
		res = real(list, n, stream);
	kv_submit_leave();
	return res;
}
