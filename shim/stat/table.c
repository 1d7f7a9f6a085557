/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - see table.h; and the table as it stands on the screen. */
#include <stdio.h>
#include <string.h>

#include "stat/format.h"
#include "stat/table.h"

/* ---- what a column says ---- */

static enum kv_role text_pid(const struct kv_live_row *row, char text[64])
{
	snprintf(text, 64, "%d", (int)row->process->pid);
	return KV_ROLE_TEXT;
}

static enum kv_role text_name(const struct kv_live_row *row, char text[64])
{
	kv_format_clean(row->process->name, text, 64);
	return KV_ROLE_TEXT;
}

static enum kv_role text_user(const struct kv_live_row *row, char text[64])
{
	kv_format_clean(row->process->user, text, 64);
	return KV_ROLE_TEXT;
}

static enum kv_role text_gpu(const struct kv_live_row *row, char text[64])
{
	snprintf(text, 64, "%.8s", row->segment->uuid);
	return KV_ROLE_DIM;
}

static enum kv_role text_state(const struct kv_live_row *row, char text[64])
{
	static const enum kv_role roles[KV_STAT_STATES] = {[KV_STAT_ACTIVE] = KV_ROLE_GOOD,
		[KV_STAT_IDLE] = KV_ROLE_TEXT,
		[KV_STAT_EVICTED] = KV_ROLE_EVICTED,
		[KV_STAT_STATIC] = KV_ROLE_WARN,
		[KV_STAT_INERT] = KV_ROLE_BAD,
		[KV_STAT_DEAD] = KV_ROLE_BAD};

	snprintf(text, 64, "%s", kv_stat_state_word(row->process->state));
	return roles[row->process->state];
}

static uint64_t value_of(const struct kv_live_row *row, enum kv_process_metric metric)
{
	return row->process->value[metric];
}

/* Content in host memory, wherever it is mapped. */
static uint64_t host_of(const struct kv_live_row *row)
{
	uint64_t evicted = value_of(row, KV_PROCESS_EVICTED);
	uint64_t spilled = value_of(row, KV_PROCESS_SPILLED);

	return evicted == KV_UNKNOWN || spilled == KV_UNKNOWN ? KV_UNKNOWN : evicted + spilled;
}

static enum kv_role text_host(const struct kv_live_row *row, char text[64])
{
	kv_format_size(host_of(row), text);
	return value_of(row, KV_PROCESS_SPILLED) ? KV_ROLE_SPILLED
	       : host_of(row)                    ? KV_ROLE_EVICTED
						 : KV_ROLE_TEXT;
}

static enum kv_role text_max(const struct kv_live_row *row, char text[64])
{
	if (value_of(row, KV_PROCESS_LIMIT_MAX) == KV_COORD_NO_LIMIT)
		strcpy(text, "-");
	else
		kv_format_size(value_of(row, KV_PROCESS_LIMIT_MAX), text);
	return KV_ROLE_TEXT;
}

static enum kv_role text_waits(const struct kv_live_row *row, char text[64])
{
	kv_format_count(value_of(row, KV_PROCESS_WAITS), text);
	return value_of(row, KV_PROCESS_WAITS) ? KV_ROLE_WARN : KV_ROLE_TEXT;
}

static enum kv_role text_spills(const struct kv_live_row *row, char text[64])
{
	kv_format_count(value_of(row, KV_PROCESS_PAGES_SPILLED), text);
	return value_of(row, KV_PROCESS_PAGES_SPILLED) ? KV_ROLE_SPILLED : KV_ROLE_TEXT;
}

static int down(uint64_t a, uint64_t b)
{
	/* what is not known comes last */
	a = a == KV_UNKNOWN ? 0 : a;
	b = b == KV_UNKNOWN ? 0 : b;
	return a > b ? -1 : a < b;
}

static int down_rate(double a, double b)
{
	return a > b ? -1 : a < b;
}

static int compare_pid(const struct kv_live_row *a, const struct kv_live_row *b)
{
	return a->process->pid < b->process->pid ? -1 : a->process->pid > b->process->pid;
}

static int compare_name(const struct kv_live_row *a, const struct kv_live_row *b)
{
	return strcmp(a->process->name, b->process->name);
}

