/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - entry points of streams and events. */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "memory.h"

CUresult sim_cuStreamCreateWithPriority(CUstream *ret, unsigned int flags, int priority)
{
	if (!ret || (flags & ~CU_STREAM_NON_BLOCKING))
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_stream *stream = sim_stream_new(sim_context_current(), flags, priority);
	if (!stream)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = (CUstream)stream;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamCreate(CUstream *ret, unsigned int flags)
{
	return sim_cuStreamCreateWithPriority(ret, flags, 0);
}

CUresult sim_cuStreamDestroy_v2(CUstream handle)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (stream->legacy || stream->per_thread)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&sim_lock);
	/* The work in flight completes on its own. */
	stream->destroyed = true;
	sim_notify();
	pthread_mutex_unlock(&sim_lock);
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamSynchronize(CUstream handle)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (stream->capture)
		return sim_capture_break(stream);
	sim_stream_wait(stream);
	return (CUresult)atomic_load(&stream->context->sticky);
}

CUresult sim_cuStreamQuery(CUstream handle)
{
	bool idle = true;

	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (stream->capture)
		return sim_capture_break(stream);
	pthread_mutex_lock(&sim_lock);
	idle = sim_stream_is_idle(stream);
	for (struct sim_stream *s = stream->context->streams; s && stream->legacy; s = s->next)
		if (s->blocking && !sim_stream_is_idle(s))
			idle = false;
	pthread_mutex_unlock(&sim_lock);
	int sticky = atomic_load(&stream->context->sticky);
	return sticky ? (CUresult)sticky : idle ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult sim_cuStreamGetFlags(CUstream handle, unsigned int *flags)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = stream->flags;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamGetPriority(CUstream handle, int *priority)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!priority)
		return CUDA_ERROR_INVALID_VALUE;
	*priority = stream->priority;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamGetId(CUstream handle, unsigned long long *id)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!id)
		return CUDA_ERROR_INVALID_VALUE;
	*id = stream->id;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamGetCtx(CUstream handle, CUcontext *context)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!context)
		return CUDA_ERROR_INVALID_VALUE;
	*context = (CUcontext)stream->context;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamGetCtx_v2(CUstream handle, CUcontext *context, CUgreenCtx *green)
{
	if (green)
		*green = NULL;
	return sim_cuStreamGetCtx(handle, context);
}

CUresult sim_cuStreamGetDevice(CUstream handle, CUdevice *dev)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!dev)
		return CUDA_ERROR_INVALID_VALUE;
	*dev = stream->context->device->ordinal;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamGetAttribute(CUstream handle, CUstreamAttrID attr, CUstreamAttrValue *value)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!value)
		return CUDA_ERROR_INVALID_VALUE;
	memset(value, 0, sizeof(*value));
	if (attr == CU_LAUNCH_ATTRIBUTE_PRIORITY)
		value->priority = stream->priority;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamSetAttribute(
	CUstream handle, CUstreamAttrID attr, const CUstreamAttrValue *value)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	return value ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult sim_cuStreamCopyAttributes(CUstream dst, CUstream src)
{
	CUresult error_to;
	struct sim_stream *to = sim_stream_get(dst, &error_to);
	if (!to)
		return error_to;
	CUresult error_from;
	struct sim_stream *from = sim_stream_get(src, &error_from);
	if (!from)
		return error_from;
	return to && from ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult sim_cuStreamAttachMemAsync(
	CUstream handle, CUdeviceptr addr, size_t size, unsigned int flags)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	return CUDA_SUCCESS;
}

CUresult sim_cuStreamAddCallback(
	CUstream handle, CUstreamCallback fn, void *data, unsigned int flags)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!fn || flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (stream->capture)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	struct sim_work work = {
		.type = SIM_WORK_CALLBACK, .callback = {.fn = fn, .data = data, .stream = handle}};
	return sim_submit(stream, &work);
}

CUresult sim_cuLaunchHostFunc(CUstream handle, CUhostFn fn, void *data)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_work work = {.type = SIM_WORK_HOST, .host = {.fn = fn, .data = data}};
	return sim_submit(stream, &work);
}

/* ---- memory operations ---- */

static CUresult memop(
	CUstream handle, CUdeviceptr addr, uint64_t value, unsigned flags, bool wide, bool wait)
{
	CUresult error;
	struct sim_stream *stream = sim_stream_get(handle, &error);
	if (!stream)
		return error;
	if (!addr || addr % (wide ? 8 : 4))
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_work work = {.type = SIM_WORK_MEMOP,
		.memop = {
			.addr = addr, .value = value, .flags = flags, .wide = wide, .wait = wait}};
	return sim_submit(stream, &work);
}

CUresult sim_cuStreamWriteValue32_v2(
	CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, false, false);
}

CUresult sim_cuStreamWriteValue64_v2(
	CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, true, false);
}

CUresult sim_cuStreamWaitValue32_v2(
	CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, false, true);
}

CUresult sim_cuStreamWaitValue64_v2(
	CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, true, true);
}

CUresult sim_cuStreamWriteValue32(
	CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, false, false);
}

CUresult sim_cuStreamWriteValue64(
	CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, true, false);
}

CUresult sim_cuStreamWaitValue32(
	CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, false, true);
}

CUresult sim_cuStreamWaitValue64(
	CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags)
{
	return memop(stream, addr, value, flags, true, true);
}

