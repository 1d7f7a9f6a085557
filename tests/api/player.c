/* SPDX-License-Identifier: Apache-2.0 */
/*
 * player.c - does with a pool what it is told, a line each; for tests with several processes.
 *
 *   alloc TOKENS fail|wait|degrade TIMEOUT_MS    answers: ERROR TOKENS IS_SHORT
 *   free                                         the last one; answers: ERROR
 *   hog BYTES                                    native memory; answers: the driver's result
 *   drop                                         the last of it; answers: the driver's result
 *   stats                                        answers: wanted bytes, waits, degraded
 */
#include <cuda.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim/kvshim.h"

#define MOST 256

static uint64_t model, pool;
static uint64_t caches[MOST];
static CUdeviceptr native[MOST];
static int n_caches, n_native;

static void alloc_cache(long long tokens, const char *when, unsigned timeout_ms)
{
	struct kvshim_cache cache = {sizeof(cache), 0, 0, 0, 0, 0};
	int mode = !strcmp(when, "wait")      ? KVSHIM_SHORT_WAIT
		   : !strcmp(when, "degrade") ? KVSHIM_SHORT_DEGRADE
					      : KVSHIM_SHORT_FAIL;
	int error = kvshim_cache_alloc(model, tokens, mode, timeout_ms, &cache);

	if (error == 0 && n_caches < MOST) {
		caches[n_caches++] = cache.id;
		cuMemsetD8(cache.address, 0x5a, cache.tokens * 65536);
	}
	printf("%d %" PRIu64 " %" PRIu64 "\n", error, cache.tokens, cache.is_short);
}

static void hog(unsigned long long bytes)
{
	CUresult res;

	kvshim_tag_push("hog", KVSHIM_MODE_NATIVE, 128);
	res = cuMemAlloc(&native[n_native], bytes);
	kvshim_tag_pop();
	n_native += res == CUDA_SUCCESS;
	printf("%d\n", res);
}

static void say_stats(void)
{
	struct kvshim_pool_stats stats = {.size = sizeof(stats)};

	kvshim_pool_stats_get(pool, &stats);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", stats.wanted, stats.waits, stats.degraded);
}

int main(int argc, char **argv)
{
	struct kvshim_pool_desc desc = {
		sizeof(desc), argc > 1 ? strtoull(argv[1], NULL, 10) : 0, 0, 0, "pool"};
	struct kvshim_model_desc m = {sizeof(m), 0, 0, 0, 0, 65536, 100000, 0, 0, "m"};
	char line[128], when[16];
	CUcontext context;
	unsigned long long n;
	unsigned timeout_ms;
	CUdevice device;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (cuInit(0) || cuDeviceGet(&device, 0) || cuDevicePrimaryCtxRetain(&context, device) ||
		cuCtxSetCurrent(context) || kvshim_pool_create(&desc, &pool) ||
		kvshim_model_register(pool, &m, &model)) {
		printf("no pool\n");
		return 1;
	}
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "alloc %llu %15s %u", &n, when, &timeout_ms) == 3)
			alloc_cache((long long)n, when, timeout_ms);
		else if (!strcmp(line, "free\n") && n_caches)
			printf("%d\n", kvshim_cache_free(caches[--n_caches]));
		else if (sscanf(line, "hog %llu", &n) == 1 && n_native < MOST)
			hog(n);
		else if (!strcmp(line, "drop\n") && n_native)
			printf("%d\n", cuMemFree(native[--n_native]));
		else if (!strcmp(line, "stats\n"))
			say_stats();
		else
			printf("what?\n");
	}
	while (n_caches)
		kvshim_cache_free(caches[--n_caches]);
	kvshim_pool_destroy(pool);
	cuDevicePrimaryCtxRelease(device);
	return 0;
}
