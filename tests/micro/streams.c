/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.c - two streams, and the default streams of two threads, each with memory of its own.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/micro/micro.h"

#define SIZE (8 * MIB)
#define ROUNDS 20u
#define N 2000u

static CUdeviceptr place(CUdeviceptr r, uint32_t round)
{
	return r + (uint64_t)(round % 16) * 512 * 1024;
}

static void two_streams(void)
{
	CUdeviceptr r[2] = {micro_alloc(SIZE), micro_alloc(SIZE)};
	CUfunction fill = micro_kernel("micro_fill"), copy = micro_kernel("micro_copy");
	uint32_t n = N;
	CUstream s[2];

	for (int i = 0; i < 2; i++)
		MUST(cuStreamCreate, &s[i], CU_STREAM_NON_BLOCKING);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < 2; i++) {
			CUdeviceptr dst = place(r[i], round),
				    next = place(r[i], round) + 256 * 1024;
			uint32_t value = 10 * round + i;

			micro_launch(fill, N, s[i], PARAMS(&dst, &n, &value));
			micro_launch(copy, N, s[i], PARAMS(&next, &dst, &n));
		}
	}
	for (uint32_t i = 0; i < 2; i++) {
		bool good = true;

		MUST(cuStreamSynchronize, s[i]);
		for (uint32_t round = ROUNDS - 16; round < ROUNDS; round++)
			good &= micro_holds(place(r[i], round) + 256 * 1024, N, 10 * round + i);
		micro_check(good, "stream %u: %u fills and copies", i, ROUNDS);
		MUST(cuStreamDestroy_v2, s[i]);
		MUST(cuMemFree_v2, r[i]);
	}
}

struct worker {
	pthread_t thread;
	CUdeviceptr r;
	uint32_t number;
	bool good;
};

/* Everything on the calling thread's own default stream. */
static void *work(void *arg)
{
	uint32_t *words = malloc(N * 4), n = N;
	struct worker *w = arg;
	CUfunction fill;

	MUST(cuCtxSetCurrent, cu.context);
	fill = micro_kernel("micro_fill");
	w->good = words;
	for (uint32_t round = 0; words && round < ROUNDS; round++) {
		CUdeviceptr dst = place(w->r, round);
		uint32_t value = 100 * round + w->number;

		MUST(cuLaunchKernel_ptsz, fill, N / 128 + 1, 1, 1, 128, 1, 1, 0, NULL,
			PARAMS(&dst, &n, &value), NULL);
		MUST(cuMemcpyDtoHAsync_v2_ptsz, words, dst, N * 4, NULL);
		MUST(cuStreamSynchronize_ptsz, NULL);
		for (uint32_t i = 0; i < N; i++)
			w->good &= words[i] == value;
	}
	free(words);
	return NULL;
}

static void two_threads(void)
{
	struct worker w[2] = {{.number = 0}, {.number = 1}};

	for (int i = 0; i < 2; i++) {
		w[i].r = micro_alloc(SIZE);
		if (pthread_create(&w[i].thread, NULL, work, &w[i]))
			exit(1);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(w[i].thread, NULL);
		micro_check(w[i].good, "thread %d: %u launches on its default stream", i, ROUNDS);
		MUST(cuMemFree_v2, w[i].r);
	}
}

int main(void)
{
	micro_start();
	two_streams();
	two_threads();
	return micro_end();
}
