/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_ipc.c - the driver's names of what hands memory out or puts its address into a
 * descriptor.
 */
#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/exports.h"
#include "hooks/query.h"

/* Makes whole what is at addr, calls, leaves. */
#define WHOLE(symbol, addr, reason, ...) \
	do { \
		__typeof__(kv_real.symbol) real = KV_REAL(symbol); \
		CUresult res; \
\
		if (!kv_export_enter((CUdeviceptr)(addr), reason, #symbol, &res)) \
			return real(__VA_ARGS__); \
		if (res == CUDA_SUCCESS) \
			res = real(__VA_ARGS__); \
		kv_submit_leave(); \
		return res; \
	} while (0)

CUresult CUDAAPI cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr addr)
{
	return kv_ipc_get(KV_REAL(cuIpcGetMemHandle), handle, addr);
}

static CUresult retain(CUmemGenericAllocationHandle *handle, void *addr)
{
	WHOLE(cuMemRetainAllocationHandle, addr, KV_STATIC_EXPORT, handle, addr);
}

CUresult CUDAAPI cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
	CUresult res = retain(handle, addr);

	return kv_vmm_retained(res, res == CUDA_SUCCESS ? *handle : 0, (CUdeviceptr)addr);
}

/* A handle of ours can only have come from cuMemRetainAllocationHandle, which made it static. */
CUresult CUDAAPI cuMemExportToShareableHandle(void *os_handle, CUmemGenericAllocationHandle handle,
	CUmemAllocationHandleType type, unsigned long long flags)
{
	return KV_REAL(cuMemExportToShareableHandle)(os_handle, handle, type, flags);
}

CUresult CUDAAPI cuMemGetHandleForAddressRange(void *handle, CUdeviceptr addr, size_t size,
	CUmemRangeHandleType type, unsigned long long flags)
{
	WHOLE(cuMemGetHandleForAddressRange, addr, KV_STATIC_EXPORT, handle, addr, size, type,
		flags);
}

CUresult CUDAAPI cuMulticastBindAddr(CUmemGenericAllocationHandle multicast, size_t offset,
	CUdeviceptr addr, size_t size, unsigned long long flags)
{
	WHOLE(cuMulticastBindAddr, addr, KV_STATIC_EXPORT, multicast, offset, addr, size, flags);
}

/* SYNC_MEMOPS is what a network stack sets before it registers the memory. */
CUresult CUDAAPI cuPointerSetAttribute(
	const void *value, CUpointer_attribute attribute, CUdeviceptr addr)
{
	WHOLE(cuPointerSetAttribute, addr, KV_STATIC_EXPORT, value, attribute, addr);
}

/* ---- descriptors: the driver writes an address down and does not follow it ---- */

CUresult CUDAAPI cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
	void *addr, const cuuint64_t *dim, const cuuint64_t *strides, const cuuint32_t *box,
	const cuuint32_t *element_strides, CUtensorMapInterleave interleave,
	CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill fill)
{
	kv_hooks_ready();
	kv_export_note(addr, "cuTensorMapEncodeTiled");
	return KV_REAL(cuTensorMapEncodeTiled)(map, type, rank, addr, dim, strides, box,
		element_strides, interleave, swizzle, l2, fill);
}

CUresult CUDAAPI cuTensorMapEncodeIm2col(CUtensorMap *map, CUtensorMapDataType type,
	cuuint32_t rank, void *addr, const cuuint64_t *dim, const cuuint64_t *strides,
	const int *lower, const int *upper, cuuint32_t channels, cuuint32_t pixels,
	const cuuint32_t *element_strides, CUtensorMapInterleave interleave,
	CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill fill)
{
	kv_hooks_ready();
	kv_export_note(addr, "cuTensorMapEncodeIm2col");
	return KV_REAL(cuTensorMapEncodeIm2col)(map, type, rank, addr, dim, strides, lower, upper,
		channels, pixels, element_strides, interleave, swizzle, l2, fill);
}

CUresult CUDAAPI cuTensorMapEncodeIm2colWide(CUtensorMap *map, CUtensorMapDataType type,
	cuuint32_t rank, void *addr, const cuuint64_t *dim, const cuuint64_t *strides, int lower,
	int upper, cuuint32_t channels, cuuint32_t pixels, const cuuint32_t *element_strides,
	CUtensorMapInterleave interleave, CUtensorMapIm2ColWideMode mode,
	CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill fill)
{
	kv_hooks_ready();
	kv_export_note(addr, "cuTensorMapEncodeIm2colWide");
	return KV_REAL(cuTensorMapEncodeIm2colWide)(map, type, rank, addr, dim, strides, lower,
		upper, channels, pixels, element_strides, interleave, mode, swizzle, l2, fill);
}

CUresult CUDAAPI cuTensorMapReplaceAddress(CUtensorMap *map, void *addr)
{
	kv_hooks_ready();
	kv_export_note(addr, "cuTensorMapReplaceAddress");
	return KV_REAL(cuTensorMapReplaceAddress)(map, addr);
}

/* ---- textures over linear memory ---- */

static CUdeviceptr linear_of(const CUDA_RESOURCE_DESC *desc)
{
	if (desc && desc->resType == CU_RESOURCE_TYPE_LINEAR)
		return desc->res.linear.devPtr;
	if (desc && desc->resType == CU_RESOURCE_TYPE_PITCH2D)
		return desc->res.pitch2D.devPtr;
	return 0;
}

CUresult CUDAAPI cuTexObjectCreate(CUtexObject *object, const CUDA_RESOURCE_DESC *resource,
	const CUDA_TEXTURE_DESC *texture, const CUDA_RESOURCE_VIEW_DESC *view)
{
	WHOLE(cuTexObjectCreate, linear_of(resource), KV_STATIC_ARRAY, object, resource, texture,
		view);
}

CUresult CUDAAPI cuTexRefSetAddress_v2(size_t *offset, CUtexref ref, CUdeviceptr addr, size_t size)
{
	WHOLE(cuTexRefSetAddress_v2, addr, KV_STATIC_ARRAY, offset, ref, addr, size);
}

CUresult CUDAAPI cuTexRefSetAddress2D_v2(
	CUtexref ref, const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr addr, size_t pitch)
{
	WHOLE(cuTexRefSetAddress2D_v2, addr, KV_STATIC_ARRAY, ref, desc, addr, pitch);
}

CUresult CUDAAPI cuTexRefSetAddress2D_v3(
	CUtexref ref, const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr addr, size_t pitch)
{
	WHOLE(cuTexRefSetAddress2D_v3, addr, KV_STATIC_ARRAY, ref, desc, addr, pitch);
}
