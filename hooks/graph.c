/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.c - explicit graphs, and launches of graphs.
 *
 * With kernel rules, a graph is read when it is instantiated and evaluated when it is launched
 * (graph_exec.h); here only changes of a node of an executable graph are passed on, and the ranges
 * of copies and sets are made whole while the driver looks at them.
 *
 * Without, whatever a node names leaks when the node is made or changed: a graph may be launched at
 * any time after that, through handles that need not come by here again (clones, child graphs,
 * updates, launches from the device). The launch itself only makes leaked reservations whole.
 * Values that are written by nodes of their own kind leak in both cases.
 */
#include "hooks/call.h"
#include "hooks/graph_exec.h"
#include "hooks/launch.h"
#include "hooks/recognise.h"
#include "hooks/track.h"

/* ---- what a node holds ---- */

/* The parameters of one node, in the versions that are used below. */
struct holding {
	CUgraphNodeType type; /* KERNEL, MEMCPY, MEMSET, BATCH_MEM_OP, GRAPH; EMPTY: no address */
	union {
		CUDA_KERNEL_NODE_PARAMS_v2 kernel;
		CUDA_MEMCPY3D_v2 copy;
		CUDA_MEMSET_NODE_PARAMS_v1 set;
		CUDA_BATCH_MEM_OP_NODE_PARAMS batch;
		CUgraph graph;
	};
};

static struct holding of_kernel_v2(const CUDA_KERNEL_NODE_PARAMS_v2 *p)
{
	struct holding h = {.type = CU_GRAPH_NODE_TYPE_EMPTY};

	if (p && (p->func || p->kern)) {
		h.type = CU_GRAPH_NODE_TYPE_KERNEL;
		h.kernel = *p;
	}
	return h;
}

static struct holding of_kernel_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *p)
{
	CUDA_KERNEL_NODE_PARAMS_v2 v2 = {0};

	if (p)
		v2 = (CUDA_KERNEL_NODE_PARAMS_v2){p->func, p->gridDimX, p->gridDimY, p->gridDimZ,
			p->blockDimX, p->blockDimY, p->blockDimZ, p->sharedMemBytes,
			p->kernelParams, p->extra, NULL, NULL};
	return of_kernel_v2(&v2);
}

static struct holding of_copy(const CUDA_MEMCPY3D_v2 *p)
{
	struct holding h = {.type = CU_GRAPH_NODE_TYPE_EMPTY};

	if (p) {
		h.type = CU_GRAPH_NODE_TYPE_MEMCPY;
		h.copy = *p;
	}
	return h;
}

static struct holding of_set(const CUDA_MEMSET_NODE_PARAMS_v1 *p)
{
	struct holding h = {.type = CU_GRAPH_NODE_TYPE_EMPTY};

	if (p) {
		h.type = CU_GRAPH_NODE_TYPE_MEMSET;
		h.set = *p;
	}
	return h;
}

static struct holding of_batch(const CUDA_BATCH_MEM_OP_NODE_PARAMS *p)
{
	struct holding h = {.type = CU_GRAPH_NODE_TYPE_EMPTY};

	if (p && p->paramArray) {
		h.type = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP;
		h.batch = *p;
	}
	return h;
}

static struct holding of_any(const CUgraphNodeParams *p)
{
	struct holding h = {.type = CU_GRAPH_NODE_TYPE_EMPTY};

	if (!p)
		return h;
	switch (p->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		h.kernel = (CUDA_KERNEL_NODE_PARAMS_v2){p->kernel.func, p->kernel.gridDimX,
			p->kernel.gridDimY, p->kernel.gridDimZ, p->kernel.blockDimX,
			p->kernel.blockDimY, p->kernel.blockDimZ, p->kernel.sharedMemBytes,
			p->kernel.kernelParams, p->kernel.extra, p->kernel.kern, p->kernel.ctx};
		return of_kernel_v2(&h.kernel);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		return of_copy(&p->memcpy.copyParams);
	case CU_GRAPH_NODE_TYPE_MEMSET:
		h.type = p->type;
		h.set = (CUDA_MEMSET_NODE_PARAMS_v1){.dst = p->memset.dst,
			.pitch = p->memset.pitch,
			.value = p->memset.value,
			.elementSize = p->memset.elementSize,
			.width = p->memset.width,
			.height = p->memset.height};
		return h;
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
		h.batch = (CUDA_BATCH_MEM_OP_NODE_PARAMS){
			.count = p->memOp.count, .paramArray = p->memOp.paramArray};
		return of_batch(&h.batch);
	default:
		/* Child graphs came through the same doors; the others carry no address. */
		if (p->type == CU_GRAPH_NODE_TYPE_GRAPH) {
			h.type = p->type;
			h.graph = p->graph.graph;
		}
		return h;
	}
}

