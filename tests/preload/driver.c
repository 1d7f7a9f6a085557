/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c - gets every entry point by one way; see driver.h. */
#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "truth.h"

/* clang-format off */
const struct driver_row driver_rows[] = {
#define KV_HOOK(symbol, base, pfn, group, sentence) {#symbol, #base, #pfn, offsetof(struct driver, symbol), 1},
#define KV_REFUSE(symbol, base, pfn, group, sentence) {#symbol, #base, #pfn, offsetof(struct driver, symbol), 1},
#define KV_NEED(symbol, base, pfn, sentence) {#symbol, #base, #pfn, offsetof(struct driver, symbol), 0},
#define KV_PASS(symbol, sentence)
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
#undef KV_NEED
#undef KV_PASS
};
/* clang-format on */
const size_t driver_n_rows = sizeof(driver_rows) / sizeof(driver_rows[0]);

const char *const driver_way_names[DRIVER_WAYS] = {
	[DRIVER_LINKED] = "linked",
	[DRIVER_DLSYM] = "dlsym",
	[DRIVER_DLSYM_OLD] = "dlsym_old",
	[DRIVER_DLVSYM] = "dlvsym",
	[DRIVER_DLVSYM_OLD] = "dlvsym_old",
	[DRIVER_PROC_V1] = "proc_v1",
	[DRIVER_PROC_V2] = "proc_v2",
	[DRIVER_PROC_V2_FLAG_1] = "proc_v2_flag_1",
	[DRIVER_TRUTH] = "truth",
};

/* The version after which the toolkit named the type: the one in which this ABI appeared. */
static int version_of(const struct driver_row *row)
{
	const char *v = row->pfn;

	for (const char *next = v; (next = strstr(next, "_v")); next += 2)
		v = next + 2;
	return atoi(v);
}

static cuuint64_t flags_of(const struct driver_row *row, enum driver_way way)
{
	if (strstr(row->pfn, "_ptsz") || strstr(row->pfn, "_ptds"))
		return CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
	return way == DRIVER_PROC_V2_FLAG_1 ? CU_GET_PROC_ADDRESS_LEGACY_STREAM : 0;
}

static void *by_proc(void *libcuda, const struct driver_row *row, enum driver_way way)
{
	PFN_cuGetProcAddress_v11030 v1;
	PFN_cuGetProcAddress_v12000 v2;
	CUdriverProcAddressQueryResult status;
	void *pointer = NULL;
	CUresult result;

	if (way == DRIVER_PROC_V1) {
		v1 = (PFN_cuGetProcAddress_v11030)dlsym(libcuda, "cuGetProcAddress");
		result = v1(row->base, &pointer, version_of(row), flags_of(row, way));
	} else {
		v2 = (PFN_cuGetProcAddress_v12000)dlsym(libcuda, "cuGetProcAddress_v2");
		result = v2(row->base, &pointer, version_of(row), flags_of(row, way), &status);
	}
	return result == CUDA_SUCCESS ? pointer : NULL;
}

typedef void *(*dlsym_fn)(void *handle, const char *symbol);

static void *find(void *libcuda, const struct driver_row *row, enum driver_way way)
{
	switch (way) {
	case DRIVER_DLSYM:
		return dlsym(libcuda, row->symbol);
	case DRIVER_DLSYM_OLD:
		return dlsym_old(libcuda, row->symbol);
	case DRIVER_DLVSYM: /* libcuda's symbols have no versions; what hookers ask for is dlsym */
		return ((dlsym_fn)dlvsym(RTLD_DEFAULT, "dlsym", "GLIBC_2.34"))(
			libcuda, row->symbol);
	case DRIVER_DLVSYM_OLD:
		return ((dlsym_fn)dlvsym_old(RTLD_DEFAULT, "dlsym", "GLIBC_2.2.5"))(
			libcuda, row->symbol);
	case DRIVER_TRUTH:
		return truth_driver(row->symbol);
	default:
		return by_proc(libcuda, row, way);
	}
}

int driver_open(struct driver *driver, enum driver_way way)
{
	void *libcuda;

	memset(driver, 0, sizeof(*driver));
	if (way == DRIVER_LINKED) {
		driver_fill_linked(driver);
		return 0;
	}
	libcuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!libcuda) {
		printf("no libcuda.so.1: %s\n", dlerror());
		return -1;
	}
	for (size_t i = 0; i < driver_n_rows; i++) {
		void *found = find(libcuda, &driver_rows[i], way);

		memcpy((char *)driver + driver_rows[i].offset, &found, sizeof(found));
	}
	return 0;
}
