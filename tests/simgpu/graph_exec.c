/* SPDX-License-Identifier: Apache-2.0 */
/* graph_exec.c - executable graphs: made, updated, changed node by node, launched. */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "graph.h"

static struct sim_exec *exec_of(CUgraphExec handle)
{
	struct sim_exec *e = (struct sim_exec *)handle;

	return e && (uintptr_t)e % 8 == 0 && e->magic == SIM_EXEC_MAGIC ? e : NULL;
}

void sim_exec_nodes_put(struct sim_exec_nodes *nodes)
{
	if (!nodes || atomic_fetch_sub(&nodes->refs, 1) != 1)
		return;
	for (uint32_t i = 0; i < nodes->n; i++) {
		sim_work_clear(&nodes->nodes[i].work);
		free(nodes->nodes[i].deps);
	}
	free(nodes);
}

/* Orders the nodes: a node after its dependencies, else as created. False: there is a cycle. */
static bool order(struct sim_graph *graph, struct sim_node **ret)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < graph->n_nodes; i++)
		graph->nodes[i]->index = UINT32_MAX;
	while (done < graph->n_nodes) {
		uint32_t before = done;
		for (uint32_t i = 0; i < graph->n_nodes; i++) {
			struct sim_node *node = graph->nodes[i];
			bool free_to_go = node->index == UINT32_MAX;
			for (uint32_t k = 0; k < node->n_deps && free_to_go; k++)
				free_to_go = node->deps[k]->index != UINT32_MAX;
			if (free_to_go) {
				node->index = done;
				ret[done++] = node;
			}
		}
		if (done == before)
			return false;
	}
	return true;
}

static bool exec_node_fill(struct sim_exec_node *to, const struct sim_node *from)
{
	to->origin = from;
	if (from->n_deps) {
		to->deps = malloc(from->n_deps * sizeof(*to->deps));
		if (!to->deps)
			return false;
		to->n_deps = from->n_deps;
		for (uint32_t k = 0; k < from->n_deps; k++)
			to->deps[k] = from->deps[k]->index;
	}
	if (from->work.type == SIM_WORK_CHILD) {
		struct sim_exec_nodes *child;
		if (sim_exec_nodes_new(from->work.child, &child) != CUDA_SUCCESS)
			return false;
		to->work.type = SIM_WORK_GRAPH;
		to->work.nodes = child;
		return true;
	}
	if (from->work.type == SIM_WORK_CONDITIONAL) {
		to->work.type = SIM_WORK_EMPTY; /* its value is 0 */
		return true;
	}
	if (!sim_work_copy(&to->work, &from->work)) {
		to->work.type = SIM_WORK_EMPTY;
		return false;
	}
	return true;
}

static bool node_may_wait(const struct sim_work *work)
{
	if (work->type == SIM_WORK_CHILD)
		for (uint32_t i = 0; i < work->child->n_nodes; i++)
			if (node_may_wait(&work->child->nodes[i]->work))
				return true;
	return work->type == SIM_WORK_HOST || work->type == SIM_WORK_BATCH ||
	       work->type == SIM_WORK_MEMOP;
}

bool sim_exec_nodes_may_wait(const struct sim_exec_nodes *nodes)
{
	return nodes->may_wait;
}

CUresult sim_exec_nodes_new(struct sim_graph *graph, struct sim_exec_nodes **ret)
{
	uint32_t n = graph->n_nodes;
	struct sim_exec_nodes *nodes = calloc(1, sizeof(*nodes) + n * sizeof(nodes->nodes[0]));
	struct sim_node **sorted = calloc(n + 1, sizeof(*sorted));
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;

	if (!nodes || !sorted)
		goto fail;
	if (!order(graph, sorted)) {
		result = CUDA_ERROR_INVALID_VALUE;
		goto fail;
	}
	nodes->refs = 1;
	for (uint32_t i = 0; i < n; i++) {
		nodes->n = i + 1;
		nodes->may_wait |= node_may_wait(&sorted[i]->work);
		if (!exec_node_fill(&nodes->nodes[i], sorted[i])) {
			sim_exec_nodes_put(nodes);
			nodes = NULL;
			goto fail;
		}
	}
	free(sorted);
	*ret = nodes;
	return CUDA_SUCCESS;
fail:
	free(sorted);
	free(nodes);
	return result;
}

