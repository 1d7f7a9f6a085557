/* SPDX-License-Identifier: Apache-2.0 */
/* live_run.c - see live_run.h. */
#include <errno.h>
#include <stdlib.h>

#include "stat/draw.h"
#include "stat/live.h"
#include "stat/live_run.h"

struct session {
	const struct kv_stat_options *options;
	const char *directory;
	struct kv_live live;
	struct kv_canvas canvas;
	uint64_t n_samples;
};

static int sample(struct session *session)
{
	struct kv_stat_clock clock = kv_stat_clock_now();
	struct kv_stat stat;
	int error;

	if (session->options->fixed_clock) {
		clock.now_ns = session->options->clock_ns +
			       session->n_samples * session->options->interval_ms * 1000000;
		clock.wall_ns = clock.now_ns;
	}
	session->n_samples++;
	error = kv_stat_read(session->directory, &clock, &stat);
	return error ? error : kv_live_take(&session->live, &stat);
}

static int draw(struct session *session)
{
	int width, height, error;

	kv_draw_size(&width, &height);
	error = kv_canvas_resize(&session->canvas, width, height);
	if (error)
		return error;
	session->live.scheme = kv_draw_scheme(session->live.scheme);
	kv_live_draw(&session->live, &session->canvas);
	kv_draw_show(&session->canvas, session->live.scheme);
	return 0;
}

/* How long a key may take until the next sample is due; below 0: for ever. */
static int patience(const struct session *session, uint64_t due_ns)
{
	uint64_t now_ns = kv_stat_clock_now().now_ns;

	/* tests take samples by key */
	if (session->options->fixed_clock || session->live.frozen)
		return -1;
	return now_ns >= due_ns ? 0 : (int)((due_ns - now_ns + 999999) / 1000000);
}

static int loop(struct session *session)
{
	enum kv_live_action action = KV_LIVE_SAMPLE;
	uint64_t taken_ns = 0;
	int error = 0, key;

	while (!error && action != KV_LIVE_QUIT) {
		if (action == KV_LIVE_SAMPLE) {
			taken_ns = kv_stat_clock_now().now_ns;
			error = sample(session);
		}
		if (!error)
			error = draw(session);
		if (error)
			break;
		key = kv_draw_key(
			patience(session, taken_ns + session->live.interval_ms * 1000000));
		if (key == KV_KEY_GONE)
			break;
		action = kv_live_key(&session->live, key);
		if (key == KV_KEY_NONE &&
			patience(session, taken_ns + session->live.interval_ms * 1000000) == 0)
			action = KV_LIVE_SAMPLE;
	}
	return error;
}

int kv_live_run(const struct kv_stat_options *options, const char *directory)
{
	struct session session = {.options = options, .directory = directory};
	int error = kv_draw_open();

	if (error) {
		fprintf(stderr, "kvshim-stat: %s; --once, --json and --watch need none\n",
			error == -ENOTTY
				? "standard input and output are no terminal"
				: "this kind of terminal (TERM) is not known or too simple");
		return 1;
	}
	kv_live_init(&session.live, options);
	if (options->charset == KV_CHARSET_LOCALE)
		session.live.utf8 = kv_draw_locale_utf8();
	error = loop(&session);
	kv_draw_close();
	kv_live_free(&session.live);
	kv_canvas_free(&session.canvas);
	if (error)
		fprintf(stderr, "kvshim-stat: out of memory\n");
	return error ? 1 : 0;
}
