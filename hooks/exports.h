/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports.h - the prototypes of the entry points that we export, made from hooks.def.
 *
 * A file with bodies includes this (real.h does) and defines each function under libcuda's own
 * name; the visibility comes from here. That a type fits the name is checked against the prototypes
 * of cuda.h at the same time.
 */
#ifndef KV_HOOKS_EXPORTS_H
#define KV_HOOKS_EXPORTS_H

#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>

#define KV_EXPORT __attribute__((visibility("default")))

/* clang-format off */
#define KV_HOOK(symbol, base, pfn, group, sentence) KV_EXPORT __typeof__(*(pfn)0) symbol;
#define KV_REFUSE(symbol, base, pfn, group, sentence) KV_HOOK(symbol, base, pfn, group, sentence)
#define KV_NEED(symbol, base, pfn, sentence)
#define KV_PASS(symbol, sentence)
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
#undef KV_NEED
#undef KV_PASS
/* clang-format on */

#endif
