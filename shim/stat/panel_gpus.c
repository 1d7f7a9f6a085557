/* SPDX-License-Identifier: Apache-2.0 */
/* panel_gpus.c - per GPU a bar of its memory, the numbers, and the history; see live.h. */
#include <stdio.h>
#include <string.h>

#include "stat/format.h"
#include "stat/live.h"

/* A piece of the bar. */
struct part {
	uint64_t bytes;
	enum kv_role role;
	enum kv_glyph glyph;
	const char *word;
};

static uint64_t known(uint64_t value)
{
	return value == KV_UNKNOWN ? 0 : value;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

enum { PART_NATIVE, PART_BACKED, PART_SPARE, PART_OTHER, PART_FREE, N_INSIDE };
enum { PART_SPILLED, PART_EVICTED, PART_BEYOND, N_OUTSIDE };

/*
 * What is on the device, and what was reserved beyond it. Free memory is what nobody is known to
 * hold: the driver was asked some time ago, the processes say now what they have.
 */
static void split(const struct kv_stat_segment *segment, struct part inside[N_INSIDE],
	struct part outside[N_OUTSIDE])
{
	const uint64_t *value = segment->value;
	uint64_t total = known(value[KV_GPU_TOTAL]), left = total;

	inside[PART_NATIVE] = (struct part){
		known(value[KV_GPU_NATIVE]), KV_ROLE_NATIVE, KV_GLYPH_NATIVE, "native"};
	inside[PART_BACKED] = (struct part){
		known(value[KV_GPU_BACKED]), KV_ROLE_BACKED, KV_GLYPH_BACKED, "backed"};
	inside[PART_SPARE] =
		(struct part){known(value[KV_GPU_SPARE]), KV_ROLE_SPARE, KV_GLYPH_SPARE, "spare"};
	inside[PART_OTHER] =
		(struct part){known(value[KV_GPU_OUTSIDE]), KV_ROLE_OTHER, KV_GLYPH_OTHER, "other"};
	for (int i = 0; i < PART_FREE; i++) {
		/* hostile numbers do not make the bar longer than the device */
		if (inside[i].bytes > left)
			inside[i].bytes = left;
		left -= inside[i].bytes;
	}
	inside[PART_FREE] = (struct part){left, KV_ROLE_FREE, KV_GLYPH_FREE, "free"};

	outside[PART_SPILLED] = (struct part){
		known(value[KV_GPU_SPILLED]), KV_ROLE_SPILLED, KV_GLYPH_SPILLED, "spilled"};
	outside[PART_EVICTED] = (struct part){
		known(value[KV_GPU_EVICTED]), KV_ROLE_EVICTED, KV_GLYPH_EVICTED, "evicted"};
	/* of what is reserved: what neither has memory anywhere nor would find any that is free */
	left = minus(known(value[KV_GPU_RESERVED]), known(value[KV_GPU_BACKED]) +
							    outside[PART_SPILLED].bytes +
							    outside[PART_EVICTED].bytes);
	outside[PART_BEYOND] = (struct part){
		minus(left, inside[PART_FREE].bytes), KV_ROLE_BEYOND, KV_GLYPH_BEYOND, "beyond"};
}

/* Cells in proportion; what is there at all gets one. Returns the column behind. */
static int draw_parts(struct kv_canvas *canvas, int y, int x, const struct part *parts, int n,
	uint64_t whole, int width)
{
	uint64_t sum = 0;
	int from = 0, to;

	for (int i = 0; i < n; i++, from = to) {
		sum += parts[i].bytes;
		to = (int)((double)sum / (double)whole * width + 0.5);
		/* who got a cell for nearly nothing takes it from who comes next */
		to = to > from ? to : from + (parts[i].bytes != 0);
		for (int j = from; j < to && j < width; j++)
			kv_canvas_put(canvas, y, x + j, parts[i].role,
				kv_canvas_glyph(canvas, parts[i].glyph));
	}
	return x + width;
}

static void draw_bar(struct kv_canvas *canvas, int y, const struct kv_stat_segment *segment,
	const struct part *inside, const struct part *outside)
{
	int width = canvas->width - 4, device = width;
	uint64_t total = known(segment->value[KV_GPU_TOTAL]), more = 0;

	for (int i = 0; i < N_OUTSIDE; i++)
		more += outside[i].bytes > total ? total : outside[i].bytes;
	if (!total)
		return;
	if (more) {
		width--;
		device = (int)((double)total / (double)(total + more) * width + 0.5);
		device = device > width - 3 ? width - 3 : device;
		device = device < width / 3 ? width / 3 : device;
	}
	kv_canvas_put(canvas, y, 1, KV_ROLE_TEXT, '[');
	draw_parts(canvas, y, 2, inside, N_INSIDE, total, device);
	if (more) {
		/* the end of the device: what follows has no memory on it */
		kv_canvas_put(canvas, y, 2 + device, KV_ROLE_TEXT, '|');
		draw_parts(canvas, y, 3 + device, outside, N_OUTSIDE, more, width - device);
	}
	kv_canvas_put(canvas, y, canvas->width - 2, KV_ROLE_TEXT, ']');
}

/* Characters that a part of the legend takes, with the gap before it. */
static int legend_width(const struct part *part)
{
	char size[KV_TEXT];

	return 3 + (int)strlen(part->word) + 1 + (int)strlen(kv_format_size(part->bytes, size));
}

/* What is there; where all of it does not fit, the smallest goes first. */
static void draw_legend(
	struct kv_canvas *canvas, int y, const struct part *inside, const struct part *outside)
{
	const struct part *shown[N_INSIDE + N_OUTSIDE], *least;
	int n = 0, x = 2, width = 0, at;
	char size[KV_TEXT];

	for (int i = 0; i < N_INSIDE + N_OUTSIDE; i++) {
		shown[n] = i < N_INSIDE ? &inside[i] : &outside[i - N_INSIDE];
		if (shown[n]->bytes || i == PART_NATIVE || i == PART_BACKED || i == PART_FREE)
			width += legend_width(shown[n++]);
	}
	while (n && width > canvas->width - 2) {
		at = 0;
		for (int i = 1; i < n; i++)
			if (shown[i]->bytes < shown[at]->bytes)
				at = i;
		least = shown[at];
		width -= legend_width(least);
		memmove(&shown[at], &shown[at + 1], sizeof(shown[0]) * (size_t)(n - at - 1));
		n--;
	}
	for (int i = 0; i < n; i++) {
		kv_canvas_put(
			canvas, y, x, shown[i]->role, kv_canvas_glyph(canvas, shown[i]->glyph));
		x = kv_canvas_printf(canvas, y, x + 1, KV_ROLE_TEXT, "%s %s", shown[i]->word,
			    kv_format_size(shown[i]->bytes, size)) +
		    2;
	}
}

/* Of what is reserved: what has memory neither on the device nor on the host. */
static uint64_t saved(const uint64_t *value)
{
	if (value[KV_GPU_RESERVED] == KV_UNKNOWN)
		return KV_UNKNOWN;
	return minus(value[KV_GPU_RESERVED], known(value[KV_GPU_BACKED]) +
						     known(value[KV_GPU_SPILLED]) +
						     known(value[KV_GPU_EVICTED]));
}

static void draw_name(struct kv_canvas *canvas, int y, const struct kv_stat_segment *segment)
{
	char name[64], total[KV_TEXT], reserved[KV_TEXT], less[KV_TEXT], text[160];

	kv_canvas_printf(canvas, y, 1, KV_ROLE_HEAD, "GPU %.8s  %s  %s", segment->uuid,
		kv_format_clean(segment->gpu_name, name, 40),
		kv_format_size(segment->value[KV_GPU_TOTAL], total));
	snprintf(text, sizeof(text), "reserved %s, saved %s",
		kv_format_size(segment->value[KV_GPU_RESERVED], reserved),
		kv_format_size(saved(segment->value), less));
	if (segment->value[KV_GPU_WAITING] && segment->value[KV_GPU_WAITING] != KV_UNKNOWN)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), ", %llu waiting",
			(unsigned long long)segment->value[KV_GPU_WAITING]);
	kv_canvas_text(canvas, y, canvas->width - 2 - (int)strlen(text), KV_ROLE_TEXT, text);
}

