/* SPDX-License-Identifier: Apache-2.0 */
/* draw.c - see draw.h. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NCURSES_WIDECHAR 1
#include <ncurses.h>
#include <term.h>

#include "stat/draw.h"

/* the macros of term.h are many */
#undef lines
#undef columns

static SCREEN *screen;

/* Colours by number of the 16 that terminals have; -1: the terminal's own. */
struct look {
	int ink, paper;
	attr_t attr;
};

static const struct look dark[KV_ROLES] = {
	[KV_ROLE_TEXT] = {-1, -1, 0},
	[KV_ROLE_DIM] = {-1, -1, A_DIM},
	[KV_ROLE_TITLE] = {COLOR_WHITE, COLOR_BLUE, A_BOLD},
	[KV_ROLE_HEAD] = {COLOR_CYAN, -1, A_BOLD},
	[KV_ROLE_SORTED] = {COLOR_YELLOW, -1, A_BOLD},
	[KV_ROLE_SELECTED] = {COLOR_BLACK, COLOR_CYAN, 0},
	[KV_ROLE_NATIVE] = {COLOR_BLUE, -1, A_BOLD},
	[KV_ROLE_BACKED] = {COLOR_GREEN, -1, 0},
	[KV_ROLE_SPARE] = {COLOR_CYAN, -1, 0},
	[KV_ROLE_OTHER] = {COLOR_WHITE, -1, 0},
	[KV_ROLE_FREE] = {-1, -1, A_DIM},
	[KV_ROLE_SPILLED] = {COLOR_RED, -1, A_BOLD},
	[KV_ROLE_EVICTED] = {COLOR_YELLOW, -1, 0},
	[KV_ROLE_BEYOND] = {COLOR_MAGENTA, -1, 0},
	[KV_ROLE_GOOD] = {COLOR_GREEN, -1, 0},
	[KV_ROLE_WARN] = {COLOR_YELLOW, -1, 0},
	[KV_ROLE_BAD] = {COLOR_RED, -1, A_BOLD},
};

static const struct look light[KV_ROLES] = {
	[KV_ROLE_TEXT] = {-1, -1, 0},
	[KV_ROLE_DIM] = {-1, -1, A_DIM},
	[KV_ROLE_TITLE] = {COLOR_BLACK, COLOR_WHITE, 0},
	[KV_ROLE_HEAD] = {COLOR_BLUE, -1, A_BOLD},
	[KV_ROLE_SORTED] = {COLOR_RED, -1, A_BOLD},
	[KV_ROLE_SELECTED] = {COLOR_WHITE, COLOR_BLUE, 0},
	[KV_ROLE_NATIVE] = {COLOR_BLUE, -1, 0},
	[KV_ROLE_BACKED] = {COLOR_GREEN, -1, 0},
	[KV_ROLE_SPARE] = {COLOR_CYAN, -1, 0},
	[KV_ROLE_OTHER] = {COLOR_BLACK, -1, 0},
	[KV_ROLE_FREE] = {-1, -1, A_DIM},
	[KV_ROLE_SPILLED] = {COLOR_RED, -1, 0},
	[KV_ROLE_EVICTED] = {COLOR_MAGENTA, -1, 0},
	[KV_ROLE_BEYOND] = {COLOR_MAGENTA, -1, 0},
	[KV_ROLE_GOOD] = {COLOR_GREEN, -1, 0},
	[KV_ROLE_WARN] = {COLOR_RED, -1, 0},
	[KV_ROLE_BAD] = {COLOR_RED, -1, A_BOLD},
};

static const attr_t mono[KV_ROLES] = {
	[KV_ROLE_DIM] = A_DIM,
	[KV_ROLE_TITLE] = A_REVERSE,
	[KV_ROLE_HEAD] = A_BOLD,
	[KV_ROLE_SORTED] = A_BOLD | A_UNDERLINE,
	[KV_ROLE_SELECTED] = A_REVERSE,
	[KV_ROLE_FREE] = A_DIM,
	[KV_ROLE_SPILLED] = A_BOLD,
	[KV_ROLE_WARN] = A_BOLD,
	[KV_ROLE_BAD] = A_BOLD | A_REVERSE,
};

