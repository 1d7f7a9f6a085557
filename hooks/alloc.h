/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc.h - bodies of the entry points that make and free memory.
 */
#ifndef KV_HOOKS_ALLOC_H
#define KV_HOOKS_ALLOC_H

#include "hooks/submit.h"
#include "hooks/track.h"

/* ---- linear device memory (alloc.c) ---- */

CUresult kv_alloc(PFN_cuMemAlloc_v3020 real, CUdeviceptr *addr, size_t size);
CUresult kv_alloc_pitch(PFN_cuMemAllocPitch_v3020 real, CUdeviceptr *addr, size_t *pitch,
	size_t width, size_t height, unsigned int element);
/* Any address that cuMemFree may get. */
CUresult kv_free(PFN_cuMemFree_v3020 real, CUdeviceptr addr);
CUresult kv_free_async(
	PFN_cuMemFreeAsync_v11020 real, bool per_thread, CUdeviceptr addr, CUstream stream);
/* Frees that had to wait for the end of a capture are made now, if none is open. */
void kv_free_deferred(void);

/* ---- memory that stays native (native.c) ---- */

/*
 * May size bytes of native device memory be allocated on the current device? CUDA_SUCCESS, or
 * CUDA_ERROR_OUT_OF_MEMORY if they are promised to reservations.
 */
CUresult kv_native_admit(uint64_t size);
/* An allocation failed for lack of memory: gives back what is not needed, and asks others for
 * theirs. True if it is worth another try. All tries of one allocation share one bound in time (see
 * kv_space_make_room()), and there are KV_NATIVE_TRIES at most. */
#define KV_NATIVE_TRIES 4
struct kv_native_tries {
	uint32_t n;
	uint64_t start_ns;      /* of the first refusal */
	struct kv_space *space; /* what has come is kept here for the next try; NULL: nothing is */
	uint64_t size;
}; /* all zero at first */
bool kv_native_make_room(struct kv_native_tries *tries, CUresult res, uint64_t size);
/* After the last try, and after what was made has been counted. */
void kv_native_done(struct kv_native_tries *tries);
/* The driver's answer is passed on; an allocation is remembered. */
CUresult kv_native_made(CUresult res, enum kv_track_kind kind, uint64_t addr, uint64_t size);
/* Around a free: forgets first (the address may be handed out again at once), remembers on failure.
 */
struct kv_native_gone {
	enum kv_track_kind kind;
	uint64_t addr, size;
};
struct kv_native_gone kv_native_forget(enum kv_track_kind kind, uint64_t addr);
CUresult kv_native_freed(CUresult res, const struct kv_native_gone *gone);

/* Pinned memory that the device knows by another address. */
CUresult kv_native_alias(CUresult res, const void *host, CUdeviceptr device_addr);

/* Stream-ordered allocations: native, in a capture not counted, since the graph owns them. */
CUresult kv_native_async(
	CUresult res, bool per_thread, CUstream stream, CUdeviceptr addr, size_t size);

/* ---- the engine's own virtual memory (vmm.c) ---- */

CUresult kv_vmm_create(PFN_cuMemCreate_v10020 real, CUmemGenericAllocationHandle *handle,
	size_t size, const CUmemAllocationProp *prop, unsigned long long flags);
/* The driver gave one more reference; addr: where the memory is mapped, 0 if it was imported. */
CUresult kv_vmm_retained(CUresult res, CUmemGenericAllocationHandle handle, CUdeviceptr addr);
CUresult kv_vmm_release(PFN_cuMemRelease_v10020 real, CUmemGenericAllocationHandle handle);
CUresult kv_vmm_map(PFN_cuMemMap_v10020 real, CUdeviceptr addr, size_t size, size_t offset,
	CUmemGenericAllocationHandle handle, unsigned long long flags);
CUresult kv_vmm_unmap(PFN_cuMemUnmap_v10020 real, CUdeviceptr addr, size_t size);
/* True if the range has to do with a reservation: the engine may not map or unmap there. */
bool kv_vmm_is_ours(CUdeviceptr addr, size_t size);
CUresult kv_vmm_map_array(
	PFN_cuMemMapArrayAsync_v11010 real, CUarrayMapInfo *list, unsigned int n, CUstream stream);

#endif
