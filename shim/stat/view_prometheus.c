/* SPDX-License-Identifier: Apache-2.0 */
/* view_prometheus.c - kvshim-stat --prometheus and --listen: the text exposition, format 0.0.4. */
#include <string.h>

#include "stat/view.h"

/* Room for the labels of a process: each character may need two. */
#define LABELS 640

/* Appends key="text"; whatever is not printable ASCII becomes a question mark. Returns the end. */
static char *put_label(char *at, const char *key, const char *text)
{
	at = stpcpy(at, key);
	*at++ = '=';
	*at++ = '"';
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			*at++ = '\\';
		*at++ = (char)(c < 0x20 || c >= 0x7f ? '?' : c);
	}
	*at++ = '"';
	*at = '\0';
	return at;
}

/* In braces. process NULL: of the GPU. more: ready labels to add, or "". */
static void put_labels(const struct kv_stat_segment *segment, const struct kv_stat_process *process,
	const char *more, FILE *out)
{
	char text[LABELS], *at = text;

	/* one write per sample: there are thousands */
	at = stpcpy(stpcpy(at, "{gpu=\"GPU-"), segment->uuid);
	at = put_label(at, "\",gpu_name", segment->gpu_name);
	if (process) {
		/* the slot: two pid namespaces may use the same pid */
		at += sprintf(
			at, ",pid=\"%d\",slot=\"%u\"", (int)process->pid, process->slot_index);
		at = put_label(at, ",name", process->name);
		at = put_label(at, ",user", process->user);
	}
	fwrite(text, 1, (size_t)(at - text), out);
	fputs(more, out);
	fputs("} ", out);
}

static void put_sample(const struct kv_metric *metric, const char *name,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process, FILE *out)
{
	uint64_t value = process ? process->value[metric->index] : segment->value[metric->index];

	if (value == KV_UNKNOWN)
		return;
	fputs(name, out);
	put_labels(segment, process, "", out);
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
			put_sample(metric, name, segment, NULL, out);
		for (uint32_t j = 0; metric->scope == KV_SCOPE_PROCESS && j < segment->n_processes;
			j++)
			if (!segment->processes[j].problem[0])
				put_sample(metric, name, segment, &segment->processes[j], out);
	}
}

static void put_states(const struct kv_stat *stat, FILE *out)
{
	char more[32];

	put_head("kvshim_process_state", "gauge", "1 for the state that the process is in.", out);
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		const struct kv_stat_segment *segment = &stat->segments[i];

		for (uint32_t j = 0; j < segment->n_processes; j++) {
			if (segment->processes[j].problem[0])
				continue;
			for (int state = 0; state < KV_STAT_STATES; state++) {
				snprintf(more, sizeof(more), ",state=\"%s\"",
					kv_stat_state_word((enum kv_stat_state)state));
				fputs("kvshim_process_state", out);
				put_labels(segment, &segment->processes[j], more, out);
				fprintf(out, "%d\n",
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
