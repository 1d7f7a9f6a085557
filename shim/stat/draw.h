/* SPDX-License-Identifier: Apache-2.0 */
/*
 * draw.h - the terminal, for the live view. The only part that knows curses; one per process.
 */
#ifndef KV_SHIM_STAT_DRAW_H
#define KV_SHIM_STAT_DRAW_H

#include <stdbool.h>
#include <stdint.h>

#include "stat/canvas.h"
#include "stat/options.h"

/* What kv_draw_key() returns besides characters. */
enum {
	KV_KEY_NONE = 0, /* the time is over */
	KV_KEY_UP = 0x1000,
	KV_KEY_DOWN,
	KV_KEY_LEFT,
	KV_KEY_RIGHT,
	KV_KEY_PAGE_UP,
	KV_KEY_PAGE_DOWN,
	KV_KEY_HOME,
	KV_KEY_END,
	KV_KEY_BACKSPACE,
	KV_KEY_ENTER,
	KV_KEY_ESCAPE,
	KV_KEY_HELP,
	KV_KEY_RESIZE,
	KV_KEY_GONE, /* the terminal is no more */
};

/*
 * Takes the terminal over. -ENOTTY: standard input or output is none; -ENOTSUP: it cannot move its
 * cursor, or TERM is not known. SIGINT and SIGTERM give it back and end the process.
 */
int kv_draw_open(void);
void kv_draw_close(void);
/* AUTO becomes what the terminal can do; a scheme that it cannot becomes KV_SCHEME_MONO. */
enum kv_stat_scheme kv_draw_scheme(enum kv_stat_scheme wanted);
/* Is the locale one of UTF-8? */
bool kv_draw_locale_utf8(void);
void kv_draw_size(int *ret_width, int *ret_height);
/* Waits for a key, timeout_ms below 0: for good. */
int kv_draw_key(int timeout_ms);
void kv_draw_show(const struct kv_canvas *canvas, enum kv_stat_scheme scheme);

#endif
