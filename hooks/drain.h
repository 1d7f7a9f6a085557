/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.h - everything through which this process may have work in flight.
 *
 * Three kinds: contexts (an event on the legacy stream covers all blocking and per-thread streams
 * of it), non-blocking streams, and events that streams left behind which were destroyed with work
 * queued. Rows are added any time and removed only by a thread that is inside the gate, so that
 * none vanishes during a drain, which has the gate closed.
 */
#ifndef KV_HOOKS_DRAIN_H
#define KV_HOOKS_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/real.h"

/* Remember; duplicates are ignored. Without memory for a row every drain times out. */
void kv_drain_add_context(CUcontext ctx);
/* ctx: the stream's own, NULL if it cannot be made current (green contexts: owner is then their
 * handle). */
void kv_drain_add_stream(CUstream stream, CUcontext ctx, const void *owner);
/* event: recorded behind the stream's last work; owned by the table from now on. */
void kv_drain_add_event(CUevent event, CUcontext ctx);

/* [inside] */
void kv_drain_remove_stream(CUstream stream);
/* [inside] Forgets a context and all streams and events in it; calls no driver. */
void kv_drain_remove_context(const void *ctx_or_owner);

/*
 * Waits until all of it is idle, on every device: a stream of one device may copy from or to the
 * memory of another. As gpu_ops.drain; the caller holds the gate closed and is in relaxed capture
 * mode.
 */
int kv_drain_all(uint64_t timeout_ns);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t kv_now_ns(void);

#endif
