/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - launches: what their parameters point at is made whole before the driver sees them.
 *
 * Nothing on this path takes a lock that threads share, allocates, or enters the kernel, as long as
 * nothing has to be done.
 */
#include "hooks/launch.h"

#include <string.h>

#include "core/want.h"
#include "hooks/call.h"
#include "hooks/recognise.h"
#include "hooks/track.h"

/* ---- what a launch points at ---- */

/* Some graph reads host memory when it runs. Never taken back: graphs are cloned, updated and kept
 * by the driver. atomic: relaxed, who launches a graph knows that it was made. */
static _Atomic bool graphs_read_host;

void kv_graph_reads_host(const char *by)
{
	atomic_store_explicit(&graphs_read_host, true, memory_order_relaxed);
	kv_leak_all(kv_hooks.core, KV_STATIC_HOST_MEMORY, by);
}

void kv_graph_launching(const char *by)
{
	if (atomic_load_explicit(&graphs_read_host, memory_order_relaxed))
		kv_leak_all(kv_hooks.core, KV_STATIC_HOST_MEMORY, by);
	kv_manage_work(kv_hooks.core, by);
}

int kv_launch_word(const struct kv_kernel *kernel, const struct kv_kernel_word *w, uint64_t word,
	bool captured)
{
	enum kv_static_reason reason = captured ? KV_STATIC_GRAPH : KV_STATIC_KERNEL;
	bool reads = kv_kernel_reads(kernel, w);
	struct kv_reservation *r;

	if (kv_core_hits(kv_hooks.core, word, &r)) {
		/* Whole before this submission anyway, and not written by it. */
		if (reads && kv_reservation_is_static(r))
			return 0;
		if (kernel->transient && !captured)
			return kv_touch_transient(r, 0, UINT64_MAX, false);
		if (reads)
			kv_leak_read(r, reason, kernel->by);
		else
			kv_leak(r, reason, kernel->by);
	} else if (!kernel->transient && kv_track_is_host_visible(word)) {
		/* Whatever addresses the program has put there, the kernel may follow. */
		if (captured)
			kv_graph_reads_host(kernel->by);
		else
			kv_leak_all(kv_hooks.core, KV_STATIC_HOST_MEMORY, kernel->by);
	}
	return 0;
}

/* Maybe not aligned. */
static inline uint64_t word_at(const void *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

const unsigned char *kv_launch_block(void **extra, uint32_t *ret_size)
{
	const unsigned char *block = NULL;

	*ret_size = UINT32_MAX;
	for (; extra && extra[0] != CU_LAUNCH_PARAM_END; extra += 2) {
		if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER) {
			block = extra[1];
		} else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[1]) {
			size_t size = *(const size_t *)extra[1];

			*ret_size = size < UINT32_MAX ? size : UINT32_MAX;
		} else {
			break; /* the driver will refuse it */
		}
	}
	return block;
}

static int scan_packed(const struct kv_kernel *kernel, void **extra, bool captured)
{
	uint32_t size;
	const unsigned char *block = kv_launch_block(extra, &size);
	int err = 0;

	for (uint32_t i = 0; block && i < kernel->n_words && !err; i++) {
		uint32_t at = kernel->offsets[kernel->words[i].param] + kernel->words[i].at;

		if (at + 8 <= size)
			err = kv_launch_word(
				kernel, &kernel->words[i], word_at(block + at), captured);
	}
	return err;
}

int kv_launch_scan(const struct kv_kernel *kernel, void **params, void **extra, bool captured)
{
	int err = 0;

	if (!kernel->layout_known) {
		kv_leak_all(
			kv_hooks.core, captured ? KV_STATIC_GRAPH : KV_STATIC_KERNEL, kernel->by);
		return 0;
	}
	if (!params)
		return scan_packed(kernel, extra, captured);
	for (uint32_t i = 0; i < kernel->n_words && !err; i++) {
		const struct kv_kernel_word *w = &kernel->words[i];

		err = kv_launch_word(
			kernel, w, word_at((char *)params[w->param] + w->at), captured);
	}
	return err;
}

/* ---- the launch path ---- */

/* [inside] True if no word lies in a reservation that needs attention or in host memory that the
 * GPU can read; with kernel rules: nor where an index array was uploaded. */
