/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - a small program that uses a GPU if there is one: what it prints must not depend on
 * whether the shim is there, whatever state that is in.
 *
 * usage: probe [wait]   "wait": with the memory allocated, prints "holding" and waits for a line
 */
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG (128ull << 20)
#define BYTES 4096

static void *driver;

static void check(CUresult result, const char *what)
{
	if (result != CUDA_SUCCESS) {
		printf("%s: %d\n", what, (int)result);
		exit(1);
	}
}

/* As a program does that was not linked with the driver. */
#define CALL(type, symbol, ...) \
	check(((CUresult(*) type)dlsym(driver, #symbol))(__VA_ARGS__), #symbol)

static void fill_and_compare(CUdeviceptr at)
{
	unsigned char there[BYTES], back[BYTES];
	unsigned differences = 0;

	for (int i = 0; i < BYTES; i++)
		there[i] = (unsigned char)(i * 7 + 1);
	CALL((CUdeviceptr, unsigned char, size_t), cuMemsetD8_v2, at, 0, BIG);
	CALL((CUdeviceptr, const void *, size_t), cuMemcpyHtoD_v2, at + 5000000, there, BYTES);
	CALL((void *, CUdeviceptr, size_t), cuMemcpyDtoH_v2, back, at + 5000000, BYTES);
	for (int i = 0; i < BYTES; i++)
		differences += back[i] != there[i];
	CALL((void *, CUdeviceptr, size_t), cuMemcpyDtoH_v2, back, at + 90000000, BYTES);
	for (int i = 0; i < BYTES; i++)
		differences += back[i] != 0;
	printf("differences: %u\n", differences);
}

int main(int argc, char **argv)
{
	CUdeviceptr at = 0;
	CUcontext context;
	CUdevice device;
	char line[16];

	driver = dlopen("libcuda.so.1", RTLD_NOW);
	if (!driver) {
		puts("no driver");
		return 0;
	}
	CALL((unsigned), cuInit, 0);
	CALL((CUdevice *, int), cuDeviceGet, &device, 0);
	CALL((CUcontext *, CUdevice), cuDevicePrimaryCtxRetain, &context, device);
	CALL((CUcontext), cuCtxSetCurrent, context);
	CALL((CUdeviceptr *, size_t), cuMemAlloc_v2, &at, BIG);
	fill_and_compare(at);
	if (argc > 1 && strcmp(argv[1], "wait") == 0) {
		puts("holding");
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return 3;
	}
	CALL((CUdeviceptr), cuMemFree_v2, at);
	CALL((CUdevice), cuDevicePrimaryCtxRelease_v2, device);
	puts("done");
	return 0;
}
