/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c - see driver.h. */
#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct gpu gpu;

static void skip(const char *why)
{
	printf("SKIP: %s\n", why);
	exit(77);
}

const char *gpu_name_of(CUresult result)
{
	const char *name = NULL;

	if (gpu.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
		return "unknown error";
	return name;
}

void gpu_must(CUresult result, const char *call)
{
	if (result == CUDA_SUCCESS)
		return;
	printf("FAILED: %s returned %s\n", call, gpu_name_of(result));
	exit(1);
}

void gpu_start(void)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
	CUresult res;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!driver)
		skip("there is no libcuda.so.1");
#define GPU_CALL(symbol, type) \
	gpu.symbol = (type)dlsym(driver, #symbol); \
	if (!gpu.symbol) \
		skip("the driver has no " #symbol);
	GPU_CALLS
#undef GPU_CALL
	res = gpu.cuInit(0);
	if (res != CUDA_SUCCESS || gpu.cuDeviceGet(&gpu.device, 0) != CUDA_SUCCESS)
		skip("there is no device");
	GPU_MUST(cuDevicePrimaryCtxRetain, &gpu.context, gpu.device);
	GPU_MUST(cuCtxSetCurrent, gpu.context);
	gpu.prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
	gpu.prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
	gpu.prop.location.id = gpu.device;
	gpu.access.location = gpu.prop.location;
	gpu.access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	GPU_MUST(cuMemGetAllocationGranularity, &gpu.granularity, &gpu.prop,
		CU_MEM_ALLOC_GRANULARITY_MINIMUM);
}

uint64_t gpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void gpu_print_times(const char *name, uint64_t *ns, size_t n)
{
	if (!n)
		return;
	qsort(ns, n, sizeof(*ns), ascending);
	printf("\"%s\": {\"n\": %zu, \"min_ns\": %llu, \"p50_ns\": %llu, \"p99_ns\": %llu, "
	       "\"max_ns\": %llu}",
		name, n, (unsigned long long)ns[0], (unsigned long long)ns[n / 2],
		(unsigned long long)ns[n * 99 / 100], (unsigned long long)ns[n - 1]);
}
