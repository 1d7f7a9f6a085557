/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - streams: which ones a drain has to ask, and the values that they write and wait for.
 */
#include "hooks/stream.h"

#include "hooks/call.h"
#include "hooks/capture.h"
#include "hooks/copy.h"
#include "hooks/drain.h"

/* ---- life ---- */

/* Are driver calls of this thread the program's, and is there anything to keep books for? */
static bool is_program(void)
{
	return kv_hooks_active() && !kv_thread.depth;
}

CUresult kv_stream_created(CUresult res, const CUstream *stream, unsigned int flags)
{
	CUcontext ctx = NULL;

	if (res != CUDA_SUCCESS || !is_program())
		return res;
	if (KV_REAL(cuCtxGetCurrent)(&ctx) != CUDA_SUCCESS || !ctx)
		return res;
	kv_drain_add_context(ctx);
	if (flags & CU_STREAM_NON_BLOCKING)
		kv_drain_add_stream(*stream, ctx, ctx);
	return res;
}

CUresult kv_stream_created_green(CUresult res, const CUstream *stream, CUgreenCtx green)
{
	/* Always non-blocking (cuda.h, cuGreenCtxStreamCreate). */
	if (res == CUDA_SUCCESS && is_program())
		kv_drain_add_stream(*stream, NULL, green);
	return res;
}

/*
 * Records an event behind the queued work of a stream that is about to be destroyed. Without memory
 * for one the work is simply not waited for at the next drain, as with a stream that we never saw.
 */
static void leave_event(CUstream stream)
{
	CUcontext ctx = NULL, popped;
	struct kv_own_call own;
	CUevent event;

	kv_own_begin(&own);
	if (KV_REAL(cuStreamQuery)(stream) != CUDA_ERROR_NOT_READY)
		goto out;
	if (KV_REAL(cuStreamGetCtx)(stream, &ctx) != CUDA_SUCCESS ||
		KV_REAL(cuCtxPushCurrent_v2)(ctx) != CUDA_SUCCESS)
		goto out;
	if (KV_REAL(cuEventCreate)(&event, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS) {
		if (KV_REAL(cuEventRecord)(event, stream) == CUDA_SUCCESS)
			kv_drain_add_event(event, ctx);
		else
			KV_REAL(cuEventDestroy_v2)(event);
	}
	KV_REAL(cuCtxPopCurrent_v2)(&popped);
out:
	kv_own_end(&own);
}

CUresult kv_stream_destroy(PFN_cuStreamDestroy_v4000 real, CUstream stream)
{
	CUresult res;

	/* Inside the gate: a drain asks the streams that it finds listed. */
	if (!kv_submit_enter_quiet())
		return real(stream);
	if (stream && !kv_core_is_idle(kv_hooks.core) && !kv_stream_captures(stream, false))
		leave_event(stream);
	res = real(stream);
	if (res == CUDA_SUCCESS) {
		kv_drain_remove_stream(stream);
		kv_capture_stream_gone(stream);
	}
	kv_submit_leave();
	return res;
}

/* ---- values ---- */

static CUresult touch_value(
	CUdeviceptr addr, uint64_t value, uint32_t size, const char *by, bool captured)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, addr);
	struct kv_reservation *target = size == 8 ? kv_core_find(kv_hooks.core, value) : NULL;

	if (target)
		kv_leak(target, KV_STATIC_UPLOAD, by);
	if (!r)
		return CUDA_SUCCESS;
	if (captured) {
		kv_leak(r, KV_STATIC_GRAPH, by);
		return CUDA_SUCCESS;
	}
	return kv_copy_touch(r, addr, size);
}

bool kv_stream_value(CUstream stream, bool per_thread, CUdeviceptr addr, uint64_t value,
	uint32_t size, const char *by, CUresult *ret_result)
{
	bool captured;

	if (!kv_submit_enter())
		return false;
	captured = kv_stream_captures(stream, per_thread);
	*ret_result = touch_value(addr, value, size, by, captured);
	if (*ret_result == CUDA_SUCCESS)
		*ret_result = kv_submit_settle();
	return true;
}

static CUresult touch_op(const CUstreamBatchMemOpParams *op, bool captured)
{
	static const char by[] = "cuStreamBatchMemOp";

	switch (op->operation) {
	case CU_STREAM_MEM_OP_WAIT_VALUE_32:
		return touch_value(op->waitValue.address, 0, 4, by, captured);
	case CU_STREAM_MEM_OP_WAIT_VALUE_64:
		return touch_value(op->waitValue.address, 0, 8, by, captured);
	case CU_STREAM_MEM_OP_WRITE_VALUE_32:
		return touch_value(op->writeValue.address, 0, 4, by, captured);
	case CU_STREAM_MEM_OP_WRITE_VALUE_64:
		return touch_value(op->writeValue.address, op->writeValue.value64, 8, by, captured);
	case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES:
	case CU_STREAM_MEM_OP_BARRIER:
		return CUDA_SUCCESS; /* name no memory */
	default:
		/* Newer than our headers: like all others it begins with operation and address. */
		return touch_value(op->waitValue.address, 0, 8, by, captured);
	}
}

bool kv_stream_values(CUstream stream, bool per_thread, const CUstreamBatchMemOpParams *ops,
	unsigned int n, CUresult *ret_result)
{
	bool captured;

	if (!ops || !kv_submit_enter())
		return false;
	captured = kv_stream_captures(stream, per_thread);
	*ret_result = CUDA_SUCCESS;
	for (unsigned int i = 0; i < n && *ret_result == CUDA_SUCCESS; i++)
		*ret_result = touch_op(&ops[i], captured);
	if (*ret_result == CUDA_SUCCESS)
		*ret_result = kv_submit_settle();
	return true;
}
