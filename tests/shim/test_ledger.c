/* SPDX-License-Identifier: Apache-2.0 */
/* test_ledger.c - device memory shared out over a segment: charges, leases, promises, waits, death.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/shim/ledger_member.h"
#include "tests/shim/segment_child.h"
#include "tests/shim/segment_place.h"

TestSuite(shared_ledger, .init = place_make, .fini = place_remove, .timeout = 120);

Test(shared_ledger, pages_are_charged_ahead_so_that_few_of_them_take_the_mutex)
{
	struct member m = member(64 * M, 0);

	for (int i = 0; i < 256; i++)
		cr_assert_eq(charge(&m, PAGE), 0);
	cr_assert_eq(account(&m)->held, 256 * PAGE);
	/* 31 pages ahead each time, fewer when the device fills */
	cr_assert_leq(kv_coord_ledger_n_locks(m.coord), 32u);
	check(&m);
	for (int i = 0; i < 256; i++)
		uncharge(&m, PAGE);
	cr_assert_leq(kv_coord_ledger_n_locks(m.coord), 32u, "giving back takes none");
	cr_assert_eq(account(&m)->held, 0u);
	cr_assert_leq(account(&m)->charged, 2 * 64 * M);
	kv_coord_ledger_settle(m.coord);
	cr_assert_eq(account(&m)->charged, 0u);
}

Test(shared_ledger, what_one_is_charged_with_another_cannot_have)
{
	struct member a = member(0, 0), b = member(0, 0);

	cr_assert_eq(charge(&a, DEVICE - 10 * PAGE), 0);
	cr_assert_eq(charge(&b, 11 * PAGE), -ENOMEM);
	cr_assert_eq(charge(&b, 10 * PAGE), 0);
	cr_assert_eq(charge(&a, 1), -ENOMEM);
	cr_assert_eq(charge(&a, UINT64_MAX), -ENOMEM);
	check(&a);
	uncharge(&a, PAGE);
	cr_assert_eq(charge(&b, PAGE), 0);
	check(&a);
	/* what is allocated past us, and what the driver says that nobody explains, is not there */
	uncharge(&a, 100 * PAGE);
	account(&a)->native = 50 * PAGE;
	b.ledger.ops->seen(b.ledger.ctx, 30 * PAGE, DEVICE);
	cr_assert_eq(kv_coord_segment(a.coord)->outside, 20 * PAGE);
	cr_assert_eq(charge(&b, 31 * PAGE), -ENOMEM);
	cr_assert_eq(charge(&b, 30 * PAGE), 0);
	check(&a);
}

Test(shared_ledger, the_device_gone_or_the_slot_left_leaves_no_charge)
{
	struct member a = member(0, 0), b = member(0, 0);

	cr_assert_eq(charge(&a, DEVICE), 0);
	a.ledger.ops->forget(a.ledger.ctx);
	cr_assert_eq(charge(&b, DEVICE), 0);
	kv_coord_leave(b.coord);
	cr_assert_eq(charge(&a, DEVICE), 0);
	/* who has left asks nobody any more */
	cr_assert_eq(charge(&b, DEVICE), 0);
	uncharge(&b, DEVICE);
	cr_assert_eq(b.ledger.ops->promise(b.ledger.ctx, 1, 0), -EAGAIN);
	b.ledger.ops->unpromise(b.ledger.ctx, 1);
	b.ledger.ops->forget(b.ledger.ctx);
	check(&a);
}

Test(shared_ledger, promises_of_all_are_kept_by_the_device_and_the_host_budgets_together)
{
	struct member a = member_with((struct kv_coord_ledger_config){.host_budget = 100 * M});
	struct member b = member(0, 0);

	cr_assert_eq(promise(&a, DEVICE), 0);
	cr_assert_eq(promise(&b, 101 * M), -ENOMEM);
	cr_assert_eq(promise(&b, 100 * M), 0);
	cr_assert_eq(promise(&a, 1), -ENOMEM);
	cr_assert_eq(
		a.ledger.ops->promise(a.ledger.ctx, 0, 1), -ENOMEM, "natives would break them");
	a.ledger.ops->unpromise(a.ledger.ctx, 200 * M);
	cr_assert_eq(a.ledger.ops->promise(a.ledger.ctx, 0, 200 * M), 0);
	cr_assert_eq(account(&a)->promised, DEVICE - 200 * M, "natives are asked, not noted");
	cr_assert_eq(promise(&b, 200 * M), 0);
	b.ledger.ops->unpromise(b.ledger.ctx, UINT64_MAX);
	cr_assert_eq(account(&b)->promised, 0u);
	check(&a);
}

