/* SPDX-License-Identifier: Apache-2.0 */
/* test_graph.c - captures and graphs. */
#include <pthread.h>

#include "simtest.h"

static void count(void *data)
{
	++*(volatile int *)data;
}

static CUstream new_stream(void)
{
	CUstream stream;

	ok(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	return stream;
}

static size_t n_nodes(CUgraph graph)
{
	size_t n;

	ok(cuGraphGetNodes(graph, NULL, &n));
	return n;
}

Test(graph, what_is_captured_runs_at_each_launch_and_not_before)
{
	CUdeviceptr a;
	CUgraph graph;
	CUgraphExec exec;
	volatile int calls = 0;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	CUstream stream = new_stream();
	kernel("micro_fill"); /* not during the capture */
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ok(cuMemsetD8Async(a, 1, 64, stream));
	ok(launch_fill(a + 4, 1, 7, stream));
	ok(cuLaunchHostFunc(stream, count, (void *)&calls));
	ok(cuStreamEndCapture(stream, &graph));
	cr_assert_eq(byte_at(a), 0xa5);
	cr_assert_eq(n_nodes(graph), 3);
	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
	ok(cuGraphDestroy(graph));
	ok(cuGraphLaunch(exec, stream));
	ok(cuGraphLaunch(exec, stream));
	ok(cuStreamSynchronize(stream));
	cr_assert_eq(calls, 2);
	cr_assert_eq(byte_at(a), 1);
	cr_assert_eq(byte_at(a + 4), 7);
	ok(cuGraphExecDestroy(exec));
}

Test(graph, events_draw_other_streams_into_a_capture)
{
	CUdeviceptr a;
	CUevent fork_event, join;
	CUgraph graph;
	CUstreamCaptureStatus status;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	ok(cuEventCreate(&fork_event, 0));
	ok(cuEventCreate(&join, 0));
	CUstream one = new_stream(), two = new_stream();
	ok(cuStreamBeginCapture_v2(one, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ok(cuEventRecord(fork_event, one));
	ok(cuStreamWaitEvent(two, fork_event, 0));
	ok(cuStreamIsCapturing(two, &status));
	cr_assert_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
	ok(cuMemsetD8Async(a, 1, 1, two));
	ok(cuEventRecord(join, two));
	ok(cuStreamWaitEvent(one, join, 0));
	ok(cuMemsetD8Async(a, 2, 1, one));
	ok(cuStreamEndCapture(one, &graph));
	cr_assert_eq(n_nodes(graph), 2);
	ok(cuStreamIsCapturing(two, &status));
	cr_assert_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
}

Test(graph, a_stream_that_is_not_joined_spoils_the_capture)
{
	CUdeviceptr a;
	CUevent event;
	CUgraph graph;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	ok(cuEventCreate(&event, 0));
	CUstream one = new_stream(), two = new_stream();
	ok(cuStreamBeginCapture_v2(one, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ok(cuEventRecord(event, one));
	ok(cuStreamWaitEvent(two, event, 0));
	ok(cuMemsetD8Async(a, 1, 1, two));
	fails(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(one, &graph));
}

Test(graph, an_unsafe_call_is_refused_and_invalidates_the_capture)
{
	CUdeviceptr a;
	CUgraph graph;

	start();
	kernel("micro_fill"); /* loading a module is unsafe as well */
	CUstream stream = new_stream();
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	fails(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc_v2(&a, 4096));
	fails(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, launch_fill(0, 1, 1, stream));
	fails(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
	cr_assert_null(graph);
}

Test(graph, an_unsafe_call_is_let_through_in_relaxed_mode)
{
	CUdeviceptr a;
	CUgraph graph;

	start();
	CUstream stream = new_stream();
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	manage(1);
	ok(cuMemAlloc_v2(&a, 4096));
	manage(0);
	ok(cuStreamEndCapture(stream, &graph));
}

static void *allocate(void *context)
{
	CUdeviceptr a;

	ok(cuCtxSetCurrent(context));
	return (void *)(intptr_t)cuMemAlloc_v2(&a, 4096);
}

Test(graph, a_global_capture_concerns_all_threads_and_a_local_one_does_not)
{
	CUcontext context = start();
	CUgraph graph;
	pthread_t thread;
	void *result;

	CUstream stream = new_stream();
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	pthread_create(&thread, NULL, allocate, context);
	pthread_join(thread, &result);
	cr_assert_eq((intptr_t)result, CUDA_SUCCESS);
	ok(cuStreamEndCapture(stream, &graph));
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	pthread_create(&thread, NULL, allocate, context);
	pthread_join(thread, &result);
	cr_assert_eq((intptr_t)result, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	fails(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
}

Test(graph, the_legacy_stream_must_not_depend_on_a_capture)
{
	CUdeviceptr a;
	CUgraph graph;
	CUstream stream;
	CUstreamCaptureStatus status;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	ok(cuStreamCreate(&stream, 0));
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	fails(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cuStreamIsCapturing(NULL, &status));
	fails(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, cuMemsetD8Async(a, 0, 1, NULL));
	fails(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(stream, &graph));
	fails(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
		cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_RELAXED));
}

Test(graph, the_vmm_is_unsafe_in_captures_on_request)
{
	CUdeviceptr a;

	setenv("SIMGPU_UNSAFE_VMM", "1", 1);
	start();
	CUstream stream = new_stream();
	ok(cuMemAddressReserve(&a, PAGE, 0, 0, 0));
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	fails(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAddressReserve(&a, PAGE, 0, 0, 0));
}

Test(graph, an_update_needs_the_same_topology)
{
	CUdeviceptr a;
	CUgraph graphs[3];
	CUgraphExec exec;
	CUgraphExecUpdateResultInfo info;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	CUstream stream = new_stream();
	for (int i = 0; i < 3; i++) {
		ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
		ok(launch_fill(a, 1, (uint32_t)i + 1, stream));
		if (i == 2)
			ok(launch_fill(a + 4, 1, 9, stream));
		ok(cuStreamEndCapture(stream, &graphs[i]));
	}
	ok(cuGraphInstantiateWithFlags(&exec, graphs[0], 0));
	ok(cuGraphExecUpdate_v2(exec, graphs[1], &info));
	cr_assert_eq(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
	fails(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, graphs[2], &info));
	cr_assert_eq(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
	/* The refused update has changed nothing. */
	ok(cuGraphLaunch(exec, stream));
	ok(cuStreamSynchronize(stream));
	cr_assert_eq(byte_at(a), 2);
	cr_assert_eq(byte_at(a + 4), 0xa5);
}

Test(graph, nodes_are_made_read_changed_and_ordered_by_hand)
{
	CUcontext context = start();
	CUdeviceptr a;
	CUgraph graph, clone;
	CUgraphExec exec;
	CUgraphNode set, fill, copy, twin;
	uint32_t n = 2, value = 5, out[2];
	size_t count_of;

	ok(cuMemAlloc_v2(&a, 4096));
	void *args[] = {&a, &n, &value};
	CUDA_MEMSET_NODE_PARAMS set_params = {
		.dst = a, .value = 1, .elementSize = 1, .width = 64, .height = 1};
	CUDA_KERNEL_NODE_PARAMS kernel_params = {.func = kernel("micro_fill"),
		.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 1,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = args};
	CUDA_MEMCPY3D copy_params = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = a,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = out,
		.WidthInBytes = 8,
		.Height = 1,
		.Depth = 1};
	ok(cuGraphCreate(&graph, 0));
	ok(cuGraphAddMemcpyNode(&copy, graph, NULL, 0, &copy_params, context));
	ok(cuGraphAddMemsetNode(&set, graph, NULL, 0, &set_params, context));
	ok(cuGraphAddKernelNode_v2(&fill, graph, &set, 1, &kernel_params));
	ok(cuGraphAddDependencies(graph, &fill, &copy, 1));
	ok(cuGraphGetRootNodes(graph, NULL, &count_of));
	cr_assert_eq(count_of, 1);
	/* Parameters were copied when the node was made. */
	value = 6;
	ok(cuGraphKernelNodeGetParams_v2(fill, &kernel_params));
	cr_assert_eq(*(uint32_t *)kernel_params.kernelParams[2], 5);
	ok(cuGraphMemcpyNodeGetParams(copy, &copy_params));
	cr_assert_eq(copy_params.srcDevice, a);
	cr_assert_eq(copy_params.dstMemoryType, CU_MEMORYTYPE_HOST);
	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
	ok(cuGraphLaunch(exec, NULL));
	ok(cuCtxSynchronize());
	cr_assert_eq(out[1], 5);
	kernel_params.kernelParams = args;
	ok(cuGraphExecKernelNodeSetParams_v2(exec, fill, &kernel_params));
	ok(cuGraphLaunch(exec, NULL));
	ok(cuCtxSynchronize());
	cr_assert_eq(out[1], 6);
	ok(cuGraphNodeSetEnabled(exec, fill, 0));
	ok(cuGraphLaunch(exec, NULL));
	ok(cuCtxSynchronize());
	cr_assert_eq(out[1], 0x01010101);
	ok(cuGraphClone(&clone, graph));
	ok(cuGraphNodeFindInClone(&twin, fill, clone));
	cr_assert_neq(twin, fill);
	ok(cuGraphDestroyNode(fill));
	ok(cuGraphGetRootNodes(graph, NULL, &count_of));
	cr_assert_eq(count_of, 2);
}

Test(graph, a_cycle_cannot_be_instantiated)
{
	CUgraph graph;
	CUgraphNode a, b;
	CUgraphExec exec;

	start();
	ok(cuGraphCreate(&graph, 0));
	ok(cuGraphAddEmptyNode(&a, graph, NULL, 0));
	ok(cuGraphAddEmptyNode(&b, graph, &a, 1));
	ok(cuGraphAddDependencies(graph, &b, &a, 1));
	fails(CUDA_ERROR_INVALID_VALUE, cuGraphInstantiateWithFlags(&exec, graph, 0));
}

Test(graph, a_child_graph_is_a_copy)
{
	CUgraph inner, outer;
	CUgraphNode node;
	CUgraphExec exec;
	volatile int calls = 0;
	CUDA_HOST_NODE_PARAMS host = {.fn = count, .userData = (void *)&calls};

	start();
	ok(cuGraphCreate(&inner, 0));
	ok(cuGraphAddHostNode(&node, inner, NULL, 0, &host));
	ok(cuGraphCreate(&outer, 0));
	ok(cuGraphAddChildGraphNode(&node, outer, NULL, 0, inner));
	ok(cuGraphDestroy(inner));
	ok(cuGraphInstantiateWithFlags(&exec, outer, 0));
	ok(cuGraphLaunch(exec, NULL));
	ok(cuCtxSynchronize());
	cr_assert_eq(calls, 1);
}

Test(graph, a_node_of_a_graph_that_meets_a_hole_faults)
{
	CUgraph graph;
	CUgraphExec exec;

	start();
	CUdeviceptr addr = reserve(2, 1);
	CUstream stream = new_stream();
	ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	ok(cuMemsetD8Async(addr, 0, 16, stream));
	ok(cuStreamEndCapture(stream, &graph));
	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
	reports(VIOLATION, 0, ok(cuMemUnmap(addr, PAGE)));
	reports(FAULT, 1, {
		cuGraphLaunch(exec, stream);
		fails(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(stream));
	});
}
