/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_exec.c - see graph_exec.h. An open-addressed table of handles; readers take no lock. A full
 * table is replaced by a larger copy, the old one stays: a reader may be in it.
 */
#include "hooks/graph_exec.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "hooks/call.h"
#include "hooks/launch.h"
#include "hooks/recognise.h"

#define TABLE_START 64u
#define GONE ((CUgraphExec)(uintptr_t)1)

struct slot {
	/* atomic: release after exec is set, acquire in readers; NULL: never used, GONE: free */
	_Atomic(CUgraphExec) handle;
	_Atomic(struct kv_exec *) exec; /* atomic: relaxed, ordered by handle */
};

struct table {
	uint32_t mask; /* slots - 1 */
	uint32_t used; /* guarded by mutex; slots that are not NULL: at most half */
	struct slot slots[];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* leaf */
static _Atomic(struct table *) execs; /* atomic: release on replacement, acquire in readers */

static uint32_t hash(CUgraphExec handle)
{
	return ((uintptr_t)handle >> 4) * 0x9e3779b97f4a7c15ull >> 32;
}

/* ---- the table ---- */

static struct slot *slot_of(struct table *table, CUgraphExec handle)
{
	CUgraphExec at;

	for (uint32_t i = hash(handle); table; i++) {
		struct slot *slot = &table->slots[i & table->mask];

		at = atomic_load_explicit(&slot->handle, memory_order_acquire);
		if (at == handle)
			return slot;
		if (!at)
			break;
	}
	return NULL;
}

static struct kv_exec *find(CUgraphExec handle)
{
	struct slot *slot = slot_of(atomic_load_explicit(&execs, memory_order_acquire), handle);

	return slot ? atomic_load_explicit(&slot->exec, memory_order_relaxed) : NULL;
}

/* [mutex] The exec is not in the table. */
static void put(struct table *table, struct kv_exec *exec)
{
	struct slot *slot;

	for (uint32_t i = hash(exec->handle);; i++) {
		slot = &table->slots[i & table->mask];
		if (!atomic_load_explicit(&slot->handle, memory_order_relaxed))
			break;
	}
	table->used++;
	atomic_store_explicit(&slot->exec, exec, memory_order_relaxed);
	/* release: partner is slot_of() */
	atomic_store_explicit(&slot->handle, exec->handle, memory_order_release);
}

/* [mutex] A table with room for one more; NULL: no memory. */
static struct table *with_room(void)
{
	struct table *old = atomic_load_explicit(&execs, memory_order_relaxed), *table;
	uint32_t live = 0, n = TABLE_START;

	if (old && old->used < (old->mask + 1) / 2)
		return old;
	for (uint32_t i = 0; old && i <= old->mask; i++)
		live += atomic_load_explicit(&old->slots[i].handle, memory_order_relaxed) != GONE;
	while (n < 4 * live)
		n *= 2;
	table = calloc(1, sizeof(*table) + n * sizeof(table->slots[0]));
	if (!table)
		return NULL;
	table->mask = n - 1;
	for (uint32_t i = 0; old && i <= old->mask; i++) {
		CUgraphExec at = atomic_load_explicit(&old->slots[i].handle, memory_order_relaxed);

		if (at && at != GONE)
			put(table, atomic_load_explicit(&old->slots[i].exec, memory_order_relaxed));
	}
	atomic_store_explicit(&execs, table, memory_order_release);
	return table;
}

/* The next launch is evaluated in full. */
static void forget_steady(struct kv_exec *exec)
{
	/* It is not in the mutex's care before its first launch that needed nothing. */
	if (!exec->steady.number) {
		kv_steady_clear(&exec->steady, &kv_recognise_quick);
		return;
	}
	kv_recognise_lock();
	kv_steady_clear(&exec->steady, &kv_recognise_quick);
	kv_recognise_unlock();
}

static void exec_free(struct kv_exec *exec)
{
	if (!exec)
		return;
	kv_record_clear(&exec->record);
	forget_steady(exec);
	free(exec->todos);
	free(exec);
}

/* Takes the exec of a handle out of the table. The caller owns it. */
static struct kv_exec *withdraw(CUgraphExec handle)
{
	struct kv_exec *exec = NULL;
	struct slot *slot;

