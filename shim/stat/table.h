/* SPDX-License-Identifier: Apache-2.0 */
/* table.h - the columns of the table of processes: what they say and how they sort. Pure. */
#ifndef KV_SHIM_STAT_TABLE_H
#define KV_SHIM_STAT_TABLE_H

#include "stat/canvas.h"
#include "stat/live.h"

struct kv_column {
	const char *title;
	int width;    /* characters */
	bool left;    /* aligned */
	int priority; /* the higher, the sooner it goes on a narrow screen */
	/* text of at most 64 bytes; returns the role to show it in */
	enum kv_role (*text)(const struct kv_live_row *row, char text[64]);
	/* below 0: a stands before b when sorted the natural way (names up, numbers down) */
	int (*compare)(const struct kv_live_row *a, const struct kv_live_row *b);
};

extern const struct kv_column kv_columns[];
extern const uint32_t kv_n_columns;
/* The column by this title. */
uint32_t kv_column_find(const char *title);

#endif
