/* SPDX-License-Identifier: Apache-2.0 */
/*
 * micro.c - see micro.h.
 */
#include "tests/micro/micro.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/micro/state.h"

struct micro cu;

static int failures;

static void skip(const char *why)
{
	printf("SKIP: %s\n", why);
	exit(77);
}

void micro_must(CUresult result, const char *call)
{
	if (result == CUDA_SUCCESS)
		return;
	printf("FAILED: %s returned %d\n", call, result);
	exit(1);
}

void micro_check(bool holds, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	printf("%s: ", holds ? "ok" : "FAILED");
	vprintf(sentence, args);
	printf("\n");
	va_end(args);
	failures += !holds;
}

static void find_calls(void)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);

	if (!driver)
		skip("there is no libcuda.so.1");
#define MICRO_CALL(symbol, type) \
	cu.symbol = (type)dlsym(driver, #symbol); \
	if (!cu.symbol) \
		skip("the driver has no " #symbol);
	MICRO_CALLS
#undef MICRO_CALL
}

void micro_start(void)
{
	int n = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	find_calls();
	if (cu.cuInit(0) != CUDA_SUCCESS || cu.cuDeviceGetCount(&n) != CUDA_SUCCESS || !n)
		skip("there is no device");
	MUST(cuDeviceGet, &cu.device, 0);
	MUST(cuDevicePrimaryCtxRetain, &cu.context, cu.device);
	MUST(cuCtxSetCurrent, cu.context);
	MUST(cuModuleLoadData, &cu.module, micro_ptx);
	/* A test of the shim must not pass because the shim was not there. */
	if (getenv("MICRO_SHIMMED"))
		micro_check(state_find_self(), "the shim is active in this process");
}

int micro_end(void)
{
	MUST(cuModuleUnload, cu.module);
	MUST(cuDevicePrimaryCtxRelease_v2, cu.device);
	return failures ? 1 : 0;
}

CUfunction micro_kernel(const char *name)
{
	CUfunction f;

	micro_must(cu.cuModuleGetFunction(&f, cu.module, name), name);
	return f;
}

void micro_launch(CUfunction f, uint32_t n, CUstream stream, void **params)
{
	MUST(cuLaunchKernel, f, n / 128 + 1, 1, 1, 128, 1, 1, 0, stream, params, NULL);
}

CUdeviceptr micro_alloc(size_t size)
{
	CUdeviceptr address;

	MUST(cuMemAlloc_v2, &address, size);
	return address;
}

bool micro_holds(CUdeviceptr address, uint32_t n, uint32_t value)
{
	uint32_t *words = malloc(n * sizeof(*words));
	uint32_t same = 0;

	if (!words)
		return false;
	MUST(cuMemcpyDtoH_v2, words, address, n * sizeof(*words));
	while (same < n && words[same] == value)
		same++;
	if (same < n)
		printf("word %u is %#x, not %#x\n", same, words[same], value);
	free(words);
	return same == n;
}

bool micro_shimmed(void)
{
	return getenv("MICRO_SHIMMED") && state_find_self();
}

bool micro_has_rules(void)
{
	const char *rules = getenv("KVSHIM_RULES");

	/* they are on unless somebody says otherwise */
	return micro_shimmed() && (!rules || strcmp(rules, "off") != 0);
}

void micro_expect_static(CUdeviceptr base, uint32_t reason, const char *by)
{
	struct micro_state state;

	if (!micro_shimmed())
		return;
	micro_reservation(base, &state);
	micro_check(state.found && state.reason == reason && (!by || !strcmp(state.by, by)),
		"the reservation is static (reason %u by %s; expected %u by %s)", state.reason,
		state.by, reason, by ? by : "any");
}

void micro_expect_elastic(CUdeviceptr base)
{
	struct micro_state state;

	if (!micro_shimmed())
		return;
	micro_reservation(base, &state);
	micro_check(state.found && !state.reason, "the reservation is not static (reason %u by %s)",
		state.reason, state.by);
}
