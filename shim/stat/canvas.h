/* SPDX-License-Identifier: Apache-2.0 */
/*
 * canvas.h - a screen in memory: cells with a glyph and a role. The panels of the live view write
 * into it, draw.c brings it to a terminal. What is outside is cut off. No terminal, no global.
 */
#ifndef KV_SHIM_STAT_CANVAS_H
#define KV_SHIM_STAT_CANVAS_H

#include <stdbool.h>
#include <stdint.h>

/* What a cell is for; a colour scheme gives each a look (draw.c). */
enum kv_role {
	KV_ROLE_TEXT = 0,
	KV_ROLE_DIM,
	KV_ROLE_TITLE,  /* the line at the top, the hints at the bottom */
	KV_ROLE_HEAD,   /* heads of columns and of panels */
	KV_ROLE_SORTED, /* the column that is sorted by */
	KV_ROLE_SELECTED,
	KV_ROLE_NATIVE,
	KV_ROLE_BACKED,
	KV_ROLE_SPARE,
	KV_ROLE_OTHER,
	KV_ROLE_FREE,
	KV_ROLE_SPILLED,
	KV_ROLE_EVICTED,
	KV_ROLE_BEYOND,
	KV_ROLE_GOOD,
	KV_ROLE_WARN,
	KV_ROLE_BAD,
	KV_ROLES,
};

/* Glyphs that tell the kinds of memory apart without colour too. */
enum kv_glyph {
	KV_GLYPH_NATIVE = 0,
	KV_GLYPH_BACKED,
	KV_GLYPH_SPARE,
	KV_GLYPH_OTHER,
	KV_GLYPH_FREE,
	KV_GLYPH_SPILLED,
	KV_GLYPH_EVICTED,
	KV_GLYPH_BEYOND,
	KV_GLYPH_DEAD,
	KV_GLYPH_LINE,
	KV_GLYPH_DOWN, /* sorted, the greatest first */
	KV_GLYPH_UP,
	KV_GLYPHS,
};

struct kv_cell {
	uint32_t code; /* Unicode; 0: blank */
	uint32_t role;
};

struct kv_canvas {
	int width, height;
	bool utf8;
	struct kv_cell *cells; /* owned, row by row */
};

/* Makes it of this size and blank; keeps the memory if the size is the same. 0 or -ENOMEM (then it
 * is of size 0). A canvas of zeros is an empty one. */
int kv_canvas_resize(struct kv_canvas *canvas, int width, int height);
void kv_canvas_free(struct kv_canvas *canvas);

void kv_canvas_put(struct kv_canvas *canvas, int y, int x, enum kv_role role, uint32_t code);
/* text: printable ASCII (kv_format_clean() for foreign text). Returns the column behind it. */
int kv_canvas_text(struct kv_canvas *canvas, int y, int x, enum kv_role role, const char *text);
int kv_canvas_printf(struct kv_canvas *canvas, int y, int x, enum kv_role role, const char *format,
	...) __attribute__((format(printf, 5, 6)));
/* Gives a whole line a role and blanks. */
void kv_canvas_bar(struct kv_canvas *canvas, int y, enum kv_role role);
/* The code of a glyph, as the canvas can show it. */
uint32_t kv_canvas_glyph(const struct kv_canvas *canvas, enum kv_glyph glyph);
/* A column of a graph, bottom up from the line y: eighths of a cell high. */
void kv_canvas_column(struct kv_canvas *canvas, int y, int x, enum kv_role role, int eighths);

#endif
