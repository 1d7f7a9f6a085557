/* SPDX-License-Identifier: Apache-2.0 */
/* node_info.c - what a graph has: nodes, edges, parameters. */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "graph.h"

/* ---- parameters ---- */

/* Pointers into the node's own block, as the driver gives them. */
static void **param_pointers(struct sim_launch *l)
{
	if (!l->pointers)
		l->pointers = calloc(l->kernel->n_params + 1, sizeof(*l->pointers));
	for (uint32_t i = 0; l->pointers && i < l->kernel->n_params; i++)
		l->pointers[i] = l->params + l->kernel->params[i].offset;
	return l->pointers;
}

static struct sim_node *node_of_type(CUgraphNode handle, enum sim_work_type type)
{
	struct sim_node *node = sim_node_of(handle);

	return node && node->work.type == type ? node : NULL;
}

CUresult sim_cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS *ret)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_KERNEL);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_launch *l = &node->work.launch;
	memset(ret, 0, sizeof(*ret));
	ret->func = (CUfunction)l->function;
	ret->gridDimX = l->grid[0];
	ret->gridDimY = l->grid[1];
	ret->gridDimZ = l->grid[2];
	ret->blockDimX = l->block[0];
	ret->blockDimY = l->block[1];
	ret->blockDimZ = l->block[2];
	ret->sharedMemBytes = l->shared;
	if (l->packed) {
		l->size = l->kernel->params_size;
		memcpy(l->extra,
			(void *[]){CU_LAUNCH_PARAM_BUFFER_POINTER, l->params,
				CU_LAUNCH_PARAM_BUFFER_SIZE, &l->size, CU_LAUNCH_PARAM_END},
			sizeof(l->extra));
		ret->extra = l->extra;
		return CUDA_SUCCESS;
	}
	ret->kernelParams = param_pointers(l);
	return ret->kernelParams ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult sim_cuGraphKernelNodeGetParams(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v1 *ret)
{
	CUDA_KERNEL_NODE_PARAMS v2;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = sim_cuGraphKernelNodeGetParams_v2(handle, &v2);
	if (result == CUDA_SUCCESS)
		memcpy(ret, &v2, sizeof(*ret)); /* v2 is v1 with a tail */
	return result;
}

static CUmemorytype type_of(uint64_t addr, bool host_possible)
{
	if (!host_possible)
		return CU_MEMORYTYPE_DEVICE;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *range = sim_range_find(addr);
	pthread_mutex_unlock(&sim_memory_lock);
	return !range || range->kind == SIM_RANGE_HOST || range->kind == SIM_RANGE_REGISTERED
		       ? CU_MEMORYTYPE_HOST
		       : CU_MEMORYTYPE_DEVICE;
}

