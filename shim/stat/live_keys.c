/* SPDX-License-Identifier: Apache-2.0 */
/* live_keys.c - what a key does; see live.h. */
#include <stdio.h>
#include <string.h>

#include "stat/draw.h"
#include "stat/live.h"
#include "stat/table.h"

static void select_row(struct kv_live *live, int64_t to)
{
	int64_t last = (int64_t)live->n_rows - 1;

	to = to > last ? last : to;
	live->selected = to < 0 ? 0 : (uint32_t)to;
	live->reservation = 0;
}

static void sort_by(struct kv_live *live, uint32_t column, bool reverse)
{
	live->sort = column;
	live->reverse = reverse;
	kv_live_arrange(live);
}

static void select_reservation(struct kv_live *live, int step)
{
	const struct kv_live_row *row = kv_live_selected(live);
	uint32_t n = row ? row->process->n_rows : 0;

	if (n)
		live->reservation = (live->reservation + n + (uint32_t)(step + (int)n)) % n;
}

static void change_interval(struct kv_live *live, bool longer)
{
	static const uint64_t steps[] = {100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000};
	uint64_t best = live->interval_ms;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (longer && steps[i] > live->interval_ms) {
			best = steps[i];
			break;
		}
		if (!longer && steps[i] < live->interval_ms)
			best = steps[i];
	}
	live->interval_ms = best;
}

/* Begins something that concerns the selected process. */
static void begin_command(struct kv_live *live, enum kv_command_kind kind)
{
	const struct kv_live_row *row = kv_live_selected(live);

	if (!row || row->process->problem[0]) {
		snprintf(live->message, sizeof(live->message), "no process is selected");
		return;
	}
	kv_command_make(&live->command, kind, row->segment, row->process);
	live->input[0] = '\0';
	if (kind == KV_COMMAND_LIMITS) {
		live->prompt = KV_PROMPT_LIMITS;
		return;
	}
	kv_command_ask(&live->command, live->message, sizeof(live->message));
	live->prompt = KV_PROMPT_CONFIRM;
}

static void finish_input(struct kv_live *live)
{
	enum kv_live_prompt prompt = live->prompt;

	live->prompt = KV_PROMPT_NONE;
	if (prompt == KV_PROMPT_FILTER) {
		snprintf(live->filter, sizeof(live->filter), "%.63s", live->input);
		kv_live_arrange(live);
		return;
	}
	if (!live->input[0] || kv_command_read_limits(&live->command, live->input, live->message,
				       sizeof(live->message)) != 0)
		return;
	kv_command_ask(&live->command, live->message, sizeof(live->message));
	live->prompt = KV_PROMPT_CONFIRM;
}

static void edit_input(struct kv_live *live, int key)
{
	size_t length = strlen(live->input);

	if (key == KV_KEY_ENTER) {
		finish_input(live);
	} else if (key == KV_KEY_ESCAPE) {
		live->prompt = KV_PROMPT_NONE;
	} else if (key == KV_KEY_BACKSPACE) {
		if (length)
			live->input[length - 1] = '\0';
	} else if (key >= 0x20 && key < 0x7f && length + 1 < sizeof(live->input)) {
		live->input[length] = (char)key;
		live->input[length + 1] = '\0';
	}
}

static void confirm(struct kv_live *live, int key)
{
	live->prompt = KV_PROMPT_NONE;
	if (key == 'y' || key == 'Y')
		kv_command_send(&live->command, live->message, sizeof(live->message));
	else
		snprintf(live->message, sizeof(live->message), "nothing was changed");
}

/* Keys that move. True: it was one. */
static bool move_key(struct kv_live *live, int key)
{
	int64_t at = live->selected, page = live->page;

	switch (key) {
	case KV_KEY_UP:
	case 'k':
		select_row(live, at - 1);
		return true;
	case KV_KEY_DOWN:
	case 'j':
		select_row(live, at + 1);
		return true;
	case KV_KEY_PAGE_UP:
		select_row(live, at - page);
		return true;
	case KV_KEY_PAGE_DOWN:
		select_row(live, at + page);
		return true;
	case KV_KEY_HOME:
	case 'g':
		select_row(live, 0);
		return true;
	case KV_KEY_END:
	case 'G':
		select_row(live, live->n_rows);
		return true;
	case KV_KEY_LEFT:
	case '[':
		select_reservation(live, -1);
		return true;
	case KV_KEY_RIGHT:
	case ']':
		select_reservation(live, 1);
		return true;
	default:
		return false;
	}
}

/* Keys that change how things are shown. True: it was one. */
static bool show_key(struct kv_live *live, int key)
{
	switch (key) {
	case 's':
		sort_by(live, (live->sort + 1) % kv_n_columns, live->reverse);
		return true;
	case 'S':
		sort_by(live, (live->sort + kv_n_columns - 1) % kv_n_columns, live->reverse);
		return true;
	case 'i':
		sort_by(live, live->sort, !live->reverse);
		return true;
	case 'b':
		sort_by(live, kv_column_find("BACKED"), false);
		return true;
	case 'n':
		sort_by(live, kv_column_find("NAME"), false);
		return true;
	case 'p':
		sort_by(live, kv_column_find("PID"), false);
		return true;
	case '\t':
		live->panel = (live->panel + 1) % KV_PANELS;
		return true;
	case 'c':
		live->scheme = live->scheme == KV_SCHEME_MONO ? KV_SCHEME_DARK : live->scheme + 1;
		return true;
	case 'u':
		live->utf8 = !live->utf8;
		return true;
	case '+':
	case '=':
		change_interval(live, true);
		return true;
	case '-':
		change_interval(live, false);
		return true;
	default:
		return false;
	}
}

enum kv_live_action kv_live_key(struct kv_live *live, int key)
{
	if (key == KV_KEY_NONE || key == KV_KEY_RESIZE)
		return KV_LIVE_DRAW;
	if (live->prompt == KV_PROMPT_CONFIRM) {
		confirm(live, key);
		return KV_LIVE_DRAW;
	}
	live->message[0] = '\0';
	if (live->prompt != KV_PROMPT_NONE) {
		edit_input(live, key);
		return KV_LIVE_DRAW;
	}
	if (live->help) {
		live->help = false;
		return KV_LIVE_DRAW;
	}
	if (move_key(live, key) || show_key(live, key))
		return KV_LIVE_DRAW;
	switch (key) {
	case 'q':
	case 'Q':
		return KV_LIVE_QUIT;
	case 'r':
		return KV_LIVE_SAMPLE;
	case '?':
	case 'h':
	case KV_KEY_HELP:
		live->help = true;
		break;
	case ' ':
		live->frozen = !live->frozen;
		break;
	case '/':
		snprintf(live->input, sizeof(live->input), "%s", live->filter);
		live->prompt = KV_PROMPT_FILTER;
		break;
	case 'l':
		begin_command(live, KV_COMMAND_LIMITS);
		break;
	case 'e':
		begin_command(live, KV_COMMAND_EVICT);
		break;
	case 'o':
		begin_command(live, KV_COMMAND_RESTORE);
		break;
	default:
		break;
	}
	return KV_LIVE_DRAW;
}
