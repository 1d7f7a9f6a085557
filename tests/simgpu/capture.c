/* SPDX-License-Identifier: Apache-2.0 */
/* capture.c - stream capture: which streams belong to one, what is refused, what invalidates it. */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "graph.h"

struct sim_capture {
	uint64_t id;
	struct sim_graph *graph;
	CUstreamCaptureMode mode;
	struct sim_stream *origin;
	uint64_t thread; /* that began it */
	bool invalid;
	bool own_graph; /* made by the capture, not given by the program */
	struct sim_capture *next;
};

_Atomic uint32_t sim_captures_open;
static struct sim_capture *captures; /* guarded by sim_lock */

static void set_deps(
	struct sim_node ***deps, uint32_t *n, struct sim_node *const *from, uint32_t count)
{
	struct sim_node **copy = count ? malloc(count * sizeof(*copy)) : NULL;

	if (copy)
		memcpy(copy, from, count * sizeof(*copy));
	free(*deps);
	*deps = copy;
	*n = copy ? count : 0;
}

static void add_deps(
	struct sim_node ***deps, uint32_t *n, struct sim_node *const *from, uint32_t count)
{
	struct sim_node **grown = realloc(*deps, (*n + count + 1) * sizeof(*grown));

	if (!grown)
		return;
	*deps = grown;
	for (uint32_t i = 0; i < count; i++) {
		bool known = false;
		for (uint32_t k = 0; k < *n && !known; k++)
			known = grown[k] == from[i];
		if (!known)
			grown[(*n)++] = from[i];
	}
}

