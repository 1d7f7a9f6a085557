/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_todo.h - notes of what is to be done before a graph is launched.
 *
 * While the nodes are looked at the mutex of the shadows is held, under which nothing may be
 * touched; so it is noted, in node order, and done afterwards. The notes are part of an exec and
 * belong to who has taken it; their memory grows with the first launches and is kept.
 */
#ifndef KV_HOOKS_GRAPH_TODO_H
#define KV_HOOKS_GRAPH_TODO_H

#include <stdbool.h>
#include <stdint.h>

struct kv_exec;
struct kv_reservation;

enum kv_todo_kind {
	KV_TODO_DONE = 0,
	KV_TODO_TOUCH = 1,
	KV_TODO_TRANSIENT,      /* somewhere in the range */
	KV_TODO_TRANSIENT_DEAD, /* the same, and what EMPTY pages get is never read */
	KV_TODO_ZERO,           /* the range will be zero */
	KV_TODO_LEAK,
	KV_TODO_LEAK_READ, /* the same, by a kernel that only reads there */
	KV_TODO_LEAK_HOST, /* its address stands in host memory that the GPU reads */
	KV_TODO_LEAK_ALL,  /* the GPU reads host memory that may hold any address */
	KV_TODO_ROWS,   /* rows of a plane are written: offset, length are of base and row_stride */
	KV_TODO_EXTENT, /* a plane's rows in offset, length are live, those up to end are not */
};

struct kv_todo {
	struct kv_reservation *r;
	uint64_t offset, length;
	const char *by;
	uint8_t kind; /* enum kv_todo_kind */
	/* Of planes; here offset is an address. */
	uint64_t row_stride, base, end;
};

/* One more note. One that says the same as the last is left out. False: no memory. */
bool kv_todo_add(struct kv_exec *exec, struct kv_todo todo);

/*
 * [inside] Does all that is noted, in order; touches of one reservation in batches. 0 or the first
 * error, a negative errno, after which the rest is not done. *ret_zeroes: something will be zero.
 */
int kv_todos_do(struct kv_exec *exec, bool *ret_zeroes);

#endif
