/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.c - explicit graphs. Whatever a node names leaks when the node is made or changed: a graph
 * may be launched at any time after that, through handles that need not come by here again (clones,
 * child graphs, updates, launches from the device). The launch itself only makes leaked
 * reservations whole.
 */
#include "hooks/call.h"
#include "hooks/launch.h"
#include "hooks/track.h"

/* ---- what a node names ---- */

/* False: nothing can leak, or it is the shim's own call. */
static bool leaks(void)
{
	kv_hooks_ready();
	return kv_hooks_active() && !kv_thread.depth;
}

static void leak_address(uint64_t address, const char *by)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, address);

	if (r)
		kv_leak(r, KV_STATIC_GRAPH, by);
}

static void leak_kernel(CUfunction function, CUkernel kernel, void **params, void **extra)
{
	const void *handle = function ? (const void *)function : (const void *)kernel;

	if (handle && leaks())
		kv_launch_scan(kv_kernel_of(handle), params, extra, true);
}

static void leak_kernel_v1(const CUDA_KERNEL_NODE_PARAMS_v1 *p)
{
	if (p)
		leak_kernel(p->func, NULL, p->kernelParams, p->extra);
}

static void leak_kernel_v2(const CUDA_KERNEL_NODE_PARAMS_v2 *p)
{
	if (p)
		leak_kernel(p->func, p->kern, p->kernelParams, p->extra);
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

	if (!p || !leaks())
		return;
	leak_copy_end(p->dstMemoryType, p->dstHost, p->dstDevice,
		p->dstXInBytes + p->dstPitch * (p->dstY + p->dstHeight * p->dstZ), by);
	from_host = leak_copy_end(p->srcMemoryType, p->srcHost, p->srcDevice,
		p->srcXInBytes + p->srcPitch * (p->srcY + p->srcHeight * p->srcZ), by);
	/* The source is read at every launch, and may hold other addresses each time. */
	if (from_host && p->WidthInBytes * p->Height * p->Depth >= sizeof(CUdeviceptr))
		kv_graph_reads_host(by);
}

static void leak_set(CUdeviceptr dst, const char *by)
{
	if (leaks())
		leak_address(dst, by);
}

static void leak_mem_ops(const CUstreamBatchMemOpParams *ops, unsigned int n, const char *by)
{
	if (!ops || !leaks())
		return;
	for (unsigned int i = 0; i < n; i++) {
		switch (ops[i].operation) {
		case CU_STREAM_MEM_OP_WAIT_VALUE_32:
		case CU_STREAM_MEM_OP_WAIT_VALUE_64:
			leak_address(ops[i].waitValue.address, by);
			break;
		case CU_STREAM_MEM_OP_WRITE_VALUE_64:
			/* The value may be an address itself. */
			leak_address(ops[i].writeValue.value64, by);
			/* fall through */
		case CU_STREAM_MEM_OP_WRITE_VALUE_32:
			leak_address(ops[i].writeValue.address, by);
			break;
		default:
			break;
		}
	}
}

static void leak_batch(const CUDA_BATCH_MEM_OP_NODE_PARAMS *p, const char *by)
{
	if (p)
		leak_mem_ops(p->paramArray, p->count, by);
}

static void leak_node(const CUgraphNodeParams *p, const char *by)
{
	if (!p)
		return;
	switch (p->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		leak_kernel(
			p->kernel.func, p->kernel.kern, p->kernel.kernelParams, p->kernel.extra);
		break;
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		leak_copy(&p->memcpy.copyParams, by);
		break;
	case CU_GRAPH_NODE_TYPE_MEMSET:
		leak_set(p->memset.dst, by);
		break;
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
		leak_mem_ops(p->memOp.paramArray, p->memOp.count, by);
		break;
	default:
		/* Child graphs came through the same doors; the others carry no address. */
		break;
	}
}

/* ---- entry points: nodes ---- */

/* Before the driver call: once a node has an address, another thread may launch it. */
#define NODE(symbol, leak, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		leak; \
		return KV_REAL(symbol)(__VA_ARGS__); \
	}

/* clang-format off */
#define ADD_NODE(symbol, leak, params)                                                             \
	NODE(symbol, leak,                                                                         \
		(CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t n, params p),   \
		ret, graph, after, n, p)
#define ADD_NODE_IN(symbol, leak, params)                                                          \
	NODE(symbol, leak,                                                                         \
		(CUgraphNode *ret, CUgraph graph, const CUgraphNode *after, size_t n, params p,    \
			CUcontext ctx),                                                            \
		ret, graph, after, n, p, ctx)
#define SET_NODE(symbol, leak, params)                                                             \
	NODE(symbol, leak, (CUgraphNode node, params p), node, p)
#define SET_EXEC(symbol, leak, params)                                                             \
	NODE(symbol, leak, (CUgraphExec exec, CUgraphNode node, params p), exec, node, p)
#define SET_EXEC_IN(symbol, leak, params)                                                          \
	NODE(symbol, leak, (CUgraphExec exec, CUgraphNode node, params p, CUcontext ctx),          \
		exec, node, p, ctx)
