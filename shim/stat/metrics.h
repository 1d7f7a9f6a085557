/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - the table of metrics.def: what each number is called, and how it is written. Pure. */
#ifndef KV_SHIM_STAT_METRICS_H
#define KV_SHIM_STAT_METRICS_H

#include <stdint.h>
#include <stdio.h>

/* What a process did not say. No byte count and no counter of a working process gets there. */
#define KV_UNKNOWN UINT64_MAX

enum kv_gpu_metric {
#define KV_METRIC_GPU(id) KV_GPU_##id,
#define KV_METRIC_PROCESS(id)
#define KV_METRIC(scope, id, ...) KV_METRIC_##scope(id)
#include "stat/metrics.def"
#undef KV_METRIC_GPU
#undef KV_METRIC_PROCESS
	KV_GPU_METRICS,
};

enum kv_process_metric {
#define KV_METRIC_GPU(id)
#define KV_METRIC_PROCESS(id) KV_PROCESS_##id,
#include "stat/metrics.def"
#undef KV_METRIC_GPU
#undef KV_METRIC_PROCESS
#undef KV_METRIC
	KV_PROCESS_METRICS,
};

enum kv_metric_scope { KV_SCOPE_GPU, KV_SCOPE_PROCESS };
enum kv_metric_kind { KV_KIND_GAUGE, KV_KIND_COUNTER, KV_KIND_PEAK };
enum kv_metric_unit { KV_UNIT_BYTES, KV_UNIT_COUNT, KV_UNIT_MS, KV_UNIT_NS };

/* A row of metrics.def. */
struct kv_metric {
	enum kv_metric_scope scope;
	uint32_t index; /* enum kv_gpu_metric or enum kv_process_metric */
	enum kv_metric_kind kind;
	enum kv_metric_unit unit;
	const char *name;
	const char *sentence;
};

#define KV_METRICS (KV_GPU_METRICS + KV_PROCESS_METRICS)
extern const struct kv_metric kv_metrics[KV_METRICS];

/* "kvshim_process_backed_bytes": base units, counters end with _total. Returns text. */
const char *kv_metric_exposed_name(const struct kv_metric *metric, char text[96]);
/* A value in the exposition's base unit (seconds for times). value is not KV_UNKNOWN. */
void kv_metric_expose(const struct kv_metric *metric, uint64_t value, FILE *out);
/* docs/metrics.md. */
void kv_metrics_markdown(FILE *out);

#endif
