/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the `kvshim-stat` command. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shim/config.h"
#include "stat/listen.h"
#include "stat/live_run.h"
#include "stat/options.h"
#include "stat/plot.h"
#include "stat/record.h"

static int out_of_memory(void)
{
	fprintf(stderr, "kvshim-stat: out of memory\n");
	return 1;
}

static struct kv_stat_clock clock_of(const struct kv_stat_options *options, uint64_t n_sample)
{
	struct kv_stat_clock clock;

	if (!options->fixed_clock)
		return kv_stat_clock_now();
	clock.now_ns = options->clock_ns + n_sample * options->interval_ms * 1000000;
	clock.wall_ns = clock.now_ns;
	return clock;
}

/* Until the next multiple of the interval after start. */
static void wait_for(const struct timespec *start, uint64_t interval_ms, uint64_t n_sample)
{
	uint64_t ns = (uint64_t)start->tv_nsec + n_sample * interval_ms * 1000000;
	struct timespec then = {.tv_sec = start->tv_sec + (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR)
		;
}

static int show(const struct kv_stat_options *options, const char *directory)
{
	struct kv_stat before = {0}, stat;
	uint64_t n_samples = !options->repeat ? 1 : options->count ? options->count : UINT64_MAX;
	struct kv_stat_clock clock;
	struct timespec start;
	int status = 0;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (options->view == kv_view_csv)
		kv_view_csv_header(stdout);
	for (uint64_t i = 0; i < n_samples; i++) {
		if (i)
			wait_for(&start, options->interval_ms, i);
		clock = clock_of(options, i);
		if (kv_stat_read(directory, &clock, &stat) != 0) {
			kv_stat_free(&before);
			return out_of_memory();
		}
		kv_stat_rate(&stat, i ? &before : NULL);
		kv_stat_free(&before);
		before = stat;
		options->view(&stat, stdout);
		status = kv_stat_has_problem(&stat);
		if (fflush(stdout) != 0 || ferror(stdout)) {
			fprintf(stderr, "kvshim-stat: cannot write: %s\n", strerror(errno));
			status = 1;
			break;
		}
	}
	kv_stat_free(&before);
	return status;
}

static int live(const struct kv_stat_options *options, const char *directory)
{
#if KV_STAT_LIVE
	return kv_live_run(options, directory);
#else
	fprintf(stderr, "kvshim-stat: built without the live view (no ncurses); try --watch 1\n");
	return 1;
#endif
}

static int serve(const struct kv_stat_options *options, const char *directory)
{
#if KV_STAT_LISTEN
	return kv_listen_run(options->listen, options->listen_anywhere, directory);
#else
	fprintf(stderr, "kvshim-stat: built without --listen (no libmicrohttpd); --prometheus "
			"writes the same\n");
	return 1;
#endif
}

static int record(const struct kv_stat_options *options, const char *directory)
{
	struct kv_record request = {.directory = directory,
		.file = options->file,
		.interval_ms = options->interval_ms,
		.count = options->count,
		.command = options->command,
		.who = "kvshim-stat"};

	return kv_record_run(&request);
}

static int run(struct kv_stat_options *options, const char *directory)
{
	switch (options->mode) {
	case KV_MODE_HELP:
		kv_stat_usage(stdout);
		return 0;
	case KV_MODE_VERSION:
		puts("kvshim-stat " KVSHIM_VERSION);
		return 0;
	case KV_MODE_MARKDOWN:
		kv_metrics_markdown(stdout);
		return 0;
	case KV_MODE_LIVE:
		return live(options, directory);
	case KV_MODE_LISTEN:
		return serve(options, directory);
	case KV_MODE_RECORD:
		return record(options, directory);
	case KV_MODE_PLOT:
		return kv_plot_run(options->from, options->file, "kvshim-stat");
	default:
		if (options->view)
			return show(options, directory);
		if (KV_STAT_LIVE && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
			return live(options, directory);
		options->view = kv_view_once;
		return show(options, directory);
	}
}

int main(int argc, char **argv)
{
	struct kv_stat_options options;
	struct kv_config config;
	int status;

	if (kv_stat_options_read(argc, argv, &options) != 0)
		return 2;
	if (kv_config_read(&config, environ, NULL, NULL) != 0)
		return out_of_memory();
	status = run(&options,
		options.directory ? options.directory : kv_config_text(&config, KV_OPT_DIR));
	kv_config_free(&config);
	return status;
}
