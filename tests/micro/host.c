/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - a host function in a stream that waits for what the program does after its next launch.
 * Whoever drains the device under a closed gate and waits for ever hangs here.
 */
#include <semaphore.h>

#include "tests/micro/micro.h"
#include "tests/micro/state.h"

#define SIZE (32 * MIB)
#define ROUNDS 5u
#define N 2000u

static sem_t launched;

static void CUDA_CB wait_for_launch(void *arg)
{
	while (sem_wait(&launched))
		;
}

int main(void)
{
	CUfunction fill;
	CUstream first, second;
	CUdeviceptr r;
	uint32_t n = N;

	micro_start();
	fill = micro_kernel("micro_fill");
	r = micro_alloc(SIZE);
	sem_init(&launched, 0, 0);
	MUST(cuStreamCreate, &first, CU_STREAM_NON_BLOCKING);
	MUST(cuStreamCreate, &second, CU_STREAM_NON_BLOCKING);
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		uint64_t timeouts = state_counter(STATE_COUNTER(quiesce_timeouts));
		CUdeviceptr dst = r + round * 4 * MIB;

		micro_launch(fill, N, first, PARAMS(&dst, &n, &round));
		MUST(cuLaunchHostFunc, first, wait_for_launch, NULL);
		/* Somebody has tried to take memory away, and has met the host function. */
		if (micro_shimmed())
			micro_check(state_wait_above(STATE_COUNTER(quiesce_timeouts), timeouts),
				"a drain gives up on work that waits");
		dst += 2 * MIB;
		micro_launch(fill, N, second, PARAMS(&dst, &n, &round));
		sem_post(&launched);
		MUST(cuStreamSynchronize, first);
		MUST(cuStreamSynchronize, second);
		micro_check(micro_holds(dst, N, round) && micro_holds(dst - 2 * MIB, N, round),
			"round %u: the launch came through, so the host function returned", round);
	}
	MUST(cuStreamDestroy_v2, first);
	MUST(cuStreamDestroy_v2, second);
	MUST(cuMemFree_v2, r);
	return micro_end();
}
