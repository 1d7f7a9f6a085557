/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - a server that batches continuously, for scripts/bench latency.
 *
 *   micro_serve SLOTS BEGIN STEP EACH PREFILL QUANTUM
 *
 * Times in nanoseconds: BEGIN (CLOCK_MONOTONIC) is when its clock starts, STEP what an iteration
 * takes, EACH what a sequence in it adds, PREFILL a token of a prompt; QUANTUM is what a kernel
 * takes (SIMGPU_KERNEL_NS): an iteration is so many kernels. Reads arrivals, one offset from BEGIN
 * a line, to the end of its input. Each request has PROMPT tokens and makes as many.
 *
 * The cache has rows of SLOTS requests in each of PLANES planes. An iteration admits who has
 * arrived while a slot is free, says by hint which blocks it needs, uploads which rows it writes,
 * writes them, runs for its time. A request that is over gives its blocks back by hint; without the
 * shim hints do nothing. Beside the cache there are weights, which every iteration reads and nobody
 * hints about. Prints of each request "request ARRIVED ADMITTED FIRST DONE", offsets from BEGIN,
 * and of each iteration that needed blocks it did not have "grew NS", what getting them took.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shim/kvshim.h"
#include "tests/micro/micro.h"

#define PLANES 2u
#define PROMPT 256u
#define ROWS (2 * PROMPT) /* of a slot */
#define ROW_WORDS 2048u   /* 8 KiB */
#define BLOCK 64u         /* rows that are hinted about together */
#define MAX_SLOTS 512u
#define MAX_REQUESTS 20000u
#define MAX_PREFILL 2048u /* prompt tokens of one iteration */
#define WEIGHTS (48 * MIB)

struct request {
	int64_t arrived, admitted, first, done; /* ns from BEGIN */
	uint32_t tokens;                        /* rows it has */
};

static struct request requests[MAX_REQUESTS];
static struct request *slot[MAX_SLOTS]; /* NULL: free */
static uint32_t n_requests, n_slots;
static int64_t begin, step_ns, each_ns, prefill_ns, quantum;
static CUdeviceptr planes[PLANES], weights, indices;
static CUfunction nothing, rows, reads;
static CUstream stream;
static uint64_t region;
static bool hinted;

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec - begin;
}

static void sleep_until(int64_t when)
{
	struct timespec ts = {(when + begin) / 1000000000, (when + begin) % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL))
		;
}

static void open_cache(void)
{
	struct kvshim_range ranges[PLANES];
	struct kvshim_region_desc desc = {.size = sizeof(desc),
		.n_blocks = (uint64_t)n_slots * ROWS / BLOCK,
		.n_ranges = PLANES,
		.ranges = ranges,
		.watchdog_ms = UINT32_MAX,
		.name = "kv"};

	for (uint32_t i = 0; i < PLANES; i++) {
		planes[i] = micro_alloc((size_t)n_slots * ROWS * ROW_WORDS * 4);
		ranges[i] = (struct kvshim_range){
			planes[i], BLOCK * ROW_WORDS * 4, BLOCK * ROW_WORDS * 4};
	}
	weights = micro_alloc(WEIGHTS);
	MUST(cuMemsetD8_v2, weights, 7, WEIGHTS);
	indices = micro_alloc(MAX_PREFILL * 2 * sizeof(uint64_t));
	hinted = kvshim_region_declare(&desc, &region) == 0;
	if (micro_shimmed() && !hinted)
		micro_check(false, "the cache can be declared");
}

/* The blocks of slot i that hold its rows [first, end). Returns how many. */
static int64_t blocks_of(uint32_t i, uint32_t first, uint32_t end, int64_t *ret)
{
	int64_t n = 0;

	for (uint32_t row = first / BLOCK * BLOCK; row < end; row += BLOCK)
		ret[n++] = (int64_t)(i * ROWS + row) / BLOCK;
	return n;
}

/* Puts who has arrived into free slots. Returns how many there are to prefill. */
static uint32_t admit(uint32_t *next, int64_t at)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_slots && (n + 1) * PROMPT <= MAX_PREFILL; i++) {
		if (slot[i] || *next >= n_requests || requests[*next].arrived > at)
			continue;
		slot[i] = &requests[(*next)++];
		slot[i]->admitted = at;
		n++;
	}
	return n;
}

