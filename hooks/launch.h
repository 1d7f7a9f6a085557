/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - kernels: names, parameter layouts, and what their parameters point at.
 */
#ifndef KV_HOOKS_LAUNCH_H
#define KV_HOOKS_LAUNCH_H

#include "hooks/submit.h"

/* What is known about one function handle (CUfunction or CUkernel). Immutable once published. */
struct kv_kernel {
	const void *handle;
	const char *name;        /* mangled; "?" if the driver cannot tell */
	uint32_t n_params;
	uint32_t params_size;    /* bytes of the packed parameter block */
	const uint32_t *offsets; /* n_params, bytes */
	const uint32_t *sizes;   /* n_params, bytes */
	bool layout_known;       /* false: nothing can be proven about its launches */
	bool transient;          /* named by config.transient_kernels */
};

/*
 * [hot] The record of a function; made on first sight (asks the driver, or the cubin that it was loaded
 * from). Never NULL: on any failure the static record with layout_known false.
 */
const struct kv_kernel *kv_kernel_of(const void *function);

/* The function or its module is gone: its handle may be reused. */
void kv_kernel_forget_module(CUmodule module);
void kv_kernel_forget_library(CUlibrary library);

/*
 * [inside] Scans a parameter block (kernelParams or extra, as in cuLaunchKernel) by layout, and touches
 * or leaks what it points at. captured: the launch goes into a graph: everything it points at
 * leaks. 0 or a negative errno.
 */
int kv_launch_scan(const struct kv_kernel *kernel, void **params, void **extra, bool captured);

/*
 * [inside] Searches length bytes of host memory for words that point into reservations (P7, uploads), up to
 * config.scan_bytes. by: the entry point, for the log.
 */
void kv_upload_scan(const void *host, uint64_t length, const char *by);

#endif
