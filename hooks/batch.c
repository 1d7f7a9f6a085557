/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - many copies in one call: copies out of EMPTY memory are taken out of the batch, the
 * others are backed and stay, with the attributes that they had.
 */
#include <stdlib.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/device.h"
#include "hooks/launch.h"

/* Up to this many copies a changed batch needs no allocation. */
#define SMALL 32u

/* ---- linear ---- */

static CUresult call(const struct kv_batch *b)
{
	if (b->real)
		return b->real(b->dsts, b->srcs, b->sizes, b->count, b->attrs, b->attr_idxs,
			b->n_attrs, b->fail_idx, b->way.stream);
	return b->real_v2(b->dsts, b->srcs, b->sizes, b->count, b->attrs, b->attr_idxs, b->n_attrs,
		b->way.stream);
}

static bool source_is_empty(const struct kv_batch *b, size_t i)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, b->srcs[i]);

	return r && kv_copy_zeros(r) &&
	       kv_copy_is_empty(r, b->srcs[i] - kv_reservation_base(r), b->sizes[i]);
}

static CUresult touch(CUdeviceptr addr, uint64_t size)
{
	return kv_copy_touch(kv_core_find(kv_hooks.core, addr), addr, size);
}

static void leak(CUdeviceptr addr, const char *by)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, addr);

	if (r)
		kv_leak(r, KV_STATIC_GRAPH, by);
}

/* Backs what the copies touch. ret_n_empty: how many have an EMPTY source and were left out. */
static CUresult touch_all(const struct kv_batch *b, size_t *ret_n_empty)
{
	CUresult res = CUDA_SUCCESS;
	size_t n_empty = 0;

	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++) {
		if (!kv_core_find(kv_hooks.core, b->srcs[i]) && kv_copy_host_reads(b->srcs[i]))
			kv_upload_scan((const void *)b->srcs[i], b->sizes[i], b->way.by);
		if (source_is_empty(b, i)) {
			n_empty++;
			continue;
		}
		res = touch(b->srcs[i], b->sizes[i]);
		if (res == CUDA_SUCCESS)
			res = touch(b->dsts[i], b->sizes[i]);
	}
	*ret_n_empty = n_empty;
	return res;
}

static CUresult issue_any(const struct kv_copy *copy, uint64_t dst, uint64_t src, uint64_t length)
{
	return copy->real.any_async(dst, src, length, copy->way.stream);
}

/* One copy out of EMPTY memory, on its own. Copies of a batch have no order among themselves. */
static CUresult copy_alone(const struct kv_batch *b, size_t i)
{
	struct kv_copy copy = {
		.way = b->way,
		.dst = b->dsts[i],
		.src = b->srcs[i],
		.length = b->sizes[i],
		.src_any = true,
		.issue = issue_any,
		.real.any_async =
			b->way.per_thread ? KV_REAL(cuMemcpyAsync_ptsz) : KV_REAL(cuMemcpyAsync),
	};

	return kv_copy_inside(&copy);
}

/* The copies that are left, in arrays of their own. origin: index in the batch as it was given. */
struct rest {
	CUdeviceptr *dsts, *srcs;
	size_t *sizes, *origins, *attr_idxs;
	CUmemcpyAttributes_v1 *attrs;
};

/*
 * Attribute k holds from copy attr_idxs[k] up to the next one's: in the smaller batch, from the
 * first copy that is left of them. An attribute without copies goes. Returns the number of
 * attributes.
 */
static size_t fill_rest(const struct kv_batch *b, const bool *out, struct rest *rest)
{
	size_t n = 0, n_attrs = 0, k = 0;
	bool pending = false;

	for (size_t i = 0; i < b->count; i++) {
		while (k < b->n_attrs && b->attr_idxs[k] <= i) {
			k++;
			pending = true;
		}
		if (out[i])
			continue;
		if (pending) {
			rest->attrs[n_attrs] = b->attrs[k - 1];
			rest->attr_idxs[n_attrs++] = n;
			pending = false;
		}
		rest->dsts[n] = b->dsts[i];
		rest->srcs[n] = b->srcs[i];
		rest->sizes[n] = b->sizes[i];
		rest->origins[n++] = i;
	}
	return n_attrs;
}

