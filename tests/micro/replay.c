/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - graphs of kernels that the rules of micro.rules recognise: rows of a cache, written
 * by index arrays that are uploaded before each launch.
 *
 * The software GPU knows which pages have memory and what they ought to hold: a launch that finds
 * less than it reaches is a fault.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/stats.h"
#include "tests/micro/micro.h"
#include "tests/micro/state.h"

#define SIZE (64 * MIB)
#define PLANE (SIZE / 2) /* two planes in a cache */
#define ROW_WORDS 1024u
#define ROW (4ull * ROW_WORDS)
#define PAGE_ROWS (2 * MIB / ROW)
#define MAX_ROWS 8u

static CUstream stream;
static CUdeviceptr indices, out;

/* ---- what the programs below are made of ---- */

static CUdeviceptr cache(void)
{
	CUdeviceptr r = micro_alloc(SIZE);

	MUST(cuMemsetD8_v2, r, 0, SIZE);
	MUST(cuCtxSynchronize);
	return r;
}

/* Before each launch, while the stream is idle, as engines do it. */
static void upload(CUdeviceptr to, uint32_t n, const uint64_t *rows)
{
	MUST(cuStreamSynchronize, stream);
	MUST(cuMemcpyHtoD_v2, to, rows, n * sizeof(*rows));
}

static void write_rows(CUdeviceptr dst, CUdeviceptr index, uint32_t n, uint32_t value)
{
	uint32_t words = ROW_WORDS;
	uint64_t bytes = PLANE;

	micro_launch(micro_kernel("_Z10micro_rowsPjPKljjjm"), n, stream,
		PARAMS(&dst, &index, &n, &words, &value, &bytes));
}

static void read_rows(CUdeviceptr src, uint32_t rows)
{
	uint32_t words = ROW_WORDS;
	uint64_t bytes = PLANE;

	micro_launch(micro_kernel("_Z11micro_readsPjPKjjjm"), rows * words, stream,
		PARAMS(&out, &src, &rows, &words, &bytes));
}

