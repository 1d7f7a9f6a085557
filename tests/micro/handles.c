/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handles.c - function handles that are used again for other kernels after their module is gone.
 */
#include <stdlib.h>
#include <string.h>

#include "core/stats.h"
#include "tests/micro/micro.h"

#define SIZE (16 * MIB)
#define ROUNDS 24u
#define N 100u

/* An image in memory that does not outlive the load, as compilers at run time have it. */
static const char *temporary_image(void)
{
	char *image = strdup(micro_ptx);

	if (!image)
		exit(1);
	return image;
}

static void scribble(const char *image)
{
	memset((char *)(uintptr_t)image, '#', strlen(image));
	free((char *)(uintptr_t)image);
}

/* Rounds take turns: a kernel without parameters, then one with an address, maybe under the same
 * handle. */
static uint32_t modules(CUdeviceptr r)
{
	uint32_t reused = 0, n = N;
	const void *last = NULL;

	for (uint32_t i = 1; i <= ROUNDS; i++) {
		const char *image = temporary_image();
		CUmodule module;
		CUfunction f;

		MUST(cuModuleLoadData, &module, image);
		scribble(image);
		MUST(cuModuleGetFunction, &f, module, i % 2 ? "micro_nothing" : "micro_fill");
		reused += f == last;
		last = f;
		micro_launch(f, N, NULL, i % 2 ? NULL : PARAMS(&r, &n, &i));
		MUST(cuCtxSynchronize);
		MUST(cuModuleUnload, module);
	}
	return reused;
}

static uint32_t libraries(CUdeviceptr r)
{
	uint32_t reused = 0, n = N;
	const void *last = NULL;

	for (uint32_t i = 1; i <= ROUNDS; i++) {
		const char *image = temporary_image();
		CUlibrary library;
		CUkernel k;

		MUST(cuLibraryLoadData, &library, image, NULL, NULL, 0, NULL, NULL, 0);
		MUST(cuLibraryGetKernel, &k, library, i % 2 ? "micro_eight" : "micro_fill");
		reused += k == last;
		last = k;
		if (i % 2) {
			uint64_t zero = 0;

			micro_launch((CUfunction)k, N, NULL,
				PARAMS(&zero, &zero, &zero, &zero, &zero, &zero, &zero, &zero));
		} else {
			micro_launch((CUfunction)k, N, NULL, PARAMS(&r, &n, &i));
		}
		MUST(cuCtxSynchronize);
		MUST(cuLibraryUnload, library);
		scribble(image);
	}
	return reused;
}

static void check_round(uint32_t (*round)(CUdeviceptr), const char *what)
{
	CUdeviceptr r = micro_alloc(SIZE);
	uint32_t reused = round(r);

	micro_check(micro_holds(r, N, ROUNDS),
		"%u %s loaded and unloaded, %u times the handle was that of the one before", ROUNDS,
		what, reused);
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_fill");
	MUST(cuMemFree_v2, r);
}

int main(void)
{
	micro_start();
	check_round(modules, "modules");
	check_round(libraries, "libraries");
	return micro_end();
}