static __attribute__((noinline)) bool is_outside_both(const struct kv_kernel *kernel, void **params)
{
	uint64_t low, high, host_low, host_high;
	uint8_t marked = 0;

	if (!kernel->layout_known)
		return false;
	kv_core_bounds(kv_hooks.core, &low, &high);
	kv_track_host_bounds(&host_low, &host_high);
	for (uint32_t i = 0; i < kernel->n_words; i++) {
		const struct kv_kernel_word *w = &kernel->words[i];
		uint64_t word = word_at((char *)params[w->param] + w->at);

		if (word - low < high - low || word - host_low < host_high - host_low)
			return false;
		marked |= kv_shadow_mark(kv_recognise_marks, word);
	}
	return !marked;
}

/* [hot] Not zero if something near the address that is stored at word may be of interest. */
static inline __attribute__((always_inline)) uint32_t look(
	uint32_t seen, const struct kv_grains *grains, const void *word)
{
	seen = kv_grains_or(seen, grains, KV_GRAINS_FAR, KV_CORE_GRAIN_BITS, word);
	return kv_grains_or(seen, grains, KV_GRAINS_NEAR, KV_SHADOW_GRAIN_BITS, word);
}

/*
 * [inside] [hot] True if nothing has to be done for this launch: its kernel is known, no word of it
 * is of interest, and every static reservation is whole. Nearly every word is told apart by two
 * loads: is it near a reservation that needs attention or host memory that the GPU can read, is it
 * near an index array. Where something is, there is a second look, but still no search.
 */
static inline __attribute__((always_inline)) bool is_harmless(
	struct kv_core *core, const void *function, void **params)
{
	const struct kv_kernel *kernel = kv_kernel_seen(function);
	const struct kv_grains *grains = kv_core_grains(core);
	const uint32_t *at;
	/* Not zero if something has to be settled; together with the rest, to be tested once. */
	uint32_t seen = kv_core_unsettled(core);

	if (kv_unlikely(!kernel || !params))
		return false;
	if (kv_unlikely(!kernel->simple))
		return !seen && is_outside_both(kernel, params);
	at = kernel->heads;
	do {
		seen = look(seen, grains, params[at[0]]);
		seen = look(seen, grains, params[at[1]]);
		seen = look(seen, grains, params[at[2]]);
		seen = look(seen, grains, params[at[3]]);
		at += KV_KERNEL_STEP;
	} while (at != kernel->heads_end);
	if (kv_likely(!seen))
		return true;
	return !kv_core_unsettled(core) && is_outside_both(kernel, params);
}

/* [inside] Everything before the driver call of one launch. */
static __attribute__((noinline)) CUresult prepare(
	const void *function, void **params, void **extra, CUstream stream, bool per_thread)
{
	bool captured = kv_stream_captures(stream, per_thread);
	int err;

	if (captured && kv_graphs_are_read())
		return CUDA_SUCCESS;
	err = kv_launch_scan(kv_kernel_of(function), params, extra, captured);
	/* What is only recorded now is made whole when the graph is launched. */
	if (!err && !captured)
		err = kv_settle(kv_hooks.core);
	return kv_backed_result(err);
}

static inline struct kv_shape shape_of(unsigned int gx, unsigned int gy, unsigned int gz,
	unsigned int bx, unsigned int by, unsigned int bz)
{
	return (struct kv_shape){{gx, gy, gz}, {bx, by, bz}};
}

/* [inside] The same, with kernel rules if there are any: the submission is described then. */
static CUresult prepare_shaped(const void *function, void **params, void **extra, CUstream stream,
	bool per_thread, struct kv_shape shape)
{
	const struct kv_kernel *kernel;
	int err;

	if (!kv_hooks.config.rules)
		return prepare(function, params, extra, stream, per_thread);
	if (kv_stream_captures(stream, per_thread)) {
		kv_recognise_described(); /* nothing is executed yet */
		return CUDA_SUCCESS;
	}
	kernel = kv_kernel_of(function);
	if (!kernel->layout_known) {
		kv_recognise_described();
		kv_recognise_forget(); /* may write anywhere */
		return prepare(function, params, extra, stream, per_thread);
	}
	err = kv_recognise_launch(kernel, params, extra, &shape);
	if (!err)
		err = kv_settle(kv_hooks.core);
	return kv_backed_result(err);
}

