/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.c - what counts as an address in a parameter block, in every form of launch.
 */
#include <string.h>

#include "core/stats.h"
#include "tests/micro/micro.h"

#define SIZE (16 * MIB)
#define N 3000u

struct job {
	uint32_t n, value;
	CUdeviceptr dst, count;
};

static CUdeviceptr out;

/* Numbers whose bits are those of an address: with a low reservation any index may look like one.
 */
static void numbers_are_no_addresses(void)
{
	CUdeviceptr r = micro_alloc(SIZE), end = r + SIZE, zero = 0, address = r + 4096;
	uint32_t numbers[3] = {(uint32_t)address, (uint32_t)(address >> 32), 8}, got[3];

	micro_launch(
		micro_kernel("micro_two_numbers"), 1, NULL, PARAMS(&numbers[0], &numbers[1], &out));
	MUST(cuMemcpyDtoH_v2, got, out, 8);
	micro_check(!memcmp(got, numbers, 8), "two numbers of four bytes arrive");
	micro_expect_elastic(r);
	micro_launch(micro_kernel("micro_three_numbers"), 1, NULL, PARAMS(numbers, &out));
	MUST(cuMemcpyDtoH_v2, got, out, 12);
	micro_check(!memcmp(got, numbers, 12), "a struct of twelve bytes arrives");
	micro_expect_elastic(r);
	micro_launch(micro_kernel("micro_eight"), 1, NULL,
		PARAMS(&zero, &end, &out, &zero, &zero, &zero, &zero, &zero));
	micro_expect_elastic(r);
	MUST(cuMemFree_v2, r);
}

static void a_struct_by_value_has_addresses(void)
{
	CUdeviceptr r = micro_alloc(SIZE);
	struct job job = {N, 5, r + SIZE / 2, out};

	micro_launch(micro_kernel("micro_struct"), N, NULL, PARAMS(&job));
	micro_check(micro_holds(job.dst, N, 5), "an address inside a struct by value is followed");
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_struct");
	MUST(cuMemFree_v2, r);
}

static void a_packed_block_has_addresses(void)
{
	CUdeviceptr r = micro_alloc(SIZE);
	struct {
		CUdeviceptr dst;
		uint32_t n, value;
	} block = {r, N, 6};
	size_t size = sizeof(block);
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &block, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
		CU_LAUNCH_PARAM_END};

	MUST(cuLaunchKernel, micro_kernel("micro_fill"), N / 128 + 1, 1, 1, 128, 1, 1, 0, NULL,
		NULL, extra);
	micro_check(micro_holds(r, N, 6), "an address in a packed block is followed");
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_fill");
	MUST(cuMemFree_v2, r);
}

static void an_extended_launch_has_addresses(void)
{
	CUlaunchConfig config = {.gridDimX = N / 128 + 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 128,
		.blockDimY = 1,
		.blockDimZ = 1};
	CUdeviceptr r = micro_alloc(SIZE), x = micro_alloc(N * 4);
	float a = 2, one = 1;
	uint32_t n = N, bits;

	memcpy(&bits, &one, 4);
	micro_launch(micro_kernel("micro_fill"), N, NULL, PARAMS(&x, &n, &bits));
	MUST(cuLaunchKernelEx, &config, micro_kernel("micro_saxpy"), PARAMS(&r, &x, &a, &n), NULL);
	memcpy(&bits, &a, 4);
	micro_check(micro_holds(r, N, bits) || !micro_shimmed(),
		"zero plus two times one is two, in memory that nobody had written");
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_saxpy");
	MUST(cuMemFree_v2, x);
	MUST(cuMemFree_v2, r);
}

static void a_kernel_handle_serves_as_function(void)
{
	CUdeviceptr r = micro_alloc(SIZE);
	uint32_t n = N, value = 9;
	CUlibrary library;
	CUkernel kernel;

	MUST(cuLibraryLoadData, &library, micro_ptx, NULL, NULL, 0, NULL, NULL, 0);
	MUST(cuLibraryGetKernel, &kernel, library, "micro_fill");
	micro_launch((CUfunction)kernel, N, NULL, PARAMS(&r, &n, &value));
	micro_check(micro_holds(r, N, 9), "a CUkernel is launched as a CUfunction");
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_fill");
	MUST(cuLibraryUnload, library);
	MUST(cuMemFree_v2, r);
}

int main(void)
{
	micro_start();
	out = micro_alloc(4096);
	numbers_are_no_addresses();
	a_struct_by_value_has_addresses();
	a_packed_block_has_addresses();
	an_extended_launch_has_addresses();
	a_kernel_handle_serves_as_function();
	MUST(cuMemFree_v2, out);
	return micro_end();
}
