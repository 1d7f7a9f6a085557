/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_grant.c - what is given because somebody waits for it goes to that one, and to nobody who
 * comes between; and what becomes of it when that one dies, stops or gives up.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/coord_grant.h"
#include "tests/shim/ledger_member.h"
#include "tests/shim/segment_child.h"
#include "tests/shim/segment_place.h"

#define WAITED (10 * PAGE)

TestSuite(grant, .init = place_make, .fini = place_remove, .timeout = 240);

static bool has_asked(struct member *m)
{
	return kv_coord_grant_is_asked(m->coord);
}

static bool has_it_all(struct member *m)
{
	return account(m)->charged + account(m)->granted == WAITED;
}

static void *wait_thread(void *arg)
{
	return (void *)(intptr_t)wait_for(arg, WAITED);
}

/* One that holds the whole device and does nothing. */
static struct member full(void)
{
	struct member m = member(0, 0);

	cr_assert_eq(charge(&m, DEVICE), 0);
	kv_coord_put_activity(m.coord, KV_COORD_IDLE);
	return m;
}

Test(grant, what_is_given_to_one_who_waits_a_third_cannot_have)
{
	struct member a = full(), b = member(0, LONG_NS), c = member(0, 0);
	pthread_t thread;
	void *result;

	cr_assert_eq(pthread_create(&thread, NULL, wait_thread, &b), 0);
	polled(has_asked, &a);
	for (int i = 0; i < 10; i++) {
		uncharge(&a, PAGE);
		cr_assert_eq(charge(&c, PAGE), -ENOMEM, "page %d", i);
		cr_assert_eq(wait_for(&c, PAGE), -ENOMEM);
		check(&c);
	}
	pthread_join(thread, &result);
	cr_assert_null(result);
	cr_assert_eq(account(&b)->charged, WAITED);
	cr_assert_eq(account(&b)->granted, 0u);
	/* more than was asked for is for all */
	uncharge(&a, PAGE);
	cr_assert_eq(charge(&c, PAGE), 0);
	check(&c);
}

Test(grant, who_waits_longest_is_served_first)
{
	struct member a = full(), b = member(0, LONG_NS), c = member(0, LONG_NS);
	pthread_t threads[2];

	cr_assert_eq(pthread_create(&threads[0], NULL, wait_thread, &b), 0);
	polled(has_asked, &a);
	cr_assert_eq(pthread_create(&threads[1], NULL, wait_thread, &c), 0);
	while (!(account(&a)->asked_by[0] >> kv_coord_slot_index(c.coord) & 1))
		usleep(1000);
	uncharge(&a, WAITED);
	polled(has_it_all, &b);
	cr_assert_eq(account(&c)->charged + account(&c)->granted, 0u);
	uncharge(&a, WAITED);
	polled(has_it_all, &c);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	check(&a);
}

/* Waits for as long as its parent likes; busy in the eyes of others. */
static int body_wait(struct child *self)
{
	struct kv_coord_ledger_config config = {.wait_ns = LONG_NS};
	struct kv_ledger_wait wait = {.bytes = WAITED, .start_ns = now_ns()};
	struct kv_ledger ledger;
	struct kv_coord *coord;

	if (place_join(&coord, NULL, 0) != 0 || kv_coord_ledger_new(coord, &config, &ledger) != 0 ||
		write(self->to, "r", 1) != 1)
		return 1;
	return ledger.ops->wait(ledger.ctx, &wait) != 0;
}

/* A child that waits, and stands still; what is given to it meanwhile. */
static struct child give_to_stopped(struct member *a, struct kv_coord_account **ret_account)
{
	struct child child = start(body_wait);
	uint32_t slot;

	polled(has_asked, a);
	cr_assert_eq(kv_coord_find_pid(a->coord, child.pid, &slot), 0);
	*ret_account = &kv_coord_segment(a->coord)->accounts[slot];
	/* stopped between two turns: it does not hold the mutex */
	cr_assert_eq(kv_coord_lock(a->coord), 0);
	cr_assert_eq(kill(child.pid, SIGSTOP), 0);
	cr_assert_eq(waitpid(child.pid, NULL, WUNTRACED), child.pid);
	kv_coord_unlock(a->coord);
	uncharge(a, WAITED);
	cr_assert_eq((*ret_account)->granted, WAITED);
	cr_assert_eq(kv_coord_segment(a->coord)->charged_total, DEVICE);
	check(a);
	return child;
}

