/* SPDX-License-Identifier: Apache-2.0 */
/* view.h - ways to write what reader.h has read. They change nothing and read no file. */
#ifndef KV_SHIM_STAT_VIEW_H
#define KV_SHIM_STAT_VIEW_H

#include <stdio.h>

#include "stat/reader.h"

/* For people. */
void kv_view_once(const struct kv_stat *stat, FILE *out);
/* One object as docs/kvshim-stat.schema.json describes it, and a newline. */
void kv_view_json(const struct kv_stat *stat, FILE *out);
/* For logs: one line per GPU and one per process, key=value, each with the time. */
void kv_view_lines(const struct kv_stat *stat, FILE *out);
/* A row per GPU and one per process; the columns are those of kv_view_csv_header(). */
void kv_view_csv(const struct kv_stat *stat, FILE *out);
void kv_view_csv_header(FILE *out);
/* Text exposition for Prometheus, format 0.0.4. */
void kv_view_prometheus(const struct kv_stat *stat, FILE *out);

/* One of the above. */
typedef void kv_view(const struct kv_stat *stat, FILE *out);

/* text as a JSON string with its quotes: bytes that are no UTF-8 become U+FFFD. */
void kv_view_json_string(const char *text, FILE *out);

#endif
