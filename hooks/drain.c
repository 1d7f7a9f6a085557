/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.c - polling until the devices have finished what this process gave them.
 *
 * Never a blocking call: work in flight may wait for a thread that itself waits at the gate (a host
 * function that waits for what the program does after its next launch), so a drain must be able to
 * give up.
 */
#include "hooks/drain.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "hooks/call.h"

#define POLL_FIRST_NS 5000u
#define POLL_LONGEST_NS 200000u

enum kind { CONTEXT, STREAM, EVENT };

struct row {
	enum kind kind;
	CUcontext ctx;     /* NULL: none can be made current */
	const void *owner; /* the row dies with it: ctx or a green context */
	CUstream stream;   /* STREAM */
	CUevent event; /* CONTEXT: our mark on its legacy stream, NULL until the first drain. EVENT
			*/
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct row *rows;      /* guarded by mutex */
static uint32_t n_rows, size; /* guarded by mutex */
static bool
	short_of_memory; /* guarded by mutex; a row is missing, nothing can be drained for sure */

uint64_t kv_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the table ---- */

static bool same(const struct row *a, const struct row *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case CONTEXT:
		return a->ctx == b->ctx;
	case STREAM:
		return a->stream == b->stream;
	default:
		return a->event == b->event;
	}
}

static void add(const struct row *row)
{
	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_rows; i++) {
		if (same(&rows[i], row)) {
			/* A handle that was used again after its owner went unseen. */
			if (row->kind == STREAM)
				rows[i] = *row;
			goto out;
		}
	}
	if (n_rows == size) {
		uint32_t wanted = size ? size * 2 : 32;
		struct row *grown = realloc(rows, wanted * sizeof(*rows));

		if (!grown) {
			short_of_memory = true;
			goto out;
		}
		rows = grown;
		size = wanted;
	}
	rows[n_rows++] = *row;
out:
	pthread_mutex_unlock(&mutex);
}

void kv_drain_add_context(CUcontext ctx)
{
	struct row row = {.kind = CONTEXT, .ctx = ctx, .owner = ctx};

	add(&row);
}

void kv_drain_add_stream(CUstream stream, CUcontext ctx, const void *owner)
{
	struct row row = {.kind = STREAM, .ctx = ctx, .owner = owner, .stream = stream};

	add(&row);
}

void kv_drain_add_event(CUevent event, CUcontext ctx)
{
	struct row row = {.kind = EVENT, .ctx = ctx, .owner = ctx, .event = event};

	add(&row);
}

void kv_drain_remove_stream(CUstream stream)
{
	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_rows; i++) {
		if (rows[i].kind == STREAM && rows[i].stream == stream) {
			rows[i] = rows[--n_rows];
			break;
		}
	}
	pthread_mutex_unlock(&mutex);
}

void kv_drain_remove_context(const void *ctx_or_owner)
{
	pthread_mutex_lock(&mutex);
	for (uint32_t i = n_rows; i-- > 0;) {
		if (rows[i].owner == ctx_or_owner)
			rows[i] = rows[--n_rows];
	}
	pthread_mutex_unlock(&mutex);
}

/* A copy of row i. False: there is no row i. */
static bool row_get(uint32_t i, struct row *ret_row)
{
	bool exists;

	pthread_mutex_lock(&mutex);
	exists = i < n_rows;
	if (exists)
		*ret_row = rows[i];
	pthread_mutex_unlock(&mutex);
	return exists;
}

/* Events that have passed are of no more use. */
static void sweep(void)
{
	for (;;) {
		CUevent event = NULL;

		pthread_mutex_lock(&mutex);
		for (uint32_t i = 0; i < n_rows && !event; i++) {
			if (rows[i].kind == EVENT) {
				event = rows[i].event;
				rows[i] = rows[--n_rows];
			}
		}
		pthread_mutex_unlock(&mutex);
		if (!event)
			return;
		KV_REAL(cuEventDestroy_v2)(event);
	}
}

/* ---- polling ---- */

/* Makes ctx current if it is not. Returns 1 if it was pushed, 0 if not needed, or a negative errno.
 */
static int make_current(CUcontext ctx)
{
	CUcontext current = NULL;

	if (!ctx || (KV_REAL(cuCtxGetCurrent)(&current) == CUDA_SUCCESS && current == ctx))
		return 0;
	return KV_REAL(cuCtxPushCurrent_v2)(ctx) == CUDA_SUCCESS ? 1 : -ENODEV;
}

static void restore_current(int pushed)
{
	CUcontext popped;

	if (pushed == 1)
		KV_REAL(cuCtxPopCurrent_v2)(&popped);
}

/* Puts our event behind everything in the blocking streams of row i, a context. */
static int mark_context(uint32_t i, struct row *row)
{
	int pushed = make_current(row->ctx);
	CUresult res = CUDA_SUCCESS;

	if (pushed < 0)
		return 0; /* destroyed past us: no work of it is left */
	if (!row->event) {
		res = KV_REAL(cuEventCreate)(&row->event, CU_EVENT_DISABLE_TIMING);
		if (res == CUDA_SUCCESS) {
			pthread_mutex_lock(&mutex);
			rows[i].event = row->event; /* index stable: the gate is closed */
			pthread_mutex_unlock(&mutex);
		}
	}
	if (res == CUDA_SUCCESS)
		res = KV_REAL(cuEventRecord)(row->event, CU_STREAM_LEGACY);
	restore_current(pushed);
	return kv_errno_of(res);
}

/* 0: idle. -EAGAIN: not yet. Other errors as gpu_ops. */
static int poll_row(const struct row *row)
{
	int pushed = make_current(row->ctx);
	CUresult res = CUDA_SUCCESS;

	if (pushed < 0)
		return 0;
	if (row->kind == STREAM)
		res = KV_REAL(cuStreamQuery)(row->stream);
	else if (row->event)
		res = KV_REAL(cuEventQuery)(row->event);
	restore_current(pushed);
	if (res == CUDA_ERROR_NOT_READY)
		return -EAGAIN;
	if (res == CUDA_ERROR_INVALID_HANDLE)
		return 0; /* destroyed past us */
	return kv_errno_of(res);
}

static int wait_row(const struct row *row, uint64_t deadline)
{
	uint64_t pause = POLL_FIRST_NS;

	for (;;) {
		struct timespec t = {0, (long)pause};
		int err = poll_row(row);

		if (err != -EAGAIN)
			return err;
		if (kv_now_ns() >= deadline)
			return -ETIMEDOUT;
		nanosleep(&t, NULL);
		if (pause < POLL_LONGEST_NS)
			pause *= 2;
	}
}

int kv_drain_all(uint64_t timeout_ns)
{
	uint64_t deadline = kv_now_ns() + timeout_ns;
	bool blind;
	struct row row;
	int err;

	/* Recording on the legacy stream beside an open capture would spoil the capture. */
	if (atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		return -EBUSY;
	pthread_mutex_lock(&mutex);
	blind = short_of_memory;
	pthread_mutex_unlock(&mutex);
	if (blind)
		return -ETIMEDOUT;
	for (uint32_t i = 0; row_get(i, &row); i++) {
		if (row.kind != CONTEXT)
			continue;
		err = mark_context(i, &row);
		if (err < 0)
			return err;
	}
	/* The gate is closed: nothing is added behind what has been seen idle. */
	for (uint32_t i = 0; row_get(i, &row); i++) {
		err = wait_row(&row, deadline);
		if (err < 0)
			return err;
	}
	sweep();
	return 0;
}
