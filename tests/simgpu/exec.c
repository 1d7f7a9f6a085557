/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - streams as queues of work.
 *
 * Each piece of work in a stream has a ticket. Work may start when everything before it in its
 * stream is complete and its dependencies (stream, ticket) are: the legacy stream waits for all
 * blocking streams, these wait for the legacy stream, an event is the ticket of its record. In
 * synchronous mode, work that may start runs in the submitter's thread; what may not, and
 * everything in asynchronous mode, goes to a worker thread of the stream. Streams that were
 * destroyed keep their bytes, so that events may still name them.
 */
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* with sim_lock: a ticket, a queue */
static int waiters;                                       /* guarded by sim_lock */

/* ---- running ---- */

const char *sim_work_name(const struct sim_work *work)
{
	static const char *const names[] = {
		[SIM_WORK_EMPTY] = "nothing",
		[SIM_WORK_KERNEL] = "a kernel",
		[SIM_WORK_COPY] = "a copy",
		[SIM_WORK_SET] = "a set",
		[SIM_WORK_HOST] = "a host function",
		[SIM_WORK_CALLBACK] = "a callback",
		[SIM_WORK_RECORD] = "an event",
		[SIM_WORK_WAIT] = "a wait",
		[SIM_WORK_MEMOP] = "a memory operation",
		[SIM_WORK_BATCH] = "memory operations",
		[SIM_WORK_GRAPH] = "a graph",
		[SIM_WORK_CHILD] = "a child graph",
		[SIM_WORK_CONDITIONAL] = "a conditional node",
		[SIM_WORK_FREE] = "a free",
		[SIM_WORK_NOTE] = "a note",
	};

	return work->type == SIM_WORK_KERNEL ? work->launch.kernel->name : names[work->type];
}

/* SIMGPU_DROP: a fault of the manager that a test provokes. */
static bool work_is_dropped(const struct sim_work *work)
{
	if (!work->manager)
		return false;
	if (work->type == SIM_WORK_SET)
		return sim_config.drop_sets;
	if (work->type != SIM_WORK_COPY || !sim_config.drop_copies)
		return false;
	pthread_mutex_lock(&sim_memory_lock);
	struct sim_range *from = sim_range_find(work->copy.src);
	bool from_host = !from || from->kind >= SIM_RANGE_HOST;
	pthread_mutex_unlock(&sim_memory_lock);
	return from_host;
}

void sim_work_run(struct sim_context *context, struct sim_work *work)
{
	struct sim_run run = {.context = context,
		.manager = work->manager,
		.what = sim_work_name(work),
		.call = {.device = context->device}};

	if (work_is_dropped(work))
		return;
	switch (work->type) {
	case SIM_WORK_KERNEL: {
		const struct sim_launch *l = &work->launch;
		if (sim_config.kernel_ns)
			sim_delay_ns(sim_config.kernel_ns);
		if (!l->kernel->twin)
			break;
		run.call.kernel = l->kernel;
		memcpy(run.call.grid, l->grid, sizeof(l->grid));
		memcpy(run.call.block, l->block, sizeof(l->block));
		run.call.shared = l->shared;
		run.call.params = l->params;
		run.call.seq = l->seq;
		atomic_fetch_add_explicit(&sim_twin_runs, 1, memory_order_relaxed);
		l->kernel->twin(&run.call);
		break;
	}
	case SIM_WORK_COPY:
		sim_run_copy(&run, &work->copy);
		break;
	case SIM_WORK_SET:
		sim_run_set(&run, &work->set);
		break;
	case SIM_WORK_HOST:
		work->host.fn(work->host.data);
		break;
	case SIM_WORK_CALLBACK:
		work->callback.fn(work->callback.stream, (CUresult)atomic_load(&context->sticky),
			work->callback.data);
		break;
	case SIM_WORK_RECORD:
		atomic_store(&work->event.event->time_ns, sim_now_ns());
		break;
	case SIM_WORK_MEMOP:
		while (!sim_run_memop(&run, &work->memop))
			sim_delay_ns(100000);
		break;
	case SIM_WORK_BATCH:
		for (uint32_t i = 0; i < work->batch.n; i++)
			while (!sim_run_memop(&run, &work->batch.ops[i]))
				sim_delay_ns(100000);
		break;
	case SIM_WORK_GRAPH:
		sim_exec_nodes_run(context, work->nodes);
		break;
	case SIM_WORK_FREE:
		sim_pool_free_async(work->memory.addr);
		break;
	case SIM_WORK_NOTE:
		sim_run_note(&run, &work->note);
		break;
	default:
		break;
	}
}