static void begin(void)
{
	MUST(cuStreamSynchronize, stream);
	MUST(cuStreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
}

static CUgraph end(void)
{
	CUgraph graph;

	MUST(cuStreamEndCapture, stream, &graph);
	return graph;
}

/* The exec lives on when its graph is gone. */
static CUgraphExec made_of(CUgraph graph)
{
	CUgraphExec exec;

	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	MUST(cuGraphDestroy, graph);
	return exec;
}

static void launch(CUgraphExec exec)
{
	MUST(cuGraphLaunch, exec, stream);
	MUST(cuStreamSynchronize, stream);
}

static bool row_holds(CUdeviceptr plane, uint64_t row, uint32_t value)
{
	return micro_holds(plane + row * ROW, ROW_WORDS, value);
}

/* So many pages of the cache have memory: only where nothing else takes it away. */
static void expect_pages(CUdeviceptr r, uint64_t n, const char *when)
{
	struct micro_state state;

	if (!micro_shimmed() || !micro_has_rules() || getenv("KVSHIM_TEST_EVICT_EVERY") ||
		getenv("KVSHIM_TEST_EVICT_INTERVAL_MS"))
		return;
	micro_reservation(r, &state);
	micro_check(state.found && state.backed == n * 2 * MIB,
		"%s: %llu MiB have memory, expected %llu", when,
		(unsigned long long)(state.backed / MIB), (unsigned long long)(2 * n));
}

/* Nothing has leaked, as far as kernels are recognised. */
static void expect_elastic(CUdeviceptr r)
{
	if (micro_has_rules())
		micro_expect_elastic(r);
}

/* ---- rows ---- */

/* A graph that is replayed as an engine does it: one token more each time, in all planes. */
static void grows(void)
{
	static const uint64_t at[] = {0, 1, 2, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1,
		5 * PAGE_ROWS, 3, 5 * PAGE_ROWS + 1};
	static const uint64_t pages[] = {1, 1, 1, 1, 2, 2, 3, 3, 3};
	CUdeviceptr r = cache();
	CUgraphExec exec;
	char when[32];

	begin();
	write_rows(r, indices, 1, 71);
	write_rows(r + PLANE, indices, 1, 72);
	exec = made_of(end());
	expect_pages(r, 0, "nothing was launched");
	for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		upload(indices, 1, &at[i]);
		launch(exec);
		snprintf(when, sizeof(when), "row %llu", (unsigned long long)at[i]);
		expect_pages(r, 2 * pages[i], when);
		micro_check(row_holds(r, at[i], 71) && row_holds(r + PLANE, at[i], 72),
			"row %llu is written in both planes", (unsigned long long)at[i]);
	}
	expect_elastic(r);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* Two launches of one upload: the second may not rest on it, but is right. */
static void without_upload(void)
{
	uint64_t row = 7;
	CUdeviceptr r = cache();
	CUgraphExec exec;

	begin();
	write_rows(r, indices, 1, 73);
	exec = made_of(end());
	upload(indices, 1, &row);
	launch(exec);
	MUST(cuMemsetD8_v2, r + row * ROW, 0, ROW);
	MUST(cuCtxSynchronize);
	launch(exec);
	micro_check(row_holds(r, row, 73), "a graph is launched twice on one upload");
	expect_elastic(r);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* The memory of an index array is used again inside the same graph, after its last reader and
 * before: by an unknown kernel, a set and a copy on the device. */
static void reused(void)
{
	uint64_t rows[] = {2 * PAGE_ROWS}, other[] = {4 * PAGE_ROWS}, row;
	uint32_t n = 1, far = 6 * PAGE_ROWS;
	CUdeviceptr r = cache(), spare = indices + 4096;
	CUgraphExec exec;

	begin();
	write_rows(r, indices, 1, 81);
	micro_launch(micro_kernel("micro_index_set"), n, stream, PARAMS(&indices, &n, &far));
	write_rows(r, indices, 1, 82);
	MUST(cuMemsetD8Async, indices, 0, 8, stream);
	write_rows(r + PLANE, indices, 1, 83);
	MUST(cuMemcpyDtoDAsync_v2, indices, spare, 8, stream);
	write_rows(r + PLANE, indices, 1, 84);
	exec = made_of(end());
	for (int i = 0; i < 3; i++) {
		upload(indices, 1, rows);
		upload(spare, 1, other);
		launch(exec);
		micro_check(row_holds(r, rows[0], 81) && row_holds(r, far, 82) &&
				    row_holds(r + PLANE, 0, 83) &&
				    row_holds(r + PLANE, other[0], 84),
			"an index array is overwritten three times inside a graph (launch %d)", i);
		rows[0] += PAGE_ROWS / 2;
		other[0] += PAGE_ROWS / 2;
	}
	expect_elastic(r);
	MUST(cuMemcpyDtoH_v2, &row, indices, sizeof(row));
	micro_check(
		row == other[0] - PAGE_ROWS / 2, "the copy inside the graph was the last to write");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* The index array is uploaded by the graph itself, and is another one at each launch. */
static void upload_inside(void)
{
	static uint64_t host[MAX_ROWS];
	CUdeviceptr r = cache();
	CUgraphExec exec;

	host[0] = 3 * PAGE_ROWS;
	begin();
	MUST(cuMemcpyHtoDAsync_v2, indices, host, 8, stream);
	write_rows(r, indices, 1, 91);
	exec = made_of(end());
	for (int i = 0; i < 3; i++) {
		host[0] += PAGE_ROWS;
		launch(exec);
		micro_check(row_holds(r, host[0], 91),
			"a graph uploads its own index array (launch %d)", i);
	}
	expect_elastic(r);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* ---- changes ---- */

static void updates(void)
{
	CUdeviceptr a = cache(), b = cache();
	uint64_t row = 9;
	CUgraphExecUpdateResultInfo info;
	CUgraph more, same;
	CUgraphExec exec;
	CUresult result;

	begin();
	write_rows(a, indices, 1, 101);
	exec = made_of(end());
	begin();
	write_rows(b, indices, 1, 102);
	write_rows(b + PLANE, indices, 1, 103);
	more = end();
	result = cu.cuGraphExecUpdate_v2(exec, more, &info);
	micro_check(result == CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
		"an update with another shape is refused");
	upload(indices, 1, &row);
	launch(exec);
	micro_check(row_holds(a, row, 101) && row_holds(b, row, 0),
		"after an update that failed the exec does what it did");
	expect_pages(b, 0, "an update that failed");
	begin();
	write_rows(b, indices, 1, 104);
	same = end();
	MUST(cuGraphExecUpdate_v2, exec, same, &info);
	MUST(cuGraphDestroy, same);
	row = 10 * PAGE_ROWS - 1;
	upload(indices, 1, &row);
	launch(exec);
	micro_check(row_holds(b, row, 104) && row_holds(a, row, 0),
		"after an update the exec does something else");
	expect_pages(a, 1, "an update");
	expect_elastic(a);
	expect_elastic(b);
	MUST(cuGraphDestroy, more);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, a);
	MUST(cuMemFree_v2, b);
}

/* A graph made node by node: {rows, rows}, the second after the first. */
static CUgraph by_hand(CUdeviceptr a, CUdeviceptr b, CUgraphNode ret_nodes[2],
	CUDA_KERNEL_NODE_PARAMS_v2 *ret_params, void **params)
{
	CUgraph graph;

	*ret_params = (CUDA_KERNEL_NODE_PARAMS_v2){.func = micro_kernel("_Z10micro_rowsPjPKljjjm"),
		.gridDimX = 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 128,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = params};
	MUST(cuGraphCreate, &graph, 0);
	*(CUdeviceptr *)params[0] = a;
	MUST(cuGraphAddKernelNode_v2, &ret_nodes[0], graph, NULL, 0, ret_params);
	*(CUdeviceptr *)params[0] = b;
	MUST(cuGraphAddKernelNode_v2, &ret_nodes[1], graph, &ret_nodes[0], 1, ret_params);
	return graph;
}

static void parameters(void)
{
	CUdeviceptr a = cache(), b = cache(), dst, index = indices;
	uint32_t n = 1, words = ROW_WORDS, value = 111;
	uint64_t bytes = PLANE, row = PAGE_ROWS + 5;
	void *params[] = {&dst, &index, &n, &words, &value, &bytes};
	CUDA_KERNEL_NODE_PARAMS_v2 kernel;
	CUgraphNode nodes[2];
	CUgraph graph = by_hand(a, a + PLANE, nodes, &kernel, params), clone;
	CUgraphExec exec, of_clone;

	MUST(cuGraphClone, &clone, graph);
	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	of_clone = made_of(clone);
	dst = b;
	MUST(cuGraphExecKernelNodeSetParams_v2, exec, nodes[0], &kernel);
	upload(indices, 1, &row);
	launch(exec);
	micro_check(
		row_holds(b, row, 111) && row_holds(a + PLANE, row, 111) && row_holds(a, row, 0),
		"the parameters of one node of an exec are set");
	row++;
	upload(indices, 1, &row);
	launch(of_clone);
	micro_check(
		row_holds(a, row, 111) && row_holds(b, row, 0), "a clone has kept the old ones");
	MUST(cuGraphNodeSetEnabled, exec, nodes[0], 0);
	row = 6 * PAGE_ROWS;
	upload(indices, 1, &row);
	launch(exec);
	micro_check(row_holds(b, row, 0) && row_holds(a + PLANE, row, 111), "a node is disabled");
	MUST(cuGraphNodeSetEnabled, exec, nodes[0], 1);
	row = 7 * PAGE_ROWS;
	upload(indices, 1, &row);
	launch(exec);
	micro_check(row_holds(b, row, 111), "and enabled again");
	expect_elastic(a);
	expect_elastic(b);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuGraphExecDestroy, of_clone);
	MUST(cuGraphDestroy, graph);
	MUST(cuMemFree_v2, a);
	MUST(cuMemFree_v2, b);
}

static void children(void)
{
	CUdeviceptr r = cache();
	uint64_t row = 3 * PAGE_ROWS;
	CUgraph inner, outer;
	CUgraphNode first, second;
	CUgraphExec exec;

	begin();
	write_rows(r, indices, 1, 121);
	inner = end();
	MUST(cuGraphCreate, &outer, 0);
	MUST(cuGraphAddChildGraphNode, &first, outer, NULL, 0, inner);
	MUST(cuGraphDestroy, inner);
	begin();
	write_rows(r + PLANE, indices, 1, 122);
	inner = end();
	MUST(cuGraphAddChildGraphNode, &second, outer, &first, 1, inner);
	MUST(cuGraphDestroy, inner);
	exec = made_of(outer);
	upload(indices, 1, &row);
	launch(exec);
	micro_check(row_holds(r, row, 121) && row_holds(r + PLANE, row, 122),
		"two graphs inside a graph are followed");
	expect_pages(r, 2, "graphs inside a graph");
	expect_elastic(r);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* ---- whole ranges ---- */

/* A set of the whole cache to zero as a node, with a row written after it, and one before. */
static void cleared(void)
{
	CUdeviceptr r = cache();
	uint64_t row = 2 * PAGE_ROWS + 1;
	CUgraphExec exec;

	begin();
	write_rows(r + PLANE, indices, 1, 131);
	MUST(cuMemsetD8Async, r, 0, SIZE, stream);
	write_rows(r, indices, 1, 132);
	exec = made_of(end());
	for (int i = 0; i < 3; i++) {
		upload(indices, 1, &row);
		launch(exec);
		micro_check(row_holds(r, row, 132) && row_holds(r, row - 1, 0) &&
				    row_holds(r + PLANE, row, 0),
			"a cache is cleared between two writes of a graph (launch %d)", i);
		row += PAGE_ROWS;
	}
	expect_elastic(r);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* One plane is copied over the other by a node, as sequences are. */
static void copied(void)
{
	CUdeviceptr r = cache();
	uint64_t row = 4 * PAGE_ROWS;
	CUgraphExec exec;

	begin();
	write_rows(r, indices, 1, 141);
	MUST(cuMemcpyDtoDAsync_v2, r + PLANE, r, PLANE, stream);
	read_rows(r + PLANE + row * ROW, 1);
	exec = made_of(end());
	upload(indices, 1, &row);
	launch(exec);
	micro_check(row_holds(r + PLANE, row, 141) && row_holds(out, 0, 141),
		"a plane is copied to another one by a graph");
	expect_elastic(r);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* Two planes that grow apart are read with one extent, the larger of the two. */
static void one_extent(void)
{
	CUdeviceptr r = cache();
	CUdeviceptr second = indices + 4096;
	uint64_t row, other;
	CUgraphExec exec;

	begin();
	write_rows(r, indices, 1, 151);
	write_rows(r + PLANE, second, 1, 152);
	read_rows(r, 4);
	read_rows(r + PLANE, 4);
	exec = made_of(end());
	for (row = 0, other = 3; row < 3; row++, other--) {
		upload(indices, 1, &row);
		upload(second, 1, &other);
		launch(exec);
		micro_check(row_holds(r, row, 151) && row_holds(r + PLANE, other, 152) &&
				    row_holds(out, other, 152),
			"two streams are read with one extent (rows %llu and %llu)",
			(unsigned long long)row, (unsigned long long)other);
	}
	expect_pages(r, 2, "two streams");
	expect_elastic(r);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

/* A kernel of a known family with an unknown parameter list is an unknown kernel. */
static void stranger(void)
{
	CUdeviceptr r = cache();
	uint32_t n = 100, value = 161;
	CUgraphExec exec;

	begin();
	micro_launch(micro_kernel("_Z14micro_strangerPjjj"), n, stream, PARAMS(&r, &n, &value));
	exec = made_of(end());
	launch(exec);
	micro_check(
		micro_holds(r, n, value), "a kernel of a known family that is not understood runs");
	if (micro_has_rules())
		micro_expect_static(r, KV_STATIC_GRAPH,
			"family micro_stranger, unknown parameter list: _Z14micro_strangerPjjj");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuMemFree_v2, r);
}

int main(void)
{
	micro_start();
	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	indices = micro_alloc(MIB);
	out = micro_alloc(MAX_ROWS * ROW);
	grows();
	without_upload();
	reused();
	upload_inside();
	updates();
	parameters();
	children();
	cleared();
	copied();
	one_extent();
	stranger();
	MUST(cuMemFree_v2, indices);
	MUST(cuMemFree_v2, out);
	MUST(cuStreamDestroy_v2, stream);
	return micro_end();
}
