/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.c - memory that the driver gives: admitted against what reservations were promised, and
 * counted.
 */
#include <errno.h>

#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/drain.h"
#include "hooks/history.h"

static bool is_program(void)
{
	return kv_hooks_active() && !kv_thread.depth;
}

CUresult kv_native_admit(uint64_t size)
{
	struct kv_device *device;
	int err;

	/* Nothing is promised while there is no reservation. */
	if (!is_program() || kv_core_is_idle(kv_hooks.core))
		return CUDA_SUCCESS;
	device = kv_device_current();
	if (!device || !kv_device_own(device))
		return CUDA_SUCCESS;
	kv_thread.depth++;
	err = kv_space_admit_native(device->space, size);
	kv_thread.depth--;
	return err == -ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

bool kv_native_make_room(struct kv_native_tries *tries, CUresult res, uint64_t size)
{
	struct kv_device *device;
	bool room, aside = false;

	if (kv_likely(res != CUDA_ERROR_OUT_OF_MEMORY) || !is_program() ||
		tries->n++ == KV_NATIVE_TRIES)
		return false;
	/* somebody else was faster, or it was not enough: what was kept is room for the others */
	kv_native_done(tries);
	device = kv_device_current();
	if (!device)
		return false;
	kv_thread.depth++;
	if (!tries->start_ns)
		tries->start_ns = kv_now_ns();
	/* Nothing is drained and nobody is waited for beside an open capture. */
	if (atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		room = kv_space_trim(device->space, size) > 0;
	else
		room = kv_space_make_room(device->space, size, tries->start_ns, &aside);
	if (aside) {
		tries->space = device->space;
		tries->size = size;
	}
	kv_thread.depth--;
	return room;
}

void kv_native_done(struct kv_native_tries *tries)
{
	if (kv_likely(!tries->space))
		return;
	kv_space_room_used(tries->space, tries->size);
	tries->space = NULL;
}

CUresult kv_native_made(CUresult res, enum kv_track_kind kind, uint64_t addr, uint64_t size)
{
	struct kv_device *device = NULL;
	CUcontext ctx = NULL;

	if (res != CUDA_SUCCESS || !is_program())
		return res;
	if (kind == KV_TRACK_NATIVE) {
		device = kv_device_current();
		KV_REAL(cuCtxGetCurrent)(&ctx);
	}
	kv_track_add_owned(kind, addr, size, device ? device->space : NULL, ctx);
	return res;
}

struct kv_native_gone kv_native_forget(enum kv_track_kind kind, uint64_t addr)
{
	struct kv_native_gone gone = {.kind = kind, .addr = addr};

	if (is_program())
		gone.size = kv_track_remove(kind, addr);
	return gone;
}

CUresult kv_native_freed(CUresult res, const struct kv_native_gone *gone)
{
	if (!gone->size)
		return res;
	if (res != CUDA_SUCCESS)
		return kv_native_made(CUDA_SUCCESS, gone->kind, gone->addr, gone->size), res;
	kv_history_free(gone->size);
	return res;
}

CUresult kv_native_alias(CUresult res, const void *host, CUdeviceptr device_addr)
{
	enum kv_track_kind kind;
	uint64_t base, size;

	if (res != CUDA_SUCCESS || !is_program() || device_addr == (uintptr_t)host)
		return res;
	/* Only on systems without one address space. The alias outlives the memory, which makes the
	 * launch path more careful than it need be, never less. */
	if (kv_track_find((uintptr_t)host, &kind, &base, &size))
		kv_track_add(kind, device_addr - ((uintptr_t)host - base), size, NULL);
	return res;
}

CUresult kv_native_async(
	CUresult res, bool per_thread, CUstream stream, CUdeviceptr addr, size_t size)
{
	struct kv_device *device;

	if (res != CUDA_SUCCESS || !is_program() || kv_stream_captures(stream, per_thread))
		return res;
	/* Owned by a pool, which no context takes along. */
	device = kv_device_current();
	kv_track_add(KV_TRACK_NATIVE, addr, size, device ? device->space : NULL);
	return res;
}
