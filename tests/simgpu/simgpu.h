/* SPDX-License-Identifier: Apache-2.0 */
// clang-format off
/*
 * simgpu.h - what the software GPU's libcuda.so.1 exports besides the driver API.
 *
 * For tests and for the runtime stand-ins; find the functions with dlsym, they are absent from a real driver.
 * All are harmless before cuInit. Any thread.
 *
 * SIMGPU_DEVICES=n           devices (1)
 * SIMGPU_MEMORY=bytes        of each; suffixes K, M, G, T (80G)
 * SIMGPU_CC=major.minor      compute capability (9.0)
 * SIMGPU_DRIVER_VERSION=n    what cuDriverGetVersion says; newer entry points are unknown to
 *                            cuGetProcAddress (13000)
 * SIMGPU_NO_PARAM_INFO=1     cuFuncGetParamInfo and cuKernelGetParamInfo are not supported (also below 12040)
 * SIMGPU_NO_VMM=1            no virtual memory management
 * SIMGPU_LOW_ADDRESSES=1     reservations at low addresses, where integers look like pointers
 * SIMGPU_ASYNC=1             all work runs in a thread per stream; else in the call, unless it has to wait
 *                            or is a host function
 * SIMGPU_BANDWIDTH=n         bytes per second of a copy (0: as fast as it goes)
 * SIMGPU_LATENCY_NS=n        of every call
 * SIMGPU_KERNEL_NS=n         of every kernel
 * SIMGPU_CALL_NS=name:n,...  of calls of that name, beside SIMGPU_LATENCY_NS
 * SIMGPU_FAIL=name:n[:code]  the n-th call of that exported name (0: every one) fails with code (2); a list; %n: every n-th.
 *                            SIMGPU_LOG tells each
 * SIMGPU_UNSAFE_VMM=1        VMM calls are refused during captures as allocations are
 * SIMGPU_MIRROR=1            ideal memory beside ranges that a manager reserves
 * SIMGPU_DROP=copies|sets    a manager's copies from the host, or its sets, are not done: what the
 *                            mirror must notice
 * SIMGPU_SHARED=path         table of device memory in use by all processes that name the same file
 * SIMGPU_REPORT=path         at exit one line of JSON is appended; %p in the path is the pid
 * SIMGPU_LOG=path            reports are appended there too
 * SIMGPU_STRICT_EXIT=1       exit status 97 after any violation, fault, mismatch or leak
 * SIMGPU_NO_LEAKS=1          memory left at exit is not reported
 *
 * A manager call is one made while the thread's capture mode is relaxed, or on a stream made like that.
 */
// clang-format on
#ifndef SIMGPU_H
#define SIMGPU_H

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Says what the program (not a manager below it) is about to ask for, in the order of the stream: a
 * set of n elements of 1, 2 or 4 bytes; a copy between any two addresses. Only ranges with an ideal
 * memory are concerned, and only streams that are not being captured. per_thread: stream 0 is the
 * per-thread one.
 */
void simgpu_program_set(CUdeviceptr dst, uint32_t value, uint32_t element, size_t n,
	CUstream stream, int per_thread);
void simgpu_program_copy(
	CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream, int per_thread);
/* After a copy to the host, in stream order: compares what arrived with the ideal memory of src. */
void simgpu_program_check(
	const void *host, CUdeviceptr src, size_t size, CUstream stream, int per_thread);

/* Reports so far: 0 violations, 1 faults, 2 mismatches, 3 leaks. */
uint64_t simgpu_report_count(int kind);
/* Forgets them: for tests that provoke what they count. */
void simgpu_report_clear(void);

#endif