/* clang-format on */

ADD_NODE(cuGraphAddKernelNode, leak_kernel_v1(p), const CUDA_KERNEL_NODE_PARAMS_v1 *)
ADD_NODE(cuGraphAddKernelNode_v2, leak_kernel_v2(p), const CUDA_KERNEL_NODE_PARAMS_v2 *)
ADD_NODE_IN(cuGraphAddMemcpyNode, leak_copy(p, "cuGraphAddMemcpyNode"), const CUDA_MEMCPY3D_v2 *)
ADD_NODE_IN(cuGraphAddMemsetNode, if (p) leak_set(p->dst, "cuGraphAddMemsetNode"),
	const CUDA_MEMSET_NODE_PARAMS_v1 *)
ADD_NODE(cuGraphAddBatchMemOpNode, leak_batch(p, "cuGraphAddBatchMemOpNode"),
	const CUDA_BATCH_MEM_OP_NODE_PARAMS *)
ADD_NODE(cuGraphAddNode, leak_node(p, "cuGraphAddNode"), CUgraphNodeParams *)
NODE(cuGraphAddNode_v2, leak_node(p, "cuGraphAddNode"),
	(CUgraphNode * ret, CUgraph graph, const CUgraphNode *after, const CUgraphEdgeData *edges,
		size_t n, CUgraphNodeParams *p),
	ret, graph, after, edges, n, p)

SET_NODE(cuGraphKernelNodeSetParams, leak_kernel_v1(p), const CUDA_KERNEL_NODE_PARAMS_v1 *)
SET_NODE(cuGraphKernelNodeSetParams_v2, leak_kernel_v2(p), const CUDA_KERNEL_NODE_PARAMS_v2 *)
SET_NODE(cuGraphMemcpyNodeSetParams, leak_copy(p, "cuGraphMemcpyNodeSetParams"),
	const CUDA_MEMCPY3D_v2 *)
SET_NODE(cuGraphMemsetNodeSetParams, if (p) leak_set(p->dst, "cuGraphMemsetNodeSetParams"),
	const CUDA_MEMSET_NODE_PARAMS_v1 *)
SET_NODE(cuGraphBatchMemOpNodeSetParams, leak_batch(p, "cuGraphBatchMemOpNodeSetParams"),
	const CUDA_BATCH_MEM_OP_NODE_PARAMS *)
SET_NODE(cuGraphNodeSetParams, leak_node(p, "cuGraphNodeSetParams"), CUgraphNodeParams *)

SET_EXEC(cuGraphExecKernelNodeSetParams, leak_kernel_v1(p), const CUDA_KERNEL_NODE_PARAMS_v1 *)
SET_EXEC(cuGraphExecKernelNodeSetParams_v2, leak_kernel_v2(p), const CUDA_KERNEL_NODE_PARAMS_v2 *)
SET_EXEC_IN(cuGraphExecMemcpyNodeSetParams, leak_copy(p, "cuGraphExecMemcpyNodeSetParams"),
	const CUDA_MEMCPY3D_v2 *)
SET_EXEC_IN(cuGraphExecMemsetNodeSetParams,
	if (p) leak_set(p->dst, "cuGraphExecMemsetNodeSetParams"),
	const CUDA_MEMSET_NODE_PARAMS_v1 *)
SET_EXEC(cuGraphExecBatchMemOpNodeSetParams, leak_batch(p, "cuGraphExecBatchMemOpNodeSetParams"),
	const CUDA_BATCH_MEM_OP_NODE_PARAMS *)
SET_EXEC(cuGraphExecNodeSetParams, leak_node(p, "cuGraphExecNodeSetParams"), CUgraphNodeParams *)

/* ---- entry points: submissions ---- */

#define SUBMIT(symbol, captured, prepare, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		CUresult res = CUDA_SUCCESS; \
\
		if (!kv_submit_enter()) \
			return KV_REAL(symbol)(__VA_ARGS__); \
		if (!(captured)) { \
			prepare; \
			res = kv_submit_settle(); \
		} \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(__VA_ARGS__); \
		kv_submit_leave(); \
		return res; \
	}

/* A launch into a capturing stream only becomes a child graph. */
#define SUBMIT_GRAPH(symbol, per_thread) \
	SUBMIT(symbol, kv_stream_captures(stream, per_thread), \
		kv_graph_launching("cuGraphLaunch"), (CUgraphExec exec, CUstream stream), exec, \
		stream)
#define SUBMIT_INSTANTIATE(symbol) \
	SUBMIT(symbol, false, , \
		(CUgraphExec * ret, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS * p), ret, graph, \
		p)

SUBMIT_GRAPH(cuGraphLaunch, false)
SUBMIT_GRAPH(cuGraphLaunch_ptsz, true)
SUBMIT_GRAPH(cuGraphUpload, false)
SUBMIT_GRAPH(cuGraphUpload_ptsz, true)
SUBMIT_INSTANTIATE(cuGraphInstantiateWithParams)
SUBMIT_INSTANTIATE(cuGraphInstantiateWithParams_ptsz)
