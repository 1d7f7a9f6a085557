/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes.c - what becomes static by a graph of each kind of node: what the node may reach, and
 * nothing else. Where that is not to be known it is everything.
 *
 * Each case has memory that its graph names and memory that it does not. What runs is right in any
 * case: the software GPU knows what each byte ought to be.
 */
#include <stdio.h>
#include <string.h>

#include "core/stats.h"
#include "tests/micro/micro.h"

#define SIZE (16 * MIB)
#define N 2000u
#define ROW_WORDS 1024u

static CUstream stream;
static CUdeviceptr index_array;
static unsigned int runs_of_host;

/* ---- graphs ---- */

static CUgraph empty(void)
{
	CUgraph graph;

	MUST(cuGraphCreate, &graph, 0);
	return graph;
}

static CUgraphNode add(CUgraph graph, CUgraphNodeParams *params)
{
	CUgraphNode node;

	MUST(cuGraphAddNode_v2, &node, graph, NULL, NULL, 0, params);
	return node;
}

static CUDA_KERNEL_NODE_PARAMS_v2 kernel(CUfunction f, void **params, void **extra)
{
	return (CUDA_KERNEL_NODE_PARAMS_v2){.func = f,
		.gridDimX = N / 128 + 1,
		.gridDimY = 1,
		.gridDimZ = 1,
		.blockDimX = 128,
		.blockDimY = 1,
		.blockDimZ = 1,
		.kernelParams = params,
		.extra = extra};
}

/* A kernel that no rule knows. */
static CUgraphNode add_fill(CUgraph graph, CUdeviceptr dst, uint32_t value)
{
	uint32_t n = N;
	CUDA_KERNEL_NODE_PARAMS_v2 p =
		kernel(micro_kernel("micro_fill"), PARAMS(&dst, &n, &value), NULL);
	CUgraphNode node;

	MUST(cuGraphAddKernelNode_v2, &node, graph, NULL, 0, &p);
	return node;
}

/* One that a rule knows: row 0. */
static CUgraphNode add_row(CUgraph graph, CUdeviceptr dst, uint32_t value)
{
	uint32_t n = 1, words = ROW_WORDS;
	uint64_t bytes = SIZE;
	CUDA_KERNEL_NODE_PARAMS_v2 p = kernel(micro_kernel("_Z10micro_rowsPjPKljjjm"),
		PARAMS(&dst, &index_array, &n, &words, &value, &bytes), NULL);
	CUgraphNode node;

	MUST(cuGraphAddKernelNode_v2, &node, graph, NULL, 0, &p);
	return node;
}

static void set_row(CUgraphExec exec, CUgraphNode node, CUdeviceptr dst, uint32_t value)
{
	uint32_t n = 1, words = ROW_WORDS;
	uint64_t bytes = SIZE;
	CUDA_KERNEL_NODE_PARAMS_v2 p = kernel(micro_kernel("_Z10micro_rowsPjPKljjjm"),
		PARAMS(&dst, &index_array, &n, &words, &value, &bytes), NULL);

	MUST(cuGraphExecKernelNodeSetParams_v2, exec, node, &p);
}

static CUgraphExec made_of(CUgraph graph)
{
	CUgraphExec exec;

	MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	return exec;
}

static void launch(CUgraphExec exec)
{
	uint64_t row = 0;

	MUST(cuStreamSynchronize, stream);
	MUST(cuMemcpyHtoD_v2, index_array, &row, sizeof(row));
	MUST(cuGraphLaunch, exec, stream);
	MUST(cuStreamSynchronize, stream);
}

/* The graph, launched once and gone. */
static void run(CUgraph graph)
{
	CUgraphExec exec = made_of(graph);

	launch(exec);
	MUST(cuGraphExecDestroy, exec);
	MUST(cuGraphDestroy, graph);
}

/* ---- what was expected ---- */

/* Four pieces of memory, all elastic and zero. */
struct four {
	CUdeviceptr a, b, c, other;
};

static struct four four(void)
{
	CUdeviceptr r[4];

	for (int i = 0; i < 4; i++) {
		r[i] = micro_alloc(SIZE);
		MUST(cuMemsetD8_v2, r[i], 0, SIZE);
	}
	MUST(cuCtxSynchronize);
	return (struct four){r[0], r[1], r[2], r[3]};
}

static void expect(CUdeviceptr r, const char *by)
{
	if (micro_has_rules() && by)
		micro_expect_static(r, KV_STATIC_GRAPH, by);
	else if (micro_has_rules())
		micro_expect_elastic(r);
}

