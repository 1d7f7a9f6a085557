/* SPDX-License-Identifier: Apache-2.0 */
/* canvas.c - see canvas.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stat/canvas.h"

int kv_canvas_resize(struct kv_canvas *canvas, int width, int height)
{
	size_t n = (size_t)width * (size_t)height;

	if (width != canvas->width || height != canvas->height) {
		free(canvas->cells);
		canvas->cells = calloc(n ? n : 1, sizeof(*canvas->cells));
		canvas->width = canvas->cells ? width : 0;
		canvas->height = canvas->cells ? height : 0;
		return canvas->cells ? 0 : -ENOMEM;
	}
	memset(canvas->cells, 0, n * sizeof(*canvas->cells));
	return 0;
}

void kv_canvas_free(struct kv_canvas *canvas)
{
	free(canvas->cells);
	memset(canvas, 0, sizeof(*canvas));
}

void kv_canvas_put(struct kv_canvas *canvas, int y, int x, enum kv_role role, uint32_t code)
{
	struct kv_cell *cell;

	if (y < 0 || y >= canvas->height || x < 0 || x >= canvas->width)
		return;
	cell = &canvas->cells[y * canvas->width + x];
	cell->code = code;
	cell->role = role;
}

int kv_canvas_text(struct kv_canvas *canvas, int y, int x, enum kv_role role, const char *text)
{
	for (; *text; text++, x++)
		kv_canvas_put(canvas, y, x, role, (unsigned char)*text);
	return x;
}

int kv_canvas_printf(
	struct kv_canvas *canvas, int y, int x, enum kv_role role, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return kv_canvas_text(canvas, y, x, role, text);
}

void kv_canvas_bar(struct kv_canvas *canvas, int y, enum kv_role role)
{
	for (int x = 0; x < canvas->width; x++)
		kv_canvas_put(canvas, y, x, role, ' ');
}

uint32_t kv_canvas_glyph(const struct kv_canvas *canvas, enum kv_glyph glyph)
{
	/* all are one column wide in every locale that wcwidth() knows */
	static const struct {
		uint32_t utf8;
		char ascii;
	} glyphs[KV_GLYPHS] = {[KV_GLYPH_NATIVE] = {0x2588, '#'}, /* full block */
		[KV_GLYPH_BACKED] = {0x2593, '='},                /* dark shade */
		[KV_GLYPH_SPARE] = {0x25aa, '+'},                 /* small square */
		[KV_GLYPH_OTHER] = {0x2573, '%'},                 /* diagonal cross */
		[KV_GLYPH_FREE] = {0x00b7, '.'},                  /* middle dot */
		[KV_GLYPH_SPILLED] = {0x2592, '~'},               /* medium shade */
		[KV_GLYPH_EVICTED] = {0x25bd, 'v'},               /* triangle down */
		[KV_GLYPH_BEYOND] = {0x2504, '-'},                /* dashed line */
		[KV_GLYPH_DEAD] = {0x00d7, 'x'},                  /* times */
		[KV_GLYPH_LINE] = {0x2500, '-'},
		[KV_GLYPH_DOWN] = {0x25be, 'v'}, /* small triangles */
		[KV_GLYPH_UP] = {0x25b4, '^'}};

	return canvas->utf8 ? glyphs[glyph].utf8 : (uint32_t)glyphs[glyph].ascii;
}

void kv_canvas_column(struct kv_canvas *canvas, int y, int x, enum kv_role role, int eighths)
{
	static const char ascii[] = " ..::||##";

	for (; eighths > 0; eighths -= 8, y--) {
		int part = eighths < 8 ? eighths : 8;

		kv_canvas_put(canvas, y, x, role,
			canvas->utf8 ? 0x2580u + (uint32_t)part : (uint32_t)ascii[part]);
	}
}
