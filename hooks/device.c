/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c - device records: what a device can do, what calls of our own use on it, who else sees
 * its memory.
 */
#include "hooks/device.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/drain.h"
#include "hooks/gpu_cuda.h"
#include "hooks/origin.h"

enum state { UNSEEN, COMING, READY, UNFIT };

static struct kv_device devices[KV_DEVICES_MAX];
static _Atomic int
	states[KV_DEVICES_MAX]; /* enum state; atomic: release when ready, partner acquire */

/* ---- what it can do ---- */

static int attribute(CUdevice device, CUdevice_attribute which)
{
	int value = 0;

	if (KV_REAL(cuDeviceGetAttribute)(&value, which, device) != CUDA_SUCCESS)
		return 0;
	return value;
}

static bool has_entry_points(void)
{
	return kv_real.cuMemAddressReserve && kv_real.cuMemAddressFree && kv_real.cuMemCreate &&
	       kv_real.cuMemRelease && kv_real.cuMemMap && kv_real.cuMemUnmap &&
	       kv_real.cuMemSetAccess && kv_real.cuMemGetAllocationGranularity &&
	       kv_real.cuThreadExchangeStreamCaptureMode;
}

static uint64_t granularity_of(CUmemLocationType type, int id)
{
	CUmemAllocationProp prop = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = type, .id = id},
	};
	size_t bytes = 0;

	if (KV_REAL(cuMemGetAllocationGranularity)(
		    &bytes, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) != CUDA_SUCCESS)
		return 0;
	return bytes;
}

static int host_node_of(const struct kv_device *d)
{
	int node = attribute(d->ordinal, CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID);
	uint64_t bytes;

	if (!attribute(
		    d->ordinal, CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED))
		return -1;
	if (node < 0)
		node = 0; /* no NUMA: node 0 is all there is (cuda.h, CUmemAllocationProp) */
	/* Pages in host memory have the size of pages in device memory. */
	bytes = granularity_of(CU_MEM_LOCATION_TYPE_HOST_NUMA, node);
	return bytes && d->granularity % bytes == 0 ? node : -1;
}

/* Who it is. NULL, or what the driver does not tell. */
static const char *identify(struct kv_device *d)
{
	CUuuid uuid;
	size_t total = 0;
	CUresult res;

	if (kv_real.cuDeviceGetUuid_v2)
		res = kv_real.cuDeviceGetUuid_v2(&uuid, d->ordinal);
	else
		res = KV_REAL(cuDeviceGetUuid)(&uuid, d->ordinal);
	if (res != CUDA_SUCCESS)
		return "the driver does not tell the device's UUID";
	memcpy(d->uuid, uuid.bytes, sizeof(d->uuid));
	if (KV_REAL(cuDeviceTotalMem_v2)(&total, d->ordinal) != CUDA_SUCCESS)
		return "the driver does not tell the size of the device";
	d->total = total;
	if (KV_REAL(cuDeviceGetName)(d->name, sizeof(d->name), d->ordinal) != CUDA_SUCCESS)
		d->name[0] = '\0';
	d->name[sizeof(d->name) - 1] = '\0';
	return NULL;
}

/* What it can do. NULL, or why we cannot work on it. */
static const char *examine(struct kv_device *d)
{
	if (!has_entry_points())
		return "the driver is too old for virtual memory management";
	if (!attribute(d->ordinal, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED))
		return "the device has no virtual memory management";
	d->granularity = granularity_of(CU_MEM_LOCATION_TYPE_DEVICE, d->ordinal);
	if (!d->granularity)
		return "the driver does not tell the granularity of device memory";
	d->rdma = attribute(d->ordinal,
			  CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED) != 0;
	d->shareable =
		attribute(d->ordinal,
			CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED) != 0;
	d->managed_readable =
		attribute(d->ordinal, CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS) != 0;
	d->host_node = host_node_of(d);
	return NULL;
}

/* ---- the record ---- */

/* One line to the operator; with an identity, the same to whoever looks at the device. */
static enum state unfit(const struct kv_device *d, bool identified, const char *why)
{
	const struct kv_hooks_config *config = &kv_hooks.config;

	kv_hooks_log(
		1, "device", "device %d: %s: all its allocations stay native", d->ordinal, why);
	if (identified && config->device_inert)
		config->device_inert(config->ctx, d->uuid, d->name, d->total, why);
	return UNFIT;
}

