/* SPDX-License-Identifier: Apache-2.0 */
/* history.h - the last samples of some numbers of every GPU and process, for graphs. */
#ifndef KV_SHIM_STAT_HISTORY_H
#define KV_SHIM_STAT_HISTORY_H

#include "stat/reader.h"

#define KV_HISTORY_SAMPLES 256u
#define KV_HISTORY_SERIES 2u /* the lower and the upper part of a column */

/* What is recorded: of a GPU native and backed, of a process backed and spilled. */
struct kv_series {
	char path[512];
	int32_t pid;         /* 0: of the GPU */
	uint32_t slot_index; /* these two tell processes apart ... */
	uint32_t generation; /* ... as kv_stat_find() does */
	uint32_t n;          /* samples so far, the newest is value[(n - 1) % KV_HISTORY_SAMPLES] */
	uint64_t n_round;    /* of the last sample */
	uint64_t value[KV_HISTORY_SAMPLES][KV_HISTORY_SERIES];
};

struct kv_history {
	uint64_t n_round;
	uint32_t n_series;
	struct kv_series *series; /* owned */
};

/* Adds a sample and drops what is no longer there. 0 or -ENOMEM: some of it was not added. */
int kv_history_add(struct kv_history *history, const struct kv_stat *stat);
void kv_history_free(struct kv_history *history);
/* NULL: nothing is known. process NULL: of the GPU. */
const struct kv_series *kv_history_find(const struct kv_history *history,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process);
/* The sample `ago` samples ago (0: the newest), or NULL. */
const uint64_t *kv_series_at(const struct kv_series *series, uint32_t ago);

#endif
