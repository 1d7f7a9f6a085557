/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paged.c - a paged engine: a block pool, prefixes that sequences share, preemption, a decode step
 * as a CUDA graph; its cache one allocation per layer, or all layers in one. With hints its memory
 * follows its blocks; without them it runs all the same.
 *
 * usage: paged LAYOUT HINTS [STEPS [SEED]]
 *   LAYOUT  layers (one allocation each), outer ([layer][block]) or inner ([block][layer])
 *   HINTS   hints, none, forget (some are not given: what must be caught), or stop (they end
 * halfway while work goes on: the watchdog makes the region static)
 *
 * What each token's row must hold is kept on the host; rows are read back by a kernel.
 */
#include <inttypes.h>
#include <unistd.h>

#include "shim/kvshim.h"
#include "tests/memory/check.h"

#define LAYERS 4
#define BLOCKS 1024
#define TOKENS 16     /* per block */
#define ROW_WORDS 512 /* per token and layer */
#define ROW (ROW_WORDS * 4u)
#define PIECE (TOKENS * ROW) /* of a block in one layer */
#define BATCH 8              /* sequences in a step; the rest of a batch writes to block 0 */
#define SEQUENCE_BLOCKS 40
#define WATCHDOG_MS 300u /* of an engine that stops */

extern const char micro_ptx[];

struct sequence {
	bool live;
	uint32_t n_tokens;
	int64_t blocks[SEQUENCE_BLOCKS];
};

static struct {
	bool hints, forgets, stops;
	uint64_t layer[LAYERS]; /* address of block 0 */
	uint64_t stride;        /* from block to block */
	uint64_t allocation[LAYERS];
	int n_allocations;
	uint64_t region;
	uint32_t references[BLOCKS];
	uint32_t n_free, limit;             /* blocks that may be in use */
	uint32_t expected[BLOCKS * TOKENS]; /* what the first layer's row holds; 0: never written */
	struct sequence sequences[BATCH];
	CUfunction scatter, copy;
	CUdeviceptr index, out;
	CUstream stream;
	CUgraphExec graph;
	uint64_t n_steps, n_preempted, n_shared, n_checked;
} e;

static uint32_t random_state;

static uint32_t pick(uint32_t below)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % below;
}

static void hint(int error, const char *what)
{
	if (error == 0 || !e.hints)
		return;
	if (e.stops && error == KVSHIM_ERR_GONE) {
		e.hints = false; /* a machine so slow that the watchdog was first */
		return;
	}
	printf("FAILED: %s: %s\n", what, kvshim_strerror(error));
	failures++;
}

/* ---- the cache ---- */

static void allocate(const char *layout)
{
	bool each = !strcmp(layout, "layers"), inner = !strcmp(layout, "inner");
	size_t size = (size_t)BLOCKS * PIECE * (each ? 1 : LAYERS);

	e.n_allocations = each ? LAYERS : 1;
	for (int i = 0; i < e.n_allocations; i++)
		e.allocation[i] = reserve(size);
	e.stride = inner ? LAYERS * PIECE : PIECE;
	for (int i = 0; i < LAYERS; i++)
		e.layer[i] = each    ? e.allocation[i]
			     : inner ? e.allocation[0] + (uint64_t)i * PIECE
				     : e.allocation[0] + (uint64_t)i * BLOCKS * PIECE;
}

static void declare(void)
{
	struct kvshim_range ranges[LAYERS];
	struct kvshim_region_desc desc = {
		sizeof(desc), BLOCKS, LAYERS, ranges, 0, e.stops ? WATCHDOG_MS : UINT32_MAX, "kv"};

	for (int i = 0; i < LAYERS; i++)
		ranges[i] = (struct kvshim_range){e.layer[i], e.stride, PIECE};
	hint(kvshim_region_declare(&desc, &e.region), "declare");
}

static uint64_t row(int layer, uint32_t slot)
{
	return e.layer[layer] + slot / TOKENS * e.stride + slot % TOKENS * ROW;
}

/* ---- blocks ---- */

