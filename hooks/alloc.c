/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc.c - cuMemAlloc and its kin: a reservation where the rules say so, the driver's memory where
 * they do not or where anything is in doubt; and every way to free one.
 */
#include "hooks/alloc.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "hooks/agent.h"
#include "core/tag_rules.h"
#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/frames.h"
#include "hooks/history.h"
#include "hooks/origin.h"
#include "hooks/planes.h"
#include "hooks/recognise.h"
#include "hooks/tag.h"

/* What cuMemAllocPitch rounds rows up to on every device so far. */
#define PITCH_ALIGNMENT 512u

/* Driver calls of this thread are the program's, and we are at work. */
static bool is_program(void)
{
	return kv_hooks_active() && !kv_thread.depth;
}

/* ---- selection ---- */

/* The operator's tag for what the program has not tagged. */
static void tag_by_rules(const struct kv_select_request *request, struct kv_tag_entry *tag)
{
	static _Atomic uint64_t n_large; /* atomic: relaxed; allocations from the floor on */
	struct kv_tag_rule rule;
	uint64_t order = 0;

	if (request->size >= kv_hooks.config.select.min_size)
		order = atomic_fetch_add_explicit(&n_large, 1, memory_order_relaxed) + 1;
	if (tag->name[0] || !kv_tag_rules_match(kv_hooks.config.tag_rules, request, order, &rule))
		return;
	tag->tag = (uint8_t)rule.tag;
	tag->priority = rule.priority;
	memcpy(tag->name, rule.name, sizeof(tag->name));
}

/* tag: what the thread says; what the rules say if that is nothing. */
static void choose(struct kv_device *device, uint64_t size, struct kv_tag_entry *tag,
	struct kv_select_answer *ret_answer)
{
	const struct kv_select_rules *rules = &kv_hooks.config.select;
	const char *tag_rules = kv_hooks.config.tag_rules;
	struct kv_select_request request = {
		.size = size,
		.tag = tag->tag,
		.device_total = device->total,
	};
	struct kv_frames frames;

	kv_history_alloc(size, &request);
	/* Not for every small allocation: unwinding takes microseconds. */
	if ((kv_select_needs_frames(rules) &&
		    (size >= rules->min_size || rules->include_sizes ||
			    request.tag != KV_TAG_NONE ||
			    (rules->whole_from && size >= rules->whole_from))) ||
		kv_tag_rules_need_frames(tag_rules)) {
		kv_frames_collect(&frames);
		request.libraries = frames.libraries;
		request.symbols = frames.symbols;
		request.n_frames = frames.n;
	}
	if (tag_rules && *tag_rules) {
		tag_by_rules(&request, tag);
		request.tag = tag->tag;
	}
	kv_select(rules, &request, ret_answer);
}

/* ---- substitution ---- */

/*
 * 0: *ret_addr is a reservation. -ENOMEM: there is no memory that could be promised, so the native
 * call must not succeed either. Other errors: nothing has happened, allocate natively.
 */
static int reserve(struct kv_device *device, uint64_t size, const struct kv_tag_entry *tag,
	const struct kv_select_answer *answer, CUdeviceptr *ret_addr)
{
	struct kv_origin origin = {.size = size, .device = device};
	struct kv_reservation *r;
	int err;

	if (KV_REAL(cuCtxGetCurrent)(&origin.ctx) != CUDA_SUCCESS || !origin.ctx)
		return -ENODEV;
	if (kv_device_adopt(device) < 0)
		return -ENODEV; /* also without memory for the zero page: the native call will tell
				 */
	/* As long as there was none, nobody looked at what is uploaded and written. */
	if (kv_hooks.config.rules && kv_core_is_idle(kv_hooks.core))
		kv_recognise_forget();
	err = kv_reservation_new(
		device->space, size, tag->name[0] ? tag->name : NULL, answer->score, &r);
	if (err < 0)
		return err;
	origin.base = kv_reservation_base(r);
	if (!kv_origin_add(&origin)) {
		kv_reservation_free(kv_hooks.core, origin.base);
		return -ENOSPC;
	}
	kv_reservation_set_priority(r, tag->priority);
	if (answer->eager)
		kv_leak_read(r, KV_STATIC_OPTION, answer->why); /* nobody has its address yet */
	kv_agents_start(device);
	*ret_addr = origin.base;
	return 0;
}

