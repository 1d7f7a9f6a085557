/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - see record.h. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stat/record.h"
#include "stat/view.h"

struct recording {
	const struct kv_record *record;
	FILE *out;
	bool failed; /* said once */
	pid_t child; /* 0: none */
	int status;  /* of the child, once it has ended */
	bool ended;
	sigset_t taken, before;
};

static void take_sample(struct recording *recording)
{
	struct kv_stat_clock clock = kv_stat_clock_now();
	struct kv_stat stat;

	if (recording->failed)
		return;
	if (kv_stat_read(recording->record->directory, &clock, &stat) != 0) {
		fprintf(stderr, "%s: out of memory, a sample is missing\n", recording->record->who);
		return;
	}
	kv_view_csv(&stat, recording->out);
	kv_stat_free(&stat);
	if (fflush(recording->out) != 0) {
		fprintf(stderr, "%s: %s: %s\n", recording->record->who, recording->record->file,
			strerror(errno));
		recording->failed = true;
	}
}

static int start_command(struct recording *recording)
{
	char **command = recording->record->command;
	int error;

	if (!command)
		return 0;
	recording->child = fork();
	if (recording->child < 0) {
		fprintf(stderr, "%s: cannot start a process: %s\n", recording->record->who,
			strerror(errno));
		return 1;
	}
	if (recording->child == 0) {
		sigprocmask(SIG_SETMASK, &recording->before, NULL);
		execvp(command[0], command);
		error = errno;
		fprintf(stderr, "%s: %s: %s\n", recording->record->who, command[0],
			strerror(error));
		_exit(error == ENOENT ? 127 : 126);
	}
	return 0;
}

/* The child's exit status, if it has ended. */
static bool look_after_child(struct recording *recording)
{
	int status;

	if (!recording->child || waitpid(recording->child, &status, WNOHANG) != recording->child)
		return false;
	recording->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return true;
}

static void take_signal(struct recording *recording, int signal)
{
	if (signal == SIGCHLD)
		recording->ended |= look_after_child(recording);
	else if (!recording->child)
		recording->ended = true;
	else if (signal == SIGTERM)
		kill(recording->child, SIGTERM);
	/* a terminal sends SIGINT to the command too: it decides */
}

/* Until a moment of CLOCK_MONOTONIC, or the end of the recording. */
static void wait_until(struct recording *recording, uint64_t due_ns)
{
	struct timespec rest;
	uint64_t now_ns;
	int signal;

	while (!recording->ended && (now_ns = kv_stat_clock_now().now_ns) < due_ns) {
		rest.tv_sec = (time_t)((due_ns - now_ns) / 1000000000);
		rest.tv_nsec = (long)((due_ns - now_ns) % 1000000000);
		signal = sigtimedwait(&recording->taken, NULL, &rest);
		if (signal > 0)
			take_signal(recording, signal);
	}
}

static void record_all(struct recording *recording)
{
	const struct kv_record *record = recording->record;
	uint64_t start_ns = kv_stat_clock_now().now_ns;

	kv_view_csv_header(recording->out);
	for (uint64_t i = 0; !recording->ended && (!record->count || i < record->count); i++) {
		take_sample(recording);
		if (record->count && i + 1 == record->count)
			break;
		wait_until(recording, start_ns + (i + 1) * record->interval_ms * 1000000);
	}
	/* the last word of a command is what it left behind */
	if (recording->ended && recording->child)
		take_sample(recording);
	while (recording->child && !recording->ended)
		wait_until(recording, UINT64_MAX / 2);
}

int kv_record_run(const struct kv_record *record)
{
	struct recording recording = {.record = record};
	int status = 1;

	recording.out = fopen(record->file, "we");
	if (!recording.out) {
		fprintf(stderr, "%s: %s: %s\n", record->who, record->file, strerror(errno));
		return 1;
	}
	sigemptyset(&recording.taken);
	sigaddset(&recording.taken, SIGCHLD);
	sigaddset(&recording.taken, SIGINT);
	sigaddset(&recording.taken, SIGTERM);
	sigprocmask(SIG_BLOCK, &recording.taken, &recording.before);
	if (start_command(&recording) == 0) {
		record_all(&recording);
		status = recording.failed ? 1 : recording.status;
	}
	sigprocmask(SIG_SETMASK, &recording.before, NULL);
	if (fclose(recording.out) != 0 && !recording.failed) {
		fprintf(stderr, "%s: %s: %s\n", record->who, record->file, strerror(errno));
		status = 1;
	}
	return status;
}
