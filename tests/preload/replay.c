/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - asks cuGetProcAddress what NVIDIA's runtimes were seen to ask.
 *
 * usage: replay FILE. Each request goes through the shim and directly to the driver with the same
 * arguments. The shim must answer with its wrapper where it has one for the entry point that the
 * driver chose, and with the driver's pointer otherwise; result and status must be the driver's
 * own.
 */
#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "truth.h"

struct request {
	char name[128];
	int version;
	unsigned long long flags;
};

struct result {
	CUresult code;
	void *pointer;
	CUdriverProcAddressQueryResult status;
};

#define UNTOUCHED ((void *)(uintptr_t)0xfeedfeed)

static struct {
	PFN_cuGetProcAddress_v11030 v1;
	PFN_cuGetProcAddress_v12000 v2;
} shim, driver;

static int n_failed;

static struct result ask_v1(PFN_cuGetProcAddress_v11030 fn, const struct request *request)
{
	struct result result = {.pointer = UNTOUCHED};

	result.code = fn(request->name, &result.pointer, request->version, request->flags);
	return result;
}

static struct result ask_v2(
	PFN_cuGetProcAddress_v12000 fn, const struct request *request, bool with_status)
{
	struct result result = {.pointer = UNTOUCHED};

	result.code = fn(request->name, &result.pointer, request->version, request->flags,
		with_status ? &result.status : NULL);
	return result;
}

/* 1 if the shim's answer was a wrapper. */
static int compare(const struct request *request, int abi, struct result got, struct result real)
{
	void *expected = real.pointer == UNTOUCHED ? UNTOUCHED : truth_expected(real.pointer);

	if (got.code != real.code || got.status != real.status || got.pointer != expected) {
		printf("FAILED: v%d \"%s\" version %d flags %llu: code %d (driver %d), status %d "
		       "(%d), "
		       "pointer %p (expected %p, driver %p)\n",
			abi, request->name, request->version, request->flags, got.code, real.code,
			(int)got.status, (int)real.status, got.pointer, expected, real.pointer);
		n_failed++;
	}
	return expected != real.pointer;
}

static int replay(const struct request *request, int abi)
{
	if (abi == 1)
		return compare(request, 1, ask_v1(shim.v1, request), ask_v1(driver.v1, request));
	/* The runtimes pass no status; others do. */
	compare(request, 2, ask_v2(shim.v2, request, true), ask_v2(driver.v2, request, true));
	return compare(
		request, 2, ask_v2(shim.v2, request, false), ask_v2(driver.v2, request, false));
}

/* The way of a runtime: the library, one symbol, and from there on what that symbol hands out. */
static void open_driver(void)
{
	void *libcuda = dlopen("libcuda.so.1", RTLD_NOW);

	if (!libcuda) {
		printf("SKIP: no libcuda.so.1: %s\n", dlerror());
		exit(77);
	}
	driver.v1 = (PFN_cuGetProcAddress_v11030)truth_driver("cuGetProcAddress");
	driver.v2 = (PFN_cuGetProcAddress_v12000)truth_driver("cuGetProcAddress_v2");
	shim.v1 = (PFN_cuGetProcAddress_v11030)dlsym(libcuda, "cuGetProcAddress");
	shim.v2 = (PFN_cuGetProcAddress_v12000)dlsym(libcuda, "cuGetProcAddress_v2");
	if ((void *)shim.v1 != truth_shim("cuGetProcAddress") ||
		(void *)shim.v2 != truth_shim("cuGetProcAddress_v2")) {
		printf("FAILED: dlsym does not answer with the shim's cuGetProcAddress\n");
		exit(1);
	}
}

/* The self-look-up: version 11030 answers with the first ABI, 12000 with the second. */
static void self_look_up(void)
{
	struct request old = {.name = "cuGetProcAddress", .version = 11030};
	struct request new = {.name = "cuGetProcAddress", .version = 12000};

	if (ask_v2(shim.v2, &old, false).pointer != (void *)shim.v1 ||
		ask_v2(shim.v2, &new, false).pointer != (void *)shim.v2 ||
		ask_v1(shim.v1, &old).pointer != (void *)shim.v1) {
		printf("FAILED: cuGetProcAddress does not answer with the shim's own\n");
		n_failed++;
	}
}

/* What no runtime asks, and where drivers differ: nothing is emulated. */
static void odd_requests(void)
{
	static const struct request odd[] = {
		{"", 0, 0},
		{"", 12000, 2},
		{"cuNoSuchEntry", 12000, 0},
		{"cuMemAlloc_v2", 12000, 0},
		{"cuLaunchKernel_ptsz", 12000, 2},
		{"cuMemAlloc", 0, 0},
		{"cuMemAlloc", 2000, 0},
		{"cuMemAlloc", 3020, 0},
		{"cuMemAlloc", 99999, 0},
		{"cuMemAlloc", -1, 0},
		{"cuMemcpyAsync", 4000, 1},
		{"cuMemcpyAsync", 4000, 2},
		{"cuMemcpyAsync", 7000, 2},
		{"cuMemcpyAsync", 7000, 3},
		{"cuMemcpyAsync", 7000, 4},
		{"cuStreamBeginCapture", 10000, 0},
		{"cuStreamBeginCapture", 10010, 2},
	};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		replay(&odd[i], 1);
		replay(&odd[i], 2);
	}
}

int main(int argc, char **argv)
{
	int n_asked[3] = {0}, n_wrapped[3] = {0};
	char line[256];
	FILE *file;

	truth_require_shim();
	file = argc > 1 ? fopen(argv[1], "r") : NULL;
	if (!file) {
		fprintf(stderr, "usage: replay FILE\n");
		return 2;
	}
	open_driver();
	self_look_up();
	while (fgets(line, sizeof(line), file)) {
		struct request request;
		int times[3];

		if (line[0] == '#' ||
			sscanf(line, "%127s %d %llu %d %d %d", request.name, &request.version,
				&request.flags, &times[0], &times[1], &times[2]) != 6)
			continue;
		if (!strcmp(request.name, "\"\""))
			request.name[0] = '\0';
		for (int runtime = 0; runtime < 3; runtime++) {
			for (int n = 0; n < times[runtime]; n++) {
				n_asked[runtime]++;
				n_wrapped[runtime] += replay(&request, runtime == 0 ? 1 : 2);
			}
		}
	}
	fclose(file);
	odd_requests();
	for (int runtime = 0; runtime < 3; runtime++) {
		static const char *const names[] = {"11.8", "12.4", "13.0"};

		printf("runtime %s: %d requests, %d answered with a wrapper\n", names[runtime],
			n_asked[runtime], n_wrapped[runtime]);
		n_failed += n_asked[runtime] == 0 || n_wrapped[runtime] == 0;
	}
	return n_failed != 0;
}
