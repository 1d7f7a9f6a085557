/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real.h - the driver's own entry points, by the name that libcuda exports.
 *
 * Resolved once from libcuda's own handle by kv_real_load(); immutable after that. Where the
 * installed driver is too old to have it, a KV_NEED pointer is NULL (ask before calling) and a
 * hooked one is a function that returns CUDA_ERROR_NOT_FOUND (a wrapper may call it unasked); as
 * long as there is no driver at all, CUDA_ERROR_NO_DEVICE.
 */
#ifndef KV_HOOKS_REAL_H
#define KV_HOOKS_REAL_H

#include "hooks/exports.h"

struct kv_real {
#define KV_HOOK(symbol, base, pfn, group, sentence) pfn symbol;
#define KV_REFUSE(symbol, base, pfn, group, sentence) pfn symbol;
#define KV_NEED(symbol, base, pfn, sentence) pfn symbol;
#define KV_PASS(symbol, sentence)
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
#undef KV_NEED
#undef KV_PASS
};

extern struct kv_real kv_real __attribute__((visibility("hidden")));

/*
 * Finds libcuda (already loaded, else by the loader's own search) and fills kv_real. Idempotent,
 * thread-safe. 0, or -ENOENT: there is no libcuda.so.1 on this machine.
 */
int kv_real_load(void);

#endif
