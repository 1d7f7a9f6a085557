/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.c - symbol look-ups in company: other libraries, other hookers, odd names, no driver at
 * all.
 *
 * usage: lookup CASE [ARGUMENT...]; see the table at the end.
 */
#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lookup.h"
#include "truth.h"

#define BIG_BYTES (8u << 20)

/* Bound only where a preload or the program itself brings them. */
__attribute__((weak)) int hooker_calls(void);
__attribute__((weak)) void *before_next(const char *symbol);
__attribute__((weak)) void *before_default(const char *symbol);
__attribute__((weak)) void *after_next(const char *symbol);

static int n_failed;

static bool check(bool ok, int line, const char *what)
{
	if (!ok) {
		printf("FAILED: lookup.c:%d: %s\n", line, what);
		n_failed++;
	}
	return ok;
}
#define CHECK(condition) check(condition, __LINE__, #condition)

static void *open_driver(const char *name)
{
	void *libcuda = dlopen(name, RTLD_NOW);

	if (!libcuda) {
		printf("FAILED: %s: %s\n", name, dlerror());
		exit(1);
	}
	return libcuda;
}

/* Every hooked name, and some that are not ours, through one handle. */
static void check_handle(void *handle)
{
	CHECK(dlsym(handle, "cuMemAlloc_v2") == truth_shim("cuMemAlloc_v2"));
	CHECK(dlsym(handle, "cuLaunchKernel_ptsz") == truth_shim("cuLaunchKernel_ptsz"));
	CHECK(dlsym(handle, "cuGetProcAddress_v2") == truth_shim("cuGetProcAddress_v2"));
	CHECK(dlsym(handle, "cuDriverGetVersion") == truth_driver("cuDriverGetVersion"));
	CHECK(dlsym(handle, "cuDriverGetVersion") != NULL);
	dlerror();
	CHECK(dlsym(handle, "cuNoSuchEntry") == NULL);
	CHECK(dlerror() != NULL);
	/* An object that has versions of anything has none of these. */
	CHECK(dlvsym(handle, "cuMemAlloc_v2", "ANY") == NULL);
}

/* ---- cases ---- */

static void by_name(int argc, char **argv)
{
	CHECK(argc > 0);
	for (int i = 0; i < argc; i++)
		check_handle(open_driver(argv[i]));
}

/* What the loader itself would say is what comes back. */
static void other_names(int argc, char **argv)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	CHECK(libc && dlsym(libc, "malloc") == truth_object("libc.so.6", "malloc"));
	CHECK(dlsym(libc, "cuMemAlloc_v2") == NULL);
	CHECK(dlvsym(libc, "malloc", "GLIBC_2.2.5") == truth_object("libc.so.6", "malloc"));
	CHECK(dlvsym(libc, "malloc", "NO_SUCH_VERSION") == NULL);
	CHECK(dlsym(RTLD_DEFAULT, "cublasCreate_v2") == NULL);
	CHECK(dlsym(RTLD_DEFAULT, "dlsym") == truth_shim("dlsym"));
	CHECK(dlvsym(RTLD_DEFAULT, "dlsym", "GLIBC_2.2.5") != NULL);
}

/* Our exports are in the process, but there is no driver: nobody may be told that there is. */
static void no_driver(int argc, char **argv)
{
	void *self = dlopen(NULL, RTLD_NOW);

	CHECK(dlopen("libcuda.so.1", RTLD_NOW) == NULL);
	for (int again = 0; again < 2; again++) {
		dlerror();
		CHECK(dlsym(RTLD_DEFAULT, "cuInit") == NULL);
		CHECK(dlerror() != NULL);
		CHECK(dlsym(RTLD_NEXT, "cuInit") == NULL);
		CHECK(dlerror() != NULL);
		CHECK(dlsym(self, "cuMemAlloc_v2") == NULL);
		CHECK(dlvsym(RTLD_DEFAULT, "cuInit", "KVSHIM_1") == NULL);
		CHECK(before_default("cuInit") == NULL);
		CHECK(before_next("cuInit") == NULL);
		CHECK(after_next("cuInit") == NULL);
	}
	/* Our own handle is a different matter: who asks for it wants us. */
	CHECK(dlsym(dlopen("libkvshim.so", RTLD_NOW | RTLD_NOLOAD), "cuInit") ==
		truth_shim("cuInit"));
	CHECK(((CUresult(*)(unsigned int))truth_shim("cuInit"))(0) != CUDA_SUCCESS);
}

/* libcuda is open, but not in anybody's scope: only its handle has its names. */
static void local_driver(int argc, char **argv)
{
	void *libcuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

	CHECK(libcuda != NULL);
	check_handle(libcuda);
	CHECK(dlsym(RTLD_DEFAULT, "cuInit") == NULL);
	CHECK(dlsym(RTLD_NEXT, "cuInit") == NULL);
}

