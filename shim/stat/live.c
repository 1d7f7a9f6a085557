/* SPDX-License-Identifier: Apache-2.0 */
/* live.c - samples, rows and the screen as a whole; see live.h. Keys are in live_keys.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stat/format.h"
#include "stat/live.h"
#include "stat/table.h"

void kv_live_init(struct kv_live *live, const struct kv_stat_options *options)
{
	memset(live, 0, sizeof(*live));
	live->interval_ms = options->interval_ms;
	live->scheme = options->scheme;
	live->utf8 = options->charset == KV_CHARSET_UTF8;
	live->sort = kv_column_find("BACKED");
}

void kv_live_free(struct kv_live *live)
{
	kv_stat_free(&live->stat);
	kv_history_free(&live->history);
	free(live->rows);
	live->rows = NULL;
}

const struct kv_live_row *kv_live_selected(const struct kv_live *live)
{
	return live->selected < live->n_rows ? &live->rows[live->selected] : NULL;
}

static bool matches(const struct kv_live *live, const struct kv_stat_process *process)
{
	char text[192];

	snprintf(text, sizeof(text), "%d %s %s %s", (int)process->pid, process->name, process->user,
		kv_stat_state_word(process->state));
	return !live->filter[0] || strstr(text, live->filter);
}

static int compare_rows(const void *a, const void *b, void *data)
{
	const struct kv_live *live = data;
	const struct kv_live_row *one = a, *two = b;
	int order = kv_columns[live->sort].compare(one, two);

	order = live->reverse ? -order : order;
	/* equal ones keep their places from sample to sample */
	if (!order)
		order = strcmp(one->segment->path, two->segment->path);
	if (!order)
		order = one->process->slot_index < two->process->slot_index ? -1 : 1;
	return order;
}

/* rows has room for every process. */
static void fill_rows(struct kv_live *live, const struct kv_stat_process *selected)
{
	live->n_rows = 0;
	for (uint32_t i = 0; i < live->stat.n_segments; i++) {
		const struct kv_stat_segment *segment = &live->stat.segments[i];

		for (uint32_t j = 0; j < segment->n_processes; j++)
			if (matches(live, &segment->processes[j])) {
				live->rows[live->n_rows].segment = segment;
				live->rows[live->n_rows++].process = &segment->processes[j];
			}
	}
	qsort_r(live->rows, live->n_rows, sizeof(*live->rows), compare_rows, live);
	for (uint32_t i = 0; selected && i < live->n_rows; i++)
		if (live->rows[i].process == selected)
			live->selected = i;
	if (live->selected >= live->n_rows)
		live->selected = live->n_rows ? live->n_rows - 1 : 0;
}

void kv_live_arrange(struct kv_live *live)
{
	const struct kv_live_row *row = kv_live_selected(live);

	fill_rows(live, row ? row->process : NULL);
}

int kv_live_take(struct kv_live *live, struct kv_stat *stat)
{
	const struct kv_live_row *row = kv_live_selected(live);
	const struct kv_stat_process *selected = NULL;
	struct kv_live_row *rows;
	uint32_t n = 1;

	for (uint32_t i = 0; i < stat->n_segments; i++)
		n += stat->segments[i].n_processes;
	rows = calloc(n, sizeof(*rows));
	if (!rows) {
		kv_stat_free(stat);
		return -ENOMEM;
	}
	kv_stat_rate(stat, live->has_stat ? &live->stat : NULL);
	if (row)
		selected = kv_stat_find(stat, row->segment, row->process);
	kv_stat_free(&live->stat);
	free(live->rows);
	live->stat = *stat;
	live->has_stat = true;
	live->rows = rows;
	/* a series that there is no memory for is a graph without a line, nothing worse */
	(void)kv_history_add(&live->history, &live->stat);
	fill_rows(live, selected);
	return 0;
}

/* ---- the screen ---- */

static void draw_top(const struct kv_live *live, struct kv_canvas *canvas)
{
	char when[KV_TEXT], text[160];
	uint32_t n_gpus = 0, n = 0;

	for (uint32_t i = 0; i < live->stat.n_segments; i++) {
		n_gpus += !live->stat.segments[i].problem[0];
		n += live->stat.segments[i].n_processes;
	}
	kv_canvas_bar(canvas, 0, KV_ROLE_TITLE);
	kv_canvas_printf(canvas, 0, 1, KV_ROLE_TITLE, "kvshim-stat  %u GPU%s  %u process%s%s%s",
		n_gpus, n_gpus == 1 ? "" : "s", n, n == 1 ? "" : "es",
		live->filter[0] ? "  filter: " : "", live->filter);
	kv_format_time(live->stat.clock.wall_ns, when);
	snprintf(text, sizeof(text), "%s%llu.%llus  %.8s ", live->frozen ? "FROZEN  " : "every ",
		(unsigned long long)live->interval_ms / 1000,
		(unsigned long long)live->interval_ms / 100 % 10, when + 11);
	kv_canvas_text(canvas, 0, canvas->width - (int)strlen(text), KV_ROLE_TITLE, text);
}

