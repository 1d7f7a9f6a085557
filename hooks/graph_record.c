/* SPDX-License-Identifier: Apache-2.0 */
/* graph_record.c - see graph_record.h. */
#include "hooks/graph_record.h"

#include <stdlib.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/launch.h"

/* A graph with more is not read. */
#define NODES_MAX (1u << 16)
#define DEPTH_MAX 8u
/* Of one kernel node; the driver's own limit is 32764. */
#define BLOCK_MAX (64u << 10)

/* ---- nodes ---- */

static void node_clear(struct kv_node *node)
{
	if (node->kind == KV_NODE_KERNEL)
		free(node->block);
}

const char *kv_node_fill_kernel(struct kv_node *node, const CUDA_KERNEL_NODE_PARAMS_v2 *p)
{
	const void *handle = p->func ? (const void *)p->func : (const void *)p->kern;
	const struct kv_kernel *kernel = handle ? kv_kernel_of(handle) : NULL;
	const unsigned char *packed = NULL;
	uint32_t size = 0, needed;
	uint8_t *block;

	if (!kernel)
		return "a kernel that is not known";
	if (!p->kernelParams)
		packed = kv_launch_block(p->extra, &size);
	/* Without a layout nobody knows how much stands behind each pointer of kernelParams. */
	if (!kernel->layout_known && (!packed || size == UINT32_MAX))
		return "a kernel without a known parameter layout";
	needed = kernel->layout_known ? kernel->params_size : size;
	if (needed > BLOCK_MAX)
		return "a kernel with too many parameters";
	if (!p->kernelParams && kernel->n_params && (!packed || size < needed))
		return "a kernel without readable parameters";
	block = malloc(needed + 1);
	if (!block)
		return "no memory for its parameters";
	if (packed)
		memcpy(block, packed, size < UINT32_MAX ? needed : 0);
	for (uint32_t i = 0; !packed && i < kernel->n_params; i++)
		memcpy(block + kernel->offsets[i], p->kernelParams[i], kernel->sizes[i]);
	node_clear(node);
	node->kind = KV_NODE_KERNEL;
	node->kernel = kernel;
	node->block = block;
	node->block_size = needed;
	memcpy(node->grid, (uint32_t[]){p->gridDimX, p->gridDimY, p->gridDimZ}, sizeof(node->grid));
	memcpy(node->threads, (uint32_t[]){p->blockDimX, p->blockDimY, p->blockDimZ},
		sizeof(node->threads));
	return NULL;
}

/* start: of the first byte within the object at base. */
static struct kv_node_end end_of(
	CUmemorytype type, const void *host, uint64_t device, uint64_t start, uint64_t span)
{
	struct kv_node_end end = {.length = span};

	switch (type) {
	case CU_MEMORYTYPE_HOST:
		end.addr = (uintptr_t)host + start;
		end.host = true;
		break;
	case CU_MEMORYTYPE_DEVICE:
	case CU_MEMORYTYPE_UNIFIED:
		end.addr = device + start;
		end.host = kv_copy_host_writes(end.addr);
		break;
	default:
		end.length = 0;
		break;
	}
	return end;
}

static uint64_t span_of(const CUDA_MEMCPY3D_v2 *p, uint64_t pitch, uint64_t height)
{
	uint64_t rows = p->Height ? p->Height : 1, slices = p->Depth ? p->Depth : 1;

	return p->WidthInBytes + (rows - 1) * pitch + (slices - 1) * pitch * height;
}

void kv_node_fill_copy(struct kv_node *node, const CUDA_MEMCPY3D_v2 *p)
{
	node_clear(node);
	node->kind = KV_NODE_COPY;
	node->copy.linear = p->Height <= 1 && p->Depth <= 1;
	node->copy.dst = end_of(p->dstMemoryType, p->dstHost, p->dstDevice,
		p->dstXInBytes + p->dstPitch * (p->dstY + p->dstHeight * p->dstZ),
		span_of(p, p->dstPitch, p->dstHeight));
	node->copy.src = end_of(p->srcMemoryType, p->srcHost, p->srcDevice,
		p->srcXInBytes + p->srcPitch * (p->srcY + p->srcHeight * p->srcZ),
		span_of(p, p->srcPitch, p->srcHeight));
}

