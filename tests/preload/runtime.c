/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.c - a program of NVIDIA's runtime, linked with the shared one or the static one: says
 * what it is told. Without a device that is errors; they must be the same with the shim.
 */
#include <stddef.h>
#include <stdio.h>

/* Of cuda_runtime_api.h, which wants a C++ compiler for nothing that is needed here. */
int cudaGetDeviceCount(int *count);
int cudaMalloc(void **pointer, size_t size);
int cudaFree(void *pointer);
int cudaDriverGetVersion(int *version);

int main(void)
{
	int count = -1, version = -1;
	void *pointer = NULL;

	printf("cudaDriverGetVersion %d", cudaDriverGetVersion(&version));
	printf(" %d\n", version);
	printf("cudaGetDeviceCount %d", cudaGetDeviceCount(&count));
	printf(" %d\n", count);
	printf("cudaMalloc %d\n", cudaMalloc(&pointer, 1 << 20));
	printf("cudaFree %d\n", cudaFree(pointer));
	return 0;
}