void kv_panel_graph(struct kv_canvas *canvas, int y, int x, int width, int height,
	const struct kv_series *series, uint64_t full, const enum kv_role roles[2])
{
	const uint64_t *value;
	double scale = full ? (double)height * 8 / (double)full : 0;

	for (int i = 0; series && i < width; i++) {
		int lower, both, at = x + width - 1 - i;

		value = kv_series_at(series, (uint32_t)i);
		if (!value)
			break;
		lower = (int)((double)value[0] * scale + 0.5);
		both = (int)(((double)value[0] + (double)value[1]) * scale + 0.5);
		both = both > height * 8 ? height * 8 : both;
		lower = lower > both ? both : lower;
		if (!both && (value[0] || value[1]))
			both = 1;
		/* a cell has one colour: where both meet, that of the nearer end */
		if (value[1])
			kv_canvas_column(canvas, y + height - 1, at, roles[1], both);
		kv_canvas_column(canvas, y + height - 1, at, roles[0],
			value[1] ? (lower + 4) / 8 * 8 : both);
	}
}

static int draw_gpu(const struct kv_live *live, const struct kv_stat_segment *segment,
	struct kv_canvas *canvas, int y, int n_history)
{
	static const enum kv_role roles[2] = {KV_ROLE_NATIVE, KV_ROLE_BACKED};
	struct part inside[N_INSIDE], outside[N_OUTSIDE];

