/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_deaths.c - a process is killed at each labelled point of the coordinator, among two others
 * that go on: nothing stays charged, promised or locked, and nothing is left.
 *
 * tests/chaos does the same to whole programs, at random; here each point is reached for certain.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/ledger_member.h"
#include "tests/shim/segment_child.h"
#include "tests/shim/segment_place.h"

#define LEASE (4 * PAGE)

extern void (*kv_coord_point_hook)(const char *name);
void (*kv_coord_point_hook)(const char *name);

/* All that there are: docs/races.md and the points in core are compared by a test. */
static const char *const points[] = {
	"claim: marked",
	"claim: owner written",
	"claim: active, still being written",
	"promise: made, sums are old",
	"charge: locked",
	"charge: raised, sums are old",
	"limits: half written",
	"post: written, not asked",
	"answer: result written",
	"wait: begun",
	"decision: written, not numbered",
	"wait: posted, not rung",
	"wait: granted",
	"grant: taken, not charged",
	"uncharge: lease not given back yet",
	"free: slot free, account not yet",
};
/* Of one who gives to somebody who waits. */
static const char *const giving_points[] = {
	"grant: given up, nobody's yet",
	"grant: given, sums are old",
};
#define N_POINTS (sizeof(points) / sizeof(points[0]))

static const char *fatal; /* the point at which a child is to die */
static int fatal_signal = SIGKILL;

static void at_point(const char *name)
{
	if (fatal && strcmp(name, fatal) == 0)
		raise(fatal_signal);
}

/* Everything that a member can do, in an order in which each point is passed. */
static int body_live(struct child *self)
{
	struct kv_coord_limits limits = {.weight = 200};
	struct kv_coord_asked asked;
	struct member m;
	uint32_t ticket, me;

	kv_coord_point_hook = at_point;
	if (write(self->to, "r", 1) != 1) /* it may not get as far as to be ready */
		return 1;
	m = member(LEASE, LONG_NS);
	me = kv_coord_slot_index(m.coord);
	if (promise(&m, 8 * PAGE) || charge(&m, PAGE))
		return 2;
	if (kv_coord_set_limits(m.coord, 0, &limits, KV_COORD_LIMIT_WEIGHT))
		return 3;
	if (kv_coord_post(m.coord, me, KV_COORD_EVICT, PAGE, NULL, &ticket))
		return 4;
	if (!kv_coord_next(m.coord, &asked))
		return 5;
	kv_coord_answer(m.coord, &asked, 0);
	/* more than is free: the idle one is asked, and gives */
	if (wait_for(&m, 40 * PAGE) || charge(&m, 40 * PAGE))
		return 6;
	uncharge(&m, 41 * PAGE);
	kv_coord_leave(m.coord);
	return 0;
}

static void die_at(const char *point)
{
	struct member idle = member(0, 0), busy = member(0, LONG_NS);
	uint64_t repairs;
	struct child child;
	struct agent agent;
	int status;

	cr_assert_eq(charge(&idle, DEVICE - 20 * PAGE), 0);
	cr_assert_eq(promise(&idle, DEVICE / 2), 0);
	kv_coord_put_activity(idle.coord, KV_COORD_IDLE);
	agent_start(&agent, &idle, 0);
	fatal = point;
	child = start(body_live);
	fatal = NULL;
	status = reap(&child);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "'%s' was not reached: %d",
		point, status);

	/* the others get all that there is, and can promise it */
	repairs = kv_coord_segment(busy.coord)->n_repairs;
	cr_assert_eq(wait_for(&busy, DEVICE), 0, "'%s'", point);
	cr_assert_eq(charge(&busy, DEVICE), 0, "'%s'", point);
	cr_assert_eq(promise(&busy, DEVICE / 2), 0, "'%s'", point);
	cr_assert_eq(promise(&busy, PAGE), -ENOMEM, "'%s'", point);
	agent_stop(&agent);
	check(&busy);
	cr_assert_leq(kv_coord_segment(busy.coord)->n_repairs, repairs + 1);
	cr_assert_eq(kv_coord_segment(busy.coord)->charged_total, DEVICE, "'%s'", point);
	uncharge(&busy, DEVICE);
	kv_coord_leave(idle.coord);
	kv_coord_leave(busy.coord);
	cr_assert_neq(access(place.path, F_OK), 0, "'%s': the segment was left", point);
}

TestSuite(deaths, .init = place_make, .fini = place_remove, .timeout = 240);

