/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.c - contexts, the per-thread stack of current ones, primary contexts.
 *
 * A context that was destroyed keeps its few bytes, marked dead, so that a stale handle is found as
 * such.
 */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "memory.h"

struct sim_context *sim_contexts; /* guarded by sim_lock */

struct sim_context *sim_context_current(void)
{
	return sim_thread.depth ? sim_thread.stack[sim_thread.depth - 1] : NULL;
}

static struct sim_context *context_of(CUcontext handle)
{
	struct sim_context *found = NULL;

	pthread_mutex_lock(&sim_lock);
	for (struct sim_context *c = sim_contexts; c && !found; c = c->next)
		if (c == (struct sim_context *)handle && !c->dead)
			found = c;
	pthread_mutex_unlock(&sim_lock);
	return found;
}

CUresult sim_context_new(struct sim_device *device, unsigned flags, struct sim_context **ret)
{
	static uint64_t last_id;
	struct sim_context *context = calloc(1, sizeof(*context));

	if (!context)
		return CUDA_ERROR_OUT_OF_MEMORY;
	context->magic = SIM_CONTEXT_MAGIC;
	context->device = device;
	context->flags = flags;
	context->limits[CU_LIMIT_STACK_SIZE] = 1024;
	context->limits[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
	context->limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
	context->legacy = sim_stream_new(context, 0, 0);
	if (!context->legacy) {
		free(context);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	context->legacy->legacy = true;
	pthread_mutex_lock(&sim_lock);
	context->id = ++last_id;
	context->next = sim_contexts;
	sim_contexts = context;
	pthread_mutex_unlock(&sim_lock);
	*ret = context;
	return CUDA_SUCCESS;
}

void sim_context_destroy(struct sim_context *context)
{
	sim_context_wait(context);
	atomic_store(&context->dead, true);
	sim_modules_drop(context);
	sim_native_drop(context);
}

static void push(struct sim_context *context)
{
	if (sim_thread.depth < 32)
		sim_thread.stack[sim_thread.depth++] = context;
}

CUresult sim_cuCtxCreate_v2(CUcontext *ret, unsigned int flags, CUdevice dev)
{
	struct sim_device *device = sim_device_of(dev);
	struct sim_context *context;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	CUresult result = sim_context_new(device, flags, &context);
	if (result == CUDA_SUCCESS) {
		push(context);
		*ret = (CUcontext)context;
	}
	return result;
}

CUresult sim_cuCtxCreate_v3(
	CUcontext *ret, CUexecAffinityParam *params, int n, unsigned int flags, CUdevice dev)
{
	return n ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY : sim_cuCtxCreate_v2(ret, flags, dev);
}

CUresult sim_cuCtxCreate_v4(
	CUcontext *ret, CUctxCreateParams *params, unsigned int flags, CUdevice dev)
{
	if (params && (params->numExecAffinityParams || params->cigParams))
		return CUDA_ERROR_NOT_SUPPORTED;
	return sim_cuCtxCreate_v2(ret, flags, dev);
}

CUresult sim_cuCtxDestroy_v2(CUcontext handle)
{
	struct sim_context *context = context_of(handle);

	if (!context || context->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	sim_context_destroy(context);
	if (sim_context_current() == context)
		sim_thread.depth--;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxPushCurrent_v2(CUcontext handle)
{
	struct sim_context *context = context_of(handle);

	if (!context)
		return handle ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
	if (sim_thread.depth == 32)
		return CUDA_ERROR_INVALID_VALUE;
	push(context);
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxPopCurrent_v2(CUcontext *ret)
{
	if (!sim_thread.depth)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (ret)
		*ret = (CUcontext)sim_context_current();
	sim_thread.depth--;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxSetCurrent(CUcontext handle)
{
	struct sim_context *context = handle ? context_of(handle) : NULL;

	if (handle && !context)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!handle) {
		sim_thread.depth -= sim_thread.depth > 0;
		return CUDA_SUCCESS;
	}
	if (sim_thread.depth)
		sim_thread.stack[sim_thread.depth - 1] = context;
	else
		push(context);
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetCurrent(CUcontext *ret)
{
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUcontext)sim_context_current();
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetDevice_v2(CUdevice *dev, CUcontext handle)
{
	struct sim_context *context = handle ? context_of(handle) : sim_context_current();

	if (!dev)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	*dev = context->device->ordinal;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetDevice(CUdevice *dev)
{
	return sim_cuCtxGetDevice_v2(dev, NULL);
}

CUresult sim_cuCtxGetFlags(unsigned int *flags)
{
	if (!flags)
		return CUDA_ERROR_INVALID_VALUE;
	*flags = sim_context_current()->flags;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxSetFlags(unsigned int flags)
{
	sim_context_current()->flags = flags;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetId(CUcontext handle, unsigned long long *id)
{
	struct sim_context *context = handle ? context_of(handle) : sim_context_current();

	if (!id)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	*id = context->id;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetApiVersion(CUcontext handle, unsigned int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	if (handle ? !context_of(handle) : !sim_context_current())
		return CUDA_ERROR_INVALID_CONTEXT;
	*version = 3020;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxSynchronize_v2(CUcontext handle)
{
	struct sim_context *context = handle ? context_of(handle) : sim_context_current();

	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	sim_context_wait(context);
	return (CUresult)atomic_load(&context->sticky);
}

CUresult sim_cuCtxSynchronize(void)
{
	return sim_cuCtxSynchronize_v2(NULL);
}

CUresult sim_cuCtxGetLimit(size_t *value, CUlimit limit)
{
	if (!value || (unsigned)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	*value = sim_context_current()->limits[limit];
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxSetLimit(CUlimit limit, size_t value)
{
	if ((unsigned)limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	sim_context_current()->limits[limit] = value;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetCacheConfig(CUfunc_cache *config)
{
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	*config = CU_FUNC_CACHE_PREFER_NONE;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxSetCacheConfig(CUfunc_cache config)
{
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetSharedMemConfig(CUsharedconfig *config)
{
	if (!config)
		return CUDA_ERROR_INVALID_VALUE;
	*config = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxSetSharedMemConfig(CUsharedconfig config)
{
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	if (least)
		*least = 0;
	if (greatest)
		*greatest = -5;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxResetPersistingL2Cache(void)
{
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxEnablePeerAccess(CUcontext peer_handle, unsigned int flags)
{
	struct sim_context *context = sim_context_current(), *peer = context_of(peer_handle);

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!peer || peer->device == context->device)
		return peer ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_CONTEXT;
	if (context->peers >> peer->device->ordinal & 1)
		return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
	context->peers |= 1u << peer->device->ordinal;
	return CUDA_SUCCESS;
}

CUresult sim_cuCtxDisablePeerAccess(CUcontext peer_handle)
{
	struct sim_context *context = sim_context_current(), *peer = context_of(peer_handle);

	if (!peer)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!(context->peers >> peer->device->ordinal & 1))
		return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
	context->peers &= ~(1u << peer->device->ordinal);
	return CUDA_SUCCESS;
}

/* ---- primary contexts ---- */

static pthread_mutex_t primary_lock = PTHREAD_MUTEX_INITIALIZER;

CUresult sim_cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice dev)
{
	struct sim_device *device = sim_device_of(dev);
	CUresult result = CUDA_SUCCESS;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&primary_lock);
	if (!device->primary) {
		result = sim_context_new(device, device->primary_flags, &device->primary);
		if (result == CUDA_SUCCESS)
			device->primary->primary = true;
	}
	if (result == CUDA_SUCCESS) {
		device->primary_refs++;
		*ret = (CUcontext)device->primary;
	}
	pthread_mutex_unlock(&primary_lock);
	return result;
}

static CUresult primary_end(struct sim_device *device, bool reset)
{
	struct sim_context *gone = NULL;

	pthread_mutex_lock(&primary_lock);
	if (!reset && !device->primary_refs) {
		pthread_mutex_unlock(&primary_lock);
		return CUDA_ERROR_INVALID_CONTEXT;
	}
	if (reset || !--device->primary_refs) {
		gone = device->primary;
		device->primary = NULL;
	}
	pthread_mutex_unlock(&primary_lock);
	if (gone)
		sim_context_destroy(gone);
	return CUDA_SUCCESS;
}

CUresult sim_cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	struct sim_device *device = sim_device_of(dev);

	return device ? primary_end(device, false) : CUDA_ERROR_INVALID_DEVICE;
}

/*
 * The context is made anew at the next retain; who holds it keeps a dead handle. Native memory is
 * freed, VMM mappings and handles stay: they belong to the device's address space.
 */
CUresult sim_cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	struct sim_device *device = sim_device_of(dev);

	return device ? primary_end(device, true) : CUDA_ERROR_INVALID_DEVICE;
}

/* NVIDIA's runtime still asks for the versions of 7.0. */
CUresult sim_cuDevicePrimaryCtxRelease(CUdevice dev)
{
	return sim_cuDevicePrimaryCtxRelease_v2(dev);
}

CUresult sim_cuDevicePrimaryCtxReset(CUdevice dev)
{
	return sim_cuDevicePrimaryCtxReset_v2(dev);
}

CUresult sim_cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	struct sim_device *device = sim_device_of(dev);

	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	if (flags)
		*flags = device->primary_flags;
	if (active)
		*active = device->primary != NULL;
	return CUDA_SUCCESS;
}

CUresult sim_cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	struct sim_device *device = sim_device_of(dev);

	if (!device)
		return CUDA_ERROR_INVALID_DEVICE;
	device->primary_flags = flags;
	return CUDA_SUCCESS;
}
