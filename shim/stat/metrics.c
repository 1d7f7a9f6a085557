/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - see metrics.h and metrics.def. */
#include <inttypes.h>
#include <string.h>

#include "stat/metrics.h"

const struct kv_metric kv_metrics[KV_METRICS] = {
#define KV_METRIC(scope, id, kind, unit, name, sentence) \
	{KV_SCOPE_##scope, KV_##scope##_##id, KV_KIND_##kind, KV_UNIT_##unit, name, sentence},
#include "stat/metrics.def"
#undef KV_METRIC
};

const char *kv_metric_exposed_name(const struct kv_metric *metric, char text[96])
{
	const char *name = metric->name;
	size_t length;

	if (strncmp(name, "n_", 2) == 0)
		name += 2;
	length = strlen(name);
	if (metric->unit == KV_UNIT_MS || metric->unit == KV_UNIT_NS)
		length -= 3; /* _ms, _ns */
	snprintf(text, 96, "kvshim_%s_%.*s%s%s", metric->scope == KV_SCOPE_GPU ? "gpu" : "process",
		(int)length, name,
		metric->unit == KV_UNIT_MS || metric->unit == KV_UNIT_NS ? "_seconds" : "",
		metric->kind == KV_KIND_COUNTER ? "_total" : "");
	return text;
}

void kv_metric_expose(const struct kv_metric *metric, uint64_t value, FILE *out)
{
	if (metric->unit == KV_UNIT_MS)
		fprintf(out, "%" PRIu64 ".%03u", value / 1000, (unsigned int)(value % 1000));
	else if (metric->unit == KV_UNIT_NS)
		fprintf(out, "%" PRIu64 ".%09u", value / 1000000000,
			(unsigned int)(value % 1000000000));
	else
		fprintf(out, "%" PRIu64, value);
}

void kv_metrics_markdown(FILE *out)
{
	static const char *const units[] = {[KV_UNIT_BYTES] = "bytes",
		[KV_UNIT_COUNT] = "count",
		[KV_UNIT_MS] = "milliseconds",
		[KV_UNIT_NS] = "nanoseconds"};
	static const char *const kinds[] = {
		[KV_KIND_GAUGE] = "gauge", [KV_KIND_COUNTER] = "counter", [KV_KIND_PEAK] = "gauge"};
	char text[96];

	fputs("# Metrics\n\n"
	      "Made by `kvshim-stat --markdown` from `shim/stat/metrics.def`; a test fails until "
	      "the "
	      "two agree.\n\n"
	      "The field is that of `--json` and the column that of `--csv`, in the unit shown; "
	      "the "
	      "Prometheus exposition\n"
	      "(`--prometheus`, `--listen`) has the same value in bytes and seconds. What is not "
	      "known is `null`, an empty column,\n"
	      "or no sample. Metrics of a GPU have the labels `gpu` and `gpu_name`, those of a "
	      "process also `pid`, `slot`, `name` and\n"
	      "`user`.\n",
		out);
	for (uint32_t i = 0; i < KV_METRICS; i++) {
		const struct kv_metric *metric = &kv_metrics[i];

		if (metric->index == 0)
			fprintf(out,
				"\n## Per %s\n\n| field | unit | exposed as | kind | meaning |\n"
				"|---|---|---|---|---|\n",
				metric->scope == KV_SCOPE_GPU ? "GPU" : "process");
		fprintf(out, "| `%s` | %s | `%s` | %s | %s |\n", metric->name, units[metric->unit],
			kv_metric_exposed_name(metric, text), kinds[metric->kind],
			metric->sentence);
	}
	fputs("\n## Besides\n\n| exposed as | kind | meaning |\n|---|---|---|\n"
	      "| `kvshim_process_state` | gauge | 1 for the state that the process is in: label "
	      "`state` is active, idle, evicted, static, inert or dead |\n"
	      "| `kvshim_segments_unreadable` | gauge | Segments that could not be read, such as "
	      "those of another version |\n",
		out);
}
