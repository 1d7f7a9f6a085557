/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - the entry points of copies.
 *
 * A copy whose device range is not mapped, or not accessible, is refused at the call (VIOLATION and
 * CUDA_ERROR_INVALID_VALUE). Synchronous forms run on the legacy (or per-thread) stream and wait.
 */
#include <string.h>

#include "api_protos.h"
#include "memory.h"

static struct sim_copy linear(uint64_t dst, uint64_t src, uint64_t size)
{
	return (struct sim_copy){.dst = dst, .src = src, .width = size, .height = 1, .depth = 1};
}

static CUresult submit_copy(CUstream handle, const struct sim_copy *copy, bool wait)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (!copy->width || !copy->height || !copy->depth)
		return CUDA_SUCCESS;
	result =
		sim_check_copy(copy->src_device || copy->dst_device ? NULL : stream->context, copy);
	if (result != CUDA_SUCCESS)
		return result;
	struct sim_work work = {.type = SIM_WORK_COPY, .copy = *copy};
	return wait ? sim_submit_wait(stream, &work) : sim_submit(stream, &work);
}

static CUresult copy_to(CUdeviceptr dst, const void *src, size_t size, CUstream stream, bool wait)
{
	struct sim_copy copy = linear(dst, (uint64_t)src, size);

	copy.src_host = true;
	return submit_copy(stream, &copy, wait);
}

static CUresult copy_from(void *dst, CUdeviceptr src, size_t size, CUstream stream, bool wait)
{
	struct sim_copy copy = linear((uint64_t)dst, src, size);

	copy.dst_host = true;
	return submit_copy(stream, &copy, wait);
}

/* Unified: a side that no range knows is pageable host memory. */
static CUresult copy_any(CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream, bool wait)
{
	struct sim_copy copy = linear(dst, src, size);

	copy.dst_host = copy.src_host = true;
	return submit_copy(stream, &copy, wait);
}

static CUresult copy_device(
	CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream, bool wait)
{
	struct sim_copy copy = linear(dst, src, size);

	return submit_copy(stream, &copy, wait);
}

CUresult sim_cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t size)
{
	return copy_to(dst, src, size, NULL, true);
}

CUresult sim_cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t size, CUstream stream)
{
	return copy_to(dst, src, size, stream, false);
}

CUresult sim_cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t size)
{
	return copy_from(dst, src, size, NULL, true);
}

CUresult sim_cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy_from(dst, src, size, stream, false);
}

/* Device to device copies do not wait in their synchronous form: neither does the driver. */
CUresult sim_cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t size)
{
	return copy_device(dst, src, size, NULL, false);
}

CUresult sim_cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy_device(dst, src, size, stream, false);
}

CUresult sim_cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t size)
{
	return copy_any(dst, src, size, NULL, true);
}

CUresult sim_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream)
{
	return copy_any(dst, src, size, stream, false);
}

static CUresult copy_peer(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from,
	size_t size, CUstream stream)
{
	struct sim_copy copy = linear(dst, src, size);

	if (!to || !from)
		return CUDA_ERROR_INVALID_CONTEXT;
	copy.dst_device = ((struct sim_context *)to)->device;
	copy.src_device = ((struct sim_context *)from)->device;
	return submit_copy(stream, &copy, false);
}

CUresult sim_cuMemcpyPeer(
	CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from, size_t size)
{
	return copy_peer(dst, to, src, from, size, NULL);
}

CUresult sim_cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from,
	size_t size, CUstream stream)
{
	return copy_peer(dst, to, src, from, size, stream);
}

/* ---- rectangles ---- */

static CUresult side_of(
	CUmemorytype type, const void *host, CUdeviceptr device, uint64_t *ret_addr, bool *ret_host)
{
	switch (type) {
	case CU_MEMORYTYPE_HOST:
		*ret_addr = (uint64_t)host;
		*ret_host = true;
		return CUDA_SUCCESS;
	case CU_MEMORYTYPE_DEVICE:
		*ret_addr = device;
		return CUDA_SUCCESS;
	case CU_MEMORYTYPE_UNIFIED:
		*ret_addr = device;
		*ret_host = true;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED; /* arrays */
	}
}

