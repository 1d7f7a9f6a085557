/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - what launches, and data that is sent to the device, point at.
 */
#ifndef KV_HOOKS_LAUNCH_H
#define KV_HOOKS_LAUNCH_H

#include "hooks/kernel.h"
#include "hooks/submit.h"

/*
 * [inside] Scans a parameter block (kernelParams or extra, as in cuLaunchKernel) by layout, and
 * touches or leaks what it points at. captured: the launch goes into a graph: everything it points
 * at leaks. 0 or a negative errno.
 */
int kv_launch_scan(const struct kv_kernel *kernel, void **params, void **extra, bool captured);
/* [inside] The same for one word of a parameter. */
int kv_launch_word(const struct kv_kernel *kernel, const struct kv_kernel_word *w, uint64_t word,
	bool captured);
/* The packed block behind `extra`, NULL if there is none. *ret_size: UINT32_MAX if it is not given.
 */
const unsigned char *kv_launch_block(void **extra, uint32_t *ret_size);

/*
 * Work that becomes part of a graph reads host memory at each launch: whatever addresses it holds
 * then may be followed. Every reservation leaks, now and at each later launch of any graph. by: the
 * kernel or entry point, for the log.
 */
void kv_graph_reads_host(const char *by);
/* A graph is about to be launched. Nothing, unless kv_graph_reads_host() was called before. */
void kv_graph_launching(const char *by);

/*
 * [inside] Searches length bytes of host memory for words that point into reservations, which leak
 * (P7, uploads). Uploads above config.scan_bytes are not searched. by: the entry point, for the
 * log.
 */
void kv_upload_scan(const void *host, uint64_t length, const char *by);
/* The same, and calls found for each word (with no lock held) instead of leaking. */
void kv_upload_find(const void *host, uint64_t length,
	void (*found)(void *ctx, struct kv_reservation *r), void *ctx);

/* What is captured is read from the graph when it is instantiated (graph_exec.h); without kernel
 * rules, what it names leaks when it is captured. */
static inline bool kv_graphs_are_read(void)
{
	return kv_hooks.config.rules;
}

#endif