static int compare_user(const struct kv_live_row *a, const struct kv_live_row *b)
{
	return strcmp(a->process->user, b->process->user);
}

static int compare_gpu(const struct kv_live_row *a, const struct kv_live_row *b)
{
	return strcmp(a->segment->path, b->segment->path);
}

static int compare_state(const struct kv_live_row *a, const struct kv_live_row *b)
{
	return (int)a->process->state - (int)b->process->state;
}

static int compare_host(const struct kv_live_row *a, const struct kv_live_row *b)
{
	return down(host_of(a), host_of(b));
}

/* A column that is one metric, in a form of format.h. */
#define METRIC_COLUMN(name, metric, form) \
	static enum kv_role text_##name(const struct kv_live_row *row, char text[64]) \
	{ \
		kv_format_##form(value_of(row, metric), text); \
		return KV_ROLE_TEXT; \
	} \
	static int compare_##name(const struct kv_live_row *a, const struct kv_live_row *b) \
	{ \
		return down(value_of(a, metric), value_of(b, metric)); \
	}

/* A column that is the rate of a counter. */
#define RATE_COLUMN(name, metric) \
	static enum kv_role text_##name(const struct kv_live_row *row, char text[64]) \
	{ \
		kv_format_rate(row->process->rate[metric], text); \
		return row->process->rate[metric] > 0 ? KV_ROLE_GOOD : KV_ROLE_TEXT; \
	} \
	static int compare_##name(const struct kv_live_row *a, const struct kv_live_row *b) \
	{ \
		return down_rate(a->process->rate[metric], b->process->rate[metric]); \
	}

/* The sort of a column whose text is its own. */
#define METRIC_SORT(name, metric) \
	static int compare_##name(const struct kv_live_row *a, const struct kv_live_row *b) \
	{ \
		return down(value_of(a, metric), value_of(b, metric)); \
	}

METRIC_COLUMN(reserved, KV_PROCESS_RESERVED, size)
METRIC_COLUMN(backed, KV_PROCESS_BACKED, size)
METRIC_COLUMN(peak, KV_PROCESS_BACKED_PEAK, size)
METRIC_COLUMN(native, KV_PROCESS_NATIVE, size)
METRIC_COLUMN(min, KV_PROCESS_LIMIT_MIN, size)
METRIC_COLUMN(weight, KV_PROCESS_WEIGHT, count)
METRIC_COLUMN(last, KV_PROCESS_ACTIVITY, age)
METRIC_COLUMN(p50, KV_PROCESS_LAUNCH_P50, ns)
METRIC_COLUMN(p99, KV_PROCESS_LAUNCH_P99, ns)
RATE_COLUMN(in, KV_PROCESS_PAGES_BACKED)
RATE_COLUMN(out, KV_PROCESS_PAGES_RELEASED)
RATE_COLUMN(launches, KV_PROCESS_LAUNCHES)
METRIC_SORT(max, KV_PROCESS_LIMIT_MAX)
METRIC_SORT(waits, KV_PROCESS_WAITS)
METRIC_SORT(spills, KV_PROCESS_PAGES_SPILLED)

#define COLUMN(title, width, left, priority, name) \
	{ \
		title, width, left, priority, text_##name, compare_##name \
	}

const struct kv_column kv_columns[] = {
	COLUMN("PID", 7, false, 0, pid),
	COLUMN("NAME", 14, true, 0, name),
	COLUMN("USER", 7, true, 2, user),
	COLUMN("STATE", 7, true, 0, state),
	COLUMN("RESV", 6, false, 0, reserved),
	COLUMN("BACKED", 6, false, 0, backed),
	COLUMN("PEAK", 6, false, 7, peak),
	COLUMN("HOST", 6, false, 1, host),
	COLUMN("MIN", 5, false, 4, min),
	COLUMN("MAX", 5, false, 4, max),
	COLUMN("WGT", 5, false, 4, weight),
	COLUMN("IN/S", 5, false, 1, in),
	COLUMN("OUT/S", 5, false, 1, out),
	COLUMN("WAITS", 5, false, 3, waits),
	COLUMN("SPILL", 5, false, 3, spills),
	COLUMN("LAST", 5, false, 1, last),
	COLUMN("NATIVE", 6, false, 5, native),
	COLUMN("LAUNCH/S", 8, false, 8, launches),
	COLUMN("P50", 5, false, 6, p50),
	COLUMN("P99", 5, false, 6, p99),
	COLUMN("GPU", 8, true, 9, gpu),
};