static enum state set_up(struct kv_device *d, CUdevice ordinal)
{
	struct kv_hooks_config *config = &kv_hooks.config;
	const char *stranger, *trouble = NULL;
	struct kv_stats_sink sink = {0};
	struct kv_own_call own;
	char text[128];
	int err;

	d->ordinal = ordinal;
	pthread_mutex_init(&d->adopting, NULL);
	kv_own_begin(&own);
	stranger = identify(d);
	if (!stranger)
		trouble = examine(d);
	kv_own_end(&own);
	if (stranger || trouble)
		return unfit(d, !stranger, stranger ? stranger : trouble);
	if (config->device_found &&
		config->device_found(config->ctx, d->uuid, d->name, d->total, &sink) < 0)
		return UNFIT; /* the embedder has said why */
	err = kv_space_new(kv_hooks.core, &kv_gpu_cuda, d, d->granularity, &sink, &d->space);
	if (err == -EINVAL) {
		snprintf(text, sizeof(text),
			"the page size does not fit its granularity of %llu bytes",
			(unsigned long long)d->granularity);
		return unfit(d, true, text);
	}
	return err < 0 ? unfit(d, true, "no memory for its records") : READY;
}

struct kv_device *kv_device_at(CUdevice ordinal)
{
	if (ordinal < 0 || ordinal >= KV_DEVICES_MAX)
		return NULL;
	/* acquire: partner is the release in kv_device_find(). */
	if (atomic_load_explicit(&states[ordinal], memory_order_acquire) != READY)
		return NULL;
	return &devices[ordinal];
}

struct kv_device *kv_device_current(void)
{
	CUdevice ordinal = -1;

	if (KV_REAL(cuCtxGetDevice)(&ordinal) != CUDA_SUCCESS)
		return NULL;
	return kv_device_find(ordinal);
}

struct kv_device *kv_device_find(CUdevice ordinal)
{
	int state = UNSEEN;

	if (ordinal < 0 || ordinal >= KV_DEVICES_MAX)
		return NULL;
	if (atomic_compare_exchange_strong(&states[ordinal], &state, COMING)) {
		kv_thread.depth++;
		state = set_up(&devices[ordinal], ordinal);
		kv_thread.depth--;
		/* release: partner is the acquire in kv_device_at(); the record is complete. */
		atomic_store_explicit(&states[ordinal], state, memory_order_release);
	}
	/* Another thread is at it: milliseconds, once. No lock, since the embedder is called. */
	while (atomic_load_explicit(&states[ordinal], memory_order_acquire) == COMING)
		sched_yield();
	return kv_device_at(ordinal);
}

/* ---- what calls of our own use ---- */

struct kv_own *kv_device_own(struct kv_device *device)
{
	return atomic_load_explicit(&device->own, memory_order_acquire);
}

/* In the current context; the caller is in kv_own_begin(). */
static int own_new(struct kv_own **ret_own)
{
	struct kv_own *own = calloc(1, sizeof(*own));
	CUresult res;

	if (!own)
		return -ENOMEM;
	res = KV_REAL(cuCtxGetCurrent)(&own->ctx);
	if (res != CUDA_SUCCESS || !own->ctx)
		goto no_context;
	res = KV_REAL(cuStreamCreate)(&own->stream, CU_STREAM_NON_BLOCKING);
	if (res != CUDA_SUCCESS)
		goto no_context;
	res = KV_REAL(cuMemAlloc_v2)(&own->zero, KV_ZERO_PAGE_SIZE);
	if (res != CUDA_SUCCESS)
		goto no_zero;
	res = KV_REAL(cuMemsetD8Async)(own->zero, 0, KV_ZERO_PAGE_SIZE, own->stream);
	if (res == CUDA_SUCCESS)
		res = KV_REAL(cuStreamSynchronize)(own->stream);
	if (res != CUDA_SUCCESS)
		goto no_fill;
	kv_drain_add_context(own->ctx);
	*ret_own = own;
	return 0;

no_fill:
	KV_REAL(cuMemFree_v2)(own->zero);
no_zero:
	KV_REAL(cuStreamDestroy_v2)(own->stream);
no_context:
	free(own);
	return res == CUDA_SUCCESS ? -ENODEV : kv_errno_of(res);
}