static CUresult copy_2d(const CUDA_MEMCPY2D *p, CUstream stream, bool wait)
{
	struct sim_copy copy = {0};

	if (!p || (p->Height > 1 &&
			  ((p->srcPitch && p->srcPitch < p->WidthInBytes + p->srcXInBytes) ||
				  (p->dstPitch && p->dstPitch < p->WidthInBytes + p->dstXInBytes))))
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result =
		side_of(p->srcMemoryType, p->srcHost, p->srcDevice, &copy.src, &copy.src_host);
	if (result == CUDA_SUCCESS)
		result = side_of(
			p->dstMemoryType, p->dstHost, p->dstDevice, &copy.dst, &copy.dst_host);
	if (result != CUDA_SUCCESS)
		return result;
	copy.width = p->WidthInBytes;
	copy.height = p->Height;
	copy.depth = 1;
	copy.src_pitch = p->srcPitch ? p->srcPitch : p->WidthInBytes + p->srcXInBytes;
	copy.dst_pitch = p->dstPitch ? p->dstPitch : p->WidthInBytes + p->dstXInBytes;
	copy.src += p->srcY * copy.src_pitch + p->srcXInBytes;
	copy.dst += p->dstY * copy.dst_pitch + p->dstXInBytes;
	return submit_copy(stream, &copy, wait);
}

CUresult sim_cuMemcpy2D_v2(const CUDA_MEMCPY2D *p)
{
	return copy_2d(p, NULL, true);
}

CUresult sim_cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *p)
{
	return copy_2d(p, NULL, true);
}

CUresult sim_cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *p, CUstream stream)
{
	return copy_2d(p, stream, false);
}

/* Also fills the copy of a graph's memcpy node. */
CUresult sim_copy_from_3d(const CUDA_MEMCPY3D *p, struct sim_copy *copy)
{
	memset(copy, 0, sizeof(*copy));
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result =
		side_of(p->srcMemoryType, p->srcHost, p->srcDevice, &copy->src, &copy->src_host);
	if (result == CUDA_SUCCESS)
		result = side_of(
			p->dstMemoryType, p->dstHost, p->dstDevice, &copy->dst, &copy->dst_host);
	if (result != CUDA_SUCCESS)
		return result;
	copy->width = p->WidthInBytes;
	copy->height = p->Height;
	copy->depth = p->Depth;
	copy->src_pitch = p->srcPitch ? p->srcPitch : p->WidthInBytes + p->srcXInBytes;
	copy->dst_pitch = p->dstPitch ? p->dstPitch : p->WidthInBytes + p->dstXInBytes;
	copy->src_slice = copy->src_pitch * (p->srcHeight ? p->srcHeight : p->Height + p->srcY);
	copy->dst_slice = copy->dst_pitch * (p->dstHeight ? p->dstHeight : p->Height + p->dstY);
	copy->src += p->srcZ * copy->src_slice + p->srcY * copy->src_pitch + p->srcXInBytes;
	copy->dst += p->dstZ * copy->dst_slice + p->dstY * copy->dst_pitch + p->dstXInBytes;
	return CUDA_SUCCESS;
}

static CUresult copy_3d(const CUDA_MEMCPY3D *p, CUstream stream, bool wait)
{
	struct sim_copy copy;
	CUresult result = sim_copy_from_3d(p, &copy);

	return result == CUDA_SUCCESS ? submit_copy(stream, &copy, wait) : result;
}

CUresult sim_cuMemcpy3D_v2(const CUDA_MEMCPY3D *p)
{
	return copy_3d(p, NULL, true);
}

CUresult sim_cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *p, CUstream stream)
{
	return copy_3d(p, stream, false);
}

static CUresult copy_3d_peer(const CUDA_MEMCPY3D_PEER *p, CUstream stream)
{
	struct sim_copy copy;

	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	CUDA_MEMCPY3D plain = {.srcXInBytes = p->srcXInBytes,
		.srcY = p->srcY,
		.srcZ = p->srcZ,
		.srcMemoryType = p->srcMemoryType,
		.srcHost = p->srcHost,
		.srcDevice = p->srcDevice,
		.srcPitch = p->srcPitch,
		.srcHeight = p->srcHeight,
		.dstXInBytes = p->dstXInBytes,
		.dstY = p->dstY,
		.dstZ = p->dstZ,
		.dstMemoryType = p->dstMemoryType,
		.dstHost = p->dstHost,
		.dstDevice = p->dstDevice,
		.dstPitch = p->dstPitch,
		.dstHeight = p->dstHeight,
		.WidthInBytes = p->WidthInBytes,
		.Height = p->Height,
		.Depth = p->Depth};
	CUresult result = sim_copy_from_3d(&plain, &copy);
	if (result != CUDA_SUCCESS)
		return result;
	if (p->srcContext)
		copy.src_device = ((struct sim_context *)p->srcContext)->device;
	if (p->dstContext)
		copy.dst_device = ((struct sim_context *)p->dstContext)->device;
	return submit_copy(stream, &copy, false);
}

