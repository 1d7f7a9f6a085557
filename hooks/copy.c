/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - linear copies between host, device and peers.
 */
#include "hooks/copy.h"

#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/history.h"
#include "hooks/launch.h"
#include "hooks/recognise.h"
#include "hooks/track.h"

/* ---- what is where ---- */

CUdeviceptr kv_copy_zeros(struct kv_reservation *r)
{
	struct kv_device *device = kv_space_gpu(kv_reservation_space(r));
	struct kv_own *own = kv_device_own(device);

	return own ? own->zero : 0;
}

bool kv_copy_is_empty(struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	struct kv_run run;

	if (!length || offset + length > kv_reservation_reserved(r))
		return false;
	kv_run_at(r, offset, offset + length, &run);
	return run.empty && run.length == length;
}

/* True if some part of the range is EMPTY. Ranges that overrun the reservation are the driver's to
 * refuse. */
static bool has_empty(struct kv_reservation *r, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	struct kv_run run;

	if (end > kv_reservation_reserved(r) || end < offset)
		return false;
	while (offset < end) {
		kv_run_at(r, offset, end, &run);
		if (run.empty)
			return true;
		offset += run.length;
	}
	return false;
}

/* Managed memory belongs to the host and the device in turns, unless the hardware lets both read.
 */
static bool managed_readable(void)
{
	struct kv_device *device = kv_device_current();

	return device && device->managed_readable;
}

bool kv_copy_host_reads(uint64_t addr)
{
	enum kv_track_kind kind;
	uint64_t base, size;
	struct kv_own_call own;
	unsigned int type = 0;
	CUresult res;

	if (kv_track_find(addr, &kind, &base, &size))
		return kind == KV_TRACK_MANAGED ? managed_readable() : kind != KV_TRACK_NATIVE;
	kv_own_begin(&own);
	res = KV_REAL(cuPointerGetAttribute)(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, addr);
	kv_own_end(&own);
	/* What the driver does not know is pageable host memory. Any other error says nothing. */
	return res == CUDA_ERROR_INVALID_VALUE ||
	       (res == CUDA_SUCCESS && type == CU_MEMORYTYPE_HOST);
}

bool kv_copy_host_writes(uint64_t addr)
{
	enum kv_track_kind kind;
	uint64_t base, size;

	if (kv_core_find(kv_hooks.core, addr))
		return false;
	/* Managed memory is written by the host, whether it can be read just now or not. */
	return (kv_track_find(addr, &kind, &base, &size) && kind == KV_TRACK_MANAGED) ||
	       kv_copy_host_reads(addr);
}

void kv_copy_recorded(uint64_t src, uint64_t length, bool host, const char *by)
{
	/* Less than an address cannot hold one. */
	if (length < sizeof(CUdeviceptr))
		return;
	if (host || kv_copy_host_writes(src))
		kv_graph_reads_host(by);
}

/* Looks for addresses in what is sent to the device. True if it comes from host memory. */
static bool scan_source(const struct kv_copy *copy)
{
	if (!copy->src_host && !(copy->src_any && kv_copy_host_reads(copy->src)))
		return false;
	kv_upload_scan((const void *)copy->src, copy->length, copy->way.by);
	return true;
}

/* What the target of a copy that is about to be made will hold. */
static void describe(const struct kv_copy *copy, bool upload, bool captured)
{
	if (!kv_hooks.config.rules)
		return;
	kv_recognise_described();
	if (captured || copy->dst_host)
		return;
	if (upload)
		kv_recognise_upload(copy->dst, (const void *)copy->src, copy->length);
	else
		kv_recognise_copy(copy->dst, copy->src, copy->length);
}

/* ---- pieces ---- */

/* Zeros from the zero page, a page at a time. */
static CUresult copy_zeros(
	const struct kv_copy *copy, CUdeviceptr zeros, uint64_t dst, uint64_t length)
{
	CUresult res = CUDA_SUCCESS;

	while (length && res == CUDA_SUCCESS) {
		uint64_t n = length < KV_ZERO_PAGE_SIZE ? length : KV_ZERO_PAGE_SIZE;

		res = copy->issue(copy, dst, zeros, n);
		dst += n;
		length -= n;
	}
	return res;
}

/* What the target gets from EMPTY pages. dst_r: its reservation, or NULL. */
static CUresult put_zeros(const struct kv_copy *copy, struct kv_reservation *src_r,
	struct kv_reservation *dst_r, uint64_t dst, uint64_t length)
{
	if (copy->fill_by_copy) {
		if (dst_r && kv_copy_is_empty(dst_r, dst - kv_reservation_base(dst_r), length))
			return CUDA_SUCCESS;
		return copy_zeros(copy, kv_copy_zeros(src_r), dst, length);
	}
	if (dst_r || (!copy->dst_host && !copy->src_any))
		return kv_set_zero(&copy->way, dst, length);
	return copy_zeros(copy, kv_copy_zeros(src_r), dst, length);
}

CUresult kv_copy_touch(struct kv_reservation *r, uint64_t addr, uint64_t length)
{
	uint64_t offset;

	if (!r)
		return CUDA_SUCCESS;
	offset = addr - kv_reservation_base(r);
	if (length > kv_reservation_reserved(r) - offset)
		return CUDA_ERROR_INVALID_VALUE;
	return kv_backed_result(kv_touch(r, offset, length));
}

/* Backs what the run at offset bytes into the copy needs; issue: and makes the piece of the copy.
 */