int kv_draw_open(void)
{
	const char *move;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return -ENOTTY;
	setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return -ENOTSUP;
	move = tigetstr("cup");
	if (!move || move == (char *)-1) {
		kv_draw_close();
		return -ENOTSUP;
	}
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	set_escdelay(50);
	curs_set(0);
	if (has_colors()) {
		start_color();
		use_default_colors();
	}
	return 0;
}

void kv_draw_close(void)
{
	endwin();
	delscreen(screen);
	screen = NULL;
}

enum kv_stat_scheme kv_draw_scheme(enum kv_stat_scheme wanted)
{
	const char *off = getenv("NO_COLOR");

	if (!has_colors() || COLOR_PAIRS <= KV_ROLES)
		return KV_SCHEME_MONO;
	if (wanted == KV_SCHEME_AUTO)
		return off && off[0] ? KV_SCHEME_MONO : KV_SCHEME_DARK;
	return wanted;
}

bool kv_draw_locale_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void kv_draw_size(int *ret_width, int *ret_height)
{
	getmaxyx(stdscr, *ret_height, *ret_width);
}

static int translate(wint_t key)
{
	static const struct {
		wint_t curses;
		int ours;
	} keys[] = {{KEY_UP, KV_KEY_UP}, {KEY_DOWN, KV_KEY_DOWN}, {KEY_LEFT, KV_KEY_LEFT},
		{KEY_RIGHT, KV_KEY_RIGHT}, {KEY_PPAGE, KV_KEY_PAGE_UP},
		{KEY_NPAGE, KV_KEY_PAGE_DOWN}, {KEY_HOME, KV_KEY_HOME}, {KEY_END, KV_KEY_END},
		{KEY_BACKSPACE, KV_KEY_BACKSPACE}, {KEY_ENTER, KV_KEY_ENTER},
		{KEY_F(1), KV_KEY_HELP}, {KEY_RESIZE, KV_KEY_RESIZE}};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].curses == key)
			return keys[i].ours;
	return KV_KEY_NONE;
}

int kv_draw_key(int timeout_ms)
{
	wint_t key;
	int kind;

	errno = 0;
	timeout(timeout_ms);
	kind = get_wch(&key);
	if (kind == KEY_CODE_YES)
		return translate(key);
	if (kind == ERR)
		/* a terminal that hung up answers at once, for ever */
		return errno && errno != EINTR && errno != EAGAIN ? KV_KEY_GONE : KV_KEY_NONE;
	if (key == 27)
		return KV_KEY_ESCAPE;
	if (key == '\r' || key == '\n')
		return KV_KEY_ENTER;
	if (key == 127 || key == 8)
		return KV_KEY_BACKSPACE;
	return key < 0x1000 ? (int)key : KV_KEY_NONE;
}

static void set_pairs(enum kv_stat_scheme scheme)
{
	static enum kv_stat_scheme set = KV_SCHEME_AUTO;
	const struct look *looks = scheme == KV_SCHEME_LIGHT ? light : dark;

	if (scheme == KV_SCHEME_MONO || scheme == set)
		return;
	for (int i = 0; i < KV_ROLES; i++)
		init_pair((short)(i + 1), (short)looks[i].ink, (short)looks[i].paper);
	set = scheme;
}

void kv_draw_show(const struct kv_canvas *canvas, enum kv_stat_scheme scheme)
{
	const struct look *looks = scheme == KV_SCHEME_LIGHT ? light : dark;
	wchar_t text[2] = {0};
	cchar_t cell;

	set_pairs(scheme);
	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			const struct kv_cell *from = &canvas->cells[y * canvas->width + x];

			text[0] = from->code ? (wchar_t)from->code : L' ';
			setcchar(&cell, text,
				scheme == KV_SCHEME_MONO ? mono[from->role]
							 : looks[from->role].attr,
				scheme == KV_SCHEME_MONO ? 0 : (short)(from->role + 1), NULL);
			mvadd_wch(y, x, &cell);
		}
	refresh();
}
