/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_child.h - other processes for one test: they say that they are ready, and wait until they
 * are told to go on or are killed.
 */
#ifndef KV_TESTS_SEGMENT_CHILD_H
#define KV_TESTS_SEGMENT_CHILD_H

#include <sys/types.h>

#include "core/coord.h"

struct child {
	pid_t pid;
	int from, to;
};

/* Joins the segment of the test's place, or fails the test. */
struct kv_coord *join(void);
/* Runs body in a child and returns when it is ready. */
struct child start(int (*body)(struct child *self));
/* In the child. */
void ready_and_wait(struct child *self);
/* A body: joins, takes the segment's mutex, and lets go of it when it is told to go on. */
int body_hold_the_mutex(struct child *self);
/* Waits for its end; its status. */
int reap(struct child *child);
/* Tells it to go on and waits for its end. */
int finish(struct child *child);
void kill_child(struct child *child);

#endif
