/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.h - between real.c, lookup.c and slots.c: what the driver's pointers are and what stands
 * for them.
 */
#ifndef KV_HOOKS_LOOKUP_H
#define KV_HOOKS_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

typedef void *(*kv_dlsym_fn)(void *handle, const char *symbol);
typedef void *(*kv_dlvsym_fn)(void *handle, const char *symbol, const char *version);

/* libc's own, whoever stands before it. NULL only if the C library is not one that we know. */
kv_dlsym_fn kv_libc_dlsym(void);
kv_dlvsym_fn kv_libc_dlvsym(void);

/*
 * kv_real_load(), but never brings libcuda into the process: what a look-up may use. 0 or -ENOENT.
 */
int kv_real_load_if_present(void);

/*
 * Our wrapper if pointer is the driver's own entry point of a hooked name, else pointer itself.
 * Before the driver's pointers are known nothing is ours. Lock-free.
 */
void *kv_route(void *pointer);

/* Whether name is a row that has a wrapper, and which. */
bool kv_hooked_name(const char *name, void **ret_wrapper);

/* Whether address lies in libcuda. False before its pointers are known. */
bool kv_real_contains(const void *address);

#endif
