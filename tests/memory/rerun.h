/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rerun.h - programs that run themselves in another environment, and what the software GPU reported
 * of a run.
 */
#ifndef MEMORY_RERUN_H
#define MEMORY_RERUN_H

#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Runs "self run argument". Exit status; 128 and more: killed, or could not be started. */
static inline int rerun(const char *self, const char *argument)
{
	char *argv[] = {(char *)self, (char *)"run", (char *)argument, NULL};
	int status = 0;
	pid_t pid;

	if (posix_spawn(&pid, self, NULL, NULL, argv, environ) != 0 ||
		waitpid(pid, &status, 0) != pid)
		return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The same, with the report of the software GPU, NUL-terminated. False: the run failed. */
static inline bool rerun_report(
	const char *self, const char *argument, char *ret_report, size_t size)
{
	char path[4096];
	size_t n = 0;
	int status;
	FILE *f;

	snprintf(path, sizeof(path), "%s.%d", self, (int)getpid());
	setenv("SIMGPU_REPORT", path, 1);
	status = rerun(self, argument);
	unsetenv("SIMGPU_REPORT");
	f = fopen(path, "r");
	if (f) {
		n = fread(ret_report, 1, size - 1, f);
		fclose(f);
		unlink(path);
	}
	ret_report[n] = '\0';
	return status == 0 && n > 0;
}

/* How often the entry point was called. */
static inline unsigned long calls_of(const char *report, const char *name)
{
	char key[80];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\": ", name);
	at = strstr(report, key);
	return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

#endif
