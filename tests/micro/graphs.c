/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graphs.c - captured and explicit graphs over memory that comes and goes, and captures that are
 * open while somebody asks for memory.
 */
#include <stdlib.h>

#include "core/stats.h"
#include "tests/micro/micro.h"
#include "tests/micro/state.h"

#define SIZE (16 * MIB)
#define N 2000u

static CUstream stream, other;
static CUdeviceptr native;

/* Non-blocking streams do not wait for the default stream, where sets run: so wait here. */
static void set(CUdeviceptr address, unsigned char value, size_t size)
{
	MUST(cuMemsetD8_v2, address, value, size);
	MUST(cuCtxSynchronize);
}

/* With the eviction thread of the test options: r has no memory now, nor will it before the next
 * submission. */
static void wait_for_eviction(CUdeviceptr r, const char *when)
{
	if (!micro_shimmed() || !getenv("KVSHIM_TEST_EVICT_INTERVAL_MS"))
		return;
	micro_check(state_wait_gone(r), "memory is taken away %s", when);
}

static CUgraph captured_fill(CUdeviceptr r, uint32_t value, CUstreamCaptureMode mode)
{
	uint32_t n = N, none = 0;
	CUgraph graph;

	MUST(cuStreamBeginCapture_v2, stream, mode);
	micro_launch(micro_kernel("micro_fill"), N, stream, PARAMS(&r, &n, &value));
	/* Other streams go on. */
	micro_launch(micro_kernel("micro_fill"), N, other, PARAMS(&native, &n, &none));
	MUST(cuStreamEndCapture, stream, &graph);
	MUST(cuStreamSynchronize,
		other); /* not while the capture is open: strict modes forbid it */
	return graph;
}

static void captured(CUstreamCaptureMode mode)
{
	CUdeviceptr r = micro_alloc(SIZE);
	CUgraph graph;
	CUgraphExec exec;

	set(r, 0x7f, 4 * N);
	graph = captured_fill(r, 1234, mode);
	micro_check(
		micro_holds(r, N, 0x7f7f7f7f), "a captured launch has run nothing (mode %d)", mode);
	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	MUST(cuGraphDestroy, graph);
	wait_for_eviction(r, "between capture and launch");
	MUST(cuGraphLaunch, exec, stream);
	micro_expect_static(r, KV_STATIC_GRAPH, "micro_fill");
	MUST(cuStreamSynchronize, stream);
	micro_check(micro_holds(r, N, 1234), "the graph's exec runs after the graph is destroyed");
	set(r, 0x7f, 4 * N);
	wait_for_eviction(r, "between two launches");
	MUST(cuGraphLaunch, exec, stream);
	MUST(cuStreamSynchronize, stream);
	micro_check(micro_holds(r, N, 1234), "and once more");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

static void explicit_nodes(void)
{
	CUdeviceptr a = micro_alloc(SIZE), b = micro_alloc(SIZE), c = micro_alloc(SIZE);
	uint32_t n = N, value = 55;
	CUDA_KERNEL_NODE_PARAMS_v2 kernel = {.func = micro_kernel("micro_copy"),
		.gridDimX = N / 128 + 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 128,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = PARAMS(&b, &a, &n)};
	CUDA_MEMSET_NODE_PARAMS_v1 sixes = {
		.dst = a, .value = 0x66, .elementSize = 1, .width = 4 * N, .height = 1};
	CUgraphNode set_node, kernel_node;
	CUgraphExec exec;
	CUgraph graph;

	set(a, 0x7f, 4 * N);
	MUST(cuGraphCreate, &graph, 0);
	MUST(cuGraphAddMemsetNode, &set_node, graph, NULL, 0, &sixes, cu.context);
	MUST(cuGraphAddKernelNode_v2, &kernel_node, graph, &set_node, 1, &kernel);
	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	wait_for_eviction(a, "before the launch");
	MUST(cuGraphLaunch, exec, stream);
	micro_expect_static(
		a, KV_STATIC_GRAPH, micro_has_rules() ? "micro_copy" : "cuGraphAddMemsetNode");
	micro_expect_static(b, KV_STATIC_GRAPH, "micro_copy");
	MUST(cuStreamSynchronize, stream);
	micro_check(micro_holds(b, N, 0x66666666), "a set and a copying kernel run as nodes");
	micro_expect_elastic(c);
	kernel.func = micro_kernel("micro_fill");
	kernel.kernelParams = PARAMS(&c, &n, &value);
	MUST(cuGraphExecKernelNodeSetParams_v2, exec, kernel_node, &kernel);
	MUST(cuGraphLaunch, exec, stream);
	micro_expect_static(c, KV_STATIC_GRAPH, "micro_fill");
	MUST(cuStreamSynchronize, stream);
	micro_check(micro_holds(c, N, 55), "changed parameters of an exec are followed");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuGraphDestroy, graph);
	MUST(cuMemFree_v2, a);
	MUST(cuMemFree_v2, b);
	MUST(cuMemFree_v2, c);
}

/* A capture that nobody ends: until its stream goes nothing can be taken away, but the program goes
 * on. */
static void left_open(void)
{
	CUdeviceptr r = micro_alloc(SIZE);
	uint32_t n = N, value = 9;
	CUstream lost;

	set(r, 0x01, SIZE);
	MUST(cuStreamCreate, &lost, CU_STREAM_NON_BLOCKING);
	MUST(cuStreamBeginCapture_v2, lost, CU_STREAM_CAPTURE_MODE_RELAXED);
	for (int i = 0; i < 50; i++)
		micro_launch(micro_kernel("micro_fill"), N, other, PARAMS(&r, &n, &value));
	MUST(cuStreamSynchronize, other);
	MUST(cuStreamDestroy_v2, lost);
	wait_for_eviction(r, "after the stream of an open capture is gone");
	micro_check(micro_holds(r, N, 9) && micro_holds(r + SIZE - 4 * N, N, 0x01010101),
		"a capture was left open, the program went on");
	MUST(cuMemFree_v2, r);
}

int main(void)
{
	micro_start();
	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	MUST(cuStreamCreate, &other, CU_STREAM_NON_BLOCKING);
	native = micro_alloc(4 * N);
	captured(CU_STREAM_CAPTURE_MODE_RELAXED);
	captured(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
	captured(CU_STREAM_CAPTURE_MODE_GLOBAL);
	explicit_nodes();
	left_open();
	MUST(cuMemFree_v2, native);
	MUST(cuStreamDestroy_v2, stream);
	MUST(cuStreamDestroy_v2, other);
	return micro_end();
}
