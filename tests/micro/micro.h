/* SPDX-License-Identifier: Apache-2.0 */
/*
 * micro.h - what the micro programs share: the driver, the kernels, checks, and what the shim says
 * about this process.
 */
#ifndef MICRO_H
#define MICRO_H

#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB ((size_t)1 << 20)

/* The entry points in use, found with dlsym() in libcuda.so.1: MICRO_CALL(exported name, its type).
 */
#define MICRO_CALLS \
	MICRO_CALL(cuInit, PFN_cuInit_v2000) \
	MICRO_CALL(cuDeviceGet, PFN_cuDeviceGet_v2000) \
	MICRO_CALL(cuDeviceGetCount, PFN_cuDeviceGetCount_v2000) \
	MICRO_CALL(cuDevicePrimaryCtxRetain, PFN_cuDevicePrimaryCtxRetain_v7000) \
	MICRO_CALL(cuDevicePrimaryCtxRelease_v2, PFN_cuDevicePrimaryCtxRelease_v11000) \
	MICRO_CALL(cuCtxSetCurrent, PFN_cuCtxSetCurrent_v4000) \
	MICRO_CALL(cuCtxSynchronize, PFN_cuCtxSynchronize_v2000) \
	MICRO_CALL(cuModuleLoadData, PFN_cuModuleLoadData_v2000) \
	MICRO_CALL(cuModuleUnload, PFN_cuModuleUnload_v2000) \
	MICRO_CALL(cuModuleGetFunction, PFN_cuModuleGetFunction_v2000) \
	MICRO_CALL(cuLibraryLoadData, PFN_cuLibraryLoadData_v12000) \
	MICRO_CALL(cuLibraryUnload, PFN_cuLibraryUnload_v12000) \
	MICRO_CALL(cuLibraryGetKernel, PFN_cuLibraryGetKernel_v12000) \
	MICRO_CALL(cuMemAlloc_v2, PFN_cuMemAlloc_v3020) \
	MICRO_CALL(cuMemFree_v2, PFN_cuMemFree_v3020) \
	MICRO_CALL(cuMemHostAlloc, PFN_cuMemHostAlloc_v2020) \
	MICRO_CALL(cuMemAllocManaged, PFN_cuMemAllocManaged_v6000) \
	MICRO_CALL(cuMemFreeHost, PFN_cuMemFreeHost_v2000) \
	MICRO_CALL(cuMemHostGetDevicePointer_v2, PFN_cuMemHostGetDevicePointer_v3020) \
	MICRO_CALL(cuMemcpyHtoD_v2, PFN_cuMemcpyHtoD_v3020) \
	MICRO_CALL(cuMemcpyDtoH_v2, PFN_cuMemcpyDtoH_v3020) \
	MICRO_CALL(cuMemcpyHtoDAsync_v2, PFN_cuMemcpyHtoDAsync_v3020) \
	MICRO_CALL(cuMemcpyDtoHAsync_v2_ptsz, PFN_cuMemcpyDtoHAsync_v7000_ptsz) \
	MICRO_CALL(cuMemsetD8_v2, PFN_cuMemsetD8_v3020) \
	MICRO_CALL(cuStreamCreate, PFN_cuStreamCreate_v2000) \
	MICRO_CALL(cuStreamDestroy_v2, PFN_cuStreamDestroy_v4000) \
	MICRO_CALL(cuStreamSynchronize, PFN_cuStreamSynchronize_v2000) \
	MICRO_CALL(cuStreamSynchronize_ptsz, PFN_cuStreamSynchronize_v7000_ptsz) \
	MICRO_CALL(cuStreamBeginCapture_v2, PFN_cuStreamBeginCapture_v10010) \
	MICRO_CALL(cuStreamEndCapture, PFN_cuStreamEndCapture_v10000) \
	MICRO_CALL(cuStreamBeginCaptureToGraph, PFN_cuStreamBeginCaptureToGraph_v12030) \
	MICRO_CALL(cuCtxCreate_v2, PFN_cuCtxCreate_v3020) \
	MICRO_CALL(cuCtxDestroy_v2, PFN_cuCtxDestroy_v4000) \
	MICRO_CALL(cuLaunchCooperativeKernel, PFN_cuLaunchCooperativeKernel_v9000) \
	MICRO_CALL(cuGraphAddNode_v2, PFN_cuGraphAddNode_v12030) \
	MICRO_CALL(cuGraphAddBatchMemOpNode, PFN_cuGraphAddBatchMemOpNode_v11070) \
	MICRO_CALL(cuLaunchKernel, PFN_cuLaunchKernel_v4000) \
	MICRO_CALL(cuLaunchKernel_ptsz, PFN_cuLaunchKernel_v7000_ptsz) \
	MICRO_CALL(cuLaunchKernelEx, PFN_cuLaunchKernelEx_v11060) \
	MICRO_CALL(cuLaunchHostFunc, PFN_cuLaunchHostFunc_v10000) \
	MICRO_CALL(cuGraphCreate, PFN_cuGraphCreate_v10000) \
	MICRO_CALL(cuGraphDestroy, PFN_cuGraphDestroy_v10000) \
	MICRO_CALL(cuGraphAddKernelNode_v2, PFN_cuGraphAddKernelNode_v12000) \
	MICRO_CALL(cuGraphAddMemsetNode, PFN_cuGraphAddMemsetNode_v10000) \
	MICRO_CALL(cuGraphInstantiateWithFlags, PFN_cuGraphInstantiateWithFlags_v11040) \
	MICRO_CALL(cuGraphExecKernelNodeSetParams_v2, PFN_cuGraphExecKernelNodeSetParams_v12000) \
	MICRO_CALL(cuGraphExecDestroy, PFN_cuGraphExecDestroy_v10000) \
	MICRO_CALL(cuGraphExecUpdate_v2, PFN_cuGraphExecUpdate_v12000) \
	MICRO_CALL(cuGraphAddChildGraphNode, PFN_cuGraphAddChildGraphNode_v10000) \
	MICRO_CALL(cuGraphNodeSetEnabled, PFN_cuGraphNodeSetEnabled_v11060) \
	MICRO_CALL(cuGraphClone, PFN_cuGraphClone_v10000) \
	MICRO_CALL(cuMemcpyDtoDAsync_v2, PFN_cuMemcpyDtoDAsync_v3020) \
	MICRO_CALL(cuMemsetD8Async, PFN_cuMemsetD8Async_v3020) \
	MICRO_CALL(cuGraphLaunch, PFN_cuGraphLaunch_v10000) \
	MICRO_CALL(cuGraphConditionalHandleCreate, PFN_cuGraphConditionalHandleCreate_v12030) \
	MICRO_CALL(cuGraphKernelNodeSetAttribute, PFN_cuGraphKernelNodeSetAttribute_v11000) \
	MICRO_CALL( \
		cuGraphExecChildGraphNodeSetParams, PFN_cuGraphExecChildGraphNodeSetParams_v11010) \
	MICRO_CALL(cuEventCreate, PFN_cuEventCreate_v2000) \
	MICRO_CALL(cuEventDestroy_v2, PFN_cuEventDestroy_v4000) \
	MICRO_CALL(cuMemAddressReserve, PFN_cuMemAddressReserve_v10020) \
	MICRO_CALL(cuMemAddressFree, PFN_cuMemAddressFree_v10020) \
	MICRO_CALL(cuMemCreate, PFN_cuMemCreate_v10020) \
	MICRO_CALL(cuMemRelease, PFN_cuMemRelease_v10020) \
	MICRO_CALL(cuMemMap, PFN_cuMemMap_v10020) \
	MICRO_CALL(cuMemUnmap, PFN_cuMemUnmap_v10020) \
	MICRO_CALL(cuMemSetAccess, PFN_cuMemSetAccess_v10020)

