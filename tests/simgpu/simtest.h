/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simtest.h - what the tests of the software GPU share.
 *
 * Criterion runs each test in a process of its own, so each starts with a fresh driver and may set
 * the SIMGPU_ environment before the first call. The whole file is run in synchronous and in
 * asynchronous mode.
 */
#ifndef SIMTEST_H
#define SIMTEST_H

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "simgpu.h"

#define MIB (1ull << 20)
#define PAGE (2 * MIB)

#define ok(call) cr_assert_eq(call, CUDA_SUCCESS, #call " failed")
#define fails(code, call) cr_assert_eq(call, code, #call " did not fail with " #code)
/* Runs the call and expects exactly n more reports of a kind. */
#define reports(kind, n, call) \
	do { \
		uint64_t reports_before = simgpu_report_count(kind); \
		call; \
		cr_assert_eq(simgpu_report_count(kind) - reports_before, (uint64_t)(n), \
			"not " #n " more of " #kind " after " #call); \
	} while (0)

enum { VIOLATION, FAULT, MISMATCH, LEAK };

static const char micro_ptx[] =
	".version 7.0\n.target sm_75\n.address_size 64\n"
	".visible .entry micro_nothing()\n{\nret;\n}\n"
	".visible .entry micro_fill(.param .u64 dst, .param .u32 n, .param .u32 "
	"value)\n{\nret;\n}\n"
	".visible .entry micro_copy(.param .u64 dst, .param .u64 src, .param .u32 "
	"n)\n{\nret;\n}\n";

static inline CUcontext start(void)
{
	CUcontext context;

	ok(cuInit(0));
	ok(cuDevicePrimaryCtxRetain(&context, 0));
	ok(cuCtxSetCurrent(context));
	return context;
}

static inline CUfunction kernel(const char *name)
{
	static CUmodule module;
	CUfunction function;

	if (!module)
		ok(cuModuleLoadData(&module, micro_ptx));
	ok(cuModuleGetFunction(&function, module, name));
	return function;
}

static inline CUresult launch_fill(CUdeviceptr dst, uint32_t n, uint32_t value, CUstream stream)
{
	void *params[] = {&dst, &n, &value};

	return cuLaunchKernel(kernel("micro_fill"), 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
}

static inline CUresult launch_copy(CUdeviceptr dst, CUdeviceptr src, uint32_t n, CUstream stream)
{
	void *params[] = {&dst, &src, &n};

	return cuLaunchKernel(kernel("micro_copy"), 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
}

static inline CUmemGenericAllocationHandle create_on(int device, size_t size)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device}};
	CUmemGenericAllocationHandle handle;

	ok(cuMemCreate(&handle, size, &prop, 0));
	return handle;
}

static inline CUresult allow(CUdeviceptr addr, size_t size, int device)
{
	CUmemAccessDesc desc = {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

	return cuMemSetAccess(addr, size, &desc, 1);
}

/* A reservation of n pages, the first mapped ones backed and accessible to device 0. */
static inline CUdeviceptr reserve(size_t n, size_t mapped)
{
	CUdeviceptr addr;

	ok(cuMemAddressReserve(&addr, n * PAGE, 0, 0, 0));
	for (size_t i = 0; i < mapped; i++) {
		CUmemGenericAllocationHandle handle = create_on(0, PAGE);
		ok(cuMemMap(addr + i * PAGE, PAGE, 0, handle, 0));
		ok(cuMemRelease(handle));
	}
	if (mapped)
		ok(allow(addr, mapped * PAGE, 0));
	return addr;
}

/* From now on this thread's calls are a manager's, or the program's again. */
static inline void manage(int on)
{
	CUstreamCaptureMode mode =
		on ? CU_STREAM_CAPTURE_MODE_RELAXED : CU_STREAM_CAPTURE_MODE_GLOBAL;

	ok(cuThreadExchangeStreamCaptureMode(&mode));
}

static inline uint8_t byte_at(CUdeviceptr addr)
{
	uint8_t byte;

	ok(cuMemcpyDtoH_v2(&byte, addr, 1));
	return byte;
}

#endif
