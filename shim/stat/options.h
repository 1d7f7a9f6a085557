/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the command line of kvshim-stat. */
#ifndef KV_SHIM_STAT_OPTIONS_H
#define KV_SHIM_STAT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "stat/view.h"

enum kv_stat_mode {
	KV_MODE_DEFAULT = 0, /* live in a terminal, else the table */
	KV_MODE_VIEW,        /* view, once or every interval */
	KV_MODE_LIVE,
	KV_MODE_LISTEN,
	KV_MODE_RECORD,
	KV_MODE_PLOT,
	KV_MODE_MARKDOWN,
	KV_MODE_HELP,
	KV_MODE_VERSION,
};

enum kv_stat_charset { KV_CHARSET_LOCALE = 0, KV_CHARSET_ASCII, KV_CHARSET_UTF8 };

enum kv_stat_scheme { KV_SCHEME_AUTO = 0, KV_SCHEME_DARK, KV_SCHEME_LIGHT, KV_SCHEME_MONO };

struct kv_stat_options {
	enum kv_stat_mode mode;
	kv_view *view;
	bool repeat; /* --watch */
	uint64_t interval_ms;
	uint64_t count;        /* of samples with --watch or --record; 0: no end */
	const char *directory; /* NULL: as the options of kvshim say */
	const char *file;      /* of --record, --plot */
	const char *from;      /* the recording for --plot */
	const char *listen;    /* ADDRESS:PORT */
	bool listen_anywhere;
	char **command; /* what --record runs, NULL-terminated; NULL: nothing */
	enum kv_stat_charset charset;
	enum kv_stat_scheme scheme;
	bool fixed_clock; /* for tests: time is clock_ns and passes by one interval per sample */
	uint64_t clock_ns;
};

/* 0, or -EINVAL: one line has been written to stderr. argv is permuted as getopt does. */
int kv_stat_options_read(int argc, char **argv, struct kv_stat_options *ret_options);
void kv_stat_usage(FILE *out);

#endif
