/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cubin.h - parameter layouts from machine code: the .nv.info section that the assembler writes for
 * each kernel of an ELF cubin, read with libelf.
 *
 * Stateless; any thread. The input is hostile: every length is checked before it is used.
 */
#ifndef KV_HOOKS_CUBIN_H
#define KV_HOOKS_CUBIN_H

#include <stddef.h>

#include "hooks/layout.h"

/*
 * The layout of one kernel (mangled name). On success the caller frees *ret_layout. -ENOENT: no
 * such kernel here. -EBADMSG: not an ELF file for GPUs, or damaged. -EOPNOTSUPP: damaged or newer
 * records of this kernel. -ENOMEM.
 */
int kv_cubin_layout(
	const void *elf, size_t size, const char *kernel, struct kv_layout **ret_layout);

/* Gives the name of every kernel to visit, until that returns non-zero; returns that, else 0.
 * -EBADMSG: as above. */
typedef int (*kv_kernel_visit)(void *ctx, const char *kernel, size_t length);
int kv_cubin_each(const void *elf, size_t size, kv_kernel_visit visit, void *ctx);

#endif
