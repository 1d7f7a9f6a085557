/* SPDX-License-Identifier: Apache-2.0 */
/* segment_child.c - see segment_child.h. */
#include "tests/shim/segment_child.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/segment_place.h"

struct kv_coord *join(void)
{
	struct kv_coord *coord = NULL;
	char text[128];
	int error = place_join(&coord, text, sizeof(text));

	cr_assert_eq(error, 0, "%s %s", strerror(-error), text);
	return coord;
}

struct child start(int (*body)(struct child *self))
{
	struct child child;
	int up[2], down[2];
	char byte;

	cr_assert_eq(pipe(up), 0);
	cr_assert_eq(pipe(down), 0);
	child.pid = fork();
	cr_assert_geq(child.pid, 0);
	if (child.pid == 0) {
		close(up[0]);
		close(down[1]);
		child.from = down[0];
		child.to = up[1];
		_exit(body(&child));
	}
	close(up[1]);
	close(down[0]);
	child.from = up[0];
	child.to = down[1];
	cr_assert_eq(read(child.from, &byte, 1), 1, "the child did not get ready");
	return child;
}

void ready_and_wait(struct child *self)
{
	char byte = 'r';

	if (write(self->to, &byte, 1) == 1)
		(void)!read(self->from, &byte, 1);
}

int reap(struct child *child)
{
	int status;

	cr_assert_eq(waitpid(child->pid, &status, 0), child->pid);
	close(child->to);
	close(child->from);
	return status;
}

/* A byte, not the end of the pipe: children that were started later hold a copy of its other end.
 */
int finish(struct child *child)
{
	cr_assert_eq(write(child->to, "g", 1), 1);
	return reap(child);
}

void kill_child(struct child *child)
{
	kill(child->pid, SIGKILL);
	reap(child);
}

int body_hold_the_mutex(struct child *self)
{
	struct kv_coord *coord;

	if (place_join(&coord, NULL, 0) != 0 || kv_coord_lock(coord) != 0)
		return 1;
	ready_and_wait(self);
	kv_coord_unlock(coord);
	kv_coord_leave(coord);
	return 0;
}
