/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snippets_graph.c - graphs and captures; see fixture.h. What a node names must be whole from the
 * next submission on.
 */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

/* ---- before ---- */

static bool graph(struct fixture *f)
{
	return CHECK_OK(PASSED(PFN_cuGraphCreate_v10000, cuGraphCreate)(&f->graph, 0));
}

/* Parameters of every kind of node that name address. */
static void describe(struct fixture *f, CUdeviceptr address)
{
	f->param = address;
	f->params[0] = &f->param;
	f->kernel_node_v1 =
		(CUDA_KERNEL_NODE_PARAMS_v1){f->function, 1, 1, 1, 1, 1, 1, 0, f->params, NULL};
	f->kernel_node = (CUDA_KERNEL_NODE_PARAMS_v2){
		f->function, 1, 1, 1, 1, 1, 1, 0, f->params, NULL, NULL, NULL};
	f->memset_node = (CUDA_MEMSET_NODE_PARAMS_v1){
		.dst = address, .value = 1, .elementSize = 1, .width = BYTES, .height = 1};
	f->copy3d = (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = f->small,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = address,
		.WidthInBytes = BYTES,
		.Height = 1,
		.Depth = 1};
	f->mem_ops[0] = (CUstreamBatchMemOpParams){
		.writeValue = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32,
			.address = address,
			.value = 1}};
	f->batch_node = (CUDA_BATCH_MEM_OP_NODE_PARAMS){f->context, 1, f->mem_ops, 0};
	memset(&f->node_params, 0, sizeof(f->node_params));
	f->node_params.type = CU_GRAPH_NODE_TYPE_MEMSET;
	f->node_params.memset = (CUDA_MEMSET_NODE_PARAMS_v2){.dst = address,
		.value = 1,
		.elementSize = 1,
		.width = BYTES,
		.height = 1,
		.ctx = f->context};
}

static bool to_add(struct fixture *f)
{
	if (!prepare_reservation(f) || !graph(f))
		return false;
	describe(f, f->fresh);
	return true;
}

/* A graph with one node, made with native memory; then parameters that name a reservation. */
static bool with_node(struct fixture *f, CUresult (*add)(struct fixture *f), bool instantiate)
{
	CUresult result;

	if (!graph(f))
		return false;
	describe(f, f->small);
	result = add(f);
	if (result == CUDA_ERROR_NOT_SUPPORTED)
		f->node = NULL;
	else if (!CHECK_OK(result))
		return false;
	if (instantiate && !CHECK_OK(f->d->cuGraphInstantiateWithFlags(&f->exec, f->graph, 0)))
		return false;
	if (!prepare_reservation(f))
		return false;
	describe(f, f->fresh);
	return true;
}

static CUresult add_kernel(struct fixture *f)
{
	return f->d->cuGraphAddKernelNode_v2(&f->node, f->graph, NULL, 0, &f->kernel_node);
}

static CUresult add_memcpy(struct fixture *f)
{
	return f->d->cuGraphAddMemcpyNode(&f->node, f->graph, NULL, 0, &f->copy3d, f->context);
}

static CUresult add_memset(struct fixture *f)
{
	return f->d->cuGraphAddMemsetNode(&f->node, f->graph, NULL, 0, &f->memset_node, f->context);
}

static CUresult add_batch(struct fixture *f)
{
	return f->d->cuGraphAddBatchMemOpNode(&f->node, f->graph, NULL, 0, &f->batch_node);
}

static bool kernel_node(struct fixture *f)
{
	return with_node(f, add_kernel, false);
}

static bool memcpy_node(struct fixture *f)
{
	return with_node(f, add_memcpy, false);
}

static bool memset_node(struct fixture *f)
{
	return with_node(f, add_memset, false);
}

static bool batch_node(struct fixture *f)
{
	return with_node(f, add_batch, false);
}

static bool kernel_exec(struct fixture *f)
{
	return with_node(f, add_kernel, true);
}

static bool memcpy_exec(struct fixture *f)
{
	return with_node(f, add_memcpy, true);
}

static bool memset_exec(struct fixture *f)
{
	return with_node(f, add_memset, true);
}

