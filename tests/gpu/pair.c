/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pair.c - one of two processes that together hold more than the device has.
 *
 * usage: pair PERCENT ROUNDS SEED
 *
 * Allocates PERCENT of the device's memory at once and fills it with a pattern of SEED. Then, as
 * often as ROUNDS says, reads a line from stdin and verifies everything. One JSON line after each
 * step: whoever runs two of these lets them take turns, so that each finds its memory taken by the
 * other. Without the shim the second one is refused by its allocation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define PIECE (8 * MIB) /* filled and verified at once */

static void pattern(uint32_t *words, uint64_t at, uint32_t seed)
{
	uint32_t x = (uint32_t)(at / PIECE) * 2654435761u + seed;

	for (size_t i = 0; i < PIECE / 4; i++) {
		x = x * 1664525u + 1013904223u;
		words[i] = x;
	}
}

/* Bytes that are not what was written. */
static uint64_t verify(
	CUdeviceptr base, uint64_t size, uint32_t *got, uint32_t *want, uint32_t seed)
{
	uint64_t wrong = 0;

	for (uint64_t at = 0; at < size; at += PIECE) {
		pattern(want, at, seed);
		GPU_MUST(cuMemcpyDtoH_v2, got, base + at, PIECE);
		for (size_t i = 0; memcmp(got, want, PIECE) && i < PIECE / 4; i++)
			wrong += got[i] != want[i] ? 4 : 0;
	}
	return wrong;
}

int main(int argc, char **argv)
{
	size_t free_bytes, total;
	uint64_t size, start;
	CUdeviceptr base;
	uint32_t seed;
	char line[16];
	void *got, *want;
	CUresult res;

	if (argc != 4) {
		fprintf(stderr, "usage: pair PERCENT ROUNDS SEED\n");
		return 2;
	}
	gpu_start();
	seed = (uint32_t)atoi(argv[3]);
	GPU_MUST(cuMemGetInfo_v2, &free_bytes, &total);
	size = total / 100 * (uint64_t)atoi(argv[1]) / PIECE * PIECE;
	GPU_MUST(cuMemHostAlloc, &got, PIECE, 0);
	GPU_MUST(cuMemHostAlloc, &want, PIECE, 0);
	res = gpu.cuMemAlloc_v2(&base, size);
	printf("{\"step\": \"allocate\", \"bytes\": %llu, \"result\": \"%s\"}\n",
		(unsigned long long)size, gpu_name_of(res));
	if (res != CUDA_SUCCESS)
		return 1;
	start = gpu_now();
	for (uint64_t at = 0; at < size; at += PIECE) {
		pattern(want, at, seed);
		GPU_MUST(cuMemcpyHtoD_v2, base + at, want, PIECE);
	}
	printf("{\"step\": \"fill\", \"ns\": %llu}\n", (unsigned long long)(gpu_now() - start));
	for (int i = 0; i < atoi(argv[2]) && fgets(line, sizeof(line), stdin); i++) {
		uint64_t wrong;

		start = gpu_now();
		wrong = verify(base, size, got, want, seed);
		printf("{\"step\": \"verify\", \"wrong_bytes\": %llu, \"ns\": %llu}\n",
			(unsigned long long)wrong, (unsigned long long)(gpu_now() - start));
		if (wrong)
			return 1;
	}
	GPU_MUST(cuMemFree_v2, base);
	GPU_MUST(cuMemFreeHost, got);
	GPU_MUST(cuMemFreeHost, want);
	return 0;
}
