/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_alloc.c - the driver's names of the bodies that make and free memory.
 */
#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/exports.h"

/* ---- linear device memory ---- */

CUresult CUDAAPI cuMemAlloc_v2(CUdeviceptr *addr, size_t size)
{
	return kv_alloc(KV_REAL(cuMemAlloc_v2), addr, size);
}

CUresult CUDAAPI cuMemAllocPitch_v2(
	CUdeviceptr *addr, size_t *pitch, size_t width, size_t height, unsigned int element)
{
	return kv_alloc_pitch(KV_REAL(cuMemAllocPitch_v2), addr, pitch, width, height, element);
}

CUresult CUDAAPI cuMemFree_v2(CUdeviceptr addr)
{
	return kv_free(KV_REAL(cuMemFree_v2), addr);
}

/* With 32-bit addresses: never a reservation, which lies above. */
CUresult CUDAAPI cuMemAlloc(CUdeviceptr_v1 *addr, unsigned int size)
{
	CUresult res = kv_native_admit(size);

	if (res == CUDA_SUCCESS)
		res = KV_REAL(cuMemAlloc)(addr, size);
	return kv_native_made(res, KV_TRACK_NATIVE, res == CUDA_SUCCESS && addr ? *addr : 0, size);
}

CUresult CUDAAPI cuMemAllocPitch(CUdeviceptr_v1 *addr, unsigned int *pitch, unsigned int width,
	unsigned int height, unsigned int element)
{
	CUresult res = kv_native_admit((uint64_t)width * height);

	if (res == CUDA_SUCCESS)
		res = KV_REAL(cuMemAllocPitch)(addr, pitch, width, height, element);
	if (res != CUDA_SUCCESS)
		return res;
	return kv_native_made(res, KV_TRACK_NATIVE, *addr, (uint64_t)*pitch * height);
}

CUresult CUDAAPI cuMemFree(CUdeviceptr_v1 addr)
{
	struct kv_native_gone gone;

	kv_hooks_ready();
	gone = kv_native_forget(KV_TRACK_NATIVE, addr);
	return kv_native_freed(KV_REAL(cuMemFree)(addr), &gone);
}

/* ---- memory that the host and the device share ---- */

CUresult CUDAAPI cuMemAllocManaged(CUdeviceptr *addr, size_t size, unsigned int flags)
{
	CUresult res = KV_REAL(cuMemAllocManaged)(addr, size, flags);

	return kv_native_made(res, KV_TRACK_MANAGED, res == CUDA_SUCCESS ? *addr : 0, size);
}

CUresult CUDAAPI cuMemAllocHost(void **host, unsigned int size)
{
	CUresult res = KV_REAL(cuMemAllocHost)(host, size);

	return kv_native_made(
		res, KV_TRACK_PINNED, res == CUDA_SUCCESS ? (uintptr_t)*host : 0, size);
}

CUresult CUDAAPI cuMemAllocHost_v2(void **host, size_t size)
{
	CUresult res = KV_REAL(cuMemAllocHost_v2)(host, size);

	return kv_native_made(
		res, KV_TRACK_PINNED, res == CUDA_SUCCESS ? (uintptr_t)*host : 0, size);
}

CUresult CUDAAPI cuMemHostAlloc(void **host, size_t size, unsigned int flags)
{
	CUresult res = KV_REAL(cuMemHostAlloc)(host, size, flags);

	return kv_native_made(
		res, KV_TRACK_PINNED, res == CUDA_SUCCESS ? (uintptr_t)*host : 0, size);
}

CUresult CUDAAPI cuMemHostRegister(void *host, size_t size, unsigned int flags)
{
	return kv_native_made(KV_REAL(cuMemHostRegister)(host, size, flags), KV_TRACK_REGISTERED,
		(uintptr_t)host, size);
}

CUresult CUDAAPI cuMemHostRegister_v2(void *host, size_t size, unsigned int flags)
{
	return kv_native_made(KV_REAL(cuMemHostRegister_v2)(host, size, flags), KV_TRACK_REGISTERED,
		(uintptr_t)host, size);
}

CUresult CUDAAPI cuMemHostGetDevicePointer(CUdeviceptr_v1 *addr, void *host, unsigned int flags)
{
	CUresult res = KV_REAL(cuMemHostGetDevicePointer)(addr, host, flags);

	return kv_native_alias(res, host, res == CUDA_SUCCESS ? *addr : 0);
}

CUresult CUDAAPI cuMemHostGetDevicePointer_v2(CUdeviceptr *addr, void *host, unsigned int flags)
{
	CUresult res = KV_REAL(cuMemHostGetDevicePointer_v2)(addr, host, flags);

	return kv_native_alias(res, host, res == CUDA_SUCCESS ? *addr : 0);
}

CUresult CUDAAPI cuMemFreeHost(void *host)
{
	struct kv_native_gone gone;

	kv_hooks_ready();
	gone = kv_native_forget(KV_TRACK_PINNED, (uintptr_t)host);
	return kv_native_freed(KV_REAL(cuMemFreeHost)(host), &gone);
}

CUresult CUDAAPI cuMemHostUnregister(void *host)
{
	struct kv_native_gone gone;

	kv_hooks_ready();
	gone = kv_native_forget(KV_TRACK_REGISTERED, (uintptr_t)host);
	return kv_native_freed(KV_REAL(cuMemHostUnregister)(host), &gone);
}

CUresult CUDAAPI cuExternalMemoryGetMappedBuffer(
	CUdeviceptr *addr, CUexternalMemory memory, const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *desc)
{
	CUresult res = KV_REAL(cuExternalMemoryGetMappedBuffer)(addr, memory, desc);

	return kv_native_made(
		res, KV_TRACK_NATIVE, res == CUDA_SUCCESS ? *addr : 0, desc ? desc->size : 0);
}