	pthread_mutex_lock(&mutex);
	slot = slot_of(atomic_load_explicit(&execs, memory_order_relaxed), handle);
	if (slot) {
		exec = atomic_load_explicit(&slot->exec, memory_order_relaxed);
		atomic_store_explicit(&slot->handle, GONE, memory_order_relaxed);
	}
	pthread_mutex_unlock(&mutex);
	return exec;
}

/* The table owns the exec from now on. No memory: it is not known, which is safe. */
static void publish(struct kv_exec *exec)
{
	struct table *table;

	exec_free(withdraw(exec->handle)); /* its end was missed, and the handle used again */
	pthread_mutex_lock(&mutex);
	table = with_room();
	if (table)
		put(table, exec);
	pthread_mutex_unlock(&mutex);
	if (!table)
		exec_free(exec);
}

struct kv_exec *kv_exec_take(CUgraphExec handle)
{
	struct kv_exec *exec = handle && handle != GONE ? find(handle) : NULL;

	while (exec && atomic_exchange_explicit(&exec->taken, true, memory_order_acquire))
		sched_yield();
	return exec;
}

void kv_exec_drop(struct kv_exec *exec)
{
	atomic_store_explicit(&exec->taken, false, memory_order_release);
}

/* ---- making and updating ---- */

/* Is this the program's own call, and are graphs read? */
static bool is_wanted(void)
{
	kv_hooks_ready();
	return kv_hooks_active() && kv_hooks.config.rules && !kv_thread.depth;
}

/* What a call that takes a graph in has read before the driver does. */
struct reading {
	bool inside;
	struct kv_record record;
};

static void read_begin(struct reading *reading, CUgraph graph)
{
	reading->inside = kv_submit_enter();
	if (reading->inside)
		kv_recognise_described();
	kv_record_read(graph, &reading->record);
	if (reading->inside)
		kv_record_touch_ranges(&reading->record);
}

static void read_end(struct reading *reading)
{
	kv_record_clear(&reading->record);
	if (reading->inside)
		kv_submit_leave();
}

/* The record goes over to the exec. */
static void settle_record(struct kv_exec *exec, struct kv_record *record)
{
	kv_record_clear(&exec->record);
	forget_steady(exec);
	exec->record = *record;
	*record = (struct kv_record){0};
	if (exec->from_device)
		kv_record_leak(&exec->record, "cuGraphInstantiate");
}

static void made(CUgraphExec handle, struct kv_record *record, uint64_t flags)
{
	struct kv_exec *exec = calloc(1, sizeof(*exec));

	if (!exec)
		return; /* not known: its launches reach everything */
	exec->handle = handle;
	exec->from_device = flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH;
	settle_record(exec, record);
	publish(exec);
}

/* settled: of the calls that can upload on a stream; others are no submission. */
#define INSTANTIATE(symbol, flags, settled, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		CUresult res = CUDA_SUCCESS; \
		struct reading reading; \
\
		if (!is_wanted() || !ret) { \
			bool inside = (settled) && kv_submit_enter(); \
\
			if (inside) \
				res = kv_submit_settle(); \
			if (res == CUDA_SUCCESS) \
				res = KV_REAL(symbol)(__VA_ARGS__); \
			if (inside) \
				kv_submit_leave(); \
			return res; \
		} \
		read_begin(&reading, graph); \
		if ((settled) && reading.inside) \
			res = kv_submit_settle(); \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(__VA_ARGS__); \
		if (res == CUDA_SUCCESS) \
			made(*ret, &reading.record, (flags)); \
		read_end(&reading); \
		return res; \
	}