static CUresult piece(const struct kv_copy *copy, struct kv_reservation *src_r,
	struct kv_reservation *dst_r, uint64_t offset, bool issue, uint64_t *ret_length)
{
	uint64_t start = copy->src - kv_reservation_base(src_r);
	uint64_t dst = copy->dst + offset;
	struct kv_run run;
	CUresult res;

	kv_run_at(src_r, start + offset, start + copy->length, &run);
	*ret_length = run.length;
	if (run.empty) {
		if (issue)
			return put_zeros(copy, src_r, dst_r, dst, run.length);
		if (!dst_r)
			return CUDA_SUCCESS;
		if (!copy->fill_by_copy)
			return kv_backed_result(
				kv_zero(dst_r, dst - kv_reservation_base(dst_r), run.length));
		if (kv_copy_is_empty(dst_r, dst - kv_reservation_base(dst_r), run.length))
			return CUDA_SUCCESS;
		return kv_copy_touch(dst_r, dst, run.length);
	}
	/* In the second round, too: a page may have been given memory by somebody else meanwhile.
	 */
	res = kv_copy_touch(src_r, copy->src + offset, run.length);
	if (res == CUDA_SUCCESS)
		res = kv_copy_touch(dst_r, dst, run.length);
	if (res == CUDA_SUCCESS && issue)
		res = copy->issue(copy, dst, copy->src + offset, run.length);
	return res;
}

/* Run by run: first everything is backed, so that lack of memory leaves nothing half done, then
 * copied. */
static CUresult copy_runs(
	const struct kv_copy *copy, struct kv_reservation *src_r, struct kv_reservation *dst_r)
{
	CUresult res = CUDA_SUCCESS;
	uint64_t length;

	for (uint64_t at = 0; at < copy->length && res == CUDA_SUCCESS; at += length)
		res = piece(copy, src_r, dst_r, at, false, &length);
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	/* A copy may come to nothing: a bad stream is an error all the same. */
	if (res == CUDA_SUCCESS)
		res = kv_stream_verdict(copy->way.stream, copy->way.per_thread);
	for (uint64_t at = 0; at < copy->length && res == CUDA_SUCCESS; at += length)
		res = piece(copy, src_r, dst_r, at, true, &length);
	return res;
}

/* ---- the whole ---- */

CUresult kv_copy_inside(const struct kv_copy *copy)
{
	struct kv_reservation *src_r =
		copy->src_host ? NULL : kv_core_find(kv_hooks.core, copy->src);
	struct kv_reservation *dst_r =
		copy->dst_host ? NULL : kv_core_find(kv_hooks.core, copy->dst);
	bool captured, upload;
	CUresult res;

	captured = copy->way.async && kv_stream_captures(copy->way.stream, copy->way.per_thread);
	/* What a captured one reads is what stands there when the graph is launched. */
	upload = !(captured && kv_graphs_are_read()) && !src_r && scan_source(copy);
	describe(copy, upload, captured);
	if (captured && !kv_graphs_are_read()) {
		if (src_r)
			kv_leak(src_r, KV_STATIC_GRAPH, copy->way.by);
		else if (copy->src_host || copy->src_any)
			kv_copy_recorded(copy->src, copy->length, copy->src_host, copy->way.by);
		if (dst_r)
			kv_leak(dst_r, KV_STATIC_GRAPH, copy->way.by);
		/* Whole already now: a driver may look at the ranges when they are captured. */
		res = kv_submit_settle();
		return res == CUDA_SUCCESS ? copy->issue(copy, copy->dst, copy->src, copy->length)
					   : res;
	}
	/* A driver may look at the ranges of a copy when it is captured. */
	if (!captured && src_r && kv_copy_zeros(src_r) &&
		has_empty(src_r, copy->src - kv_reservation_base(src_r), copy->length))
		return copy_runs(copy, src_r, dst_r);
	res = kv_copy_touch(src_r, copy->src, copy->length);
	if (res == CUDA_SUCCESS)
		res = kv_copy_touch(dst_r, copy->dst, copy->length);
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	if (res == CUDA_SUCCESS)
		res = copy->issue(copy, copy->dst, copy->src, copy->length);
	return res;
}

CUresult kv_copy_linear(const struct kv_copy *copy)
{
	CUresult res;

	if (copy->src_host && kv_hooks_active())
		kv_history_upload(copy->length);
	if (!copy->length || !kv_submit_enter())
		return copy->issue(copy, copy->dst, copy->src, copy->length);
	res = kv_copy_inside(copy);
	kv_submit_leave();
	return res;
}

/* ---- arrays ---- */

CUresult kv_copy_dtoa(const struct kv_way *way, PFN_cuMemcpyDtoA_v3020 real, CUarray dst,
	size_t dst_offset, CUdeviceptr src, size_t length)
{
	CUresult res;

	if (!kv_submit_enter())
		return real(dst, dst_offset, src, length);
	res = kv_copy_touch(kv_core_find(kv_hooks.core, src), src, length);
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	if (res == CUDA_SUCCESS)
		res = real(dst, dst_offset, src, length);
	kv_submit_leave();
	return res;
}

CUresult kv_copy_atod(const struct kv_way *way, PFN_cuMemcpyAtoD_v3020 real, CUdeviceptr dst,
	CUarray src, size_t src_offset, size_t length)
{
	CUresult res;

	if (!kv_submit_enter())
		return real(dst, src, src_offset, length);
	res = kv_copy_touch(kv_core_find(kv_hooks.core, dst), dst, length);
	if (res == CUDA_SUCCESS)
		res = kv_submit_settle();
	if (res == CUDA_SUCCESS)
		res = real(dst, src, src_offset, length);
	kv_submit_leave();
	return res;
}
