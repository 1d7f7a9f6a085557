/* SPDX-License-Identifier: Apache-2.0 */
/* graph.c - graphs and their nodes. */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "graph.h"

struct sim_graph *sim_graph_of(CUgraph handle)
{
	struct sim_graph *g = (struct sim_graph *)handle;

	return g && (uintptr_t)g % 8 == 0 && g->magic == SIM_GRAPH_MAGIC ? g : NULL;
}

struct sim_node *sim_node_of(CUgraphNode handle)
{
	struct sim_node *n = (struct sim_node *)handle;

	return n && (uintptr_t)n % 8 == 0 && n->magic == SIM_NODE_MAGIC ? n : NULL;
}

struct sim_graph *sim_graph_new(void)
{
	struct sim_graph *g = calloc(1, sizeof(*g));

	if (g)
		g->magic = SIM_GRAPH_MAGIC;
	return g;
}

static void node_free(struct sim_node *node)
{
	sim_work_clear(&node->work);
	node->magic = SIM_DEAD_MAGIC;
	free(node->deps);
	free(node);
}

void sim_graph_free(struct sim_graph *graph)
{
	if (!graph)
		return;
	for (uint32_t i = 0; i < graph->n_nodes; i++)
		node_free(graph->nodes[i]);
	graph->magic = SIM_DEAD_MAGIC;
	free(graph->nodes);
	free(graph);
}

bool sim_work_copy(struct sim_work *dst, const struct sim_work *src)
{
	*dst = *src;
	if (src->type == SIM_WORK_KERNEL) {
		uint32_t size =
			src->launch.kernel->params_size ? src->launch.kernel->params_size : 8;
		dst->launch.pointers = NULL;
		dst->launch.params = malloc(size);
		if (!dst->launch.params)
			return false;
		memcpy(dst->launch.params, src->launch.params, size);
	} else if (src->type == SIM_WORK_BATCH) {
		dst->batch.ops = malloc((src->batch.n + 1) * sizeof(*dst->batch.ops));
		if (!dst->batch.ops)
			return false;
		memcpy(dst->batch.ops, src->batch.ops, src->batch.n * sizeof(*dst->batch.ops));
	} else if (src->type == SIM_WORK_GRAPH) {
		atomic_fetch_add(&src->nodes->refs, 1);
	} else if (src->type == SIM_WORK_CHILD || src->type == SIM_WORK_CONDITIONAL) {
		return sim_graph_clone(src->child, &dst->child) == CUDA_SUCCESS;
	}
	return true;
}

CUresult sim_graph_add(struct sim_graph *graph, struct sim_node *const *deps, uint32_t n_deps,
	struct sim_work *work, struct sim_node **ret)
{
	CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
	struct sim_node *node = calloc(1, sizeof(*node));

	if (!node)
		goto no_node;
	for (uint32_t i = 0; i < n_deps; i++) {
		if (!sim_node_of((CUgraphNode)deps[i]) || deps[i]->graph != graph) {
			result = CUDA_ERROR_INVALID_VALUE;
			goto no_deps;
		}
	}
	node->deps = n_deps ? malloc(n_deps * sizeof(*node->deps)) : NULL;
	if (n_deps && !node->deps)
		goto no_deps;
	if (graph->n_nodes == graph->cap) {
		uint32_t cap = graph->cap ? graph->cap * 2 : 16;
		struct sim_node **grown = realloc(graph->nodes, cap * sizeof(*grown));
		if (!grown)
			goto no_room;
		graph->nodes = grown;
		graph->cap = cap;
	}
	if (n_deps)
		memcpy(node->deps, deps, n_deps * sizeof(*deps));
	node->n_deps = n_deps;
	node->magic = SIM_NODE_MAGIC;
	node->graph = graph;
	node->work = *work;
	graph->nodes[graph->n_nodes++] = node;
	*ret = node;
	return CUDA_SUCCESS;
no_room:
	free(node->deps);
no_deps:
	free(node);
no_node:
	sim_work_clear(work);
	return result;
}

CUresult sim_graph_clone(const struct sim_graph *graph, struct sim_graph **ret)
{
	struct sim_graph *copy = sim_graph_new();

	if (!copy)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (uint32_t i = 0; i < graph->n_nodes; i++) {
		struct sim_node *node;
		struct sim_work work;
		if (!sim_work_copy(&work, &graph->nodes[i]->work) ||
			sim_graph_add(copy, NULL, 0, &work, &node) != CUDA_SUCCESS)
			goto fail;
		node->clone_of = graph->nodes[i];
		graph->nodes[i]->index = i;
	}
	for (uint32_t i = 0; i < graph->n_nodes; i++) {
		const struct sim_node *from = graph->nodes[i];
		struct sim_node *to = copy->nodes[i];
		if (!from->n_deps)
			continue;
		to->deps = malloc(from->n_deps * sizeof(*to->deps));
		if (!to->deps)
			goto fail;
		to->n_deps = from->n_deps;
		for (uint32_t k = 0; k < from->n_deps; k++)
			to->deps[k] = copy->nodes[from->deps[k]->index];
	}
	*ret = copy;
	return CUDA_SUCCESS;
fail:
	sim_graph_free(copy);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

/* ---- graphs ---- */

CUresult sim_cuGraphCreate(CUgraph *ret, unsigned int flags)
{
	if (!ret || flags)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUgraph)sim_graph_new();
	return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult sim_cuGraphDestroy(CUgraph handle)
{
	struct sim_graph *graph = sim_graph_of(handle);

	if (!graph || graph->embedded || graph->capturing)
		return CUDA_ERROR_INVALID_VALUE;
	sim_graph_free(graph);
	return CUDA_SUCCESS;
}

CUresult sim_cuGraphClone(CUgraph *ret, CUgraph handle)
{
	struct sim_graph *graph = sim_graph_of(handle), *copy;

	if (!ret || !graph)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	CUresult result = sim_graph_clone(graph, &copy);
	pthread_mutex_unlock(&sim_lock);
	if (result == CUDA_SUCCESS)
		*ret = (CUgraph)copy;
	return result;
}

CUresult sim_cuGraphNodeFindInClone(CUgraphNode *ret, CUgraphNode original, CUgraph handle)
{
	struct sim_graph *graph = sim_graph_of(handle);

	if (!ret || !graph)
		return CUDA_ERROR_INVALID_VALUE;
	for (uint32_t i = 0; i < graph->n_nodes; i++) {
		if (graph->nodes[i]->clone_of == (struct sim_node *)original) {
			*ret = (CUgraphNode)graph->nodes[i];
			return CUDA_SUCCESS;
		}
	}
	return CUDA_ERROR_INVALID_VALUE;
}