/* A library opened locally is linked with libcuda: it sees the driver, the program does not. */
static void local_library(int argc, char **argv)
{
	void *library = dlopen(argv[0], RTLD_NOW | RTLD_LOCAL);
	void *(*ask)(const char *);

	CHECK(library != NULL);
	ask = (void *(*)(const char *))dlsym(library, "deep_default");
	CHECK(ask("cuMemAlloc_v2") == truth_shim("cuMemAlloc_v2"));
	CHECK(ask("cuDriverGetVersion") == truth_driver("cuDriverGetVersion"));
	CHECK(dlsym(library, "cuMemAlloc_v2") == truth_shim("cuMemAlloc_v2"));
	CHECK(dlsym(RTLD_DEFAULT, "cuMemAlloc_v2") == NULL);
	CHECK(dlsym(dlopen(NULL, RTLD_NOW), "cuMemAlloc_v2") == NULL);
}

static void global_driver(int argc, char **argv)
{
	CHECK(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != NULL);
	CHECK(dlsym(RTLD_DEFAULT, "cuInit") == truth_shim("cuInit"));
	CHECK(dlsym(RTLD_NEXT, "cuInit") == truth_shim("cuInit"));
	CHECK(dlsym(dlopen(NULL, RTLD_NOW), "cuInit") == truth_shim("cuInit"));
	CHECK(dlsym(RTLD_DEFAULT, "cuDriverGetVersion") == truth_driver("cuDriverGetVersion"));
}

/* Two preloaded libraries, one before the shim and one after it: RTLD_NEXT depends on who asks. */
static void next(int argc, char **argv)
{
	for (int again = 0; again < 3; again++) {
		int (*place)(void) = (int (*)(void))dlsym(RTLD_NEXT, "test_place");

		CHECK(place && place() == 1);
		place = (int (*)(void))before_next("test_place");
		CHECK(place && place() == 2);
		CHECK(after_next("test_place") == NULL);
	}
	CHECK(after_next("cuMemAlloc_v2") == NULL); /* no driver yet */
	CHECK(dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != NULL);
	for (int again = 0; again < 3; again++) {
		CHECK(dlsym(RTLD_NEXT, "cuMemAlloc_v2") == truth_shim("cuMemAlloc_v2"));
		CHECK(before_next("cuMemAlloc_v2") == truth_shim("cuMemAlloc_v2"));
		CHECK(after_next("cuMemAlloc_v2") == truth_shim("cuMemAlloc_v2"));
		CHECK(before_next("cuDriverGetVersion") == truth_driver("cuDriverGetVersion"));
		CHECK(after_next("cuDriverGetVersion") == truth_driver("cuDriverGetVersion"));
		CHECK(after_next("cuNoSuchEntry") == NULL);
	}
}

/* Another hooker is preloaded as well: both see every look-up, and the answer is ours. */
static void hooker(int argc, char **argv)
{
	void *libcuda = open_driver("libcuda.so.1");
	int before = hooker_calls();

	CHECK(dlsym(libcuda, "cuMemAlloc_v2") == truth_shim("cuMemAlloc_v2"));
	CHECK(hooker_calls() > before);
	before = hooker_calls();
	CHECK(dlsym(libcuda, "cuDriverGetVersion") == truth_driver("cuDriverGetVersion"));
	CHECK(hooker_calls() > before);
	CHECK(dlsym(libcuda, "cuNoSuchEntry") == NULL);
}

/* A library whose import slots lead past us, loaded before the set-up (argv[1] "before") or after
 * it. */
