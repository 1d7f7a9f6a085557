/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_record.h - what a graph does, as far as memory is concerned: its nodes in an order in which
 * they may run, each with the addresses that it names.
 *
 * A record is read from the driver when a graph is instantiated or an executable graph is updated:
 * by then the driver knows everything about its nodes, whichever way they came into it (captured,
 * added, changed, removed, cloned, as a child), and nothing can be missed. The record has copies of
 * all parameters and outlives the graph.
 *
 * Not thread-safe: whoever owns a record guards it.
 */
#ifndef KV_HOOKS_GRAPH_RECORD_H
#define KV_HOOKS_GRAPH_RECORD_H

#include "hooks/kernel.h"
#include "hooks/real.h"

enum kv_node_kind {
	KV_NODE_KERNEL = 1,
	KV_NODE_COPY = 2,
	KV_NODE_SET = 3,
	/* A child graph; its own nodes follow. */
	KV_NODE_CHILD = 4,
	/* Carries no address, but what it does is not known: it may write anywhere. */
	KV_NODE_OPAQUE = 5,
};

/* One side of a copy. */
struct kv_node_end {
	uint64_t addr,
		length; /* bytes from the first to the last one, gaps included; 0: an array */
	bool host;      /* host memory, or memory that the host can write */
};

struct kv_node {
	CUgraphNode handle; /* of the graph that was instantiated; for look-ups only */
	uint8_t kind;       /* enum kv_node_kind */
	bool disabled;
	bool added; /* by kv_record_changed() */
	union {
		struct {
			const struct kv_kernel *kernel;
			/* owned; params_size bytes by the kernel's layout. If that is not known:
			 * block_size packed ones, in which addresses may stand anywhere */
			uint8_t *block;
			uint32_t block_size;
			uint32_t grid[3], threads[3];
		};
		struct {
			struct kv_node_end dst, src;
			bool linear; /* one row: byte i of src goes to byte i of dst */
		} copy;
		struct {
			uint64_t dst, length;
			bool zero; /* without gaps, and the value is zero */
		} set;
		uint32_t n_inner; /* CHILD: nodes that follow */
	};
};

struct kv_record {
	/* NULL: everything is known. Else why not, for the log. */
	const char *unknown;
	/* If unknown: all the same it reaches nothing but what its nodes name. Which of them run,
	 * in which order, and whether they are what they were, is not known. False: it may reach
	 * anything, and there are no nodes. */
	bool named;
	/* Memory that the device or the host writes while the graph runs may be read by its copies
	 * from host memory. */
	bool host_changes;
	uint32_t n_nodes, size;
	struct kv_node *nodes;
};

/*
 * Reads the graph. Calls the driver, between kv_own_begin/end. Never fails: what cannot be read or
 * held makes the record unknown. The caller owns *ret_record and clears it.
 */
void kv_record_read(CUgraph graph, struct kv_record *ret_record);
void kv_record_clear(struct kv_record *record);
/* Forgets the nodes. why: a string that stays. */
void kv_record_spoil(struct kv_record *record, const char *why);
/* Keeps the nodes: all that is known from now on is that they name what is reached. */
void kv_record_blur(struct kv_record *record, const char *why);
/* The nodes of more, which is empty then, are nodes of record, too; both are blurred. */
void kv_record_join(struct kv_record *record, struct kv_record *more, const char *why);

/* The node of this handle, NULL if there is none. Linear. */
struct kv_node *kv_record_find(struct kv_record *record, CUgraphNode handle);
/*
 * A node of this handle has changed, which is none of the record's, or maybe one of a graph that it
 * was before an update. A node for what it is now, of kind OPAQUE until it is filled, beside all
 * others; the record is blurred. NULL: no room, and the record is spoiled.
 */
struct kv_node *kv_record_changed(struct kv_record *record, CUgraphNode handle);

/*
 * What a node holds, from parameters as the driver gives or takes them; node->handle and
 * node->disabled stay. NULL: done. Else why it cannot be told; the node is unchanged.
 */
const char *kv_node_fill_kernel(struct kv_node *node, const CUDA_KERNEL_NODE_PARAMS_v2 *params);
void kv_node_fill_copy(struct kv_node *node, const CUDA_MEMCPY3D_v2 *params);
void kv_node_fill_set(struct kv_node *node, const CUDA_MEMSET_NODE_PARAMS_v1 *params);

#endif
