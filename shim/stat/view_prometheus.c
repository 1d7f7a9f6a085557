/* SPDX-License-Identifier: Apache-2.0 */
/* view_prometheus.c - kvshim-stat --prometheus and --listen: the text exposition, format 0.0.4. */
#include "stat/view.h"

/* Whatever is not printable ASCII becomes a question mark. */
static void put_label(const char *key, const char *text, FILE *out)
{
	fprintf(out, "%s=\"", key);
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else
			fputc(*at < 0x20 || *at >= 0x7f ? '?' : *at, out);
	}
	fputc('"', out);
}

static void put_gpu_labels(const struct kv_stat_segment *segment, FILE *out)
{
	fprintf(out, "{gpu=\"GPU-%s\",", segment->uuid);
	put_label("gpu_name", segment->gpu_name, out);
}

static void put_process_labels(
	const struct kv_stat_segment *segment, const struct kv_stat_process *process, FILE *out)
{
	put_gpu_labels(segment, out);
	/* the slot: two pid namespaces may use the same pid */
	fprintf(out, ",pid=\"%d\",slot=\"%u\",", (int)process->pid, process->slot_index);
	put_label("name", process->name, out);
	fputc(',', out);
	put_label("user", process->user, out);
}

static void put_sample(const struct kv_metric *metric, const struct kv_stat_segment *segment,
	const struct kv_stat_process *process, FILE *out)
{
	uint64_t value = process ? process->value[metric->index] : segment->value[metric->index];
	char name[96];

	if (value == KV_UNKNOWN)
		return;
	fputs(kv_metric_exposed_name(metric, name), out);
	if (process)
		put_process_labels(segment, process, out);
	else
		put_gpu_labels(segment, out);
	fputs("} ", out);
	kv_metric_expose(metric, value, out);
	fputc('\n', out);
}

static void put_head(const char *name, const char *kind, const char *sentence, FILE *out)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, sentence, name, kind);
}

static void put_metric(const struct kv_metric *metric, const struct kv_stat *stat, FILE *out)
{
	char name[96];

	put_head(kv_metric_exposed_name(metric, name),
		metric->kind == KV_KIND_COUNTER ? "counter" : "gauge", metric->sentence, out);
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		const struct kv_stat_segment *segment = &stat->segments[i];

		if (segment->problem[0])
			continue;
		if (metric->scope == KV_SCOPE_GPU)
			put_sample(metric, segment, NULL, out);
		for (uint32_t j = 0; metric->scope == KV_SCOPE_PROCESS && j < segment->n_processes;
			j++)
			if (!segment->processes[j].problem[0])
				put_sample(metric, segment, &segment->processes[j], out);
	}
}

static void put_states(const struct kv_stat *stat, FILE *out)
{
	put_head("kvshim_process_state", "gauge", "1 for the state that the process is in.", out);
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		const struct kv_stat_segment *segment = &stat->segments[i];

		for (uint32_t j = 0; j < segment->n_processes; j++) {
			if (segment->processes[j].problem[0])
				continue;
			for (int state = 0; state < KV_STAT_STATES; state++) {
				fputs("kvshim_process_state", out);
				put_process_labels(segment, &segment->processes[j], out);
				fprintf(out, ",state=\"%s\"} %d\n",
					kv_stat_state_word((enum kv_stat_state)state),
					segment->processes[j].state == (enum kv_stat_state)state);
			}
		}
	}
}

void kv_view_prometheus(const struct kv_stat *stat, FILE *out)
{
	uint32_t unreadable = stat->problem[0] != '\0';

	for (uint32_t i = 0; i < KV_METRICS; i++)
		put_metric(&kv_metrics[i], stat, out);
	put_states(stat, out);
	for (uint32_t i = 0; i < stat->n_segments; i++)
		unreadable += stat->segments[i].problem[0] != '\0';
	put_head("kvshim_segments_unreadable", "gauge",
		"Segments that could not be read, such as those of another version.", out);
	fprintf(out, "kvshim_segments_unreadable %u\n", unreadable);
}