/* [inside] The same on the hot path, which leaves the gate without kv_submit_leave(). */
static __attribute__((noinline)) CUresult prepare_hot(const void *function, void **params,
	void **extra, CUstream stream, bool per_thread, struct kv_shape shape)
{
	CUresult res = prepare_shaped(function, params, extra, stream, per_thread, shape);

	kv_thread.described = false;
	return res;
}

/* [inside] The same for work without addresses of its own. */
static CUresult prepare_plain(CUstream stream, bool per_thread)
{
	kv_recognise_described();
	return kv_stream_captures(stream, per_thread) ? CUDA_SUCCESS : kv_submit_settle();
}

/* ---- entry points ---- */

/*
 * Copying eleven arguments is most of what a hook costs, so there is one hot place that calls the
 * driver. Its function is there: kv_hooks.launch_core says that it was looked up. An open capture
 * changes nothing about a launch that names nothing of interest. refuse: the driver will refuse
 * this call, whatever we do.
 */
#define LAUNCH(symbol, refuse, stream_of_launch, per_thread, shape, declare, ...) \
	static __attribute__((noinline)) CUresult slow_##symbol declare \
	{ \
		CUresult res; \
		uint64_t began; \
\
		if ((refuse) || !kv_submit_enter()) \
			return KV_REAL(symbol)(__VA_ARGS__); \
		began = kv_submit_launch(); \
		res = prepare_shaped(f, params, extra, stream_of_launch, per_thread, shape); \
		kv_submit_launched(began); \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(__VA_ARGS__); \
		kv_submit_leave(); \
		return res; \
	} \
	/* [inside] what follows the gate on the hot path, and a look at the clock */ \
	static __attribute__((noinline)) CUresult timed_##symbol declare \
	{ \
		struct kv_core *core = kv_hooks.core; \
		uint64_t began = kv_submit_clock(); \
		CUresult res = CUDA_SUCCESS; \
\
		if (!is_harmless(core, f, params)) \
			res = prepare_hot(f, params, extra, stream_of_launch, per_thread, shape); \
		kv_submit_launched(began); \
		if (res == CUDA_SUCCESS) \
			res = kv_real.symbol(__VA_ARGS__); \
		kv_submit_leave_hot(core, kv_thread.slot_plus_1 - 1); \
		return res; \
	} \
	CUresult CUDAAPI symbol declare \
	{ \
		struct kv_core *core = \
			atomic_load_explicit(&kv_hooks.launch_core, memory_order_acquire); \
		CUresult res = CUDA_SUCCESS; \
		uint64_t slot; \
		bool timed; \
\
		if (kv_unlikely(!core || (refuse))) \
			return slow_##symbol(__VA_ARGS__); \
		if (kv_core_is_idle(core) && \
			!atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed)) \
			return kv_real.symbol(__VA_ARGS__); \
		slot = kv_submit_enter_hot(core, &timed); \
		if (kv_unlikely(slot == KV_GATE_SLOTS)) \
			return slow_##symbol(__VA_ARGS__); \
		if (kv_unlikely(timed)) \
			return timed_##symbol(__VA_ARGS__); \
		if (kv_unlikely(!is_harmless(core, f, params))) \
			res = prepare_hot(f, params, extra, stream_of_launch, per_thread, shape); \
		if (kv_likely(res == CUDA_SUCCESS)) \
			res = kv_real.symbol(__VA_ARGS__); \
		kv_submit_leave_hot(core, slot); \
		return res; \
	}

#define LAUNCH_KERNEL(symbol, per_thread) \
	LAUNCH(symbol, false, stream, per_thread, shape_of(gx, gy, gz, bx, by, bz), \
		(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, \
			unsigned int by, unsigned int bz, unsigned int shared, CUstream stream, \
			void **params, void **extra), \
		f, gx, gy, gz, bx, by, bz, shared, stream, params, extra)
#define LAUNCH_EX(symbol, per_thread) \
	LAUNCH(symbol, !config, config->hStream, per_thread, \
		shape_of(config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX, \
			config->blockDimY, config->blockDimZ), \
		(const CUlaunchConfig *config, CUfunction f, void **params, void **extra), config, \
		f, params, extra)

