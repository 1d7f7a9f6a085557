/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_exec.h - executable graphs (P4): what is known about each, and what a launch of one
 * touches.
 *
 * Only with config.rules: without them no kernel is recognised, and what a graph names leaks when a
 * node is made (graph.c).
 *
 *   graph_exec.c    the table from handle to struct kv_exec, and the calls that make, update,
 *                   change and destroy executable graphs
 *   graph_eval.c    a launch: the nodes in their order on today's index shadows
 *   graph_todo.c    what a launch has to do then
 *   graph_named.c   what the nodes name, beside launches
 *   graph_steady.c  the same when nothing has changed since the last launch but index arrays
 *
 * An exec is used by one thread at a time, as the driver demands; one that does otherwise waits.
 */
#ifndef KV_HOOKS_GRAPH_EXEC_H
#define KV_HOOKS_GRAPH_EXEC_H

#include "hooks/graph_record.h"
#include "hooks/graph_steady.h"

struct kv_exec {
	CUgraphExec handle;
	_Atomic bool taken; /* atomic: acquire and release; by the thread that uses it */
	/* The rest belongs to who has taken it. */
	bool moved;       /* its nodes are not those of the graph that it was made from */
	bool from_device; /* may be launched by a kernel: what it names has leaked */
	bool disables;    /* a node has been disabled once */
	bool zeroes;      /* the launch that was evaluated last sets memory to zero */
	struct kv_record record;
	struct kv_steady steady;
	/* What the last evaluation found, kept for its memory (graph_todo.h). */
	struct kv_todo *todos;
	uint32_t n_todos, todos_size;
};

/* The exec of this handle, taken; NULL: not known. Lock-free. */
struct kv_exec *kv_exec_take(CUgraphExec handle);
void kv_exec_drop(struct kv_exec *exec);

/*
 * [inside] Before the driver call that launches it: everything that its nodes may reach is touched
 * or leaks, shadows that they may write die. The submission is described. 0 or a negative errno.
 * *ret_exec is taken, for kv_exec_launched(), after the driver call, in any case; NULL: not known.
 */
int kv_exec_launching(CUgraphExec handle, struct kv_exec **ret_exec);
/* accepted: the driver has taken the launch. exec may be NULL. */
void kv_exec_launched(struct kv_exec *exec, bool accepted);

/* ---- graph_eval.c: the same for an exec that is taken ---- */

int kv_exec_evaluate(struct kv_exec *exec);

/* ---- graph_named.c ---- */

/* What the launch has set to zero is known to be zero. */
void kv_record_zeroed(const struct kv_record *record);
/* [inside] Copies and sets are whole already when the driver looks at their nodes. Errors are left
 * to the launch. */
void kv_record_touch_ranges(const struct kv_record *record);
/* Whatever the nodes name leaks now. */
void kv_record_leak(const struct kv_record *record, const char *by);

/* ---- graph_exec.c: the driver has changed one node of an exec ---- */

void kv_exec_set_kernel(
	CUgraphExec handle, CUgraphNode node_handle, const CUDA_KERNEL_NODE_PARAMS_v2 *params);
void kv_exec_set_copy(CUgraphExec handle, CUgraphNode node_handle, const CUDA_MEMCPY3D_v2 *params);
void kv_exec_set_set(
	CUgraphExec handle, CUgraphNode node_handle, const CUDA_MEMSET_NODE_PARAMS_v1 *params);
/* A node of the exec is this child graph now. Reads it from the driver. */
void kv_exec_set_child(CUgraphExec handle, CUgraph graph);

#endif
