/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planes.c - a KV cache as llama.cpp keeps one: K and V of four layers in one allocation, written
 * row by row by an index array, read up to an extent. With the shim and its kernel rules: what is
 * backed after each step, and how many driver calls that took.
 *
 * Argument "graph": each decode is captured and launched as a graph. Argument "linger": only
 * whether spare pages go, which is for KVSHIM_LINGER_MS to say; "ahead": only whether pages come
 * before they are needed.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/micro/micro.h"
#include "tests/micro/state.h"

extern const char planes_ptx[];

#define PAGE (2 * MIB)
#define ROW 2048u
#define ROWS_PER_PAGE (PAGE / ROW)
#define CELLS (8 * ROWS_PER_PAGE) /* of one plane */
#define PLANE (CELLS * (size_t)ROW)
#define LAYERS 4u
#define PLANES (2 * LAYERS)
#define CACHE (PLANES * PLANE)
#define MOST 512u /* tokens of one decode */

#define SET_ROWS "_Z10k_set_rowsIfl6__halfEvPKT_PKT0_PT1_llllllllllllll5uint3S9_S9_S9_S9_"
#define ATTENTION \
	"_Z18flash_attn_ext_vecILi128ELi1EL9ggml_type1ELS0_1ELb0EEvPKcS2_S2_S2_S2_PKiPfP6float2" \
	"ffffjfi5uint3iiiiiiiiiiiliiliiiiil"
#define SHIFT "_Z9rope_neoxILb1ELb0E6__halfS0_EvPKT1_PT2_iiiiiiiiiiiPKifff14rope_corr_dimsfPKfPKlib"

static CUstream stream;
static CUfunction set_rows, attention, shift;
static CUdeviceptr cache, scratch, indices[2];
static bool as_graph, linger, early, rules;

/* ---- one parameter block ---- */

struct block {
	_Alignas(8) uint8_t bytes[512];
	size_t size;
};

static void put(struct block *b, size_t size, size_t align, uint64_t value)
{
	b->size = (b->size + align - 1) / align * align;
	memset(b->bytes + b->size, 0, size);
	memcpy(b->bytes + b->size, &value, size < 8 ? size : 8);
	b->size += size;
}

static void put_longs(struct block *b, uint32_t n, const int64_t *values)
{
	for (uint32_t i = 0; i < n; i++)
		put(b, 8, 8, (uint64_t)values[i]);
}

static void put_ints(struct block *b, uint32_t n, const int32_t *values)
{
	for (uint32_t i = 0; i < n; i++)
		put(b, 4, 4, (uint32_t)values[i]);
}

/* A divisor prepared for multiplication: the third word counts. */
static void put_divisor(struct block *b, uint32_t divisor)
{
	put(b, 12, 4, 1);
	memcpy(b->bytes + b->size - 4, &divisor, 4);
}

static void launch(CUfunction f, uint32_t grid, uint32_t threads, struct block *b)
{
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, b->bytes, CU_LAUNCH_PARAM_BUFFER_SIZE,
		&b->size, CU_LAUNCH_PARAM_END};

	MUST(cuLaunchKernel, f, grid, 1, 1, threads, 1, 1, 0, stream, NULL, extra);
}

/* ---- the kernels ---- */

/* n rows go where the array says; within: bytes of the tensor. */
static void write_rows(CUdeviceptr tensor, CUdeviceptr array, int64_t n, size_t within)
{
	int64_t total = n * 1024, all = (int64_t)within / 2;
	struct block b = {.size = 0};

	put_longs(&b, 17,
		(int64_t[]){(int64_t)scratch, (int64_t)array, (int64_t)tensor, total, n, 1, 1, 1,
			1024, total, total, 1, n, n, 1024, all, all});
	put_divisor(&b, 1024);
	put_divisor(&b, (uint32_t)n);
	for (int i = 0; i < 3; i++)
		put_divisor(&b, 1);
	launch(set_rows, (uint32_t)(total / 256), 256, &b);
}

/* Attention over the first n rows of each of `streams` planes. */
static void attend(CUdeviceptr k, CUdeviceptr v, int32_t n, int32_t streams, size_t plane)
{
	struct block b = {.size = 0};
	int64_t length = (int64_t)plane;

	put_longs(&b, 8, (int64_t[]){(int64_t)scratch, (int64_t)k, (int64_t)v, 0, 0, 0, 0, 0});
	put_ints(&b, 7, (int32_t[]){0, 0, 0, 0, 32, 0, 128});
	put_divisor(&b, 1);
	put_ints(&b, 11, (int32_t[]){32, 1, 16384, 512, 16384, 128, n, 8, streams, ROW, 256});
	put_longs(&b, 1, &length);
	put_ints(&b, 2, (int32_t[]){ROW, 256});
	put_longs(&b, 1, &length);
	put_ints(&b, 5, (int32_t[]){1, 1, 1, 0, 0});
	put_longs(&b, 1, (int64_t[]){0});
	launch(attention, 192, 128, &b);
}

