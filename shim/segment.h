/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - one slot per device in the shared segments, fed by core's statistics.
 */
#ifndef KV_SHIM_SEGMENT_H
#define KV_SHIM_SEGMENT_H

#include <stdbool.h>

#include "core/coord_ledger.h"
#include "core/core.h"

struct kv_segment_config {
	const char *directory; /* where the files lie, kept by reference */
	bool has_group;        /* shared by the members of gid, not by the processes of one user */
	uint32_t gid;
	struct kv_coord_limits limits; /* of this process, to begin with */
	struct kv_coord_ledger_config ledger;
};
/* Before the first join. */
void kv_segment_setup(const struct kv_segment_config *config);
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