/* ---- without kernel rules: everything leaks ---- */

static void leak_address(uint64_t address, const char *by)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, address);

	if (r)
		kv_leak(r, KV_STATIC_GRAPH, by);
}

/* One end of a copy. True if it is (or may be) host memory. */
static bool leak_copy_end(
	CUmemorytype type, const void *host, uint64_t device, uint64_t start, const char *by)
{
	enum kv_track_kind kind;
	uint64_t base, size;

	if (type == CU_MEMORYTYPE_HOST)
		return host;
	if (type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_UNIFIED)
		return false;
	leak_address(device, by);
	leak_address(device + start, by);
	if (type == CU_MEMORYTYPE_DEVICE || kv_core_find(kv_hooks.core, device + start))
		return false;
	return !kv_track_find(device + start, &kind, &base, &size) || kind >= KV_TRACK_PINNED;
}

static void leak_copy(const CUDA_MEMCPY3D_v2 *p, const char *by)
{
	bool from_host;

	leak_copy_end(p->dstMemoryType, p->dstHost, p->dstDevice,
		p->dstXInBytes + p->dstPitch * (p->dstY + p->dstHeight * p->dstZ), by);
	from_host = leak_copy_end(p->srcMemoryType, p->srcHost, p->srcDevice,
		p->srcXInBytes + p->srcPitch * (p->srcY + p->srcHeight * p->srcZ), by);
	/* The source is read at every launch, and may hold other addresses each time. */
	if (from_host && p->WidthInBytes * p->Height * p->Depth >= sizeof(CUdeviceptr))
		kv_graph_reads_host(by);
}

static void leak_mem_ops(const CUDA_BATCH_MEM_OP_NODE_PARAMS *p, const char *by)
{
	for (unsigned int i = 0; i < p->count; i++) {
		const CUstreamBatchMemOpParams *op = &p->paramArray[i];

		switch (op->operation) {
		case CU_STREAM_MEM_OP_WAIT_VALUE_32:
		case CU_STREAM_MEM_OP_WAIT_VALUE_64:
			leak_address(op->waitValue.address, by);
			break;
		case CU_STREAM_MEM_OP_WRITE_VALUE_64:
			/* The value may be an address itself. */
			leak_address(op->writeValue.value64, by);
			/* fall through */
		case CU_STREAM_MEM_OP_WRITE_VALUE_32:
			leak_address(op->writeValue.address, by);
			break;
		default:
			break;
		}
	}
}

static void leak(const struct holding *h, const char *by)
{
	const void *handle;

	switch (h->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		handle = h->kernel.func ? (const void *)h->kernel.func
					: (const void *)h->kernel.kern;
		kv_launch_scan(kv_kernel_of(handle), h->kernel.kernelParams, h->kernel.extra, true);
		break;
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		leak_copy(&h->copy, by);
		break;
	case CU_GRAPH_NODE_TYPE_MEMSET:
		leak_address(h->set.dst, by);
		break;
	default:
		break;
	}
}

/* ---- around the driver call ---- */

static bool is_program(void)
{
	kv_hooks_ready();
	return kv_hooks_active() && !kv_thread.depth;
}