	split(segment, inside, outside);
	draw_name(canvas, y, segment);
	draw_bar(canvas, y + 1, segment, inside, outside);
	draw_legend(canvas, y + 2, inside, outside);
	if (n_history)
		kv_panel_graph(canvas, y + 3, 2, canvas->width - 4, n_history,
			kv_history_find(&live->history, segment, NULL),
			known(segment->value[KV_GPU_TOTAL]), roles);
	return 3 + n_history;
}

int kv_panel_gpus(const struct kv_live *live, struct kv_canvas *canvas, int y, int height)
{
	int n_gpus = 0, first = y, end = y + height, n_history;
	uint32_t left = live->stat.n_segments;

	if (live->stat.problem[0]) {
		kv_canvas_printf(canvas, y, 1, KV_ROLE_BAD, "%.200s cannot be read: %s",
			live->stat.directory, live->stat.problem);
		return 1;
	}
	if (!live->stat.n_segments) {
		kv_canvas_printf(canvas, y, 1, KV_ROLE_DIM,
			"nothing runs under kvshim yet (no segment in %.200s)",
			live->stat.directory);
		return 1;
	}
	for (uint32_t i = 0; i < live->stat.n_segments; i++)
		n_gpus += !live->stat.segments[i].problem[0];
	/* the history of each gets what the screen has to spare */
	n_history = n_gpus ? canvas->height / 12 / n_gpus : 0;
	n_history = n_history > 5 ? 5 : n_history;
	for (uint32_t i = 0; i < live->stat.n_segments; i++, left--) {
		const struct kv_stat_segment *segment = &live->stat.segments[i];
		const char *slash = strrchr(segment->path, '/');

		if (y + (segment->problem[0] ? 1 : 3 + n_history) > end - (left > 1)) {
			kv_canvas_printf(canvas, y++, 1, KV_ROLE_DIM,
				"%u more: a taller screen shows them", left);
			break;
		}
		if (segment->problem[0])
			kv_canvas_printf(canvas, y++, 1, KV_ROLE_WARN, "%.17s.. not shown: %s",
				slash ? slash + 1 : segment->path, segment->problem);
		else
			y += draw_gpu(live, segment, canvas, y, n_history);
	}
	return y - first;
}