static CUresult call_rest(const struct kv_batch *b, const bool *out, size_t n, struct rest *rest)
{
	struct kv_batch smaller = *b;
	size_t failed = SIZE_MAX;
	CUresult res;

	smaller.n_attrs = fill_rest(b, out, rest);
	smaller.dsts = rest->dsts;
	smaller.srcs = rest->srcs;
	smaller.sizes = rest->sizes;
	smaller.count = n;
	smaller.attrs = rest->attrs;
	smaller.attr_idxs = rest->attr_idxs;
	smaller.fail_idx = &failed;
	res = call(&smaller);
	if (res != CUDA_SUCCESS && b->fail_idx)
		*b->fail_idx = failed < n ? rest->origins[failed] : failed;
	return res;
}

/* out: which copies are made on their own, SMALL or count entries. */
static CUresult split(const struct kv_batch *b, bool *out, size_t n, struct rest *rest)
{
	CUresult res = n ? call_rest(b, out, n, rest)
			 : kv_stream_verdict(b->way.stream, b->way.per_thread);

	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++) {
		if (out[i])
			res = copy_alone(b, i);
		if (res != CUDA_SUCCESS && b->fail_idx)
			*b->fail_idx = i;
	}
	return res;
}

static CUresult split_small(const struct kv_batch *b)
{
	CUdeviceptr dsts[SMALL], srcs[SMALL];
	size_t sizes[SMALL], origins[SMALL], idxs[SMALL], n = 0;
	CUmemcpyAttributes_v1 attrs[SMALL];
	bool out[SMALL];
	struct rest rest = {dsts, srcs, sizes, origins, idxs, attrs};

	for (size_t i = 0; i < b->count; i++) {
		out[i] = source_is_empty(b, i);
		n += !out[i];
	}
	return split(b, out, n, &rest);
}

/* A big batch: its EMPTY sources are backed, which costs memory but no allocation here. */
static CUresult touch_empty(const struct kv_batch *b)
{
	CUresult res = CUDA_SUCCESS;

	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++) {
		res = touch(b->srcs[i], b->sizes[i]);
		if (res == CUDA_SUCCESS)
			res = touch(b->dsts[i], b->sizes[i]);
	}
	return res == CUDA_SUCCESS ? call(b) : res;
}

static CUresult split_big(const struct kv_batch *b)
{
	size_t each = sizeof(CUdeviceptr) * 2 + sizeof(size_t) * 3 + sizeof(CUmemcpyAttributes_v1) +
		      sizeof(bool);
	size_t n = 0, count = b->count;
	struct rest rest;
	CUresult res;
	char *block;
	bool *out;

	block = count < SIZE_MAX / each ? malloc(count * each) : NULL;
	if (!block)
		return touch_empty(b);
	rest.dsts = (CUdeviceptr *)block;
	rest.srcs = rest.dsts + count;
	rest.sizes = (size_t *)(rest.srcs + count);
	rest.origins = rest.sizes + count;
	rest.attr_idxs = rest.origins + count;
	rest.attrs = (CUmemcpyAttributes_v1 *)(rest.attr_idxs + count);
	out = (bool *)(rest.attrs + count);
	for (size_t i = 0; i < count; i++) {
		out[i] = source_is_empty(b, i);
		n += !out[i];
	}
	res = split(b, out, n, &rest);
	free(block);
	return res;
}

CUresult kv_copy_batch(const struct kv_batch *b)
{
	size_t n_empty = 0;
	CUresult res;

	if (!b->dsts || !b->srcs || !b->sizes || !b->count || !kv_submit_enter())
		return call(b);
	if (kv_stream_captures(b->way.stream, b->way.per_thread)) {
		for (size_t i = 0; i < b->count; i++) {
			leak(b->srcs[i], b->way.by);
			leak(b->dsts[i], b->way.by);
		}
		/* Whole already now: a driver may look at the ranges when they are captured. */
		res = kv_submit_settle();
		if (res == CUDA_SUCCESS)
			res = call(b);
		goto out;
	}
	res = touch_all(b, &n_empty);
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	if (res != CUDA_SUCCESS)
		goto out;
	if (!n_empty)
		res = call(b);
	else if (!b->attrs || !b->attr_idxs || !b->n_attrs || !b->way.stream)
		res = touch_empty(b); /* the driver will refuse it, let it */
	else if (b->count <= SMALL)
		res = split_small(b);
	else
		res = split_big(b);
out:
	kv_submit_leave();
	return res;
}