INSTANTIATE(cuGraphInstantiate, 0, false,
	(CUgraphExec * ret, CUgraph graph, CUgraphNode *node, char *log, size_t size), ret, graph,
	node, log, size)
INSTANTIATE(cuGraphInstantiate_v2, 0, false,
	(CUgraphExec * ret, CUgraph graph, CUgraphNode *node, char *log, size_t size), ret, graph,
	node, log, size)
INSTANTIATE(cuGraphInstantiateWithFlags, flags, false,
	(CUgraphExec * ret, CUgraph graph, unsigned long long flags), ret, graph, flags)
INSTANTIATE(cuGraphInstantiateWithParams, p ? p->flags : 0, true,
	(CUgraphExec * ret, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *p), ret, graph, p)
INSTANTIATE(cuGraphInstantiateWithParams_ptsz, p ? p->flags : 0, true,
	(CUgraphExec * ret, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *p), ret, graph, p)

static void updated(CUgraphExec handle, struct kv_record *record)
{
	struct kv_exec *exec = kv_exec_take(handle);
	bool disabled;

	if (!exec)
		return;
	/* What is not known may be a disabled node. */
	disabled = exec->disables && exec->record.unknown;
	for (uint32_t i = 0; i < exec->record.n_nodes; i++)
		disabled |= exec->record.nodes[i].disabled;
	/* Which of the new nodes are disabled now is the driver's secret. */
	if (disabled)
		kv_record_blur(record, "updated with nodes that are disabled");
	exec->moved = true;
	settle_record(exec, record);
	kv_exec_drop(exec);
}

/* An update that fails changes nothing. */
#define UPDATE(symbol, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		struct reading reading; \
		CUresult res; \
\
		if (!is_wanted()) \
			return KV_REAL(symbol)(__VA_ARGS__); \
		read_begin(&reading, graph); \
		res = KV_REAL(symbol)(__VA_ARGS__); \
		if (res == CUDA_SUCCESS) \
			updated(exec, &reading.record); \
		read_end(&reading); \
		return res; \
	}

UPDATE(cuGraphExecUpdate,
	(CUgraphExec exec, CUgraph graph, CUgraphNode *node, CUgraphExecUpdateResult *why), exec,
	graph, node, why)
UPDATE(cuGraphExecUpdate_v2, (CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info),
	exec, graph, info)

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle)
{
	struct kv_exec *exec;
	CUresult res;

	if (!is_wanted())
		return KV_REAL(cuGraphExecDestroy)(handle);
	/* Before the driver can give the handle to somebody else. */
	exec = withdraw(handle);
	res = KV_REAL(cuGraphExecDestroy)(handle);
	if (res != CUDA_SUCCESS && exec)
		publish(exec);
	else
		exec_free(exec);
	return res;
}

/* ---- changing nodes ---- */

/*
 * The exec that the driver has just changed a node of, taken. NULL: not known, or it may reach
 * anything already.
 */
static struct kv_exec *changing(CUgraphExec handle)
{
	struct kv_exec *exec = kv_exec_take(handle);

	if (!exec)
		return NULL;
	if (exec->record.unknown && !exec->record.named) {
		kv_exec_drop(exec);
		return NULL;
	}
	forget_steady(exec);
	return exec;
}

/* The same, and the node, to be filled. After an update the handles that the program has are those
 * of another graph than the record's: whatever was there may be there still. */
static struct kv_node *changed(
	CUgraphExec handle, CUgraphNode handle_of_node, struct kv_exec **ret_exec)
{
	struct kv_exec *exec = changing(handle);
	struct kv_node *node = NULL;

	*ret_exec = exec;
	if (!exec)
		return NULL;
	if (!exec->moved)
		node = kv_record_find(&exec->record, handle_of_node);
	return node ? node : kv_record_changed(&exec->record, handle_of_node);
}