/* by: what made a, b, c static; NULL: nothing. None has touched the fourth, which is as all says.
 */
static void done(struct four m, const char *a, const char *b, const char *c, const char *all)
{
	expect(m.a, a);
	expect(m.b, b);
	expect(m.c, c);
	expect(m.other, all);
	MUST(cuMemFree_v2, m.a);
	MUST(cuMemFree_v2, m.b);
	MUST(cuMemFree_v2, m.c);
	MUST(cuMemFree_v2, m.other);
}

static const char rows[] = "_Z10micro_rowsPjPKljjjm";

/* ---- one node ---- */

static void kernels(void)
{
	struct four m = four();
	CUgraph graph = empty();

	add_fill(graph, m.a, 1);
	add_row(graph, m.b, 2);
	run(graph);
	micro_check(micro_holds(m.a, N, 1) && micro_holds(m.b, ROW_WORDS, 2),
		"an unknown kernel makes static what it names, beside one that is known");
	done(m, "micro_fill", NULL, NULL, NULL);
}

static void copies(void)
{
	struct four m = four();
	CUgraph graph = empty();
	CUgraphNodeParams set = {.type = CU_GRAPH_NODE_TYPE_MEMSET,
		.memset = {.dst = m.a, .value = 3, .elementSize = 4, .width = N, .height = 1}};
	CUgraphNodeParams copy = {.type = CU_GRAPH_NODE_TYPE_MEMCPY,
		.memcpy.copyParams = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
			.srcDevice = m.b,
			.dstMemoryType = CU_MEMORYTYPE_DEVICE,
			.dstDevice = m.c,
			.WidthInBytes = 4 * N,
			.Height = 1,
			.Depth = 1}};

	set.memset.ctx = copy.memcpy.copyCtx = cu.context;
	MUST(cuMemsetD8_v2, m.b, 4, 4 * N);
	add(graph, &set);
	add(graph, &copy);
	run(graph);
	micro_check(micro_holds(m.a, N, 3) && micro_holds(m.c, N, 0x04040404),
		"sets and copies reach what they say, and keep nothing");
	done(m, NULL, NULL, NULL, NULL);
}

static void CUDA_CB on_host(void *data)
{
	runs_of_host++;
}

static void without_memory(void)
{
	struct four m = four();
	CUgraph graph = empty();
	CUevent event;
	CUgraphNodeParams host = {
		.type = CU_GRAPH_NODE_TYPE_HOST, .host = {.fn = on_host, .userData = (void *)m.a}};
	CUgraphNodeParams record = {.type = CU_GRAPH_NODE_TYPE_EVENT_RECORD};
	CUgraphNodeParams wait = {.type = CU_GRAPH_NODE_TYPE_WAIT_EVENT};
	CUgraphNodeParams nothing = {.type = CU_GRAPH_NODE_TYPE_EMPTY};

	MUST(cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
	record.eventRecord.event = wait.eventWait.event = event;
	add(graph, &host);
	add(graph, &record);
	add(graph, &wait);
	add(graph, &nothing);
	run(graph);
	micro_check(runs_of_host == 1, "host functions, events and empty nodes touch no memory");
	MUST(cuEventDestroy_v2, event);
	done(m, NULL, NULL, NULL, NULL);
}

static void values(void)
{
	struct four m = four();
	CUgraph graph = empty();
	CUstreamBatchMemOpParams op = {
		.writeValue = {
			.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32, .address = m.a, .value = 5}};
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP,
		.memOp = {.ctx = cu.context, .count = 1, .paramArray = &op}};

	add(graph, &params);
	run(graph);
	micro_check(micro_holds(m.a, 1, 5), "values that are written name one place");
	done(m, "cuGraphAddNode", NULL, NULL, NULL);
}

static void children(void)
{
	struct four m = four();
	CUgraph graph = empty(), child = empty();
	CUgraphNode node;

	add_fill(child, m.a, 6);
	MUST(cuGraphAddChildGraphNode, &node, graph, NULL, 0, child);
	MUST(cuGraphDestroy, child);
	add_row(graph, m.b, 7);
	run(graph);
	micro_check(micro_holds(m.a, N, 6) && micro_holds(m.b, ROW_WORDS, 7),
		"an unknown kernel in a child graph makes static what it names");
	done(m, "micro_fill", NULL, NULL, NULL);
}

