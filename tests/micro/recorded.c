/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorded.c - what is put into a graph by other doors than a captured launch, and what a graph
 * reads anew each time that it runs.
 */
#include <stdlib.h>

#include "core/stats.h"
#include "tests/micro/micro.h"
#include "tests/micro/state.h"

#define SIZE (16 * MIB)
#define N 2000u

static CUstream stream;

static CUdeviceptr filled(unsigned char pattern)
{
	CUdeviceptr r = micro_alloc(SIZE);

	MUST(cuMemsetD8_v2, r, pattern, 4 * N);
	MUST(cuCtxSynchronize);
	return r;
}

static void run(CUgraph graph, CUgraphExec *ret_exec)
{
	MUST(cuGraphInstantiateWithFlags, ret_exec, graph, 0);
	MUST(cuGraphDestroy, graph);
	MUST(cuGraphLaunch, *ret_exec, stream);
	MUST(cuStreamSynchronize, stream);
}

static void run_again(CUgraphExec exec)
{
	MUST(cuGraphLaunch, exec, stream);
	MUST(cuStreamSynchronize, stream);
}

/* Captured before there is a reservation in this process. */
static void upload_changes(void)
{
	CUdeviceptr array = micro_alloc(4096), out = micro_alloc(4 * N), a, b;
	static CUdeviceptr table[4];
	uint32_t slot = 2, n = N;
	CUgraphExec exec;
	CUgraph graph;

	MUST(cuStreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
	MUST(cuMemcpyHtoDAsync_v2, array, table, sizeof(table), stream);
	micro_launch(
		micro_kernel("micro_read_through"), N, stream, PARAMS(&out, &array, &slot, &n));
	MUST(cuStreamEndCapture, stream, &graph);
	a = filled(0x21);
	micro_expect_elastic(a);
	table[slot] = a;
	run(graph, &exec);
	micro_check(micro_holds(out, N, 0x21212121),
		"a captured upload brings an address that was written after the capture");
	micro_expect_static(a, KV_STATIC_HOST_MEMORY, "cuGraphLaunch");
	b = filled(0x43);
	table[slot] = b;
	run_again(exec);
	micro_check(micro_holds(out, N, 0x43434343), "and another one at the next launch");
	micro_expect_static(b, KV_STATIC_HOST_MEMORY, "cuGraphLaunch");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, a);
	MUST(cuMemFree_v2, b);
	MUST(cuMemFree_v2, array);
	MUST(cuMemFree_v2, out);
}

static void to_graph(void)
{
	CUdeviceptr r = filled(0x7f);
	uint32_t n = N, value = 31;
	CUgraph graph, same;
	CUgraphExec exec;

	MUST(cuGraphCreate, &graph, 0);
	MUST(cuStreamBeginCaptureToGraph, stream, graph, NULL, NULL, 0,
		CU_STREAM_CAPTURE_MODE_RELAXED);
	micro_launch(micro_kernel("micro_fill"), N, stream, PARAMS(&r, &n, &value));
	MUST(cuStreamEndCapture, stream, &same);
	run(graph, &exec);
	micro_check(micro_holds(r, N, 31), "a launch captured to a graph runs");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

static void any_node(void)
{
	CUdeviceptr r = filled(0x7f);
	uint32_t n = N, value = 32;
	CUgraphNodeParams kernel = {.type = CU_GRAPH_NODE_TYPE_KERNEL,
		.kernel = {.func = micro_kernel("micro_fill"),
			.gridDimX = N / 128 + 1,
			.gridDimY = 1,
			.gridDimZ = 1,
			.blockDimX = 128,
			.blockDimY = 1,
			.blockDimZ = 1,
			.kernelParams = PARAMS(&r, &n, &value)}};
	CUgraphExec exec;
	CUgraphNode node;
	CUgraph graph;

	MUST(cuGraphCreate, &graph, 0);
	MUST(cuGraphAddNode_v2, &node, graph, NULL, NULL, 0, &kernel);
	run(graph, &exec);
	micro_expect_static(r, KV_STATIC_GRAPH, "micro_fill");
	micro_check(micro_holds(r, N, 32), "a kernel node made by the call for any kind runs");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

static void values(void)
{
	CUdeviceptr r = filled(0x7f);
	CUstreamBatchMemOpParams op = {.writeValue = {
					       .operation = CU_STREAM_MEM_OP_WRITE_VALUE_32,
					       .address = r,
					       .value = 33,
				       }};
	CUDA_BATCH_MEM_OP_NODE_PARAMS params = {.ctx = cu.context, .count = 1, .paramArray = &op};
	CUgraphExec exec;
	CUgraphNode node;
	CUgraph graph;

	MUST(cuGraphCreate, &graph, 0);
	MUST(cuGraphAddBatchMemOpNode, &node, graph, NULL, 0, &params);
	micro_expect_static(r, KV_STATIC_GRAPH, "cuGraphAddBatchMemOpNode");
	run(graph, &exec);
	micro_check(micro_holds(r, 1, 33) && micro_holds(r + 4, N - 1, 0x7f7f7f7f),
		"a value is written by a node");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

static void cooperative(void)
{
	CUdeviceptr r = filled(0x7f);
	uint32_t n = N, value = 34;

	MUST(cuLaunchCooperativeKernel, micro_kernel("micro_fill"), N / 128 + 1, 1, 1, 128, 1, 1, 0,
		stream, PARAMS(&r, &n, &value));
	MUST(cuStreamSynchronize, stream);
	micro_check(micro_holds(r, N, 34), "a cooperative launch finds its memory");
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_fill");
	MUST(cuMemFree_v2, r);
}

/* Afterwards memory can be taken away again: with the eviction thread it is waited for. */
static void context_goes(void)
{
	CUdeviceptr r = filled(0x35);
	CUcontext ctx;
	CUstream lost;

	MUST(cuCtxCreate_v2, &ctx, 0, cu.device);
	MUST(cuStreamCreate, &lost, CU_STREAM_NON_BLOCKING);
	MUST(cuStreamBeginCapture_v2, lost, CU_STREAM_CAPTURE_MODE_RELAXED);
	MUST(cuCtxDestroy_v2, ctx);
	MUST(cuCtxSetCurrent, cu.context);
	if (micro_shimmed() && getenv("KVSHIM_TEST_EVICT_INTERVAL_MS")) {
		MUST(cuMemsetD8_v2, r, 0x36, 4 * N);
		micro_check(state_wait_above(STATE_COUNTER(pages_released),
				    state_counter(STATE_COUNTER(pages_released))),
			"memory is taken away after the context of an open capture is gone");
		micro_check(micro_holds(r, N, 0x36363636), "and comes back");
	} else {
		micro_check(micro_holds(r, N, 0x35353535),
			"a context went with an open capture, the program went on");
	}
	MUST(cuMemFree_v2, r);
}

int main(void)
{
	micro_start();
	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	upload_changes();
	to_graph();
	any_node();
	values();
	cooperative();
	context_goes();
	MUST(cuStreamDestroy_v2, stream);
	return micro_end();
}
