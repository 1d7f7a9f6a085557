/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_cuda.c - core's table of device functions over the real driver. Calls nothing else.
 *
 * Every function brackets its driver calls with kv_own_begin/end (relaxed capture mode, hooks pass
 * through) and makes the device's own context current if it has to; in a batch this is done once,
 * by the first call. The calls of virtual memory management name their device themselves and need
 * any context, or none.
 */
#include "hooks/gpu_cuda.h"

#include <errno.h>

#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/drain.h"

struct gpu_call {
	struct kv_own_call own;
	struct kv_own *with; /* the device's stream and context */
	bool pushed;
	bool batched; /* nothing to undo: the batch does */
};

enum needs { NEEDS_ANY, NEEDS_OWN };

/* The batch of this thread; open: its first call has set up what the others need. */
struct batch {
	uint32_t depth;
	bool open;
	struct kv_device *device;
	struct gpu_call call;
};
static __thread struct batch batch __attribute__((tls_model("initial-exec")));

/* -ENODEV: there is no context left to work in. */
static int enter(struct gpu_call *call, struct kv_device *device, enum needs needs)
{
	CUcontext current = NULL;

	call->with = kv_device_own(device);
	call->pushed = false;
	call->batched = false;
	if (needs == NEEDS_OWN && !call->with)
		return -ENODEV;
	kv_own_begin(&call->own);
	KV_REAL(cuCtxGetCurrent)(&current);
	if (call->with && (needs == NEEDS_OWN ? current != call->with->ctx : !current))
		call->pushed = KV_REAL(cuCtxPushCurrent_v2)(call->with->ctx) == CUDA_SUCCESS;
	if (needs == NEEDS_OWN && !call->pushed && current != call->with->ctx) {
		kv_own_end(&call->own);
		return -ENODEV;
	}
	return 0;
}

static void leave(struct gpu_call *call)
{
	CUcontext popped;

	if (call->pushed)
		KV_REAL(cuCtxPopCurrent_v2)(&popped);
	kv_own_end(&call->own);
}

/* -ENODEV: there is no context left to work in. */
static int call_begin(struct gpu_call *call, struct kv_device *device, enum needs needs)
{
	if (batch.depth && !batch.open) {
		batch.open = enter(&batch.call, device, NEEDS_OWN) == 0;
		batch.device = device;
	}
	/* The device's context may have gone since the batch was opened. */
	if (!batch.open || batch.device != device || batch.call.with != kv_device_own(device))
		return enter(call, device, needs);
	call->with = batch.call.with;
	call->batched = true;
	return 0;
}

static int call_end(struct gpu_call *call, CUresult res)
{
	if (!call->batched)
		leave(call);
	return kv_errno_of(res);
}

static void gpu_batch_begin(void *gpu)
{
	batch.depth++;
}

static void gpu_batch_end(void *gpu)
{
	if (--batch.depth || !batch.open)
		return;
	leave(&batch.call);
	batch.open = false;
}

static uint64_t gpu_now_ns(void *gpu)
{
	return kv_now_ns();
}

static int gpu_memory_info(void *gpu, uint64_t *ret_free, uint64_t *ret_total)
{
	size_t free_bytes = 0, total = 0;
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	err = call_end(&call, KV_REAL(cuMemGetInfo_v2)(&free_bytes, &total));
	if (err < 0)
		return err;
	*ret_free = free_bytes;
	*ret_total = total;
	return 0;
}

/* ---- ranges and handles ---- */

static int gpu_range_reserve(void *gpu, uint64_t size, uint64_t align, kv_gpu_addr *ret_addr)
{
	struct gpu_call call;
	CUdeviceptr addr = 0;
	CUresult res;
	int err;

	err = call_begin(&call, gpu, NEEDS_ANY);
	if (err < 0)
		return err;
	res = KV_REAL(cuMemAddressReserve)(&addr, size, align, 0, 0);
	/* A driver that does not know such an alignment: it is asked for speed only. */
	if (res == CUDA_ERROR_INVALID_VALUE)
		res = KV_REAL(cuMemAddressReserve)(&addr, size, 0, 0, 0);
	err = call_end(&call, res);
	if (err < 0)
		return err;
	*ret_addr = addr;
	return 0;
}

static int gpu_range_free(void *gpu, kv_gpu_addr addr, uint64_t size)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_ANY);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemAddressFree)(addr, size));
}

static CUresult create_device(
	struct kv_device *device, uint64_t size, CUmemGenericAllocationHandle *ret_handle)
{
	CUmemAllocationProp prop = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device->ordinal},
		.allocFlags.gpuDirectRDMACapable = device->rdma,
	};
	CUresult res = CUDA_ERROR_NOT_SUPPORTED;

	if (atomic_load_explicit(&device->shareable, memory_order_relaxed)) {
		prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
		res = KV_REAL(cuMemCreate)(ret_handle, size, &prop, 0);
		if (res != CUDA_ERROR_NOT_SUPPORTED && res != CUDA_ERROR_NOT_PERMITTED &&
			res != CUDA_ERROR_INVALID_VALUE)
			return res;
		/* The attribute promised too much (containers, vGPU). */
		prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_NONE;
	}
	res = KV_REAL(cuMemCreate)(ret_handle, size, &prop, 0);
	if (res == CUDA_SUCCESS)
		atomic_store_explicit(&device->shareable, false, memory_order_relaxed);
	return res;
}