CUresult sim_capture_add(struct sim_stream *stream, struct sim_work *work)
{
	struct sim_capture *c = stream->capture;
	struct sim_node *node;

	if (work->type == SIM_WORK_NOTE)
		return CUDA_SUCCESS;
	if (c->invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (work->type == SIM_WORK_CALLBACK || work->type == SIM_WORK_FREE) {
		c->invalid = true;
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	}
	struct sim_work owned = *work;
	/* The caller clears work if this fails. */
	memset(work, 0, sizeof(*work));
	CUresult result = sim_graph_add(
		c->graph, stream->capture_deps, stream->n_capture_deps, &owned, &node);
	if (result == CUDA_SUCCESS)
		set_deps(&stream->capture_deps, &stream->n_capture_deps, &node, 1);
	return result;
}

CUresult sim_capture_break(struct sim_stream *stream)
{
	pthread_mutex_lock(&sim_lock);
	if (stream->capture)
		stream->capture->invalid = true;
	pthread_mutex_unlock(&sim_lock);
	return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult sim_capture_unsafe(void)
{
	CUresult result = CUDA_SUCCESS;

	if (sim_thread.mode == CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_SUCCESS;
	pthread_mutex_lock(&sim_lock);
	for (struct sim_capture *c = captures; c; c = c->next) {
		bool mine =
			c->thread == sim_thread_id() && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
		bool global = sim_thread.mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
			      c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
		if (mine || global) {
			c->invalid = true;
			result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		}
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

static bool any_blocking(struct sim_stream *legacy, bool invalidate)
{
	bool found = false;

	for (struct sim_stream *s = legacy->context->streams; s; s = s->next) {
		if (s->capture && s->blocking) {
			found = true;
			if (invalidate)
				s->capture->invalid = true;
		}
	}
	return found;
}

CUresult sim_capture_implicit(struct sim_stream *legacy)
{
	return any_blocking(legacy, true) ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

static struct sim_capture *capture_by_id(uint64_t id)
{
	struct sim_capture *c = captures;

	while (c && c->id != id)
		c = c->next;
	return c;
}

CUresult sim_capture_record(struct sim_stream *stream, struct sim_event *event)
{
	CUresult result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;

	pthread_mutex_lock(&sim_lock);
	if (stream->capture && !stream->capture->invalid) {
		event->capture_id = stream->capture->id;
		set_deps(&event->capture_deps, &event->n_capture_deps, stream->capture_deps,
			stream->n_capture_deps);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

CUresult sim_capture_wait(struct sim_stream *stream, struct sim_event *event)
{
	CUresult result = CUDA_SUCCESS;

	pthread_mutex_lock(&sim_lock);
	struct sim_capture *c = capture_by_id(event->capture_id);
	if (!event->capture_id) {
		stream->capture->invalid = true;
		result = CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
	} else if (!c) {
		result = CUDA_ERROR_CAPTURED_EVENT;
	} else if (c->invalid) {
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	} else if (stream->capture && stream->capture != c) {
		stream->capture->invalid = c->invalid = true;
		result = CUDA_ERROR_STREAM_CAPTURE_MERGE;
	} else if (stream->legacy) {
		c->invalid = true;
		result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	} else {
		stream->capture = c;
		add_deps(&stream->capture_deps, &stream->n_capture_deps, event->capture_deps,
			event->n_capture_deps);
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

/* ---- entry points ---- */

static CUresult begin(CUstream handle, struct sim_graph *graph, CUstreamCaptureMode mode,
	const CUgraphNode *deps, size_t n_deps)
{
	static uint64_t last_id;
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (stream->legacy)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	if ((unsigned)mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_capture *c = calloc(1, sizeof(*c));
	bool own = !graph;
	if (own && c)
		graph = sim_graph_new();
	if (!c || !graph) {
		free(c);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	pthread_mutex_lock(&sim_lock);
	if (stream->capture) {
		stream->capture->invalid = true;
		pthread_mutex_unlock(&sim_lock);
		if (own)
			sim_graph_free(graph);
		free(c);
		return CUDA_ERROR_ILLEGAL_STATE;
	}
	c->id = ++last_id;
	c->graph = graph;
	c->own_graph = own;
	c->mode = mode;
	c->origin = stream;
	c->thread = sim_thread_id();
	c->next = captures;
	captures = c;
	graph->capturing = true;
	stream->capture = c;
	set_deps(&stream->capture_deps, &stream->n_capture_deps, (struct sim_node *const *)deps,
		(uint32_t)n_deps);
	atomic_fetch_add(&sim_captures_open, 1);
	pthread_mutex_unlock(&sim_lock);
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
	return begin(stream, NULL, mode, NULL, 0);
}

CUresult sim_cuStreamBeginCapture(CUstream stream)
{
	return begin(stream, NULL, CU_STREAM_CAPTURE_MODE_GLOBAL, NULL, 0);
}

CUresult sim_cuStreamBeginCaptureToGraph(CUstream stream, CUgraph handle, const CUgraphNode *deps,
	const CUgraphEdgeData *data, size_t n_deps, CUstreamCaptureMode mode)
{
	struct sim_graph *graph = sim_graph_of(handle);

	if (!graph || (n_deps && !deps))
		return CUDA_ERROR_INVALID_VALUE;
	return begin(stream, graph, mode, deps, n_deps);
}

/* Is node among ends or before them? */
static bool reached(const struct sim_node *node, struct sim_node *const *ends, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (ends[i] == node || reached(node, ends[i]->deps, ends[i]->n_deps))
			return true;
	return false;
}

/* Work of another stream that the origin does not wait for. */
static bool unjoined(const struct sim_capture *c)
{
	for (struct sim_context *x = sim_contexts; x; x = x->next)
		for (struct sim_stream *s = x->streams; s; s = s->next)
			for (uint32_t i = 0;
				s->capture == c && s != c->origin && i < s->n_capture_deps; i++)
				if (!reached(s->capture_deps[i], c->origin->capture_deps,
					    c->origin->n_capture_deps))
					return true;
	return false;
}

CUresult sim_cuStreamEndCapture(CUstream handle, CUgraph *ret)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	struct sim_capture *c = stream->capture;
	result = CUDA_SUCCESS;
	if (!c) {
		result = CUDA_ERROR_ILLEGAL_STATE;
	} else if (c->origin != stream) {
		c->invalid = true;
		result = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
	} else if (c->thread != sim_thread_id() && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
		result = CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
	}
	if (result != CUDA_SUCCESS) {
		pthread_mutex_unlock(&sim_lock);
		return result;
	}
	if (c->invalid)
		result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	else if (unjoined(c))
		result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
	for (struct sim_context *x = sim_contexts; x; x = x->next) {
		for (struct sim_stream *s = x->streams; s; s = s->next) {
			if (s->capture != c)
				continue;
			s->capture = NULL;
			set_deps(&s->capture_deps, &s->n_capture_deps, NULL, 0);
		}
	}
	for (struct sim_capture **at = &captures; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			break;
		}
	}
	c->graph->capturing = false;
	atomic_fetch_sub(&sim_captures_open, 1);
	pthread_mutex_unlock(&sim_lock);
	*ret = result == CUDA_SUCCESS ? (CUgraph)c->graph : NULL;
	if (result != CUDA_SUCCESS && c->own_graph)
		sim_graph_free(c->graph);
	free(c);
	return result;
}

static CUstreamCaptureStatus status_of(const struct sim_stream *stream)
{
	if (!stream->capture)
		return CU_STREAM_CAPTURE_STATUS_NONE;
	return stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
					: CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

CUresult sim_cuStreamGetCaptureInfo_v3(CUstream handle, CUstreamCaptureStatus *status,
	cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps, const CUgraphEdgeData **edges,
	size_t *n_deps)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (!status)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	result = stream->legacy && any_blocking(stream, false) ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
							       : CUDA_SUCCESS;
	if (result == CUDA_SUCCESS) {
		*status = status_of(stream);
		if (*status == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
			if (id)
				*id = stream->capture->id;
			if (graph)
				*graph = (CUgraph)stream->capture->graph;
			if (deps)
				*deps = (const CUgraphNode *)stream->capture_deps;
			if (n_deps)
				*n_deps = stream->n_capture_deps;
		}
		if (edges)
			*edges = NULL;
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

CUresult sim_cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus *status,
	cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps, size_t *n_deps)
{
	return sim_cuStreamGetCaptureInfo_v3(handle, status, id, graph, deps, NULL, n_deps);
}

CUresult sim_cuStreamGetCaptureInfo(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id)
{
	return sim_cuStreamGetCaptureInfo_v3(handle, status, id, NULL, NULL, NULL, NULL);
}

CUresult sim_cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
	return sim_cuStreamGetCaptureInfo_v3(handle, status, NULL, NULL, NULL, NULL, NULL);
}

CUresult sim_cuStreamUpdateCaptureDependencies_v2(CUstream handle, CUgraphNode *deps,
	const CUgraphEdgeData *edges, size_t n, unsigned int flags)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES || (n && !deps))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&sim_lock);
	if (status_of(stream) != CU_STREAM_CAPTURE_STATUS_ACTIVE)
		result = CUDA_ERROR_ILLEGAL_STATE;
	else {
		result = CUDA_SUCCESS;
		if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES)
			set_deps(&stream->capture_deps, &stream->n_capture_deps, NULL, 0);
		add_deps(&stream->capture_deps, &stream->n_capture_deps,
			(struct sim_node *const *)deps, (uint32_t)n);
	}
	pthread_mutex_unlock(&sim_lock);
	return result;
}

CUresult sim_cuStreamUpdateCaptureDependencies(
	CUstream handle, CUgraphNode *deps, size_t n, unsigned int flags)
{
	return sim_cuStreamUpdateCaptureDependencies_v2(handle, deps, NULL, n, flags);
}