void kv_node_fill_set(struct kv_node *node, const CUDA_MEMSET_NODE_PARAMS_v1 *p)
{
	uint64_t row = p->width * p->elementSize, rows = p->height ? p->height : 1;
	uint64_t mask = p->elementSize < 4 ? (1u << 8 * p->elementSize) - 1 : UINT32_MAX;

	node_clear(node);
	node->kind = KV_NODE_SET;
	node->set.dst = p->dst;
	node->set.length = row + (rows - 1) * p->pitch;
	node->set.zero = !(p->value & mask) && (rows == 1 || p->pitch == row);
}

/* ---- reading ---- */

/* Nodes of one graph, by rising handle, to number the ends of its edges. */
struct numbered {
	CUgraphNode handle;
	uint32_t number;
};

static int by_handle(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct numbered *)a)->handle;
	uintptr_t y = (uintptr_t)((const struct numbered *)b)->handle;

	return x < y ? -1 : x > y;
}

static uint32_t number_of(const struct numbered *sorted, size_t n, CUgraphNode handle)
{
	struct numbered key = {.handle = handle};
	const struct numbered *found = bsearch(&key, sorted, n, sizeof(key), by_handle);

	return found ? found->number : UINT32_MAX;
}

/* Edges as pairs of numbers; NULL with *ret_n 0: none; NULL with *ret_n 1: not to be had. */
static uint32_t (
	*read_edges(CUgraph graph, const struct numbered *sorted, size_t n_nodes, size_t *ret_n))[2]
{
	CUgraphEdgeData *data = NULL;
	CUgraphNode *from = NULL;
	uint32_t(*edges)[2] = NULL;
	size_t n = 0;
	CUresult res;
	bool v2 = true;

	/* The first version refuses edges with properties, as programmatic launches have them. */
	res = KV_REAL(cuGraphGetEdges_v2)(graph, NULL, NULL, NULL, &n);
	if (res == CUDA_ERROR_NOT_SUPPORTED) {
		v2 = false;
		res = KV_REAL(cuGraphGetEdges)(graph, NULL, NULL, &n);
	}
	*ret_n = res != CUDA_SUCCESS;
	if (res != CUDA_SUCCESS || !n)
		return NULL;
	*ret_n = 1;
	from = calloc(n, 2 * sizeof(*from));
	data = calloc(n, sizeof(*data));
	edges = calloc(n, sizeof(*edges));
	if (!from || !data || !edges)
		goto fail;
	res = v2 ? KV_REAL(cuGraphGetEdges_v2)(graph, from, from + n, data, &n)
		 : KV_REAL(cuGraphGetEdges)(graph, from, from + n, &n);
	if (res != CUDA_SUCCESS)
		goto fail;
	for (size_t i = 0; i < n; i++) {
		edges[i][0] = number_of(sorted, n_nodes, from[i]);
		edges[i][1] = number_of(sorted, n_nodes, from[n + i]);
		if (edges[i][0] == UINT32_MAX || edges[i][1] == UINT32_MAX)
			goto fail;
	}
	*ret_n = n;
	free(from);
	free(data);
	return edges;

fail:
	free(from);
	free(data);
	free(edges);
	return NULL;
}

/*
 * Numbers 0..n-1 in an order in which every node comes after those that it waits for; where the
 * driver lists them so, in that order. False: no memory, or a cycle.
 */
static bool sort_nodes(uint32_t n, uint32_t (*edges)[2], size_t n_edges, uint32_t *order)
{
	uint32_t *waits, *first, *next, head = 0, tail = 0;
	bool sorted = true;

	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = 0; i < n_edges && sorted; i++)
		sorted = edges[i][0] < edges[i][1];
	if (sorted)
		return true;
	waits = calloc(2 * (size_t)n + n_edges, sizeof(*waits));
	if (!waits)
		return false;
	first = waits + n; /* of each node: its first outgoing edge + 1 */
	next = first + n;  /* of each edge: the next one of the same node + 1 */
	for (size_t i = 0; i < n_edges; i++) {
		waits[edges[i][1]]++;
		next[i] = first[edges[i][0]];
		first[edges[i][0]] = (uint32_t)i + 1;
	}
	for (uint32_t i = 0; i < n; i++)
		if (!waits[i])
			order[tail++] = i;
	for (; head < tail; head++)
		for (uint32_t e = first[order[head]]; e; e = next[e - 1])
			if (!--waits[edges[e - 1][1]])
				order[tail++] = edges[e - 1][1];
	free(waits);
	return tail == n;
}

