/* SPDX-License-Identifier: Apache-2.0 */
/* view_lines.c - kvshim-stat --watch: lines for logs. */
#include "stat/format.h"
#include "stat/view.h"

static void put_gpu(const struct kv_stat_segment *segment, FILE *out)
{
	static const struct {
		const char *key;
		enum kv_gpu_metric metric;
	} parts[] = {{"total", KV_GPU_TOTAL}, {"free", KV_GPU_FREE}, {"native", KV_GPU_NATIVE},
		{"backed", KV_GPU_BACKED}, {"spilled", KV_GPU_SPILLED}, {"evicted", KV_GPU_EVICTED},
		{"reserved", KV_GPU_RESERVED}};
	char text[KV_TEXT];

	fprintf(out, " gpu=%.8s", segment->uuid);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		fprintf(out, " %s=%s", parts[i].key,
			kv_format_size(segment->value[parts[i].metric], text));
	fprintf(out, " processes=%u\n", segment->n_processes);
}

static void put_process(
	const struct kv_stat_segment *segment, const struct kv_stat_process *process, FILE *out)
{
	static const struct {
		const char *key;
		enum kv_process_metric metric;
	} parts[] = {{"reserved", KV_PROCESS_RESERVED}, {"backed", KV_PROCESS_BACKED},
		{"native", KV_PROCESS_NATIVE}, {"evicted", KV_PROCESS_EVICTED},
		{"spilled", KV_PROCESS_SPILLED}};
	char text[KV_TEXT], name[64];

	fprintf(out, " gpu=%.8s pid=%d", segment->uuid, (int)process->pid);
	if (process->problem[0]) {
		fprintf(out, " problem=\"%s\"\n", process->problem);
		return;
	}
	kv_format_clean(process->name, name, sizeof(name));
	for (char *at = name; *at; at++)
		if (*at == ' ' || *at == '"' || *at == '=')
			*at = '_';
	fprintf(out, " name=%s state=%s", name, kv_stat_state_word(process->state));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		fprintf(out, " %s=%s", parts[i].key,
			kv_format_size(process->value[parts[i].metric], text));
	fprintf(out, " in/s=%s", kv_format_rate(process->rate[KV_PROCESS_PAGES_BACKED], text));
	fprintf(out, " out/s=%s", kv_format_rate(process->rate[KV_PROCESS_PAGES_RELEASED], text));
	fprintf(out, " idle=%s\n", kv_format_age(process->value[KV_PROCESS_ACTIVITY], text));
}

void kv_view_lines(const struct kv_stat *stat, FILE *out)
{
	char when[KV_TEXT];

	kv_format_time(stat->clock.wall_ns, when);
	if (stat->problem[0])
		fprintf(out, "%s directory=%s problem=\"%s\"\n", when, stat->directory,
			stat->problem);
	else if (!stat->n_segments)
		fprintf(out, "%s processes=0\n", when);
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		const struct kv_stat_segment *segment = &stat->segments[i];

		fputs(when, out);
		if (segment->problem[0]) {
			fprintf(out, " file=%s problem=\"%s\"\n", segment->path, segment->problem);
			continue;
		}
		put_gpu(segment, out);
		for (uint32_t j = 0; j < segment->n_processes; j++) {
			fputs(when, out);
			put_process(segment, &segment->processes[j], out);
		}
	}
}
