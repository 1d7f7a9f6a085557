/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spy.c - preloaded before the shim: sees each look-up that NVIDIA's runtime makes, and compares
 * the answer with what the driver says and the table of hooks wants.
 *
 * One line to stderr at exit: "spy: N look-ups, N wrappers, N wrong".
 */
#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "truth.h"

#define EXPORT __attribute__((visibility("default")))

typedef void *(*dlsym_fn)(void *handle, const char *symbol);

static int n_lookups, n_wrappers, n_wrong;
static PFN_cuGetProcAddress_v11030 next_v1;
static PFN_cuGetProcAddress_v12000 next_v2;

static void count(const char *name, void *got, void *driver)
{
	void *expected = truth_expected(driver);

	n_lookups++;
	n_wrappers += expected != driver;
	if (got != expected) {
		fprintf(stderr, "spy: %s is %p, expected %p\n", name, got, expected);
		n_wrong++;
	}
}

static CUresult spy_v1(const char *symbol, void **pfn, int version, cuuint64_t flags);
static CUresult spy_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status);

/* The runtime goes on with what this look-up answers: stay in its way. */
static void *stay(void *got)
{
	if (got && got == (void *)next_v1)
		return (void *)spy_v1;
	if (got && got == (void *)next_v2)
		return (void *)spy_v2;
	return got;
}

static CUresult spy_v1(const char *symbol, void **pfn, int version, cuuint64_t flags)
{
	PFN_cuGetProcAddress_v11030 real =
		(PFN_cuGetProcAddress_v11030)truth_driver("cuGetProcAddress");
	void *driver = NULL;
	CUresult result = next_v1(symbol, pfn, version, flags);

	if (real(symbol, &driver, version, flags) != result)
		n_wrong++;
	if (result == CUDA_SUCCESS) {
		count(symbol, *pfn, driver);
		*pfn = stay(*pfn);
	}
	return result;
}

static CUresult spy_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status)
{
	PFN_cuGetProcAddress_v12000 real =
		(PFN_cuGetProcAddress_v12000)truth_driver("cuGetProcAddress_v2");
	void *driver = NULL;
	CUresult result = next_v2(symbol, pfn, version, flags, status);

	if (real(symbol, &driver, version, flags, NULL) != result)
		n_wrong++;
	if (result == CUDA_SUCCESS) {
		count(symbol, *pfn, driver);
		*pfn = stay(*pfn);
	}
	return result;
}

static void *look_up(void *handle, const char *symbol)
{
	static dlsym_fn next;
	void *got;

	if (!next)
		next = (dlsym_fn)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	got = next(handle, symbol);
	if (!got || strncmp(symbol, "cu", 2) || symbol[2] < 'A' || symbol[2] > 'Z' ||
		handle == RTLD_NEXT)
		return got;
	count(symbol, got, truth_driver(symbol));
	next_v1 = (PFN_cuGetProcAddress_v11030)next(handle, "cuGetProcAddress");
	next_v2 = (PFN_cuGetProcAddress_v12000)next(handle, "cuGetProcAddress_v2");
	return stay(got);
}

EXPORT void *spy_dlsym_old(void *handle, const char *symbol);
EXPORT void *spy_dlsym_old(void *handle, const char *symbol)
{
	return look_up(handle, symbol);
}

EXPORT void *spy_dlsym(void *handle, const char *symbol);
EXPORT void *spy_dlsym(void *handle, const char *symbol)
{
	return look_up(handle, symbol);
}
__asm__(".symver spy_dlsym_old, dlsym@GLIBC_2.2.5");
__asm__(".symver spy_dlsym, dlsym@@GLIBC_2.34");

__attribute__((destructor)) static void report(void)
{
	fprintf(stderr, "spy: %d look-ups, %d wrappers, %d wrong\n", n_lookups, n_wrappers,
		n_wrong);
}