static const char *read_graph(struct kv_record *record, CUgraph graph, uint32_t depth);

/* A new node at the end; NULL: no room. */
static struct kv_node *append(struct kv_record *record, CUgraphNode handle)
{
	struct kv_node *grown;

	if (record->n_nodes == record->size) {
		uint32_t size = record->size ? 2 * record->size : 64;

		grown = size <= NODES_MAX ? realloc(record->nodes, size * sizeof(*grown)) : NULL;
		if (!grown)
			return NULL;
		record->nodes = grown;
		record->size = size;
	}
	record->nodes[record->n_nodes] = (struct kv_node){.handle = handle, .kind = KV_NODE_OPAQUE};
	return &record->nodes[record->n_nodes++];
}

static const char *read_child(struct kv_record *record, CUgraphNode handle, uint32_t depth)
{
	uint32_t at = record->n_nodes - 1;
	const char *why;
	CUgraph child;

	if (KV_REAL(cuGraphChildGraphNodeGetGraph)(handle, &child) != CUDA_SUCCESS)
		return "a child graph that the driver does not show";
	why = read_graph(record, child, depth + 1);
	record->nodes[at].kind = KV_NODE_CHILD;
	record->nodes[at].n_inner = record->n_nodes - 1 - at;
	return why;
}

/* Can the device change the parameters of this kernel node? */
static bool is_updatable(CUgraphNode handle)
{
	CUkernelNodeAttrValue value;

	memset(&value, 0, sizeof(value));
	return KV_REAL(cuGraphKernelNodeGetAttribute)(handle,
		       CU_KERNEL_NODE_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE,
		       &value) == CUDA_SUCCESS &&
	       value.deviceUpdatableKernelNode.deviceUpdatable;
}

static const char *read_node(struct kv_record *record, CUgraphNode handle, uint32_t depth)
{
	struct kv_node *node = append(record, handle);
	CUDA_KERNEL_NODE_PARAMS_v2 kernel;
	CUDA_MEMCPY3D_v2 copy;
	CUDA_MEMSET_NODE_PARAMS_v1 set;
	CUgraphNodeType type;

	if (!node)
		return "too many nodes";
	if (KV_REAL(cuGraphNodeGetType)(handle, &type) != CUDA_SUCCESS)
		return "a node that the driver does not show";
	switch (type) {
	case CU_GRAPH_NODE_TYPE_KERNEL:
		if (KV_REAL(cuGraphKernelNodeGetParams_v2)(handle, &kernel) != CUDA_SUCCESS)
			return "a kernel that the driver does not show";
		if (is_updatable(handle))
			return "a kernel whose parameters the device may change";
		return kv_node_fill_kernel(node, &kernel);
	case CU_GRAPH_NODE_TYPE_MEMCPY:
		if (KV_REAL(cuGraphMemcpyNodeGetParams)(handle, &copy) != CUDA_SUCCESS)
			return "a copy that the driver does not show";
		kv_node_fill_copy(node, &copy);
		if (node->copy.dst.host)
			record->host_changes = true;
		return NULL;
	case CU_GRAPH_NODE_TYPE_MEMSET:
		if (KV_REAL(cuGraphMemsetNodeGetParams)(handle, &set) != CUDA_SUCCESS)
			return "a set that the driver does not show";
		kv_node_fill_set(node, &set);
		return NULL;
	case CU_GRAPH_NODE_TYPE_GRAPH:
		return depth < DEPTH_MAX ? read_child(record, handle, depth)
					 : "graphs in graphs, too deep";
	case CU_GRAPH_NODE_TYPE_HOST:
		record->host_changes = true;
		/* fall through */
	case CU_GRAPH_NODE_TYPE_EMPTY:
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		record->n_nodes--; /* touches no device memory */
		return NULL;
	case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
		/* The reservations that it names leaked when it was made. */
	case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
	case CU_GRAPH_NODE_TYPE_MEM_FREE:
	case CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL:
	case CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT:
		return NULL;
	case CU_GRAPH_NODE_TYPE_CONDITIONAL:
		return "a conditional node, whose bodies the driver does not show";
	default:
		return "a node of an unknown kind";
	}
}

