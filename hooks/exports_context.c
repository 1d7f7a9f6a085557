/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_context.c - the driver's names of context.c's bodies.
 */
#include "hooks/call.h"
#include "hooks/exports.h"
#include "hooks/slots.h"
#include "hooks/stream.h"

CUresult CUDAAPI cuInit(unsigned int flags)
{
	CUresult res = KV_REAL(cuInit)(flags);

	/* Whoever loaded libraries since the last look has reached the driver by now. */
	if (res == CUDA_SUCCESS && kv_hooks_active() && !kv_thread.depth)
		kv_slots_rewrite();
	return res;
}

CUresult CUDAAPI cuCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice device)
{
	return kv_context_created(KV_REAL(cuCtxCreate)(ctx, flags, device), ctx);
}

CUresult CUDAAPI cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice device)
{
	return kv_context_created(KV_REAL(cuCtxCreate_v2)(ctx, flags, device), ctx);
}

CUresult CUDAAPI cuCtxCreate_v3(CUcontext *ctx, CUexecAffinityParam *params, int n_params,
	unsigned int flags, CUdevice device)
{
	return kv_context_created(
		KV_REAL(cuCtxCreate_v3)(ctx, params, n_params, flags, device), ctx);
}

CUresult CUDAAPI cuCtxCreate_v4(
	CUcontext *ctx, CUctxCreateParams *params, unsigned int flags, CUdevice device)
{
	return kv_context_created(KV_REAL(cuCtxCreate_v4)(ctx, params, flags, device), ctx);
}

CUresult CUDAAPI cuCtxDestroy(CUcontext ctx)
{
	return kv_context_destroy(KV_REAL(cuCtxDestroy), ctx);
}

CUresult CUDAAPI cuCtxDestroy_v2(CUcontext ctx)
{
	return kv_context_destroy(KV_REAL(cuCtxDestroy_v2), ctx);
}

CUresult CUDAAPI cuCtxDetach(CUcontext ctx)
{
	return kv_context_destroy(KV_REAL(cuCtxDetach), ctx);
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice device)
{
	return kv_context_retained(KV_REAL(cuDevicePrimaryCtxRetain)(ctx, device), ctx, device);
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device)
{
	return kv_context_release(KV_REAL(cuDevicePrimaryCtxRelease), device);
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	return kv_context_release(KV_REAL(cuDevicePrimaryCtxRelease_v2), device);
}

CUresult CUDAAPI cuDevicePrimaryCtxReset(CUdevice device)
{
	return kv_context_reset(KV_REAL(cuDevicePrimaryCtxReset), device);
}

CUresult CUDAAPI cuDevicePrimaryCtxReset_v2(CUdevice device)
{
	return kv_context_reset(KV_REAL(cuDevicePrimaryCtxReset_v2), device);
}

CUresult CUDAAPI cuGreenCtxDestroy(CUgreenCtx green)
{
	return kv_context_destroy_green(KV_REAL(cuGreenCtxDestroy), green);
}

CUresult CUDAAPI cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	return kv_context_peer(KV_REAL(cuCtxEnablePeerAccess)(peer, flags), peer, 1);
}

CUresult CUDAAPI cuCtxDisablePeerAccess(CUcontext peer)
{
	return kv_context_peer(KV_REAL(cuCtxDisablePeerAccess)(peer), peer, 0);
}
