/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlsym_old.c - calls the look-ups under the symbol version that libraries built before glibc 2.34
 * are bound to, as the toolkit's own are.
 */
#include <dlfcn.h>

#include "driver.h"

extern void *old_dlsym(void *handle, const char *symbol);
extern void *old_dlvsym(void *handle, const char *symbol, const char *version);
__asm__(".symver old_dlsym, dlsym@GLIBC_2.2.5");
__asm__(".symver old_dlvsym, dlvsym@GLIBC_2.2.5");

void *dlsym_old(void *handle, const char *symbol)
{
	return old_dlsym(handle, symbol);
}

void *dlvsym_old(void *handle, const char *symbol, const char *version)
{
	return old_dlvsym(handle, symbol, version);
}