/* Once a node has an address, another thread may launch it. True: after() leaves the gate. */
static bool before(const struct holding *h, const char *by)
{
	struct kv_node node = {0};
	struct kv_record record = {.n_nodes = 1, .nodes = &node};

	if (!is_program())
		return false;
	if (h->type == CU_GRAPH_NODE_TYPE_BATCH_MEM_OP)
		leak_mem_ops(&h->batch, by);
	if (!kv_graphs_are_read()) {
		leak(h, by);
		return false;
	}
	if ((h->type != CU_GRAPH_NODE_TYPE_MEMCPY && h->type != CU_GRAPH_NODE_TYPE_MEMSET) ||
		!kv_submit_enter())
		return false;
	kv_recognise_described();
	if (h->type == CU_GRAPH_NODE_TYPE_MEMCPY)
		kv_node_fill_copy(&node, &h->copy);
	else
		kv_node_fill_set(&node, &h->set);
	kv_record_touch_ranges(&record);
	return true;
}

static CUresult after(CUresult res, bool inside)
{
	if (inside)
		kv_submit_leave();
	return res;
}

/* The same for a node of an executable graph: what it holds now is remembered. */
static CUresult after_exec(
	CUresult res, bool inside, CUgraphExec exec, CUgraphNode node, const struct holding *h)
{
	after(res, inside);
	if (res != CUDA_SUCCESS || !is_program() || !kv_graphs_are_read())
		return res;
	switch (h->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		kv_exec_set_kernel(exec, node, &h->kernel);
		break;
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		kv_exec_set_copy(exec, node, &h->copy);
		break;
	case CU_GRAPH_NODE_TYPE_MEMSET:
		kv_exec_set_set(exec, node, &h->set);
		break;
	case CU_GRAPH_NODE_TYPE_GRAPH:
		kv_exec_set_child(exec, h->graph);
		break;
	default:
		break;
	}
	return res;
}

/* ---- entry points: nodes ---- */

#define NODE(symbol, holds, by, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		struct holding holding = holds; \
		bool inside = before(&holding, by); \
\
		return after(KV_REAL(symbol)(__VA_ARGS__), inside); \
	}
#define EXEC_NODE(symbol, holds, by, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		struct holding holding = holds; \
		bool inside = before(&holding, by); \
\
		return after_exec(KV_REAL(symbol)(__VA_ARGS__), inside, exec, node, &holding); \
	}

/* clang-format off */
#define ADD_NODE(symbol, of, params)                                                               \
	NODE(symbol, of(p), #symbol,                                                               \
		(CUgraphNode *ret, CUgraph graph, const CUgraphNode *after_nodes, size_t n,        \
			params p),                                                                 \
		ret, graph, after_nodes, n, p)
#define ADD_NODE_IN(symbol, of, params)                                                            \
	NODE(symbol, of(p), #symbol,                                                               \
		(CUgraphNode *ret, CUgraph graph, const CUgraphNode *after_nodes, size_t n,        \
			params p, CUcontext ctx),                                                  \
		ret, graph, after_nodes, n, p, ctx)
