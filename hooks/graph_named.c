/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_named.c - what a record names, beside launches: made whole before the driver looks at it,
 * known to be zero after a launch, or leaked for good. See graph_exec.h.
 */
#include <string.h>

#include "hooks/call.h"
#include "hooks/graph_exec.h"

void kv_record_zeroed(const struct kv_record *record)
{
	for (uint32_t i = 0; i < record->n_nodes; i++) {
		const struct kv_node *node = &record->nodes[i];
		struct kv_reservation *r;

		if (node->kind != KV_NODE_SET || !node->set.zero || node->disabled)
			continue;
		r = kv_core_find(kv_hooks.core, node->set.dst);
		if (r)
			kv_zero_done(r, node->set.dst - kv_reservation_base(r), node->set.length);
	}
}

static void touch_range(uint64_t addr, uint64_t length)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, addr);

	if (r && length)
		kv_touch(r, addr - kv_reservation_base(r), length);
}

void kv_record_touch_ranges(const struct kv_record *record)
{
	for (uint32_t i = 0; i < record->n_nodes; i++) {
		const struct kv_node *node = &record->nodes[i];

		if (node->kind == KV_NODE_COPY) {
			touch_range(node->copy.dst.addr, node->copy.dst.length);
			touch_range(node->copy.src.addr, node->copy.src.length);
		} else if (node->kind == KV_NODE_SET) {
			touch_range(node->set.dst, node->set.length);
		}
	}
}

static void leak_at(uint64_t addr, const char *by)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, addr);

	if (r)
		kv_leak(r, KV_STATIC_GRAPH, by);
}

static void leak_words(const struct kv_node *node)
{
	const struct kv_kernel *kernel = node->kernel;

	for (uint32_t at = 0; !kernel->layout_known && at + 8 <= node->block_size; at++) {
		uint64_t word;

		memcpy(&word, node->block + at, sizeof(word));
		leak_at(word, kernel->by);
	}
	for (uint32_t i = 0; i < kernel->n_words; i++) {
		const struct kv_kernel_word *w = &kernel->words[i];
		uint64_t word;

		memcpy(&word, node->block + kernel->offsets[w->param] + w->at, sizeof(word));
		leak_at(word, kernel->by);
	}
}

void kv_record_leak(const struct kv_record *record, const char *by)
{
	if (record->unknown && !record->named)
		kv_leak_all(kv_hooks.core, KV_STATIC_GRAPH, record->unknown);
	for (uint32_t i = 0; i < record->n_nodes; i++) {
		const struct kv_node *node = &record->nodes[i];

		switch (node->kind) {
		case KV_NODE_KERNEL:
			leak_words(node);
			break;
		case KV_NODE_COPY:
			leak_at(node->copy.dst.addr, by);
			leak_at(node->copy.src.addr, by);
			break;
		case KV_NODE_SET:
			leak_at(node->set.dst, by);
			break;
		default:
			break;
		}
	}
}
