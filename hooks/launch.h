/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - kernels: names, parameter layouts, and what their parameters point at.
 */
#ifndef KV_HOOKS_LAUNCH_H
#define KV_HOOKS_LAUNCH_H

#include "hooks/submit.h"

/*
 * Eight bytes that may be an address: a parameter whose size is a multiple of eight has one such
 * word, or several if it is a struct by value.
 */
struct kv_kernel_word {
	uint32_t param; /* ordinal */
	uint32_t at;    /* bytes from the start of the parameter */
};

/* What is known about one function handle (CUfunction or CUkernel). Immutable, lives as long as the
 * process. */
struct kv_kernel {
	const void *handle;
	const char *name; /* mangled; "?" if the driver cannot tell */
	uint32_t n_params;
	uint32_t params_size;    /* bytes of the packed parameter block */
	const uint32_t *offsets; /* n_params, bytes */
	const uint32_t *sizes;   /* n_params, bytes */
	uint32_t n_words;
	const struct kv_kernel_word *words;
	bool layout_known; /* false: nothing can be proven about its launches */
	bool transient;    /* named by config.transient_kernels */
};

/*
 * [hot] The record of a function; made on first sight (asks the driver, or the image that it was
 * loaded from; between kv_own_begin/end, without a lock). Never NULL: on any failure a static
 * record with layout_known false.
 */
const struct kv_kernel *kv_kernel_of(const void *function);

/*
 * A module, a library or a context is about to go: its function handles may be reused. Forgets all
 * of them: finding out again costs a few driver calls each, a wrong record costs the guarantee.
 * Must be called before the driver call that frees the handles.
 */
void kv_kernel_forget(void);

/*
 * [inside] Scans a parameter block (kernelParams or extra, as in cuLaunchKernel) by layout, and
 * touches or leaks what it points at. captured: the launch goes into a graph: everything it points
 * at leaks. 0 or a negative errno.
 */
int kv_launch_scan(const struct kv_kernel *kernel, void **params, void **extra, bool captured);

/*
 * [inside] Searches length bytes of host memory for words that point into reservations, which leak
 * (P7, uploads). Uploads above config.scan_bytes are not searched. by: the entry point, for the
 * log.
 */
void kv_upload_scan(const void *host, uint64_t length, const char *by);

#endif
