/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - many copies in one call: copies out of EMPTY memory are taken out of the batch, the
 * others are backed and stay, with the attributes that they had.
 */
#include <stdlib.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/copy.h"
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

static CUresult touch_one(const struct kv_batch *b, size_t i)
{
	CUresult res = touch(b->srcs[i], b->sizes[i]);

	if (res == CUDA_SUCCESS)
		res = touch(b->dsts[i], b->sizes[i]);
	if (res != CUDA_SUCCESS && b->fail_idx)
		*b->fail_idx = i;
	return res;
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
		res = touch_one(b, i);
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

/*
 * out: room for which copies are made on their own, SMALL or count entries. A source that was EMPTY
 * before may have got its page meanwhile, as the target of another copy: it is backed now, with its
 * target.
 */
static CUresult split(const struct kv_batch *b, bool *out, struct rest *rest)
{
	CUresult res = CUDA_SUCCESS;
	size_t n = 0;

	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++) {
		out[i] = source_is_empty(b, i);
		n += !out[i];
		if (!out[i])
			res = touch_one(b, i);
	}
	if (res != CUDA_SUCCESS)
		return res;
	res = n ? call_rest(b, out, n, rest) : kv_stream_verdict(b->way.stream, b->way.per_thread);
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
	size_t sizes[SMALL], origins[SMALL], idxs[SMALL];
	CUmemcpyAttributes_v1 attrs[SMALL];
	bool out[SMALL];
	struct rest rest = {dsts, srcs, sizes, origins, idxs, attrs};

	return split(b, out, &rest);
}

/* A big batch: its EMPTY sources are backed, which costs memory but no allocation here. */
static CUresult touch_empty(const struct kv_batch *b)
{
	CUresult res = CUDA_SUCCESS;

	for (size_t i = 0; i < b->count && res == CUDA_SUCCESS; i++)
		res = touch_one(b, i);
	return res == CUDA_SUCCESS ? call(b) : res;
}

static CUresult split_big(const struct kv_batch *b)
{
	size_t each = sizeof(CUdeviceptr) * 2 + sizeof(size_t) * 3 + sizeof(CUmemcpyAttributes_v1) +
		      sizeof(bool);
	size_t count = b->count;
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
	res = split(b, out, &rest);
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
			if (!kv_core_find(kv_hooks.core, b->srcs[i]))
				kv_copy_recorded(b->srcs[i], b->sizes[i], false, b->way.by);
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
	else if (!b->attrs || !b->attr_idxs || !b->n_attrs || kv_batch_is_refused(&b->way))
		res = touch_empty(b); /* the driver will refuse it, let it */
	else if (b->count <= SMALL)
		res = split_small(b);
	else
		res = split_big(b);
out:
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
