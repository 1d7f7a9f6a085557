/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - how a hook reaches the driver's own function, and how it says something.
 */
#ifndef KV_HOOKS_CALL_H
#define KV_HOOKS_CALL_H

#include "hooks/submit.h"

#define kv_likely(x) __builtin_expect(!!(x), 1)
#define kv_unlikely(x) __builtin_expect(!!(x), 0)

/* What is called in place of an entry point that the installed driver lacks. */
CUresult CUDAAPI kv_no_such_entry(void);

static inline void kv_hooks_ready(void)
{
	if (kv_unlikely(
		    atomic_load_explicit(&kv_hooks.mode, memory_order_acquire) == KV_HOOKS_UNREADY))
		kv_hooks_prepare();
}

/*
 * The driver's own function, never NULL, after set-up. Callable through the wrong type only when it
 * is kv_no_such_entry(), which looks at no argument (caller cleans up on every ABI that CUDA
 * supports).
 */
#define KV_REAL(symbol) \
	(kv_hooks_ready(), kv_real.symbol ? kv_real.symbol \
					  : (__typeof__(kv_real.symbol))(void *)kv_no_such_entry)

static inline bool kv_hooks_active(void)
{
	return kv_likely(
		atomic_load_explicit(&kv_hooks.mode, memory_order_acquire) == KV_HOOKS_ACTIVE);
}

/* The reservation that contains addr, or NULL; also NULL when the process has none. */
static inline struct kv_reservation *kv_hooks_find(uint64_t addr)
{
	if (!kv_hooks_active() || kv_core_is_idle(kv_hooks.core))
		return NULL;
	return kv_core_find(kv_hooks.core, addr);
}

/* One line for the operator, by the embedder's log; level as in core.h. Never called with a lock
 * held. */
void kv_hooks_log(int level, const char *topic, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The answer of kv_touch() and friends, converted: may the driver be called now? A dead context is
 * no reason against it: the driver says so itself, in the words that the program would have heard
 * without us.
 */
CUresult kv_backed_result(int error);

/*
 * A call was reduced to nothing: what would the driver have said about its stream and context?
 * per_thread: the entry point was a _ptsz or _ptds variant.
 */
CUresult kv_stream_verdict(CUstream stream, bool per_thread);

/* The test option that evicts at an interval: a task of the agent (core/agent.h); ctx: the device.
 */
/* ahead.c: a task of the agent, ctx is the device. */
uint64_t kv_ahead_task(void *ctx, uint64_t now_ns);
uint64_t kv_stress_task(void *ctx, uint64_t now_ns);

#endif
