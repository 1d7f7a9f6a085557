/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ptx.h - parameter layouts from PTX text: the .param list of an .entry.
 *
 * Stateless; any thread. The input is hostile.
 */
#ifndef KV_HOOKS_PTX_H
#define KV_HOOKS_PTX_H

#include <stddef.h>

#include "hooks/layout.h"

/*
 * The layout of one kernel in size bytes of text (a terminating NUL ends it earlier). On success
 * the caller frees *ret_layout. -ENOENT: no such entry. -EBADMSG: its parameter list cannot be
 * read. -ENOMEM.
 */
int kv_ptx_layout(const char *text, size_t size, const char *kernel, struct kv_layout **ret_layout);

/* Gives the name of every .entry to visit (length bytes, not terminated), until that returns
 * non-zero; returns that, else 0. */
int kv_ptx_each(const char *text, size_t size,
	int (*visit)(void *ctx, const char *kernel, size_t length), void *ctx);

#endif