static void rotate(CUdeviceptr k)
{
	int32_t all = (int32_t)(CELLS * 1024);
	struct block b = {.size = 0};

	put_longs(&b, 2, (int64_t[]){(int64_t)k, (int64_t)k});
	put_ints(&b, 11,
		(int32_t[]){128, 8, (int32_t)CELLS, 128, 1024, all, 128, 1024, all, 128, 0});
	put(&b, 8, 8, scratch);
	put_ints(&b, 3, (int32_t[]){0, 0, 0});
	put(&b, 8, 4, 0);
	put_ints(&b, 1, (int32_t[]){0});
	put_longs(&b, 2, (int64_t[]){0, 0});
	put_ints(&b, 1, (int32_t[]){0});
	put(&b, 1, 1, 1);
	launch(shift, 8 * (uint32_t)CELLS, 256, &b);
}

/* ---- decodes ---- */

static CUdeviceptr plane_at(uint32_t i)
{
	return cache + i * PLANE;
}

static void submit(CUgraph *graph)
{
	CUgraphExec exec;

	if (as_graph) {
		MUST(cuStreamEndCapture, stream, graph);
		MUST(cuGraphInstantiateWithFlags, &exec, *graph, 0);
		MUST(cuGraphDestroy, *graph);
		MUST(cuGraphLaunch, exec, stream);
		MUST(cuStreamSynchronize, stream);
		MUST(cuGraphExecDestroy, exec);
	}
	MUST(cuStreamSynchronize, stream);
}

static void upload_rows(const int64_t *rows, uint32_t n)
{
	/* K and V have an array each. */
	for (int i = 0; i < 2; i++)
		MUST(cuMemcpyHtoD_v2, indices[i], rows, n * sizeof(*rows));
}

/* Rows [first, first + n) are written in all planes, then all rows below end are read. */
static void decode(uint32_t first, uint32_t n, uint32_t end)
{
	int64_t rows[MOST];
	CUgraph graph;

	for (uint32_t i = 0; i < n; i++)
		rows[i] = first + i;
	upload_rows(rows, n);
	if (as_graph)
		MUST(cuStreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
	for (uint32_t l = 0; l < PLANES; l += 2) {
		write_rows(plane_at(l), indices[0], n, PLANE);
		write_rows(plane_at(l + 1), indices[1], n, PLANE);
		attend(plane_at(l), plane_at(l + 1), (int32_t)end, 1, PLANE);
	}
	submit(&graph);
}

static void grow(uint32_t first, uint32_t end)
{
	for (; first < end; first += MOST) {
		uint32_t n = end - first < MOST ? end - first : MOST;

		decode(first, n, first + n);
	}
}

/*
 * The shim does not pass on what is zero already, so that the ideal memory of the software GPU has
 * to be told.
 */
static void clear(void)
{
	void (*told)(CUdeviceptr, uint32_t, uint32_t, size_t, CUstream, int);
	void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);

	MUST(cuMemsetD8_v2, cache, 0, CACHE);
	*(void **)&told = driver ? dlsym(driver, "simgpu_program_set") : NULL;
	if (told)
		told(cache, 0, 1, CACHE, NULL, 0);
	MUST(cuCtxSynchronize);
}

/* ---- what is expected ---- */

static uint64_t pages_backed(void)
{
	struct micro_state state;

	micro_reservation(cache, &state);
	return state.backed / PAGE;
}

static void expect_pages(uint64_t least, uint64_t most, const char *when)
{
	uint64_t n;

	if (!rules)
		return;
	n = pages_backed();
	micro_check(n >= least && n <= most, "%s: %llu to %llu pages are backed (%llu)", when,
		(unsigned long long)least, (unsigned long long)most, (unsigned long long)n);
}

/* What goes goes soon; how soon is not for a test on a busy machine to say. */
static void expect_soon(uint64_t least, uint64_t most, const char *when)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	struct timespec now, start;

	if (!rules)
		return;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		if (pages_backed() <= most)
			break;
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < 60);
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%s: after %ld ms\n", when,
		(now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000);
	expect_pages(least, most, when);
}

/* What the agent brings comes soon, too. */
static void expect_grown(uint64_t n, const char *when)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	for (int i = 0; rules && i < 12000 && pages_backed() < n; i++)
		nanosleep(&pause, NULL);
	expect_pages(n, n, when);
}

static uint64_t calls(void)
{
	return rules ? state_counter(STATE_COUNTER(driver_calls)) : 0;
}

