/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch3d.c - many copies of volumes in one call: those out of EMPTY memory are taken out of the
 * batch and made on their own, the others are backed and stay. Copies of a batch have no order
 * among themselves.
 */
#include <stdlib.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/launch.h"

/* Up to this many copies a changed batch needs no allocation. */
#define SMALL 8u

static CUresult call3d(const struct kv_batch3d *b, CUDA_MEMCPY3D_BATCH_OP_v1 *ops)
{
	if (b->real)
		return b->real(b->count, ops, b->fail_idx, b->flags, b->way.stream);
	return b->real_v2(b->count, ops, b->flags, b->way.stream);
}

/* Bytes from the first to behind the last of an operand, whose lengths are in elements of one byte
 * when neither side is an array. With an array the element's size is the array's. */
static uint64_t span3d(const CUmemcpy3DOperand_v1 *side, const CUextent3D *extent, uint64_t element)
{
	uint64_t row = side->op.ptr.rowLength ? side->op.ptr.rowLength : extent->width;
	uint64_t layer = side->op.ptr.layerHeight ? side->op.ptr.layerHeight : extent->height;

	if (!extent->width || !extent->height || !extent->depth)
		return 0;
	return ((extent->depth - 1) * row * layer + (extent->height - 1) * row + extent->width) *
	       element;
}

static uint64_t format_bytes(CUarray_format format)
{
	switch (format) {
	case CU_AD_FORMAT_UNSIGNED_INT8:
	case CU_AD_FORMAT_SIGNED_INT8:
		return 1;
	case CU_AD_FORMAT_UNSIGNED_INT16:
	case CU_AD_FORMAT_SIGNED_INT16:
	case CU_AD_FORMAT_HALF:
		return 2;
	default:
		return 4; /* at least what any other needs per channel: more is touched, never less
			   */
	}
}

static uint64_t element_of(const CUmemcpy3DOperand_v1 *a, const CUmemcpy3DOperand_v1 *b)
{
	const CUmemcpy3DOperand_v1 *array = a->type == CU_MEMCPY_OPERAND_TYPE_ARRAY ? a : b;
	CUDA_ARRAY3D_DESCRIPTOR_v2 desc;
	struct kv_own_call own;
	CUresult res;

	if (array->type != CU_MEMCPY_OPERAND_TYPE_ARRAY)
		return 1;
	kv_own_begin(&own);
	res = KV_REAL(cuArray3DGetDescriptor_v2)(&desc, array->op.array.array);
	kv_own_end(&own);
	return res == CUDA_SUCCESS ? format_bytes(desc.Format) * desc.NumChannels : 16;
}

static struct kv_reservation *reservation_of(const CUmemcpy3DOperand_v1 *side)
{
	if (side->type != CU_MEMCPY_OPERAND_TYPE_POINTER)
		return NULL;
	return kv_core_find(kv_hooks.core, side->op.ptr.ptr);
}

static CUresult touch3d(const CUDA_MEMCPY3D_BATCH_OP_v1 *op, const CUmemcpy3DOperand_v1 *side,
	bool captured, const char *by)
{
	struct kv_reservation *r = reservation_of(side);

	if (!r)
		return CUDA_SUCCESS;
	if (captured) {
		kv_leak(r, KV_STATIC_GRAPH, by);
		return CUDA_SUCCESS;
	}
	return kv_copy_touch(
		r, side->op.ptr.ptr, span3d(side, &op->extent, element_of(&op->src, &op->dst)));
}

static void scan3d(const CUDA_MEMCPY3D_BATCH_OP_v1 *op, const char *by)
{
	const CUmemcpy3DOperand_v1 *src = &op->src;
	uint64_t element = element_of(&op->src, &op->dst);
	uint64_t row = (src->op.ptr.rowLength ? src->op.ptr.rowLength : op->extent.width) * element;
	uint64_t layer = src->op.ptr.layerHeight ? src->op.ptr.layerHeight : op->extent.height;

	if (src->type != CU_MEMCPY_OPERAND_TYPE_POINTER || reservation_of(src) ||
		!kv_copy_host_reads(src->op.ptr.ptr))
		return;
	for (uint64_t z = 0; z < op->extent.depth; z++) {
		for (uint64_t y = 0; y < op->extent.height; y++)
			kv_upload_scan((const void *)(src->op.ptr.ptr + (z * layer + y) * row),
				op->extent.width * element, by);
	}
}

static void recorded3d(const CUDA_MEMCPY3D_BATCH_OP_v1 *op, const char *by)
{
	uint64_t n = (uint64_t)op->extent.width * op->extent.height * op->extent.depth;

	if (op->src.type == CU_MEMCPY_OPERAND_TYPE_POINTER && !reservation_of(&op->src))
		kv_copy_recorded(op->src.op.ptr.ptr, n * element_of(&op->src, &op->dst), false, by);
}

/* A side of the plain call, which tells host memory from device memory where the batch need not. */
static CUmemorytype type_of(const CUmemcpy3DOperand_v1 *side)
{
	return !reservation_of(side) && kv_copy_host_reads(side->op.ptr.ptr) ? CU_MEMORYTYPE_HOST
									     : CU_MEMORYTYPE_DEVICE;
}

