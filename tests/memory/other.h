/* SPDX-License-Identifier: Apache-2.0 */
/*
 * other.h - for programs that are two processes: the second one is a child that is forked before
 * anything else happens, and the two wait for each other.
 */
#ifndef KV_TESTS_MEMORY_OTHER_H
#define KV_TESTS_MEMORY_OTHER_H

#include <unistd.h>

#include "tests/memory/check.h"

static int to_other, from_other;

/* The child's pid, 0 in the child, -1 on an error. */
static inline pid_t fork_other(void)
{
	int forth[2], back[2];
	pid_t pid;

	if (pipe(forth) || pipe(back) || (pid = fork()) < 0)
		return -1;
	to_other = pid ? forth[1] : back[1];
	from_other = pid ? back[0] : forth[0];
	close(pid ? forth[0] : forth[1]);
	close(pid ? back[1] : back[0]);
	return pid;
}

/* Both are here. */
static inline void meet(void)
{
	char byte = 'x';

	CHECK(write(to_other, &byte, 1) == 1);
	CHECK(read(from_other, &byte, 1) == 1);
}

#endif