/* ---- nodes that may reach anything ---- */

static void conditional(void)
{
	static const char why[] = "a conditional node, whose bodies the driver does not show";
	struct four m = four();
	CUgraph graph = empty();
	CUgraphNodeParams params = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL,
		.conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 1, .ctx = cu.context}};

	MUST(cuGraphConditionalHandleCreate, &params.conditional.handle, graph, cu.context, 0,
		CU_GRAPH_COND_ASSIGN_DEFAULT);
	add(graph, &params);
	add_fill(params.conditional.phGraph_out[0], m.a, 8);
	add_row(graph, m.b, 9);
	run(graph);
	micro_check(micro_holds(m.b, ROW_WORDS, 9) && micro_holds(m.a, N, 0),
		"a conditional node may reach anything");
	done(m, why, why, why, why);
}

static void updatable(void)
{
	static const char why[] = "a kernel whose parameters the device may change";
	struct four m = four();
	CUgraph graph = empty();
	CUgraphNode node = add_row(graph, m.a, 10);
	CUkernelNodeAttrValue value;

	memset(&value, 0, sizeof(value));
	value.deviceUpdatableKernelNode.deviceUpdatable = 1;
	MUST(cuGraphKernelNodeSetAttribute, node,
		CU_KERNEL_NODE_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE, &value);
	run(graph);
	micro_check(micro_holds(m.a, ROW_WORDS, 10),
		"a kernel that the device may change may reach anything");
	done(m, why, why, why, why);
}

/* A parameter list that the driver is said to read and that we do not: its layout is known to
 * neither of those that the shim asks, where the driver does not tell either. */
static const char strange_ptx[] = ".version 7.0\n.target sm_80\n.address_size 64\n"
				  ".visible .entry micro_fill(.param .strange .u64 dst, "
				  ".param .u32 n, .param .u32 value)\n{ ret; }\n";

static void without_layout(bool packed)
{
	static const char why[] = "a kernel without a known parameter layout";
	struct four m = four();
	CUgraph graph = empty();
	struct {
		CUdeviceptr dst;
		uint32_t n, value;
	} block = {m.a, N, packed ? 11 : 12};
	size_t size = sizeof(block);
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &block, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
		CU_LAUNCH_PARAM_END};
	void *params[] = {&block.dst, &block.n, &block.value};
	CUDA_KERNEL_NODE_PARAMS_v2 p;
	CUmodule module;
	CUgraphNode node;
	CUfunction f;

	MUST(cuModuleLoadData, &module, strange_ptx);
	MUST(cuModuleGetFunction, &f, module, "micro_fill");
	p = kernel(f, packed ? NULL : params, packed ? extra : NULL);
	MUST(cuGraphAddKernelNode_v2, &node, graph, NULL, 0, &p);
	run(graph);
	micro_check(micro_holds(m.a, N, block.value),
		packed ? "in a packed block without a layout the addresses stand all the same"
		       : "nobody knows what stands in single parameters without a layout");
	if (packed)
		done(m, "micro_fill", NULL, NULL, NULL);
	else
		done(m, why, why, why, why);
	MUST(cuModuleUnload, module);
}

/* The driver does not tell its edges: nobody knows what comes after what. */
static void without_order(void)
{
	struct four m = four();
	CUgraph graph = empty();

	add_row(graph, m.a, 22);
	add_fill(graph, m.b, 23);
	run(graph);
	micro_check(micro_holds(m.a, ROW_WORDS, 22) && micro_holds(m.b, N, 23),
		"in whichever order nodes run, they reach what they name");
	done(m, rows, "micro_fill", NULL, NULL);
}

/* ---- changes after which nobody knows which node is which ---- */

static void update(CUgraphExec exec, CUgraph graph)
{
	CUgraphExecUpdateResultInfo info;

	MUST(cuGraphExecUpdate_v2, exec, graph, &info);
}

/* After an update nodes have other handles than the program knows: a change adds to what is known.
 */
static void changed_after_update(void)
{
	struct four m = four();
	CUgraph first = empty(), second = empty();
	CUgraphNode node = add_row(first, m.a, 13);
	CUgraphExec exec = made_of(first);

	add_row(second, m.b, 14);
	update(exec, second);
	set_row(exec, node, m.c, 15);
	launch(exec);
	set_row(exec, node, m.c, 16);
	launch(exec);
	micro_check(micro_holds(m.c, ROW_WORDS, 16) && micro_holds(m.b, ROW_WORDS, 0) &&
			    micro_holds(m.a, ROW_WORDS, 0),
		"a node that is changed after an update may be any of the nodes");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuGraphDestroy, first);
	MUST(cuGraphDestroy, second);
	done(m, NULL, rows, rows, NULL);
}

