/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.h - graphs, their nodes, and what an executable graph keeps of them.
 *
 * A graph owns its nodes, a node its work. An executable graph holds a reference to an immutable
 * list of copies of the nodes' work, in an order that respects the dependencies; launches in flight
 * hold references too, so that an update never changes what has been launched. Guarded by sim_lock.
 */
#ifndef SIM_GRAPH_H
#define SIM_GRAPH_H

#include "memory.h"

#define SIM_NODE_MAGIC 0x4e4f4445u

struct sim_node {
	uint32_t magic;
	struct sim_graph *graph;
	struct sim_work work;
	struct sim_node **deps; /* owned */
	uint32_t n_deps;
	uint32_t index; /* scratch: place in the order */
	const struct sim_node *clone_of;
};

struct sim_graph {
	uint32_t magic;
	struct sim_node **nodes; /* in order of creation; owned */
	uint32_t n_nodes, cap;
	bool embedded;  /* belongs to a child node */
	bool capturing; /* a capture is adding to it */
};

struct sim_exec_node {
	struct sim_work work; /* owned; child graphs have become SIM_WORK_GRAPH */
	const void *origin;   /* the node it was made of; compared only */
	uint32_t *deps;       /* indices; owned */
	uint32_t n_deps;
	bool disabled;
};

struct sim_exec_nodes {
	_Atomic uint32_t refs;
	bool may_wait; /* has host functions or waits; immutable */
	uint32_t n;
	struct sim_exec_node nodes[];
};

struct sim_exec {
	uint32_t magic;
	struct sim_exec_nodes *nodes;
	unsigned long long flags;
	struct sim_context *context; /* in which it was instantiated */
};

struct sim_graph *sim_graph_new(void);
struct sim_graph *sim_graph_of(CUgraph handle); /* NULL: not a graph */
struct sim_node *sim_node_of(CUgraphNode handle);
/* Takes over what work owns, on failure too. CUDA_ERROR_INVALID_VALUE: a dependency of another
 * graph. */
CUresult sim_graph_add(struct sim_graph *graph, struct sim_node *const *deps, uint32_t n_deps,
	struct sim_work *work, struct sim_node **ret);
CUresult sim_graph_clone(const struct sim_graph *graph, struct sim_graph **ret);
/* A deep copy; false: no memory. */
bool sim_work_copy(struct sim_work *dst, const struct sim_work *src);
CUresult sim_exec_nodes_new(struct sim_graph *graph, struct sim_exec_nodes **ret);

/* Replaces the work of the node that was made of origin; the types must agree. Takes over what work
 * owns. */
CUresult sim_exec_set(CUgraphExec exec, CUgraphNode origin, struct sim_work *work);

/* Work from the parameters of node entry points (node.c). */
CUresult sim_work_of_params(const CUgraphNodeParams *params, struct sim_work *ret);
CUgraphNodeType sim_node_type(const struct sim_work *work);

#endif