/* A free block, the lowest or any, or -1. Touched before anything can use it. */
static int64_t take_block(void)
{
	uint32_t from = pick(8) ? 0 : pick(BLOCKS);

	if (BLOCKS - e.n_free >= e.limit)
		return -1;
	for (uint32_t i = 0; i < BLOCKS; i++) {
		int64_t b = (from + i) % BLOCKS;

		if (e.references[b])
			continue;
		e.references[b] = 1;
		e.n_free--;
		memset(e.expected + b * TOKENS, 0, TOKENS * sizeof(*e.expected));
		if (e.hints && !(e.forgets && pick(20) == 0))
			hint(kvshim_touch(e.region, &b, 1), "touch");
		return b;
	}
	return -1;
}

static void drop_blocks(const int64_t *blocks, uint32_t n)
{
	int64_t dead[SEQUENCE_BLOCKS];
	int64_t n_dead = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (--e.references[blocks[i]] == 0) {
			dead[n_dead++] = blocks[i];
			e.n_free++;
		}
	}
	/* What is planned already may still use them: some are released a step or two later. */
	if (e.hints && n_dead)
		hint(kvshim_release(e.region, dead, n_dead, (int)pick(3)), "release");
}

static uint32_t n_blocks_of(const struct sequence *s)
{
	return (s->n_tokens + TOKENS - 1) / TOKENS;
}

static void finish(struct sequence *s)
{
	drop_blocks(s->blocks, n_blocks_of(s));
	s->live = false;
	s->n_tokens = 0;
}

/* Somebody else gives way. False: there is nobody. */
static bool preempt(const struct sequence * not )
{
	uint32_t first = pick(BATCH);

	for (uint32_t i = 0; i < BATCH; i++) {
		struct sequence *s = &e.sequences[(first + i) % BATCH];

		if (s != not &&s->live) {
			finish(s);
			e.n_preempted++;
			return true;
		}
	}
	return false;
}

/* A sequence begins, maybe with the full blocks of another one's prefix. */
static void begin(struct sequence *s)
{
	struct sequence *other = &e.sequences[pick(BATCH)];
	uint32_t shared = 0;

	s->live = true;
	s->n_tokens = 0;
	if (other != s && other->live && pick(2)) {
		shared = pick(other->n_tokens / TOKENS + 1);
		for (uint32_t i = 0; i < shared; i++) {
			s->blocks[i] = other->blocks[i];
			e.references[s->blocks[i]]++;
		}
		s->n_tokens = shared * TOKENS;
		e.n_shared += shared;
	}
}

/* The slot of the sequence's next token; -1: it ended for want of memory. */
static int64_t next_slot(struct sequence *s)
{
	uint32_t at = s->n_tokens % TOKENS, b = s->n_tokens / TOKENS;

	if (at == 0) {
		int64_t block;

		while ((block = take_block()) < 0) {
			if (!preempt(s)) {
				finish(s);
				return -1;
			}
		}
		s->blocks[b] = block;
	}
	s->n_tokens++;
	return s->blocks[b] * TOKENS + at;
}

/* ---- a step ---- */

static void launch_layers(CUstream stream)
{
	uint32_t n = BATCH, words = ROW_WORDS;

	for (int i = 0; i < LAYERS; i++) {
		uint32_t value = 1000u * (uint32_t)(i + 1);
		CUdeviceptr at = e.layer[i];
		/* Rows of a block lie behind each other, blocks a stride apart: the index counts
		 * rows of the whole allocation. */
		void *params[] = {&at, &e.index, &n, &words, &value};

		OK(cuLaunchKernel(e.scatter, 1, 1, 1, 128, 1, 1, 0, stream, params, NULL));
	}
}

