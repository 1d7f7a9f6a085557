/* SPDX-License-Identifier: Apache-2.0 */
/* panels.c - what stands below the table: pages, process, decisions; and help. See live.h. */
#include <stdio.h>
#include <string.h>

#include "stat/format.h"
#include "stat/live.h"

void kv_panel_title(struct kv_canvas *canvas, int y, const char *title)
{
	for (int x = 0; x < canvas->width; x++)
		kv_canvas_put(canvas, y, x, KV_ROLE_DIM, kv_canvas_glyph(canvas, KV_GLYPH_LINE));
	kv_canvas_printf(canvas, y, 2, KV_ROLE_HEAD, " %s ", title);
}

/* ---- the selected reservation ---- */

/* The state that most of the cell's content has; what is wanting is shown before what is well. */
static void draw_map_cell(
	const struct kv_page_cell *cell, bool empty, struct kv_canvas *canvas, int y, int x)
{
	enum kv_glyph glyph = KV_GLYPH_FREE;
	enum kv_role role = KV_ROLE_FREE;

	if (!empty && cell->spilled && cell->spilled >= cell->evicted) {
		glyph = KV_GLYPH_SPILLED;
		role = KV_ROLE_SPILLED;
	} else if (!empty && cell->evicted && cell->evicted >= cell->backed) {
		glyph = KV_GLYPH_EVICTED;
		role = KV_ROLE_EVICTED;
	} else if (!empty && cell->backed) {
		glyph = cell->dead > cell->backed / 2 ? KV_GLYPH_DEAD : KV_GLYPH_BACKED;
		role = cell->dead > cell->backed / 2 ? KV_ROLE_WARN : KV_ROLE_BACKED;
		/* partly backed cells are lighter */
		if (glyph == KV_GLYPH_BACKED && cell->backed < 128)
			glyph = KV_GLYPH_SPARE;
	}
	kv_canvas_put(canvas, y, x, role, kv_canvas_glyph(canvas, glyph));
}

static void draw_map(const struct kv_reservation_stats *row, struct kv_canvas *canvas, int y)
{
	/* 64 cells, each as many columns as fit, and at least one */
	int wide = (canvas->width - 4) / (int)KV_STATS_CELLS;
	int cells = wide ? (int)KV_STATS_CELLS : canvas->width - 4;

	wide = wide ? wide : 1;
	kv_canvas_put(canvas, y, 1, KV_ROLE_TEXT, '[');
	for (int i = 0; i < cells * wide; i++) {
		int cell = i / wide * (int)KV_STATS_CELLS / cells;

		draw_map_cell(&row->map[cell], false, canvas, y, 2 + i);
	}
	kv_canvas_put(canvas, y, 2 + cells * wide, KV_ROLE_TEXT, ']');
}

static int draw_map_legend(struct kv_canvas *canvas, int y, const struct kv_reservation_stats *row)
{
	static const struct {
		enum kv_role role;
		enum kv_glyph glyph;
		enum kv_page_state state;
		const char *word;
	} parts[] = {{KV_ROLE_FREE, KV_GLYPH_FREE, KV_PAGE_EMPTY, "empty"},
		{KV_ROLE_BACKED, KV_GLYPH_BACKED, KV_PAGE_BACKED, "backed"},
		{KV_ROLE_EVICTED, KV_GLYPH_EVICTED, KV_PAGE_EVICTED, "evicted"},
		{KV_ROLE_SPILLED, KV_GLYPH_SPILLED, KV_PAGE_SPILLED, "spilled"}};
	char size[KV_TEXT];
	int x = 2;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		kv_canvas_put(canvas, y, x, parts[i].role, kv_canvas_glyph(canvas, parts[i].glyph));
		x = kv_canvas_printf(canvas, y, x + 1, KV_ROLE_TEXT, "%s %u", parts[i].word,
			row->pages[parts[i].state]);
		x += 2;
	}
	if (row->dead) {
		kv_canvas_put(canvas, y, x, KV_ROLE_WARN, kv_canvas_glyph(canvas, KV_GLYPH_DEAD));
		kv_canvas_printf(
			canvas, y, x + 1, KV_ROLE_TEXT, "dead %s", kv_format_size(row->dead, size));
	}
	return 1;
}

