/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy2d.c - copies of boxes: what they touch is bounded by their first and last byte.
 *
 * All forms are read into struct box, whose two sides say where the first byte is and how far the
 * last is from it. A box of one row is a linear copy. A source that is EMPTY as a whole is replaced
 * by zeros, copied with the three-dimensional call, which can write what the plain forms can, or
 * with its peer form.
 */
#include <string.h>

#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/device.h"
#include "hooks/launch.h"

struct side {
	CUmemorytype type;
	uint64_t start;           /* first byte, 0 for arrays */
	uint64_t pitch, slice;    /* bytes from row to row, from layer to layer */
	uint64_t span;            /* bytes from the first to behind the last */
	struct kv_reservation *r; /* that start is in, or NULL */
};

struct box {
	struct side src, dst;
	uint64_t width, height, depth;
};

static void span_set(struct side *side, const struct box *box)
{
	side->span = box->width;
	if (box->height > 1)
		side->span += (box->height - 1) * side->pitch;
	if (box->depth > 1)
		side->span += (box->depth - 1) * side->slice;
	side->r = NULL;
	if (side->type == CU_MEMORYTYPE_DEVICE || side->type == CU_MEMORYTYPE_UNIFIED)
		side->r = kv_core_find(kv_hooks.core, side->start);
}

/* Both structures of the driver name their fields alike; prefix: src or dst. */
#define SIDE(side, desc, prefix, z, rows) \
	do { \
		(side)->type = (desc)->prefix##MemoryType; \
		(side)->pitch = (desc)->prefix##Pitch; \
		(side)->slice = (desc)->prefix##Pitch * (rows); \
		(side)->start = (side)->type == CU_MEMORYTYPE_HOST \
					? (uint64_t)(desc)->prefix##Host \
					: (uint64_t)(desc)->prefix##Device; \
		(side)->start += (z) * (side)->slice + (desc)->prefix##Y * (side)->pitch + \
				 (desc)->prefix##XInBytes; \
		if ((side)->type == CU_MEMORYTYPE_ARRAY) \
			(side)->start = 0; \
	} while (0)

static void box_of_2d(const CUDA_MEMCPY2D_v2 *desc, struct box *box)
{
	*box = (struct box){.width = desc->WidthInBytes, .height = desc->Height, .depth = 1};
	SIDE(&box->src, desc, src, 0u, 0u);
	SIDE(&box->dst, desc, dst, 0u, 0u);
	span_set(&box->src, box);
	span_set(&box->dst, box);
}

static void box_of_3d(const CUDA_MEMCPY3D_v2 *desc, struct box *box)
{
	*box = (struct box){
		.width = desc->WidthInBytes, .height = desc->Height, .depth = desc->Depth};
	SIDE(&box->src, desc, src, desc->srcZ, desc->srcHeight);
	SIDE(&box->dst, desc, dst, desc->dstZ, desc->dstHeight);
	span_set(&box->src, box);
	span_set(&box->dst, box);
}

static void box_of_peer(const CUDA_MEMCPY3D_PEER_v1 *desc, struct box *box)
{
	*box = (struct box){
		.width = desc->WidthInBytes, .height = desc->Height, .depth = desc->Depth};
	SIDE(&box->src, desc, src, desc->srcZ, desc->srcHeight);
	SIDE(&box->dst, desc, dst, desc->dstZ, desc->dstHeight);
	span_set(&box->src, box);
	span_set(&box->dst, box);
}

/* ---- before the driver call ---- */

static void scan_source(const struct kv_way *way, const struct box *box)
{
	const struct side *src = &box->src;
	bool host =
		src->type == CU_MEMORYTYPE_HOST ||
		(src->type == CU_MEMORYTYPE_UNIFIED && !src->r && kv_copy_host_reads(src->start));

	if (!host)
		return;
	/* Row by row: what is between the rows is not sent, and may not be the program's to read.
	 */
	for (uint64_t z = 0; z < box->depth; z++) {
		for (uint64_t y = 0; y < box->height; y++)
			kv_upload_scan((const void *)(src->start + z * src->slice + y * src->pitch),
				box->width, way->by);
	}
}

