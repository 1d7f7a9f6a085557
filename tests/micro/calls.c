/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - one class of intercepted call, again and again, for scripts/bench overhead and scale.
 *
 *   micro_calls CLASS CALLS RESERVATIONS [PAGES]
 *
 * There are RESERVATIONS of 4 MiB; the calls go to the last of them or to native memory, as the
 * class says. PAGES (of 2 MiB, 2 unless given): the size of what "back" allocates, fills and frees.
 * Prints the nanoseconds per call, best of five rounds. The calls of these rounds, and nothing
 * else, are made by micro_measured(), so that callgrind can count while that runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/micro/micro.h"

#define SIZE (4 * MIB)
#define MAX_RESERVATIONS 4096u

static CUdeviceptr r[MAX_RESERVATIONS], native, used;
static uint8_t host[4096];
static CUgraphExec exec;
static CUfunction eight;
static size_t size = SIZE; /* of what back() allocates */

static void launch(void)
{
	CUdeviceptr args[8];
	void *params[8];

	for (int i = 0; i < 8; i++) {
		args[i] = native + 64 * (unsigned)i;
		params[i] = &args[i];
	}
	MUST(cuLaunchKernel, eight, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
}

static void graph_launch(void)
{
	MUST(cuGraphLaunch, exec, NULL);
}

static void copy_native(void)
{
	MUST(cuMemcpyHtoDAsync_v2, native, host, 64, NULL);
}

static void copy_in(void)
{
	MUST(cuMemcpyHtoDAsync_v2, used, host, 64, NULL);
}

static void copy_out(void)
{
	MUST(cuMemcpyDtoH_v2, host, used, 64);
}

static void set(void)
{
	MUST(cuMemsetD8_v2, used, 1, 64);
}

static void allocate_small(void)
{
	CUdeviceptr address;

	MUST(cuMemAlloc_v2, &address, 4096);
	MUST(cuMemFree_v2, address);
}

static void allocate_big(void)
{
	CUdeviceptr address;

	MUST(cuMemAlloc_v2, &address, SIZE);
	MUST(cuMemFree_v2, address);
}

/* Pages that had no memory get some, and lose it with the allocation. */
static void back(void)
{
	CUdeviceptr address;

	MUST(cuMemAlloc_v2, &address, size);
	MUST(cuMemsetD8_v2, address, 1, size);
	MUST(cuMemFree_v2, address);
}

static const struct {
	const char *name;
	void (*call)(void);
} classes[] = {
	{"launch", launch},
	{"graph-launch", graph_launch},
	{"copy-native", copy_native},
	{"copy-in", copy_in},
	{"copy-out", copy_out},
	{"set", set},
	{"allocate-small", allocate_small},
	{"allocate-big", allocate_big},
	{"back", back},
};

/* A graph of twenty launches that name no reservation. */
static void make_graph(void)
{
	CUstream stream;
	CUgraph graph;

	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	MUST(cuStreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
	for (int i = 0; i < 20; i++) {
		CUdeviceptr args[8];
		void *params[8];

		for (int j = 0; j < 8; j++) {
			args[j] = native;
			params[j] = &args[j];
		}
		MUST(cuLaunchKernel, eight, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
	}
	MUST(cuStreamEndCapture, stream, &graph);
	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	MUST(cuGraphDestroy, graph);
	MUST(cuStreamDestroy_v2, stream);
}

void micro_measured(void (*call)(void), unsigned long n);

__attribute__((noinline)) void micro_measured(void (*call)(void), unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		call();
}

static double round_of(void (*call)(void), unsigned long n)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	micro_measured(call, n);
	clock_gettime(CLOCK_MONOTONIC, &end);
	MUST(cuCtxSynchronize);
	return (end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
}

int main(int argc, char **argv)
{
	unsigned long calls = argc >= 4 ? strtoul(argv[2], NULL, 0) : 0;
	unsigned long n = argc >= 4 ? strtoul(argv[3], NULL, 0) : 0;
	void (*call)(void) = NULL;
	double best = 0;

	for (size_t i = 0; argc >= 4 && i < sizeof(classes) / sizeof(classes[0]); i++)
		if (!strcmp(argv[1], classes[i].name))
			call = classes[i].call;
	if (argc > 4)
		size = strtoul(argv[4], NULL, 0) * 2 * MIB;
	if (!call || !calls || n > MAX_RESERVATIONS || !size) {
		fprintf(stderr, "usage: micro_calls CLASS CALLS RESERVATIONS [PAGES]\n");
		return 2;
	}
	micro_start();
	eight = micro_kernel("micro_eight");
	native = micro_alloc(4096);
	for (unsigned long i = 0; i < n; i++)
		r[i] = micro_alloc(SIZE);
	used = n ? r[n - 1] : native;
	if (call == graph_launch)
		make_graph();
	call();
	MUST(cuCtxSynchronize);
	for (int round = 0; round < 5; round++) {
		double ns = round_of(call, calls) / (double)calls;

		if (!round || ns < best)
			best = ns;
	}
	printf("%.1f\n", best);
	if (exec)
		MUST(cuGraphExecDestroy, exec);
	for (unsigned long i = 0; i < n; i++)
		MUST(cuMemFree_v2, r[i]);
	MUST(cuMemFree_v2, native);
	return micro_end();
}
