/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_stream.c - the driver's names of stream.c's bodies.
 */
#include "hooks/call.h"
#include "hooks/exports.h"
#include "hooks/stream.h"

CUresult CUDAAPI cuStreamCreate(CUstream *stream, unsigned int flags)
{
	return kv_stream_created(KV_REAL(cuStreamCreate)(stream, flags), stream, flags);
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority)
{
	return kv_stream_created(
		KV_REAL(cuStreamCreateWithPriority)(stream, flags, priority), stream, flags);
}

CUresult CUDAAPI cuGreenCtxStreamCreate(
	CUstream *stream, CUgreenCtx green, unsigned int flags, int priority)
{
	return kv_stream_created_green(
		KV_REAL(cuGreenCtxStreamCreate)(stream, green, flags, priority), stream, green);
}

CUresult CUDAAPI cuStreamDestroy(CUstream stream)
{
	return kv_stream_destroy(KV_REAL(cuStreamDestroy), stream);
}

CUresult CUDAAPI cuStreamDestroy_v2(CUstream stream)
{
	return kv_stream_destroy(KV_REAL(cuStreamDestroy_v2), stream);
}

/* One body for all that write or wait for one value: touch, call, leave. */
#define VALUE(symbol, type, per_thread, written) \
	CUresult CUDAAPI symbol(CUstream stream, CUdeviceptr addr, type value, unsigned int flags) \
	{ \
		__typeof__(kv_real.symbol) real = KV_REAL(symbol); \
		CUresult res; \
\
		if (!kv_stream_value( \
			    stream, per_thread, addr, written, sizeof(type), #symbol, &res)) \
			return real(stream, addr, value, flags); \
		if (res == CUDA_SUCCESS) \
			res = real(stream, addr, value, flags); \
		kv_submit_leave(); \
		return res; \
	}

VALUE(cuStreamWriteValue32, cuuint32_t, false, value)
VALUE(cuStreamWriteValue32_ptsz, cuuint32_t, true, value)
VALUE(cuStreamWriteValue32_v2, cuuint32_t, false, value)
VALUE(cuStreamWriteValue32_v2_ptsz, cuuint32_t, true, value)
VALUE(cuStreamWriteValue64, cuuint64_t, false, value)
VALUE(cuStreamWriteValue64_ptsz, cuuint64_t, true, value)
VALUE(cuStreamWriteValue64_v2, cuuint64_t, false, value)
VALUE(cuStreamWriteValue64_v2_ptsz, cuuint64_t, true, value)
VALUE(cuStreamWaitValue32, cuuint32_t, false, 0)
VALUE(cuStreamWaitValue32_ptsz, cuuint32_t, true, 0)
VALUE(cuStreamWaitValue32_v2, cuuint32_t, false, 0)
VALUE(cuStreamWaitValue32_v2_ptsz, cuuint32_t, true, 0)
VALUE(cuStreamWaitValue64, cuuint64_t, false, 0)
VALUE(cuStreamWaitValue64_ptsz, cuuint64_t, true, 0)
VALUE(cuStreamWaitValue64_v2, cuuint64_t, false, 0)
VALUE(cuStreamWaitValue64_v2_ptsz, cuuint64_t, true, 0)

#define VALUES(symbol, per_thread) \
	CUresult CUDAAPI symbol(CUstream stream, unsigned int count, \
		CUstreamBatchMemOpParams *ops, unsigned int flags) \
	{ \
		__typeof__(kv_real.symbol) real = KV_REAL(symbol); \
		CUresult res; \
\
		if (!kv_stream_values(stream, per_thread, ops, count, &res)) \
			return real(stream, count, ops, flags); \
		if (res == CUDA_SUCCESS) \
			res = real(stream, count, ops, flags); \
		kv_submit_leave(); \
		return res; \
	}

VALUES(cuStreamBatchMemOp, false)
VALUES(cuStreamBatchMemOp_ptsz, true)
VALUES(cuStreamBatchMemOp_v2, false)
VALUES(cuStreamBatchMemOp_v2_ptsz, true)
