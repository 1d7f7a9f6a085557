/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the negative control: what the other programs must never meet is caught by the
 * software GPU. Memory is taken away under an address that a kernel has stored, as a shim that
 * trusts parameters would do. Not for a GPU: it ends the context.
 *
 *   micro_control [put-back | recorded]
 *
 * put-back: the memory is mapped again in time, and nothing is wrong. recorded: the address comes
 * by an upload that was captured before it was known, as recorded.c has it.
 */
#include <stdio.h>
#include <string.h>

#include "tests/micro/micro.h"

#define SIZE (2 * MIB)

static CUmemAllocationProp prop;

static CUmemGenericAllocationHandle back(CUdeviceptr at)
{
	CUmemAccessDesc access = {prop.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUmemGenericAllocationHandle handle;

	MUST(cuMemCreate, &handle, SIZE, &prop, 0);
	MUST(cuMemMap, at, SIZE, 0, handle, 0);
	MUST(cuMemSetAccess, at, SIZE, &access, 1);
	return handle;
}

/* What happens if nobody makes memory whole for what a graph reads when it runs. */
static int recorded(CUdeviceptr array, CUdeviceptr out, CUdeviceptr unmapped)
{
	static CUdeviceptr table[1];
	uint32_t slot = 0, n = 16;
	CUgraphExec exec;
	CUgraph graph;
	CUstream stream;
	CUresult res;

	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	MUST(cuStreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
	MUST(cuMemcpyHtoDAsync_v2, array, table, sizeof(table), stream);
	micro_launch(
		micro_kernel("micro_read_through"), n, stream, PARAMS(&out, &array, &slot, &n));
	MUST(cuStreamEndCapture, stream, &graph);
	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	table[0] = unmapped;
	res = cu.cuGraphLaunch(exec, stream);
	if (res == CUDA_SUCCESS)
		res = cu.cuStreamSynchronize(stream);
	micro_check(res == CUDA_ERROR_ILLEGAL_ADDRESS,
		"a graph whose upload brings an address without memory ends with %d, got %d",
		CUDA_ERROR_ILLEGAL_ADDRESS, res);
	return res != CUDA_ERROR_ILLEGAL_ADDRESS;
}

int main(int argc, char **argv)
{
	bool put_back = argc > 1 && !strcmp(argv[1], "put-back");
	uint32_t slot = 0, n = 16;
	CUmemGenericAllocationHandle handle;
	CUdeviceptr r, array, out;
	CUresult res;

	micro_start();
	prop = (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = cu.device}};
	array = micro_alloc(64);
	out = micro_alloc(64);
	MUST(cuMemAddressReserve, &r, SIZE, 0, 0, 0);
	if (argc > 1 && !strcmp(argv[1], "recorded"))
		return recorded(array, out, r);
	handle = back(r);
	MUST(cuMemsetD8_v2, r, 1, SIZE);
	micro_launch(micro_kernel("micro_store_pointer"), 1, NULL, PARAMS(&array, &slot, &r));
	MUST(cuCtxSynchronize);
	MUST(cuMemUnmap, r, SIZE);
	MUST(cuMemRelease, handle);
	if (put_back) {
		handle = back(r);
		MUST(cuMemsetD8_v2, r, 1, SIZE);
	}
	res = cu.cuLaunchKernel(micro_kernel("micro_read_through"), 1, 1, 1, 32, 1, 1, 0, NULL,
		PARAMS(&out, &array, &slot, &n), NULL);
	if (res == CUDA_SUCCESS)
		res = cu.cuCtxSynchronize();
	if (!put_back) {
		micro_check(res == CUDA_ERROR_ILLEGAL_ADDRESS,
			"a kernel that follows an address to unmapped memory ends with %d, got %d",
			CUDA_ERROR_ILLEGAL_ADDRESS, res);
		/* Nothing works in this context any more, nor is there anything left to tidy. */
		return res != CUDA_ERROR_ILLEGAL_ADDRESS;
	}
	micro_check(res == CUDA_SUCCESS && micro_holds(out, n, 0x01010101),
		"with the memory back in time, nothing is wrong");
	MUST(cuMemUnmap, r, SIZE);
	MUST(cuMemRelease, handle);
	MUST(cuMemAddressFree, r, SIZE);
	MUST(cuMemFree_v2, out);
	MUST(cuMemFree_v2, array);
	return micro_end();
}