/* The same copy as a call of its own, between pointers. */
static void plain_of(const CUDA_MEMCPY3D_BATCH_OP_v1 *op, CUDA_MEMCPY3D_v2 *ret_desc)
{
	const CUmemcpy3DOperand_v1 *src = &op->src, *dst = &op->dst;
	const CUextent3D *extent = &op->extent;

	*ret_desc = (CUDA_MEMCPY3D_v2){
		.srcMemoryType = type_of(src),
		.srcHost = (const void *)src->op.ptr.ptr,
		.srcDevice = src->op.ptr.ptr,
		.srcPitch = src->op.ptr.rowLength ? src->op.ptr.rowLength : extent->width,
		.srcHeight = src->op.ptr.layerHeight ? src->op.ptr.layerHeight : extent->height,
		.dstMemoryType = type_of(dst),
		.dstHost = (void *)dst->op.ptr.ptr,
		.dstDevice = dst->op.ptr.ptr,
		.dstPitch = dst->op.ptr.rowLength ? dst->op.ptr.rowLength : extent->width,
		.dstHeight = dst->op.ptr.layerHeight ? dst->op.ptr.layerHeight : extent->height,
		.WidthInBytes = extent->width,
		.Height = extent->height,
		.Depth = extent->depth,
	};
}

static bool source_is_empty(const CUDA_MEMCPY3D_BATCH_OP_v1 *op)
{
	struct kv_reservation *r = reservation_of(&op->src);

	return r && op->dst.type == CU_MEMCPY_OPERAND_TYPE_POINTER && kv_copy_zeros(r) &&
	       kv_copy_is_empty(r, op->src.op.ptr.ptr - kv_reservation_base(r),
		       span3d(&op->src, &op->extent, 1));
}

static CUresult touch_op(const struct kv_batch3d *b, size_t i, bool captured)
{
	const CUDA_MEMCPY3D_BATCH_OP_v1 *op = &b->ops[i];
	CUresult res = touch3d(op, &op->src, captured, b->way.by);

	if (captured)
		recorded3d(op, b->way.by);
	if (res == CUDA_SUCCESS)
		res = touch3d(op, &op->dst, captured, b->way.by);
	if (res != CUDA_SUCCESS && b->fail_idx)
		*b->fail_idx = i;
	return res;
}

/* As it was given. */
static CUresult whole(const struct kv_batch3d *b, bool captured)
{
	CUresult res = CUDA_SUCCESS;

	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++)
		res = touch_op(b, i, captured);
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	return res == CUDA_SUCCESS ? call3d(b, b->ops) : res;
}

/* rest: n copies that are left; origins: their places in the batch as it was given. */
static CUresult call_rest(const struct kv_batch3d *b, CUDA_MEMCPY3D_BATCH_OP_v1 *rest, size_t n,
	const size_t *origins)
{
	struct kv_batch3d smaller = *b;
	size_t failed = SIZE_MAX;
	CUresult res;

	if (!n)
		return kv_stream_verdict(b->way.stream, b->way.per_thread);
	smaller.count = n;
	smaller.fail_idx = &failed;
	res = call3d(&smaller, rest);
	if (res != CUDA_SUCCESS && b->fail_idx)
		*b->fail_idx = failed < n ? origins[failed] : failed;
	return res;
}

/* rest, origins: room for all. */
static CUresult split(const struct kv_batch3d *b, CUDA_MEMCPY3D_BATCH_OP_v1 *rest, size_t *origins)
{
	CUresult res = kv_submit_settle();
	CUDA_MEMCPY3D_v2 desc;
	size_t n = 0;

	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++) {
		if (source_is_empty(&b->ops[i]))
			continue;
		res = touch_op(b, i, false);
		rest[n] = b->ops[i];
		origins[n++] = i;
	}
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	if (res == CUDA_SUCCESS)
		res = call_rest(b, rest, n, origins);
	for (size_t i = 0, k = 0; i < b->count && res == CUDA_SUCCESS; i++) {
		if (k < n && origins[k] == i) {
			k++;
			continue;
		}
		plain_of(&b->ops[i], &desc);
		res = kv_copy_3d_inside(&b->way, &desc);
		if (res != CUDA_SUCCESS && b->fail_idx)
			*b->fail_idx = i;
	}
	return res;
}

static CUresult split_big(const struct kv_batch3d *b)
{
	size_t each = sizeof(CUDA_MEMCPY3D_BATCH_OP_v1) + sizeof(size_t);
	CUDA_MEMCPY3D_BATCH_OP_v1 *rest;
	CUresult res;

	rest = b->count < SIZE_MAX / each ? malloc(b->count * each) : NULL;
	if (!rest)
		return whole(b, false);
	res = split(b, rest, (size_t *)(rest + b->count));
	free(rest);
	return res;
}

static CUresult batch3d_inside(const struct kv_batch3d *b)
{
	CUDA_MEMCPY3D_BATCH_OP_v1 rest[SMALL];
	size_t origins[SMALL];
	bool any = false;

	for (size_t i = 0; i < b->count; i++)
		scan3d(&b->ops[i], b->way.by);
	if (kv_stream_captures(b->way.stream, b->way.per_thread))
		return whole(b, true);
	for (size_t i = 0; i < b->count && !any; i++)
		any = source_is_empty(&b->ops[i]);
	if (!any || b->flags || kv_batch_is_refused(&b->way))
		return whole(b, false);
	return b->count <= SMALL ? split(b, rest, origins) : split_big(b);
}

CUresult kv_copy_batch3d(const struct kv_batch3d *b)
{
	CUresult res;

	if (!b->ops || !b->count || !kv_submit_enter())
		return call3d(b, b->ops);
	res = batch3d_inside(b);
	kv_submit_leave();
	return res;
}