/* Which nodes of the new graph are disabled is not told: any of them may run. */
static void updated_while_disabled(bool enabled_again)
{
	struct four m = four();
	CUgraph first = empty(), second = empty();
	CUgraphNode node = add_row(first, m.a, 17);
	CUgraphExec exec = made_of(first);

	MUST(cuGraphNodeSetEnabled, exec, node, 0);
	launch(exec);
	micro_check(micro_holds(m.a, ROW_WORDS, 0), "a node that is disabled does not run");
	if (enabled_again)
		MUST(cuGraphNodeSetEnabled, exec, node, 1);
	add_row(second, m.b, 18);
	update(exec, second);
	launch(exec);
	micro_check(micro_holds(m.b, ROW_WORDS, enabled_again ? 18 : 0) ||
			    micro_holds(m.b, ROW_WORDS, 18),
		"a graph is updated while a node of it %s disabled",
		enabled_again ? "was once" : "is");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuGraphDestroy, first);
	MUST(cuGraphDestroy, second);
	done(m, NULL, enabled_again ? NULL : rows, NULL, NULL);
}

/* A set to zero that may not run proves nothing. */
static void zero_that_may_not_run(void)
{
	struct four m = four();
	CUgraph first = empty(), second = empty();
	CUgraphNodeParams set = {.type = CU_GRAPH_NODE_TYPE_MEMSET,
		.memset = {.dst = m.b, .elementSize = 4, .width = SIZE / 4, .height = 1}};
	CUgraphNode node;
	CUgraphExec exec;

	set.memset.ctx = cu.context;
	node = add(first, &set);
	exec = made_of(first);
	MUST(cuMemsetD8_v2, m.a, 0x5a, 4 * N);
	MUST(cuGraphNodeSetEnabled, exec, node, 0);
	set.memset.dst = m.a;
	add(second, &set);
	update(exec, second);
	launch(exec);
	micro_check(micro_holds(m.a, N, 0x5a5a5a5a) || micro_holds(m.a, N, 0),
		"what a set that may be disabled leaves is what the driver left");
	/* Afterwards the program knows no more than we do which node that is. */
	MUST(cuGraphNodeSetEnabled, exec, node, 0);
	MUST(cuMemsetD8_v2, m.a, 0x5b, 4 * N);
	launch(exec);
	micro_check(micro_holds(m.a, N, 0x5b5b5b5b), "and one that does not run leaves all");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuGraphDestroy, first);
	MUST(cuGraphDestroy, second);
	done(m, NULL, NULL, NULL, NULL);
}

static void other_child(void)
{
	struct four m = four();
	CUgraph graph = empty(), child = empty(), other = empty();
	CUgraphExec exec;
	CUgraphNode node;

	add_row(child, m.a, 20);
	MUST(cuGraphAddChildGraphNode, &node, graph, NULL, 0, child);
	exec = made_of(graph);
	add_row(other, m.b, 21);
	MUST(cuGraphExecChildGraphNodeSetParams, exec, node, other);
	launch(exec);
	micro_check(micro_holds(m.b, ROW_WORDS, 21) && micro_holds(m.a, ROW_WORDS, 0),
		"another child graph is beside what was there");
	MUST(cuGraphExecDestroy, exec);
	MUST(cuGraphDestroy, graph);
	MUST(cuGraphDestroy, child);
	MUST(cuGraphDestroy, other);
	done(m, rows, rows, NULL, NULL);
}

int main(int argc, char **argv)
{
	micro_start();
	MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	index_array = micro_alloc(MIB);
	if (argc > 1 && !strcmp(argv[1], "layouts")) {
		without_layout(true);
		without_layout(false);
	} else if (argc > 1 && !strcmp(argv[1], "order")) {
		without_order();
	} else {
		kernels();
		copies();
		without_memory();
		values();
		children();
		conditional();
		updatable();
		changed_after_update();
		updated_while_disabled(false);
		updated_while_disabled(true);
		zero_that_may_not_run();
		other_child();
	}
	MUST(cuMemFree_v2, index_array);
	MUST(cuStreamDestroy_v2, stream);
	return micro_end();
}
