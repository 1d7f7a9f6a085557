/* SPDX-License-Identifier: Apache-2.0 */
/*
 * points.c - death at the labelled points of the coordinator, in a libkvshim.so that has them
 * compiled in.
 *
 * CHAOS_POINTS=N:SEED[:LABEL] in the environment: at every N-th point on average (of that label
 * only) the process kills itself, or, one time in four, stops itself until somebody continues it.
 * CHAOS_LOG=path: the labels at which that happened are appended, one per line.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void (*kv_coord_point_hook)(const char *name);
void (*kv_coord_point_hook)(const char *name);

static uint64_t state;
static unsigned long one_in;
static const char *label;
static int log_fd = -1;

static void at_point(const char *name)
{
	char line[128];
	int n;

	if (label && strcmp(label, name) != 0)
		return;
	/* several threads may meet here: any number will do */
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	if (state % one_in)
		return;
	n = snprintf(line, sizeof(line), "%s\n", name);
	if (log_fd >= 0 && n > 0 && write(log_fd, line, (size_t)n) < 0)
		return;
	raise(state >> 32 & 3 ? SIGKILL : SIGSTOP);
}

__attribute__((constructor)) static void read_environment(void)
{
	const char *text = getenv("CHAOS_POINTS"), *log = getenv("CHAOS_LOG");
	char *end;

	if (!text)
		return;
	one_in = strtoul(text, &end, 10);
	if (!one_in || *end != ':')
		return;
	state = (strtoull(end + 1, &end, 10) + 1) * 0x9e3779b97f4a7c15ull | 1;
	if (*end == ':')
		label = end + 1;
	if (log)
		log_fd = open(log, O_WRONLY | O_APPEND | O_CLOEXEC);
	kv_coord_point_hook = at_point;
}