static void expect_calls(uint64_t before, uint64_t most, const char *what)
{
	uint64_t n = calls() - before;

	if (rules)
		micro_check(n <= most, "%s: at most %llu driver calls (%llu)", what,
			(unsigned long long)most, (unsigned long long)n);
}

/* ---- the steps ---- */

static void growth(void)
{
	uint64_t before = calls();

	/* Nothing is known yet: each plane pays for itself. */
	decode(0, 10, 10);
	if (rules)
		micro_check(calls() - before >= 5 * PLANES,
			"the first decode takes %u driver calls or more (%llu)", 5 * PLANES,
			(unsigned long long)(calls() - before));
	expect_pages(PLANES, PLANES, "ten rows");
	before = calls();
	for (uint32_t i = 10; i < 30; i++)
		decode(i, 1, i + 1);
	expect_calls(before, 0, "decodes within a page");
	grow(30, ROWS_PER_PAGE - 1);
	expect_calls(before, 0, "prompts within a page");
	before = calls();
	decode(ROWS_PER_PAGE - 1, 2, ROWS_PER_PAGE + 1);
	/* Per plane a handle, a map, an access and a fill; one wait for all. */
	expect_calls(before, 4 * PLANES + 1, "a page boundary crossed by all planes");
	expect_pages(2 * PLANES, 2 * PLANES, "a row on the second page");
	before = calls();
	decode(ROWS_PER_PAGE + 1, 1, ROWS_PER_PAGE + 2);
	expect_calls(before, 0, "the decode after it");
	grow(ROWS_PER_PAGE + 2, 3 * ROWS_PER_PAGE + 100);
	expect_pages(4 * PLANES, 4 * PLANES, "rows on four pages");
}

static void shrinking(void)
{
	uint64_t before;

	decode(0, 20, 20);
	expect_soon(PLANES, 2 * PLANES, "a lower extent leaves live and spare pages");
	/* Up and down around a boundary. */
	grow(20, ROWS_PER_PAGE + 5);
	decode(ROWS_PER_PAGE - 10, 1, ROWS_PER_PAGE - 9);
	before = calls();
	for (int i = 0; i < 4; i++) {
		grow(ROWS_PER_PAGE - 9, ROWS_PER_PAGE + 5);
		decode(ROWS_PER_PAGE - 10, 1, ROWS_PER_PAGE - 9);
	}
	expect_calls(before, 0, "an extent that swings around a page boundary");
	expect_pages(2 * PLANES, 2 * PLANES, "live and spare pages stay");
}

/* Again and again: the pages come back with what is written, and go with the extent. */
static void lingering(void)
{
	for (uint32_t i = 0; i < 4; i++) {
		grow(20, 3 * ROWS_PER_PAGE);
		decode(20 + i, 1, 21 + i);
		expect_soon(PLANES, PLANES, "spare pages that nobody uses go");
		grow(21 + i, ROWS_PER_PAGE + 5);
		decode(ROWS_PER_PAGE - 10, 1, ROWS_PER_PAGE - 9);
		expect_soon(PLANES, PLANES, "and those that were used again");
	}
}

/* Pages that come before they are needed: who needs them then waits for nothing. */
static void ahead(void)
{
	uint64_t before;

	decode(0, 20, 20);
	for (uint32_t page = 1; page < 5; page++) {
		grow((page - 1) * ROWS_PER_PAGE + 20, page * ROWS_PER_PAGE - 4);
		for (uint32_t i = 4; i > 0; i--)
			decode(page * ROWS_PER_PAGE - i, 1, page * ROWS_PER_PAGE - i + 1);
		expect_grown(
			(page + 1) * PLANES, "the pages behind the boundary are there before it");
		before = calls();
		decode(page * ROWS_PER_PAGE, 20, page * ROWS_PER_PAGE + 20);
		expect_calls(before, 0, "a page boundary crossed by all planes");
	}
	/* Those of the last boundary are told with the next change. */
	if (rules)
		micro_check(state_counter(STATE_COUNTER(pages_ahead_used)) >= 3 * PLANES,
			"they were used (%llu)",
			(unsigned long long)state_counter(STATE_COUNTER(pages_ahead_used)));
}

static void clearing(void)
{
	uint64_t before;

	grow(0, 2 * ROWS_PER_PAGE + 1);
	clear();
	expect_soon(0, 0, "nothing is left of a cleared cache");
	before = calls();
	decode(0, 300, 300);
	/* Planes that were cleared together start together. Their handles are spares. */
	expect_calls(before, 4 * PLANES + 1, "the first prompt after a clear");
	expect_pages(PLANES, PLANES, "300 rows");
}

