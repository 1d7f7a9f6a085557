/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the driver as the stand-ins for libcudart and libcublas reach it.
 *
 * Each stand-in has a table of its own, resolved once, the way NVIDIA's runtime resolves its:
 * libcuda.so.1 is opened, cuGetProcAddress_v2 is taken from it by dlsym, that is asked for
 * "cuGetProcAddress" again, and the pointer it answers with serves for everything else. An
 * interposer that wraps only the first pointer must not work better here than it does with the real
 * runtime.
 */
#ifndef STANDIN_DRIVER_H
#define STANDIN_DRIVER_H

#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
/* X(name, version asked for) */
#define DRIVER_ENTRIES(X) \
	X(cuDeviceGet, 2000) X(cuDeviceGetCount, 2000) X(cuDeviceGetName, 2000) \
	X(cuDeviceTotalMem, 3020) X(cuDeviceGetAttribute, 2000) X(cuDeviceGetPCIBusId, 4010) \
	X(cuDeviceGetUuid, 9020) X(cuDeviceCanAccessPeer, 4000) X(cuCtxEnablePeerAccess, 4000) \
	X(cuCtxDisablePeerAccess, 4000) \
	X(cuDriverGetVersion, 2020) X(cuDevicePrimaryCtxRetain, 7000) \
	X(cuDevicePrimaryCtxRelease, 7000) X(cuDevicePrimaryCtxSetFlags, 11000) \
	X(cuCtxSetCurrent, 4000) X(cuCtxGetCurrent, 4000) X(cuCtxGetDevice, 2000) \
	X(cuCtxSynchronize, 2000) X(cuGetErrorString, 6000) \
	X(cuLibraryLoadData, 12000) X(cuLibraryUnload, 12000) X(cuLibraryGetKernel, 12000) \
	X(cuKernelGetFunction, 12000) X(cuKernelGetAttribute, 12000) X(cuKernelSetAttribute, 12000) \
	X(cuMemGetInfo, 3020) X(cuMemAlloc, 3020) X(cuMemFree, 3020) X(cuMemAllocManaged, 6000) \
	X(cuMemHostAlloc, 2020) X(cuMemFreeHost, 2000) X(cuMemHostRegister, 6050) \
	X(cuMemHostUnregister, 4000) X(cuMemHostGetDevicePointer, 3020) \
	X(cuMemcpyAsync, 4000) X(cuMemcpyHtoDAsync, 3020) X(cuMemcpyDtoHAsync, 3020) \
	X(cuMemcpyDtoDAsync, 3020) X(cuMemcpy2DAsync, 3020) X(cuMemcpyPeerAsync, 4000) \
	X(cuMemcpy3DPeerAsync, 4000) \
	X(cuMemsetD8, 3020) X(cuMemsetD8Async, 3020) \
	X(cuLaunchKernel, 4000) X(cuLaunchKernelEx, 11060) X(cuLaunchCooperativeKernel, 9000) \
	X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, 7000) \
	X(cuStreamCreate, 2000) X(cuStreamDestroy, 4000) X(cuStreamSynchronize, 2000) \
	X(cuStreamWaitEvent, 3020) X(cuStreamBeginCapture, 10010) X(cuStreamEndCapture, 10000) \
	X(cuStreamIsCapturing, 10000) \
	X(cuEventCreate, 2000) X(cuEventDestroy, 4000) X(cuEventRecord, 2000) \
	X(cuEventSynchronize, 2000) \
	X(cuGraphInstantiateWithFlags, 11040) X(cuGraphExecUpdate, 12000) X(cuGraphLaunch, 10000) \
	X(cuGraphDestroy, 10000) X(cuGraphExecDestroy, 10000) X(cuGraphGetNodes, 10000) \
	X(cuGraphNodeGetType, 10000) X(cuGraphKernelNodeGetParams, 12000) \
	X(cuGraphKernelNodeSetParams, 12000)
/* clang-format on */

/*
 * What the software GPU is told about the program's own requests, before anyone below can leave out
 * or change what is asked of the driver (simgpu.h). NULL with any other driver.
 */
typedef void (*note_set_fn)(CUdeviceptr dst, uint32_t value, uint32_t element, size_t n,
	CUstream stream, int per_thread);
typedef void (*note_copy_fn)(
	CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream, int per_thread);
typedef void (*note_check_fn)(
	const void *host, CUdeviceptr src, size_t size, CUstream stream, int per_thread);

struct driver {
	note_set_fn note_set;
	note_copy_fn note_copy;
	note_check_fn note_check;
	PFN_cuInit_v2000 cuInit;
#define X(name, version) PFN_##name##_v##version name;
	DRIVER_ENTRIES(X)
#undef X
};

/*
 * The resolved table, with cuInit done; NULL when there is no usable driver, `*ret_error` then says
 * why (a CUresult or 35, the runtime's "insufficient driver"). Any thread; resolves at the first
 * call.
 */
const struct driver *driver_get(int *ret_error);

#endif
