/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail.c - the n-th call of an entry point of the driver fails, for all entry points that the shim
 * itself calls and for n up to as often as they are called: the program sees success with the right
 * content, or from the very call lack of memory or the error that was injected; nothing is mapped
 * or freed that should not be, and nothing stays behind.
 *
 * Without arguments it runs itself: once to count calls, then once per failure. With "run" it is
 * what is run, with SIMGPU_FAIL in the environment and the injected code as its argument.
 */
#include "tests/memory/check.h"
#include "tests/memory/rerun.h"

extern const char micro_ptx[]; /* tests/micro/kernels.ptx */

/* ---- the scenario ---- */

#define RESERVED (10 * MIB)
#define NATIVE (3 * MIB) /* below the floor */

struct buffer {
	CUdeviceptr addr; /* 0: could not be allocated */
	size_t size;
	uint8_t *ideal;
	bool *unknown; /* per KiB: a call that was to write it has failed */
};

static int injected; /* CUresult */
static uint8_t *scratch;

/* An error must be the injected one, or lack of memory. */
static bool did(CUresult res, const char *text, int line)
{
	if (res == CUDA_SUCCESS)
		return true;
	if (res != (CUresult)injected && res != CUDA_ERROR_OUT_OF_MEMORY)
		check_result(res, injected, text, line);
	return false;
}
#define DID(call) did(call, #call, __LINE__)

static void buffer_new(struct buffer *b, size_t size)
{
	*b = (struct buffer){.size = size};
	if (!DID(cuMemAlloc(&b->addr, size)) && !DID(cuMemAlloc(&b->addr, size)))
		b->addr = 0;
	b->ideal = calloc(1, size);
	b->unknown = calloc(size / 1024, sizeof(bool));
	if (!b->ideal || !b->unknown)
		exit(77);
	/* Native memory holds what it held before. */
	memset(b->unknown, 1, size / 1024);
}

static void wrote(struct buffer *b, size_t at, size_t n, bool known)
{
	for (size_t i = at / 1024; i < (at + n) / 1024; i++)
		b->unknown[i] = !known;
}

static void upload(struct buffer *b, size_t at, size_t n, uint8_t seed)
{
	if (!b->addr)
		return;
	for (size_t i = 0; i < n; i++)
		scratch[i] = (uint8_t)(seed + i / 97);
	memcpy(b->ideal + at, scratch, n);
	wrote(b, at, n, DID(cuMemcpyHtoD(b->addr + at, scratch, n)));
}

static void set(struct buffer *b, size_t at, size_t n, uint8_t value)
{
	if (!b->addr)
		return;
	memset(b->ideal + at, value, n);
	wrote(b, at, n, DID(cuMemsetD8(b->addr + at, value, n)));
}

static void copy(struct buffer *to, size_t at, struct buffer *from, size_t from_at, size_t n)
{
	bool known;

	if (!to->addr || !from->addr)
		return;
	known = DID(cuMemcpyDtoD(to->addr + at, from->addr + from_at, n));
	for (size_t i = 0; i < n; i += 1024) {
		memcpy(to->ideal + at + i, from->ideal + from_at + i, 1024);
		to->unknown[(at + i) / 1024] = !known || from->unknown[(from_at + i) / 1024];
	}
}

static void fill(CUfunction f, struct buffer *b, size_t at, uint32_t words, uint8_t value)
{
	uint32_t word = value * 0x01010101u;
	CUdeviceptr dst = b->addr + at;
	void *params[] = {&dst, &words, &word};

	if (!b->addr || !f)
		return;
	memset(b->ideal + at, value, 4ul * words);
	wrote(b, at, 4ul * words,
		DID(cuLaunchKernel(f, words / 128, 1, 1, 128, 1, 1, 0, NULL, params, NULL)));
}

/* A read may fail once; then it must not. */
static void verify(struct buffer *b)
{
	if (!b->addr)
		return;
	if (!DID(cuMemcpyDtoH(scratch, b->addr, b->size)))
		OK(cuMemcpyDtoH(scratch, b->addr, b->size));
	for (size_t i = 0; i < b->size; i += 1024) {
		if (!b->unknown[i / 1024] && memcmp(scratch + i, b->ideal + i, 1024)) {
			printf("FAILED: wrong content at %zu of %zu: %d, not %d\n", i, b->size,
				scratch[i], b->ideal[i]);
			failures++;
			return;
		}
	}
}

static void buffer_free(struct buffer *b)
{
	if (b->addr && !DID(cuMemFree(b->addr)))
		OK(cuMemFree(b->addr));
	free(b->ideal);
	free(b->unknown);
}

/* Everything that makes the shim call the driver; KVSHIM_TEST_EVICT_EVERY takes pages away. */
static void work(CUfunction f)
{
	struct buffer a, b, n, c;

	buffer_new(&a, RESERVED);
	buffer_new(&b, RESERVED);
	buffer_new(&n, NATIVE);
	upload(&a, MIB, 3 * MIB, 1);
	set(&a, 6 * MIB, 3 * MIB, 5);
	set(&b, 0, RESERVED, 0);
	copy(&b, 2 * MIB, &a, MIB, 7 * MIB);
	verify(&a);
	set(&n, 0, NATIVE, 7);
	copy(&n, 0, &a, 3 * MIB, 2 * MIB);
	verify(&n);
	fill(f, &b, 6 * MIB, 256 * 1024, 9); /* b is static from now on */
	verify(&b);
	upload(&a, 5 * MIB, 2 * MIB, 77);
	verify(&a);
	buffer_free(&a);
	buffer_new(&c, RESERVED); /* out of what a left */
	upload(&c, 0, 5 * MIB, 33);
	set(&c, 2 * MIB, 4 * MIB, 0);
	copy(&b, 0, &c, MIB, 6 * MIB);
	verify(&c);
	verify(&b);
	fill(f, &c, 8 * MIB, 128 * 1024, 4);
	DID(cuCtxSynchronize());
	verify(&c);
	buffer_free(&c);
	buffer_free(&b);
	buffer_free(&n);
}