/* Appends the nodes of the graph. NULL, or why the whole is not known. */
static const char *read_graph(struct kv_record *record, CUgraph graph, uint32_t depth)
{
	const char *why = "no memory for its nodes";
	uint32_t(*edges)[2] = NULL, *order = NULL;
	struct numbered *sorted = NULL;
	CUgraphNode *handles = NULL;
	size_t n = 0, n_edges = 0;

	if (KV_REAL(cuGraphGetNodes)(graph, NULL, &n) != CUDA_SUCCESS)
		return "nodes that the driver does not show";
	if (!n)
		return NULL;
	if (n > NODES_MAX)
		return "too many nodes";
	handles = calloc(n, sizeof(*handles));
	sorted = calloc(n, sizeof(*sorted));
	order = calloc(n, sizeof(*order));
	if (!handles || !sorted || !order)
		goto out;
	why = "nodes that the driver does not show";
	if (KV_REAL(cuGraphGetNodes)(graph, handles, &n) != CUDA_SUCCESS)
		goto out;
	for (size_t i = 0; i < n; i++)
		sorted[i] = (struct numbered){handles[i], (uint32_t)i};
	qsort(sorted, n, sizeof(*sorted), by_handle);
	edges = read_edges(graph, sorted, n, &n_edges);
	if ((!edges && n_edges) || !sort_nodes((uint32_t)n, edges, n_edges, order)) {
		kv_record_blur(record, "an order that the driver does not show");
		for (size_t i = 0; i < n; i++)
			order[i] = (uint32_t)i;
	}
	why = NULL;
	for (size_t i = 0; i < n && !why; i++)
		why = read_node(record, handles[order[i]], depth);
out:
	free(handles);
	free(sorted);
	free(order);
	free(edges);
	return why;
}

void kv_record_read(CUgraph graph, struct kv_record *ret_record)
{
	struct kv_own_call own;
	const char *why;

	*ret_record = (struct kv_record){0};
	kv_own_begin(&own);
	why = read_graph(ret_record, graph, 0);
	kv_own_end(&own);
	if (why)
		kv_record_spoil(ret_record, why);
}

void kv_record_clear(struct kv_record *record)
{
	for (uint32_t i = 0; i < record->n_nodes; i++)
		node_clear(&record->nodes[i]);
	free(record->nodes);
	*record = (struct kv_record){0};
}

void kv_record_spoil(struct kv_record *record, const char *why)
{
	kv_record_clear(record);
	record->unknown = why;
}

void kv_record_blur(struct kv_record *record, const char *why)
{
	if (record->unknown)
		return;
	record->unknown = why;
	record->named = true;
}

void kv_record_join(struct kv_record *record, struct kv_record *more, const char *why)
{
	struct kv_node *node;

	if (record->unknown && !record->named)
		return;
	if (more->unknown && !more->named) {
		kv_record_spoil(record, more->unknown);
		return;
	}
	kv_record_blur(record, why);
	record->host_changes |= more->host_changes;
	while (more->n_nodes) {
		node = append(record, NULL);
		if (!node) {
			kv_record_spoil(record, "too many nodes");
			return;
		}
		*node = more->nodes[--more->n_nodes];
		node->handle = NULL;
	}
}

struct kv_node *kv_record_changed(struct kv_record *record, CUgraphNode handle)
{
	struct kv_node *node;

	kv_record_blur(record, "a node was changed that is not known");
	for (uint32_t i = 0; i < record->n_nodes; i++)
		if (record->nodes[i].added && record->nodes[i].handle == handle)
			return &record->nodes[i];
	node = append(record, handle);
	if (node)
		node->added = true;
	else
		kv_record_spoil(record, "too many nodes");
	return node;
}

struct kv_node *kv_record_find(struct kv_record *record, CUgraphNode handle)
{
	for (uint32_t i = 0; i < record->n_nodes; i++)
		if (record->nodes[i].handle == handle)
			return &record->nodes[i];
	return NULL;
}