bool sim_memop_of(const CUstreamBatchMemOpParams *p, struct sim_memop *ret)
{
	bool wide = p->operation == CU_STREAM_MEM_OP_WAIT_VALUE_64 ||
		    p->operation == CU_STREAM_MEM_OP_WRITE_VALUE_64;

	switch (p->operation) {
	case CU_STREAM_MEM_OP_WAIT_VALUE_32:
	case CU_STREAM_MEM_OP_WAIT_VALUE_64:
		*ret = (struct sim_memop){p->waitValue.address,
			wide ? p->waitValue.value64 : p->waitValue.value, p->waitValue.flags, wide,
			true};
		return true;
	case CU_STREAM_MEM_OP_WRITE_VALUE_32:
	case CU_STREAM_MEM_OP_WRITE_VALUE_64:
		*ret = (struct sim_memop){p->writeValue.address,
			wide ? p->writeValue.value64 : p->writeValue.value, p->writeValue.flags,
			wide, false};
		return true;
	default:
		return false;
	}
}

CUresult sim_cuStreamBatchMemOp_v2(
	CUstream stream, unsigned int count, CUstreamBatchMemOpParams *ops, unsigned int flags)
{
	CUresult result = CUDA_SUCCESS;
	struct sim_memop op;

	if (!ops || !count || count > 256)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++)
		if (sim_memop_of(&ops[i], &op))
			result = memop(stream, op.addr, op.value, op.flags, op.wide, op.wait);
	return result;
}

CUresult sim_cuStreamBatchMemOp(
	CUstream stream, unsigned int count, CUstreamBatchMemOpParams *ops, unsigned int flags)
{
	return sim_cuStreamBatchMemOp_v2(stream, count, ops, flags);
}

/* ---- events ---- */

static struct sim_event *event_of(CUevent handle)
{
	struct sim_event *event = (struct sim_event *)handle;

	return event && (uintptr_t)event % 8 == 0 && event->magic == SIM_EVENT_MAGIC ? event : NULL;
}

CUresult sim_cuEventCreate(CUevent *ret, unsigned int flags)
{
	if (!ret || (flags & ~7u))
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_event *event = calloc(1, sizeof(*event));
	if (!event)
		return CUDA_ERROR_OUT_OF_MEMORY;
	event->magic = SIM_EVENT_MAGIC;
	event->context = sim_context_current();
	event->flags = flags;
	*ret = (CUevent)event;
	return CUDA_SUCCESS;
}

/* Records may be queued that name it: its bytes stay, on a list. */
CUresult sim_cuEventDestroy_v2(CUevent handle)
{
	static struct sim_event *graveyard;
	struct sim_event *event = event_of(handle);

	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&sim_lock);
	event->magic = SIM_DEAD_MAGIC;
	free(event->capture_deps);
	event->capture_deps = NULL;
	event->next = graveyard;
	graveyard = event;
	pthread_mutex_unlock(&sim_lock);
	return CUDA_SUCCESS;
}

CUresult sim_cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned int flags)
{
	struct sim_event *event = event_of(handle);

	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	CUresult error;
	struct sim_stream *stream = sim_stream_get(stream_handle, &error);
	if (!stream)
		return error;
	if (event->context != stream->context)
		return CUDA_ERROR_INVALID_HANDLE;
	if (stream->capture && !(flags & CU_EVENT_RECORD_EXTERNAL))
		return sim_capture_record(stream, event);
	struct sim_work work = {.type = SIM_WORK_RECORD, .event = {.event = event}};
	return sim_submit(stream, &work);
}

CUresult sim_cuEventRecord(CUevent handle, CUstream stream)
{
	return sim_cuEventRecordWithFlags(handle, stream, 0);
}

static bool event_done(const struct sim_event *event)
{
	return !event->recorded || event->stream->completed >= event->ticket;
}

CUresult sim_cuEventQuery(CUevent handle)
{
	struct sim_event *event = event_of(handle);

	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	if (event->capture_id)
		return CUDA_ERROR_CAPTURED_EVENT;
	pthread_mutex_lock(&sim_lock);
	bool done = event_done(event);
	pthread_mutex_unlock(&sim_lock);
	int sticky = atomic_load(&event->context->sticky);
	return sticky ? (CUresult)sticky : done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult sim_cuEventSynchronize(CUevent handle)
{
	struct sim_event *event = event_of(handle);

	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	if (event->capture_id)
		return CUDA_ERROR_CAPTURED_EVENT;
	sim_event_wait(event);
	return (CUresult)atomic_load(&event->context->sticky);
}

CUresult sim_cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end)
{
	struct sim_event *a = event_of(start), *b = event_of(end);

	if (!a || !b)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!ms)
		return CUDA_ERROR_INVALID_VALUE;
	if (!a->recorded || !b->recorded || ((a->flags | b->flags) & CU_EVENT_DISABLE_TIMING))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&sim_lock);
	bool done = event_done(a) && event_done(b);
	pthread_mutex_unlock(&sim_lock);
	if (!done)
		return CUDA_ERROR_NOT_READY;
	*ms = (float)((double)(atomic_load(&b->time_ns) - atomic_load(&a->time_ns)) / 1e6);
	return CUDA_SUCCESS;
}

CUresult sim_cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
	return sim_cuEventElapsedTime_v2(ms, start, end);
}

CUresult sim_cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned int flags)
{
	struct sim_event *event = event_of(handle);

	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	CUresult error;
	struct sim_stream *stream = sim_stream_get(stream_handle, &error);
	if (!stream)
		return error;
	if (event->capture_id || (stream->capture && !(flags & CU_EVENT_WAIT_EXTERNAL)))
		return sim_capture_wait(stream, event);
	if (!event->recorded)
		return CUDA_SUCCESS;
	struct sim_work work = {
		.type = SIM_WORK_WAIT, .wait = {.stream = event->stream, .ticket = event->ticket}};
	return sim_submit(stream, &work);
}
