/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - one line, one write(2); see log.h. */
#include "shim/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOPICS_MAX 16
#define TOPIC_BYTES 16
#define WRITE_WAIT_MS 100 /* a reader that does not read costs a line, not the program */

struct topic_level {
	char topic[TOPIC_BYTES];
	int level;
};

/* Immutable once other threads log. */
static struct {
	int everything;
	unsigned n_topics;
	struct topic_level topics[TOPICS_MAX];
	uint64_t lines;
} levels = {.everything = KV_LOG_INFO, .lines = 200};

static _Atomic uint64_t lines_used; /* atomic: relaxed, a counter */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static bool parse_level(const char *text, size_t length, int *ret_level)
{
	if (length == 3 && strncmp(text, "off", 3) == 0) {
		*ret_level = KV_LOG_OFF;
		return true;
	}
	for (int i = KV_LOG_ERROR; i <= KV_LOG_DEBUG; i++)
		if (strlen(level_names[i]) == length &&
			strncmp(text, level_names[i], length) == 0) {
			*ret_level = i;
			return true;
		}
	return false;
}

static bool is_topic(const char *text, size_t length)
{
	if (length == 0 || length >= TOPIC_BYTES)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(text[i] >= 'a' && text[i] <= 'z') && text[i] != '_')
			return false;
	return true;
}

static int parse(const char *text, int *everything, struct topic_level *topics, unsigned *n_topics)
{
	*everything = KV_LOG_INFO;
	*n_topics = 0;
	while (text && *text) {
		size_t length = strcspn(text, ",");
		const char *colon = memchr(text, ':', length);
		int level;

		if (!colon) {
			if (!parse_level(text, length, everything))
				return -EINVAL;
		} else {
			size_t word = (size_t)(colon - text);

			if (!is_topic(text, word) ||
				!parse_level(colon + 1, length - word - 1, &level) ||
				*n_topics == TOPICS_MAX)
				return -EINVAL;
			memset(topics[*n_topics].topic, 0, TOPIC_BYTES);
			memcpy(topics[*n_topics].topic, text, word);
			topics[(*n_topics)++].level = level;
		}
		text += length;
		if (*text == ',' && *++text == '\0')
			return -EINVAL;
	}
	return 0;
}

int kv_log_check_levels(const char *text)
{
	struct topic_level topics[TOPICS_MAX];
	unsigned n_topics;
	int everything;

	return parse(text, &everything, topics, &n_topics);
}

int kv_log_set_levels(const char *text)
{
	int error = kv_log_check_levels(text);

	if (!error)
		parse(text, &levels.everything, levels.topics, &levels.n_topics);
	return error;
}

void kv_log_set_lines(uint64_t lines)
{
	levels.lines = lines;
}

static int level_of(const char *topic)
{
	for (unsigned i = levels.n_topics; i-- > 0;)
		if (strcmp(levels.topics[i].topic, topic) == 0)
			return levels.topics[i].level;
	return levels.everything;
}

/*
 * write(2) to a pipe without a reader raises SIGPIPE, which would end a program that never writes
 * to stderr itself. The signal is blocked for the write and, if it was ours, taken away.
 */
static void write_line(const char *line, size_t length)
{
	const struct timespec no_wait = {0, 0};
	struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
	sigset_t sigpipe, before, pending;
	bool pending_before;
	ssize_t written;

	if (poll(&ready, 1, WRITE_WAIT_MS) != 1 || !(ready.revents & POLLOUT))
		return;
	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigemptyset(&pending);
	sigpending(&pending);
	pending_before = sigismember(&pending, SIGPIPE) == 1;
	if (pthread_sigmask(SIG_BLOCK, &sigpipe, &before) != 0)
		return;
	written = write(STDERR_FILENO, line, length);
	if (written < 0 && errno == EPIPE && !pending_before)
		while (sigtimedwait(&sigpipe, NULL, &no_wait) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Control characters would let a value that came from outside forge lines. */
static void make_printable(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = '?';
}

void kv_log(enum kv_log_level level, const char *topic, const char *format, ...)
{
	char line[KV_LOG_LINE_MAX];
	int saved = errno;
	int length, more;
	uint64_t used;
	va_list args;

	if ((int)level > level_of(topic))
		goto out;
	used = atomic_fetch_add_explicit(&lines_used, 1, memory_order_relaxed);
	if (used > levels.lines)
		goto out;
	length = snprintf(line, sizeof(line), "kvshim[%d] %s: ", (int)getpid(), topic);
	if (length < 0 || length >= (int)sizeof(line) - 8)
		goto out;
	if (used == levels.lines) {
		more = snprintf(line + length, sizeof(line) - (size_t)length,
			"no more lines from here (KVSHIM_LOG_LINES=%llu)",
			(unsigned long long)levels.lines);
	} else {
		va_start(args, format);
		more = vsnprintf(line + length, sizeof(line) - (size_t)length, format, args);
		va_end(args);
	}
	if (more < 0)
		goto out;
	length += more;
	if (length > (int)sizeof(line) - 1) {
		length = sizeof(line) - 1;
		memcpy(line + length - 3, "...", 3);
	}
	make_printable(line, (size_t)length);
	line[length++] = '\n';
	write_line(line, (size_t)length);
out:
	errno = saved;
}

void kv_log_sink(void *ctx, int level, const char *topic, const char *text)
{
	kv_log((enum kv_log_level)level, topic, "%s", text);
}
