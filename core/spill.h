/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.h - SPILLED pages, which the device reads in host memory, and their way back.
 *
 * They come about in backing.c: a page is needed, the device has no memory, others were asked and
 * gave none in time, and the host budget has room.
 */
#ifndef KV_CORE_SPILL_H
#define KV_CORE_SPILL_H

#include <stdint.h>

struct kv_space;

/*
 * [outside] Moves SPILLED pages to device memory, about bytes of them (UINT64_MAX: all), as far as
 * the device has memory without anybody being asked for it. In batches, each with the gate closed.
 * ret_bytes (may be NULL): how much has moved. 0: done, or done until an error was met. With
 * nothing moved: -ENOMEM (no device memory, or none for the copies), -ETIMEDOUT and -EBUSY as
 * kv_evict(), or another error of gpu_ops; then pages may be EVICTED that were SPILLED.
 */
int kv_promote(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes);
/* The agent's task; ctx: the space. */
uint64_t kv_promote_task(void *ctx, uint64_t now_ns);

#endif