static void changed_end(struct kv_exec *exec)
{
	if (exec && exec->from_device)
		kv_record_leak(&exec->record, "cuGraphExecNodeSetParams");
	if (exec)
		kv_exec_drop(exec);
}

void kv_exec_set_kernel(
	CUgraphExec handle, CUgraphNode node_handle, const CUDA_KERNEL_NODE_PARAMS_v2 *params)
{
	struct kv_exec *exec;
	struct kv_node *node = changed(handle, node_handle, &exec);
	const char *why = node ? kv_node_fill_kernel(node, params) : NULL;

	if (why)
		kv_record_spoil(&exec->record, why);
	changed_end(exec);
}

void kv_exec_set_copy(CUgraphExec handle, CUgraphNode node_handle, const CUDA_MEMCPY3D_v2 *params)
{
	struct kv_exec *exec;
	struct kv_node *node = changed(handle, node_handle, &exec);

	if (node) {
		kv_node_fill_copy(node, params);
		exec->record.host_changes |= node->copy.dst.host;
	}
	changed_end(exec);
}

void kv_exec_set_set(
	CUgraphExec handle, CUgraphNode node_handle, const CUDA_MEMSET_NODE_PARAMS_v1 *params)
{
	struct kv_exec *exec;
	struct kv_node *node = changed(handle, node_handle, &exec);

	if (node)
		kv_node_fill_set(node, params);
	changed_end(exec);
}

static void set_child(CUgraphExec handle, struct kv_record *child)
{
	struct kv_exec *exec = changing(handle);

	/* The nodes of the old child are still those that later calls name. */
	if (exec)
		kv_record_join(&exec->record, child, "a child graph was changed");
	changed_end(exec);
}

void kv_exec_set_child(CUgraphExec handle, CUgraph graph)
{
	struct kv_record child;

	kv_record_read(graph, &child);
	set_child(handle, &child);
	kv_record_clear(&child);
}

CUresult CUDAAPI cuGraphExecChildGraphNodeSetParams(
	CUgraphExec exec, CUgraphNode node, CUgraph graph)
{
	struct reading reading;
	CUresult res;

	if (!is_wanted())
		return KV_REAL(cuGraphExecChildGraphNodeSetParams)(exec, node, graph);
	read_begin(&reading, graph);
	res = KV_REAL(cuGraphExecChildGraphNodeSetParams)(exec, node, graph);
	if (res == CUDA_SUCCESS)
		set_child(exec, &reading.record);
	read_end(&reading);
	return res;
}

CUresult CUDAAPI cuGraphNodeSetEnabled(
	CUgraphExec handle, CUgraphNode node_handle, unsigned int enabled)
{
	CUresult res = KV_REAL(cuGraphNodeSetEnabled)(handle, node_handle, enabled);
	struct kv_exec *exec;
	struct kv_node *node;

	if (res != CUDA_SUCCESS || !is_wanted())
		return res;
	exec = kv_exec_take(handle);
	if (!exec)
		return res;
	forget_steady(exec);
	exec->disables |= !enabled;
	node = exec->moved ? NULL : kv_record_find(&exec->record, node_handle);
	if (node)
		node->disabled = !enabled;
	else
		kv_record_blur(&exec->record, "a node was disabled that is not known");
	changed_end(exec);
	return res;
}

/* ---- launching ---- */

int kv_exec_launching(CUgraphExec handle, struct kv_exec **ret_exec)
{
	struct kv_exec *exec = kv_exec_take(handle);

	kv_recognise_described();
	*ret_exec = exec;
	if (kv_likely(exec))
		return kv_exec_evaluate(exec);
	kv_recognise_forget();
	kv_leak_all(kv_hooks.core, KV_STATIC_GRAPH, "a graph that was not seen being made");
	return 0;
}

void kv_exec_launched(struct kv_exec *exec, bool accepted)
{
	if (!exec)
		return;
	if (accepted && exec->zeroes)
		kv_record_zeroed(&exec->record);
	kv_exec_drop(exec);
}
