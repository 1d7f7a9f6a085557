/* SPDX-License-Identifier: Apache-2.0 */
/* view_csv.c - kvshim-stat --csv, which is also the form of a recording (record.h, plot.h). */
#include <inttypes.h>

#include "stat/format.h"
#include "stat/view.h"

static void put_values(enum kv_metric_scope scope, const uint64_t *value, FILE *out)
{
	for (uint32_t i = 0; i < KV_METRICS; i++) {
		fputc(',', out);
		if (value && kv_metrics[i].scope == scope &&
			value[kv_metrics[i].index] != KV_UNKNOWN)
			fprintf(out, "%" PRIu64, value[kv_metrics[i].index]);
	}
	fputc('\n', out);
}

/* Quoted; printable ASCII only, so that a row is a line. */
static void put_text(const char *name, FILE *out)
{
	char text[128];

	fputs(",\"", out);
	kv_format_clean(name, text, sizeof(text));
	for (const char *at = text; *at; at++) {
		if (*at == '"')
			fputc('"', out);
		fputc(*at, out);
	}
	fputc('"', out);
}

static void put_start(const struct kv_stat *stat, const struct kv_stat_segment *segment, FILE *out)
{
	fprintf(out, "%" PRIu64 ".%03u,%s", stat->clock.wall_ns / 1000000000,
		(unsigned int)(stat->clock.wall_ns / 1000000 % 1000), segment->uuid);
	put_text(segment->gpu_name, out);
}

void kv_view_csv_header(FILE *out)
{
	fputs("time_s,gpu,gpu_name,pid,name,user,state", out);
	for (uint32_t i = 0; i < KV_METRICS; i++)
		fprintf(out, ",%s.%s", kv_metrics[i].scope == KV_SCOPE_GPU ? "gpu" : "process",
			kv_metrics[i].name);
	fputc('\n', out);
}

void kv_view_csv(const struct kv_stat *stat, FILE *out)
{
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		const struct kv_stat_segment *segment = &stat->segments[i];

		if (segment->problem[0])
			continue;
		put_start(stat, segment, out);
		fputs(",,,,", out);
		put_values(KV_SCOPE_GPU, segment->value, out);
		for (uint32_t j = 0; j < segment->n_processes; j++) {
			const struct kv_stat_process *process = &segment->processes[j];

			put_start(stat, segment, out);
			fprintf(out, ",%d", (int)process->pid);
			put_text(process->name, out);
			put_text(process->user, out);
			fprintf(out, ",%s",
				process->problem[0] ? "" : kv_stat_state_word(process->state));
			put_values(KV_SCOPE_PROCESS, process->value, out);
		}
	}
}
