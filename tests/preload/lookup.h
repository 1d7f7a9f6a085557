/* SPDX-License-Identifier: Apache-2.0 */
/* lookup.h - what the helper libraries of lookup.c offer. */
#ifndef TEST_LOOKUP_H
#define TEST_LOOKUP_H

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

/* middle.c */
int test_place(void);
void *before_next(const char *symbol);
void *before_default(const char *symbol);
void *after_next(const char *symbol);

/* hooker.c: how often its dlsym was asked for a name that begins with "cu" and an upper-case letter
 */
int hooker_calls(void);

/* deep.c: what its import slots lead to, by call and by address */
CUresult deep_init(unsigned int flags);
CUresult deep_alloc(CUdeviceptr *ret_pointer, size_t bytes);
void *deep_alloc_address(void);
void *deep_default(const char *symbol);

#endif
