/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - what the process did before an allocation, as far as the score of selection asks.
 *
 * Counters only: relaxed atomics, right for one thread and good enough for many, since a score is a
 * guess.
 */
#ifndef KV_HOOKS_HISTORY_H
#define KV_HOOKS_HISTORY_H

#include <stdint.h>

#include "core/select.h"

/* length bytes are copied from the host to a device. */
void kv_history_upload(uint64_t length);
/* cuMemGetInfo has answered. */
void kv_history_info(uint64_t free_bytes);
/* An allocation of size bytes was freed. */
void kv_history_free(uint64_t size);
/* An allocation of size bytes is about to be made: fills in the request's history. */
void kv_history_alloc(uint64_t size, struct kv_select_request *request);

#endif