/* ---- three dimensions ---- */

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

/* A packed source of zeros instead of an EMPTY one, if the zero page is big enough. */
static bool replace_empty(CUDA_MEMCPY3D_BATCH_OP_v1 *op)
{
	struct kv_reservation *r = reservation_of(&op->src);
	uint64_t element, span;

	if (!r)
		return false;
	element = element_of(&op->src, &op->dst);
	span = span3d(&op->src, &op->extent, element);
	if (!span || !kv_copy_is_empty(r, op->src.op.ptr.ptr - kv_reservation_base(r), span))
		return false;
	if (op->extent.width * op->extent.height * op->extent.depth * element > KV_ZERO_PAGE_SIZE ||
		!kv_copy_zeros(r))
		return false;
	op->src.op.ptr.ptr = kv_copy_zeros(r);
	op->src.op.ptr.rowLength = 0;
	op->src.op.ptr.layerHeight = 0;
	return true;
}

/* changed: room for a copy of the operations, or NULL: then sources are backed whatever they are.
 */
static CUresult batch3d_inside(const struct kv_batch3d *b, CUDA_MEMCPY3D_BATCH_OP_v1 *changed)
{
	bool captured = kv_stream_captures(b->way.stream, b->way.per_thread);
	CUresult res = CUDA_SUCCESS;

	if (!captured)
		res = kv_submit_settle();
	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++) {
		CUDA_MEMCPY3D_BATCH_OP_v1 *op = changed ? &changed[i] : &b->ops[i];

		scan3d(op, b->way.by);
		if (captured || !changed || !replace_empty(op))
			res = touch3d(op, &op->src, captured, b->way.by);
		if (res == CUDA_SUCCESS)
			res = touch3d(op, &op->dst, captured, b->way.by);
	}
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	return res == CUDA_SUCCESS ? call3d(b, changed ? changed : b->ops) : res;
}

CUresult kv_copy_batch3d(const struct kv_batch3d *b)
{
	CUDA_MEMCPY3D_BATCH_OP_v1 small[8], *changed = NULL;
	CUresult res;

	if (!b->ops || !b->count || !kv_submit_enter())
		return call3d(b, b->ops);
	if (b->count <= sizeof(small) / sizeof(*small))
		changed = small;
	else if (b->count < SIZE_MAX / sizeof(*changed))
		changed = malloc(b->count * sizeof(*changed));
	if (changed)
		memcpy(changed, b->ops, b->count * sizeof(*changed));
	res = batch3d_inside(b, changed);
	if (changed != small)
		free(changed);
	kv_submit_leave();
	return res;
}

/* ---- decompression ---- */

CUresult kv_copy_decompress(const struct kv_way *way, PFN_cuMemBatchDecompressAsync_v12060 real,
	CUmemDecompressParams *params, size_t count, unsigned int flags, size_t *error_index)
{
	CUresult res = CUDA_SUCCESS;
	bool captured;

	if (!params || !kv_submit_enter())
		return real(params, count, flags, error_index, way->stream);
	captured = kv_stream_captures(way->stream, way->per_thread);
	for (size_t i = 0; i < count && res == CUDA_SUCCESS; i++) {
		CUdeviceptr src = (CUdeviceptr)params[i].src, dst = (CUdeviceptr)params[i].dst;

		if (captured) {
			leak(src, way->by);
			leak(dst, way->by);
			continue;
		}
		res = touch(src, params[i].srcNumBytes);
		if (res == CUDA_SUCCESS)
			res = touch(dst, params[i].dstNumBytes);
		/* Where it says how much came out: it may be a device address. */
		if (res == CUDA_SUCCESS)
			res = touch(
				(CUdeviceptr)params[i].dstActBytes, sizeof(*params[i].dstActBytes));
	}
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	if (res == CUDA_SUCCESS)
		res = real(params, count, flags, error_index, way->stream);
	kv_submit_leave();
	return res;
}