static void deep_bind(int argc, char **argv)
{
	bool before = argc > 1 && !strcmp(argv[1], "before");
	CUresult (*init)(unsigned int), (*alloc)(CUdeviceptr *, size_t);
	PFN_cuMemGetInfo_v3020 info = NULL;
	PFN_cuCtxCreate_v3020 create;
	void *libcuda = open_driver("libcuda.so.1"), *deep = NULL;
	void *(*address)(void);
	size_t first = 0, second = 1, total;
	CUcontext context = NULL;
	CUdeviceptr pointer = 0;

	if (before) {
		deep = dlopen(argv[0], RTLD_LAZY | RTLD_DEEPBIND);
		address = (void *(*)(void))dlsym(deep, "deep_alloc_address");
		CHECK(address() == truth_driver("cuMemAlloc_v2")); /* else this tests nothing */
	}
	init = (CUresult(*)(unsigned int))dlsym(libcuda, "cuInit");
	create = (PFN_cuCtxCreate_v3020)dlsym(libcuda, "cuCtxCreate_v2");
	CHECK(init(0) == CUDA_SUCCESS);
	if (!before)
		deep = dlopen(argv[0], RTLD_LAZY | RTLD_DEEPBIND);
	CHECK(deep && create(&context, 0, 0) == CUDA_SUCCESS);
	address = (void *(*)(void))dlsym(deep, "deep_alloc_address");
	alloc = (CUresult(*)(CUdeviceptr *, size_t))dlsym(deep, "deep_alloc");
	CHECK(address() == truth_shim("cuMemAlloc_v2"));
	info = (PFN_cuMemGetInfo_v3020)truth_driver("cuMemGetInfo_v2");
	CHECK(info(&first, &total) == CUDA_SUCCESS);
	CHECK(alloc(&pointer, BIG_BYTES) == CUDA_SUCCESS);
	CHECK(info(&second, &total) == CUDA_SUCCESS);
	CHECK(first - second < BIG_BYTES / 2); /* a reservation costs nothing by itself */
	CHECK(((PFN_cuMemFree_v3020)dlsym(libcuda, "cuMemFree_v2"))(pointer) == CUDA_SUCCESS);
	CHECK(((PFN_cuCtxDestroy_v4000)dlsym(libcuda, "cuCtxDestroy_v2"))(context) == CUDA_SUCCESS);
}

/* We were not preloaded but opened late: what the program was linked with before is turned to us.
 */
static void opened_late(int argc, char **argv)
{
	CUresult (*init)(unsigned int);
	void *(*address)(void);
	void *shim, *deep = dlopen(argv[0], RTLD_LAZY);

	CHECK(deep != NULL);
	address = (void *(*)(void))dlsym(deep, "deep_alloc_address");
	CHECK(address() == truth_driver("cuMemAlloc_v2"));
	shim = dlopen(argv[1], RTLD_NOW);
	CHECK(shim != NULL);
	init = (CUresult(*)(unsigned int))truth_shim("cuInit");
	CHECK(init(0) == CUDA_SUCCESS);
	CHECK(address() == truth_shim("cuMemAlloc_v2"));
}

/* Look-ups while other threads open and close libraries: nobody waits for anybody for ever. */
static void *open_and_close(void *path)
{
	for (int i = 0; i < 200; i++) {
		void *library = dlopen(path, RTLD_NOW);

		if (!library || dlclose(library) != 0)
			return (void *)1;
	}
	return NULL;
}

static void *look_up(void *libcuda)
{
	for (int i = 0; i < 2000; i++) {
		if (dlsym(libcuda, "cuMemAlloc_v2") != truth_shim("cuMemAlloc_v2"))
			return (void *)1;
	}
	return NULL;
}

static void concurrently(int argc, char **argv)
{
	pthread_t threads[4];
	void *libcuda = open_driver("libcuda.so.1"), *result;

	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, i < 2 ? open_and_close : look_up,
			      i < 2 ? argv[0] : libcuda) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], &result) == 0 && !result);
}

/* The first call of the driver comes out of a constructor and out of another thread at once:
 * neither waits for the other for ever. Each race in a process of its own. */
static void *open_once(void *path)
{
	return dlopen(path, RTLD_NOW) ? NULL : (void *)1;
}

static void race(char *path)
{
	void *libcuda = open_driver("libcuda.so.1"), *result;
	CUresult (*init)(unsigned int) = (CUresult(*)(unsigned int))dlsym(libcuda, "cuInit");
	pthread_t thread;

	alarm(30);
	CHECK(pthread_create(&thread, NULL, open_once, path) == 0);
	CHECK(init(0) == CUDA_SUCCESS);
	CHECK(pthread_join(thread, &result) == 0 && !result);
}

static void first_calls(int argc, char **argv)
{
	setenv("DEEP_INIT", "1", 1);
	for (int i = 0; i < 50; i++) {
		int status = -1;
		pid_t child = fork();

		if (child == 0) {
			race(argv[0]);
			_exit(n_failed != 0);
		}
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
}

static const struct {
	const char *name;
	void (*run)(int argc, char **argv);
} cases[] = {
	{"by_name", by_name},
	{"other_names", other_names},
	{"no_driver", no_driver},
	{"local_driver", local_driver},
	{"local_library", local_library},
	{"global_driver", global_driver},
	{"next", next},
	{"hooker", hooker},
	{"deep_bind", deep_bind},
	{"opened_late", opened_late},
	{"concurrently", concurrently},
	{"first_calls", first_calls},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		if (cases[i].run != opened_late)
			truth_require_shim();
		cases[i].run(argc - 2, argv + 2);
		return n_failed != 0;
	}
	fprintf(stderr, "usage: lookup CASE [ARGUMENT...]\n");
	return 2;
}