static void draw_why(struct kv_canvas *canvas, int y, const struct kv_reservation_stats *row)
{
	char by[KV_STATS_NAME_MAX], rules[32], tag[32];
	int x = 1;

	if (row->static_reason)
		x = kv_canvas_printf(canvas, y, x, KV_ROLE_WARN, "static, by %s: %s",
			kv_stat_reason(row->static_reason),
			kv_format_clean(row->static_by, by, sizeof(by)));
	else
		x = kv_canvas_text(canvas, y, x, KV_ROLE_GOOD, "elastic");
	if (row->rules[0])
		x = kv_canvas_printf(canvas, y, x, KV_ROLE_TEXT, "  rules %s",
			kv_format_clean(row->rules, rules, sizeof(rules)));
	if (row->tag[0])
		kv_canvas_printf(canvas, y, x, KV_ROLE_TEXT, "  tag %s",
			kv_format_clean(row->tag, tag, sizeof(tag)));
}

/* The other reservations of the process, a line each. */
static void draw_others(const struct kv_live *live, const struct kv_stat_process *process,
	struct kv_canvas *canvas, int y, int height)
{
	char a[KV_TEXT], b[KV_TEXT];

	for (uint32_t i = 0; i < process->n_rows && height > 0; i++) {
		const struct kv_reservation_stats *row = &process->rows[i];

		if (i == live->reservation)
			continue;
		kv_canvas_printf(canvas, y, 1, KV_ROLE_DIM,
			"%2u  0x%012llx  %5s reserved  %5s backed  %s", i + 1,
			(unsigned long long)row->base, kv_format_size(row->reserved, a),
			kv_format_size(row->backed, b),
			row->static_reason ? kv_stat_reason(row->static_reason) : "elastic");
		y++;
		height--;
	}
}

int kv_panel_pages(const struct kv_live *live, struct kv_canvas *canvas, int y, int height)
{
	const struct kv_live_row *selected = kv_live_selected(live);
	const struct kv_stat_process *process = selected ? selected->process : NULL;
	const struct kv_reservation_stats *row;
	char title[160], a[KV_TEXT], b[KV_TEXT], c[KV_TEXT];

	if (!process || live->reservation >= process->n_rows) {
		kv_panel_title(canvas, y, "pages");
		kv_canvas_text(canvas, y + 1, 1, KV_ROLE_DIM,
			process ? "no reservation" : "no process is selected");
		return height;
	}
	row = &process->rows[live->reservation];
	snprintf(title, sizeof(title),
		"pages of %d, reservation %u of %u (arrows): %s of %s, page %s", (int)process->pid,
		live->reservation + 1, process->n_rows, kv_format_size(row->backed, a),
		kv_format_size(row->reserved, b), kv_format_size(row->page_size, c));
	kv_panel_title(canvas, y, title);
	draw_map(row, canvas, y + 1);
	draw_map_legend(canvas, y + 2, row);
	draw_why(canvas, y + 3, row);
	draw_others(live, process, canvas, y + 4, height - 4);
	return height;
}

/* ---- the selected process ---- */

static const char *limit_text(uint64_t value, char text[KV_TEXT])
{
	return value == KV_COORD_NO_LIMIT ? "none" : kv_format_size(value, text);
}

