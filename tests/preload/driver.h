/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the driver API as a program gets hold of it, by each way that there is.
 */
#ifndef TEST_DRIVER_H
#define TEST_DRIVER_H

#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <stddef.h>

/* Every entry point that the shim acts on or calls, under libcuda's name. NULL: that way leads
 * nowhere. */
struct driver {
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

struct driver_row {
	const char *symbol; /* as exported */
	const char *base;   /* as given to cuGetProcAddress */
	const char *pfn;    /* "PFN_cuMemAlloc_v3020" */
	size_t offset;      /* in struct driver */
	int hooked;         /* else only called by the shim */
};
extern const struct driver_row driver_rows[];
extern const size_t driver_n_rows;

enum driver_way {
	DRIVER_LINKED,         /* a library linked with libcuda.so.1 */
	DRIVER_DLSYM,          /* dlsym@GLIBC_2.34, from dlopen("libcuda.so.1") */
	DRIVER_DLSYM_OLD,      /* dlsym@GLIBC_2.2.5 */
	DRIVER_DLVSYM,         /* the dlsym that dlvsym@GLIBC_2.34 finds */
	DRIVER_DLVSYM_OLD,     /* the same, in the old versions */
	DRIVER_PROC_V1,        /* cuGetProcAddress, found by dlsym, flags 0 or 2 */
	DRIVER_PROC_V2,        /* cuGetProcAddress_v2, the same */
	DRIVER_PROC_V2_FLAG_1, /* the same, with flag 1 where it means no more than 0 */
	DRIVER_TRUTH,          /* past the shim: the driver's own symbol table */
	DRIVER_WAYS
};
extern const char *const driver_way_names[DRIVER_WAYS];

/* 0, or -1 after a line that says why. */
int driver_open(struct driver *driver, enum driver_way way);

static inline void *driver_at(const struct driver *driver, const struct driver_row *row)
{
	return *(void *const *)((const char *)driver + row->offset);
}

/* The old symbol versions of libc's look-ups (dlsym_old.c), and the linked library (linked.c). */
void *dlsym_old(void *handle, const char *symbol);
void *dlvsym_old(void *handle, const char *symbol, const char *version);
void driver_fill_linked(struct driver *driver);

#endif