/*
 * Reserves if the rules say so. True: *ret_result is the answer to the program. False: the driver's
 * turn.
 */
static bool substitute(size_t size, CUdeviceptr *ret_addr, CUresult *ret_result)
{
	struct kv_tag_entry tag = *kv_tag_current();
	struct kv_select_answer answer = {0};
	struct kv_device *device;
	int err;

	device = kv_device_current();
	if (!device)
		return false;
	choose(device, size, &tag, &answer);
	if (!answer.reserve) {
		if (size >= kv_hooks.config.select.min_size)
			kv_space_count_passed(device->space);
		return false;
	}
	/* An allocation during a capture is the driver's to allow or to refuse. */
	if (atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		return false;
	kv_thread.depth++;
	err = reserve(device, size, &tag, &answer, ret_addr);
	kv_thread.depth--;
	if (err == 0) {
		kv_hooks_log(3, "alloc", "%zu bytes reserved at 0x%llx (score %d: %s)", size,
			(unsigned long long)*ret_addr, answer.score, answer.why ? answer.why : "");
		*ret_result = CUDA_SUCCESS;
		return true;
	}
	if (err == -ENOMEM) {
		*ret_result = CUDA_ERROR_OUT_OF_MEMORY;
		return true;
	}
	kv_hooks_log(1, "alloc", "cannot reserve %zu bytes (error %d): native memory instead", size,
		-err);
	return false;
}

CUresult kv_alloc(PFN_cuMemAlloc_v3020 real, CUdeviceptr *addr, size_t size)
{
	struct kv_native_tries tries = {0};
	CUresult res;

	if (!is_program())
		return real(addr, size);
	kv_free_deferred();
	if (!addr || !size)
		return real(addr, size);
	if (substitute(size, addr, &res))
		return res;
	res = kv_native_admit(size);
	if (res != CUDA_SUCCESS)
		return res;
	res = real(addr, size);
	while (kv_native_make_room(&tries, res, size))
		res = real(addr, size);
	kv_native_made(res, KV_TRACK_NATIVE, res == CUDA_SUCCESS ? *addr : 0, size);
	kv_native_done(&tries);
	return res;
}

CUresult kv_alloc_pitch(PFN_cuMemAllocPitch_v3020 real, CUdeviceptr *addr, size_t *pitch,
	size_t width, size_t height, unsigned int element)
{
	size_t row = (width + PITCH_ALIGNMENT - 1) / PITCH_ALIGNMENT * PITCH_ALIGNMENT, size;
	struct kv_native_tries tries = {0};
	CUresult res;

	if (!is_program())
		return real(addr, pitch, width, height, element);
	kv_free_deferred();
	/* Anything unusual is the driver's to judge. */
	if (!addr || !pitch || row < width || !row || !height ||
		(element != 4 && element != 8 && element != 16) ||
		__builtin_mul_overflow(row, height, &size))
		return real(addr, pitch, width, height, element);
	if (substitute(size, addr, &res)) {
		if (res == CUDA_SUCCESS)
			*pitch = row;
		return res;
	}
	res = kv_native_admit(size);
	if (res != CUDA_SUCCESS)
		return res;
	res = real(addr, pitch, width, height, element);
	while (kv_native_make_room(&tries, res, size))
		res = real(addr, pitch, width, height, element);
	if (res == CUDA_SUCCESS)
		kv_native_made(res, KV_TRACK_NATIVE, *addr, *pitch * height);
	kv_native_done(&tries);
	return res;
}

/* ---- free ---- */

/*
 * Reservations whose free came while a capture was open: the device cannot be drained then. The
 * program must not use the memory again, so that nobody can tell; the free is made at the next
 * chance.
 */
#define DEFERRED_MAX 64u
static pthread_mutex_t deferred_mutex = PTHREAD_MUTEX_INITIALIZER;
static CUdeviceptr deferred[DEFERRED_MAX]; /* guarded by deferred_mutex */
static _Atomic uint32_t n_deferred; /* written under deferred_mutex; atomic: relaxed, a hint */

static bool defer(CUdeviceptr base)
{
	bool kept = false;
	uint32_t n;

	pthread_mutex_lock(&deferred_mutex);
	n = atomic_load_explicit(&n_deferred, memory_order_relaxed);
	if (n < DEFERRED_MAX) {
		deferred[n] = base;
		atomic_store_explicit(&n_deferred, n + 1, memory_order_relaxed);
		kept = true;
	}
	pthread_mutex_unlock(&deferred_mutex);
	return kept;
}

/* As kv_reservation_free(), and forgets the origin. */
static int give_back(CUdeviceptr base)
{
	int err;

	kv_thread.depth++;
	err = kv_reservation_free(kv_hooks.core, base);
	kv_thread.depth--;
	if (err != -EBUSY && err != -ENOENT)
		kv_origin_remove(base);
	return err;
}

void kv_free_deferred(void)
{
	CUdeviceptr bases[DEFERRED_MAX];
	uint32_t n;

	if (kv_likely(!atomic_load_explicit(&n_deferred, memory_order_relaxed)) ||
		atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		return;
	pthread_mutex_lock(&deferred_mutex);
	n = atomic_load_explicit(&n_deferred, memory_order_relaxed);
	memcpy(bases, deferred, n * sizeof(*bases));
	atomic_store_explicit(&n_deferred, 0, memory_order_relaxed);
	pthread_mutex_unlock(&deferred_mutex);
	for (uint32_t i = 0; i < n; i++) {
		if (give_back(bases[i]) == -EBUSY)
			defer(bases[i]);
	}
}

/* Frees the reservation at addr. False: it is none, or addr is not its base: the driver's turn. */
static bool free_reservation(CUdeviceptr addr, CUresult *ret_result)
{
	struct kv_reservation *r = kv_hooks_find(addr);
	struct kv_space *space;
	uint64_t size;
	int err;

	if (!r || kv_reservation_base(r) != addr)
		return false;
	size = kv_reservation_requested(r);
	space = kv_reservation_space(r);
	if (kv_hooks.config.rules)
		kv_planes_forget(addr, size);
	err = give_back(addr);
	if (err == -ENOENT)
		return false; /* another thread was faster: the driver knows no such address either
			       */
	if (err == -EBUSY && !defer(addr))
		kv_hooks_log(1, "alloc", "too many frees during a capture: 0x%llx stays reserved",
			(unsigned long long)addr);
	else if (err < 0 && err != -EBUSY)
		kv_hooks_log(1, "alloc", "0x%llx was freed, but not all of it came back (error %d)",
			(unsigned long long)addr, -err);
	kv_history_free(size);
	/* The device was idle just now, so that this is the time to look at what transient kernels
	 * have left behind. Refused beside a capture; the next free tries again. */
	if (err != -EBUSY) {
		kv_thread.depth++;
		kv_reap(space, NULL);
		kv_thread.depth--;
	}
	*ret_result = CUDA_SUCCESS;
	return true;
}

CUresult kv_free(PFN_cuMemFree_v3020 real, CUdeviceptr addr)
{
	struct kv_native_gone device, managed;
	CUresult res;

	if (!addr || !is_program())
		return real(addr);
	kv_free_deferred();
	if (free_reservation(addr, &res))
		return res;
	device = kv_native_forget(KV_TRACK_NATIVE, addr);
	managed = kv_native_forget(KV_TRACK_MANAGED, addr);
	res = real(addr);
	kv_native_freed(res, &device);
	return kv_native_freed(res, &managed);
}

CUresult kv_free_async(
	PFN_cuMemFreeAsync_v11020 real, bool per_thread, CUdeviceptr addr, CUstream stream)
{
	struct kv_native_gone gone;
	CUresult res;

	if (!addr || !is_program())
		return real(addr, stream);
	/* In a capture this makes a node that frees memory of the graph; what is not the graph's,
	 * the driver refuses, and so it does a reservation. */
	if (kv_stream_captures(stream, per_thread))
		return real(addr, stream);
	kv_free_deferred();
	if (kv_hooks_find(addr)) {
		res = kv_stream_verdict(stream, per_thread);
		if (res != CUDA_SUCCESS)
			return res;
		/* Draining the device is more than the order that the stream asks for. */
		if (free_reservation(addr, &res))
			return res;
	}
	gone = kv_native_forget(KV_TRACK_NATIVE, addr);
	return kv_native_freed(real(addr, stream), &gone);
}