static CUresult touch(const struct side *side)
{
	return kv_copy_touch(side->r, side->start, side->span);
}

static bool leak_captured(const struct kv_way *way, const struct box *box)
{
	if (!way->async || !kv_stream_captures(way->stream, way->per_thread))
		return false;
	if (box->src.r)
		kv_leak(box->src.r, KV_STATIC_GRAPH, way->by);
	else if (box->src.type == CU_MEMORYTYPE_HOST || box->src.type == CU_MEMORYTYPE_UNIFIED)
		kv_copy_recorded(box->src.start, box->width * box->height * box->depth,
			box->src.type == CU_MEMORYTYPE_HOST, way->by);
	if (box->dst.r)
		kv_leak(box->dst.r, KV_STATIC_GRAPH, way->by);
	return true;
}

static bool source_is_empty(const struct box *box)
{
	const struct side *src = &box->src;

	return src->r && box->height && box->depth &&
	       kv_copy_is_empty(src->r, src->start - kv_reservation_base(src->r), src->span);
}

/* ---- zeros ---- */

/* Where the zeros go: one of the two. */
struct target {
	const CUDA_MEMCPY3D_v2 *plain;
	const CUDA_MEMCPY3D_PEER_v1 *peer;
};

/* A piece of one layer of the box: bytes, rows, layers. */
struct part {
	uint64_t x, y, z, width, height;
};

/* Both structures of the driver name their fields alike. */
#define FROM_ZEROS(desc, zeros, part) \
	do { \
		(desc)->srcXInBytes = (desc)->srcY = (desc)->srcZ = (desc)->srcLOD = 0; \
		(desc)->srcMemoryType = CU_MEMORYTYPE_DEVICE; \
		(desc)->srcHost = NULL; \
		(desc)->srcDevice = (zeros); \
		(desc)->srcArray = NULL; \
		(desc)->srcPitch = (part)->width; \
		(desc)->srcHeight = 0; \
		(desc)->dstXInBytes += (part)->x; \
		(desc)->dstY += (part)->y; \
		(desc)->dstZ += (part)->z; \
		(desc)->WidthInBytes = (part)->width; \
		(desc)->Height = (part)->height; \
		(desc)->Depth = 1; \
	} while (0)

static CUresult issue_plain(const struct kv_way *way, const CUDA_MEMCPY3D_v2 *desc)
{
	if (way->async)
		return way->per_thread ? KV_REAL(cuMemcpy3DAsync_v2_ptsz)(desc, way->stream)
				       : KV_REAL(cuMemcpy3DAsync_v2)(desc, way->stream);
	return way->per_thread ? KV_REAL(cuMemcpy3D_v2_ptds)(desc) : KV_REAL(cuMemcpy3D_v2)(desc);
}

static CUresult issue_peer(const struct kv_way *way, const CUDA_MEMCPY3D_PEER_v1 *desc)
{
	if (way->async)
		return way->per_thread ? KV_REAL(cuMemcpy3DPeerAsync_ptsz)(desc, way->stream)
				       : KV_REAL(cuMemcpy3DPeerAsync)(desc, way->stream);
	return way->per_thread ? KV_REAL(cuMemcpy3DPeer_ptds)(desc) : KV_REAL(cuMemcpy3DPeer)(desc);
}

static CUresult issue_zeros(const struct kv_way *way, const struct target *target,
	CUdeviceptr zeros, const struct part *part)
{
	CUDA_MEMCPY3D_PEER_v1 peer;
	CUDA_MEMCPY3D_v2 plain;

	if (target->peer) {
		peer = *target->peer;
		FROM_ZEROS(&peer, zeros, part);
		return issue_peer(way, &peer);
	}
	plain = *target->plain;
	FROM_ZEROS(&plain, zeros, part);
	return issue_plain(way, &plain);
}