Test(deaths, at_any_point_leave_nothing_charged_promised_or_locked)
{
	for (unsigned i = 0; i < N_POINTS; i++)
		die_at(points[i]);
}

static int body_give(struct child *self)
{
	struct kv_coord_asked asked;
	struct member m;

	kv_coord_point_hook = at_point;
	m = member(0, 0);
	if (charge(&m, DEVICE))
		return 1;
	kv_coord_put_activity(m.coord, KV_COORD_IDLE);
	if (write(self->to, "r", 1) != 1)
		return 1;
	while (!kv_coord_next(m.coord, &asked))
		usleep(1000);
	uncharge(&m, asked.bytes);
	return 2;
}

Test(deaths, of_one_who_gives_leave_what_it_gave_and_what_it_had_to_who_waits)
{
	for (unsigned i = 0; i < 2; i++) {
		struct child child;
		struct member busy;
		int status;

		fatal = giving_points[i];
		child = start(body_give);
		fatal = NULL;
		busy = member(0, LONG_NS);
		cr_assert_eq(wait_for(&busy, 10 * PAGE), 0, "'%s'", giving_points[i]);
		status = reap(&child);
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			"'%s' was not reached: %d", giving_points[i], status);
		cr_assert_eq(charge(&busy, 10 * PAGE), 0);
		cr_assert_eq(wait_for(&busy, DEVICE - 10 * PAGE), 0);
		cr_assert_eq(charge(&busy, DEVICE - 10 * PAGE), 0);
		check(&busy);
		cr_assert_eq(kv_coord_segment(busy.coord)->charged_total, DEVICE);
		kv_coord_leave(busy.coord);
		cr_assert_neq(access(place.path, F_OK), 0);
	}
}

/* The first member of all: there is no segment yet, or nobody else in it. */
Test(deaths, of_the_only_member_leave_a_segment_that_the_next_one_uses_and_removes)
{
	for (unsigned i = 0; i < 3; i++) {
		struct child child;
		struct member m;
		int status;

		fatal = points[i];
		child = start(body_live);
		fatal = NULL;
		status = reap(&child);
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		cr_assert_eq(access(place.path, F_OK), 0);
		m = member(0, 0);
		cr_assert_eq(kv_coord_slot_index(m.coord), 0u, "'%s'", points[i]);
		cr_assert_eq(charge(&m, DEVICE), 0);
		check(&m);
		kv_coord_leave(m.coord);
		cr_assert_neq(access(place.path, F_OK), 0);
	}
}

/* Stopped with the mutex in hand, it is waited for no longer than the bound; nobody is hurt when it
 * goes on. */
Test(deaths, are_not_taken_for_granted_while_a_process_is_only_stopped)
{
	struct member idle = member(0, 0);
	struct kv_coord *late;
	struct child child;
	struct agent agent;
	int status;

	cr_assert_eq(charge(&idle, DEVICE - 20 * PAGE), 0);
	kv_coord_put_activity(idle.coord, KV_COORD_IDLE);
	agent_start(&agent, &idle, 0);
	fatal = "charge: locked";
	fatal_signal = SIGSTOP;
	child = start(body_live);
	fatal = NULL;
	cr_assert_eq(waitpid(child.pid, &status, WUNTRACED), child.pid);
	cr_assert(WIFSTOPPED(status));
	cr_assert_eq(place_join_within(10000000, &late, NULL, 0), -ETIMEDOUT);
	/* it decides alone, and says so to those who ask later */
	cr_assert_eq(promise(&idle, PAGE), -EAGAIN);
	idle.ledger.ops->promised(idle.ledger.ctx, DEVICE);
	cr_assert_eq(kv_coord_segment(idle.coord)->slots[1].state, (uint32_t)KV_COORD_ACTIVE);
	/* it stops again where it charges again */
	do {
		kill(child.pid, SIGCONT);
		cr_assert_eq(waitpid(child.pid, &status, WUNTRACED), child.pid);
	} while (WIFSTOPPED(status));
	cr_assert_eq(status, 0);
	agent_stop(&agent);
	cr_assert_eq(promise(&idle, PAGE), -ENOMEM);
	idle.ledger.ops->unpromise(idle.ledger.ctx, DEVICE);
	cr_assert_eq(promise(&idle, DEVICE), 0);
	check(&idle);
	kv_coord_leave(idle.coord);
	cr_assert_neq(access(place.path, F_OK), 0);
}