static CUresult create_host(
	struct kv_device *device, uint64_t size, CUmemGenericAllocationHandle *ret_handle)
{
	CUmemAllocationProp prop = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_HOST_NUMA, .id = device->host_node},
	};

	if (device->host_node < 0)
		return CUDA_ERROR_NOT_SUPPORTED;
	return KV_REAL(cuMemCreate)(ret_handle, size, &prop, 0);
}

static int gpu_handle_create(
	void *gpu, uint64_t size, enum kv_gpu_location where, kv_gpu_handle *ret_handle)
{
	CUmemGenericAllocationHandle handle = 0;
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_ANY);
	if (err < 0)
		return err;
	err = call_end(&call, where == KV_GPU_DEVICE ? create_device(gpu, size, &handle)
						     : create_host(gpu, size, &handle));
	if (err < 0)
		return err;
	*ret_handle = handle;
	return 0;
}

static int gpu_handle_release(void *gpu, kv_gpu_handle handle)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_ANY);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemRelease)(handle));
}

/* ---- mappings ---- */

static int gpu_map(void *gpu, kv_gpu_addr addr, uint64_t size, kv_gpu_handle handle)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_ANY);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemMap)(addr, size, 0, handle, 0));
}

static int gpu_unmap(void *gpu, kv_gpu_addr addr, uint64_t size)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_ANY);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemUnmap)(addr, size));
}

static CUmemAccessDesc access_of(CUdevice device)
{
	CUmemAccessDesc desc = {
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};

	return desc;
}

static int gpu_set_access(void *gpu, kv_gpu_addr addr, uint64_t size)
{
	CUmemAccessDesc desc[KV_DEVICES_MAX + 1];
	struct kv_device *device = gpu;
	struct gpu_call call;
	uint64_t peers;
	CUresult res;
	int err;

	err = call_begin(&call, device, NEEDS_ANY);
	if (err < 0)
		return err;
	do {
		size_t n = 0;

		/* seq_cst: partner in kv_device_peer(). Whoever adds a peer gives access to the
		 * pages that it finds mapped; these pages are not yet, so a peer that came
		 * meanwhile is seen below. */
		peers = atomic_load(&device->peers);
		desc[n++] = access_of(device->ordinal);
		for (int i = 0; i < KV_DEVICES_MAX; i++) {
			if ((peers >> i & 1) && i != device->ordinal)
				desc[n++] = access_of(i);
		}
		res = KV_REAL(cuMemSetAccess)(addr, size, desc, n);
	} while (res == CUDA_SUCCESS && atomic_load(&device->peers) != peers);
	return call_end(&call, res);
}

/* ---- bytes ---- */

static int gpu_zero(void *gpu, kv_gpu_addr addr, uint64_t size)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemsetD8Async)(addr, 0, size, call.with->stream));
}

static int gpu_copy_out(void *gpu, void *host, kv_gpu_addr addr, uint64_t size)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemcpyDtoHAsync_v2)(host, addr, size, call.with->stream));
}

static int gpu_copy_in(void *gpu, kv_gpu_addr addr, const void *host, uint64_t size)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemcpyHtoDAsync_v2)(addr, host, size, call.with->stream));
}

static int gpu_flush(void *gpu)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuStreamSynchronize)(call.with->stream));
}

static int gpu_host_alloc(void *gpu, uint64_t size, void **ret_host)
{
	struct gpu_call call;
	void *host = NULL;
	int err;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	err = call_end(&call, KV_REAL(cuMemHostAlloc)(&host, size, CU_MEMHOSTALLOC_PORTABLE));
	if (err < 0)
		return err;
	*ret_host = host;
	return 0;
}

static int gpu_host_free(void *gpu, void *host)
{
	struct gpu_call call;
	int err;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	return call_end(&call, KV_REAL(cuMemFreeHost)(host));
}

static int gpu_drain(void *gpu, uint64_t timeout_ns)
{
	struct gpu_call call;
	int err, end;

	err = call_begin(&call, gpu, NEEDS_OWN);
	if (err < 0)
		return err;
	err = kv_drain_all(timeout_ns);
	end = call_end(&call, CUDA_SUCCESS);
	return err < 0 ? err : end;
}

const struct kv_gpu_ops kv_gpu_cuda = {
	.now_ns = gpu_now_ns,
	.memory_info = gpu_memory_info,
	.range_reserve = gpu_range_reserve,
	.range_free = gpu_range_free,
	.handle_create = gpu_handle_create,
	.handle_release = gpu_handle_release,
	.map = gpu_map,
	.unmap = gpu_unmap,
	.set_access = gpu_set_access,
	.zero = gpu_zero,
	.copy_out = gpu_copy_out,
	.copy_in = gpu_copy_in,
	.flush = gpu_flush,
	.host_alloc = gpu_host_alloc,
	.host_free = gpu_host_free,
	.batch_begin = gpu_batch_begin,
	.batch_end = gpu_batch_end,
	.drain = gpu_drain,
};