struct micro {
#define MICRO_CALL(symbol, type) type symbol;
	MICRO_CALLS
#undef MICRO_CALL
	CUdevice device;
	CUcontext context;
	CUmodule module; /* kernels.ptx */
};

extern struct micro cu;
extern const char micro_ptx[]; /* kernels.ptx, NUL-terminated */

/* Driver, device 0, its primary context, the module. Exits 77 with a line when there is none. */
void micro_start(void);
/* Releases them; the exit status of the program. */
int micro_end(void);

/* Prints the sentence and remembers a failure. */
void micro_check(bool holds, const char *sentence, ...) __attribute__((format(printf, 2, 3)));
/* A call that must succeed: else prints and exits 1. */
void micro_must(CUresult result, const char *call);
#define MUST(symbol, ...) micro_must(cu.symbol(__VA_ARGS__), #symbol)

CUfunction micro_kernel(const char *name);
/* A launch with enough threads for n elements on stream; params as for cuLaunchKernel. */
void micro_launch(CUfunction f, uint32_t n, CUstream stream, void **params);
#define PARAMS(...) ((void *[]){__VA_ARGS__})

CUdeviceptr micro_alloc(size_t size);
/* True if n words at address all equal value. Copies them to the host. */
bool micro_holds(CUdeviceptr address, uint32_t n, uint32_t value);

/* ---- the shim's view of this process, from its shared segment ---- */

/* True if the shim is loaded and active. */
bool micro_shimmed(void);
/* True if the shim recognises kernels, and so reads graphs when they are instantiated. */
bool micro_has_rules(void);

struct micro_state {
	bool found; /* the address is the base of a reservation */
	uint64_t backed, evicted;
	uint32_t reason; /* enum kv_static_reason */
	char by[128];
};
void micro_reservation(CUdeviceptr base, struct micro_state *ret_state);
/* Evictions of this process so far (pages). 0 without the shim. */
uint64_t micro_evictions(void);

/* Checks that the allocation is (or is not) static; nothing without the shim. */
void micro_expect_static(CUdeviceptr base, uint32_t reason, const char *by);
void micro_expect_elastic(CUdeviceptr base);

#endif