void sim_work_clear(struct sim_work *work)
{
	switch (work->type) {
	case SIM_WORK_KERNEL:
		free(work->launch.params);
		free(work->launch.pointers);
		break;
	case SIM_WORK_BATCH:
		free(work->batch.ops);
		break;
	case SIM_WORK_GRAPH:
		sim_exec_nodes_put(work->nodes);
		break;
	case SIM_WORK_CHILD:
	case SIM_WORK_CONDITIONAL:
		sim_graph_free(work->child);
		break;
	default:
		break;
	}
}

/* After a fault nothing of the context runs any more, but host functions' owners must not wait for
 * ever. */
static void run_unless_lost(struct sim_context *context, struct sim_work *work)
{
	if (!atomic_load_explicit(&context->sticky, memory_order_relaxed) ||
		work->type == SIM_WORK_CALLBACK)
		sim_work_run(context, work);
}

/* ---- streams ---- */

struct sim_stream *sim_stream_new(struct sim_context *context, unsigned flags, int priority)
{
	static uint64_t last_id;
	struct sim_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->magic = SIM_STREAM_MAGIC;
	stream->context = context;
	stream->flags = flags;
	stream->blocking = !(flags & CU_STREAM_NON_BLOCKING);
	stream->priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
	stream->manager = sim_is_manager();
	stream->tail = &stream->head;
	pthread_mutex_lock(&sim_lock);
	stream->id = ++last_id;
	stream->next = context->streams;
	context->streams = stream;
	pthread_mutex_unlock(&sim_lock);
	return stream;
}

static struct sim_stream *per_thread_stream(struct sim_context *context)
{
	struct sim_stream **slot = NULL;
	const size_t n = sizeof(sim_thread.streams) / sizeof(sim_thread.streams[0]);

	for (size_t i = 0; i < n; i++) {
		struct sim_stream *s = sim_thread.streams[i];
		if (s && s->context == context)
			return s;
		if (!slot && (!s || atomic_load(&s->context->dead)))
			slot = &sim_thread.streams[i];
	}
	if (!slot)
		return NULL;
	*slot = sim_stream_new(context, 0, 0);
	if (*slot)
		(*slot)->per_thread = true;
	return *slot;
}

struct sim_stream *sim_stream_get(CUstream handle, CUresult *ret_error)
{
	struct sim_context *context = sim_context_current();
	struct sim_stream *stream = (struct sim_stream *)handle;

	*ret_error = CUDA_ERROR_INVALID_CONTEXT;
	if (!handle || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
		if (!context)
			return NULL;
		if (handle == CU_STREAM_PER_THREAD || (!handle && sim_thread.per_thread)) {
			*ret_error = CUDA_ERROR_OUT_OF_MEMORY;
			return per_thread_stream(context);
		}
		return context->legacy;
	}
	*ret_error = CUDA_ERROR_INVALID_HANDLE;
	if ((uintptr_t)stream % 8 || stream->magic != SIM_STREAM_MAGIC || stream->destroyed)
		return NULL;
	*ret_error = CUDA_ERROR_CONTEXT_IS_DESTROYED;
	return atomic_load(&stream->context->dead) ? NULL : stream;
}

bool sim_stream_is_idle(struct sim_stream *stream)
{
	return stream->submitted == stream->completed;
}