static void draw_numbers(const struct kv_stat_process *process, struct kv_canvas *canvas, int y)
{
	const uint64_t *value = process->value;
	char a[KV_TEXT], b[KV_TEXT], c[KV_TEXT], d[KV_TEXT], e[KV_TEXT], f[KV_TEXT], g[KV_TEXT];

	kv_canvas_printf(canvas, y, 1, KV_ROLE_TEXT,
		"limits: min %s  max %s  weight %s  host %s of %s  idle after %s  over %s",
		kv_format_size(value[KV_PROCESS_LIMIT_MIN], a),
		limit_text(value[KV_PROCESS_LIMIT_MAX], b),
		kv_format_count(value[KV_PROCESS_WEIGHT], c),
		kv_format_size(value[KV_PROCESS_HOST_TAKEN], d),
		kv_format_size(value[KV_PROCESS_HOST_BUDGET], e),
		value[KV_PROCESS_IDLE_AFTER] ? kv_format_age(value[KV_PROCESS_IDLE_AFTER], f)
					     : "never",
		kv_format_size(value[KV_PROCESS_OVERCOMMIT], g));
	kv_canvas_printf(canvas, y + 1, 1, KV_ROLE_TEXT,
		"waits %s, longest %s  gate closed %s, longest %s  launch p50 %s p99 %s",
		kv_format_count(value[KV_PROCESS_WAITS], a),
		kv_format_ns(value[KV_PROCESS_WAIT_MAX], b),
		kv_format_count(value[KV_PROCESS_QUIESCES], c),
		kv_format_ns(value[KV_PROCESS_QUIESCE_MAX], d),
		kv_format_ns(value[KV_PROCESS_LAUNCH_P50], e),
		kv_format_ns(value[KV_PROCESS_LAUNCH_P99], f));
	kv_canvas_printf(canvas, y + 2, 1, KV_ROLE_TEXT,
		"evictions %s  restores %s  moved out %s in %s  given %s  refused %s  spilled %s",
		kv_format_count(value[KV_PROCESS_EVICTIONS], a),
		kv_format_count(value[KV_PROCESS_RESTORES], b),
		kv_format_size(value[KV_PROCESS_MOVED_OUT], c),
		kv_format_size(value[KV_PROCESS_MOVED_IN], d),
		kv_format_size(value[KV_PROCESS_GIVEN], e),
		kv_format_count(value[KV_PROCESS_REFUSED], f),
		kv_format_count(value[KV_PROCESS_PAGES_SPILLED], g));
}

int kv_panel_process(const struct kv_live *live, struct kv_canvas *canvas, int y, int height)
{
	static const enum kv_role roles[2] = {KV_ROLE_BACKED, KV_ROLE_SPILLED};
	const struct kv_live_row *selected = kv_live_selected(live);
	const struct kv_stat_process *process = selected ? selected->process : NULL;
	char title[160], name[64], note[128];
	int taken = 4;

	if (!process || process->problem[0]) {
		kv_panel_title(canvas, y, "process");
		kv_canvas_text(canvas, y + 1, 1, KV_ROLE_DIM,
			process ? process->problem : "no process is selected");
		return height;
	}
	snprintf(title, sizeof(title), "process %d %s: limits, counters, backed over time",
		(int)process->pid, kv_format_clean(process->name, name, sizeof(name)));
	kv_panel_title(canvas, y, title);
	draw_numbers(process, canvas, y + 1);
	if (process->note[0] && height > 5)
		kv_canvas_printf(canvas, y + taken++, 1, KV_ROLE_WARN, "note: %s",
			kv_format_clean(process->note, note, sizeof(note)));
	if (height > taken)
		kv_panel_graph(canvas, y + taken, 2, canvas->width - 4, height - taken,
			kv_history_find(&live->history, selected->segment, process),
			process->value[KV_PROCESS_RESERVED] == KV_UNKNOWN
				? 0
				: process->value[KV_PROCESS_RESERVED],
			roles);
	return height;
}

/* ---- the policy ---- */

/* The policy begins with the amount ("60 MiB: "), which has been said. */
static const char *without_amount(const char *text)
{
	const char *colon = strchr(text, ':');

	return text[0] >= '0' && text[0] <= '9' && colon && colon[1] == ' ' ? colon + 2 : text;
}

