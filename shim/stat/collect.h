/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.h - from segments to plain structures: what draw_*.c show.
 *
 * Opens files for reading only, creates no CUDA context, takes no lock. A segment that cannot be
 * read is an entry with a problem, not an error.
 */
#ifndef KV_SHIM_STAT_COLLECT_H
#define KV_SHIM_STAT_COLLECT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/coord_shm.h"

struct kv_stat_process {
	uint32_t slot_index;
	enum kv_coord_life life;
	char problem[128];         /* "" or why slot is not to be trusted: only the pid is shown */
	struct kv_coord_slot slot; /* a copy that has been checked, if there is no problem */
	bool pages_known;          /* every reservation has a row */
	uint64_t pages[8];         /* of all reservations, by enum kv_page_state */
};

struct kv_stat_segment {
	char path[512];
	char problem[160]; /* "" or why nothing below is known */
	char uuid[37];
	char gpu_name[64];
	uint64_t gpu_total;
	uint32_t n_processes;
	struct kv_stat_process *processes; /* by slot index; owned */
};

struct kv_stat {
	char directory[256];
	char problem[160]; /* "" or why the directory cannot be read */
	uint64_t now_ns;   /* CLOCK_MONOTONIC, as the times in the segments */
	uint32_t n_segments;
	struct kv_stat_segment *segments; /* by path; owned */
};

/* 0 or -ENOMEM; ret_stat owns nothing then. */
int kv_stat_collect(const char *directory, struct kv_stat *ret_stat);
void kv_stat_free(struct kv_stat *stat);

/* The word for enum kv_static_reason, for people and for JSON; NULL for KV_STATIC_NO. */
const char *kv_stat_reason(uint32_t reason);

#endif