/* The target gets zeros instead of its source, as much of a layer at a time as the zero page holds.
 */
static CUresult put_zeros(const struct kv_way *way, const struct box *box, CUdeviceptr zeros,
	const struct target *target)
{
	uint64_t width = box->width < KV_ZERO_PAGE_SIZE ? box->width : KV_ZERO_PAGE_SIZE;
	uint64_t rows = width ? KV_ZERO_PAGE_SIZE / width : 0;
	CUresult res = CUDA_SUCCESS;
	struct part part;

	for (part.z = 0; rows && part.z < box->depth; part.z++) {
		for (part.y = 0; part.y < box->height; part.y += rows) {
			part.height = box->height - part.y < rows ? box->height - part.y : rows;
			for (part.x = 0; part.x < box->width; part.x += width) {
				part.width =
					box->width - part.x < width ? box->width - part.x : width;
				res = issue_zeros(way, target, zeros, &part);
				if (res != CUDA_SUCCESS)
					return res;
			}
		}
	}
	return res;
}

/* A copy whose source is EMPTY as a whole. False: it was not, or cannot be done so. */
static bool copy_empty(const struct kv_way *way, const struct box *box, const struct target *target,
	CUresult *ret_result)
{
	const struct side *dst = &box->dst;
	CUdeviceptr zeros;
	CUresult res;

	if (!source_is_empty(box))
		return false;
	zeros = kv_copy_zeros(box->src.r);
	if (!zeros)
		return false;
	res = kv_submit_settle();
	if (!source_is_empty(box))
		return false; /* static: has become whole */
	if (res == CUDA_SUCCESS && dst->r &&
		kv_copy_is_empty(dst->r, dst->start - kv_reservation_base(dst->r), dst->span)) {
		*ret_result = kv_stream_verdict(way->stream, way->per_thread);
		return true;
	}
	if (res == CUDA_SUCCESS)
		res = touch(dst);
	if (res == CUDA_SUCCESS)
		res = put_zeros(way, box, zeros, target);
	*ret_result = res;
	return true;
}

/* Everything before the driver call. True: the driver may be called; else *ret_result is the
 * answer. */
static bool before(const struct kv_way *way, const struct box *box, const struct target *target,
	CUresult *ret_result)
{
	scan_source(way, box);
	*ret_result = CUDA_SUCCESS;
	if (leak_captured(way, box)) {
		/* Whole already now: a driver may look at the ranges when they are captured. */
		*ret_result = kv_submit_settle();
		return *ret_result == CUDA_SUCCESS;
	}
	if (copy_empty(way, box, target, ret_result))
		return false;
	*ret_result = touch(&box->src);
	if (*ret_result == CUDA_SUCCESS)
		*ret_result = touch(&box->dst);
	if (*ret_result == CUDA_SUCCESS)
		*ret_result = kv_submit_settle();
	return *ret_result == CUDA_SUCCESS;
}

/* ---- 2D ---- */

static CUresult issue_2d(const struct kv_copy *copy, const CUDA_MEMCPY2D_v2 *desc)
{
	return copy->way.async ? copy->real.box2d_async(desc, copy->way.stream)
			       : copy->real.box2d(desc);
}

/* A piece of one row. Also out of the zero page, which is device memory whatever the source was. */
static CUresult issue_row(const struct kv_copy *copy, uint64_t dst, uint64_t src, uint64_t length)
{
	CUDA_MEMCPY2D_v2 desc = *(const CUDA_MEMCPY2D_v2 *)copy->box;

	if (dst == copy->dst && src == copy->src && length == copy->length)
		return issue_2d(copy, &desc);
	desc.dstXInBytes += dst - copy->dst;
	desc.WidthInBytes = length;
	if (src >= copy->src && src < copy->src + copy->length) {
		desc.srcXInBytes += src - copy->src;
	} else {
		desc.srcMemoryType = CU_MEMORYTYPE_DEVICE;
		desc.srcDevice = src;
		desc.srcXInBytes = desc.srcY = 0;
	}
	return issue_2d(copy, &desc);
}

