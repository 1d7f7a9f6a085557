/* SPDX-License-Identifier: Apache-2.0 */
/*
 * submit.c - set-up on first use, the gate around submissions, calls of our own, and the conversion
 * between errno and CUresult.
 */
#include "hooks/submit.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "hooks/agent.h"
#include "hooks/call.h"
#include "hooks/recognise.h"
#include "hooks/slots.h"

__thread struct kv_thread kv_thread __attribute__((tls_model("initial-exec")));
struct kv_hooks_state kv_hooks;

static pthread_mutex_t setup_mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t submissions; /* atomic: relaxed, counts for the test option only */

CUresult CUDAAPI kv_no_such_entry(void)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

void kv_hooks_log(int level, const char *topic, const char *format, ...)
{
	const struct kv_core_config *config = &kv_hooks.config.core;
	char text[512];
	va_list args;

	if (!config->log)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	config->log(config->log_ctx, level, topic, text);
}

/* ---- set-up ---- */

/*
 * A forked child has neither the parent's contexts nor its threads: whatever the driver does there,
 * it does without us. No lock, no driver call, nothing is freed.
 */
static void child_after_fork(void)
{
	atomic_store_explicit(&kv_hooks.launch_core, NULL, memory_order_relaxed);
	atomic_store_explicit(&kv_hooks.mode, KV_HOOKS_INERT, memory_order_relaxed);
	kv_agents_forget();
	kv_thread = (struct kv_thread){0};
}

static _Atomic bool forks_unseen; /* atomic: seq_cst; there was no memory to watch for forks */

/* The mode that the process has from now on. */
static enum kv_hooks_mode set_up(void)
{
	int err;

	if (kv_embed_setup(&kv_hooks.config) < 0)
		return KV_HOOKS_INERT; /* the embedder has said why */
	if (kv_real_load() < 0) {      /* done already, or in vain */
		/* Who calls us nevertheless was bound to our exports, as a weak reference is. */
		kv_hooks_log(0, "init",
			"inert: no libcuda.so.1 found: every driver call answers "
			"CUDA_ERROR_NO_DEVICE; install the driver or put it on LD_LIBRARY_PATH");
		return KV_HOOKS_INERT;
	}
	if (atomic_load(&forks_unseen)) {
		kv_hooks_log(0, "init", "no memory to watch for forks: inert");
		return KV_HOOKS_INERT;
	}
	err = kv_core_new(&kv_hooks.config.core, &kv_hooks.core);
	if (err < 0) {
		kv_hooks_log(0, "init", "no memory for the reservation table: inert");
		return KV_HOOKS_INERT;
	}
	return KV_HOOKS_ACTIVE;
}

/* From before the mutex is taken: a child that is forked while another thread sets up must not find
 * the mutex held by nobody. */
static void watch_forks(void)
{
	static _Atomic bool watched; /* atomic: seq_cst, one thread registers */

	if (!atomic_exchange(&watched, true) && pthread_atfork(NULL, NULL, child_after_fork) != 0)
		atomic_store(&forks_unseen, true);
}

void kv_hooks_prepare(void)
{
	enum kv_hooks_mode mode = KV_HOOKS_UNREADY;

	/* depth: set-up loads libcuda, whose constructors may look here. */
	if (atomic_load_explicit(&kv_hooks.mode, memory_order_acquire) != KV_HOOKS_UNREADY ||
		kv_thread.depth)
		return;
	kv_thread.depth++;
	/* The loader is asked before the mutex is taken, and again after it: a thread that runs a
	 * library's constructor holds the loader's lock and may be waiting for the mutex. */
	kv_real_load();
	watch_forks();
	pthread_mutex_lock(&setup_mutex);
	if (atomic_load_explicit(&kv_hooks.mode, memory_order_relaxed) == KV_HOOKS_UNREADY) {
		mode = set_up();
		/* release: partner is every acquire load of mode; config and core are set. */
		atomic_store_explicit(&kv_hooks.mode, mode, memory_order_release);
		if (mode == KV_HOOKS_ACTIVE && !kv_hooks.config.evict_every)
			/* release: the same for launches, which look at this alone. */
			atomic_store_explicit(
				&kv_hooks.launch_core, kv_hooks.core, memory_order_release);
	}
	pthread_mutex_unlock(&setup_mutex);
	if (mode == KV_HOOKS_ACTIVE)
		kv_slots_rewrite();
	kv_thread.depth--;
}

