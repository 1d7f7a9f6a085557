/* SPDX-License-Identifier: Apache-2.0 */
/* node.c - graph nodes: work from parameters and parameters from work. */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "graph.h"

/* ---- parameters to work ---- */

static CUresult kernel_work(const CUDA_KERNEL_NODE_PARAMS_v3 *p, struct sim_work *ret)
{
	memset(ret, 0, sizeof(*ret));
	CUresult result = sim_launch_make(p->func ? p->func : (CUfunction)p->kern,
		(unsigned[]){p->gridDimX, p->gridDimY, p->gridDimZ},
		(unsigned[]){p->blockDimX, p->blockDimY, p->blockDimZ}, p->sharedMemBytes,
		p->kernelParams, p->extra, &ret->launch);
	ret->type = result == CUDA_SUCCESS ? SIM_WORK_KERNEL : SIM_WORK_EMPTY;
	return result;
}

static CUDA_KERNEL_NODE_PARAMS_v3 kernel_v3_of_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *p)
{
	return (CUDA_KERNEL_NODE_PARAMS_v3){.func = p->func,
		.gridDimX = p->gridDimX,
		.gridDimY = p->gridDimY,
		.gridDimZ = p->gridDimZ,
		.blockDimX = p->blockDimX,
		.blockDimY = p->blockDimY,
		.blockDimZ = p->blockDimZ,
		.sharedMemBytes = p->sharedMemBytes,
		.kernelParams = p->kernelParams,
		.extra = p->extra};
}

static CUDA_KERNEL_NODE_PARAMS_v3 kernel_v3_of_v2(const CUDA_KERNEL_NODE_PARAMS_v2 *p)
{
	return (CUDA_KERNEL_NODE_PARAMS_v3){.func = p->func,
		.gridDimX = p->gridDimX,
		.gridDimY = p->gridDimY,
		.gridDimZ = p->gridDimZ,
		.blockDimX = p->blockDimX,
		.blockDimY = p->blockDimY,
		.blockDimZ = p->blockDimZ,
		.sharedMemBytes = p->sharedMemBytes,
		.kernelParams = p->kernelParams,
		.extra = p->extra,
		.kern = p->kern,
		.ctx = p->ctx};
}

static CUresult copy_work(const CUDA_MEMCPY3D *p, struct sim_work *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->type = SIM_WORK_COPY;
	return sim_copy_from_3d(p, &ret->copy);
}

static CUresult set_work(CUdeviceptr dst, size_t pitch, unsigned value, unsigned element,
	size_t width, size_t height, struct sim_work *ret)
{
	if ((element != 1 && element != 2 && element != 4) || !width || !height || dst % element)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	ret->type = SIM_WORK_SET;
	ret->set = (struct sim_set){.dst = dst,
		.pitch = pitch,
		.width = width,
		.height = height,
		.value = value,
		.element = element};
	return CUDA_SUCCESS;
}

static CUresult host_work(CUhostFn fn, void *data, struct sim_work *ret)
{
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	ret->type = SIM_WORK_HOST;
	ret->host.fn = fn;
	ret->host.data = data;
	return CUDA_SUCCESS;
}

/* A wait for an event in a graph orders nothing here: what it waits for ran before the launch or
 * never will. */
static CUresult event_work(CUevent event, enum sim_work_type type, struct sim_work *ret)
{
	if (!event)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	ret->type = type;
	ret->event.event = (struct sim_event *)event;
	return CUDA_SUCCESS;
}

static CUresult child_work(CUgraph handle, struct sim_work *ret)
{
	struct sim_graph *graph = sim_graph_of(handle);

	if (!graph)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	CUresult result = sim_graph_clone(graph, &ret->child);
	if (result == CUDA_SUCCESS) {
		ret->type = SIM_WORK_CHILD;
		ret->child->embedded = true;
	}
	return result;
}

/* One body, empty as yet. */
static CUresult conditional_work(const CUDA_CONDITIONAL_NODE_PARAMS *p, struct sim_work *ret)
{
	if (!p->handle || p->size != 1)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	ret->child = sim_graph_new();
	if (!ret->child)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ret->type = SIM_WORK_CONDITIONAL;
	ret->child->embedded = true;
	return CUDA_SUCCESS;
}