int kv_device_adopt(struct kv_device *device)
{
	struct kv_own_call call;
	struct kv_own *own;
	int err = 0;

	if (kv_device_own(device))
		return 0;
	pthread_mutex_lock(&device->adopting);
	if (!kv_device_own(device)) {
		kv_own_begin(&call);
		err = own_new(&own);
		kv_own_end(&call);
		/* release: partner is the acquire in kv_device_own(). */
		if (err == 0)
			atomic_store_explicit(&device->own, own, memory_order_release);
	}
	pthread_mutex_unlock(&device->adopting);
	return err;
}

/* The stream and the zero page of a context that still works. Readers of own may hold the
 * structure: it is left, a few bytes per destroyed context. */
static void own_take_down(struct kv_own *own)
{
	CUcontext popped;

	if (KV_REAL(cuCtxPushCurrent_v2)(own->ctx) != CUDA_SUCCESS)
		return;
	KV_REAL(cuStreamDestroy_v2)(own->stream);
	KV_REAL(cuMemFree_v2)(own->zero);
	KV_REAL(cuCtxPopCurrent_v2)(&popped);
}

void kv_device_abandon(struct kv_device *device, CUcontext ctx, bool works)
{
	struct kv_own *own = kv_device_own(device), *next = NULL;
	struct kv_own_call call;
	struct kv_origin other;
	CUcontext popped;

	if (!own || own->ctx != ctx)
		return;
	kv_own_begin(&call);
	if (kv_origin_elsewhere(device, ctx, &other)) {
		if (KV_REAL(cuCtxPushCurrent_v2)(other.ctx) == CUDA_SUCCESS) {
			if (own_new(&next) < 0)
				next = NULL;
			KV_REAL(cuCtxPopCurrent_v2)(&popped);
		}
	} else {
		/* Nothing is left that needs a context: spare handles and pinned memory go with it.
		 */
		kv_space_drop(device->space, works);
	}
	pthread_mutex_lock(&device->adopting);
	atomic_store_explicit(&device->own, next, memory_order_release);
	pthread_mutex_unlock(&device->adopting);
	if (works)
		own_take_down(own);
	kv_own_end(&call);
}

/* ---- peers ---- */

/* Gives access to what is mapped of one reservation, run by run. Pages mapped later see the peer
 * already. */
static int grant(void *ctx, struct kv_reservation *r)
{
	struct kv_device *device = ctx;
	uint64_t page = kv_reservation_page_size(r);
	uint64_t n = kv_reservation_reserved(r) / page;
	kv_gpu_addr base = kv_reservation_base(r);

	if (kv_reservation_space(r) != device->space)
		return 0;
	for (uint64_t i = 0, first = 0; i <= n; i++) {
		enum kv_page_state state = i < n ? kv_reservation_page_state(r, i) : KV_PAGE_EMPTY;
		bool mapped = state == KV_PAGE_BACKED || state == KV_PAGE_SPILLED;
		int err;

		if (mapped)
			continue;
		if (i > first) {
			err = kv_gpu_cuda.set_access(
				device, base + first * page, (i - first) * page);
			if (err < 0)
				return err;
		}
		first = i + 1;
	}
	return 0;
}

int kv_device_peer(CUdevice owner, CUdevice viewer)
{
	struct kv_device *device;
	bool inside;
	int err;

	if (owner < 0 || owner >= KV_DEVICES_MAX || viewer < 0 || viewer >= KV_DEVICES_MAX)
		return -EINVAL;
	/* seq_cst: partner in gpu_set_access(). Remembered also for a device not yet seen. */
	if (atomic_fetch_or(&devices[owner].peers, 1ull << viewer) >> viewer & 1)
		return 0;
	device = kv_device_at(owner);
	if (!device)
		return 0;
	inside = kv_submit_enter_quiet(); /* no page goes away while we look */
	err = kv_core_each(kv_hooks.core, grant, device);
	if (inside)
		kv_submit_leave();
	return err;
}

void kv_device_unpeer(CUdevice owner, CUdevice viewer)
{
	if (owner >= 0 && owner < KV_DEVICES_MAX && viewer >= 0 && viewer < KV_DEVICES_MAX)
		atomic_fetch_and(&devices[owner].peers, ~(1ull << viewer));
}
