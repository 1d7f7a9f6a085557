/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "stat/options.h"

enum {
	OPT_ONCE = 256,
	OPT_JSON,
	OPT_CSV,
	OPT_PROMETHEUS,
	OPT_LIVE,
	OPT_WATCH,
	OPT_COUNT,
	OPT_INTERVAL,
	OPT_LISTEN,
	OPT_LISTEN_ANYWHERE,
	OPT_RECORD,
	OPT_PLOT,
	OPT_FROM,
	OPT_DIR,
	OPT_ASCII,
	OPT_UTF8,
	OPT_COLOURS,
	OPT_MARKDOWN,
	OPT_TEST_CLOCK,
	OPT_VERSION,
};

static const struct option longs[] = {
	{"once", no_argument, NULL, OPT_ONCE},
	{"json", no_argument, NULL, OPT_JSON},
	{"csv", no_argument, NULL, OPT_CSV},
	{"prometheus", no_argument, NULL, OPT_PROMETHEUS},
	{"live", no_argument, NULL, OPT_LIVE},
	{"watch", required_argument, NULL, OPT_WATCH},
	{"count", required_argument, NULL, OPT_COUNT},
	{"interval", required_argument, NULL, OPT_INTERVAL},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"listen-anywhere", no_argument, NULL, OPT_LISTEN_ANYWHERE},
	{"record", required_argument, NULL, OPT_RECORD},
	{"plot", required_argument, NULL, OPT_PLOT},
	{"from", required_argument, NULL, OPT_FROM},
	{"dir", required_argument, NULL, OPT_DIR},
	{"ascii", no_argument, NULL, OPT_ASCII},
	{"utf8", no_argument, NULL, OPT_UTF8},
	{"colours", required_argument, NULL, OPT_COLOURS},
	{"colors", required_argument, NULL, OPT_COLOURS},
	{"markdown", no_argument, NULL, OPT_MARKDOWN},
	{"test-clock", required_argument, NULL, OPT_TEST_CLOCK},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{0},
};

void kv_stat_usage(FILE *out)
{
	fputs("usage: kvshim-stat [--live] [--interval SECONDS] [--colours dark|light|mono] "
	      "[--ascii | --utf8]\n"
	      "       kvshim-stat [--once | --json | --csv | --prometheus] [--watch SECONDS] "
	      "[--count N]\n"
	      "       kvshim-stat --listen ADDRESS:PORT [--listen-anywhere]\n"
	      "       kvshim-stat --record FILE [--interval SECONDS] [--count N] [-- COMMAND ...]\n"
	      "       kvshim-stat --plot FILE.svg --from RECORDING\n"
	      "\n"
	      "Shows what every process under kvshim has reserved and what is backed, per GPU.\n"
	      "  --live        in the terminal; ? lists the keys (the default in a terminal)\n"
	      "  --once        a table (the default elsewhere)\n"
	      "  --json        one JSON object; bytes are integers, what is not known is null\n"
	      "  --csv         a row per GPU and one per process\n"
	      "  --prometheus  text exposition\n"
	      "  --watch       again every SECONDS; without a format: lines for logs\n"
	      "  --count       end after N samples\n"
	      "  --listen      serves the exposition under /metrics, on this machine only unless\n"
	      "                --listen-anywhere is given too; there is no access control\n"
	      "  --record      --csv into FILE while COMMAND runs (or until interrupted)\n"
	      "  --plot        draws a recording\n"
	      "  --interval    of --live and --record (default: 1)\n"
	      "  --dir         where the segments lie (default: KVSHIM_DIR, else /dev/shm)\n"
	      "Exit status: 0; 1 if a segment could not be read; 2 wrong arguments; --record: that "
	      "of COMMAND.\n",
		out);
}

/* Seconds with up to three decimals, from a tenth to a day. */
static int read_seconds(const char *text, uint64_t *ret_ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.1 && seconds <= 86400))
		return -EINVAL;
	*ret_ms = (uint64_t)(seconds * 1000 + 0.5);
	return 0;
}

static int read_number(const char *text, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return errno || end == text || *end || text[0] == '-' ? -EINVAL : 0;
}