/* An event recorded by a graph is complete when its node has run. */
static void record_now(struct sim_context *context, struct sim_event *event)
{
	pthread_mutex_lock(&sim_lock);
	event->stream = context->legacy;
	event->ticket = 0;
	event->recorded = true;
	pthread_mutex_unlock(&sim_lock);
}

void sim_exec_nodes_run(struct sim_context *context, struct sim_exec_nodes *nodes)
{
	for (uint32_t i = 0; i < nodes->n; i++) {
		if (atomic_load(&context->sticky))
			return;
		if (nodes->nodes[i].disabled)
			continue;
		struct sim_work work = nodes->nodes[i].work;
		if (work.type == SIM_WORK_KERNEL)
			work.launch.seq = sim_next_seq();
		if (work.type == SIM_WORK_RECORD)
			record_now(context, work.event.event);
		sim_work_run(context, &work);
	}
}

bool sim_exec_nodes_touch(const struct sim_exec_nodes *nodes, uint64_t addr, uint64_t end,
	uint64_t range, uint64_t range_end)
{
	for (uint32_t i = 0; i < nodes->n; i++)
		if (!nodes->nodes[i].disabled &&
			sim_work_touches(&nodes->nodes[i].work, addr, end, range, range_end))
			return true;
	return false;
}

static CUresult instantiate(CUgraphExec *ret, CUgraph handle, unsigned long long flags)
{
	struct sim_graph *graph = sim_graph_of(handle);
	CUresult result;

	if (!ret || !graph)
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_exec *exec = calloc(1, sizeof(*exec));
	if (!exec)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&sim_lock);
	result = graph->capturing ? CUDA_ERROR_ILLEGAL_STATE
				  : sim_exec_nodes_new(graph, &exec->nodes);
	pthread_mutex_unlock(&sim_lock);
	if (result != CUDA_SUCCESS) {
		free(exec);
		return result;
	}
	exec->magic = SIM_EXEC_MAGIC;
	exec->flags = flags;
	exec->context = sim_context_current();
	*ret = (CUgraphExec)exec;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphInstantiateWithFlags(CUgraphExec *ret, CUgraph graph, unsigned long long flags)
{
	return instantiate(ret, graph, flags);
}

CUresult sim_cuGraphInstantiate(
	CUgraphExec *ret, CUgraph graph, CUgraphNode *node, char *log, size_t size)
{
	if (node)
		*node = NULL;
	if (log && size)
		*log = '\0';
	return instantiate(ret, graph, 0);
}

CUresult sim_cuGraphInstantiate_v2(
	CUgraphExec *ret, CUgraph graph, CUgraphNode *node, char *log, size_t size)
{
	return sim_cuGraphInstantiate(ret, graph, node, log, size);
}

CUresult sim_cuGraphInstantiateWithParams(
	CUgraphExec *ret, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
	if (!params)
		return CUDA_ERROR_INVALID_VALUE;
	params->hErrNode_out = NULL;
	CUresult result = instantiate(ret, graph, params->flags);
	params->result_out = result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS
						    : CUDA_GRAPH_INSTANTIATE_ERROR;
	return result;
}