Test(grant, one_that_is_killed_leaves_what_was_granted_to_it)
{
	struct member a = full(), c = member(0, LONG_NS);
	struct kv_coord_account *theirs;
	struct child child = give_to_stopped(&a, &theirs);

	kill_child(&child);
	cr_assert_eq(wait_for(&c, WAITED), 0);
	cr_assert_eq(charge(&c, WAITED), 0);
	cr_assert_eq(theirs->granted, 0u);
	check(&c);
}

Test(grant, one_that_is_stopped_keeps_it_for_a_while_and_asks_anew_when_it_goes_on)
{
	struct member a = full(), c = member(0, 0);
	struct kv_coord_account *theirs;
	struct child child = give_to_stopped(&a, &theirs);
	int error = -ENOMEM;

	for (int i = 0; i < 6000 && error; i++) {
		error = charge(&c, WAITED);
		usleep(10000);
	}
	cr_assert_eq(error, 0);
	cr_assert_eq(theirs->granted, 0u);
	check(&c);
	/* a is asked again, and gives again */
	cr_assert_eq(kill(child.pid, SIGCONT), 0);
	uncharge(&a, WAITED);
	cr_assert_eq(reap(&child), 0);
	check(&c);
}

Test(grant, one_that_gives_up_uses_what_it_got_and_leaves_the_rest)
{
	struct member a = full(), b = member(0, 300000000), c = member(0, 0);
	pthread_t thread;
	void *result;

	cr_assert_eq(pthread_create(&thread, NULL, wait_thread, &b), 0);
	polled(has_asked, &a);
	uncharge(&a, 4 * PAGE);
	pthread_join(thread, &result);
	cr_assert_eq((int)(intptr_t)result, -ENOMEM);
	cr_assert_eq(account(&b)->granted, 0u);
	cr_assert_eq(charge(&b, 4 * PAGE), 0);
	cr_assert_eq(charge(&b, PAGE), -ENOMEM);
	/* nobody waits: what is given now is for all */
	uncharge(&a, PAGE);
	cr_assert_eq(charge(&c, PAGE), 0);
	check(&c);
}

Test(grant, without_the_mutex_what_is_given_is_free_and_nobody_waits_for_it)
{
	struct member a = full(), b = member(0, LONG_NS);
	struct child child;
	pthread_t thread;
	void *result;

	cr_assert_eq(pthread_create(&thread, NULL, wait_thread, &b), 0);
	polled(has_asked, &a);
	child = start(body_hold_the_mutex);
	for (int i = 0; i < 10; i++)
		uncharge(&a, PAGE);
	cr_assert_eq(account(&a)->charged, DEVICE - WAITED);
	cr_assert_eq(account(&b)->granted, 0u);
	cr_assert_eq(finish(&child), 0);
	pthread_join(thread, &result);
	cr_assert_null(result);
	check(&a);
}

Test(grant, what_was_waited_for_is_not_given_away_before_it_is_used)
{
	struct member a = full(), b = member(0, LONG_NS), c = member(0, 0);
	struct agent agent;

	agent_start(&agent, &a, DEVICE - WAITED);
	cr_assert_eq(wait_for(&b, WAITED), 0);
	agent_stop(&agent);
	/* c asks b for what it has in hand */
	cr_assert_eq(wait_for(&c, WAITED), -ENOMEM);
	kv_coord_ledger_settle(b.coord);
	cr_assert_eq(charge(&c, PAGE), -ENOMEM);
	cr_assert_eq(charge(&b, WAITED), 0);
	check(&c);
}