CUresult sim_cuGraphMemcpyNodeGetParams(CUgraphNode handle, CUDA_MEMCPY3D *ret)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_COPY);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	const struct sim_copy *c = &node->work.copy;
	memset(ret, 0, sizeof(*ret));
	ret->srcMemoryType = type_of(c->src, c->src_host);
	ret->srcHost = (const void *)c->src;
	ret->srcDevice = c->src;
	ret->srcPitch = c->src_pitch ? c->src_pitch : c->width;
	ret->srcHeight = c->src_slice ? c->src_slice / ret->srcPitch : c->height;
	ret->dstMemoryType = type_of(c->dst, c->dst_host);
	ret->dstHost = (void *)c->dst;
	ret->dstDevice = c->dst;
	ret->dstPitch = c->dst_pitch ? c->dst_pitch : c->width;
	ret->dstHeight = c->dst_slice ? c->dst_slice / ret->dstPitch : c->height;
	ret->WidthInBytes = c->width;
	ret->Height = c->height;
	ret->Depth = c->depth;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphMemsetNodeGetParams(CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS *ret)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_SET);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	const struct sim_set *s = &node->work.set;
	*ret = (CUDA_MEMSET_NODE_PARAMS){.dst = s->dst,
		.pitch = s->pitch,
		.value = s->value,
		.elementSize = s->element,
		.width = s->width,
		.height = s->height};
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphHostNodeGetParams(CUgraphNode handle, CUDA_HOST_NODE_PARAMS *ret)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_HOST);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	ret->fn = node->work.host.fn;
	ret->userData = node->work.host.data;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph *ret)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_CHILD);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUgraph)node->work.child;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphEventRecordNodeGetEvent(CUgraphNode handle, CUevent *ret)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_RECORD);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUevent)node->work.event.event;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphEventWaitNodeGetEvent(CUgraphNode handle, CUevent *ret)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_WAIT);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUevent)node->work.event.event;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType *ret)
{
	struct sim_node *node = sim_node_of(handle);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = sim_node_type(&node->work);
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphKernelNodeGetAttribute(
	CUgraphNode handle, CUkernelNodeAttrID attribute, CUkernelNodeAttrValue *ret)
{
	const struct sim_node *node = node_of_type(handle, SIM_WORK_KERNEL);

	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	if (attribute == CU_KERNEL_NODE_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE)
		ret->deviceUpdatableKernelNode.deviceUpdatable = node->work.launch.updatable;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphKernelNodeSetAttribute(
	CUgraphNode handle, CUkernelNodeAttrID attribute, const CUkernelNodeAttrValue *value)
{
	struct sim_node *node = node_of_type(handle, SIM_WORK_KERNEL);

	if (!node || !value)
		return CUDA_ERROR_INVALID_VALUE;
	if (attribute == CU_KERNEL_NODE_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE)
		node->work.launch.updatable = value->deviceUpdatableKernelNode.deviceUpdatable;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphKernelNodeCopyAttributes(CUgraphNode dst, CUgraphNode src)
{
	return node_of_type(dst, SIM_WORK_KERNEL) && node_of_type(src, SIM_WORK_KERNEL)
		       ? CUDA_SUCCESS
		       : CUDA_ERROR_INVALID_VALUE;
}

/* ---- lists: NULL asks for the number, unused room is zeroed ---- */

struct list {
	CUgraphNode *nodes;
	size_t room, n;
};

static void put(struct list *list, struct sim_node *node)
{
	if (list->nodes && list->n < list->room)
		list->nodes[list->n] = (CUgraphNode)node;
	list->n++;
}

static CUresult end(struct list *list, size_t *ret_n)
{
	if (!list->nodes) {
		*ret_n = list->n;
		return CUDA_SUCCESS;
	}
	for (size_t i = list->n; i < list->room; i++)
		list->nodes[i] = NULL;
	*ret_n = list->n < list->room ? list->n : list->room;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *n)
{
	struct sim_graph *graph = sim_graph_of(handle);

	if (!graph || !n)
		return CUDA_ERROR_INVALID_VALUE;
	struct list list = {nodes, *n, 0};
	for (uint32_t i = 0; i < graph->n_nodes; i++)
		put(&list, graph->nodes[i]);
	return end(&list, n);
}

CUresult sim_cuGraphGetRootNodes(CUgraph handle, CUgraphNode *nodes, size_t *n)
{
	struct sim_graph *graph = sim_graph_of(handle);

	if (!graph || !n)
		return CUDA_ERROR_INVALID_VALUE;
	struct list list = {nodes, *n, 0};
	for (uint32_t i = 0; i < graph->n_nodes; i++)
		if (!graph->nodes[i]->n_deps)
			put(&list, graph->nodes[i]);
	return end(&list, n);
}

CUresult sim_cuGraphGetEdges_v2(
	CUgraph handle, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data, size_t *n)
{
	struct sim_graph *graph = sim_graph_of(handle);

	if (!graph || !n || !from != !to)
		return CUDA_ERROR_INVALID_VALUE;
	struct list froms = {from, *n, 0}, tos = {to, *n, 0};
	if (data)
		memset(data, 0, *n * sizeof(*data));
	for (uint32_t i = 0; i < graph->n_nodes; i++) {
		for (uint32_t k = 0; k < graph->nodes[i]->n_deps; k++) {
			put(&froms, graph->nodes[i]->deps[k]);
			put(&tos, graph->nodes[i]);
		}
	}
	end(&froms, n);
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphGetEdges(CUgraph handle, CUgraphNode *from, CUgraphNode *to, size_t *n)
{
	return sim_cuGraphGetEdges_v2(handle, from, to, NULL, n);
}

CUresult sim_cuGraphNodeGetDependencies_v2(
	CUgraphNode handle, CUgraphNode *deps, CUgraphEdgeData *data, size_t *n)
{
	struct sim_node *node = sim_node_of(handle);

	if (!node || !n)
		return CUDA_ERROR_INVALID_VALUE;
	struct list list = {deps, *n, 0};
	if (data)
		memset(data, 0, *n * sizeof(*data));
	for (uint32_t i = 0; i < node->n_deps; i++)
		put(&list, node->deps[i]);
	return end(&list, n);
}

CUresult sim_cuGraphNodeGetDependencies(CUgraphNode handle, CUgraphNode *deps, size_t *n)
{
	return sim_cuGraphNodeGetDependencies_v2(handle, deps, NULL, n);
}

CUresult sim_cuGraphNodeGetDependentNodes_v2(
	CUgraphNode handle, CUgraphNode *nodes, CUgraphEdgeData *data, size_t *n)
{
	struct sim_node *node = sim_node_of(handle);

	if (!node || !n)
		return CUDA_ERROR_INVALID_VALUE;
	struct list list = {nodes, *n, 0};
	if (data)
		memset(data, 0, *n * sizeof(*data));
	for (uint32_t i = 0; i < node->graph->n_nodes; i++)
		for (uint32_t k = 0; k < node->graph->nodes[i]->n_deps; k++)
			if (node->graph->nodes[i]->deps[k] == node)
				put(&list, node->graph->nodes[i]);
	return end(&list, n);
}

CUresult sim_cuGraphNodeGetDependentNodes(CUgraphNode handle, CUgraphNode *nodes, size_t *n)
{
	return sim_cuGraphNodeGetDependentNodes_v2(handle, nodes, NULL, n);
}

/* ---- edges ---- */

static bool has_dep(const struct sim_node *node, const struct sim_node *dep, uint32_t *ret_at)
{
	for (uint32_t i = 0; i < node->n_deps; i++) {
		if (node->deps[i] == dep) {
			*ret_at = i;
			return true;
		}
	}
	return false;
}

CUresult sim_cuGraphAddDependencies_v2(CUgraph handle, const CUgraphNode *from,
	const CUgraphNode *to, const CUgraphEdgeData *data, size_t n)
{
	struct sim_graph *graph = sim_graph_of(handle);
	CUresult result = CUDA_SUCCESS;
	uint32_t at;

	if (!graph || (n && (!from || !to)))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	for (size_t i = 0; i < n && result == CUDA_SUCCESS; i++) {
		struct sim_node *a = sim_node_of(from[i]), *b = sim_node_of(to[i]);
		if (!a || !b || a->graph != graph || b->graph != graph || has_dep(b, a, &at)) {
			result = CUDA_ERROR_INVALID_VALUE;
			break;
		}
		struct sim_node **grown = realloc(b->deps, (b->n_deps + 1) * sizeof(*grown));
		if (!grown) {
			result = CUDA_ERROR_OUT_OF_MEMORY;
			break;
		}
		b->deps = grown;
		b->deps[b->n_deps++] = a;
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

CUresult sim_cuGraphAddDependencies(
	CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
	return sim_cuGraphAddDependencies_v2(graph, from, to, NULL, n);
}

static void remove_dep(struct sim_node *node, uint32_t at)
{
	memmove(&node->deps[at], &node->deps[at + 1],
		(node->n_deps - at - 1) * sizeof(*node->deps));
	node->n_deps--;
}

CUresult sim_cuGraphRemoveDependencies_v2(CUgraph handle, const CUgraphNode *from,
	const CUgraphNode *to, const CUgraphEdgeData *data, size_t n)
{
	struct sim_graph *graph = sim_graph_of(handle);
	CUresult result = CUDA_SUCCESS;
	uint32_t at;

	if (!graph || (n && (!from || !to)))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	for (size_t i = 0; i < n && result == CUDA_SUCCESS; i++) {
		struct sim_node *a = sim_node_of(from[i]), *b = sim_node_of(to[i]);
		if (a && b && b->graph == graph && has_dep(b, a, &at))
			remove_dep(b, at);
		else
			result = CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

CUresult sim_cuGraphRemoveDependencies(
	CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
	return sim_cuGraphRemoveDependencies_v2(graph, from, to, NULL, n);
}

CUresult sim_cuGraphDestroyNode(CUgraphNode handle)
{
	struct sim_node *node = sim_node_of(handle);
	uint32_t at;

	if (!node)
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_graph *graph = node->graph;
	pthread_mutex_lock(&sim_lock);
	for (uint32_t i = 0; i < graph->n_nodes; i++)
		if (has_dep(graph->nodes[i], node, &at))
			remove_dep(graph->nodes[i], at);
	for (uint32_t i = 0; i < graph->n_nodes; i++) {
		if (graph->nodes[i] == node) {
			memmove(&graph->nodes[i], &graph->nodes[i + 1],
				(graph->n_nodes - i - 1) * sizeof(*graph->nodes));
			graph->n_nodes--;
			break;
		}
	}
	pthread_mutex_unlock(&sim_lock);
	sim_work_clear(&node->work);
	node->magic = SIM_DEAD_MAGIC;
	free(node->deps);
	free(node);
	return CUDA_SUCCESS;
}
