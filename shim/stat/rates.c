/* SPDX-License-Identifier: Apache-2.0 */
/* rates.c - what two samples say together; see reader.h. */
#include <string.h>

#include "stat/reader.h"

bool kv_stat_has_problem(const struct kv_stat *stat)
{
	bool found = stat->problem[0] != '\0';

	for (uint32_t i = 0; i < stat->n_segments; i++)
		found |= stat->segments[i].problem[0] != '\0';
	return found;
}

const struct kv_stat_process *kv_stat_find(const struct kv_stat *stat,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process)
{
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		const struct kv_stat_segment *other = &stat->segments[i];

		if (strcmp(other->path, segment->path) != 0)
			continue;
		for (uint32_t j = 0; j < other->n_processes; j++)
			if (other->processes[j].slot_index == process->slot_index &&
				other->processes[j].generation == process->generation &&
				other->processes[j].pid == process->pid)
				return &other->processes[j];
	}
	return NULL;
}

static void rate_process(
	struct kv_stat_process *process, const struct kv_stat_process *before, double seconds)
{
	for (uint32_t i = 0; i < KV_METRICS; i++) {
		uint32_t at = kv_metrics[i].index;

		if (kv_metrics[i].scope != KV_SCOPE_PROCESS ||
			kv_metrics[i].kind != KV_KIND_COUNTER || process->value[at] == KV_UNKNOWN ||
			before->value[at] == KV_UNKNOWN || process->value[at] < before->value[at])
			continue;
		process->rate[at] = (double)(process->value[at] - before->value[at]) / seconds;
	}
}

void kv_stat_rate(struct kv_stat *stat, const struct kv_stat *before)
{
	const struct kv_stat_process *old;

	if (!before || stat->clock.now_ns <= before->clock.now_ns)
		return;
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		struct kv_stat_segment *segment = &stat->segments[i];

		for (uint32_t j = 0; j < segment->n_processes; j++) {
			old = kv_stat_find(before, segment, &segment->processes[j]);
			if (old)
				rate_process(&segment->processes[j], old,
					(double)(stat->clock.now_ns - before->clock.now_ns) / 1e9);
		}
	}
}