static int read_scheme(const char *text, enum kv_stat_scheme *ret_scheme)
{
	static const char *const words[] = {[KV_SCHEME_AUTO] = "auto",
		[KV_SCHEME_DARK] = "dark",
		[KV_SCHEME_LIGHT] = "light",
		[KV_SCHEME_MONO] = "mono"};

	for (int i = 0; i <= KV_SCHEME_MONO; i++)
		if (strcmp(text, words[i]) == 0) {
			*ret_scheme = (enum kv_stat_scheme)i;
			return 0;
		}
	return -EINVAL;
}

static void set_view(struct kv_stat_options *options, kv_view *view)
{
	options->mode = KV_MODE_VIEW;
	options->view = view;
}

static void set_mode(struct kv_stat_options *options, enum kv_stat_mode mode)
{
	if (options->mode != KV_MODE_HELP && options->mode != KV_MODE_VERSION)
		options->mode = mode;
}

static void read_flag(int c, struct kv_stat_options *options)
{
	switch (c) {
	case OPT_ONCE:
		set_view(options, kv_view_once);
		break;
	case OPT_JSON:
		set_view(options, kv_view_json);
		break;
	case OPT_CSV:
		set_view(options, kv_view_csv);
		break;
	case OPT_PROMETHEUS:
		set_view(options, kv_view_prometheus);
		break;
	case OPT_LIVE:
		set_mode(options, KV_MODE_LIVE);
		break;
	case OPT_LISTEN_ANYWHERE:
		options->listen_anywhere = true;
		break;
	case OPT_ASCII:
		options->charset = KV_CHARSET_ASCII;
		break;
	case OPT_UTF8:
		options->charset = KV_CHARSET_UTF8;
		break;
	case OPT_MARKDOWN:
		set_mode(options, KV_MODE_MARKDOWN);
		break;
	case 'h':
		set_mode(options, KV_MODE_HELP);
		break;
	default:
		set_mode(options, KV_MODE_VERSION);
	}
}

static int read_valued(int c, const char *value, struct kv_stat_options *options)
{
	switch (c) {
	case OPT_WATCH:
		options->repeat = true;
		if (options->mode == KV_MODE_DEFAULT)
			set_view(options, kv_view_lines);
		return read_seconds(value, &options->interval_ms);
	case OPT_COUNT:
		return read_number(value, &options->count);
	case OPT_INTERVAL:
		return read_seconds(value, &options->interval_ms);
	case OPT_LISTEN:
		options->listen = value;
		set_mode(options, KV_MODE_LISTEN);
		return 0;
	case OPT_RECORD:
		options->file = value;
		set_mode(options, KV_MODE_RECORD);
		return 0;
	case OPT_PLOT:
		options->file = value;
		set_mode(options, KV_MODE_PLOT);
		return 0;
	case OPT_FROM:
		options->from = value;
		return 0;
	case OPT_DIR:
		options->directory = value;
		return 0;
	case OPT_COLOURS:
		return read_scheme(value, &options->scheme);
	default:
		options->fixed_clock = true;
		return read_number(value, &options->clock_ns);
	}
}

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "kvshim-stat: %s %s; try `kvshim-stat --help`\n", what, why);
	return -EINVAL;
}

int kv_stat_options_read(int argc, char **argv, struct kv_stat_options *ret_options)
{
	struct kv_stat_options options = {.interval_ms = 1000};
	int c, index = 0;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:h", longs, &index)) != -1) {
		if (c == '?' || c == ':')
			return complain(
				argv[optind - 1], c == ':' ? "needs a value" : "is not understood");
		if (!optarg)
			read_flag(c, &options);
		else if (read_valued(c, optarg, &options) != 0)
			return complain(optarg, "is no value that this option takes");
	}
	if (options.mode == KV_MODE_RECORD && optind < argc)
		options.command = argv + optind;
	else if (optind < argc)
		return complain(argv[optind], "is not understood");
	if (options.mode == KV_MODE_PLOT && !options.from)
		return complain("--plot", "needs --from RECORDING");
	*ret_options = options;
	return 0;
}