static CUresult batch_work(const CUDA_BATCH_MEM_OP_NODE_PARAMS *p, struct sim_work *ret)
{
	if (!p || !p->count || p->count > 256 || !p->paramArray)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	struct sim_memop *ops = calloc(p->count, sizeof(*ops));
	if (!ops)
		return CUDA_ERROR_OUT_OF_MEMORY;
	uint32_t n = 0;
	for (unsigned i = 0; i < p->count; i++)
		if (sim_memop_of(&p->paramArray[i], &ops[n]))
			n++;
	ret->type = SIM_WORK_BATCH;
	ret->batch.ops = ops;
	ret->batch.n = n;
	return CUDA_SUCCESS;
}

CUresult sim_work_of_params(const CUgraphNodeParams *p, struct sim_work *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	switch (p->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		return kernel_work(&p->kernel, ret);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return copy_work(&p->memcpy.copyParams, ret);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		return set_work(p->memset.dst, p->memset.pitch, p->memset.value,
			p->memset.elementSize, p->memset.width, p->memset.height, ret);
	case CU_GRAPH_NODE_TYPE_HOST:
		return host_work(p->host.fn, p->host.userData, ret);
	case CU_GRAPH_NODE_TYPE_GRAPH:
		return child_work(p->graph.graph, ret);
	case CU_GRAPH_NODE_TYPE_CONDITIONAL:
		return conditional_work(&p->conditional, ret);
	case CU_GRAPH_NODE_TYPE_EMPTY:
		return CUDA_SUCCESS;
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		return event_work(p->eventRecord.event, SIM_WORK_RECORD, ret);
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		return event_work(p->eventWait.event, SIM_WORK_WAIT, ret);
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP: {
		CUDA_BATCH_MEM_OP_NODE_PARAMS batch = {.ctx = p->memOp.ctx,
			.count = p->memOp.count,
			.paramArray = p->memOp.paramArray,
			.flags = p->memOp.flags};
		return batch_work(&batch, ret);
	}
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

CUgraphNodeType sim_node_type(const struct sim_work *work)
{
	switch (work->type) {
	case SIM_WORK_KERNEL:
		return CU_GRAPH_NODE_TYPE_KERNEL;
	case SIM_WORK_COPY:
		return CU_GRAPH_NODE_TYPE_MEMCPY;
	case SIM_WORK_SET:
		return CU_GRAPH_NODE_TYPE_MEMSET;
	case SIM_WORK_HOST:
		return CU_GRAPH_NODE_TYPE_HOST;
	case SIM_WORK_RECORD:
		return CU_GRAPH_NODE_TYPE_EVENT_RECORD;
	case SIM_WORK_WAIT:
		return CU_GRAPH_NODE_TYPE_WAIT_EVENT;
	case SIM_WORK_MEMOP:
	case SIM_WORK_BATCH:
		return CU_GRAPH_NODE_TYPE_BATCH_MEM_OP;
	case SIM_WORK_CHILD:
	case SIM_WORK_GRAPH:
		return CU_GRAPH_NODE_TYPE_GRAPH;
	case SIM_WORK_CONDITIONAL:
		return CU_GRAPH_NODE_TYPE_CONDITIONAL;
	default:
		return CU_GRAPH_NODE_TYPE_EMPTY;
	}
}

/* ---- adding ---- */

static CUresult add(CUgraphNode *ret, CUgraph handle, const CUgraphNode *deps, size_t n,
	CUresult made, struct sim_work *work)
{
	struct sim_graph *graph = sim_graph_of(handle);
	struct sim_node *node;

	if (made != CUDA_SUCCESS)
		return made;
	if (!graph || !ret || (n && !deps)) {
		sim_work_clear(work);
		return CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_lock(&sim_lock);
	CUresult result =
		sim_graph_add(graph, (struct sim_node *const *)deps, (uint32_t)n, work, &node);
	pthread_mutex_unlock(&sim_lock);
	if (result == CUDA_SUCCESS)
		*ret = (CUgraphNode)node;
	return result;
}

/* Kernels that set the value of a handle have no twins: it stays what it is at the start, and a
 * body of a node whose value is 0 does not run. */
CUresult sim_cuGraphConditionalHandleCreate(CUgraphConditionalHandle *ret, CUgraph handle,
	CUcontext ctx, unsigned int value, unsigned int flags)
{
	static _Atomic uint64_t last;

	if (!ret || !sim_graph_of(handle) || (flags & ~(unsigned)CU_GRAPH_COND_ASSIGN_DEFAULT))
		return CUDA_ERROR_INVALID_VALUE;
	if (value)
		return CUDA_ERROR_NOT_SUPPORTED;
	*ret = atomic_fetch_add(&last, 1) + 1;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphAddNode(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps, size_t n,
	CUgraphNodeParams *params)
{
	struct sim_work work;
	CUresult made = sim_work_of_params(params, &work);

	CUresult result = add(ret, graph, deps, n, made, &work);
	if (result == CUDA_SUCCESS && params->type == CU_GRAPH_NODE_TYPE_GRAPH)
		params->graph.graph = (CUgraph)((struct sim_node *)*ret)->work.child;
	if (result == CUDA_SUCCESS && params->type == CU_GRAPH_NODE_TYPE_CONDITIONAL)
		params->conditional.phGraph_out = (CUgraph *)&((struct sim_node *)*ret)->work.child;
	return result;
}

CUresult sim_cuGraphAddNode_v2(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps,
	const CUgraphEdgeData *edges, size_t n, CUgraphNodeParams *params)
{
	return sim_cuGraphAddNode(ret, graph, deps, n, params);
}

CUresult sim_cuGraphAddKernelNode_v2(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps,
	size_t n, const CUDA_KERNEL_NODE_PARAMS *params)
{
	struct sim_work work;

	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_KERNEL_NODE_PARAMS_v3 v3 = kernel_v3_of_v2(params);
	CUresult made = kernel_work(&v3, &work);
	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddKernelNode(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps,
	size_t n, const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
	struct sim_work work;

	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_KERNEL_NODE_PARAMS_v3 v3 = kernel_v3_of_v1(params);
	CUresult made = kernel_work(&v3, &work);
	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddMemcpyNode(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps,
	size_t n, const CUDA_MEMCPY3D *params, CUcontext context)
{
	struct sim_work work;
	CUresult made = copy_work(params, &work);

	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddMemsetNode(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps,
	size_t n, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext context)
{
	struct sim_work work;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult made =
		set_work(p->dst, p->pitch, p->value, p->elementSize, p->width, p->height, &work);
	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddHostNode(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps, size_t n,
	const CUDA_HOST_NODE_PARAMS *p)
{
	struct sim_work work;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult made = host_work(p->fn, p->userData, &work);
	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddEmptyNode(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps, size_t n)
{
	struct sim_work work = {.type = SIM_WORK_EMPTY};

	return add(ret, graph, deps, n, CUDA_SUCCESS, &work);
}

CUresult sim_cuGraphAddChildGraphNode(
	CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps, size_t n, CUgraph child)
{
	struct sim_work work;
	CUresult made = child_work(child, &work);

	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddEventRecordNode(
	CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps, size_t n, CUevent event)
{
	struct sim_work work;
	CUresult made = event_work(event, SIM_WORK_RECORD, &work);

	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddEventWaitNode(
	CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps, size_t n, CUevent event)
{
	struct sim_work work;
	CUresult made = event_work(event, SIM_WORK_WAIT, &work);

	return add(ret, graph, deps, n, made, &work);
}

CUresult sim_cuGraphAddBatchMemOpNode(CUgraphNode *ret, CUgraph graph, const CUgraphNode *deps,
	size_t n, const CUDA_BATCH_MEM_OP_NODE_PARAMS *params)
{
	struct sim_work work;
	CUresult made = batch_work(params, &work);

	return add(ret, graph, deps, n, made, &work);
}

/* ---- changing ---- */

/*
 * What cuGraphKernelNodeGetParams has given out stays valid while the node has the same kernel:
 * builds of ggml from 2024 ask once, and set from that array before each launch.
 */
static void keep_storage(struct sim_launch *now, struct sim_launch *old)
{
	if (!old->pointers || now->kernel != old->kernel)
		return;
	uint8_t *fresh = now->params;
	memcpy(old->params, fresh, now->kernel->params_size);
	now->params = old->params;
	now->pointers = old->pointers;
	old->params = fresh;
	old->pointers = NULL;
}

static CUresult change(CUgraphNode handle, CUresult made, struct sim_work *work)
{
	struct sim_node *node = sim_node_of(handle);
	struct sim_work old = *work;

	if (made != CUDA_SUCCESS)
		return made;
	bool ok = node && node->work.type == work->type;
	if (ok) {
		pthread_mutex_lock(&sim_lock);
		old = node->work;
		if (work->type == SIM_WORK_KERNEL)
			keep_storage(&work->launch, &old.launch);
		node->work = *work;
		pthread_mutex_unlock(&sim_lock);
	}
	sim_work_clear(&old);
	return ok ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult change_exec(
	CUgraphExec exec, CUgraphNode node, CUresult made, struct sim_work *work)
{
	return made == CUDA_SUCCESS ? sim_exec_set(exec, node, work) : made;
}

CUresult sim_cuGraphNodeSetParams(CUgraphNode node, CUgraphNodeParams *params)
{
	struct sim_work work;
	CUresult made = sim_work_of_params(params, &work);

	return change(node, made, &work);
}

CUresult sim_cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraphNodeParams *params)
{
	struct sim_work work;
	CUresult made = sim_work_of_params(params, &work);

	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
	struct sim_work work;

	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_KERNEL_NODE_PARAMS_v3 v3 = kernel_v3_of_v2(params);
	CUresult made = kernel_work(&v3, &work);
	return change(node, made, &work);
}

CUresult sim_cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
	struct sim_work work;

	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_KERNEL_NODE_PARAMS_v3 v3 = kernel_v3_of_v1(params);
	CUresult made = kernel_work(&v3, &work);
	return change(node, made, &work);
}

CUresult sim_cuGraphExecKernelNodeSetParams_v2(
	CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
	struct sim_work work;

	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_KERNEL_NODE_PARAMS_v3 v3 = kernel_v3_of_v2(params);
	CUresult made = kernel_work(&v3, &work);
	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphExecKernelNodeSetParams(
	CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params)
{
	struct sim_work work;

	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_KERNEL_NODE_PARAMS_v3 v3 = kernel_v3_of_v1(params);
	CUresult made = kernel_work(&v3, &work);
	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D *params)
{
	struct sim_work work;
	CUresult made = copy_work(params, &work);

	return change(node, made, &work);
}

CUresult sim_cuGraphExecMemcpyNodeSetParams(
	CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D *params, CUcontext context)
{
	struct sim_work work;
	CUresult made = copy_work(params, &work);

	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphMemsetNodeSetParams(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *p)
{
	struct sim_work work;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult made =
		set_work(p->dst, p->pitch, p->value, p->elementSize, p->width, p->height, &work);
	return change(node, made, &work);
}

CUresult sim_cuGraphExecMemsetNodeSetParams(
	CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext context)
{
	struct sim_work work;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult made =
		set_work(p->dst, p->pitch, p->value, p->elementSize, p->width, p->height, &work);
	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS *p)
{
	struct sim_work work;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult made = host_work(p->fn, p->userData, &work);
	return change(node, made, &work);
}

CUresult sim_cuGraphExecHostNodeSetParams(
	CUgraphExec exec, CUgraphNode node, const CUDA_HOST_NODE_PARAMS *p)
{
	struct sim_work work;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult made = host_work(p->fn, p->userData, &work);
	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphBatchMemOpNodeSetParams(
	CUgraphNode node, const CUDA_BATCH_MEM_OP_NODE_PARAMS *params)
{
	struct sim_work work;
	CUresult made = batch_work(params, &work);

	return change(node, made, &work);
}

CUresult sim_cuGraphExecBatchMemOpNodeSetParams(
	CUgraphExec exec, CUgraphNode node, const CUDA_BATCH_MEM_OP_NODE_PARAMS *params)
{
	struct sim_work work;
	CUresult made = batch_work(params, &work);

	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event)
{
	struct sim_work work;
	CUresult made = event_work(event, SIM_WORK_RECORD, &work);

	return change(node, made, &work);
}

CUresult sim_cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event)
{
	struct sim_work work;
	CUresult made = event_work(event, SIM_WORK_WAIT, &work);

	return change(node, made, &work);
}

CUresult sim_cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event)
{
	struct sim_work work;
	CUresult made = event_work(event, SIM_WORK_RECORD, &work);

	return change_exec(exec, node, made, &work);
}

CUresult sim_cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event)
{
	struct sim_work work;
	CUresult made = event_work(event, SIM_WORK_WAIT, &work);

	return change_exec(exec, node, made, &work);
}