enum kv_hooks_mode kv_hooks_mode(void)
{
	return atomic_load_explicit(&kv_hooks.mode, memory_order_acquire);
}

struct kv_core *kv_hooks_core(void)
{
	return kv_hooks_active() ? kv_hooks.core : NULL;
}

/* ---- the gate ---- */

/* The test option: everything goes to host memory before every n-th submission. */
static void evict_before_submission(void)
{
	uint32_t every = kv_hooks.config.evict_every;

	if (atomic_fetch_add_explicit(&submissions, 1, memory_order_relaxed) % every != every - 1)
		return;
	if (atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		return;
	kv_evict_all(kv_hooks.core); /* refused by a drain that takes too long: a legal outcome */
}

static void enter(void)
{
	if (kv_unlikely(!kv_thread.slot_plus_1))
		kv_thread.slot_plus_1 = kv_core_thread_slot(kv_hooks.core) + 1;
	kv_thread.word = kv_core_enter(kv_hooks.core, kv_thread.slot_plus_1 - 1);
	kv_core_count_other(kv_hooks.core, kv_thread.slot_plus_1 - 1, 1);
}

bool kv_submit_enter(void)
{
	if (!kv_hooks_active() || kv_thread.depth)
		return false;
	/* What a graph will read counts also if there is no reservation yet. */
	if (kv_core_is_idle(kv_hooks.core) &&
		!atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
		return false;
	kv_thread.depth++;
	if (kv_unlikely(kv_hooks.config.evict_every))
		evict_before_submission();
	enter();
	return true;
}

bool kv_submit_enter_quiet(void)
{
	if (!kv_hooks_active() || kv_thread.depth)
		return false;
	kv_thread.depth++;
	/* Nothing is queued that writes to memory: what is known of index arrays stays known. */
	kv_recognise_described();
	enter();
	return true;
}

CUresult kv_submit_settle(void)
{
	return kv_backed_result(kv_settle(kv_hooks.core));
}

CUresult kv_backed_result(int error)
{
	if (kv_likely(error == 0) || error == -ENODEV)
		return CUDA_SUCCESS;
	return kv_result_of(error);
}

void kv_submit_leave(void)
{
	if (kv_unlikely(kv_hooks.config.rules)) {
		if (!kv_thread.described)
			kv_recognise_forget();
		kv_thread.described = false;
	}
	kv_core_leave(kv_hooks.core, kv_thread.slot_plus_1 - 1);
	kv_thread.depth--;
}

uint64_t kv_submit_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t kv_submit_launch(void)
{
	kv_core_count_other(kv_hooks.core, kv_thread.slot_plus_1 - 1, -1);
	/* a thread's first launch looks everything up, which no other one does */
	if (kv_thread.word >> KV_GATE_PASS_SHIFT == 0 || !kv_submit_is_timed(kv_thread.word))
		return 0;
	return kv_submit_clock();
}

void kv_submit_launched(uint64_t began_ns)
{
	if (kv_unlikely(began_ns))
		kv_core_count_launch(kv_hooks.core, kv_submit_clock() - began_ns);
}

void kv_submit_reap(struct kv_space *space)
{
	kv_core_leave(kv_hooks.core, kv_thread.slot_plus_1 - 1);
	/* A capture or work that takes too long: it goes later. */
	kv_reap(space, NULL);
	kv_core_enter(kv_hooks.core, kv_thread.slot_plus_1 - 1);
	kv_core_count_other(kv_hooks.core, kv_thread.slot_plus_1 - 1, 1);
}

/* ---- calls of our own ---- */

void kv_own_begin(struct kv_own_call *call)
{
	kv_thread.depth++;
	call->mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	if (kv_thread.own_depth++ == 0)
		KV_REAL(cuThreadExchangeStreamCaptureMode)(&call->mode);
}

void kv_own_end(struct kv_own_call *call)
{
	if (--kv_thread.own_depth == 0)
		KV_REAL(cuThreadExchangeStreamCaptureMode)(&call->mode);
	kv_thread.depth--;
}

/* ---- streams ---- */

static CUstream stream_named(CUstream stream, bool per_thread)
{
	return !stream && per_thread ? CU_STREAM_PER_THREAD : stream;
}

bool kv_stream_captures(CUstream stream, bool per_thread)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	struct kv_own_call own;
	CUresult res;

	if (kv_likely(!atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed)))
		return false;
	kv_own_begin(&own);
	res = KV_REAL(cuStreamIsCapturing)(stream_named(stream, per_thread), &status);
	kv_own_end(&own);
	/* An error (a bad stream, the legacy stream beside a capture) is the driver's to report
	 * when it gets the call itself. An invalidated capture is still one: nothing of it will
	 * run. */
	return res == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE;
}

