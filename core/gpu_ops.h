/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_ops.h - the machine behind core: one table of functions and the clock.
 *
 * Core knows no CUDA type. Everything it does to a device goes through this table, one instance per
 * device; hooks/gpu_cuda.c implements it over the real driver, tests/unit/fake_gpu.c in memory.
 *
 * Contract of every function: returns 0 or a negative errno; a ret_ parameter is written only on
 * success; a failed call has changed nothing. Any thread may call; core holds none of its locks
 * during a call except the mutex of the one reservation whose pages are being changed. No call
 * may be made from the application's stream or disturb a stream capture: the implementation works
 * on a non-blocking stream of its own, in relaxed capture mode.
 *
 *   -ENOMEM     no device (or host) memory
 *   -ENODEV     the context is gone or the device is lost; nothing will ever work again
 *   -EOPNOTSUPP the device cannot do this (host-located handles, for one)
 *   -EINVAL     the call breaks a rule of the driver: a bug of ours
 *   -EIO        any other driver error
 */
#ifndef KV_CORE_GPU_OPS_H
#define KV_CORE_GPU_OPS_H

#include <stdint.h>

typedef uint64_t kv_gpu_addr;   /* a device virtual address */
typedef uint64_t kv_gpu_handle; /* physical memory, 0 is no handle */

enum kv_gpu_location {
	KV_GPU_DEVICE, /* memory of this device */
	KV_GPU_HOST,   /* host memory that the device reads in place (SPILLED pages) */
};

struct kv_gpu_ops {
	/* Monotonic time in nanoseconds. Never fails. */
	uint64_t (*now_ns)(void *gpu);
	/* Free and total physical bytes of the device, as the driver reports them. */
	int (*memory_info)(void *gpu, uint64_t *ret_free, uint64_t *ret_total);

	/* Address ranges. size and align are multiples of the granularity given to kv_space_new().
	 */
	int (*range_reserve)(void *gpu, uint64_t size, uint64_t align, kv_gpu_addr *ret_addr);
	int (*range_free)(void *gpu, kv_gpu_addr addr, uint64_t size);

	/* Physical memory. Its content is undefined after create. */
	int (*handle_create)(
		void *gpu, uint64_t size, enum kv_gpu_location where, kv_gpu_handle *ret_handle);
	int (*handle_release)(void *gpu, kv_gpu_handle handle);

	/* map: the whole handle at addr, which must be unmapped; no access until set_access, which
	 * may span many mappings without a hole. unmap: one or several whole mappings, no hole. */
	int (*map)(void *gpu, kv_gpu_addr addr, uint64_t size, kv_gpu_handle handle);
	int (*unmap)(void *gpu, kv_gpu_addr addr, uint64_t size);
	int (*set_access)(void *gpu, kv_gpu_addr addr, uint64_t size);

	/* Queued on the implementation's own stream, in order; flush waits for all of them.
	 * copy_out and copy_in work on host memory from host_alloc. */
	int (*zero)(void *gpu, kv_gpu_addr addr, uint64_t size);
	int (*copy_out)(void *gpu, void *host, kv_gpu_addr addr, uint64_t size);
	int (*copy_in)(void *gpu, kv_gpu_addr addr, const void *host, uint64_t size);
	int (*flush)(void *gpu);

	/* Pinned host memory. */
	int (*host_alloc)(void *gpu, uint64_t size, void **ret_host);
	int (*host_free)(void *gpu, void *host);

	/*
	 * Hints, may both be NULL: the calls between them come from this thread and are about one
	 * space, so that what each of them needs (a context, a capture mode) may be set up once.
	 * They nest. No driver call need be made if no other function is called between them.
	 */
	void (*batch_begin)(void *gpu);
	void (*batch_end)(void *gpu);

	/*
	 * Waits until all work that this process has submitted to the device is complete. Polls,
	 * never blocks in the driver. -ETIMEDOUT when timeout_ns have passed, -EBUSY at once while
	 * a stream capture is open. Called with the gate closed.
	 */
	int (*drain)(void *gpu, uint64_t timeout_ns);
};

#endif