/* Where two topologies differ: an index into b, or UINT32_MAX. */
static uint32_t differs(const struct sim_exec_nodes *a, const struct sim_exec_nodes *b,
	CUgraphExecUpdateResult *ret_why)
{
	*ret_why = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
	for (uint32_t i = 0; i < a->n && i < b->n; i++) {
		const struct sim_exec_node *x = &a->nodes[i], *y = &b->nodes[i];
		if (x->work.type != y->work.type) {
			*ret_why = CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
			return i;
		}
		if (x->n_deps != y->n_deps ||
			(x->n_deps && memcmp(x->deps, y->deps, x->n_deps * sizeof(*x->deps)) != 0))
			return i;
		CUgraphExecUpdateResult why;
		if (x->work.type == SIM_WORK_GRAPH &&
			differs(x->work.nodes, y->work.nodes, &why) != UINT32_MAX)
			return i;
	}
	if (a->n != b->n)
		return a->n < b->n ? a->n : b->n;
	*ret_why = CU_GRAPH_EXEC_UPDATE_SUCCESS;
	return UINT32_MAX;
}

CUresult sim_cuGraphExecUpdate_v2(
	CUgraphExec exec_handle, CUgraph graph_handle, CUgraphExecUpdateResultInfo *info)
{
	struct sim_exec *exec = exec_of(exec_handle);
	struct sim_graph *graph = sim_graph_of(graph_handle);
	struct sim_exec_nodes *nodes, *old = NULL;
	CUgraphExecUpdateResult why = CU_GRAPH_EXEC_UPDATE_ERROR;

	if (!exec || !graph || !info)
		return CUDA_ERROR_INVALID_VALUE;
	memset(info, 0, sizeof(*info));
	pthread_mutex_lock(&sim_lock);
	CUresult result = sim_exec_nodes_new(graph, &nodes);
	if (result == CUDA_SUCCESS) {
		uint32_t at = differs(exec->nodes, nodes, &why);
		if (at == UINT32_MAX) {
			for (uint32_t i = 0; i < nodes->n; i++) {
				nodes->nodes[i].origin = exec->nodes->nodes[i].origin;
				nodes->nodes[i].disabled = exec->nodes->nodes[i].disabled;
			}
			old = exec->nodes;
			exec->nodes = nodes;
		} else {
			info->errorNode = at < nodes->n
						  ? (CUgraphNode)(uintptr_t)nodes->nodes[at].origin
						  : NULL;
			old = nodes;
			result = CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
		}
	}
	pthread_mutex_unlock(&sim_lock);
	info->result = why;
	sim_exec_nodes_put(old);
	return result;
}

CUresult sim_cuGraphExecUpdate(
	CUgraphExec exec, CUgraph graph, CUgraphNode *node, CUgraphExecUpdateResult *why)
{
	CUgraphExecUpdateResultInfo info;
	CUresult result = sim_cuGraphExecUpdate_v2(exec, graph, &info);

	if (node)
		*node = info.errorNode;
	if (why)
		*why = info.result;
	return result;
}

