/* SPDX-License-Identifier: Apache-2.0 */
/*
 * submit.h - what every hook that queues GPU work does around its driver call.
 *
 *   if (!kv_submit_enter())            // no reservation in this process, inert, or our own call
 *           return real(...);
 *   ... kv_touch() and friends ...
 *   res = kv_submit_settle();          // static reservations whole
 *   if (res == CUDA_SUCCESS)
 *           res = real(...);
 *   kv_submit_leave();
 *
 * The first line costs one relaxed load when the process has no reservation.
 */
#ifndef KV_HOOKS_SUBMIT_H
#define KV_HOOKS_SUBMIT_H

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "hooks/hooks.h"
#include "hooks/real.h"

/* Thread-local, initial-exec: no allocation, no call at access. */
struct kv_thread {
	uint32_t slot_plus_1; /* gate slot; 0: none yet */
	uint32_t depth; /* > 0: inside a hook or a call of our own: hooks pass straight through */
	bool described; /* with rules: what this submission writes is known, see recognise.h */
	uint32_t own_depth; /* > 0: inside kv_own_begin(): capture mode is relaxed already */
	uint64_t word;      /* of the gate's slot, when kv_submit_enter() entered */
};
extern __thread struct kv_thread kv_thread __attribute__((tls_model("initial-exec")));

struct kv_hooks_state {
	/* core while mode is ACTIVE and no test option wants to see submissions, else NULL. atomic:
	 * release after everything else is set, acquire in launches */
	_Atomic(struct kv_core *) launch_core;
	_Atomic int mode;               /* enum kv_hooks_mode; atomic: release after core is set */
	struct kv_core *core;           /* immutable once mode is ACTIVE */
	struct kv_hooks_config config;  /* immutable once mode is ACTIVE */
	_Atomic uint32_t captures_open; /* atomic: relaxed; stream captures begun and not ended */
};
extern struct kv_hooks_state kv_hooks __attribute__((visibility("hidden")));

/* Sets up on first use (real.h, kv_embed_setup, core). Cheap when done. Never from a look-up. */
void kv_hooks_prepare(void);

/* [hot] Enters the gate. False: call the driver directly and do not leave. */
bool kv_submit_enter(void);
/* The same for calls that queue nothing but must not overlap a drain (a stream is destroyed):
 * enters the gate also when there is no reservation, and never evicts first. False: not active, or
 * inside. */
bool kv_submit_enter_quiet(void);
/* kv_settle(), converted. */
CUresult kv_submit_settle(void);
void kv_submit_leave(void);
/* [inside] After kv_submit_enter(): this submission is a launch, and counted as one. Returns when
 * it began if it is one of those that are timed, else 0. */
uint64_t kv_submit_launch(void);
/* [inside] A launch that began then is about to reach the driver. 0: nothing. */
void kv_submit_launched(uint64_t began_ns);
/* CLOCK_MONOTONIC, for launches that are timed. */
uint64_t kv_submit_clock(void);
/* [inside] Leaves the gate, makes what is marked go (kv_reap()) and enters again: what was touched
 * before may have gone. Waits for the work in flight, within the bound of a drain. */
void kv_submit_reap(struct kv_space *space);

/* Is a launch to be timed that found this word in its slot of the gate? */
static inline bool kv_submit_is_timed(uint64_t word)
{
	return !(word & (uint64_t)(KV_LAUNCH_SAMPLE - 1) << KV_GATE_PASS_SHIFT);
}

/*
 * The same for the launch path, core is kv_hooks.launch_core and not NULL. Returns the slot to
 * leave by, or KV_GATE_SLOTS: use kv_submit_enter(). ret_timed: kv_submit_is_timed(). [hot]
 */
static inline __attribute__((always_inline)) uint64_t kv_submit_enter_hot(
	struct kv_core *core, bool *ret_timed)
{
	uint64_t slot;

	/* Slot and depth in one load: no slot yet makes this -1, a depth at least 2^32. */
	_Static_assert(
		offsetof(struct kv_thread, depth) == 4 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
		"depth is the upper half");
	memcpy(&slot, &kv_thread, sizeof(slot));
	slot--;
	if (__builtin_expect(slot >= KV_GATE_SLOTS, 0))
		return KV_GATE_SLOTS;
	kv_thread.depth = 1;
	*ret_timed = kv_submit_is_timed(kv_core_enter(core, slot));
	return slot;
}

static inline __attribute__((always_inline)) void kv_submit_leave_hot(
	struct kv_core *core, uint64_t slot)
{
	kv_core_leave(core, slot);
	kv_thread.depth = 0;
}

/* Brackets calls of our own into the driver: hooks pass through, capture mode is relaxed. */
struct kv_own_call {
	CUstreamCaptureMode mode;
};
/* Nests; only the outermost pair calls the driver. Does not change the current context. */
void kv_own_begin(struct kv_own_call *call);
void kv_own_end(struct kv_own_call *call);

/* The one place where errno and CUresult meet. 0 <-> CUDA_SUCCESS, -ENOMEM <-> OUT_OF_MEMORY, ...
 */
CUresult kv_result_of(int error);
int kv_errno_of(CUresult result);

/*
 * Is this stream capturing? Zero driver calls while no capture is open in the process. per_thread:
 * the entry point was a _ptsz or _ptds variant (stream 0 is then the per-thread stream).
 */
bool kv_stream_captures(CUstream stream, bool per_thread);

#endif
