/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.c - reservations die with the context that they were allocated in, as native memory does.
 *
 * Everything of a context is given back before the driver destroys it, while calls still work in
 * it. The primary context is destroyed by its last release, which the driver does not announce:
 * retains are counted here, and if the count was wrong, the state is asked for afterwards.
 */
#include <errno.h>

#include "hooks/agent.h"
#include "hooks/call.h"
#include "hooks/capture.h"
#include "hooks/device.h"
#include "hooks/drain.h"
#include "hooks/launch.h"
#include "hooks/origin.h"
#include "hooks/slots.h"
#include "hooks/stream.h"
#include "hooks/track.h"

/* atomic: relaxed, single values; a program that races release against retain races with itself. */
static _Atomic int retains[KV_DEVICES_MAX];
static _Atomic(CUcontext) primaries[KV_DEVICES_MAX];

static bool is_program(void)
{
	return kv_hooks_active() && !kv_thread.depth;
}

static bool in_range(CUdevice device)
{
	return device >= 0 && device < KV_DEVICES_MAX;
}

/* ---- coming ---- */

CUresult kv_context_created(CUresult res, const CUcontext *ctx)
{
	if (res != CUDA_SUCCESS || !is_program())
		return res;
	kv_slots_rewrite(); /* libraries come before the contexts that they ask for */
	kv_drain_add_context(*ctx);
	kv_device_current(); /* a new context is the current one */
	return res;
}

CUresult kv_context_retained(CUresult res, const CUcontext *ctx, CUdevice device)
{
	if (res != CUDA_SUCCESS || !is_program() || !in_range(device))
		return res;
	atomic_fetch_add_explicit(&retains[device], 1, memory_order_relaxed);
	atomic_store_explicit(&primaries[device], *ctx, memory_order_relaxed);
	kv_slots_rewrite();
	kv_drain_add_context(*ctx);
	kv_device_find(device);
	return res;
}

/* ---- going ---- */

/* Gives back what was allocated in the context. */
static void free_reservations(CUcontext ctx)
{
	struct kv_origin origin = {0};

	while (kv_origin_next(ctx, origin.base, &origin)) {
		if (kv_reservation_free(kv_hooks.core, origin.base) == -EBUSY) {
			kv_hooks_log(1, "context",
				"a stream capture is open while a context is destroyed: "
				"%llu bytes at 0x%llx stay reserved",
				(unsigned long long)origin.size, (unsigned long long)origin.base);
			continue;
		}
		kv_origin_remove(origin.base);
	}
}

/* works: the driver still lives in it. */
static void drop(CUcontext ctx, bool works)
{
	struct kv_device *device;
	uint64_t paused;
	bool inside;

	kv_capture_context_gone(ctx);
	kv_kernel_forget(); /* the handles of its functions may be used again */
	kv_thread.depth++;
	paused = kv_agents_pause();
	if (works) {
		free_reservations(ctx);
	} else {
		/* Our calls must not be made in it any more, not even to give something back. */
		for (int i = 0; i < KV_DEVICES_MAX; i++) {
			if ((device = kv_device_at(i)))
				kv_device_abandon(device, ctx, false);
		}
		free_reservations(ctx);
	}
	for (int i = 0; works && i < KV_DEVICES_MAX; i++) {
		if ((device = kv_device_at(i)))
			kv_device_abandon(device, ctx, true);
	}
	kv_agents_resume(paused);
	kv_thread.depth--;
	inside = kv_submit_enter_quiet();
	kv_drain_remove_context(ctx);
	if (inside)
		kv_submit_leave();
}

/* What the driver freed with the context. with_pools: also what pools of the device held. */
static void forget_native(CUcontext ctx, CUdevice ordinal, bool with_pools)
{
	struct kv_device *device = kv_device_at(ordinal);

	if (device)
		kv_track_forget(device->space, ctx, with_pools);
}

