/* SPDX-License-Identifier: Apache-2.0 */
/* plot.c - see plot.h. */
#include <errno.h>
#include <string.h>

#include "stat/format.h"
#include "stat/metrics.h"
#include "stat/plot.h"

#define WIDTH 900
#define LEFT 64
#define RIGHT 20
#define HEIGHT 220 /* of a graph */
#define GAP 76     /* between graphs: time axis, legend, title */
#define MAX_LINES 8
#define PER_ROW 5 /* of the legend of processes */

/* A rectangle to draw in, and what its edges mean. */
struct frame {
	const struct kv_recording *recording;
	double top, seconds;
	uint64_t full; /* bytes at the upper edge */
};

static double x_of(const struct frame *frame, double time_s)
{
	return LEFT +
	       (time_s - frame->recording->start_s) / frame->seconds * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct frame *frame, double bytes)
{
	double part = bytes / (double)frame->full;

	return frame->top + HEIGHT - (part > 1 ? 1 : part) * HEIGHT;
}

static void put_escaped(const char *text, FILE *out)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else
			fputc(*text, out);
	}
}

static double known(const struct kv_track_point *point, enum kv_track_value value)
{
	return point->value[value] == KV_UNKNOWN ? 0 : (double)point->value[value];
}

static void draw_axes(const struct frame *frame, FILE *out)
{
	char text[KV_TEXT];

	for (int i = 0; i <= 4; i++) {
		uint64_t bytes = frame->full / 4 * (uint64_t)i;
		double y = y_of(frame, (double)bytes);

		fprintf(out,
			"<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
			"<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, kv_format_size(bytes, text));
	}
	for (int i = 0; i <= 5; i++) {
		double seconds = frame->seconds / 5 * i;

		fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.*fs</text>\n",
			x_of(frame, frame->recording->start_s + seconds), frame->top + HEIGHT + 16,
			frame->seconds < 20 ? 1 : 0, seconds);
	}
}

/* The area between the sums of the first n and the first n + 1 values. */
static void draw_area(const struct frame *frame, const struct kv_track *track,
	const enum kv_track_value *values, int n, const char *class, FILE *out)
{
	fprintf(out, "<path class=\"%s\" d=\"", class);
	for (uint32_t i = 0; i < track->n_points; i++) {
		double sum = 0;

		for (int j = 0; j <= n; j++)
			sum += known(&track->points[i], values[j]);
		fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', x_of(frame, track->points[i].time_s),
			y_of(frame, sum));
	}
	for (uint32_t i = track->n_points; i-- > 0;) {
		double sum = 0;

		for (int j = 0; j < n; j++)
			sum += known(&track->points[i], values[j]);
		fprintf(out, "L%.1f %.1f", x_of(frame, track->points[i].time_s), y_of(frame, sum));
	}
	fputs("Z\"/>\n", out);
}

static void draw_line(const struct frame *frame, const struct kv_track *track,
	enum kv_track_value value, const char *class, FILE *out)
{
	fprintf(out, "<path class=\"line %s\" d=\"", class);
	for (uint32_t i = 0; i < track->n_points; i++)
		fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', x_of(frame, track->points[i].time_s),
			y_of(frame, known(&track->points[i], value)));
	fputs("\"/>\n", out);
}

/* Below the time axis, in row 0 or 1. Returns where the next one may stand. */
static int draw_legend(
	const struct frame *frame, int x, int row, const char *class, const char *text, FILE *out)
{
	double y = frame->top + HEIGHT + 26 + 16 * row;

	fprintf(out,
		"<rect class=\"%s\" x=\"%d\" y=\"%.1f\" width=\"12\" height=\"10\"/><text x=\"%d\" "
		"y=\"%.1f\">",
		class, x, y, x + 17, y + 9);
	put_escaped(text, out);
	fputs("</text>\n", out);
	return x + 30 + 7 * (int)strlen(text);
}

static uint64_t most(const struct kv_track *track, enum kv_track_value value)
{
	uint64_t found = 0;

	for (uint32_t i = 0; i < track->n_points; i++)
		if (track->points[i].value[value] != KV_UNKNOWN &&
			track->points[i].value[value] > found)
			found = track->points[i].value[value];
	return found;
}

static void draw_title(
	const struct frame *frame, const struct kv_track *gpu, const char *what, FILE *out)
{
	char text[KV_TEXT];

	fprintf(out, "<text class=\"title\" x=\"%d\" y=\"%.1f\">GPU %.8s ", LEFT, frame->top - 10,
		gpu->gpu);
	put_escaped(gpu->name, out);
	fprintf(out, ": %s; reserved at most %s</text>\n", what,
		kv_format_size(most(gpu, KV_TRACK_RESERVED), text));
}