static bool batch_exec(struct fixture *f)
{
	return with_node(f, add_batch, true);
}

/* A graph that sets a byte range of a reservation. */
static bool leaked_exec(struct fixture *f)
{
	return to_add(f) && CHECK_OK(add_memset(f)) &&
	       CHECK_OK(f->d->cuGraphInstantiateWithFlags(&f->exec, f->graph, 0));
}

static bool leaked_graph(struct fixture *f)
{
	memset(&f->instantiate, 0, sizeof(f->instantiate));
	f->instantiate.hUploadStream = f->stream;
	f->instantiate.flags = CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD;
	f->out_exec = NULL;
	return to_add(f) && CHECK_OK(add_memset(f));
}

static bool capture(struct fixture *f)
{
	f->out_graph = NULL;
	return prepare_reservation(f) &&
	       CHECK_OK(f->d->cuStreamBeginCapture_v2(
		       f->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)) &&
	       CHECK_OK(f->d->cuMemsetD8Async(f->fresh, 1, BYTES, f->stream));
}

/* A graph with another graph inside, instantiated, and one to put in its place. */
static bool with_child(struct fixture *f)
{
	CUresult result;

	if (!graph(f) ||
		!CHECK_OK(PASSED(PFN_cuGraphCreate_v10000, cuGraphCreate)(&f->out_graph, 0)))
		return false;
	describe(f, f->small);
	result = f->d->cuGraphAddMemsetNode(
		&f->out_node, f->out_graph, NULL, 0, &f->memset_node, f->context);
	return CHECK_OK(result) &&
	       CHECK_OK(PASSED(PFN_cuGraphAddChildGraphNode_v10000, cuGraphAddChildGraphNode)(
		       &f->node, f->graph, NULL, 0, f->out_graph)) &&
	       CHECK_OK(f->d->cuGraphInstantiateWithFlags(&f->exec, f->graph, 0));
}

static bool doomed_exec(struct fixture *f)
{
	if (!leaked_exec(f))
		return false;
	f->out_exec = f->exec;
	f->exec = NULL;
	return true;
}

/* ---- after ---- */

/* What a node names is whole; with kernel rules it gets what the launch needs when it comes. */
static bool check_named(struct fixture *f, CUresult result)
{
	const char *rules = getenv("KVSHIM_RULES");

	return rules && !strcmp(rules, "builtin") ? check_ok(f, result) : check_whole(f, result);
}

static bool child_replaced(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) &&
	       CHECK_OK(PASSED(PFN_cuGraphDestroy_v10000, cuGraphDestroy)(f->out_graph));
}

static bool capture_open(struct fixture *f, CUresult result)
{
	CUgraph captured = NULL;

	if (!CHECK_OK(result) || !CHECK_OK(f->d->cuStreamEndCapture(f->stream, &captured)))
		return false;
	return captured == f->graph ||
	       CHECK_OK(PASSED(PFN_cuGraphDestroy_v10000, cuGraphDestroy)(captured));
}

static bool captured(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->out_graph != NULL) &&
	       CHECK_OK(PASSED(PFN_cuGraphDestroy_v10000, cuGraphDestroy)(f->out_graph)) &&
	       check_named(f, result);
}

static bool launched(struct fixture *f, CUresult result)
{
	uint8_t byte = 0;

	return check_named(f, result) && CHECK_OK(f->d->cuMemcpyDtoH_v2(&byte, f->fresh, 1)) &&
	       CHECK(byte == 1);
}

static bool instantiated(struct fixture *f, CUresult result)
{
	f->exec = f->out_exec;
	return check_named(f, result);
}