CUresult kv_context_destroy(PFN_cuCtxDestroy_v4000 real, CUcontext ctx)
{
	CUresult res;

	if (!ctx || !is_program())
		return real(ctx);
	drop(ctx, true);
	res = real(ctx);
	for (CUdevice i = 0; res == CUDA_SUCCESS && i < KV_DEVICES_MAX; i++)
		forget_native(ctx, i, false);
	return res;
}

CUresult kv_context_destroy_green(PFN_cuGreenCtxDestroy_v12040 real, CUgreenCtx green)
{
	bool inside = kv_submit_enter_quiet();
	CUresult res = real(green);

	if (inside) {
		if (res == CUDA_SUCCESS)
			kv_drain_remove_context(green);
		kv_submit_leave();
	}
	return res;
}

static bool is_active(CUdevice device)
{
	struct kv_own_call own;
	unsigned int flags;
	int active = 1;
	CUresult res;

	kv_own_begin(&own);
	res = KV_REAL(cuDevicePrimaryCtxGetState)(device, &flags, &active);
	kv_own_end(&own);
	return res != CUDA_SUCCESS || active;
}

CUresult kv_context_release(PFN_cuDevicePrimaryCtxRelease_v11000 real, CUdevice device)
{
	CUcontext ctx;
	CUresult res;
	bool last;

	if (!is_program() || !in_range(device))
		return real(device);
	ctx = atomic_load_explicit(&primaries[device], memory_order_relaxed);
	last = atomic_load_explicit(&retains[device], memory_order_relaxed) == 1;
	if (last && ctx)
		drop(ctx, true);
	res = real(device);
	if (res != CUDA_SUCCESS)
		return res;
	if (atomic_load_explicit(&retains[device], memory_order_relaxed) > 0)
		atomic_fetch_sub_explicit(&retains[device], 1, memory_order_relaxed);
	if (is_active(device)) {
		/* Somebody retained it past us: reservations that went early are no loss to
		 * anybody, since the program has just said that it is through with the device. */
		if (last)
			kv_drain_add_context(ctx);
		return res;
	}
	if (!last && ctx)
		drop(ctx, false);
	forget_native(ctx, device, true);
	return res;
}

CUresult kv_context_reset(PFN_cuDevicePrimaryCtxReset_v11000 real, CUdevice device)
{
	CUcontext ctx;
	CUresult res;

	if (!is_program() || !in_range(device))
		return real(device);
	ctx = atomic_load_explicit(&primaries[device], memory_order_relaxed);
	if (ctx)
		drop(ctx, true);
	res = real(device);
	if (res == CUDA_SUCCESS)
		forget_native(ctx, device, true);
	/* Who holds the primary context goes on using it after the reset. */
	if (ctx && atomic_load_explicit(&retains[device], memory_order_relaxed) > 0)
		kv_drain_add_context(ctx);
	return res;
}

/* ---- peers ---- */

static bool device_of(CUcontext ctx, CUdevice *ret_device)
{
	CUcontext popped;
	CUresult res;

	if (KV_REAL(cuCtxPushCurrent_v2)(ctx) != CUDA_SUCCESS)
		return false;
	res = KV_REAL(cuCtxGetDevice)(ret_device);
	KV_REAL(cuCtxPopCurrent_v2)(&popped);
	return res == CUDA_SUCCESS;
}

CUresult kv_context_peer(CUresult res, CUcontext peer, int enabled)
{
	CUdevice viewer, owner;
	struct kv_own_call own;
	bool known;
	int err;

	if (res != CUDA_SUCCESS || !is_program())
		return res;
	kv_own_begin(&own);
	known = KV_REAL(cuCtxGetDevice)(&viewer) == CUDA_SUCCESS && device_of(peer, &owner);
	kv_own_end(&own);
	if (!known)
		return res;
	if (!enabled) {
		kv_device_unpeer(owner, viewer);
		return res;
	}
	err = kv_device_peer(owner, viewer);
	if (err < 0)
		kv_hooks_log(1, "device",
			"device %d cannot see all reservations of its peer %d (error %d)", viewer,
			owner, -err);
	return res;
}
