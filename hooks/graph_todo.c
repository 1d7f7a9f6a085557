/* SPDX-License-Identifier: Apache-2.0 */
/* graph_todo.c - see graph_todo.h. */
#include "hooks/graph_todo.h"

#include <stdlib.h>

#include "hooks/call.h"
#include "hooks/graph_exec.h"
#include "hooks/planes.h"

#define BATCH 128u

bool kv_todo_add(struct kv_exec *x, struct kv_todo todo)
{
	if (x->n_todos) {
		struct kv_todo *last = &x->todos[x->n_todos - 1];

		if (last->kind == todo.kind && last->r == todo.r && last->offset == todo.offset &&
			last->length == todo.length)
			return true;
	}
	if (x->n_todos == x->todos_size) {
		uint32_t size = x->todos_size ? 2 * x->todos_size : 64;
		struct kv_todo *grown = realloc(x->todos, size * sizeof(*grown));

		if (!grown)
			return false;
		x->todos = grown;
		x->todos_size = size;
	}
	x->todos[x->n_todos++] = todo;
	return true;
}

static void do_extent(const struct kv_todo *t)
{
	const struct kv_extent extent = {t->offset, t->offset + t->length, t->end, t->row_stride};

	kv_planes_read(&extent);
}

static int do_todo(const struct kv_todo *t)
{
	int err = 0;

	switch (t->kind) {
	case KV_TODO_DONE:
		return 0;
	case KV_TODO_TRANSIENT:
	case KV_TODO_TRANSIENT_DEAD:
		return kv_touch_transient(
			t->r, t->offset, t->length, t->kind == KV_TODO_TRANSIENT_DEAD);
	case KV_TODO_ZERO:
		/* The node runs, so its pages need memory; then they are worth nothing again. */
		err = kv_touch(t->r, t->offset, t->length);
		return err ? err : kv_zero(t->r, t->offset, t->length);
	case KV_TODO_LEAK:
		kv_leak(t->r, KV_STATIC_GRAPH, t->by);
		return 0;
	case KV_TODO_LEAK_READ:
		kv_leak_read(t->r, KV_STATIC_GRAPH, t->by);
		return 0;
	case KV_TODO_EXTENT:
		do_extent(t);
		return 0;
	case KV_TODO_LEAK_HOST:
		kv_leak(t->r, KV_STATIC_HOST_MEMORY, t->by);
		return 0;
	default:
		kv_leak_all(kv_hooks.core, KV_STATIC_HOST_MEMORY, t->by);
		return 0;
	}
}

/* From the i-th on: all that one launch writes to one plane. Returns how many they are. */
static uint32_t do_rows(const struct kv_exec *x, uint32_t i)
{
	const struct kv_todo *first = &x->todos[i];
	struct kv_written spans[KV_REACH_ACCESSES];
	uint32_t n = 0;

	for (; i + n < x->n_todos && n < KV_REACH_ACCESSES; n++) {
		const struct kv_todo *t = &first[n];

		if (t->kind != KV_TODO_ROWS || t->base != first->base ||
			(n && t->offset < spans[n - 1].high))
			break;
		spans[n] = (struct kv_written){t->offset, t->offset + t->length};
	}
	kv_planes_write(first->base, first->row_stride, spans, n);
	return n;
}

/* Touches of one reservation from i on, in one batch, as far as nothing else comes between: an
 * extent must find what was touched before it, and nothing that is touched after it. */
static int do_touches(struct kv_exec *exec, uint32_t i)
{
	struct kv_reservation *r = exec->todos[i].r;
	struct kv_range ranges[BATCH];
	uint32_t n = 0;

	for (; i < exec->n_todos && n < BATCH; i++) {
		struct kv_todo *t = &exec->todos[i];

		if (t->kind != KV_TODO_TOUCH && t->kind != KV_TODO_DONE)
			break;
		if (t->kind == KV_TODO_DONE || t->r != r)
			continue;
		ranges[n++] = (struct kv_range){t->offset, t->length};
		t->kind = KV_TODO_DONE;
	}
	return kv_touch_ranges(r, ranges, n);
}

int kv_todos_do(struct kv_exec *exec, bool *ret_zeroes)
{
	int err = 0;

	*ret_zeroes = false;
	for (uint32_t i = 0; i < exec->n_todos && !err; i++) {
		if (exec->todos[i].kind == KV_TODO_ROWS) {
			i += do_rows(exec, i) - 1;
			continue;
		}
		*ret_zeroes |= exec->todos[i].kind == KV_TODO_ZERO;
		if (exec->todos[i].kind == KV_TODO_TOUCH)
			err = do_touches(exec, i);
		else
			err = do_todo(&exec->todos[i]);
	}
	return err;
}