/* The iteration's rows: hints, upload and launches. Returns how many sequences there are. */
static uint32_t submit(uint32_t n_new)
{
	static uint64_t index[MAX_PREFILL + MAX_SLOTS];
	static int64_t blocks[MAX_SLOTS * ROWS / BLOCK];
	uint32_t n = 0, n_active = 0, words = ROW_WORDS, value = 1;
	uint64_t bytes = (uint64_t)n_slots * ROWS * ROW_WORDS * 4;
	int64_t n_blocks = 0, before = now(), took;

	for (uint32_t i = 0; i < n_slots; i++) {
		uint32_t first, end;

		if (!slot[i])
			continue;
		n_active++;
		first = slot[i]->tokens;
		end = first ? first + 1 : PROMPT;
		if (!first || first % BLOCK == 0)
			n_blocks += blocks_of(i, first, end, blocks + n_blocks);
		for (uint32_t row = first; row < end; row++)
			index[n++] = (uint64_t)i * ROWS + row;
		slot[i]->tokens = end;
	}
	if (n_blocks && hinted) {
		if (kvshim_touch(region, blocks, n_blocks) < 0)
			micro_check(false, "blocks can be had");
		printf("grew %lld\n", (long long)(now() - before));
	}
	MUST(cuMemcpyHtoDAsync_v2, indices, index, n * sizeof(index[0]), stream);
	for (uint32_t i = 0; i < PLANES; i++)
		MUST(cuLaunchKernel, rows, 1, 1, 1, 32, 1, 1, 0, stream,
			PARAMS(&planes[i], &indices, &n, &words, &value, &bytes), NULL);
	MUST(cuLaunchKernel, reads, 1, 1, 1, 32, 1, 1, 0, stream,
		PARAMS(&weights, &weights, &weights, &weights, &weights, &weights, &weights,
			&weights),
		NULL);
	took = step_ns + each_ns * n_active + prefill_ns * n_new * PROMPT - (PLANES + 1) * quantum;
	for (; took > quantum / 2; took -= quantum)
		MUST(cuLaunchKernel, nothing, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL);
	return n_active;
}

/* The iteration is over at this time. Returns how many sequences go on. */
static uint32_t collect(int64_t at)
{
	uint32_t n_left = 0;

	for (uint32_t i = 0; i < n_slots; i++) {
		int64_t blocks[ROWS / BLOCK];

		if (!slot[i])
			continue;
		if (!slot[i]->first)
			slot[i]->first = at;
		if (slot[i]->tokens < ROWS) {
			n_left++;
			continue;
		}
		slot[i]->done = at;
		if (hinted)
			kvshim_release(region, blocks, blocks_of(i, 0, ROWS, blocks), 0);
		slot[i] = NULL;
	}
	return n_left;
}

static void serve(void)
{
	uint32_t next = 0, n_left = 0;

	while (next < n_requests || n_left) {
		if (!n_left && requests[next].arrived > now())
			sleep_until(requests[next].arrived);
		submit(admit(&next, now()));
		MUST(cuStreamSynchronize, stream);
		n_left = collect(now());
	}
}

int main(int argc, char **argv)
{
	char line[64];

	n_slots = argc == 7 ? (uint32_t)strtoul(argv[1], NULL, 0) : 0;
	if (!n_slots || n_slots > MAX_SLOTS) {
		fprintf(stderr, "usage: micro_serve SLOTS BEGIN STEP EACH PREFILL QUANTUM\n");
		return 2;
	}
	step_ns = atoll(argv[3]);
	each_ns = atoll(argv[4]);
	prefill_ns = atoll(argv[5]);
	quantum = atoll(argv[6]);
	while (n_requests < MAX_REQUESTS && fgets(line, sizeof(line), stdin))
		requests[n_requests++].arrived = atoll(line);
	micro_start();
	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	nothing = micro_kernel("micro_nothing");
	rows = micro_kernel("_Z10micro_rowsPjPKljjjm");
	reads = micro_kernel("micro_eight");
	open_cache();
	begin = atoll(argv[2]);
	if (now() > 0)
		fprintf(stderr, "micro_serve: %lld ms late\n", (long long)(now() / 1000000));
	serve();
	for (uint32_t i = 0; i < n_requests; i++)
		printf("request %lld %lld %lld %lld\n", (long long)requests[i].arrived,
			(long long)requests[i].admitted, (long long)requests[i].first,
			(long long)requests[i].done);
	if (hinted)
		kvshim_region_end(region);
	MUST(cuStreamDestroy_v2, stream);
	for (uint32_t i = 0; i < PLANES; i++)
		MUST(cuMemFree_v2, planes[i]);
	MUST(cuMemFree_v2, weights);
	MUST(cuMemFree_v2, indices);
	return micro_end();
}
