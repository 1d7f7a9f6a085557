/* SPDX-License-Identifier: Apache-2.0 */
/* draw_table.c - kvshim-stat --once. */
#include <stdio.h>
#include <string.h>

#include "stat/draw.h"

/* "1.5G" and the like: five characters at most, rounded down to a tenth. */
static const char *size_text(uint64_t bytes, char text[24])
{
	static const char units[] = "BKMGTPE";
	uint64_t tenths;
	int unit = 0;

	while (unit < 6 && bytes >> (10 * (unit + 1)))
		unit++;
	if (unit == 0) {
		snprintf(text, 24, "%llu", (unsigned long long)bytes);
		return text;
	}
	tenths = (bytes >> (10 * (unit - 1))) * 10 >> 10;
	if (tenths < 100 && tenths % 10)
		snprintf(text, 24, "%llu.%llu%c", (unsigned long long)tenths / 10,
			(unsigned long long)tenths % 10, units[unit]);
	else
		snprintf(text, 24, "%llu%c", (unsigned long long)tenths / 10, units[unit]);
	return text;
}

/* Names come from other processes: no control character reaches the terminal. */
static const char *clean(const char *name, char *text, size_t size)
{
	size_t length = strnlen(name, size - 1);

	for (size_t i = 0; i < length; i++)
		text[i] = (unsigned char)name[i] < 0x20 || (unsigned char)name[i] >= 0x7f ? '?'
											  : name[i];
	text[length] = '\0';
	return text;
}

static const char *state_word(const struct kv_stat_process *process)
{
	if (process->life == KV_COORD_DEAD)
		return "dead";
	return process->slot.state == KV_COORD_INERT ? "inert" : "active";
}

static void draw_static(const struct kv_coord_slot *slot, FILE *out)
{
	char size[24], by[KV_STATS_NAME_MAX];

	for (uint32_t i = 0; i < KV_COORD_ROWS; i++) {
		const struct kv_reservation_stats *row = &slot->rows[i];

		if (row->base && row->static_reason)
			fprintf(out, "        static: %s at 0x%llx, by %s %s\n",
				size_text(row->reserved, size), (unsigned long long)row->base,
				kv_stat_reason(row->static_reason),
				clean(row->static_by, by, sizeof(by)));
	}
}

static void draw_process(const struct kv_stat_process *process, FILE *out)
{
	const struct kv_process_stats *stats = &process->slot.process;
	char name[20], note[128], a[24], b[24], c[24], d[24], pages[64] = "?";

	if (process->problem[0]) {
		fprintf(out, "%8d  slot %u cannot be read: %s\n", (int)process->slot.owner_pid,
			process->slot_index, process->problem);
		return;
	}
	if (process->pages_known)
		snprintf(pages, sizeof(pages), "%llu/%llu/%llu/%llu",
			(unsigned long long)process->pages[KV_PAGE_EMPTY],
			(unsigned long long)process->pages[KV_PAGE_BACKED],
			(unsigned long long)process->pages[KV_PAGE_EVICTED],
			(unsigned long long)process->pages[KV_PAGE_SPILLED]);
	fprintf(out, "%8d  %-15s  %-6s  %8s  %8s  %8s  %8s  %s\n", (int)process->slot.owner_pid,
		clean(process->slot.name, name, 16), state_word(process),
		size_text(stats->reserved, a), size_text(stats->backed, b),
		size_text(stats->backed_peak, c), size_text(stats->native, d), pages);
	if (process->slot.note[0])
		fprintf(out, "        note: %s\n", clean(process->slot.note, note, sizeof(note)));
	draw_static(&process->slot, out);
}

static void draw_segment(const struct kv_stat_segment *segment, FILE *out)
{
	char name[64], total[24];

	if (segment->problem[0]) {
		fprintf(out, "%s: cannot be read: %s\n", segment->path, segment->problem);
		return;
	}
	fprintf(out, "GPU-%s  %s  %s  %u process%s\n", segment->uuid,
		clean(segment->gpu_name, name, sizeof(name)), size_text(segment->gpu_total, total),
		segment->n_processes, segment->n_processes == 1 ? "" : "es");
	if (segment->n_processes)
		fprintf(out, "%8s  %-15s  %-6s  %8s  %8s  %8s  %8s  %s\n", "PID", "NAME", "STATE",
			"RESERVED", "BACKED", "PEAK", "NATIVE",
			"PAGES empty/backed/evicted/spilled");
	for (uint32_t i = 0; i < segment->n_processes; i++)
		draw_process(&segment->processes[i], out);
}

void kv_draw_table(const struct kv_stat *stat, FILE *out)
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
