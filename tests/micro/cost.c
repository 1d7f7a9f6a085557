/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cost.c - launches that need nothing done, for launch-cost to count.
 *
 *   micro_cost LAUNCHES RESERVATIONS [hit | upload | row | graph PLANES [ARRAYS [GEOMETRIES]]]
 * [each]
 *
 * The kernel takes eight addresses of native memory; with "hit" all eight are of reservations that
 * are static and whole, as compute buffers are. The others are for the rules of micro.rules:
 * "upload" uploads an index array each time; "row" does, and launches a recognised kernel that
 * writes one row of a cache, always in the same page; "graph" does, and launches a graph that
 * writes a row of each of PLANES planes, with four launches of the kernel of eight addresses for
 * each; the planes take turns in ARRAYS index arrays, and in rows of GEOMETRIES lengths. Prints the
 * nanoseconds per launch, best of five rounds. With "each" there is one round, and micro_mark() is
 * called before each launch and after it, for callgrind to divide what it counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/micro/micro.h"

#define SIZE \
	(16 * MIB) /* as the least that becomes a reservation by default: no grain is shared \
		    */
#define MAX_RESERVATIONS 64u
#define PLANE (4 * MIB)
#define MAX_PLANES 128u
#define ROW_WORDS 16u
#define ARRAY 4096u /* bytes between two index arrays */
#define MAX_ARRAYS 16u

/* What one step does. */
enum mode { EIGHT, UPLOAD, ROW, GRAPH };

static CUdeviceptr cache, indices;
static CUgraphExec exec;
static CUfunction rows;
static unsigned long arrays = 1, geometries = 1;

/* callgrind writes down what it has counted when this is called, and starts at zero. */
void micro_mark(void);
__attribute__((noinline)) void micro_mark(void)
{
	__asm__ volatile("" ::: "memory");
}

static void write_row(unsigned long i, CUstream stream)
{
	CUdeviceptr plane = cache + i * PLANE, index = indices + i % arrays * ARRAY;
	uint32_t n = 1, words = ROW_WORDS * (1 + (uint32_t)(i / arrays % geometries)), value = 5;
	uint64_t bytes = PLANE;

	MUST(cuLaunchKernel, rows, 1, 1, 1, 32, 1, 1, 0, stream,
		PARAMS(&plane, &index, &n, &words, &value, &bytes), NULL);
}

static void upload(enum mode mode, uint64_t row)
{
	for (unsigned long i = 0; mode != EIGHT && i < arrays; i++)
		MUST(cuMemcpyHtoD_v2, indices + i * ARRAY, &row, sizeof(row));
}

static void step(enum mode mode, CUfunction f, void **params)
{
	if (mode == EIGHT)
		MUST(cuLaunchKernel, f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
	else if (mode == ROW)
		write_row(0, NULL);
	else if (mode == GRAPH)
		MUST(cuGraphLaunch, exec, NULL);
}

static double launch_many(enum mode mode, CUfunction f, void **params, unsigned long n)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long i = 0; i < n; i++) {
		upload(mode, i % 1024);
		step(mode, f, params);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	MUST(cuCtxSynchronize);
	return (end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
}

static void launch_each(enum mode mode, CUfunction f, void **params, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		upload(mode, i % 1024);
		micro_mark();
		step(mode, f, params);
		micro_mark();
	}
}

static void make_graph(unsigned long planes, CUfunction f, void **params)
{
	CUstream stream;
	CUgraph graph;

	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	MUST(cuStreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
	for (unsigned long i = 0; i < planes; i++) {
		write_row(i, stream);
		for (int k = 0; k < 4; k++)
			MUST(cuLaunchKernel, f, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
	}
	MUST(cuStreamEndCapture, stream, &graph);
	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	MUST(cuGraphDestroy, graph);
	MUST(cuStreamDestroy_v2, stream);
}

static enum mode mode_of(const char *name)
{
	return !strcmp(name, "upload")  ? UPLOAD
	       : !strcmp(name, "row")   ? ROW
	       : !strcmp(name, "graph") ? GRAPH
					: EIGHT;
}

/* Returns the nanoseconds per launch. */
static double measure(enum mode mode, CUfunction f, void **params, unsigned long n)
{
	double best = 0;

	for (int round = 0; round < 5 && n; round++) {
		double ns = launch_many(mode, f, params, n) / (double)n;

		if (!round || ns < best)
			best = ns;
	}
	return best;
}

int main(int argc, char **argv)
{
	bool each = argc > 1 && !strcmp(argv[argc - 1], "each");
	int n_args = argc - each;
	unsigned long launches = n_args > 1 ? strtoul(argv[1], NULL, 0) : 100000;
	unsigned long n = n_args > 2 ? strtoul(argv[2], NULL, 0) : 0;
	bool hit = n_args > 3 && !strcmp(argv[3], "hit");
	enum mode mode = n_args > 3 ? mode_of(argv[3]) : EIGHT;
	unsigned long planes = n_args > 4 ? strtoul(argv[4], NULL, 0) : 1;
	CUdeviceptr r[MAX_RESERVATIONS], args[8], native;
	void *params[8];
	double best = 0;
	CUfunction f;

	arrays = n_args > 5 ? strtoul(argv[5], NULL, 0) : 1;
	geometries = n_args > 6 ? strtoul(argv[6], NULL, 0) : 1;
	micro_start();
	if (n > MAX_RESERVATIONS || (hit && n < 8) || !planes || planes > MAX_PLANES || !arrays ||
		arrays > MAX_ARRAYS || !geometries)
		return 2;
	f = micro_kernel("micro_eight");
	native = micro_alloc(4096);
	for (unsigned long i = 0; i < n; i++)
		r[i] = micro_alloc(SIZE);
	for (int i = 0; i < 8; i++) {
		args[i] = hit ? r[i] : native + 64 * i;
		params[i] = &args[i];
	}
	if (mode != EIGHT) {
		rows = micro_kernel("_Z10micro_rowsPjPKljjjm");
		cache = micro_alloc(planes * PLANE);
		indices = micro_alloc(MAX_ARRAYS * ARRAY);
		make_graph(planes, f, params);
	}
	launch_many(mode, f, params, 3); /* finds out about the kernel; makes what is hit whole */
	if (each)
		launch_each(mode, f, params, launches);
	else
		best = measure(mode, f, params, launches);
	printf("%lu launches with %lu reservations%s: %.1f ns each\n", launches, n,
		hit ? ", eight of them hit" : "", best);
	for (unsigned long i = 0; i < n; i++)
		MUST(cuMemFree_v2, r[i]);
	if (mode != EIGHT) {
		MUST(cuGraphExecDestroy, exec);
		MUST(cuMemFree_v2, cache);
		MUST(cuMemFree_v2, indices);
	}
	MUST(cuMemFree_v2, native);
	return micro_end();
}