static int run(void)
{
	CUfunction f = NULL;
	CUdevice device;
	CUmodule module;
	CUcontext ctx;

	scratch = malloc(RESERVED);
	if (!scratch)
		return 77;
	if (!DID(cuInit(0)) || !DID(cuDeviceGet(&device, 0)) ||
		!DID(cuDevicePrimaryCtxRetain(&ctx, device)))
		return failures != 0;
	if (!DID(cuCtxSetCurrent(ctx)))
		OK(cuCtxSetCurrent(ctx));
	if (DID(cuModuleLoadData(&module, micro_ptx)) &&
		!DID(cuModuleGetFunction(&f, module, "micro_fill")))
		f = NULL;
	work(f);
	if (!DID(cuDevicePrimaryCtxRelease(device)))
		OK(cuDevicePrimaryCtxRelease(device));
	free(scratch);
	return failures != 0;
}

/* ---- the runs ---- */

/* All that hooks/gpu_cuda.c, device.c, drain.c and submit.c call. takes_back: a failure leaves what
 * was to go. */
static const struct {
	const char *name;
	bool takes_back;
} entries[] = {
	{"cuMemAddressReserve", false},
	{"cuMemAddressFree", true},
	{"cuMemCreate", false},
	{"cuMemRelease", true},
	{"cuMemMap", false},
	{"cuMemUnmap", true},
	{"cuMemSetAccess", false},
	{"cuMemsetD8Async", false},
	{"cuMemcpyDtoHAsync_v2", false},
	{"cuMemcpyHtoDAsync_v2", false},
	{"cuStreamSynchronize", false},
	{"cuMemHostAlloc", false},
	{"cuMemFreeHost", true},
	{"cuMemGetInfo_v2", false},
	{"cuCtxGetCurrent", false},
	{"cuCtxPushCurrent_v2", false},
	{"cuCtxPopCurrent_v2", false},
	{"cuCtxGetDevice", false},
	{"cuStreamCreate", false},
	{"cuMemAlloc_v2", false},
	{"cuStreamDestroy_v2", true},
	{"cuMemFree_v2", true},
	{"cuEventCreate", false},
	{"cuEventRecord", false},
	{"cuEventQuery", false},
	{"cuEventDestroy_v2", true},
	{"cuStreamQuery", false},
	{"cuStreamIsCapturing", false},
	{"cuThreadExchangeStreamCaptureMode", false},
	{"cuDeviceGetName", false},
	{"cuDeviceGetUuid_v2", false},
	{"cuDeviceTotalMem_v2", false},
	{"cuDeviceGetAttribute", false},
	{"cuDevicePrimaryCtxGetState", false},
	{"cuMemGetAllocationGranularity", false},
	{"cuPointerGetAttribute", false},
	{"cuMemsetD8_v2", false},
	{"cuMemcpyHtoD_v2", false},
	{"cuMemcpyDtoH_v2", false},
	{"cuMemcpyDtoD_v2", false},
	{"cuLaunchKernel", false},
};
#define N_ENTRIES (sizeof(entries) / sizeof(*entries))
/* The first failures of an entry point one by one, then some more, spread over the rest. */
#define ONE_BY_ONE 5u
#define SPREAD 3u

/* Fails the n-th call for some n. Returns how many runs that were. */
static unsigned fail_entry(const char *self, const char *name, bool takes_back, unsigned long calls)
{
	static const int codes[] = {CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_UNKNOWN};
	unsigned long step = calls > ONE_BY_ONE ? (calls - ONE_BY_ONE) / SPREAD + 1 : 1;
	unsigned runs = 0;

	for (unsigned long n = 1; n <= calls; n += n < ONE_BY_ONE ? 1 : step, runs++) {
		int code = codes[n & 1], status;
		char fail[128], text[16];

		snprintf(fail, sizeof(fail), "%s:%lu:%d", name, n, code);
		snprintf(text, sizeof(text), "%d", code);
		setenv("SIMGPU_FAIL", fail, 1);
		setenv("SIMGPU_NO_LEAKS", takes_back ? "1" : "0", 1);
		status = rerun(self, text);
		if (status) {
			printf("FAILED: with SIMGPU_FAIL=%s: exit status %d%s\n", fail, status,
				status == 97 ? ", the driver's rules were broken" : "");
			failures++;
		}
	}
	return runs;
}

int main(int argc, char **argv)
{
	static char report[64 << 10];
	unsigned runs = 0, hit = 0;

	if (argc > 2 && !strcmp(argv[1], "run")) {
		injected = atoi(argv[2]);
		return run();
	}
	if (!rerun_report(argv[0], "0", report, sizeof(report))) {
		printf("FAILED: without any failure\n");
		return 1;
	}
	for (size_t i = 0; i < N_ENTRIES; i++) {
		unsigned long calls = calls_of(report, entries[i].name);

		if (argc > 1 && strcmp(argv[1], entries[i].name))
			continue;
		printf("%-36s %4lu calls\n", entries[i].name, calls);
		fflush(stdout);
		hit += calls > 0;
		runs += fail_entry(argv[0], entries[i].name, entries[i].takes_back, calls);
	}
	printf("%u runs with one failure each, of %u entry points\n", runs, hit);
	CHECK(argc > 1 || hit >= 25);
	return failures != 0;
}
