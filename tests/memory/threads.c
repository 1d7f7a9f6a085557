/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads.c - eight threads allocate, upload, launch, copy, read and free at once, on streams of
 * all kinds, while an option may take pages away. The software GPU compares all memory with the
 * ideal.
 */
#include <pthread.h>

#include "tests/memory/check.h"

#define THREADS 8
#define ROUNDS 8
#define SIZE (8 * MIB)
#define WORDS (MIB / 4) /* moved at a time */

extern const char micro_ptx[]; /* tests/micro/kernels.ptx */

static CUcontext ctx;
static CUfunction fill, copy;
static pthread_barrier_t barrier;

struct worker {
	pthread_t thread;
	uint32_t number;
	uint32_t wrong;   /* words */
	uint32_t refused; /* calls that failed */
	CUstream stream;
	uint32_t *host;
};

#define TRY(call) (w->refused += (call) != CUDA_SUCCESS)

static void launch_fill(struct worker *w, CUdeviceptr dst, uint32_t value)
{
	uint32_t n = WORDS;
	void *params[] = {&dst, &n, &value};

	TRY(cuLaunchKernel(fill, n / 128, 1, 1, 128, 1, 1, 0, w->stream, params, NULL));
}

static void launch_copy(struct worker *w, CUdeviceptr dst, CUdeviceptr src)
{
	uint32_t n = WORDS;
	void *params[] = {&dst, &src, &n};

	TRY(cuLaunchKernel(copy, n / 128, 1, 1, 128, 1, 1, 0, w->stream, params, NULL));
}

static void expect(struct worker *w, CUdeviceptr src, uint32_t value)
{
	memset(w->host, 0xee, WORDS * 4);
	TRY(cuMemcpyDtoHAsync(w->host, src, WORDS * 4, w->stream));
	TRY(cuStreamSynchronize(w->stream));
	for (size_t i = 0; i < WORDS; i++)
		w->wrong += w->host[i] != value;
}

/* Elastic: copies and sets only. Then a launch makes it static. */
static void one_round(struct worker *w, uint32_t round)
{
	uint32_t value = w->number << 16 | (round + 1);
	CUdeviceptr a = 0, b = 0;

	TRY(cuMemAlloc(&a, SIZE));
	TRY(cuMemAlloc(&b, SIZE));
	if (!a || !b)
		goto out;
	for (size_t i = 0; i < WORDS; i++)
		w->host[i] = value;
	TRY(cuMemcpyHtoDAsync(a + 3 * MIB, w->host, WORDS * 4, w->stream));
	TRY(cuStreamSynchronize(w->stream));
	TRY(cuMemsetD32Async(a + 6 * MIB, ~value, WORDS, w->stream));
	TRY(cuMemcpyDtoDAsync(b + MIB, a + 3 * MIB, MIB, w->stream));
	expect(w, b + MIB, value);
	expect(w, a + 6 * MIB, ~value);
	expect(w, b + 5 * MIB, 0);
	launch_copy(w, b + 4 * MIB, a + 6 * MIB);
	launch_fill(w, a, value + 7);
	TRY(cuMemcpyDtoDAsync(b, a, MIB, w->stream));
	expect(w, b + 4 * MIB, ~value);
	expect(w, b, value + 7);
	expect(w, a + 3 * MIB, value);
out:
	/* With work queued, every other time. */
	if (round & 1)
		TRY(cuMemsetD8Async(a, 1, SIZE, w->stream));
	TRY(cuMemFree(a));
	TRY(cuMemFree(b));
}

static void *work(void *arg)
{
	struct worker *w = arg;

	TRY(cuCtxSetCurrent(ctx));
	if (w->number % 4 == 0)
		w->stream = CU_STREAM_PER_THREAD;
	else if (w->number % 4 == 1)
		w->stream = CU_STREAM_LEGACY;
	else
		TRY(cuStreamCreate(&w->stream,
			w->number % 4 == 2 ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT));
	pthread_barrier_wait(&barrier);
	for (uint32_t i = 0; i < ROUNDS; i++)
		one_round(w, i);
	if (w->number % 4 >= 2)
		TRY(cuStreamDestroy(w->stream));
	return NULL;
}

int main(void)
{
	static struct worker workers[THREADS];
	CUdevice device;
	CUmodule module;

	ctx = start();
	OK(cuDeviceGet(&device, 0));
	OK(cuModuleLoadData(&module, micro_ptx));
	OK(cuModuleGetFunction(&fill, module, "micro_fill"));
	OK(cuModuleGetFunction(&copy, module, "micro_copy"));
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (uint32_t i = 0; i < THREADS; i++) {
		workers[i].number = i;
		workers[i].host = malloc(WORDS * 4);
		if (!workers[i].host ||
			pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			return 77;
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].wrong || workers[i].refused) {
			printf("FAILED: thread %u: %u wrong words, %u calls refused\n", i,
				workers[i].wrong, workers[i].refused);
			failures++;
		}
		free(workers[i].host);
	}
	CHECK(backed() == 0);
	printf("%d threads, %d rounds each, %llu pages evicted\n", THREADS, ROUNDS,
		(unsigned long long)state_counter(STATE_COUNTER(pages_evicted)));
	OK(cuModuleUnload(module));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
