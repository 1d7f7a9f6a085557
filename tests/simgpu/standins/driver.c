/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.c - resolves the driver table of a stand-in.
 */
#include <dlfcn.h>
#include <pthread.h>

#include "driver.h"

#define INSUFFICIENT_DRIVER 35

static struct driver table;
static int error = INSUFFICIENT_DRIVER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool fetch(PFN_cuGetProcAddress_v12000 resolve, const char *name, int version, void *ret)
{
	void **slot = ret;

	*slot = NULL;
	return resolve(name, slot, version, 0, NULL) == CUDA_SUCCESS && *slot;
}

static void resolve_all(void)
{
	PFN_cuGetProcAddress_v12000 first, again;
	PFN_cuGetProcAddress_v11030 old;
	void *nothing, *library = dlopen("libcuda.so.1", RTLD_NOW);

	if (!library)
		return;
	*(void **)&first = dlsym(library, "cuGetProcAddress_v2");
	if (!first)
		return;
	fetch(first, "", 0, &nothing);
	if (!fetch(first, "cuInit", 2000, &table.cuInit) ||
		!fetch(first, "cuGetProcAddress", 11030, &old) ||
		!fetch(first, "cuGetProcAddress", 12000, &again))
		return;
#define X(name, version) \
	if (!fetch(again, #name, version, &table.name)) \
		return;
	DRIVER_ENTRIES(X)
#undef X
	*(void **)&table.note_set = dlsym(library, "simgpu_program_set");
	*(void **)&table.note_copy = dlsym(library, "simgpu_program_copy");
	*(void **)&table.note_check = dlsym(library, "simgpu_program_check");
	error = table.cuInit(0);
}

const struct driver *driver_get(int *ret_error)
{
	pthread_once(&once, resolve_all);
	*ret_error = error;
	return error ? NULL : &table;
}
