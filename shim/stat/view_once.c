/* SPDX-License-Identifier: Apache-2.0 */
/* view_once.c - kvshim-stat --once. */
#include <string.h>

#include "stat/format.h"
#include "stat/view.h"

static void draw_static(const struct kv_stat_process *process, FILE *out)
{
	char size[KV_TEXT], by[KV_STATS_NAME_MAX];

	for (uint32_t i = 0; i < process->n_rows; i++) {
		const struct kv_reservation_stats *row = &process->rows[i];

		if (row->static_reason)
			fprintf(out, "        static: %s at 0x%llx, by %s %s\n",
				kv_format_size(row->reserved, size), (unsigned long long)row->base,
				kv_stat_reason(row->static_reason),
				kv_format_clean(row->static_by, by, sizeof(by)));
	}
}

static void draw_process(const struct kv_stat_process *process, FILE *out)
{
	const uint64_t *value = process->value;
	char name[20], note[128], a[KV_TEXT], b[KV_TEXT], c[KV_TEXT], d[KV_TEXT], pages[64] = "?";

	if (process->problem[0]) {
		fprintf(out, "%8d  slot %u cannot be read: %s\n", (int)process->pid,
			process->slot_index, process->problem);
		return;
	}
	if (process->pages_known)
		snprintf(pages, sizeof(pages), "%llu/%llu/%llu/%llu",
			(unsigned long long)process->pages[KV_PAGE_EMPTY],
			(unsigned long long)process->pages[KV_PAGE_BACKED],
			(unsigned long long)process->pages[KV_PAGE_EVICTED],
			(unsigned long long)process->pages[KV_PAGE_SPILLED]);
	fprintf(out, "%8d  %-15s  %-7s  %8s  %8s  %8s  %8s  %s\n", (int)process->pid,
		kv_format_clean(process->name, name, 16), kv_stat_state_word(process->state),
		kv_format_size(value[KV_PROCESS_RESERVED], a),
		kv_format_size(value[KV_PROCESS_BACKED], b),
		kv_format_size(value[KV_PROCESS_BACKED_PEAK], c),
		kv_format_size(value[KV_PROCESS_NATIVE], d), pages);
	if (process->note[0])
		fprintf(out, "        note: %s\n",
			kv_format_clean(process->note, note, sizeof(note)));
	draw_static(process, out);
}

static void draw_segment(const struct kv_stat_segment *segment, FILE *out)
{
	char name[64], total[KV_TEXT];

	if (segment->problem[0]) {
		fprintf(out, "%s: cannot be read: %s\n", segment->path, segment->problem);
		return;
	}
	fprintf(out, "GPU-%s  %s  %s  %u process%s\n", segment->uuid,
		kv_format_clean(segment->gpu_name, name, sizeof(name)),
		kv_format_size(segment->value[KV_GPU_TOTAL], total), segment->n_processes,
		segment->n_processes == 1 ? "" : "es");
	if (segment->n_processes)
		fprintf(out, "%8s  %-15s  %-7s  %8s  %8s  %8s  %8s  %s\n", "PID", "NAME", "STATE",
			"RESERVED", "BACKED", "PEAK", "NATIVE",
			"PAGES empty/backed/evicted/spilled");
	for (uint32_t i = 0; i < segment->n_processes; i++)
		draw_process(&segment->processes[i], out);
}

void kv_view_once(const struct kv_stat *stat, FILE *out)
{
	if (stat->problem[0]) {
		fprintf(out, "%s: cannot be read: %s\n", stat->directory, stat->problem);
		return;
	}
	if (!stat->n_segments)
		fprintf(out, "no process runs under kvshim (no segment in %s)\n", stat->directory);
	for (uint32_t i = 0; i < stat->n_segments; i++)
		draw_segment(&stat->segments[i], out);
}
