/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - one slot per device in the shared segments, fed by core's statistics.
 */
#ifndef KV_SHIM_SEGMENT_H
#define KV_SHIM_SEGMENT_H

#include "core/coord.h"
#include "core/core.h"

/* Where the files lie, kept by reference. Before the first join. */
void kv_segment_set_directory(const char *directory);
/* What this process sets itself to begin with; others can change it. Before the first join. */
void kv_segment_set_limits(const struct kv_coord_limits *limits);
/*
 * In the form of struct kv_hooks_config.device_found: joins the device's segment and fills the
 * sink. On an error one line has been logged (once per kind of error) and the device must be left
 * alone.
 */
int kv_segment_join(void *ctx, const uint8_t uuid[16], const char *name, uint64_t total_bytes,
	struct kv_stats_sink *ret_sink);
/*
 * In the form of struct kv_hooks_config.device_inert: readers see a slot of this process that is
 * inert, with the note. Logs nothing; without a segment there is no slot.
 */
void kv_segment_inert(void *ctx, const uint8_t uuid[16], const char *name, uint64_t total_bytes,
	const char *note);
/* Frees this process's slots. At exit. */
void kv_segment_leave_all(void);
/* In the child after a fork. */
void kv_segment_forget_all(void);

#endif
