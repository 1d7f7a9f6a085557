/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooker.c - another preloaded library that overrides dlsym, as profilers and other shims do. With
 * symbol versions
 * (-DVERSIONED and hooker.map) or without. It counts and asks the next one.
 */
#include <dlfcn.h>

#include "lookup.h"

#define EXPORT __attribute__((visibility("default")))

typedef void *(*dlsym_fn)(void *handle, const char *symbol);

static int n_calls;

EXPORT int hooker_calls(void)
{
	return n_calls;
}

EXPORT void *dlsym(void *handle, const char *symbol)
{
	static dlsym_fn next;

	if (!next) /* as nvshare and others do it */
		next = (dlsym_fn)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	if (symbol[0] == 'c' && symbol[1] == 'u' && symbol[2] >= 'A' && symbol[2] <= 'Z')
		n_calls++;
	return next ? next(handle, symbol) : (void *)0;
}