/* Visits what new work in the stream has to wait for besides its own stream. With sim_lock. */
static uint32_t dependencies(
	struct sim_stream *stream, const struct sim_work *work, struct sim_task *task)
{
	uint32_t n = 0;

	if (work->type == SIM_WORK_WAIT && work->wait.stream->completed < work->wait.ticket) {
		if (task) {
			task->deps[n].stream = work->wait.stream;
			task->deps[n].ticket = work->wait.ticket;
		}
		n++;
	}
	if (stream->legacy) {
		for (struct sim_stream *s = stream->context->streams; s; s = s->next) {
			if (s == stream || !s->blocking || sim_stream_is_idle(s))
				continue;
			if (task) {
				task->deps[n].stream = s;
				task->deps[n].ticket = s->submitted;
			}
			n++;
		}
	} else if (stream->blocking && !sim_stream_is_idle(stream->context->legacy)) {
		if (task) {
			task->deps[n].stream = stream->context->legacy;
			task->deps[n].ticket = stream->context->legacy->submitted;
		}
		n++;
	}
	return n;
}

static bool ready(const struct sim_task *task)
{
	for (uint32_t i = 0; i < task->n_deps; i++)
		if (task->deps[i].stream->completed < task->deps[i].ticket)
			return false;
	return true;
}

static void wait_changed(void)
{
	waiters++;
	pthread_cond_wait(&changed, &sim_lock);
	waiters--;
}

void sim_notify(void)
{
	if (waiters)
		pthread_cond_broadcast(&changed);
}

static void *worker(void *arg)
{
	struct sim_stream *stream = arg;

	sim_thread.mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
	pthread_mutex_lock(&sim_lock);
	for (;;) {
		while (!(stream->head && !stream->inlined && ready(stream->head)) &&
			!stream->destroyed)
			wait_changed();
		struct sim_task *task = stream->head;
		if (!task)
			break; /* destroyed and empty */
		if (stream->inlined || !ready(task)) {
			wait_changed();
			continue;
		}
		pthread_mutex_unlock(&sim_lock);
		run_unless_lost(stream->context, &task->work);
		pthread_mutex_lock(&sim_lock);
		stream->head = task->next;
		if (!stream->head)
			stream->tail = &stream->head;
		stream->completed = task->ticket;
		sim_notify();
		/* What the work owns may take locks to go. */
		pthread_mutex_unlock(&sim_lock);
		sim_work_clear(&task->work);
		free(task);
		pthread_mutex_lock(&sim_lock);
	}
	stream->has_worker = false;
	pthread_mutex_unlock(&sim_lock);
	return NULL;
}

static CUresult start_worker(struct sim_stream *stream)
{
	pthread_attr_t attr;

	if (stream->has_worker)
		return CUDA_SUCCESS;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int error = pthread_create(&stream->worker, &attr, worker, stream);
	pthread_attr_destroy(&attr);
	if (error)
		return CUDA_ERROR_OPERATING_SYSTEM;
	stream->has_worker = true;
	return CUDA_SUCCESS;
}

/* With sim_lock. Takes the work over on success. */
static CUresult enqueue(struct sim_stream *stream, struct sim_work *work)
{
	uint32_t n = dependencies(stream, work, NULL);
	struct sim_task *task = calloc(1, sizeof(*task) + n * sizeof(task->deps[0]));

	if (!task)
		return CUDA_ERROR_OUT_OF_MEMORY;
	task->n_deps = n;
	dependencies(stream, work, task);
	CUresult result = start_worker(stream);
	if (result != CUDA_SUCCESS) {
		free(task);
		return result;
	}
	task->work = *work;
	task->ticket = ++stream->submitted;
	*stream->tail = task;
	stream->tail = &task->next;
	sim_notify();
	return CUDA_SUCCESS;
}

/*
 * Work that may wait for something that the program does after this call: it never runs in the
 * caller's thread. Nor do host functions otherwise: with a GPU they run in a thread of the
 * driver's.
 */
