/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the driver as the hardware programs use it: found at run time, so that one binary runs
 * on any machine, with or without a preloaded shim.
 *
 * Needs cuda.h and libc, nothing of the project: gpu-check may have to compile it with what it
 * finds on a foreign machine.
 */
#ifndef TESTS_GPU_DRIVER_H
#define TESTS_GPU_DRIVER_H

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cudaTypedefs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* GPU_CALL(exported name, type) */
#define GPU_CALLS \
	GPU_CALL(cuInit, PFN_cuInit_v2000) \
	GPU_CALL(cuDriverGetVersion, PFN_cuDriverGetVersion_v2020) \
	GPU_CALL(cuGetErrorName, PFN_cuGetErrorName_v6000) \
	GPU_CALL(cuDeviceGet, PFN_cuDeviceGet_v2000) \
	GPU_CALL(cuDeviceGetName, PFN_cuDeviceGetName_v2000) \
	GPU_CALL(cuDeviceGetAttribute, PFN_cuDeviceGetAttribute_v2000) \
	GPU_CALL(cuDevicePrimaryCtxRetain, PFN_cuDevicePrimaryCtxRetain_v7000) \
	GPU_CALL(cuCtxSetCurrent, PFN_cuCtxSetCurrent_v4000) \
	GPU_CALL(cuCtxSynchronize, PFN_cuCtxSynchronize_v2000) \
	GPU_CALL(cuModuleLoadData, PFN_cuModuleLoadData_v2000) \
	GPU_CALL(cuModuleGetFunction, PFN_cuModuleGetFunction_v2000) \
	GPU_CALL(cuMemGetInfo_v2, PFN_cuMemGetInfo_v3020) \
	GPU_CALL(cuMemAlloc_v2, PFN_cuMemAlloc_v3020) \
	GPU_CALL(cuMemAllocPitch_v2, PFN_cuMemAllocPitch_v3020) \
	GPU_CALL(cuMemFree_v2, PFN_cuMemFree_v3020) \
	GPU_CALL(cuMemHostAlloc, PFN_cuMemHostAlloc_v2020) \
	GPU_CALL(cuMemFreeHost, PFN_cuMemFreeHost_v2000) \
	GPU_CALL(cuMemHostGetDevicePointer_v2, PFN_cuMemHostGetDevicePointer_v3020) \
	GPU_CALL(cuMemcpyHtoD_v2, PFN_cuMemcpyHtoD_v3020) \
	GPU_CALL(cuMemcpyDtoH_v2, PFN_cuMemcpyDtoH_v3020) \
	GPU_CALL(cuMemcpyHtoDAsync_v2, PFN_cuMemcpyHtoDAsync_v3020) \
	GPU_CALL(cuMemcpyDtoHAsync_v2, PFN_cuMemcpyDtoHAsync_v3020) \
	GPU_CALL(cuMemcpyDtoD_v2, PFN_cuMemcpyDtoD_v3020) \
	GPU_CALL(cuMemsetD8_v2, PFN_cuMemsetD8_v3020) \
	GPU_CALL(cuMemsetD8Async, PFN_cuMemsetD8Async_v3020) \
	GPU_CALL(cuMemsetD32Async, PFN_cuMemsetD32Async_v3020) \
	GPU_CALL(cuStreamCreate, PFN_cuStreamCreate_v2000) \
	GPU_CALL(cuStreamDestroy_v2, PFN_cuStreamDestroy_v4000) \
	GPU_CALL(cuStreamQuery, PFN_cuStreamQuery_v2000) \
	GPU_CALL(cuStreamSynchronize, PFN_cuStreamSynchronize_v2000) \
	GPU_CALL(cuStreamBeginCapture_v2, PFN_cuStreamBeginCapture_v10010) \
	GPU_CALL(cuStreamEndCapture, PFN_cuStreamEndCapture_v10000) \
	GPU_CALL(cuStreamWaitValue32_v2, PFN_cuStreamWaitValue32_v11070) \
	GPU_CALL(cuThreadExchangeStreamCaptureMode, PFN_cuThreadExchangeStreamCaptureMode_v10010) \
	GPU_CALL(cuEventCreate, PFN_cuEventCreate_v2000) \
	GPU_CALL(cuEventRecord, PFN_cuEventRecord_v2000) \
	GPU_CALL(cuEventQuery, PFN_cuEventQuery_v2000) \
	GPU_CALL(cuEventDestroy_v2, PFN_cuEventDestroy_v4000) \
	GPU_CALL(cuLaunchKernel, PFN_cuLaunchKernel_v4000) \
	GPU_CALL(cuGraphInstantiateWithFlags, PFN_cuGraphInstantiateWithFlags_v11040) \
	GPU_CALL(cuGraphLaunch, PFN_cuGraphLaunch_v10000) \
	GPU_CALL(cuGraphExecDestroy, PFN_cuGraphExecDestroy_v10000) \
	GPU_CALL(cuGraphDestroy, PFN_cuGraphDestroy_v10000) \
	GPU_CALL(cuMemGetAllocationGranularity, PFN_cuMemGetAllocationGranularity_v10020) \
	GPU_CALL(cuMemAddressReserve, PFN_cuMemAddressReserve_v10020) \
	GPU_CALL(cuMemAddressFree, PFN_cuMemAddressFree_v10020) \
	GPU_CALL(cuMemCreate, PFN_cuMemCreate_v10020) \
	GPU_CALL(cuMemRelease, PFN_cuMemRelease_v10020) \
	GPU_CALL(cuMemMap, PFN_cuMemMap_v10020) \
	GPU_CALL(cuMemUnmap, PFN_cuMemUnmap_v10020) \
	GPU_CALL(cuMemSetAccess, PFN_cuMemSetAccess_v10020)

struct gpu {
#define GPU_CALL(symbol, type) type symbol;
	GPU_CALLS
#undef GPU_CALL
	CUdevice device;
	CUcontext context;
	size_t granularity;       /* bytes, of device memory */
	CUmemAllocationProp prop; /* pinned memory of the device */
	CUmemAccessDesc access;   /* the device reads and writes */
};

extern struct gpu gpu;

/* Driver, device 0, its primary context. Exits 77 with a line when there is none of them. */
void gpu_start(void);
/* A call that the program cannot go on without: else one line, and exit 1. */
void gpu_must(CUresult result, const char *call);
#define GPU_MUST(symbol, ...) gpu_must(gpu.symbol(__VA_ARGS__), #symbol)
const char *gpu_name_of(CUresult result);

/* Monotonic, nanoseconds. */
uint64_t gpu_now(void);

/* Sorted in place: the smallest, the median, the 99th percentile and the largest, as JSON members.
 */
void gpu_print_times(const char *name, uint64_t *ns, size_t n);

#endif
