/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - launches: what their parameters point at is made whole before the driver sees them.
 *
 * Nothing on this path takes a lock that threads share, allocates, or enters the kernel, as long as
 * nothing has to be done.
 */
#include "hooks/launch.h"

#include <string.h>

#include "hooks/call.h"
#include "hooks/track.h"

/* ---- what a launch points at ---- */

/* Read once for a launch: a word outside of both spans needs no further look. */
struct spans {
	uint64_t low, width;           /* reservations that are not static and whole */
	uint64_t host_low, host_width; /* host memory that the GPU can read */
};

static inline struct spans spans_now(void)
{
	struct spans s;

	kv_core_bounds(kv_hooks.core, &s.low, &s.width);
	kv_track_host_bounds(&s.host_low, &s.host_width);
	s.width -= s.low;
	s.host_width -= s.host_low;
	return s;
}

/* A word that lies in one of the spans. */
static __attribute__((noinline, cold)) int reach(
	const struct kv_kernel *kernel, uint64_t word, bool captured)
{
	struct kv_reservation *r;

	if (kv_core_hits(kv_hooks.core, word, &r)) {
		if (kernel->transient && !captured)
			return kv_touch_transient(r, false);
		kv_leak(r, captured ? KV_STATIC_GRAPH : KV_STATIC_KERNEL, kernel->name);
	} else if (!kernel->transient && kv_track_is_host_visible(word)) {
		/* Whatever addresses the program has put there, the kernel may follow. */
		kv_leak_all(kv_hooks.core, KV_STATIC_HOST_MEMORY, kernel->name);
	}
	return 0;
}

/* [hot] at: eight bytes, maybe not aligned. */
static inline int scan_word(const struct kv_kernel *kernel, const struct spans *spans,
	const unsigned char *at, bool captured)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	if (kv_likely(word - spans->low >= spans->width &&
		      word - spans->host_low >= spans->host_width))
		return 0;
	return reach(kernel, word, captured);
}

/* The packed block behind `extra`, NULL if there is none. *ret_size: UINT32_MAX if the size is not
 * given. */
static const unsigned char *packed_block(void **extra, uint32_t *ret_size)
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

static __attribute__((noinline, cold)) int scan_packed(
	const struct kv_kernel *kernel, const struct spans *spans, void **extra, bool captured)
{
	uint32_t size;
	const unsigned char *block = packed_block(extra, &size);
	int err = 0;

	for (uint32_t i = 0; block && i < kernel->n_words && !err; i++) {
		uint32_t at = kernel->offsets[kernel->words[i].param] + kernel->words[i].at;

		if (at + 8 <= size)
			err = scan_word(kernel, spans, block + at, captured);
	}
	return err;
}

/* [hot] Inlined into its two callers. */
static inline __attribute__((always_inline)) int scan(
	const struct kv_kernel *kernel, void **params, void **extra, bool captured)
{
	const struct kv_kernel_word *w = kernel->words, *end = w + kernel->n_words;
	struct spans spans;
	int err;

	if (kv_unlikely(!kernel->layout_known)) {
		kv_leak_all(
			kv_hooks.core, captured ? KV_STATIC_GRAPH : KV_STATIC_KERNEL, kernel->name);
		return 0;
	}
	spans = spans_now();
	if (kv_unlikely(!params))
		return scan_packed(kernel, &spans, extra, captured);
	for (; w != end; w++) {
		err = scan_word(
			kernel, &spans, (unsigned char *)params[w->param] + w->at, captured);
		if (kv_unlikely(err))
			return err;
	}
	return 0;
}

int kv_launch_scan(const struct kv_kernel *kernel, void **params, void **extra, bool captured)
{
	return scan(kernel, params, extra, captured);
}

/* ---- entry points ---- */

/* [inside] Everything before the driver call of one launch. [hot] */
static CUresult prepare(
	const void *function, void **params, void **extra, CUstream stream, bool per_thread)
{
	bool captured =
		kv_unlikely(atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed)) &&
		kv_stream_captures(stream, per_thread);
	int err = scan(kv_kernel_of(function), params, extra, captured);

	/* What is only recorded now is made whole when the graph is launched. */
	if (kv_likely(!err) && !captured)
		err = kv_settle(kv_hooks.core);
	return kv_likely(!err) ? CUDA_SUCCESS : kv_backed_result(err);
}

/* [inside] The same for work without addresses of its own. */
static CUresult prepare_plain(CUstream stream, bool per_thread)
{
	return kv_stream_captures(stream, per_thread) ? CUDA_SUCCESS : kv_submit_settle();
}

/*
 * No reservation in this process: two loads, and the arguments go on as they came. The driver is
 * called in one place, since copying eleven arguments is most of what a hook costs.
 */
static inline bool is_idle(void)
{
	return kv_hooks_active() && kv_core_is_idle(kv_hooks.core);
}

#define LAUNCH_KERNEL(symbol, per_thread) \
	CUresult CUDAAPI symbol(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, \
		unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared, \
		CUstream stream, void **params, void **extra) \
	{ \
		CUresult res; \
\
		if (is_idle() || !kv_submit_enter()) \
			return KV_REAL(symbol)( \
				f, gx, gy, gz, bx, by, bz, shared, stream, params, extra); \
		res = prepare(f, params, extra, stream, per_thread); \
		if (kv_likely(res == CUDA_SUCCESS)) \
			res = KV_REAL(symbol)( \
				f, gx, gy, gz, bx, by, bz, shared, stream, params, extra); \
		kv_submit_leave(); \
		return res; \
	}

LAUNCH_KERNEL(cuLaunchKernel, false)
LAUNCH_KERNEL(cuLaunchKernel_ptsz, true)

#define LAUNCH_EX(symbol, per_thread) \
	CUresult CUDAAPI symbol( \
		const CUlaunchConfig *config, CUfunction f, void **params, void **extra) \
	{ \
		CUresult res; \
\
		if (is_idle() || !config || !kv_submit_enter()) \
			return KV_REAL(symbol)(config, f, params, extra); \
		res = prepare(f, params, extra, config->hStream, per_thread); \
		if (kv_likely(res == CUDA_SUCCESS)) \
			res = KV_REAL(symbol)(config, f, params, extra); \
		kv_submit_leave(); \
		return res; \
	}

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
		kv_kernel_of(function)->name);
	return captured ? CUDA_SUCCESS : kv_submit_settle();
}

#define LAUNCH_LEGACY(symbol, stream, declare, ...) \
	CUresult CUDAAPI symbol declare \
	{ \
		CUresult res; \
\
		if (!kv_submit_enter()) \
			return KV_REAL(symbol)(__VA_ARGS__); \
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
