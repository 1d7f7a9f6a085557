/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cublas.c - a libcublas of our own that makes cuBLAS's allocations and computes nothing.
 *
 * On the software GPU no kernel computes, so a matrix product has nothing to do. What a handle
 * takes from the device is real: the three allocations that cublasCreate makes, in its sizes and
 * order.
 */
#include <stdlib.h>

#include "driver.h"

#define EXPORT __attribute__((visibility("default")))
#define N_BUFFERS 3

enum { STATUS_SUCCESS = 0, STATUS_NOT_INITIALIZED = 1, STATUS_ALLOC_FAILED = 3 };

struct blas {
	CUdeviceptr buffers[N_BUFFERS];
};

int cublasCreate_v2(struct blas **handle);
int cublasDestroy_v2(struct blas *handle);
const char *cublasGetStatusString(int status);

/* cuBLAS makes the primary context of the first device when the thread has none. */
static int need_context(const struct driver *d)
{
	CUcontext context = NULL;
	CUdevice device;

	if (d->cuCtxGetCurrent(&context) == CUDA_SUCCESS && context)
		return 0;
	if (d->cuDeviceGet(&device, 0) || d->cuDevicePrimaryCtxRetain(&context, device))
		return -1;
	return d->cuCtxSetCurrent(context) ? -1 : 0;
}

EXPORT int cublasCreate_v2(struct blas **handle)
{
	size_t sizes[N_BUFFERS] = {1024, 131072, 8 << 20};
	int error, major = 0;
	CUdevice device;
	const struct driver *d = driver_get(&error);

	if (!d || need_context(d) || d->cuCtxGetDevice(&device) ||
		d->cuDeviceGetAttribute(
			&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device))
		return STATUS_NOT_INITIALIZED;
	if (major >= 9)
		sizes[2] = 64 << 20;
	struct blas *blas = calloc(1, sizeof(*blas));
	if (!blas)
		return STATUS_ALLOC_FAILED;
	for (int i = 0; i < N_BUFFERS; i++) {
		if (d->cuMemAlloc(&blas->buffers[i], sizes[i])) {
			cublasDestroy_v2(blas);
			return STATUS_ALLOC_FAILED;
		}
	}
	*handle = blas;
	return STATUS_SUCCESS;
}

EXPORT int cublasDestroy_v2(struct blas *handle)
{
	int error;
	const struct driver *d = driver_get(&error);

	if (!handle || !d)
		return STATUS_NOT_INITIALIZED;
	for (int i = 0; i < N_BUFFERS; i++)
		if (handle->buffers[i])
			d->cuMemFree(handle->buffers[i]);
	free(handle);
	return STATUS_SUCCESS;
}

EXPORT const char *cublasGetStatusString(int status)
{
	return status ? "a status of the libcublas stand-in" : "CUBLAS_STATUS_SUCCESS";
}

/* Whatever the arguments: nothing is computed. The ABI lets a callee ignore arguments that it does
 * not name. */
#define DOES_NOTHING(name) \
	int name(void); \
	EXPORT int name(void) \
	{ \
		return STATUS_SUCCESS; \
	}

DOES_NOTHING(cublasSetMathMode)
DOES_NOTHING(cublasSetStream_v2)
DOES_NOTHING(cublasSetWorkspace_v2)
DOES_NOTHING(cublasGemmEx)
DOES_NOTHING(cublasGemmBatchedEx)
DOES_NOTHING(cublasGemmStridedBatchedEx)
DOES_NOTHING(cublasSgemm_v2)
DOES_NOTHING(cublasSgemmBatched)
DOES_NOTHING(cublasSgemmStridedBatched)
DOES_NOTHING(cublasStrsmBatched)
