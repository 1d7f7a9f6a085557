/* SPDX-License-Identifier: Apache-2.0 */
/* history.c - see history.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stat/history.h"

static struct kv_series *find(const struct kv_history *history,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process)
{
	for (uint32_t i = 0; i < history->n_series; i++) {
		struct kv_series *series = &history->series[i];

		if (series->pid == (process ? process->pid : 0) &&
			(!process || (series->slot_index == process->slot_index &&
					     series->generation == process->generation)) &&
			strcmp(series->path, segment->path) == 0)
			return series;
	}
	return NULL;
}

const struct kv_series *kv_history_find(const struct kv_history *history,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process)
{
	return find(history, segment, process);
}

const uint64_t *kv_series_at(const struct kv_series *series, uint32_t ago)
{
	if (ago >= series->n || ago >= KV_HISTORY_SAMPLES)
		return NULL;
	return series->value[(series->n - 1 - ago) % KV_HISTORY_SAMPLES];
}

static int add(struct kv_history *history, const struct kv_stat_segment *segment,
	const struct kv_stat_process *process, uint64_t lower, uint64_t upper)
{
	struct kv_series *series = find(history, segment, process);
	uint64_t *value;

	if (!series) {
		series = realloc(history->series, (history->n_series + 1) * sizeof(*series));
		if (!series)
			return -ENOMEM;
		history->series = series;
		series = &history->series[history->n_series++];
		memset(series, 0, sizeof(*series));
		snprintf(series->path, sizeof(series->path), "%s", segment->path);
		if (process) {
			series->pid = process->pid;
			series->slot_index = process->slot_index;
			series->generation = process->generation;
		}
	}
	value = series->value[series->n % KV_HISTORY_SAMPLES];
	value[0] = lower == KV_UNKNOWN ? 0 : lower;
	value[1] = upper == KV_UNKNOWN ? 0 : upper;
	series->n++;
	series->n_round = history->n_round;
	return 0;
}

int kv_history_add(struct kv_history *history, const struct kv_stat *stat)
{
	int error = 0;

	history->n_round++;
	for (uint32_t i = 0; i < stat->n_segments && !error; i++) {
		const struct kv_stat_segment *segment = &stat->segments[i];

		if (segment->problem[0])
			continue;
		error = add(history, segment, NULL, segment->value[KV_GPU_NATIVE],
			segment->value[KV_GPU_BACKED]);
		for (uint32_t j = 0; j < segment->n_processes && !error; j++)
			error = add(history, segment, &segment->processes[j],
				segment->processes[j].value[KV_PROCESS_BACKED],
				segment->processes[j].value[KV_PROCESS_SPILLED]);
	}
	for (uint32_t i = 0; i < history->n_series;) {
		if (history->series[i].n_round == history->n_round)
			i++;
		else
			history->series[i] = history->series[--history->n_series];
	}
	return error;
}

void kv_history_free(struct kv_history *history)
{
	free(history->series);
	memset(history, 0, sizeof(*history));
}