static void target_of_2d(const CUDA_MEMCPY2D_v2 *box, CUDA_MEMCPY3D_v2 *ret_target)
{
	*ret_target = (CUDA_MEMCPY3D_v2){
		.dstXInBytes = box->dstXInBytes,
		.dstY = box->dstY,
		.dstMemoryType = box->dstMemoryType,
		.dstHost = box->dstHost,
		.dstDevice = box->dstDevice,
		.dstArray = box->dstArray,
		.dstPitch = box->dstPitch,
		.WidthInBytes = box->WidthInBytes,
		.Height = box->Height,
		.Depth = 1,
	};
}

CUresult kv_copy_2d(const struct kv_way *way, PFN_cuMemcpy2D_v3020 real,
	PFN_cuMemcpy2DAsync_v3020 real_async, const CUDA_MEMCPY2D_v2 *desc)
{
	struct kv_copy row = {.way = *way, .box = desc, .issue = issue_row};
	CUDA_MEMCPY3D_v2 plain;
	struct target target = {.plain = &plain};
	struct box box;
	CUresult res;

	if (real_async)
		row.real.box2d_async = real_async;
	else
		row.real.box2d = real;
	if (!desc || !kv_submit_enter())
		return issue_2d(&row, desc);
	box_of_2d(desc, &box);
	if (box.height == 1 && box.width && box.src.type != CU_MEMORYTYPE_ARRAY &&
		box.dst.type != CU_MEMORYTYPE_ARRAY) {
		row.src = box.src.start;
		row.dst = box.dst.start;
		row.length = box.width;
		row.src_host = box.src.type == CU_MEMORYTYPE_HOST;
		row.dst_host = box.dst.type == CU_MEMORYTYPE_HOST;
		row.src_any = box.src.type == CU_MEMORYTYPE_UNIFIED;
		row.fill_by_copy = box.dst.type == CU_MEMORYTYPE_UNIFIED && !box.dst.r;
		res = kv_copy_inside(&row);
	} else {
		target_of_2d(desc, &plain);
		if (before(way, &box, &target, &res))
			res = issue_2d(&row, desc);
	}
	kv_submit_leave();
	return res;
}

/* ---- 3D ---- */

CUresult kv_copy_3d(const struct kv_way *way, PFN_cuMemcpy3D_v3020 real,
	PFN_cuMemcpy3DAsync_v3020 real_async, const CUDA_MEMCPY3D_v2 *desc)
{
	CUresult res;

	if (!desc || !kv_submit_enter())
		return real_async ? real_async(desc, way->stream) : real(desc);
	res = kv_copy_3d_inside(way, desc);
	kv_submit_leave();
	return res;
}

CUresult kv_copy_3d_inside(const struct kv_way *way, const CUDA_MEMCPY3D_v2 *desc)
{
	struct target target = {.plain = desc};
	struct box box;
	CUresult res;

	box_of_3d(desc, &box);
	return before(way, &box, &target, &res) ? issue_plain(way, desc) : res;
}

CUresult kv_copy_3d_peer(const struct kv_way *way, PFN_cuMemcpy3DPeer_v4000 real,
	PFN_cuMemcpy3DPeerAsync_v4000 real_async, const CUDA_MEMCPY3D_PEER_v1 *desc)
{
	struct target target = {.peer = desc};
	struct box box;
	CUresult res;

	if (!desc || !kv_submit_enter())
		return real_async ? real_async(desc, way->stream) : real(desc);
	box_of_peer(desc, &box);
	if (before(way, &box, &target, &res))
		res = real_async ? real_async(desc, way->stream) : real(desc);
	kv_submit_leave();
	return res;
}