static void draw_bottom(const struct kv_live *live, struct kv_canvas *canvas)
{
	static const char hints[] =
		"?help  /filter  s sort  space freeze  tab panel  l limits  e evict  q quit";
	int y = canvas->height - 1;

	kv_canvas_bar(canvas, y, KV_ROLE_TITLE);
	switch (live->prompt) {
	case KV_PROMPT_FILTER:
		kv_canvas_printf(canvas, y, 1, KV_ROLE_TITLE, "filter: %s_", live->input);
		break;
	case KV_PROMPT_LIMITS:
		kv_canvas_printf(canvas, y, 1, KV_ROLE_TITLE, "limits of %d: %s_",
			(int)live->command.pid, live->input);
		break;
	case KV_PROMPT_CONFIRM:
		kv_canvas_printf(canvas, y, 1, KV_ROLE_TITLE, "%s (y/n)", live->message);
		break;
	default:
		kv_canvas_text(
			canvas, y, 1, KV_ROLE_TITLE, live->message[0] ? live->message : hints);
	}
}

typedef int panel(const struct kv_live *live, struct kv_canvas *canvas, int y, int height);

/* The panels from the chosen one on, as many as there is room for. */
static void draw_panels(const struct kv_live *live, struct kv_canvas *canvas, int y, int height)
{
	static panel *const panels[KV_PANELS] = {[KV_PANEL_PAGES] = kv_panel_pages,
		[KV_PANEL_PROCESS] = kv_panel_process,
		[KV_PANEL_DECISIONS] = kv_panel_decisions};
	/* lines that each makes sense with, is comfortable with, and takes at most */
	int wants[3][KV_PANELS] = {{4, 5, 3}, {4, 8, 6}, {4, 14, 66}};
	const struct kv_live_row *selected = kv_live_selected(live);
	int room[KV_PANELS] = {0}, left = height;

	if (selected && selected->process->n_rows > 1) {
		wants[1][KV_PANEL_PAGES] = 3 + (int)selected->process->n_rows;
		wants[2][KV_PANEL_PAGES] = wants[1][KV_PANEL_PAGES];
		wants[1][KV_PANEL_PAGES] =
			wants[1][KV_PANEL_PAGES] > 7 ? 7 : wants[1][KV_PANEL_PAGES];
	}
	for (int step = 0; step < 3; step++)
		for (int i = 0; i < KV_PANELS; i++) {
			int at = ((int)live->panel + i) % KV_PANELS;
			int more = wants[step][at] - room[at];

			/* a panel that there is no room for at all stays away */
			if (more <= 0 || (step == 0 && more > left) || (step && !room[at]))
				continue;
			more = more > left ? left : more;
			room[at] += more;
			left -= more;
		}
	for (int i = 0; i < KV_PANELS; i++) {
		int at = ((int)live->panel + i) % KV_PANELS;

		if (room[at])
			y += panels[at](live, canvas, y, room[at]);
	}
}

void kv_live_draw(struct kv_live *live, struct kv_canvas *canvas)
{
	int y = 1, left, rows;

	canvas->utf8 = live->utf8;
	if (canvas->width < 40 || canvas->height < 10) {
		kv_canvas_text(canvas, 0, 0, KV_ROLE_TEXT, "too small: 40x10 at least");
		return;
	}
	draw_top(live, canvas);
	draw_bottom(live, canvas);
	if (live->help) {
		kv_panel_help(live, canvas);
		return;
	}
	y += kv_panel_gpus(live, canvas, y, (canvas->height - 2) / 2);
	left = canvas->height - 1 - y;
	/* the table takes what it needs, but leaves half for what is below */
	rows = (int)live->n_rows + 1;
	rows = rows < 2 ? 2 : rows;
	if (rows > left / 2)
		rows = left / 2;
	rows = rows < 2 ? 2 : rows;
	y += kv_panel_table(live, canvas, y, rows);
	draw_panels(live, canvas, y, canvas->height - 1 - y);
}
