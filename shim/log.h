/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - lines for the operator: "kvshim[pid] topic: text" on stderr, one write(2) each.
 *
 * Callable from any thread, any lock state and a signal handler: no lock, no allocation, errno
 * kept. The number of lines per process is capped, and so is the length of each. A reader that has
 * closed the other end of a pipe does not raise SIGPIPE, one that does not read blocks nobody for
 * long.
 */
#ifndef KV_SHIM_LOG_H
#define KV_SHIM_LOG_H

#include <stdint.h>

enum kv_log_level {
	KV_LOG_OFF = -1,
	KV_LOG_ERROR = 0, /* the shim is inert */
	KV_LOG_WARN = 1,  /* degraded, and what to do about it */
	KV_LOG_INFO = 2,  /* worth knowing once */
	KV_LOG_DEBUG = 3,
};

#define KV_LOG_LINE_MAX 512u /* bytes of one line with its newline */

/*
 * Sets levels by "LEVEL" or "TOPIC:LEVEL", comma-separated; the later of two wins. Topics are
 * lower-case words. NULL is "info". -EINVAL: malformed; nothing has changed. Once, before other
 * threads log.
 */
int kv_log_set_levels(const char *text);
/* The same, without the effect. */
int kv_log_check_levels(const char *text);
void kv_log_set_lines(uint64_t lines);

void kv_log(enum kv_log_level level, const char *topic, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* In the form that struct kv_core_config wants. */
void kv_log_sink(void *ctx, int level, const char *topic, const char *text);

#endif
