/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - allocations, copies and sets of the libcudart stand-in.
 */
#include "exports.h"

enum {
	COPY_HOST_TO_HOST,
	COPY_HOST_TO_DEVICE,
	COPY_DEVICE_TO_HOST,
	COPY_DEVICE_TO_DEVICE,
	COPY_ANY
};

#define ADDRESS(p) ((CUdeviceptr)(uintptr_t)(p))

EXPORT int cudaMalloc(void **address, size_t size)
{
	if (!size) {
		*address = NULL;
		return 0;
	}
	RT_CALL(d->cuMemAlloc((CUdeviceptr *)address, size));
}

EXPORT int cudaFree(void *address)
{
	if (!address)
		return 0;
	RT_CALL(d->cuMemFree(ADDRESS(address)));
}

EXPORT int cudaMallocManaged(void **address, size_t size, unsigned flags)
{
	RT_CALL(d->cuMemAllocManaged((CUdeviceptr *)address, size, flags));
}

EXPORT int cudaHostAlloc(void **address, size_t size, unsigned flags)
{
	if (!size) {
		*address = NULL;
		return 0;
	}
	RT_CALL(d->cuMemHostAlloc(address, size, flags));
}

EXPORT int cudaMallocHost(void **address, size_t size)
{
	return cudaHostAlloc(address, size, 0);
}

EXPORT int cudaFreeHost(void *address)
{
	if (!address)
		return 0;
	RT_CALL(d->cuMemFreeHost(address));
}

EXPORT int cudaHostRegister(void *address, size_t size, unsigned flags)
{
	RT_CALL(d->cuMemHostRegister(address, size, flags));
}

EXPORT int cudaHostUnregister(void *address)
{
	RT_CALL(d->cuMemHostUnregister(address));
}

EXPORT int cudaHostGetDevicePointer(void **device, void *host, unsigned flags)
{
	RT_CALL(d->cuMemHostGetDevicePointer((CUdeviceptr *)device, host, flags));
}

static int copy_to_host(
	const struct driver *d, void *to, const void *from, size_t size, CUstream stream)
{
	int error = d->cuMemcpyDtoHAsync(to, ADDRESS(from), size, stream);

	if (!error && d->note_check)
		d->note_check(to, ADDRESS(from), size, stream, 0);
	return error;
}

static int copy_on_device(
	const struct driver *d, void *to, const void *from, size_t size, CUstream stream)
{
	if (d->note_copy)
		d->note_copy(ADDRESS(to), ADDRESS(from), size, stream, 0);
	return d->cuMemcpyDtoDAsync(ADDRESS(to), ADDRESS(from), size, stream);
}

EXPORT int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, CUstream stream)
{
	if (kind < COPY_HOST_TO_HOST || kind > COPY_ANY)
		return rt_error(RT_INVALID_MEMCPY_DIRECTION);
	if (!size)
		return 0;
	switch (kind) {
	case COPY_HOST_TO_DEVICE:
		RT_CALL(d->cuMemcpyHtoDAsync(ADDRESS(to), from, size, stream));
	case COPY_DEVICE_TO_HOST:
		RT_CALL(copy_to_host(d, to, from, size, stream));
	case COPY_DEVICE_TO_DEVICE:
		RT_CALL(copy_on_device(d, to, from, size, stream));
	}
	RT_CALL(d->cuMemcpyAsync(ADDRESS(to), ADDRESS(from), size, stream));
}

/* Where a side of a 2D copy lies. For COPY_ANY the driver finds out from the address. */
static CUmemorytype side(int kind, int host_kind_a, int host_kind_b)
{
	if (kind == COPY_ANY)
		return CU_MEMORYTYPE_UNIFIED;
	return kind == host_kind_a || kind == host_kind_b ? CU_MEMORYTYPE_HOST
							  : CU_MEMORYTYPE_DEVICE;
}

EXPORT int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
	size_t width, size_t height, int kind, CUstream stream)
{
	if (kind < COPY_HOST_TO_HOST || kind > COPY_ANY)
		return rt_error(RT_INVALID_MEMCPY_DIRECTION);
	CUDA_MEMCPY2D copy = {
		.srcMemoryType = side(kind, COPY_HOST_TO_HOST, COPY_HOST_TO_DEVICE),
		.srcHost = from,
		.srcDevice = ADDRESS(from),
		.srcPitch = from_pitch,
		.dstMemoryType = side(kind, COPY_HOST_TO_HOST, COPY_DEVICE_TO_HOST),
		.dstHost = to,
		.dstDevice = ADDRESS(to),
		.dstPitch = to_pitch,
		.WidthInBytes = width,
		.Height = height,
	};
	RT_CALL(d->cuMemcpy2DAsync(&copy, stream));
}

EXPORT int cudaMemcpyPeerAsync(
	void *to, int to_device, const void *from, int from_device, size_t size, CUstream stream)
{
	CUcontext to_context, from_context;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_primary(d, to_device, &to_context);
	if (!error)
		error = rt_primary(d, from_device, &from_context);
	if (!error)
		error = d->cuMemcpyPeerAsync(
			ADDRESS(to), to_context, ADDRESS(from), from_context, size, stream);
	return rt_error(error);
}

/* cudaMemcpy3DPeerParms, whose sides are pitched memory here: no entry point makes an array. */
struct rt_side {
	const void *array;
	size_t x, y, z;
	void *address;
	size_t pitch, width, height;
	int device;
};

struct rt_copy_3d_peer {
	struct rt_side from, to;
	size_t width, height, depth;
};
_Static_assert(offsetof(struct rt_copy_3d_peer, to) == 72 &&
		       offsetof(struct rt_copy_3d_peer, width) == 144,
	"cudaMemcpy3DPeerParms");

EXPORT int cudaMemcpy3DPeerAsync(const struct rt_copy_3d_peer *p, CUstream stream)
{
	CUDA_MEMCPY3D_PEER copy = {
		.srcXInBytes = p->from.x,
		.srcY = p->from.y,
		.srcZ = p->from.z,
		.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = ADDRESS(p->from.address),
		.srcPitch = p->from.pitch,
		.srcHeight = p->from.height,
		.dstXInBytes = p->to.x,
		.dstY = p->to.y,
		.dstZ = p->to.z,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = ADDRESS(p->to.address),
		.dstPitch = p->to.pitch,
		.dstHeight = p->to.height,
		.WidthInBytes = p->width,
		.Height = p->height,
		.Depth = p->depth,
	};
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_primary(d, p->from.device, &copy.srcContext);
	if (!error)
		error = rt_primary(d, p->to.device, &copy.dstContext);
	if (!error)
		error = d->cuMemcpy3DPeerAsync(&copy, stream);
	return rt_error(error);
}

static void note_set(const struct driver *d, void *address, int value, size_t size, CUstream stream)
{
	if (d->note_set)
		d->note_set(ADDRESS(address), (unsigned char)value, 1, size, stream, 0);
}

EXPORT int cudaMemset(void *address, int value, size_t size)
{
	if (!size)
		return 0;
	RT_CALL((note_set(d, address, value, size, NULL),
		d->cuMemsetD8(ADDRESS(address), (unsigned char)value, size)));
}

EXPORT int cudaMemsetAsync(void *address, int value, size_t size, CUstream stream)
{
	if (!size)
		return 0;
	RT_CALL((note_set(d, address, value, size, stream),
		d->cuMemsetD8Async(ADDRESS(address), (unsigned char)value, size, stream)));
}