static bool may_wait(const struct sim_work *work)
{
	switch (work->type) {
	case SIM_WORK_HOST:
	case SIM_WORK_CALLBACK:
		return true;
	case SIM_WORK_MEMOP:
		return work->memop.wait;
	case SIM_WORK_GRAPH:
		return sim_exec_nodes_may_wait(work->nodes);
	default:
		return false;
	}
}

CUresult sim_submit(struct sim_stream *stream, struct sim_work *work)
{
	CUresult result;

	work->manager = sim_is_manager() || stream->manager;
	pthread_mutex_lock(&sim_lock);
	if (stream->capture) {
		result = sim_capture_add(stream, work);
		pthread_mutex_unlock(&sim_lock);
		if (result != CUDA_SUCCESS)
			sim_work_clear(work);
		return result;
	}
	if (stream->legacy && atomic_load(&sim_captures_open)) {
		result = sim_capture_implicit(stream);
		if (result != CUDA_SUCCESS)
			goto fail;
	}
	if (work->type == SIM_WORK_RECORD) {
		work->event.event->stream = stream;
		work->event.event->ticket = stream->submitted + 1;
		work->event.event->recorded = true;
		work->event.event->capture_id = 0;
	}
	if (sim_config.async || may_wait(work) || !sim_stream_is_idle(stream) ||
		dependencies(stream, work, NULL)) {
		result = enqueue(stream, work);
		if (result != CUDA_SUCCESS)
			goto fail;
		pthread_mutex_unlock(&sim_lock);
		return CUDA_SUCCESS;
	}
	uint64_t ticket = ++stream->submitted;
	stream->inlined = work;
	pthread_mutex_unlock(&sim_lock);
	sim_work_run(stream->context, work);
	pthread_mutex_lock(&sim_lock);
	stream->inlined = NULL;
	stream->completed = ticket;
	sim_notify();
	pthread_mutex_unlock(&sim_lock);
	sim_work_clear(work);
	return (CUresult)atomic_load_explicit(&stream->context->sticky, memory_order_relaxed);
fail:
	pthread_mutex_unlock(&sim_lock);
	sim_work_clear(work);
	return result;
}

static void wait_ticket(struct sim_stream *stream, uint64_t ticket)
{
	while (stream->completed < ticket)
		wait_changed();
}

void sim_event_wait(struct sim_event *event)
{
	pthread_mutex_lock(&sim_lock);
	if (event->recorded)
		wait_ticket(event->stream, event->ticket);
	pthread_mutex_unlock(&sim_lock);
}

void sim_stream_wait(struct sim_stream *stream)
{
	pthread_mutex_lock(&sim_lock);
	/* Waiting for the legacy stream is waiting for what it would have to wait for. */
	wait_ticket(stream, stream->submitted);
	if (stream->legacy)
		for (struct sim_stream *s = stream->context->streams; s; s = s->next)
			if (s->blocking)
				wait_ticket(s, s->submitted);
	pthread_mutex_unlock(&sim_lock);
}

CUresult sim_submit_wait(struct sim_stream *stream, struct sim_work *work)
{
	CUresult result = sim_submit(stream, work);

	if (result != CUDA_SUCCESS)
		return result;
	sim_stream_wait(stream);
	return (CUresult)atomic_load(&stream->context->sticky);
}

void sim_context_wait(struct sim_context *context)
{
	pthread_mutex_lock(&sim_lock);
	for (struct sim_stream *s = context->streams; s; s = s->next)
		wait_ticket(s, s->submitted);
	pthread_mutex_unlock(&sim_lock);
}

void sim_device_wait(struct sim_device *device)
{
	pthread_mutex_lock(&sim_lock);
	for (struct sim_context *c = sim_contexts; c; c = c->next)
		for (struct sim_stream *s = c->streams; s && c->device == device; s = s->next)
			wait_ticket(s, s->submitted);
	pthread_mutex_unlock(&sim_lock);
}
