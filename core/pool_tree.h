/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_tree.h - free extents by (length, offset): a treap over an array of extents. Private to
 * core/pool*.c.
 */
#ifndef KV_CORE_POOL_TREE_H
#define KV_CORE_POOL_TREE_H

#include <stdbool.h>
#include <stdint.h>

#define KV_EXTENT_NONE UINT32_MAX

struct kv_extent {
	uint64_t offset, length;
	uint32_t before, behind; /* neighbours by address */
	uint32_t left, right;    /* in the tree, while free */
	uint32_t weight;         /* of the treap: a parent's is at least its children's */
	uint32_t generation;     /* of the piece's id */
	uint32_t model;          /* of a piece */
	bool taken, in_use;      /* in_use: the array's entry is an extent at all */
};

struct kv_extent_tree {
	struct kv_extent *extents; /* of the owner, who may move it between calls */
	uint32_t root;
	uint64_t n_looks;
};

void kv_extent_insert(struct kv_extent_tree *tree, uint32_t extent);
void kv_extent_remove(struct kv_extent_tree *tree, uint32_t extent);
/* The shortest extent of at least this length, of those the first by address. */
uint32_t kv_extent_fit(struct kv_extent_tree *tree, uint64_t length);
/* The longest; KV_EXTENT_NONE: the tree is empty. */
uint32_t kv_extent_longest(struct kv_extent_tree *tree);
/* -1: not a search tree or not a heap; else how many nodes. */
int64_t kv_extent_check(const struct kv_extent_tree *tree);

#endif