LAUNCH_KERNEL(cuLaunchKernel, false)
LAUNCH_KERNEL(cuLaunchKernel_ptsz, true)
LAUNCH_EX(cuLaunchKernelEx, false)
LAUNCH_EX(cuLaunchKernelEx_ptsz, true)

#define LAUNCH_COOPERATIVE(symbol, per_thread) \
	CUresult CUDAAPI symbol(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, \
		unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared, \
		CUstream stream, void **params) \
	{ \
		CUresult res; \
\
		if (!kv_submit_enter()) \
			return KV_REAL(symbol)(f, gx, gy, gz, bx, by, bz, shared, stream, params); \
		kv_submit_launch(); \
		res = prepare(f, params, NULL, stream, per_thread); \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(f, gx, gy, gz, bx, by, bz, shared, stream, params); \
		kv_submit_leave(); \
		return res; \
	}

LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel, false)
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel_ptsz, true)

CUresult CUDAAPI cuLaunchCooperativeKernelMultiDevice(
	CUDA_LAUNCH_PARAMS_v1 *list, unsigned int n, unsigned int flags)
{
	CUresult res = CUDA_SUCCESS;

	if (!list || !kv_submit_enter())
		return KV_REAL(cuLaunchCooperativeKernelMultiDevice)(list, n, flags);
	kv_submit_launch();
	for (unsigned int i = 0; i < n && res == CUDA_SUCCESS; i++)
		res = prepare(list[i].function, list[i].kernelParams, NULL, list[i].hStream, false);
	if (res == CUDA_SUCCESS)
		res = KV_REAL(cuLaunchCooperativeKernelMultiDevice)(list, n, flags);
	kv_submit_leave();
	return res;
}

/*
 * The launches of CUDA 3: parameters were set byte by byte, in calls that we let pass. Nothing is
 * known about them, so every reservation leaks. [inside]
 */
static CUresult prepare_legacy(const void *function, CUstream stream)
{
	bool captured = kv_stream_captures(stream, false);

	kv_leak_all(kv_hooks.core, captured ? KV_STATIC_GRAPH : KV_STATIC_KERNEL,
		kv_kernel_of(function)->by);
	return captured ? CUDA_SUCCESS : kv_submit_settle();
}

#define LAUNCH_LEGACY(symbol, stream, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		CUresult res; \
\
		if (!kv_submit_enter()) \
			return KV_REAL(symbol)(__VA_ARGS__); \
		kv_submit_launch(); \
		res = prepare_legacy(f, stream); \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(__VA_ARGS__); \
		kv_submit_leave(); \
		return res; \
	}

LAUNCH_LEGACY(cuLaunch, NULL, (CUfunction f), f)
LAUNCH_LEGACY(cuLaunchGrid, NULL, (CUfunction f, int width, int height), f, width, height)
LAUNCH_LEGACY(cuLaunchGridAsync, stream, (CUfunction f, int width, int height, CUstream stream), f,
	width, height, stream)

/*
 * Host functions run on a stream and carry no address. The function itself is left alone: it may
 * wait for anything, also for a launch that waits at a closed gate, which is why draining is
 * bounded.
 */
#define HOST_WORK(symbol, per_thread, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		CUresult res; \
\
		if (!kv_submit_enter()) \
			return KV_REAL(symbol)(__VA_ARGS__); \
		res = prepare_plain(stream, per_thread); \
		if (res == CUDA_SUCCESS) \
			res = KV_REAL(symbol)(__VA_ARGS__); \
		kv_submit_leave(); \
		return res; \
	}

HOST_WORK(cuLaunchHostFunc, false, (CUstream stream, CUhostFn fn, void *data), stream, fn, data)
HOST_WORK(cuLaunchHostFunc_ptsz, true, (CUstream stream, CUhostFn fn, void *data), stream, fn, data)
HOST_WORK(cuStreamAddCallback, false,
	(CUstream stream, CUstreamCallback fn, void *data, unsigned int flags), stream, fn, data,
	flags)
HOST_WORK(cuStreamAddCallback_ptsz, true,
	(CUstream stream, CUstreamCallback fn, void *data, unsigned int flags), stream, fn, data,
	flags)
