/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deep.c - a library linked with libcuda.so.1 that is loaded with RTLD_DEEPBIND: its import slots
 * lead to libcuda itself, past every preload. The pointer lies in read-only memory after
 * relocation.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "lookup.h"

#define EXPORT __attribute__((visibility("default")))

static CUresult (*const alloc)(CUdeviceptr *, size_t) = cuMemAlloc_v2;

EXPORT CUresult deep_init(unsigned int flags)
{
	return cuInit(flags);
}

EXPORT CUresult deep_alloc(CUdeviceptr *ret_pointer, size_t bytes)
{
	return cuMemAlloc_v2(ret_pointer, bytes);
}

EXPORT void *deep_alloc_address(void)
{
	return *(void *const volatile *)&alloc;
}

EXPORT void *deep_default(const char *symbol)
{
	return dlsym(RTLD_DEFAULT, symbol);
}

/* A library may initialise the driver while the loader has its lock. */
__attribute__((constructor)) static void initialise(void)
{
	if (getenv("DEEP_INIT"))
		cuInit(0);
}