int kv_panel_decisions(const struct kv_live *live, struct kv_canvas *canvas, int y, int height)
{
	const struct kv_live_row *selected = kv_live_selected(live);
	const struct kv_stat_segment *segment = selected ? selected->segment : NULL;
	char size[KV_TEXT], age[KV_TEXT], text[96];

	for (uint32_t i = 0; !segment && i < live->stat.n_segments; i++)
		if (!live->stat.segments[i].problem[0])
			segment = &live->stat.segments[i];
	kv_panel_title(canvas, y, "decisions: who asked, who gave, how much and why");
	if (!segment || !segment->n_decisions) {
		kv_canvas_text(canvas, y + 1, 1, KV_ROLE_DIM,
			"none yet: nobody has asked for memory that others hold");
		return height;
	}
	for (uint32_t i = 0; i + 1 < (uint32_t)height && i < segment->n_decisions; i++) {
		const struct kv_coord_decision *decision =
			&segment->decisions[segment->n_decisions - 1 - i];
		uint64_t now_ns = live->stat.clock.now_ns;

		kv_format_age(
			decision->time_ns > now_ns ? 0 : (now_ns - decision->time_ns) / 1000000,
			age);
		kv_canvas_printf(canvas, y + 1 + (int)i, 1,
			decision->victim_pid ? KV_ROLE_TEXT : KV_ROLE_WARN,
			"%5s ago  %d asked%s %s (%s): %s", age, (int)decision->requester_pid,
			decision->victim_pid ? ", got" : " for",
			kv_format_size(decision->bytes, size), kv_stat_because(decision->reason),
			kv_format_clean(without_amount(decision->text), text, sizeof(text)));
	}
	return height;
}

/* ---- help ---- */

void kv_panel_help(const struct kv_live *live, struct kv_canvas *canvas)
{
	static const char *const lines[] = {
		"up down j k      select a process   PgUp PgDn Home End too",
		"left right [ ]   select a reservation of that process",
		"tab              next panel below the table",
		"s S i            sort by the next or previous column, invert",
		"b n p            sort by backed, name, pid",
		"/                show only what contains the text (pid, name, user, state)",
		"space            freeze; r takes one sample now",
		"+ -              longer or shorter interval",
		"l                set limits: min=1G max=8G weight=200 host=4G idle=60s",
		"e o              evict the process to host memory, restore it (asks first)",
		"c u              next colours, UTF-8 or ASCII",
		"q                quit",
	};
	static const struct {
		enum kv_role role;
		enum kv_glyph glyph;
		const char *text;
	} glyphs[] = {{KV_ROLE_NATIVE, KV_GLYPH_NATIVE, "allocated past kvshim"},
		{KV_ROLE_BACKED, KV_GLYPH_BACKED, "device memory behind reservations"},
		{KV_ROLE_SPARE, KV_GLYPH_SPARE, "kept at hand; in a page map: partly backed"},
		{KV_ROLE_OTHER, KV_GLYPH_OTHER, "held by others"},
		{KV_ROLE_FREE, KV_GLYPH_FREE, "free; in a page map: empty, reads as zero"},
		{KV_ROLE_SPILLED, KV_GLYPH_SPILLED, "in host memory, mapped in place: slow"},
		{KV_ROLE_EVICTED, KV_GLYPH_EVICTED, "in host memory until it is needed"},
		{KV_ROLE_BEYOND, KV_GLYPH_BEYOND, "reserved beyond what is free"}};
	int y = 1;

	(void)live;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && y < canvas->height - 1; i++)
		kv_canvas_text(canvas, y++, 2, KV_ROLE_TEXT, lines[i]);
	for (size_t i = 0; i < sizeof(glyphs) / sizeof(glyphs[0]) && y < canvas->height - 1; i++) {
		kv_canvas_put(
			canvas, y, 3, glyphs[i].role, kv_canvas_glyph(canvas, glyphs[i].glyph));
		kv_canvas_text(canvas, y++, 6, KV_ROLE_TEXT, glyphs[i].text);
	}
}