CUresult kv_stream_verdict(CUstream stream, bool per_thread)
{
	CUstreamCaptureStatus status;
	CUresult res = KV_REAL(cuStreamIsCapturing)(stream_named(stream, per_thread), &status);

	/* A driver that cannot tell is no reason to fail. */
	return res == CUDA_ERROR_NOT_SUPPORTED ? CUDA_SUCCESS : res;
}

/* ---- errors ---- */

CUresult kv_result_of(int error)
{
	switch (error) {
	case 0:
		return CUDA_SUCCESS;
	case -ENOMEM:
		return CUDA_ERROR_OUT_OF_MEMORY;
	case -ENODEV:
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	case -EOPNOTSUPP:
		return CUDA_ERROR_NOT_SUPPORTED;
	case -EINVAL:
	case -ENOENT:
		return CUDA_ERROR_INVALID_VALUE;
	case -EBUSY:
	case -ETIMEDOUT:
		return CUDA_ERROR_NOT_READY;
	default:
		return CUDA_ERROR_UNKNOWN;
	}
}

int kv_errno_of(CUresult result)
{
	switch (result) {
	case CUDA_SUCCESS:
		return 0;
	case CUDA_ERROR_OUT_OF_MEMORY:
		return -ENOMEM;
	case CUDA_ERROR_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	case CUDA_ERROR_INVALID_VALUE:
		return -EINVAL;
	case CUDA_ERROR_NOT_READY:
		return -EBUSY;
	/* The context is gone ... */
	case CUDA_ERROR_DEINITIALIZED:
	case CUDA_ERROR_NOT_INITIALIZED:
	case CUDA_ERROR_CONTEXT_IS_DESTROYED:
	case CUDA_ERROR_INVALID_CONTEXT:
	/* ... or a sticky error has made it useless: it returns this one from every call. */
	case CUDA_ERROR_ILLEGAL_ADDRESS:
	case CUDA_ERROR_MISALIGNED_ADDRESS:
	case CUDA_ERROR_INVALID_ADDRESS_SPACE:
	case CUDA_ERROR_INVALID_PC:
	case CUDA_ERROR_ILLEGAL_INSTRUCTION:
	case CUDA_ERROR_HARDWARE_STACK_ERROR:
	case CUDA_ERROR_LAUNCH_FAILED:
	case CUDA_ERROR_LAUNCH_TIMEOUT:
	case CUDA_ERROR_ASSERT:
	case CUDA_ERROR_ECC_UNCORRECTABLE:
	case CUDA_ERROR_NVLINK_UNCORRECTABLE:
	case CUDA_ERROR_DEVICE_UNAVAILABLE:
	case CUDA_ERROR_MPS_CLIENT_TERMINATED:
		return -ENODEV;
	/* A stream is being captured. */
	case CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED:
	case CUDA_ERROR_STREAM_CAPTURE_INVALIDATED:
	case CUDA_ERROR_STREAM_CAPTURE_IMPLICIT:
	case CUDA_ERROR_STREAM_CAPTURE_ISOLATION:
	case CUDA_ERROR_CAPTURED_EVENT:
		return -EBUSY;
	default:
		return -EIO;
	}
}
