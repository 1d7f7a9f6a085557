/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transient.c - a kernel that is said to keep no address (KVSHIM_TRANSIENT_KERNELS=micro_fill):
 * what it is given is whole while it runs, and elastic again afterwards.
 */
#include "core/stats.h"
#include "tests/micro/micro.h"

#define SIZE (64 * MIB)
#define N 5000u

static uint64_t backed(CUdeviceptr r)
{
	struct micro_state state;

	micro_reservation(r, &state);
	return state.backed;
}

int main(void)
{
	CUdeviceptr r, in_the_middle, other;
	uint32_t n = N, value = 71;
	uint64_t whole;

	micro_start();
	r = micro_alloc(SIZE);
	other = micro_alloc(SIZE);
	in_the_middle = r + SIZE / 2;
	micro_launch(micro_kernel("micro_fill"), N, NULL, PARAMS(&in_the_middle, &n, &value));
	micro_expect_elastic(r);
	whole = backed(r);
	micro_check(whole == SIZE || !micro_shimmed(), "all of it has memory for the launch: %llu",
		(unsigned long long)whole);
	MUST(cuMemFree_v2, other);
	micro_check(backed(r) == 2 * MIB || !micro_shimmed(),
		"after the next free only what was written has memory: %llu",
		(unsigned long long)backed(r));
	micro_check(micro_holds(in_the_middle, N, 71), "and holds what was written");
	micro_check(!micro_shimmed() || micro_holds(r, N, 0), "the rest reads as zero");
	/* Once more over memory that has partly gone. */
	value = 72;
	micro_launch(micro_kernel("micro_fill"), N, NULL, PARAMS(&in_the_middle, &n, &value));
	micro_check(micro_holds(in_the_middle, N, 72), "the next launch finds its memory, too");
	/* Any other kernel counts as before. */
	micro_launch(micro_kernel("micro_copy"), N, NULL, PARAMS(&r, &in_the_middle, &n));
	micro_check(micro_holds(r, N, 72), "as does a kernel that is not named");
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_copy");
	MUST(cuMemFree_v2, r);
	return micro_end();
}