#define SET_NODE(symbol, of, params)                                                               \
	NODE(symbol, of(p), #symbol, (CUgraphNode node, params p), node, p)
#define SET_EXEC(symbol, of, params)                                                               \
	EXEC_NODE(symbol, of(p), #symbol, (CUgraphExec exec, CUgraphNode node, params p), exec,    \
		node, p)
#define SET_EXEC_IN(symbol, of, params)                                                            \
	EXEC_NODE(symbol, of(p), #symbol,                                                          \
		(CUgraphExec exec, CUgraphNode node, params p, CUcontext ctx), exec, node, p, ctx)
/* clang-format on */

ADD_NODE(cuGraphAddKernelNode, of_kernel_v1, const CUDA_KERNEL_NODE_PARAMS_v1 *)
ADD_NODE(cuGraphAddKernelNode_v2, of_kernel_v2, const CUDA_KERNEL_NODE_PARAMS_v2 *)
ADD_NODE_IN(cuGraphAddMemcpyNode, of_copy, const CUDA_MEMCPY3D_v2 *)
ADD_NODE_IN(cuGraphAddMemsetNode, of_set, const CUDA_MEMSET_NODE_PARAMS_v1 *)
ADD_NODE(cuGraphAddBatchMemOpNode, of_batch, const CUDA_BATCH_MEM_OP_NODE_PARAMS *)
ADD_NODE(cuGraphAddNode, of_any, CUgraphNodeParams *)
NODE(cuGraphAddNode_v2, of_any(p), "cuGraphAddNode",
	(CUgraphNode * ret, CUgraph graph, const CUgraphNode *after_nodes,
		const CUgraphEdgeData *edges, size_t n, CUgraphNodeParams *p),
	ret, graph, after_nodes, edges, n, p)

SET_NODE(cuGraphKernelNodeSetParams, of_kernel_v1, const CUDA_KERNEL_NODE_PARAMS_v1 *)
SET_NODE(cuGraphKernelNodeSetParams_v2, of_kernel_v2, const CUDA_KERNEL_NODE_PARAMS_v2 *)
SET_NODE(cuGraphMemcpyNodeSetParams, of_copy, const CUDA_MEMCPY3D_v2 *)
SET_NODE(cuGraphMemsetNodeSetParams, of_set, const CUDA_MEMSET_NODE_PARAMS_v1 *)
SET_NODE(cuGraphBatchMemOpNodeSetParams, of_batch, const CUDA_BATCH_MEM_OP_NODE_PARAMS *)
SET_NODE(cuGraphNodeSetParams, of_any, CUgraphNodeParams *)

SET_EXEC(cuGraphExecKernelNodeSetParams, of_kernel_v1, const CUDA_KERNEL_NODE_PARAMS_v1 *)
SET_EXEC(cuGraphExecKernelNodeSetParams_v2, of_kernel_v2, const CUDA_KERNEL_NODE_PARAMS_v2 *)
SET_EXEC_IN(cuGraphExecMemcpyNodeSetParams, of_copy, const CUDA_MEMCPY3D_v2 *)
SET_EXEC_IN(cuGraphExecMemsetNodeSetParams, of_set, const CUDA_MEMSET_NODE_PARAMS_v1 *)
SET_EXEC(cuGraphExecBatchMemOpNodeSetParams, of_batch, const CUDA_BATCH_MEM_OP_NODE_PARAMS *)
SET_EXEC(cuGraphExecNodeSetParams, of_any, CUgraphNodeParams *)

/* ---- entry points: submissions ---- */

/* A launch into a capturing stream only becomes a child graph. */
#define LAUNCH_GRAPH(symbol, per_thread) \
	CUresult CUDAAPI symbol(CUgraphExec exec, CUstream stream) \
	{ \
		struct kv_exec *known = NULL; \
		CUresult res = CUDA_SUCCESS; \
		uint64_t began; \
\
		if (!kv_submit_enter()) \
			return KV_REAL(symbol)(exec, stream); \
		began = kv_submit_launch(); \
		if (!kv_stream_captures(stream, per_thread)) \
			res = prepare_launch(exec, &known); \
		else \
			kv_recognise_described(); \
		kv_submit_launched(began); \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(exec, stream); \
		kv_exec_launched(known, res == CUDA_SUCCESS); \
		kv_submit_leave(); \
		return res; \
	}

/* [inside] */
static CUresult prepare_launch(CUgraphExec exec, struct kv_exec **ret_known)
{
	int err = 0;

	if (kv_graphs_are_read())
		err = kv_exec_launching(exec, ret_known);
	else
		kv_graph_launching("cuGraphLaunch");
	if (!err)
		err = kv_settle(kv_hooks.core);
	return kv_backed_result(err);
}

/* Runs no node. */
#define UPLOAD_GRAPH(symbol, per_thread) \
	CUresult CUDAAPI symbol(CUgraphExec exec, CUstream stream) \
	{ \
		CUresult res = CUDA_SUCCESS; \
\
		if (!kv_submit_enter()) \
			return KV_REAL(symbol)(exec, stream); \
		kv_recognise_described(); \
		if (!kv_stream_captures(stream, per_thread)) { \
			kv_graph_launching("cuGraphUpload"); \
			res = kv_submit_settle(); \
		} \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(exec, stream); \
		kv_submit_leave(); \
		return res; \
	}

LAUNCH_GRAPH(cuGraphLaunch, false)
LAUNCH_GRAPH(cuGraphLaunch_ptsz, true)
UPLOAD_GRAPH(cuGraphUpload, false)
UPLOAD_GRAPH(cuGraphUpload_ptsz, true)
