/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - samples into a file while a command runs: `kvshim-stat --record`, `kvshim record`.
 * The file has the form of --csv; plot.h draws it.
 */
#ifndef KV_SHIM_STAT_RECORD_H
#define KV_SHIM_STAT_RECORD_H

#include <stdint.h>

struct kv_record {
	const char *directory; /* of the segments */
	const char *file;      /* is made anew */
	uint64_t interval_ms;
	uint64_t count;  /* samples to take; 0: until the command ends or a signal comes */
	char **command;  /* NULL-terminated, looked up in PATH; NULL: nothing is run */
	const char *who; /* begins the lines on stderr, such as "kvshim record" */
};

/*
 * Returns an exit status: that of the command (128 + signal if it was killed; 126, 127 as env(1));
 * without one 0. 1: the file could not be written, one line says why; the command goes on to its
 * end. SIGINT and SIGTERM end a recording without a command; SIGTERM is passed on to a command.
 * To be called with one thread; takes those signals and SIGCHLD for its time.
 */
int kv_record_run(const struct kv_record *record);

#endif
