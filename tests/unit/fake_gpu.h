/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_gpu.h - gpu_ops in memory, stricter than any driver.
 *
 * Verifies the contract of gpu_ops.h and the rules that core must keep: map only over unmapped,
 * unmap whole mappings without holes, touch only what has access, nothing unmapped or freed while
 * an operation or a submission is under way, drain behind a closed gate, nothing released twice.
 * What is broken is counted and the first breach kept as text; nothing is thrown, so that a test
 * decides.
 *
 * zero and copies take effect at flush. Fresh handles are full of 0xA5. All calls but now_ns count,
 * and the n-th can be made to fail. Thread-safe.
 */
#ifndef TESTS_UNIT_FAKE_GPU_H
#define TESTS_UNIT_FAKE_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "core/gate.h"
#include "core/gpu_ops.h"

enum fake_call {
	FAKE_MEMORY_INFO,
	FAKE_RANGE_RESERVE,
	FAKE_RANGE_FREE,
	FAKE_HANDLE_CREATE,
	FAKE_HANDLE_RELEASE,
	FAKE_MAP,
	FAKE_UNMAP,
	FAKE_SET_ACCESS,
	FAKE_ZERO,
	FAKE_COPY_OUT,
	FAKE_COPY_IN,
	FAKE_FLUSH,
	FAKE_HOST_ALLOC,
	FAKE_HOST_FREE,
	FAKE_DRAIN,
	FAKE_N_CALLS,
};

#define FAKE_POISON 0xA5

struct fake_gpu;

extern const struct kv_gpu_ops fake_gpu_ops;

/* content: false: memory is accounted, not allocated, and reads as zero. */
struct fake_gpu *fake_gpu_new(uint64_t granularity, uint64_t device_bytes, bool content);
/* Frees all. Returns the number of ranges, handles and host allocations that were left over. */
uint32_t fake_gpu_free(struct fake_gpu *gpu);
/* The gate that must be closed during drain and unmap. NULL: not checked. */
void fake_gpu_watch_gate(struct fake_gpu *gpu, const struct kv_gate *gate);

/* ---- switches ---- */

/* The n-th counted call from now on (1: the next) fails with error. 0: none. */
void fake_gpu_fail_nth(struct fake_gpu *gpu, uint64_t n, int error);
/* After that one has failed, the k-th call after it fails as well (once). */
void fake_gpu_fail_again(struct fake_gpu *gpu, uint64_t k);
/* Each of the next count calls of this kind fails with error. */
void fake_gpu_fail_kind(struct fake_gpu *gpu, enum fake_call kind, uint32_t count, int error);
/* True once the failure asked for by fail_nth has been delivered. ret_kind: which call met it. */
bool fake_gpu_has_failed(struct fake_gpu *gpu, enum fake_call *ret_kind);
/* Bit mask of the kinds that fail_nth and fail_again have made fail. */
uint32_t fake_gpu_failed_kinds(struct fake_gpu *gpu);
void fake_gpu_set_time(struct fake_gpu *gpu, uint64_t now_ns);
/* Device bytes taken by somebody else. */
void fake_gpu_set_foreign(struct fake_gpu *gpu, uint64_t bytes);
void fake_gpu_set_host_handles(struct fake_gpu *gpu, bool supported);
void fake_gpu_set_capture(struct fake_gpu *gpu, bool open);
/* The next n drains time out. */
void fake_gpu_set_busy(struct fake_gpu *gpu, uint32_t n_drains);

/* ---- what the application does ---- */

/* A kernel writes or reads [addr, addr+size): submitted work that is in flight until the next
 * drain. A breach if a byte is unmapped, without access, or being filled. */
void fake_gpu_write(struct fake_gpu *gpu, kv_gpu_addr addr, const void *data, uint64_t size);
void fake_gpu_read(struct fake_gpu *gpu, kv_gpu_addr addr, void *ret_data, uint64_t size);

/* ---- what has happened ---- */

uint64_t fake_gpu_calls(struct fake_gpu *gpu, enum fake_call kind);
uint64_t fake_gpu_all_calls(struct fake_gpu *gpu);
void fake_gpu_reset_calls(struct fake_gpu *gpu);
/* The kind of the n-th call (0: the first) since the reset, n below FAKE_ORDER_MAX; FAKE_N_CALLS:
 * there was none. */
#define FAKE_ORDER_MAX 256u
enum fake_call fake_gpu_call_at(struct fake_gpu *gpu, uint32_t n);
uint64_t fake_gpu_device_used(struct fake_gpu *gpu);
uint64_t fake_gpu_host_used(struct fake_gpu *gpu);
uint32_t fake_gpu_n_breaches(struct fake_gpu *gpu);
const char *fake_gpu_breach(struct fake_gpu *gpu);

#endif
