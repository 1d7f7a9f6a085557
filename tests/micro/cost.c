/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cost.c - launches that need nothing done, for launch-cost to count.
 *
 *   micro_cost LAUNCHES RESERVATIONS [hit]
 *
 * The kernel takes eight addresses of native memory; with "hit" all eight are of reservations that
 * are static and whole, as compute buffers are. Prints the nanoseconds per launch, best of five
 * rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/micro/micro.h"

#define SIZE (4 * MIB)
#define MAX_RESERVATIONS 64u

static double launch_many(CUfunction f, void **params, unsigned long n)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long i = 0; i < n; i++)
		MUST(cuLaunchKernel, f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
	clock_gettime(CLOCK_MONOTONIC, &end);
	MUST(cuCtxSynchronize);
	return (end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
}

int main(int argc, char **argv)
{
	unsigned long launches = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000;
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	bool hit = argc > 3 && !strcmp(argv[3], "hit");
	CUdeviceptr r[MAX_RESERVATIONS], args[8], native;
	void *params[8];
	double best = 0;
	CUfunction f;

	micro_start();
	if (n > MAX_RESERVATIONS || (hit && n < 8))
		return 2;
	f = micro_kernel("micro_eight");
	native = micro_alloc(4096);
	for (unsigned long i = 0; i < n; i++)
		r[i] = micro_alloc(SIZE);
	for (int i = 0; i < 8; i++) {
		args[i] = hit ? r[i] : native + 64 * i;
		params[i] = &args[i];
	}
	launch_many(f, params, 1); /* finds out about the kernel; makes what is hit whole */
	for (int round = 0; round < 5 && launches; round++) {
		double ns = launch_many(f, params, launches) / (double)launches;

		if (!round || ns < best)
			best = ns;
	}
	printf("%lu launches with %lu reservations%s: %.1f ns each\n", launches, n,
		hit ? ", eight of them hit" : "", best);
	for (unsigned long i = 0; i < n; i++)
		MUST(cuMemFree_v2, r[i]);
	MUST(cuMemFree_v2, native);
	return micro_end();
}
