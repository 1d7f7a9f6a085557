/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - threads, primary contexts and errors of the libcudart stand-in.
 */
#include <pthread.h>

#include "exports.h"

#define MAX_DEVICES 64

/* Of one thread; nobody else sees it. */
static _Thread_local struct {
	int device; /* asked for by cudaSetDevice, used until a context says otherwise */
	int last_error;
	bool bound; /* the thread has had a current context */
} thread;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CUcontext primaries[MAX_DEVICES]; /* guarded by lock */

const struct driver *rt_driver(int *ret)
{
	return driver_get(ret);
}

int rt_error(int error)
{
	if (error && error != CUDA_ERROR_NOT_READY)
		thread.last_error = error;
	return error;
}

int rt_primary(const struct driver *d, int device, CUcontext *ret_context)
{
	int error = 0;

	if (device < 0 || device >= MAX_DEVICES)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&lock);
	if (!primaries[device]) {
		CUdevice dev;
		error = d->cuDeviceGet(&dev, device);
		if (!error)
			error = d->cuDevicePrimaryCtxRetain(&primaries[device], dev);
		if (error)
			primaries[device] = NULL;
	}
	*ret_context = primaries[device];
	pthread_mutex_unlock(&lock);
	return error;
}

void rt_primaries_release(void)
{
	int error;
	const struct driver *d = rt_driver(&error);

	if (!d)
		return;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_DEVICES; i++) {
		if (primaries[i])
			d->cuDevicePrimaryCtxRelease(i);
		primaries[i] = NULL;
	}
	pthread_mutex_unlock(&lock);
}

static int bind_thread(const struct driver *d, int device)
{
	CUcontext context;
	int error = rt_primary(d, device, &context);

	if (!error)
		error = d->cuCtxSetCurrent(context);
	if (!error)
		thread.bound = true;
	return error;
}

const struct driver *rt_bound(int *ret)
{
	CUcontext current = NULL;
	const struct driver *d = rt_driver(ret);

	if (!d || thread.bound)
		return d;
	*ret = d->cuCtxGetCurrent(&current);
	if (!*ret && current)
		thread.bound = true;
	else if (!*ret)
		*ret = bind_thread(d, thread.device);
	return *ret ? NULL : d;
}

int rt_device(const struct driver *d)
{
	CUdevice device;

	return d->cuCtxGetDevice(&device) == CUDA_SUCCESS ? device : thread.device;
}

EXPORT int cudaGetDevice(int *device)
{
	int error;
	const struct driver *d = rt_driver(&error);

	if (d)
		*device = rt_device(d);
	return rt_error(error);
}

EXPORT int cudaSetDevice(int device)
{
	int error;
	const struct driver *d = rt_driver(&error);

	if (d)
		error = bind_thread(d, device);
	if (!error)
		thread.device = device;
	return rt_error(error);
}

EXPORT int cudaSetDeviceFlags(unsigned flags)
{
	int error;
	const struct driver *d = rt_driver(&error);

	/* "Map host memory" is always on and unknown to the driver's call. */
	if (d)
		error = d->cuDevicePrimaryCtxSetFlags(rt_device(d), flags & ~8u);
	return rt_error(error);
}

EXPORT int cudaDeviceSynchronize(void)
{
	RT_CALL(d->cuCtxSynchronize());
}

EXPORT int cudaDeviceEnablePeerAccess(int peer, unsigned flags)
{
	CUcontext context;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_primary(d, peer, &context);
	if (d && !error)
		error = d->cuCtxEnablePeerAccess(context, flags);
	return rt_error(error);
}

EXPORT int cudaDeviceDisablePeerAccess(int peer)
{
	CUcontext context;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_primary(d, peer, &context);
	if (d && !error)
		error = d->cuCtxDisablePeerAccess(context);
	return rt_error(error);
}

EXPORT int cudaGetLastError(void)
{
	int error = thread.last_error;

	thread.last_error = 0;
	return error;
}

EXPORT int cudaPeekAtLastError(void)
{
	return thread.last_error;
}

EXPORT const char *cudaGetErrorString(int error)
{
	const char *text = NULL;
	int ignored;
	const struct driver *d = rt_driver(&ignored);

	switch (error) {
	case RT_INVALID_MEMCPY_DIRECTION:
		return "invalid copy direction for memcpy";
	case RT_INSUFFICIENT_DRIVER:
		return "no usable CUDA driver";
	case RT_MISSING_CONFIGURATION:
		return "missing launch configuration";
	case RT_INVALID_DEVICE_FUNCTION:
		return "invalid device function";
	}
	if (d && d->cuGetErrorString((CUresult)error, &text) == CUDA_SUCCESS && text)
		return text;
	return error ? "unrecognized error code" : "no error";
}
