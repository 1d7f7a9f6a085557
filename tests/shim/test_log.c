/* SPDX-License-Identifier: Apache-2.0 */
/* test_log.c - lines on stderr: whole, capped, and harmless to the program that shares it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/log.h"

/* stderr becomes a pipe with room for text; drain() gives what was written and restores it. */
static int reader, before;

static void catch_stderr(void)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	before = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	reader = ends[0];
}

static size_t drain(char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;

	dup2(before, STDERR_FILENO);
	close(before);
	while (used < size - 1 && (n = read(reader, text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(reader);
	return used;
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

Test(log, a_line_has_prefix_pid_and_topic)
{
	char text[1024], expected[64];

	catch_stderr();
	kv_log(KV_LOG_WARN, "coord", "number %d", 7);
	drain(text, sizeof(text));
	snprintf(expected, sizeof(expected), "kvshim[%d] coord: number 7\n", (int)getpid());
	cr_assert_str_eq(text, expected);
}

Test(log, a_long_line_is_cut_and_a_forged_newline_is_not_passed_on)
{
	char text[2048], words[1000];

	memset(words, 'w', sizeof(words));
	words[10] = '\n';
	words[20] = 27;
	words[sizeof(words) - 1] = '\0';
	catch_stderr();
	kv_log(KV_LOG_WARN, "coord", "%s", words);
	cr_assert_leq(drain(text, sizeof(text)), KV_LOG_LINE_MAX);
	cr_assert_eq(count_lines(text), 1u);
	cr_assert_null(strchr(text, 27));
	cr_assert_not_null(strstr(text, "...\n"));
}

Test(log, lines_are_capped_in_number_and_the_last_one_says_so)
{
	char text[4096];

	kv_log_set_lines(5);
	catch_stderr();
	for (int i = 0; i < 100; i++)
		kv_log(KV_LOG_WARN, "coord", "line %d", i);
	drain(text, sizeof(text));
	cr_assert_eq(count_lines(text), 6u);
	cr_assert_not_null(strstr(text, "KVSHIM_LOG_LINES"));
}

Test(log, levels_are_kept_per_topic_and_the_later_entry_wins)
{
	char text[1024];

	cr_assert_eq(kv_log_set_levels("warn,coord:debug,core:off,launch:info,launch:error"), 0);
	catch_stderr();
	kv_log(KV_LOG_DEBUG, "coord", "yes1");
	kv_log(KV_LOG_ERROR, "core", "no1");
	kv_log(KV_LOG_WARN, "launch", "no2");
	kv_log(KV_LOG_ERROR, "launch", "yes2");
	kv_log(KV_LOG_INFO, "other", "no3");
	kv_log(KV_LOG_WARN, "other", "yes3");
	drain(text, sizeof(text));
	cr_assert_eq(count_lines(text), 3u, "%s", text);
	cr_assert_null(strstr(text, "no"));
}

Test(log, malformed_levels_change_nothing)
{
	char text[256];

	cr_assert_eq(kv_log_set_levels("off"), 0);
	cr_assert_eq(kv_log_set_levels("coord:debug,x"), -EINVAL);
	catch_stderr();
	kv_log(KV_LOG_DEBUG, "coord", "never");
	cr_assert_eq(drain(text, sizeof(text)), 0u);
}

Test(log, nothing_is_ever_written_to_stdout)
{
	char text[64];
	int ends[2], out = dup(STDOUT_FILENO);
	ssize_t n;

	fflush(stdout);
	cr_assert_eq(pipe(ends), 0);
	dup2(ends[1], STDOUT_FILENO);
	close(ends[1]);
	catch_stderr();
	kv_log(KV_LOG_ERROR, "coord", "text");
	dup2(out, STDOUT_FILENO);
	n = read(ends[0], text, sizeof(text));
	drain(text, sizeof(text));
	cr_assert_eq(n, 0);
}

Test(log, a_reader_that_is_gone_does_not_end_the_program)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		int ends[2];

		if (pipe(ends) != 0)
			_exit(3);
		signal(SIGPIPE, SIG_DFL);
		close(ends[0]);
		dup2(ends[1], STDERR_FILENO);
		errno = 1234;
		kv_log(KV_LOG_ERROR, "coord", "to nobody");
		_exit(errno == 1234 ? 0 : 4);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

Test(log, a_closed_stderr_is_survived)
{
	int kept = dup(STDERR_FILENO);

	close(STDERR_FILENO);
	kv_log(KV_LOG_ERROR, "coord", "to nowhere");
	dup2(kept, STDERR_FILENO);
	cr_assert(1, "we are still here");
}
