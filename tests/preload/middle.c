/* SPDX-License-Identifier: Apache-2.0 */
/*
 * middle.c - libraries that stand before (-DPLACE=1) and after (-DPLACE=2) each other in the
 * loader's order, both with a function test_place(); each can ask for the next one. Compiled
 * without tail calls: who asks is the library, not its caller.
 */
#include <dlfcn.h>

#include "lookup.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int test_place(void)
{
	return PLACE;
}

#if PLACE == 1
/* Looks behind this library. */
EXPORT void *before_next(const char *symbol)
{
	return dlsym(RTLD_NEXT, symbol);
}

EXPORT void *before_default(const char *symbol)
{
	return dlsym(RTLD_DEFAULT, symbol);
}
#else
EXPORT void *after_next(const char *symbol)
{
	return dlsym(RTLD_NEXT, symbol);
}
#endif
