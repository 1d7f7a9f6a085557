/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - what the memory programs share: checks that go on, a device, and what the shim says of
 * this process.
 */
#ifndef MEMORY_CHECK_H
#define MEMORY_CHECK_H

#include <cuda.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/micro/state.h"

#define MIB ((size_t)1 << 20)
#define PAGE (2 * MIB)
#define BIG (16 * MIB) /* becomes a reservation: the tests set the floor to 4 MiB */

static int failures;

static inline bool check_at(bool ok, const char *text, int line)
{
	if (!ok) {
		printf("FAILED: line %d: %s\n", line, text);
		failures++;
	}
	return ok;
}
#define CHECK(expression) check_at(expression, #expression, __LINE__)

static inline bool check_result(CUresult got, CUresult wanted, const char *text, int line)
{
	if (got != wanted) {
		printf("FAILED: line %d: %s: %d, not %d\n", line, text, got, wanted);
		failures++;
	}
	return got == wanted;
}
#define OK(call) check_result(call, CUDA_SUCCESS, #call, __LINE__)
#define ERROR_IS(wanted, call) check_result(call, wanted, #call, __LINE__)

/* The test's name is a sentence. */
static inline void says(const char *sentence, void (*test)(void))
{
	int before = failures;

	test();
	printf("%s: %s\n", failures == before ? "ok" : "not ok", sentence);
}

/* The software GPU reports what breaks the driver's rules: for tests that do so on purpose. */
static inline void forget_reports(void)
{
	void (*clear)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "simgpu_report_clear");

	if (clear)
		clear();
}

/* The first context, current. Exits if there is no device. */
static inline CUcontext start(void)
{
	CUdevice device;
	CUcontext ctx;

	if (cuInit(0) != CUDA_SUCCESS || cuDeviceGet(&device, 0) != CUDA_SUCCESS ||
		cuDevicePrimaryCtxRetain(&ctx, device) != CUDA_SUCCESS ||
		cuCtxSetCurrent(ctx) != CUDA_SUCCESS) {
		printf("SKIP: no device\n");
		exit(77);
	}
	return ctx;
}

/* Device bytes behind the reservations of this process now. */
static inline uint64_t backed(void)
{
	struct kv_process_stats stats;

	return state_find_self() && state_process(&stats) ? stats.backed : UINT64_MAX;
}

static inline CUdeviceptr reserve(size_t size)
{
	CUdeviceptr addr = 0;

	OK(cuMemAlloc(&addr, size));
	return addr;
}

/* True if all n bytes are value. */
static inline bool all(const uint8_t *bytes, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != value)
			return false;
	}
	return true;
}

#endif
