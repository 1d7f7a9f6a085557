/* SPDX-License-Identifier: Apache-2.0 */
/* draw.h - ways to show what collect.h has collected. They change nothing and read no file. */
#ifndef KV_SHIM_STAT_DRAW_H
#define KV_SHIM_STAT_DRAW_H

#include <stdio.h>

#include "stat/collect.h"

/* For people. */
void kv_draw_table(const struct kv_stat *stat, FILE *out);
/* One object as docs/kvshim-stat.schema.json describes it, and a newline. */
void kv_draw_json(const struct kv_stat *stat, FILE *out);

#endif