const uint32_t kv_n_columns = sizeof(kv_columns) / sizeof(kv_columns[0]);

uint32_t kv_column_find(const char *title)
{
	for (uint32_t i = 0; i < kv_n_columns; i++)
		if (strcmp(kv_columns[i].title, title) == 0)
			return i;
	return 0;
}

/* ---- on the screen ---- */

/* The highest priority with which everything up to it fits. */
static int fitting_priority(int width)
{
	int fits = -1;

	for (int priority = 0; priority < 10; priority++) {
		int sum = 1;

		for (uint32_t i = 0; i < kv_n_columns; i++)
			if (kv_columns[i].priority <= priority)
				sum += kv_columns[i].width + 1;
		if (sum > width)
			break;
		fits = priority;
	}
	return fits;
}

static void draw_cell(struct kv_canvas *canvas, int y, int x, enum kv_role role,
	const struct kv_column *column, const char *text)
{
	kv_canvas_printf(canvas, y, x, role, column->left ? "%-*.*s" : "%*.*s", column->width,
		column->width, text);
}

static void draw_head(const struct kv_live *live, struct kv_canvas *canvas, int y, int priority)
{
	int x = 1;

	for (uint32_t i = 0; i < kv_n_columns; i++) {
		if (kv_columns[i].priority > priority)
			continue;
		/* the mark stands in the gap beside the column */
		draw_cell(canvas, y, x, i == live->sort ? KV_ROLE_SORTED : KV_ROLE_HEAD,
			&kv_columns[i], kv_columns[i].title);
		if (i == live->sort)
			kv_canvas_put(canvas, y,
				kv_columns[i].left ? x + (int)strlen(kv_columns[i].title)
						   : x + kv_columns[i].width - 1 -
							     (int)strlen(kv_columns[i].title),
				KV_ROLE_SORTED,
				kv_canvas_glyph(
					canvas, live->reverse ? KV_GLYPH_UP : KV_GLYPH_DOWN));
		x += kv_columns[i].width + 1;
	}
}

static void draw_row(
	const struct kv_live_row *row, bool selected, struct kv_canvas *canvas, int y, int priority)
{
	enum kv_role role;
	char text[64];
	int x = 1;

	if (selected)
		kv_canvas_bar(canvas, y, KV_ROLE_SELECTED);
	if (row->process->problem[0]) {
		kv_canvas_printf(canvas, y, x, selected ? KV_ROLE_SELECTED : KV_ROLE_BAD,
			"%7d slot %u cannot be read: %s", (int)row->process->pid,
			row->process->slot_index, row->process->problem);
		return;
	}
	for (uint32_t i = 0; i < kv_n_columns; i++) {
		if (kv_columns[i].priority > priority)
			continue;
		role = kv_columns[i].text(row, text);
		draw_cell(canvas, y, x, selected ? KV_ROLE_SELECTED : role, &kv_columns[i], text);
		x += kv_columns[i].width + 1;
	}
}

int kv_panel_table(struct kv_live *live, struct kv_canvas *canvas, int y, int height)
{
	int priority = fitting_priority(canvas->width);
	uint32_t page = height > 1 ? (uint32_t)height - 1 : 1;

	live->page = page;
	if (live->selected < live->top)
		live->top = live->selected;
	if (live->selected >= live->top + page)
		live->top = live->selected - page + 1;
	draw_head(live, canvas, y, priority);
	for (uint32_t i = 0; i < page && live->top + i < live->n_rows; i++)
		draw_row(&live->rows[live->top + i], live->top + i == live->selected, canvas,
			y + 1 + (int)i, priority);
	if (!live->n_rows)
		kv_canvas_text(canvas, y + 1, 1, KV_ROLE_DIM,
			live->filter[0] ? "no process matches the filter"
					: "no process runs under kvshim");
	return height;
}