CUresult sim_cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *p)
{
	return copy_3d_peer(p, NULL);
}

CUresult sim_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *p, CUstream stream)
{
	return copy_3d_peer(p, stream);
}

/* ---- batches ---- */

CUresult sim_cuMemcpyBatchAsync_v2(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes,
	size_t count, CUmemcpyAttributes *attrs, size_t *attr_indices, size_t n_attrs,
	CUstream handle)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	/* Neither the legacy nor a capturing stream takes batches. */
	if (stream->legacy || !dsts || !srcs || !sizes || !count || !attrs || !attr_indices ||
		!n_attrs)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t k = 0; k < n_attrs; k++) {
		/* Each attribute holds from its copy up to the next one's; the first from the
		 * first. */
		if (k ? attr_indices[k] <= attr_indices[k - 1] : attr_indices[0] != 0)
			return CUDA_ERROR_INVALID_VALUE;
		if (attr_indices[k] >= count)
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (stream->capture)
		return sim_capture_break(stream);
	for (size_t i = 0; i < count; i++) {
		result = copy_any(dsts[i], srcs[i], sizes[i], handle, false);
		if (result != CUDA_SUCCESS)
			return result;
	}
	return CUDA_SUCCESS;
}

CUresult sim_cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count,
	CUmemcpyAttributes *attrs, size_t *attr_indices, size_t n_attrs, size_t *fail_index,
	CUstream handle)
{
	CUresult result = sim_cuMemcpyBatchAsync_v2(
		dsts, srcs, sizes, count, attrs, attr_indices, n_attrs, handle);

	if (result != CUDA_SUCCESS && fail_index)
		*fail_index = SIZE_MAX;
	return result;
}

static CUresult operand(const CUmemcpy3DOperand *o, const CUextent3D *extent, uint64_t *addr,
	uint64_t *pitch, uint64_t *slice)
{
	if (o->type != CU_MEMCPY_OPERAND_TYPE_POINTER)
		return CUDA_ERROR_NOT_SUPPORTED;
	*addr = o->op.ptr.ptr;
	*pitch = o->op.ptr.rowLength ? o->op.ptr.rowLength : extent->width;
	*slice = *pitch * (o->op.ptr.layerHeight ? o->op.ptr.layerHeight : extent->height);
	return CUDA_SUCCESS;
}

CUresult sim_cuMemcpy3DBatchAsync_v2(
	size_t n, CUDA_MEMCPY3D_BATCH_OP *ops, unsigned long long flags, CUstream handle)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (stream->legacy || !n || !ops || flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (stream->capture)
		return sim_capture_break(stream);
	for (size_t i = 0; i < n; i++) {
		struct sim_copy copy = {.width = ops[i].extent.width,
			.height = ops[i].extent.height,
			.depth = ops[i].extent.depth,
			.dst_host = true,
			.src_host = true};
		result = operand(
			&ops[i].src, &ops[i].extent, &copy.src, &copy.src_pitch, &copy.src_slice);
		if (result == CUDA_SUCCESS)
			result = operand(&ops[i].dst, &ops[i].extent, &copy.dst, &copy.dst_pitch,
				&copy.dst_slice);
		if (result == CUDA_SUCCESS)
			result = submit_copy(handle, &copy, false);
		if (result != CUDA_SUCCESS)
			return result;
	}
	return CUDA_SUCCESS;
}

CUresult sim_cuMemcpy3DBatchAsync(size_t n, CUDA_MEMCPY3D_BATCH_OP *ops, size_t *fail_index,
	unsigned long long flags, CUstream handle)
{
	CUresult result = sim_cuMemcpy3DBatchAsync_v2(n, ops, flags, handle);

	if (result != CUDA_SUCCESS && fail_index)
		*fail_index = SIZE_MAX;
	return result;
}