Test(shared_ledger, overcommit_is_for_all_and_a_maximum_for_one)
{
	struct member a = member(0, 0);
	struct member b = member_with((struct kv_coord_ledger_config){.overcommit = 500 * M});
	struct kv_coord_limits limits = {.max = 200 * M};

	cr_assert_eq(promise(&a, DEVICE + 500 * M), 0);
	cr_assert_eq(promise(&b, 1), -ENOMEM);
	a.ledger.ops->unpromise(a.ledger.ctx, DEVICE);
	cr_assert_eq(kv_coord_set_limits(
			     b.coord, kv_coord_slot_index(a.coord), &limits, KV_COORD_LIMIT_MAX),
		0);
	cr_assert_eq(promise(&a, 1), -ENOMEM);
	cr_assert_eq(promise(&b, 200 * M), 0);
	a.ledger.ops->unpromise(a.ledger.ctx, 400 * M);
	cr_assert_eq(promise(&a, 100 * M), 0);
	cr_assert_eq(promise(&a, 1), -ENOMEM);
}

static int body_promise_and_charge(struct child *self)
{
	struct kv_coord_ledger_config config = {0};
	struct kv_ledger ledger;
	struct kv_coord *coord;

	if (place_join(&coord, NULL, 0) != 0 || kv_coord_ledger_new(coord, &config, &ledger) != 0 ||
		ledger.ops->promise(ledger.ctx, DEVICE, 0) != 0 ||
		ledger.ops->charge(ledger.ctx, DEVICE) != 0)
		return 1;
	ready_and_wait(self);
	return 0;
}

Test(shared_ledger, the_dead_hold_no_promise_and_no_page)
{
	struct child child = start(body_promise_and_charge);
	struct member a = member(0, LONG_NS);

	cr_assert_eq(promise(&a, PAGE), -ENOMEM);
	cr_assert_eq(charge(&a, PAGE), -ENOMEM);
	kill_child(&child);
	cr_assert_eq(promise(&a, PAGE), 0);
	/* a wait sweeps, the first charge need not */
	cr_assert_eq(wait_for(&a, 5 * PAGE), 0);
	cr_assert_eq(charge(&a, 5 * PAGE), 0);
	check(&a);
}

/* ---- waiting for others ---- */

Test(shared_ledger, an_idle_process_gives_what_a_busy_one_asks_for)
{
	struct member idle = member(0, 0), busy = member(0, LONG_NS);
	struct kv_coord_decision decisions[KV_COORD_DECISIONS];
	struct agent agent;
	uint32_t n;

	cr_assert_eq(charge(&idle, DEVICE), 0);
	kv_coord_put_activity(idle.coord, KV_COORD_IDLE);
	agent_start(&agent, &idle, 0);
	cr_assert_eq(wait_for(&busy, 50 * PAGE), 0);
	/* what was waited for is in hand: nobody can snatch it */
	cr_assert_eq(account(&busy)->charged, 50 * PAGE);
	cr_assert_eq(account(&busy)->asked, 0u);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(charge(&busy, PAGE), 0);
	agent_stop(&agent);
	cr_assert_eq(agent.gave, 50 * PAGE);
	n = kv_coord_read_decisions(kv_coord_segment(idle.coord), decisions, KV_COORD_DECISIONS);
	cr_assert_eq(n, 1u);
	cr_assert_eq(decisions[0].reason, (uint32_t)KV_COORD_BECAUSE_IDLE);
	cr_assert_eq(decisions[0].bytes, 50 * PAGE);
	check(&busy);
}

Test(shared_ledger, two_busy_ones_end_at_their_fair_shares)
{
	struct member a = member(0, LONG_NS), b = member(0, LONG_NS);
	struct kv_coord_limits limits = {.weight = 300};
	struct agent agent;

	kv_coord_set_limits(a.coord, kv_coord_slot_index(b.coord), &limits, KV_COORD_LIMIT_WEIGHT);
	cr_assert_eq(charge(&a, DEVICE), 0);
	agent_start(&agent, &a, 0);
	/* b wants everything; one to three by weight. It asks in pieces, as pages come. */
	for (uint64_t got = 0; got < DEVICE * 3 / 8; got += 8 * PAGE) {
		cr_assert_eq(wait_for(&b, 8 * PAGE), 0, "at %llu", (unsigned long long)got);
		cr_assert_eq(charge(&b, 8 * PAGE), 0);
	}
	agent_stop(&agent);
	check(&b);
}

