/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - what other processes ask of this one through the segment, done by its agent.
 */
#ifndef KV_SHIM_SERVE_H
#define KV_SHIM_SERVE_H

#include "core/coord.h"
#include "core/core.h"

/*
 * In the form of struct kv_stats_sink.turn; ctx: the struct kv_coord of the device. Takes limits
 * that have changed into effect and does what is asked, oldest first. What cannot be done at this
 * moment (work in flight, an open capture) is tried again for a second, then answered with an
 * error.
 */
uint64_t kv_serve_turn(void *ctx, struct kv_space *space, uint64_t now_ns);
/* In the form of struct kv_stats_sink.activity. */
void kv_serve_activity(void *ctx, uint32_t activity);

#endif