Test(grant, memory_put_aside_is_for_no_page_and_for_nobody_else)
{
	struct member a = member(0, 0), b = member(0, LONG_NS), c = member(0, 0);

	cr_assert_eq(charge(&a, DEVICE - WAITED), 0);
	cr_assert_eq(wait_for(&b, WAITED), 0);
	b.ledger.ops->put_aside(b.ledger.ctx, WAITED);
	cr_assert_eq(account(&b)->charged, WAITED);
	cr_assert_eq(account(&b)->held, 0u);
	cr_assert_eq(charge(&b, PAGE), -ENOMEM);
	cr_assert_eq(charge(&c, PAGE), -ENOMEM);
	kv_coord_ledger_settle(b.coord);
	cr_assert_eq(charge(&c, PAGE), -ENOMEM);
	/* the native memory is there, and counted as such: still no room for others */
	account(&b)->native = WAITED;
	b.ledger.ops->put_aside(b.ledger.ctx, -(int64_t)WAITED);
	cr_assert_eq(account(&b)->charged, 0u);
	cr_assert_eq(charge(&c, PAGE), -ENOMEM);
	account(&b)->native = 0;
	cr_assert_eq(charge(&c, WAITED), 0);
	/* what is not there is not put aside either */
	b.ledger.ops->put_aside(b.ledger.ctx, WAITED);
	b.ledger.ops->put_aside(b.ledger.ctx, -(int64_t)WAITED);
	check(&c);
}

/* ---- who waits on another device ---- */

static bool yes(const void *arg)
{
	return arg != NULL;
}

Test(grant, a_wait_that_descends_counts_on_nobody_who_waits_elsewhere)
{
	struct member a = member(4 * PAGE, 0), b = member(0, LONG_NS);
	const struct kv_ledger_wait wait = {
		.bytes = WAITED, .start_ns = now_ns(), .descends = yes, .arg = &a};
	struct agent agent;

	cr_assert_eq(charge(&a, DEVICE), 0);
	kv_coord_put_activity(a.coord, KV_COORD_IDLE);
	a.ledger.ops->elsewhere(a.ledger.ctx, 1);
	cr_assert_eq(b.ledger.ops->wait(b.ledger.ctx, &wait), -EDEADLK);
	cr_assert_eq(reclaim_of(&a)->asked, 0u);
	/* what it has in hand it can give */
	uncharge(&a, 2 * PAGE);
	cr_assert_eq(account(&a)->charged, DEVICE);
	agent_start(&agent, &a, DEVICE);
	cr_assert_eq(b.ledger.ops->wait(b.ledger.ctx, &(struct kv_ledger_wait){.bytes = 2 * PAGE,
							      .start_ns = now_ns(),
							      .descends = yes,
							      .arg = &a}),
		0);
	agent_stop(&agent);
	/* a wait that does not descend may count on it, and so may this one when that is over */
	a.ledger.ops->elsewhere(a.ledger.ctx, -1);
	agent_start(&agent, &a, 0);
	cr_assert_eq(b.ledger.ops->wait(b.ledger.ctx, &wait), 0);
	agent_stop(&agent);
	check(&a);
}

static struct member rival; /* begins to wait elsewhere once it was asked */

static void *wait_elsewhere(void *arg)
{
	struct member *m = arg;

	while (!reclaim_of(m)->asked)
		usleep(1000);
	m->ledger.ops->elsewhere(m->ledger.ctx, 1);
	return NULL;
}

Test(grant, a_circle_that_closes_while_one_waits_opens_at_its_next_look)
{
	struct member b = member(0, LONG_NS);
	const struct kv_ledger_wait wait = {
		.bytes = WAITED, .start_ns = now_ns(), .descends = yes, .arg = &b};
	pthread_t thread;

	rival = full();
	cr_assert_eq(pthread_create(&thread, NULL, wait_elsewhere, &rival), 0);
	/* not after its bound, which is a minute: the suite's patience is no longer than four */
	cr_assert_eq(b.ledger.ops->wait(b.ledger.ctx, &wait), -EDEADLK);
	pthread_join(thread, NULL);
	cr_assert_eq(account(&b)->asked, 0u);
}

