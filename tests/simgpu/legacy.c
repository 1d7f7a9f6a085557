/* SPDX-License-Identifier: Apache-2.0 */
/*
 * legacy.c - first versions of entry points that differ from today's in name only, and a few that
 * do nothing.
 *
 * The versions with 32-bit addresses are not here: no 64-bit program can use them.
 */
#include <string.h>

#include "api_protos.h"

CUresult sim_cuCtxCreate(CUcontext *ret, unsigned int flags, CUdevice dev)
{
	return sim_cuCtxCreate_v2(ret, flags, dev);
}

CUresult sim_cuCtxDestroy(CUcontext context)
{
	return sim_cuCtxDestroy_v2(context);
}

CUresult sim_cuCtxDetach(CUcontext context)
{
	return sim_cuCtxDestroy_v2(context);
}

CUresult sim_cuCtxPushCurrent(CUcontext context)
{
	return sim_cuCtxPushCurrent_v2(context);
}

CUresult sim_cuCtxPopCurrent(CUcontext *ret)
{
	return sim_cuCtxPopCurrent_v2(ret);
}

CUresult sim_cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	return sim_cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

CUresult sim_cuEventDestroy(CUevent event)
{
	return sim_cuEventDestroy_v2(event);
}

CUresult sim_cuStreamDestroy(CUstream stream)
{
	return sim_cuStreamDestroy_v2(stream);
}

CUresult sim_cuMemHostRegister(void *addr, size_t size, unsigned int flags)
{
	return sim_cuMemHostRegister_v2(addr, size, flags);
}

CUresult sim_cuProfilerStart(void)
{
	return CUDA_SUCCESS;
}

CUresult sim_cuProfilerStop(void)
{
	return CUDA_SUCCESS;
}

/*
 * Tensor maps: 128 opaque bytes. Only the address is kept, in the first word, where whoever
 * searches uploads and parameters for addresses finds it as it would in a real one.
 */
static CUresult encode(CUtensorMap *map, void *address)
{
	if (!map || (uintptr_t)map % 64 || !address || (uintptr_t)address % 16)
		return CUDA_ERROR_INVALID_VALUE;
	memset(map, 0, sizeof(*map));
	memcpy(map, &address, sizeof(address));
	return CUDA_SUCCESS;
}

CUresult sim_cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
	void *address, const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box,
	const cuuint32_t *element_strides, CUtensorMapInterleave interleave,
	CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill)
{
	return encode(map, address);
}

CUresult sim_cuTensorMapReplaceAddress(CUtensorMap *map, void *address)
{
	if (!map || !address)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(map, &address, sizeof(address));
	return CUDA_SUCCESS;
}