CUresult sim_cuGraphExecDestroy(CUgraphExec handle)
{
	struct sim_exec *exec = exec_of(handle);

	if (!exec)
		return CUDA_ERROR_INVALID_VALUE;
	exec->magic = SIM_DEAD_MAGIC;
	sim_exec_nodes_put(exec->nodes);
	free(exec);
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphExecGetFlags(CUgraphExec handle, cuuint64_t *flags)
{
	struct sim_exec *exec = exec_of(handle);

	if (!exec || !flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = exec->flags;
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphLaunch(CUgraphExec handle, CUstream stream_handle)
{
	struct sim_exec *exec = exec_of(handle);
	CUresult result;

	if (!exec)
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_stream *stream = sim_stream_get(stream_handle, &result);
	if (!stream)
		return result;
	pthread_mutex_lock(&sim_lock);
	struct sim_work work = {.type = SIM_WORK_GRAPH, .nodes = exec->nodes};
	atomic_fetch_add(&exec->nodes->refs, 1);
	pthread_mutex_unlock(&sim_lock);
	return sim_submit(stream, &work);
}

CUresult sim_cuGraphUpload(CUgraphExec handle, CUstream stream)
{
	CUresult result;

	if (!exec_of(handle))
		return CUDA_ERROR_INVALID_VALUE;
	return sim_stream_get(stream, &result) ? CUDA_SUCCESS : result;
}

/* ---- changing nodes of an executable graph ---- */

/* The node made of handle, in a list that nobody else holds. NULL: *ret_error. With sim_lock. */
static struct sim_exec_node *own_node(
	struct sim_exec *exec, const void *origin, CUresult *ret_error)
{
	uint32_t n = exec->nodes->n, at = 0;

	*ret_error = CUDA_ERROR_INVALID_VALUE;
	while (at < n && exec->nodes->nodes[at].origin != origin)
		at++;
	if (at == n)
		return NULL;
	if (atomic_load(&exec->nodes->refs) == 1)
		return &exec->nodes->nodes[at];
	*ret_error = CUDA_ERROR_OUT_OF_MEMORY;
	struct sim_exec_nodes *copy = calloc(1, sizeof(*copy) + n * sizeof(copy->nodes[0]));
	if (!copy)
		return NULL;
	copy->refs = 1;
	copy->may_wait = exec->nodes->may_wait;
	for (uint32_t i = 0; i < n; i++) {
		struct sim_exec_node *to = &copy->nodes[i], *from = &exec->nodes->nodes[i];
		copy->n = i + 1;
		to->origin = from->origin;
		to->disabled = from->disabled;
		to->n_deps = from->n_deps;
		to->deps = from->n_deps ? malloc(from->n_deps * sizeof(*to->deps)) : NULL;
		if ((from->n_deps && !to->deps) || !sim_work_copy(&to->work, &from->work)) {
			to->work.type = SIM_WORK_EMPTY;
			sim_exec_nodes_put(copy);
			return NULL;
		}
		if (from->n_deps)
			memcpy(to->deps, from->deps, from->n_deps * sizeof(*to->deps));
	}
	sim_exec_nodes_put(exec->nodes);
	exec->nodes = copy;
	return &copy->nodes[at];
}

CUresult sim_exec_set(CUgraphExec handle, CUgraphNode node, struct sim_work *work)
{
	struct sim_exec *exec = exec_of(handle);
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct sim_work old = *work;

	if (exec) {
		pthread_mutex_lock(&sim_lock);
		struct sim_exec_node *n = own_node(exec, node, &result);
		if (n && n->work.type == work->type) {
			old = n->work;
			n->work = *work;
			result = CUDA_SUCCESS;
		} else if (n) {
			result = CUDA_ERROR_INVALID_VALUE;
		}
		pthread_mutex_unlock(&sim_lock);
	}
	sim_work_clear(&old);
	return result;
}

CUresult sim_cuGraphExecChildGraphNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraph handle)
{
	struct sim_graph *graph = sim_graph_of(handle);
	struct sim_work work = {.type = SIM_WORK_GRAPH};

	if (!graph)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	CUresult result = sim_exec_nodes_new(graph, &work.nodes);
	pthread_mutex_unlock(&sim_lock);
	return result == CUDA_SUCCESS ? sim_exec_set(exec, node, &work) : result;
}

CUresult sim_cuGraphNodeSetEnabled(CUgraphExec handle, CUgraphNode node, unsigned int enabled)
{
	struct sim_exec *exec = exec_of(handle);
	CUresult result;

	if (!exec)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	struct sim_exec_node *n = own_node(exec, node, &result);
	if (n) {
		n->disabled = !enabled;
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

CUresult sim_cuGraphNodeGetEnabled(CUgraphExec handle, CUgraphNode node, unsigned int *enabled)
{
	struct sim_exec *exec = exec_of(handle);
	CUresult result = CUDA_ERROR_INVALID_VALUE;

	if (!exec || !enabled)
		return result;
	pthread_mutex_lock(&sim_lock);
	for (uint32_t i = 0; i < exec->nodes->n && result != CUDA_SUCCESS; i++) {
		if (exec->nodes->nodes[i].origin == node) {
			*enabled = !exec->nodes->nodes[i].disabled;
			result = CUDA_SUCCESS;
		}
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}
