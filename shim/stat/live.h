/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.h - the live view: what is known, what is selected, and what a key does. It draws into a
 * canvas and knows no terminal. Owned by one thread.
 */
#ifndef KV_SHIM_STAT_LIVE_H
#define KV_SHIM_STAT_LIVE_H

#include "stat/canvas.h"
#include "stat/command.h"
#include "stat/history.h"
#include "stat/options.h"

/* A line of the table of processes. */
struct kv_live_row {
	const struct kv_stat_segment *segment;
	const struct kv_stat_process *process;
};

enum kv_live_panel {
	KV_PANEL_PAGES = 0, /* the selected reservation: page map, why it is static */
	KV_PANEL_PROCESS,   /* the selected process: numbers, history */
	KV_PANEL_DECISIONS, /* what the policy decided, and why */
	KV_PANELS,
};

enum kv_live_prompt {
	KV_PROMPT_NONE = 0,
	KV_PROMPT_FILTER,
	KV_PROMPT_LIMITS, /* text: what to change */
	KV_PROMPT_CONFIRM,
};

enum kv_live_action {
	KV_LIVE_DRAW = 0, /* nothing but draw it again */
	KV_LIVE_SAMPLE,   /* read the segments now */
	KV_LIVE_QUIT,
};

struct kv_live {
	struct kv_stat stat; /* owned; the last sample, or the one that is frozen */
	bool has_stat;
	struct kv_history history;
	struct kv_live_row *rows; /* owned; filtered and sorted, into stat */
	uint32_t n_rows;

	uint32_t sort; /* column, see table.h */
	bool reverse;
	char filter[64];
	uint32_t selected; /* of rows */
	uint32_t top;      /* first row on the screen */
	uint32_t page;     /* rows on the screen, as last drawn */
	uint32_t reservation;
	enum kv_live_panel panel;
	bool frozen, help;
	uint64_t interval_ms;
	enum kv_stat_scheme scheme;
	bool utf8;

	enum kv_live_prompt prompt;
	char input[128];
	struct kv_command command; /* what waits for its confirmation */
	char message[160];         /* "" or one line, until the next key */
};

void kv_live_init(struct kv_live *live, const struct kv_stat_options *options);
void kv_live_free(struct kv_live *live);
/* Takes a sample over, rates and history with it; the selection stays with its process. 0, or
 * -ENOMEM: stat is freed, the view is as before. */
int kv_live_take(struct kv_live *live, struct kv_stat *stat);
/* A key of draw.h. */
enum kv_live_action kv_live_key(struct kv_live *live, int key);
/* Draws everything; the canvas has been made anew. */
void kv_live_draw(struct kv_live *live, struct kv_canvas *canvas);

/* Filters and sorts again; the selection stays with its process if it is still shown. */
void kv_live_arrange(struct kv_live *live);
/* The selected row, or NULL if there is none. */
const struct kv_live_row *kv_live_selected(const struct kv_live *live);

/* ---- parts, each in its own file ---- */

/* Each draws from line y on, in at most `height` lines, and returns how many it took. */
int kv_panel_gpus(const struct kv_live *live, struct kv_canvas *canvas, int y, int height);
int kv_panel_table(struct kv_live *live, struct kv_canvas *canvas, int y, int height);
int kv_panel_pages(const struct kv_live *live, struct kv_canvas *canvas, int y, int height);
int kv_panel_process(const struct kv_live *live, struct kv_canvas *canvas, int y, int height);
int kv_panel_decisions(const struct kv_live *live, struct kv_canvas *canvas, int y, int height);
void kv_panel_help(const struct kv_live *live, struct kv_canvas *canvas);
/* A graph of both series, newest at the right, from column x on; full: the top of the scale. */
void kv_panel_graph(struct kv_canvas *canvas, int y, int x, int width, int height,
	const struct kv_series *series, uint64_t full, const enum kv_role roles[2]);
/* A line with a title in it. */
void kv_panel_title(struct kv_canvas *canvas, int y, const char *title);

#endif
