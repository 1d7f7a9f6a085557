/* SPDX-License-Identifier: Apache-2.0 */
/*
 * set.c - sets: a zero fill needs no memory where there is none yet, any other value does.
 */
#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/launch.h"
#include "hooks/planes.h"
#include "hooks/recognise.h"

/* ---- the driver's functions ---- */

static CUresult issue_linear(const struct kv_set *set, CUdeviceptr dst, uint64_t width)
{
	CUstream s = set->way.stream;
	uint32_t v = set->value;

	switch (set->element) {
	case 1:
		return set->way.async ? set->real.d8_async(dst, (unsigned char)v, width, s)
				      : set->real.d8(dst, (unsigned char)v, width);
	case 2:
		return set->way.async ? set->real.d16_async(dst, (unsigned short)v, width, s)
				      : set->real.d16(dst, (unsigned short)v, width);
	default:
		return set->way.async ? set->real.d32_async(dst, v, width, s)
				      : set->real.d32(dst, v, width);
	}
}

static CUresult issue_2d(const struct kv_set *set)
{
	CUstream stream = set->way.stream;
	CUdeviceptr dst = set->dst;
	size_t p = set->pitch, w = set->width, h = set->height;
	unsigned char v8 = (unsigned char)set->value;
	unsigned short v16 = (unsigned short)set->value;

	switch (set->element) {
	case 1:
		return set->way.async ? set->real.d2d8_async(dst, p, v8, w, h, stream)
				      : set->real.d2d8(dst, p, v8, w, h);
	case 2:
		return set->way.async ? set->real.d2d16_async(dst, p, v16, w, h, stream)
				      : set->real.d2d16(dst, p, v16, w, h);
	default:
		return set->way.async ? set->real.d2d32_async(dst, p, set->value, w, h, stream)
				      : set->real.d2d32(dst, p, set->value, w, h);
	}
}

static CUresult issue(const struct kv_set *set)
{
	return set->is_2d ? issue_2d(set) : issue_linear(set, set->dst, set->width);
}

/* ---- zeros ---- */

/* A linear zero fill inside a reservation. */
static CUresult zero_linear(
	const struct kv_set *set, struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, base = kv_reservation_base(r);
	bool nothing = true;
	struct kv_run run;
	CUresult res;

	res = kv_backed_result(kv_zero(r, offset, length));
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	for (uint64_t at = offset; at < end && res == CUDA_SUCCESS; at += run.length) {
		kv_run_at(r, at, end, &run);
		if (run.empty)
			continue;
		nothing = false;
		if (run.length == length) {
			res = issue(set);
			continue;
		}
		/* It has memory: kv_zero() has brought back what was evicted in part, and nothing
		 * can go meanwhile. A touch would make kv_zero_done() forget that it is zero.
		 * Memory that somebody else has given to a page since is zero, and to fill it
		 * again is right. */
		res = issue_linear(set, base + at, run.length / set->element);
	}
	if (res == CUDA_SUCCESS && nothing)
		res = kv_stream_verdict(set->way.stream, set->way.per_thread);
	if (res != CUDA_SUCCESS)
		return res;
	kv_zero_done(r, offset, length);
	/* The engine starts anew: what was there need not even be looked at. */
	if (kv_hooks.config.rules && !offset && length >= kv_reservation_requested(r))
		kv_planes_clear(base, length);
	return CUDA_SUCCESS;
}

CUresult kv_set_zero(const struct kv_way *way, CUdeviceptr dst, uint64_t length)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, dst);
	struct kv_set set = {
		.way = *way,
		.dst = dst,
		.pitch = length,
		.element = 1,
		.width = length,
		.height = 1,
	};
	uint64_t offset;

	if (way->async)
		set.real.d8_async =
			way->per_thread ? KV_REAL(cuMemsetD8Async_ptsz) : KV_REAL(cuMemsetD8Async);
	else
		set.real.d8 =
			way->per_thread ? KV_REAL(cuMemsetD8_v2_ptds) : KV_REAL(cuMemsetD8_v2);
	if (!r)
		return issue(&set);
	offset = dst - kv_reservation_base(r);
	if (length > kv_reservation_reserved(r) - offset)
		return CUDA_ERROR_INVALID_VALUE;
	return zero_linear(&set, r, offset, length);
}

/* ---- the whole ---- */

static bool is_zero(const struct kv_set *set)
{
	switch (set->element) {
	case 1:
		return !(set->value & 0xff);
	case 2:
		return !(set->value & 0xffff);
	default:
		return !set->value;
	}
}

static CUresult touch_and_issue(const struct kv_set *set, struct kv_reservation *r, uint64_t span)
{
	CUresult res = kv_copy_touch(r, set->dst, span);

	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	return res == CUDA_SUCCESS ? issue(set) : res;
}

static CUresult set_inside(const struct kv_set *set)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, set->dst);
	uint64_t row = set->width * set->element, span = row, offset;
	CUresult res;

	if (set->height > 1)
		span += (set->height - 1) * set->pitch;
	if (kv_hooks.config.rules)
		kv_recognise_described();
	if (set->way.async && kv_stream_captures(set->way.stream, set->way.per_thread)) {
		if (kv_graphs_are_read())
			return touch_and_issue(set, r, span);
		if (r)
			kv_leak(r, KV_STATIC_GRAPH, set->way.by);
		/* Whole already now: a driver may look at the range when it is captured. */
		res = kv_submit_settle();
		return res == CUDA_SUCCESS ? issue(set) : res;
	}
	if (kv_hooks.config.rules)
		kv_recognise_write(set->dst, span);
	offset = r ? set->dst - kv_reservation_base(r) : 0;
	/* What the driver will refuse, and what is not zero. */
	if (!r || !is_zero(set) || set->dst % set->element || offset + span < offset ||
		offset + span > kv_reservation_reserved(r))
		return touch_and_issue(set, r, span);
	if (!set->is_2d)
		return zero_linear(set, r, offset, span);
	/* Rows with gaps between them: nothing to do, or an ordinary set. */
	if (!kv_copy_is_empty(r, offset, span))
		return touch_and_issue(set, r, span);
	res = kv_submit_settle();
	if (res == CUDA_SUCCESS && !kv_copy_is_empty(r, offset, span))
		return touch_and_issue(set, r, span); /* static: whole now */
	return res == CUDA_SUCCESS ? kv_stream_verdict(set->way.stream, set->way.per_thread) : res;
}

CUresult kv_set(const struct kv_set *set)
{
	CUresult res;

	if (!set->width || !set->height || !kv_submit_enter())
		return issue(set);
	res = set_inside(set);
	kv_submit_leave();
	return res;
}
