/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - streams and contexts as far as draining and the life of reservations need them.
 *
 * Bodies of the exported functions in exports_context.c and exports_stream.c.
 */
#ifndef KV_HOOKS_STREAM_H
#define KV_HOOKS_STREAM_H

#include "hooks/submit.h"

/* ---- streams ---- */

/* What the driver answered to the creation of a stream is passed on; a non-blocking one is
 * remembered. */
CUresult kv_stream_created(CUresult res, const CUstream *stream, unsigned int flags);
CUresult kv_stream_created_green(CUresult res, const CUstream *stream, CUgreenCtx green);
/* Work that is still queued leaves an event behind, so that a drain waits for it. */
CUresult kv_stream_destroy(PFN_cuStreamDestroy_v4000 real, CUstream stream);

/* ---- memory operations in streams ---- */

/*
 * A value of size bytes (4, 8) is written to, or waited for at, addr. A written 64-bit value that
 * points into a reservation leaks it. False: call the driver and nothing else. True: *ret_result
 * says whether the driver may be called; kv_submit_leave() afterwards.
 */
bool kv_stream_value(CUstream stream, bool per_thread, CUdeviceptr addr, uint64_t value,
	uint32_t size, const char *by, CUresult *ret_result);
/* The same for a list of operations. */
bool kv_stream_values(CUstream stream, bool per_thread, const CUstreamBatchMemOpParams *ops,
	unsigned int n, CUresult *ret_result);

/* ---- contexts ---- */

/* What the driver answered to the creation of a context is passed on; its device is found. */
CUresult kv_context_created(CUresult res, const CUcontext *ctx);
/* cuDevicePrimaryCtxRetain: counted, so that the last release is known before it happens. */
CUresult kv_context_retained(CUresult res, const CUcontext *ctx, CUdevice device);
CUresult kv_context_release(PFN_cuDevicePrimaryCtxRelease_v11000 real, CUdevice device);
CUresult kv_context_reset(PFN_cuDevicePrimaryCtxReset_v11000 real, CUdevice device);
/* cuCtxDestroy and cuCtxDetach. */
CUresult kv_context_destroy(PFN_cuCtxDestroy_v4000 real, CUcontext ctx);
CUresult kv_context_destroy_green(PFN_cuGreenCtxDestroy_v12040 real, CUgreenCtx green);
/* enabled: 1 peer access was enabled, 0 disabled. */
CUresult kv_context_peer(CUresult res, CUcontext peer, int enabled);

#endif