static void make_graph(void)
{
	CUgraph graph;

	OK(cuStreamBeginCapture(e.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	launch_layers(e.stream);
	OK(cuStreamEndCapture(e.stream, &graph));
	OK(cuGraphInstantiate(&e.graph, graph, 0));
	OK(cuGraphDestroy(graph));
}

static void step(void)
{
	uint64_t index[BATCH] = {0};
	int64_t slots[BATCH];

	if (e.hints)
		hint(kvshim_step(e.region), "step");
	for (int i = 0; i < BATCH; i++) {
		struct sequence *s = &e.sequences[i];

		slots[i] = -1;
		if (!s->live && pick(4) == 0)
			begin(s);
		if (s->live && (s->n_tokens >= SEQUENCE_BLOCKS * TOKENS || pick(400) == 0))
			finish(s);
		if (s->live)
			slots[i] = next_slot(s);
	}
	for (int i = 0; i < BATCH; i++) {
		/* Preempted for the sake of a later one. */
		if (slots[i] >= 0 && !e.sequences[i].live)
			slots[i] = -1;
		index[i] = slots[i] < 0 ? (uint64_t)i
					: (uint64_t)slots[i] / TOKENS * (e.stride / ROW) +
						  (uint64_t)slots[i] % TOKENS;
		if (slots[i] >= 0)
			e.expected[slots[i]] = 1000u + (uint32_t)i;
	}
	OK(cuMemcpyHtoDAsync(e.index, index, sizeof(index), e.stream));
	if (pick(4))
		OK(cuGraphLaunch(e.graph, e.stream));
	else
		launch_layers(e.stream);
	OK(cuStreamSynchronize(e.stream));
	e.n_steps++;
}

/* A kernel reads one token of a sequence in every layer. */
static void check_token(void)
{
	const struct sequence *s = &e.sequences[pick(BATCH)];
	uint32_t words[ROW_WORDS], n = ROW_WORDS, slot, token;

	if (!s->live || !s->n_tokens)
		return;
	token = pick(s->n_tokens);
	slot = (uint32_t)s->blocks[token / TOKENS] * TOKENS + token % TOKENS;
	for (int i = 0; i < LAYERS; i++) {
		CUdeviceptr at = row(i, slot);
		uint32_t wanted = e.expected[slot] + 1000u * (uint32_t)i, wrong = 0;
		void *params[] = {&e.out, &at, &n};

		OK(cuLaunchKernel(e.copy, 2, 1, 1, 128, 1, 1, 0, e.stream, params, NULL));
		OK(cuMemcpyDtoHAsync(words, e.out, sizeof(words), e.stream));
		OK(cuStreamSynchronize(e.stream));
		for (uint32_t w = 0; w < ROW_WORDS; w++)
			wrong += words[w] != wanted;
		CHECK(wrong == 0);
	}
	e.n_checked++;
}

/* ---- what is behind it ---- */

/* Bytes of the pages on which a block in use lies. */
static uint64_t live_pages(void)
{
	static uint8_t seen[LAYERS * BLOCKS * PIECE / PAGE + 1];
	uint64_t n = 0;

	for (int a = 0; a < e.n_allocations; a++) {
		memset(seen, 0, sizeof(seen));
		for (int i = 0; i < LAYERS; i++) {
			if (e.n_allocations > 1 && i != a)
				continue;
			for (uint32_t b = 0; b < BLOCKS; b++) {
				if (e.references[b])
					seen[(row(i, b * TOKENS) - e.allocation[a]) / PAGE] = 1;
			}
		}
		for (size_t p = 0; p < sizeof(seen); p++)
			n += seen[p];
	}
	return n * PAGE;
}

/* A free makes the shim look at what was left behind. */
static void let_it_reap(void)
{
	OK(cuMemFree(reserve(4 * MIB)));
}

static void check_backed(void)
{
	struct kvshim_region_stats stats = {.size = sizeof(stats)};
	uint64_t live;

	if (!e.hints)
		return;
	for (int i = 0; i < 3; i++) /* what waits for steps */
		hint(kvshim_step(e.region), "step");
	let_it_reap();
	hint(kvshim_region_stats_get(e.region, &stats), "statistics");
	live = live_pages();
	/* The shim's own thread may be at it, and not be done yet. */
	for (int i = 0; i < 60000 && stats.backed > live; i++) {
		usleep(1000);
		hint(kvshim_region_stats_get(e.region, &stats), "statistics");
	}
	if (!CHECK(stats.wanted == live && stats.waiting == 0 && !stats.is_static))
		printf("%" PRIu64 " bytes wanted, blocks live on %" PRIu64 "\n", stats.wanted,
			live);
	/* Evicted ones come back with the next submission: less is backed, never more. */
	if (!CHECK(stats.backed <= live))
		printf("%" PRIu64 " bytes backed, blocks live on %" PRIu64 "\n", stats.backed,
			live);
}

/* All of it may be used, all of it is there, and hints are refused. */
static void check_stopped(void)
{
	struct kvshim_region_stats stats = {.size = sizeof(stats)};
	int64_t block = 0;

	CHECK(kvshim_region_stats_get(e.region, &stats) == 0 && stats.is_static);
	for (int i = 0; i < e.n_allocations; i++) {
		struct kvshim_reservation row = {.size = sizeof(row)};

		CHECK(kvshim_reservation_next(e.allocation[i] - 1, &row) == 0);
		CHECK(row.base == e.allocation[i] && row.backed == row.reserved);
	}
	CHECK(kvshim_touch(e.region, &block, 1) == KVSHIM_ERR_GONE);
	CHECK(kvshim_region_end(e.region) == 0);
}

int main(int argc, char **argv)
{
	uint64_t n_steps = argc > 3 ? strtoull(argv[3], NULL, 10) : 2000;
	CUmodule module;
	CUcontext context;
	CUdevice device;
	int64_t padding = 0;
	uint64_t most = 0;

	if (argc < 3) {
		printf("usage: paged layers|outer|inner hints|none|forget|stop [STEPS [SEED]]\n");
		return 2;
	}
	random_state = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
	OK(cuInit(0));
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRetain(&context, device));
	OK(cuCtxSetCurrent(context));
	e.forgets = !strcmp(argv[2], "forget");
	e.stops = !strcmp(argv[2], "stop");
	e.hints = e.forgets || e.stops || !strcmp(argv[2], "hints");
	OK(cuModuleLoadData(&module, micro_ptx));
	OK(cuModuleGetFunction(&e.scatter, module, "micro_index_scatter"));
	OK(cuModuleGetFunction(&e.copy, module, "micro_copy"));
	OK(cuStreamCreate(&e.stream, CU_STREAM_NON_BLOCKING));
	OK(cuMemAlloc(&e.index, BATCH * sizeof(uint64_t)));
	OK(cuMemAlloc(&e.out, ROW));
	allocate(argv[1]);
	if (e.hints) {
		declare();
		hint(kvshim_touch(e.region, &padding, 1), "touch");
	}
	e.references[0] = 1;
	e.n_free = BLOCKS - 1;
	e.limit = 120;
	make_graph();
	for (uint64_t i = 0; i < n_steps && !failures; i++) {
		if (i % 500 == 499)
			e.limit = 30 + pick(120); /* the scheduler's budget moves */
		if (e.stops && i == n_steps / 2) {
			e.hints = false;
			usleep((WATCHDOG_MS + 50) * 1000);
		}
		step();
		check_token();
		if (i % 100 == 99) {
			check_backed();
			most = live_pages() > most ? live_pages() : most;
		}
	}
	printf("%s %s: %" PRIu64 " steps, %" PRIu64 " tokens read, %" PRIu64
	       " blocks shared, %" PRIu64 " preempted, live pages at most %" PRIu64
	       " MiB of %u MiB\n",
		argv[1], argv[2], e.n_steps, e.n_checked, e.n_shared, e.n_preempted, most >> 20,
		LAYERS * BLOCKS * PIECE >> 20);
	if (e.stops)
		check_stopped();
	if (e.hints)
		hint(kvshim_region_end(e.region), "end");
	OK(cuGraphExecDestroy(e.graph));
	for (int i = 0; i < e.n_allocations; i++)
		OK(cuMemFree(e.allocation[i]));
	OK(cuMemFree(e.index));
	OK(cuMemFree(e.out));
	OK(cuStreamDestroy(e.stream));
	OK(cuModuleUnload(module));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures ? 1 : 0;
}