static void draw_gpu(struct frame *frame, const struct kv_track *gpu, FILE *out)
{
	static const enum kv_track_value values[] = {
		KV_TRACK_NATIVE, KV_TRACK_BACKED, KV_TRACK_SPILLED};
	static const char *const classes[] = {"native", "backed", "spilled"};
	int x = LEFT;

	frame->full = most(gpu, KV_TRACK_TOTAL);
	frame->full = frame->full ? frame->full : 1;
	draw_title(frame, gpu, "memory", out);
	for (int i = 0; i < 3; i++)
		draw_area(frame, gpu, values, i, classes[i], out);
	draw_axes(frame, out);
	draw_line(frame, gpu, KV_TRACK_RESERVED, "reserved", out);
	x = draw_legend(frame, x, 0, "native", "native", out);
	x = draw_legend(frame, x, 0, "backed", "backed", out);
	x = draw_legend(frame, x, 0, "spilled", "spilled (host)", out);
	draw_legend(
		frame, x, 0, "reserved", "reserved (line; at the top: more than the device)", out);
}

static void draw_processes(struct frame *frame, const struct kv_track *gpu, FILE *out)
{
	char class[16], text[64];
	int n = 0;

	frame->full = 1;
	for (uint32_t i = 0; i < frame->recording->n_tracks; i++) {
		const struct kv_track *track = &frame->recording->tracks[i];

		if (track->pid && strcmp(track->gpu, gpu->gpu) == 0 &&
			most(track, KV_TRACK_BACKED) > frame->full)
			frame->full = most(track, KV_TRACK_BACKED);
	}
	draw_title(frame, gpu, "backed, by process", out);
	draw_axes(frame, out);
	for (uint32_t i = 0; i < frame->recording->n_tracks; i++) {
		const struct kv_track *track = &frame->recording->tracks[i];

		/* who never had any memory has no line either */
		if (!track->pid || strcmp(track->gpu, gpu->gpu) != 0 ||
			!most(track, KV_TRACK_BACKED))
			continue;
		snprintf(class, sizeof(class), "p%d", n % MAX_LINES);
		draw_line(frame, track, KV_TRACK_BACKED, class, out);
		snprintf(text, sizeof(text), "%d %.15s", track->pid, track->name);
		if (n < 2 * PER_ROW)
			draw_legend(frame, LEFT + n % PER_ROW * 160, n / PER_ROW, class, text, out);
		n++;
	}
}

static void draw_style(FILE *out)
{
	/* the colours of Okabe and Ito, which the colour-blind can tell apart */
	static const char *const inks[MAX_LINES] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
		"#e69f00", "#56b4e9", "#8c6d31", "#777777"};

	fputs("<style>text{font:12px sans-serif;fill:#222}.title{font-weight:bold;font-size:14px}"
	      ".grid{stroke:#888;stroke-opacity:.35}.line{fill:none;stroke-width:1.8}"
	      ".native{fill:#0072b2}.backed{fill:#009e73}.spilled{fill:#d55e00}"
	      ".reserved{stroke:#cc79a7;stroke-dasharray:5 "
	      "3}rect.reserved{fill:#cc79a7;stroke:none}"
	      ".paper{fill:#fff}",
		out);
	for (int i = 0; i < MAX_LINES; i++)
		fprintf(out, ".p%d{stroke:%s}rect.p%d{fill:%s}", i, inks[i], i, inks[i]);
	fputs("@media(prefers-color-scheme:dark){.paper{fill:#16181c}text{fill:#ddd}}</style>\n",
		out);
}

void kv_plot_svg(const struct kv_recording *recording, FILE *out)
{
	struct frame frame = {.recording = recording, .top = 40};
	int n_gpus = 0;

	frame.seconds = recording->end_s - recording->start_s;
	frame.seconds = frame.seconds > 0 ? frame.seconds : 1;
	for (uint32_t i = 0; i < recording->n_tracks; i++)
		n_gpus += recording->tracks[i].pid == 0;
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"viewBox=\"0 0 %d %d\">\n",
		WIDTH, 2 * n_gpus * (HEIGHT + GAP) + 20, WIDTH, 2 * n_gpus * (HEIGHT + GAP) + 20);
	draw_style(out);
	fputs("<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n", out);
	for (uint32_t i = 0; i < recording->n_tracks; i++) {
		if (recording->tracks[i].pid)
			continue;
		draw_gpu(&frame, &recording->tracks[i], out);
		frame.top += HEIGHT + GAP;
		draw_processes(&frame, &recording->tracks[i], out);
		frame.top += HEIGHT + GAP;
	}
	fputs("</svg>\n", out);
}

int kv_plot_run(const char *from, const char *file, const char *who)
{
	struct kv_recording recording;
	char text[128];
	FILE *out;
	int failed;

	if (kv_recording_read(from, &recording, text, sizeof(text)) != 0) {
		fprintf(stderr, "%s: %s: %s\n", who, from, text);
		return 1;
	}
	out = fopen(file, "we");
	failed = !out;
	if (out) {
		kv_plot_svg(&recording, out);
		failed = ferror(out);
		failed |= fclose(out) != 0;
	}
	if (failed)
		fprintf(stderr, "%s: %s: %s\n", who, file, strerror(errno));
	kv_recording_free(&recording);
	return failed ? 1 : 0;
}