/* clang-format off */
#define BOTH(X, symbol, prepare, arguments, check) \
	X(symbol, prepare, arguments, check) \
	X(symbol##_ptsz, prepare, arguments, check)
#define NEW_NODE &f->out_node, f->graph, NULL
#define THREAD_LOCAL CU_STREAM_CAPTURE_MODE_THREAD_LOCAL

#define LIST(X) \
	BOTH(X, cuStreamBeginCapture, NULL, (f->stream), capture_open) \
	BOTH(X, cuStreamBeginCapture_v2, NULL, (f->stream, THREAD_LOCAL), capture_open) \
	BOTH(X, cuStreamBeginCaptureToGraph, graph, (f->stream, f->graph, NULL, NULL, 0, THREAD_LOCAL), capture_open) \
	BOTH(X, cuStreamEndCapture, capture, (f->stream, &f->out_graph), captured) \
	X(cuGraphAddKernelNode, to_add, (NEW_NODE, 0, &f->kernel_node_v1), check_named) \
	X(cuGraphAddKernelNode_v2, to_add, (NEW_NODE, 0, &f->kernel_node), check_named) \
	X(cuGraphAddMemcpyNode, to_add, (NEW_NODE, 0, &f->copy3d, f->context), check_named) \
	X(cuGraphAddMemsetNode, to_add, (NEW_NODE, 0, &f->memset_node, f->context), check_named) \
	X(cuGraphAddBatchMemOpNode, to_add, (NEW_NODE, 0, &f->batch_node), check_named) \
	X(cuGraphAddNode, to_add, (NEW_NODE, 0, &f->node_params), check_named) \
	X(cuGraphAddNode_v2, to_add, (NEW_NODE, NULL, 0, &f->node_params), check_named) \
	X(cuGraphKernelNodeSetParams, kernel_node, (f->node, &f->kernel_node_v1), check_named) \
	X(cuGraphKernelNodeSetParams_v2, kernel_node, (f->node, &f->kernel_node), check_named) \
	X(cuGraphMemcpyNodeSetParams, memcpy_node, (f->node, &f->copy3d), check_named) \
	X(cuGraphMemsetNodeSetParams, memset_node, (f->node, &f->memset_node), check_named) \
	X(cuGraphBatchMemOpNodeSetParams, batch_node, (f->node, &f->batch_node), check_named) \
	X(cuGraphNodeSetParams, memset_node, (f->node, &f->node_params), check_named) \
	X(cuGraphExecKernelNodeSetParams, kernel_exec, (f->exec, f->node, &f->kernel_node_v1), check_named) \
	X(cuGraphExecKernelNodeSetParams_v2, kernel_exec, (f->exec, f->node, &f->kernel_node), check_named) \
	X(cuGraphExecMemcpyNodeSetParams, memcpy_exec, (f->exec, f->node, &f->copy3d, f->context), check_named) \
	X(cuGraphExecMemsetNodeSetParams, memset_exec, (f->exec, f->node, &f->memset_node, f->context), check_named) \
	X(cuGraphExecBatchMemOpNodeSetParams, batch_exec, (f->exec, f->node, &f->batch_node), check_named) \
	X(cuGraphExecNodeSetParams, memset_exec, (f->exec, f->node, &f->node_params), check_named) \
	X(cuGraphInstantiate, leaked_graph, (&f->out_exec, f->graph, NULL, NULL, 0), instantiated) \
	X(cuGraphInstantiate_v2, leaked_graph, (&f->out_exec, f->graph, NULL, NULL, 0), instantiated) \
	X(cuGraphInstantiateWithFlags, leaked_graph, (&f->out_exec, f->graph, 0), instantiated) \
	X(cuGraphExecUpdate, leaked_exec, (f->exec, f->graph, &f->out_node, &f->update_why), check_named) \
	X(cuGraphExecUpdate_v2, leaked_exec, (f->exec, f->graph, &f->update), check_named) \
	X(cuGraphExecDestroy, doomed_exec, (f->out_exec), check_named) \
	X(cuGraphExecChildGraphNodeSetParams, with_child, (f->exec, f->node, f->out_graph), child_replaced) \
	X(cuGraphNodeSetEnabled, memset_exec, (f->exec, f->node, 0), check_ok) \
	BOTH(X, cuGraphInstantiateWithParams, leaked_graph, (&f->out_exec, f->graph, &f->instantiate), instantiated) \
	BOTH(X, cuGraphLaunch, leaked_exec, (f->exec, f->stream), launched) \
	BOTH(X, cuGraphUpload, leaked_exec, (f->exec, f->stream), check_named)
/* clang-format on */

SNIPPETS(snippets_graph, LIST)
