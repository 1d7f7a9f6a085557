/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.c - which stream captures are open. While one is, the device cannot be drained and
 * nothing is taken away; and only then does a call have to ask the driver whether its stream
 * captures.
 *
 * A capture belongs to the stream that it was begun on, which for the per-thread stream means: of
 * that thread. One leaf mutex, never held across a driver call.
 */
#include "hooks/capture.h"

#include <pthread.h>
#include <unistd.h>

#include "hooks/alloc.h"
#include "hooks/call.h"

#define CAPTURES_MAX 256u

struct origin {
	CUstream stream;
	pid_t thread; /* of a per-thread stream, else 0 */
	CUcontext ctx;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct origin open_captures[CAPTURES_MAX]; /* guarded by mutex */
static uint32_t n_open;                           /* guarded by mutex */
static uint32_t n_unlisted;                       /* guarded by mutex; beyond CAPTURES_MAX */

static struct origin origin_of(CUstream stream, bool per_thread)
{
	struct origin origin = {.stream = stream};

	if (stream == CU_STREAM_PER_THREAD || (per_thread && !stream)) {
		origin.stream = CU_STREAM_PER_THREAD;
		origin.thread = gettid();
	}
	return origin;
}

static void count(int delta)
{
	atomic_fetch_add_explicit(&kv_hooks.captures_open, delta, memory_order_relaxed);
}

/* [mutex] -1: not listed. */
static int find(struct origin origin)
{
	for (uint32_t i = 0; i < n_open; i++)
		if (open_captures[i].stream == origin.stream &&
			open_captures[i].thread == origin.thread)
			return (int)i;
	return -1;
}

/* The begin that was counted in advance has succeeded. */
static void opened(struct origin origin)
{
	pthread_mutex_lock(&mutex);
	if (find(origin) >= 0)
		count(-1); /* its end was missed: a capture cannot begin twice */
	else if (n_open < CAPTURES_MAX)
		open_captures[n_open++] = origin;
	else
		n_unlisted++;
	pthread_mutex_unlock(&mutex);
}

static void closed(struct origin origin)
{
	int at;

	pthread_mutex_lock(&mutex);
	at = find(origin);
	if (at >= 0) {
		open_captures[at] = open_captures[--n_open];
		count(-1);
	} else if (n_unlisted) {
		n_unlisted--;
		count(-1);
	}
	pthread_mutex_unlock(&mutex);
}

void kv_capture_stream_gone(CUstream stream)
{
	int at;

	if (!atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		return;
	pthread_mutex_lock(&mutex);
	at = find((struct origin){.stream = stream});
	if (at >= 0) {
		open_captures[at] = open_captures[--n_open];
		count(-1);
	}
	pthread_mutex_unlock(&mutex);
}

/* Takes one capture of the context off the list; it is still counted. */
static bool take(CUcontext ctx, struct origin *ret_origin)
{
	bool found = false;

	pthread_mutex_lock(&mutex);
	for (uint32_t i = 0; i < n_open && !found; i++) {
		if (open_captures[i].ctx != ctx)
			continue;
		*ret_origin = open_captures[i];
		open_captures[i] = open_captures[--n_open];
		found = true;
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

void kv_capture_context_gone(CUcontext ctx)
{
	struct kv_own_call own;
	struct origin origin;
	CUgraph graph;

	while (take(ctx, &origin)) {
		kv_own_begin(&own);
		/* The graph is left to the driver, as the program has left the capture. Refused if
		 * another thread began it: the driver will end it with the context. */
		if (!origin.thread || origin.thread == gettid())
			KV_REAL(cuStreamEndCapture)(origin.stream, &graph);
		kv_own_end(&own);
		count(-1);
	}
}

/* The context that the stream belongs to, asked before its capture begins. */
static CUcontext context_of(CUstream stream)
{
	struct kv_own_call own;
	CUcontext ctx = NULL;

	kv_own_begin(&own);
	if (!stream || stream == CU_STREAM_PER_THREAD ||
		KV_REAL(cuStreamGetCtx)(stream, &ctx) != CUDA_SUCCESS)
		KV_REAL(cuCtxGetCurrent)(&ctx);
	kv_own_end(&own);
	return ctx;
}

/*
 * Counted before the driver begins and taken back if it refuses, so that nobody starts to drain in
 * between. Inside the gate, so that nobody is in the middle of draining.
 */
#define BEGIN(symbol, per_thread, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		struct origin origin; \
		bool inside; \
		CUresult res; \
\
		kv_hooks_ready(); \
		if (!kv_hooks_active() || kv_thread.depth) \
			return KV_REAL(symbol)(__VA_ARGS__); \
		origin = origin_of(stream, per_thread); \
		origin.ctx = context_of(stream); \
		inside = kv_submit_enter_quiet(); \
		count(1); \
		res = KV_REAL(symbol)(__VA_ARGS__); \
		if (res == CUDA_SUCCESS) \
			opened(origin); \
		else \
			count(-1); \
		if (inside) \
			kv_submit_leave(); \
		return res; \
	}

#define BEGIN_TO_GRAPH(symbol, per_thread) \
	BEGIN(symbol, per_thread, \
		(CUstream stream, CUgraph graph, const CUgraphNode *nodes, \
			const CUgraphEdgeData *edges, size_t n, CUstreamCaptureMode mode), \
		stream, graph, nodes, edges, n, mode)

BEGIN(cuStreamBeginCapture, false, (CUstream stream), stream)
BEGIN(cuStreamBeginCapture_ptsz, true, (CUstream stream), stream)
BEGIN(cuStreamBeginCapture_v2, false, (CUstream stream, CUstreamCaptureMode mode), stream, mode)
BEGIN(cuStreamBeginCapture_v2_ptsz, true, (CUstream stream, CUstreamCaptureMode mode), stream, mode)
BEGIN_TO_GRAPH(cuStreamBeginCaptureToGraph, false)
BEGIN_TO_GRAPH(cuStreamBeginCaptureToGraph_ptsz, true)

/* A failed end leaves the capture open in some cases (wrong thread, work not joined): the driver
 * knows. */
#define END(symbol, per_thread) \
	CUresult CUDAAPI symbol(CUstream stream, CUgraph *graph) \
	{ \
		CUresult res = KV_REAL(symbol)(stream, graph); \
\
		if (kv_hooks_active() && !kv_thread.depth && \
			(res == CUDA_SUCCESS || !kv_stream_captures(stream, per_thread))) { \
			closed(origin_of(stream, per_thread)); \
			kv_free_deferred(); \
		} \
		return res; \
	}

END(cuStreamEndCapture, false)
END(cuStreamEndCapture_ptsz, true)
