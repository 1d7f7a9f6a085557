/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linked.c - a library that is linked with libcuda.so.1.
 */
#include "driver.h"

/* clang-format off */
#define KV_HOOK(symbol, base, pfn, group, sentence) extern __typeof__(*(pfn)0) symbol;
#define KV_REFUSE(symbol, base, pfn, group, sentence) extern __typeof__(*(pfn)0) symbol;
#define KV_NEED(symbol, base, pfn, sentence) extern __typeof__(*(pfn)0) symbol;
#define KV_PASS(symbol, sentence)
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
#undef KV_NEED

__attribute__((visibility("default"))) void driver_fill_linked(struct driver *driver)
{
#define KV_HOOK(symbol, base, pfn, group, sentence) driver->symbol = symbol;
#define KV_REFUSE(symbol, base, pfn, group, sentence) driver->symbol = symbol;
#define KV_NEED(symbol, base, pfn, sentence) driver->symbol = symbol;
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
#undef KV_NEED
#undef KV_PASS
}
/* clang-format on */