Test(shared_ledger, who_is_above_its_share_gets_nothing_that_others_use)
{
	struct member a = member(0, LONG_NS), b = member(0, LONG_NS);
	uint64_t before = now_ns();

	cr_assert_eq(charge(&a, DEVICE / 4), 0);
	cr_assert_eq(charge(&b, DEVICE / 4 * 3), 0);
	cr_assert_eq(wait_for(&b, PAGE), -ENOMEM);
	cr_assert_lt(now_ns() - before, LONG_NS, "and does not wait for it");
	cr_assert_eq(reclaim_of(&a)->asked, 0u);
}

Test(shared_ledger, spares_and_leases_go_before_anything_that_is_used)
{
	struct member a = member(DEVICE, 0), b = member(0, LONG_NS);
	struct agent agent;

	/* charged with far more than it holds: that is its lease */
	cr_assert_eq(charge(&a, DEVICE / 2), 0);
	cr_assert_gt(account(&a)->charged, DEVICE / 2);
	agent_start(&agent, &a, DEVICE / 2);
	cr_assert_eq(wait_for(&b, DEVICE / 2), 0);
	agent_stop(&agent);
	cr_assert_eq(agent.gave, 0u);
	cr_assert_eq(account(&a)->held, DEVICE / 2);
	cr_assert_eq(reclaim_of(&a)->flags, 0u, "it was not asked for what it uses");
	check(&b);
}

Test(shared_ledger, one_that_does_not_answer_is_waited_for_once)
{
	struct member a = member(0, 0), b = member(0, 100000000);

	cr_assert_eq(charge(&a, DEVICE), 0);
	kv_coord_put_activity(a.coord, KV_COORD_IDLE);
	cr_assert_eq(wait_for(&b, PAGE), -ENOMEM);
	cr_assert_eq(reclaim_of(&a)->asked, 1u);
	usleep(110000);
	/* now it counts as silent */
	cr_assert_eq(wait_for(&b, PAGE), -ENOMEM);
	cr_assert_eq(reclaim_of(&a)->asked, 1u, "and is not asked again");
	cr_assert_eq(kv_coord_segment(a.coord)->n_waiting, 0u);
	cr_assert_eq(account(&b)->asked, 0u);
}

Test(shared_ledger, one_that_answers_and_gives_nothing_is_not_asked_for_ever)
{
	struct member a = member(0, 0), b = member(0, LONG_NS);
	struct agent agent;

	cr_assert_eq(charge(&a, DEVICE), 0);
	kv_coord_put_activity(a.coord, KV_COORD_IDLE);
	agent_start(&agent, &a, DEVICE);
	cr_assert_eq(wait_for(&b, PAGE), -ENOMEM);
	agent_stop(&agent);
	cr_assert_geq(agent.n_answers, 2u);
	cr_assert_leq(agent.n_answers, 20u);
}

Test(shared_ledger, who_may_not_wait_is_told_at_once)
{
	struct member a = member(0, 0), b = member(0, 0);

	cr_assert_eq(charge(&a, DEVICE), 0);
	kv_coord_put_activity(a.coord, KV_COORD_IDLE);
	cr_assert_eq(wait_for(&b, PAGE), -ENOMEM);
	cr_assert_eq(reclaim_of(&a)->asked, 1u, "but the other one was asked, for the next time");
}

Test(shared_ledger, numbers_that_would_fall_below_zero_stay_at_zero)
{
	struct member a = member(0, 0);
	uint64_t could;

	cr_assert_eq(charge(&a, PAGE), 0);
	uncharge(&a, 5 * PAGE);
	cr_assert_eq(account(&a)->held, 0u);
	/* more in use than there is, by what the driver says: nothing can be had, and no more */
	a.ledger.ops->seen(a.ledger.ctx, 0, DEVICE);
	cr_assert_eq(charge(&a, PAGE), -ENOMEM);
	account(&a)->native = 3 * DEVICE;
	cr_assert_eq(charge(&a, PAGE), -ENOMEM);
	cr_assert_eq(kv_coord_ledger_could_get(a.coord, &could), 0);
	cr_assert_eq(could, 0u);
	account(&a)->native = 0;
	a.ledger.ops->seen(a.ledger.ctx, PAGE, DEVICE);
	cr_assert_eq(charge(&a, PAGE), 0);
	cr_assert_eq(charge(&a, PAGE), -ENOMEM);
}

static struct child holder;

