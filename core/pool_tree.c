/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_tree.c - a treap: a search tree by (length, offset) that is a heap by weight. The weight is
 * a hash of the offset, so that its shape does not depend on the order of insertions.
 */
#include "core/pool_tree.h"

#include <stddef.h>

#include "core/poison.h"

static uint32_t weight_of(uint64_t offset)
{
	uint64_t x = offset + 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)(x ^ (x >> 31));
}

/* a before b? */
static bool is_before(const struct kv_extent *a, const struct kv_extent *b)
{
	return a->length != b->length ? a->length < b->length : a->offset < b->offset;
}

/* What is before extent goes to *ret_left, the rest to *ret_right. */
static void split(struct kv_extent_tree *tree, uint32_t from, const struct kv_extent *extent,
	uint32_t *ret_left, uint32_t *ret_right)
{
	while (from != KV_EXTENT_NONE) {
		struct kv_extent *node = &tree->extents[from];

		tree->n_looks++;
		if (is_before(node, extent)) {
			*ret_left = from;
			ret_left = &node->right;
			from = node->right;
		} else {
			*ret_right = from;
			ret_right = &node->left;
			from = node->left;
		}
	}
	*ret_left = *ret_right = KV_EXTENT_NONE;
}

void kv_extent_insert(struct kv_extent_tree *tree, uint32_t extent)
{
	struct kv_extent *node = &tree->extents[extent];
	uint32_t *at = &tree->root;

	node->weight = weight_of(node->offset);
	while (*at != KV_EXTENT_NONE && tree->extents[*at].weight >= node->weight) {
		tree->n_looks++;
		at = is_before(&tree->extents[*at], node) ? &tree->extents[*at].right
							  : &tree->extents[*at].left;
	}
	split(tree, *at, node, &node->left, &node->right);
	*at = extent;
}

void kv_extent_remove(struct kv_extent_tree *tree, uint32_t extent)
{
	struct kv_extent *extents = tree->extents, *node = &extents[extent];
	uint32_t *at = &tree->root, a, b;

	while (*at != extent) {
		tree->n_looks++;
		at = is_before(&extents[*at], node) ? &extents[*at].right : &extents[*at].left;
	}
	for (a = node->left, b = node->right; a != KV_EXTENT_NONE && b != KV_EXTENT_NONE;) {
		tree->n_looks++;
		if (extents[a].weight >= extents[b].weight) {
			*at = a;
			at = &extents[a].right;
			a = extents[a].right;
		} else {
			*at = b;
			at = &extents[b].left;
			b = extents[b].left;
		}
	}
	*at = a != KV_EXTENT_NONE ? a : b;
}

uint32_t kv_extent_fit(struct kv_extent_tree *tree, uint64_t length)
{
	uint32_t at = tree->root, best = KV_EXTENT_NONE;

	while (at != KV_EXTENT_NONE) {
		tree->n_looks++;
		if (tree->extents[at].length >= length) {
			best = at;
			at = tree->extents[at].left;
		} else {
			at = tree->extents[at].right;
		}
	}
	return best;
}

uint32_t kv_extent_longest(struct kv_extent_tree *tree)
{
	uint32_t at = tree->root;

	while (at != KV_EXTENT_NONE && tree->extents[at].right != KV_EXTENT_NONE) {
		tree->n_looks++;
		at = tree->extents[at].right;
	}
	return at;
}

/* The subtree at `at` lies between two extents (NULL: no bound), none of it heavier than weight. */
static int64_t check(const struct kv_extent_tree *tree, uint32_t at, const struct kv_extent *low,
	const struct kv_extent *high, uint32_t weight)
{
	const struct kv_extent *node;
	int64_t left, right;

	if (at == KV_EXTENT_NONE)
		return 0;
	node = &tree->extents[at];
	if (node->taken || !node->in_use || node->weight > weight ||
		(low && !is_before(low, node)) || (high && !is_before(node, high)))
		return -1;
	left = check(tree, node->left, low, node, node->weight);
	right = check(tree, node->right, node, high, node->weight);
	return left < 0 || right < 0 ? -1 : left + right + 1;
}

int64_t kv_extent_check(const struct kv_extent_tree *tree)
{
	return check(tree, tree->root, NULL, NULL, UINT32_MAX);
}