Test(grant, nobody_counts_on_the_dead_pages_of_one_who_waits_on_the_same_device)
{
	struct member a = member(0, 0), b = member(0, 0);
	struct kv_coord_limits limits = {.min = DEVICE};

	kv_coord_set_limits(a.coord, kv_coord_slot_index(a.coord), &limits, KV_COORD_LIMIT_MIN);
	cr_assert_eq(charge(&a, DEVICE), 0);
	account(&a)->dead = WAITED;
	account(&a)->asked = PAGE;
	cr_assert_eq(wait_for(&b, PAGE), -ENOMEM);
	cr_assert_eq(reclaim_of(&a)->asked, 0u);
	account(&a)->asked = 0;
	cr_assert_eq(wait_for(&b, PAGE), -ENOMEM);
	cr_assert_eq(reclaim_of(&a)->asked, 1u, "but it may be asked when it does not wait");
}

/* ---- while the mutex is not to be had ---- */

Test(grant, what_is_taken_while_the_mutex_is_not_to_be_had_is_charged_by_the_agents_next_turn)
{
	struct kv_coord_limits limits = {.max = WAITED};
	struct member m = member(0, 50000000), other = member(0, 0);
	struct child child;
	int error = -ENOMEM;

	kv_coord_set_limits(m.coord, kv_coord_slot_index(m.coord), &limits, KV_COORD_LIMIT_MAX);
	cr_assert_eq(charge(&m, PAGE), 0);
	cr_assert_eq(kv_coord_ledger_catch_up(m.coord), 0u);
	child = start(body_hold_the_mutex);
	for (int i = 0; i < 1000 && error; i++) {
		cr_assert_eq(wait_for(&m, 3 * PAGE), -ENOMEM);
		error = charge(&m, 3 * PAGE);
	}
	cr_assert_eq(error, 0);
	cr_assert_eq(account(&m)->blind, 1u);
	cr_assert_eq(account(&m)->charged, PAGE);
	/* its maximum holds all the same, also for who does not ask */
	for (int i = 0; i < 100; i++) {
		wait_for(&m, 7 * PAGE);
		cr_assert_eq(charge(&m, 7 * PAGE), -ENOMEM);
	}
	cr_assert_eq(kv_coord_ledger_catch_up(m.coord), 3 * PAGE, "not yet");
	cr_assert_eq(finish(&child), 0);
	/* without any page that is taken or given back */
	cr_assert_eq(kv_coord_ledger_catch_up(m.coord), 0u);
	cr_assert_eq(account(&m)->charged, 4 * PAGE);
	cr_assert_eq(account(&m)->blind, 0u);
	cr_assert_eq(charge(&other, DEVICE - 3 * PAGE), -ENOMEM);
	cr_assert_eq(charge(&other, DEVICE - 4 * PAGE), 0);
	check(&m);
}

Test(grant, what_others_have_in_hand_comes_before_a_debt_and_the_rest_of_it_is_charged_later)
{
	struct member m = member(0, 50000000), other = member(0, 0);
	struct child child = start(body_hold_the_mutex);
	int error = -ENOMEM;

	for (int i = 0; i < 1000 && error; i++) {
		wait_for(&m, WAITED);
		error = charge(&m, WAITED);
	}
	cr_assert_eq(error, 0);
	cr_assert_eq(finish(&child), 0);
	cr_assert_eq(charge(&other, DEVICE - 4 * PAGE), 0);
	cr_assert_eq(kv_coord_ledger_catch_up(m.coord), 6 * PAGE);
	check(&m); /* never more than the device */
	uncharge(&other, WAITED);
	cr_assert_eq(kv_coord_ledger_catch_up(m.coord), 0u);
	cr_assert_eq(account(&m)->charged, WAITED);
	check(&m);
}

Test(grant, waits_for_a_mutex_that_is_not_to_be_had_do_not_add_up)
{
	struct member m = member(0, 50000000);
	struct child child = start(body_hold_the_mutex);
	uint64_t before;

	cr_assert_eq(promise(&m, PAGE), -EAGAIN);
	/* it is known now: a hundred more wait for it about as long as one, not a hundred seconds
	 */
	before = now_ns();
	for (int i = 0; i < 100; i++) {
		cr_assert_eq(promise(&m, PAGE), -EAGAIN);
		m.ledger.ops->seen(m.ledger.ctx, DEVICE, DEVICE);
	}
	cr_assert_lt(now_ns() - before, LONG_NS);
	cr_assert_eq(finish(&child), 0);
	cr_assert_eq(promise(&m, PAGE), 0, "and nobody waits for the second to be over");
	check(&m);
}