/* Rows 0 to 299 are there. */
static void shifting(void)
{
	uint64_t most = PLANES + CELLS / ROWS_PER_PAGE - 1, peak = 0, n;

	for (uint32_t l = 0; l < PLANES; l += 2) {
		rotate(plane_at(l));
		n = rules ? pages_backed() : 0;
		peak = n > peak ? n : peak;
	}
	if (rules)
		micro_check(peak <= most && peak >= most,
			"a shift holds one plane more at a time (%llu pages, %llu expected)",
			(unsigned long long)peak, (unsigned long long)most);
	decode(300, 1, 301);
	expect_soon(PLANES, 2 * PLANES, "and is elastic again");
}

/* Row i of both streams of all tensors is written, and all rows up to it are read. */
static void decode_both(uint32_t i)
{
	int64_t rows[] = {i, CELLS / 2 + i};

	upload_rows(rows, 2);
	for (uint32_t l = 0; l < PLANES; l += 2) {
		write_rows(plane_at(l), indices[0], 2, PLANE);
		write_rows(plane_at(l + 1), indices[1], 2, PLANE);
		attend(plane_at(l), plane_at(l + 1), (int32_t)i + 1, 2, PLANE / 2);
	}
	MUST(cuStreamSynchronize, stream);
}

/* Two streams in a tensor: planes of half the length, attended over the same extent. */
static void streams(void)
{
	uint64_t before;

	clear();
	expect_soon(0, 0, "a cleared cache");
	for (uint32_t i = 0; i < ROWS_PER_PAGE; i++) {
		decode_both(i);
		if (i == 10)
			i = ROWS_PER_PAGE - 5;
	}
	expect_pages(2 * PLANES, 2 * PLANES, "a page of each stream");
	before = calls();
	decode_both(ROWS_PER_PAGE);
	expect_calls(before, 4 * 2 * PLANES + 1, "two streams cross a boundary at once");
	before = calls();
	for (uint32_t i = 1; i < 5; i++)
		decode_both(ROWS_PER_PAGE + i);
	expect_calls(before, 0, "two streams within a page");
	for (uint32_t i = ROWS_PER_PAGE + 5; i < 3 * ROWS_PER_PAGE; i += ROWS_PER_PAGE / 2)
		decode_both(i);
	expect_pages(6 * PLANES, 6 * PLANES, "three pages of each stream");
	decode_both(0);
	expect_soon(2 * PLANES, 4 * PLANES, "a live and a spare page of each stream");
}

/* Memory that no recognised writer has written is none of our planes, however it is read. */
static void foreign(void)
{
	CUdeviceptr other = micro_alloc(4 * PLANE);
	struct micro_state state;
	uint32_t pattern = 0x5a5a5a5a;

	MUST(cuMemsetD8_v2, other, 0x5a, 4 * PLANE);
	for (int i = 0; i < 3; i++)
		attend(other, other + PLANE, 100, 1, PLANE);
	MUST(cuStreamSynchronize, stream);
	if (rules) {
		micro_reservation(other, &state);
		micro_check(state.found && !state.reason, "memory that is only read is elastic");
	}
	/* Long enough for whatever was marked to go: the cache's own pages do. */
	grow(0, 3 * ROWS_PER_PAGE);
	decode(0, 1, 1);
	expect_soon(PLANES, 2 * PLANES, "the cache shrinks");
	for (uint32_t i = 0; i < 2; i++)
		micro_check(micro_holds(other + i * PLANE + PLANE / 2, 1000, pattern),
			"what is above an extent of foreign memory is still there");
	MUST(cuMemFree_v2, other);
}

int main(int argc, char **argv)
{
	CUmodule module;

	as_graph = argc > 1 && !strcmp(argv[1], "graph");
	early = argc > 1 && !strcmp(argv[argc - 1], "ahead");
	linger = argc > 1 && !strcmp(argv[argc - 1], "linger");
	micro_start();
	rules = micro_has_rules();
	MUST(cuModuleLoadData, &module, planes_ptx);
	MUST(cuModuleGetFunction, &set_rows, module, SET_ROWS);
	MUST(cuModuleGetFunction, &attention, module, ATTENTION);
	MUST(cuModuleGetFunction, &shift, module, SHIFT);
	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	cache = micro_alloc(CACHE);
	scratch = micro_alloc(MOST * 4096);
	for (int i = 0; i < 2; i++)
		indices[i] = micro_alloc(MOST * 8);
	MUST(cuMemsetD8_v2, cache, 0, CACHE);
	if (early) {
		ahead();
	} else if (linger) {
		lingering();
	} else {
		growth();
		shrinking();
		clearing();
		shifting();
		foreign();
		streams();
	}
	if (rules)
		micro_expect_elastic(cache);
	for (int i = 0; i < 2; i++)
		MUST(cuMemFree_v2, indices[i]);
	MUST(cuMemFree_v2, scratch);
	MUST(cuMemFree_v2, cache);
	MUST(cuStreamDestroy_v2, stream);
	MUST(cuModuleUnload, module);
	return micro_end();
}