static int body_hold_all_idle(struct child *self)
{
	struct kv_coord_ledger_config config = {0};
	struct kv_ledger ledger;
	struct kv_coord *coord;

	if (place_join(&coord, NULL, 0) != 0 || kv_coord_ledger_new(coord, &config, &ledger) != 0 ||
		ledger.ops->charge(ledger.ctx, DEVICE) != 0)
		return 1;
	kv_coord_put_activity(coord, KV_COORD_IDLE);
	ready_and_wait(self);
	return 0;
}

static void *kill_holder(void *arg)
{
	struct member *m = arg;

	while (!__atomic_load_n(&account(m)->asked, __ATOMIC_ACQUIRE))
		usleep(1000);
	kill_child(&holder);
	return NULL;
}

Test(shared_ledger, one_that_dies_instead_of_answering_leaves_its_pages_to_who_waits)
{
	struct member m;
	pthread_t thread;

	holder = start(body_hold_all_idle);
	m = member(0, LONG_NS);
	cr_assert_eq(pthread_create(&thread, NULL, kill_holder, &m), 0);
	cr_assert_eq(wait_for(&m, 10 * PAGE), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(charge(&m, 10 * PAGE), 0);
	check(&m);
}

Test(shared_ledger, a_mutex_that_is_never_let_go_of_stops_nobody_for_longer_than_the_bound)
{
	struct member m = member(0, 100000000);
	struct child child = start(body_hold_the_mutex);
	int error = -ENOMEM;

	cr_assert_eq(charge(&m, PAGE), -ENOMEM);
	/* after a wait it goes on without asking, for a second; the driver still has the last word
	 */
	for (int i = 0; i < 100 && error; i++) {
		cr_assert_eq(wait_for(&m, PAGE), -ENOMEM);
		error = charge(&m, PAGE);
	}
	cr_assert_eq(error, 0);
	cr_assert_eq(account(&m)->held, PAGE);
	cr_assert_eq(account(&m)->charged, 0u);
	cr_assert_eq(finish(&child), 0);
	/* and is charged as soon as it can be */
	cr_assert_eq(charge(&m, PAGE), 0);
	cr_assert_eq(account(&m)->charged, 2 * PAGE);
	check(&m);
}

static bool has_asked(struct member *m)
{
	return reclaim_of(m)->asked != 0;
}

static void *wait_thread(void *arg)
{
	return (void *)(intptr_t)wait_for(arg, 10 * PAGE);
}

Test(shared_ledger, what_is_given_back_while_somebody_waits_reaches_it_at_once)
{
	struct member a = member(64 * M, 0), b = member(64 * M, LONG_NS);
	pthread_t thread;
	void *result;

	cr_assert_eq(charge(&a, DEVICE), 0);
	kv_coord_put_activity(a.coord, KV_COORD_IDLE);
	cr_assert_eq(pthread_create(&thread, NULL, wait_thread, &b), 0);
	polled(has_asked, &a);
	uncharge(&a, 10 * PAGE); /* below what it would keep as a lease */
	pthread_join(thread, &result);
	cr_assert_null(result);
	cr_assert_eq(account(&a)->charged, DEVICE - 10 * PAGE);
}

Test(shared_ledger, above_a_lowered_maximum_there_is_an_excess_and_no_more)
{
	struct member a = member(0, 0);
	struct kv_coord_limits limits = {.max = 10 * PAGE};
	uint64_t could;

	cr_assert_eq(charge(&a, 15 * PAGE), 0);
	cr_assert_eq(kv_coord_ledger_excess(a.coord), 0u);
	cr_assert_eq(kv_coord_set_limits(a.coord, 0, &limits, KV_COORD_LIMIT_MAX), 0);
	cr_assert_eq(kv_coord_ledger_excess(a.coord), 5 * PAGE);
	cr_assert_eq(charge(&a, PAGE), -ENOMEM);
	cr_assert_eq(wait_for(&a, PAGE), -ENOMEM);
	cr_assert_eq(kv_coord_ledger_could_get(a.coord, &could), 0);
	cr_assert_eq(could, 0u);
	limits.max = 40 * PAGE;
	cr_assert_eq(kv_coord_set_limits(a.coord, 0, &limits, KV_COORD_LIMIT_MAX), 0);
	cr_assert_eq(kv_coord_ledger_excess(a.coord), 0u);
	cr_assert_eq(charge(&a, PAGE), 0);
	cr_assert_eq(kv_coord_ledger_could_get(a.coord, &could), 0);
	cr_assert_eq(could, 24 * PAGE);
}

Test(shared_ledger, what_one_could_get_counts_what_idle_ones_and_spares_would_give)
{
	struct member a = member(0, 0), b = member(0, 0), c = member(0, 0);
	uint64_t could;

	cr_assert_eq(charge(&a, 100 * PAGE), 0);
	cr_assert_eq(charge(&b, 200 * PAGE), 0);
	account(&b)->spare = 30 * PAGE;
	cr_assert_eq(kv_coord_ledger_could_get(c.coord, &could), 0);
	cr_assert_eq(could, DEVICE - 270 * PAGE);
	kv_coord_put_activity(a.coord, KV_COORD_IDLE);
	account(&a)->pinned = 10 * PAGE;
	cr_assert_eq(kv_coord_ledger_could_get(c.coord, &could), 0);
	cr_assert_eq(could, DEVICE - 180 * PAGE);
}

/* ---- many at once ---- */

static int body_grow_and_shrink(struct child *self)
{
	struct kv_coord_ledger_config config = {.lease_bytes = 16 * M, .wait_ns = 1000000};
	uint64_t seed = (uint64_t)getpid() * 0x9e3779b97f4a7c15ull | 1, held = 0;
	struct kv_ledger ledger;
	struct kv_coord *coord;

	if (place_join(&coord, NULL, 0) != 0 || kv_coord_ledger_new(coord, &config, &ledger) != 0)
		return 1;
	ready_and_wait(self);
	for (int i = 0; i < 3000; i++) {
		uint64_t bytes = PAGE;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		bytes *= seed >> 20 & 15;
		if (seed & 1 && ledger.ops->charge(ledger.ctx, bytes) == 0)
			held += bytes;
		if (!(seed & 1) && held >= bytes) {
			ledger.ops->uncharge(ledger.ctx, bytes);
			held -= bytes;
		}
		if ((seed & 0xf00) == 0)
			ledger.ops->wait(ledger.ctx, &(struct kv_ledger_wait){.bytes = bytes});
	}
	ledger.ops->uncharge(ledger.ctx, held);
	kv_coord_leave(coord);
	return 0;
}

Test(shared_ledger, five_that_grow_at_once_never_hold_more_than_the_device)
{
	struct member watcher = member(0, 0);
	struct child children[5];
	int status;

	for (int i = 0; i < 5; i++)
		children[i] = start(body_grow_and_shrink);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(write(children[i].to, "g", 1), 1);
	for (int i = 0; i < 200; i++) {
		check(&watcher);
		usleep(500);
	}
	for (int i = 0; i < 5; i++) {
		status = reap(&children[i]);
		cr_assert_eq(status, 0);
	}
	check(&watcher);
	cr_assert_eq(kv_coord_lock(watcher.coord), 0);
	kv_coord_unlock(watcher.coord);
	cr_assert_eq(charge(&watcher, DEVICE), 0, "nothing has been lost");
}

Test(shared_ledger, of_those_killed_while_they_grow_nothing_stays_charged)
{
	struct member watcher = member(0, LONG_NS);
	struct child child;

	for (int i = 0; i < 12; i++) {
		child = start(body_grow_and_shrink);
		cr_assert_eq(write(child.to, "g", 1), 1);
		usleep((useconds_t)(i * 700));
		kill_child(&child);
		check(&watcher);
	}
	cr_assert_eq(wait_for(&watcher, DEVICE), 0);
	check(&watcher);
}

Test(shared_ledger, what_nobody_needs_yet_is_charged_only_if_nobody_will_miss_it)
{
	struct member a = member(0, 0), b = member(0, 0);
	const struct kv_ledger_ops *ops = a.ledger.ops;

	cr_assert_eq(charge(&b, DEVICE - 20 * PAGE), 0);
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, 11 * PAGE, 10 * PAGE), -ENOMEM);
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, UINT64_MAX, 0), -ENOMEM);
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, 10 * PAGE, 10 * PAGE), 0);
	cr_assert_eq(account(&a)->held, 10 * PAGE);
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, 1, 10 * PAGE), -ENOMEM);
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, 0, 10 * PAGE), 0);
	check(&a);
	/* somebody waits: not even what is its own already */
	uncharge(&a, 5 * PAGE);
	account(&b)->asked = PAGE;
	kv_coord_segment(a.coord)->n_waiting = 1;
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, PAGE, 0), -ENOMEM);
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, 0, 0), -ENOMEM);
	account(&b)->asked = 0;
	kv_coord_segment(a.coord)->n_waiting = 0;
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, PAGE, 0), 0);
	cr_assert_eq(account(&a)->held, 6 * PAGE);
	check(&a);
	/* who has left is alone */
	kv_coord_leave(a.coord);
	cr_assert_eq(ops->charge_unneeded(a.ledger.ctx, DEVICE, 0), 0);
	uncharge(&a, DEVICE);
	check(&b);
}
