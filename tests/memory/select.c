/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.c - which allocations become reservations, by each option, with real libraries and
 * functions on the stack: also through a runtime library between them and the driver.
 *
 * Runs itself, once per row of the table; a run's exit status says what was reserved, bit by bit.
 */
#include "tests/memory/check.h"
#include "tests/memory/rerun.h"

/* maker.c, twice. */
CUresult llama_kv_cache_make(CUdeviceptr *addr, size_t size);
int llama_kv_cache_make_by(int (*malloc_fn)(void **, size_t), void **addr, size_t size);
CUresult workspace_make(CUdeviceptr *addr, size_t size);

enum {
	CACHE = 1,     /* 8 MiB by libkvmaker.so, llama_kv_cache_make() */
	WORKSPACE = 2, /* 8 MiB by libkvother.so, workspace_make() */
	PROGRAM = 4,   /* 8 MiB by the program itself */
	RUNTIME = 8,   /* 8 MiB by libkvmaker.so through the runtime */
	SMALL = 16,    /* 1 MiB by libkvmaker.so */
	LARGE = 32,    /* 100 MiB by libkvmaker.so */
	NOTHING = 64,  /* a run that could not be made says so by this bit */
};

static const struct {
	const char *option, *value;
	int reserved;
	const char *sentence;
} rows[] = {
	{"KVSHIM_INCLUDE_CALLERS", "", CACHE | WORKSPACE | PROGRAM | RUNTIME | LARGE,
		"without options all above the floor is reserved"},
	{"KVSHIM_INCLUDE_CALLERS", "nobody*,libkvmaker*", CACHE | RUNTIME | LARGE,
		"a caller that is listed, also through the runtime"},
	{"KVSHIM_INCLUDE_CALLERS", "libcudart*", RUNTIME, "the runtime is a caller, too"},
	{"KVSHIM_INCLUDE_CALLERS", "libkvshim*", 0, "the shim itself is no caller"},
	{"KVSHIM_EXCLUDE_CALLERS", "libkvmaker.so", WORKSPACE | PROGRAM, "a caller that is not"},
	{"KVSHIM_INCLUDE_SYMBOLS", "*_kv_cache_*", CACHE | RUNTIME | LARGE,
		"a function that is listed"},
	{"KVSHIM_EXCLUDE_SYMBOLS", "workspace_mak?", CACHE | PROGRAM | RUNTIME | LARGE,
		"a function that is not"},
	{"KVSHIM_INCLUDE_SIZES", "512K-1M", CACHE | WORKSPACE | PROGRAM | RUNTIME | SMALL | LARGE,
		"a size below the floor"},
	{"KVSHIM_EXCLUDE_SIZES", "8M", LARGE, "a size that is not"},
	{"KVSHIM_MIN_SCORE", "2", CACHE | RUNTIME | LARGE,
		"what is made by the maker of a cache scores higher"},
	{"KVSHIM_MIN_SCORE", "10", LARGE, "and higher still if it is large"},
};

/* *addr is read after the call that filled it in. */
static int bit(CUresult res, const CUdeviceptr *addr, int value)
{
	struct kv_reservation_stats row;

	if (res != CUDA_SUCCESS)
		return NOTHING;
	return state_reservation(*addr, &row) ? value : 0;
}

static int run(void)
{
	int (*malloc_fn)(void **, size_t);
	CUdeviceptr addr[6] = {0};
	int reserved = 0;
	CUdevice device;
	void *runtime;

	start();
	runtime = dlopen("libcudart.so.13", RTLD_NOW);
	malloc_fn = runtime ? (int (*)(void **, size_t))dlsym(runtime, "cudaMalloc") : NULL;
	if (!malloc_fn)
		return NOTHING;
	reserved |= bit(llama_kv_cache_make(&addr[0], 8 * MIB), &addr[0], CACHE);
	reserved |= bit(workspace_make(&addr[1], 8 * MIB), &addr[1], WORKSPACE);
	reserved |= bit(cuMemAlloc(&addr[2], 8 * MIB), &addr[2], PROGRAM);
	reserved |=
		bit((CUresult)llama_kv_cache_make_by(malloc_fn, (void **)(void *)&addr[3], 8 * MIB),
			&addr[3], RUNTIME);
	reserved |= bit(llama_kv_cache_make(&addr[4], MIB), &addr[4], SMALL);
	reserved |= bit(llama_kv_cache_make(&addr[5], 100 * MIB), &addr[5], LARGE);
	for (int i = 0; i < 6; i++)
		cuMemFree(addr[i]);
	cuDeviceGet(&device, 0);
	cuDevicePrimaryCtxRelease(device);
	return reserved;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "run"))
		return run();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int got;

		setenv(rows[i].option, rows[i].value, 1);
		got = rerun(argv[0], "row");
		unsetenv(rows[i].option);
		if (got != rows[i].reserved)
			failures++;
		printf("%s: %s (%s=%s: %d, expected %d)\n",
			got == rows[i].reserved ? "ok" : "not ok", rows[i].sentence, rows[i].option,
			rows[i].value, got, rows[i].reserved);
	}
	return failures != 0;
}
