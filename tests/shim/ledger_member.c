/* SPDX-License-Identifier: Apache-2.0 */
/* ledger_member.c - see ledger_member.h. */
#include "tests/shim/ledger_member.h"

#include <criterion/criterion.h>
#include <time.h>
#include <unistd.h>

#include "tests/shim/segment_child.h"

struct member member_with(struct kv_coord_ledger_config config)
{
	struct member m = {.coord = join()};

	cr_assert_eq(kv_coord_ledger_new(m.coord, &config, &m.ledger), 0);
	/* at work for as long as the test takes, unless it says otherwise */
	kv_coord_segment(m.coord)->accounts[kv_coord_slot_index(m.coord)].activity_ns = INT64_MAX;
	return m;
}

struct member member(uint64_t lease, uint64_t wait_ns)
{
	return member_with(
		(struct kv_coord_ledger_config){.lease_bytes = lease, .wait_ns = wait_ns});
}

int charge(struct member *m, uint64_t bytes)
{
	return m->ledger.ops->charge(m->ledger.ctx, bytes);
}

void uncharge(struct member *m, uint64_t bytes)
{
	m->ledger.ops->uncharge(m->ledger.ctx, bytes);
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

int wait_for(struct member *m, uint64_t bytes)
{
	const struct kv_ledger_wait wait = {.bytes = bytes, .start_ns = now_ns()};

	return m->ledger.ops->wait(m->ledger.ctx, &wait);
}

struct kv_coord_account *account(struct member *m)
{
	return &kv_coord_segment(m->coord)->accounts[kv_coord_slot_index(m->coord)];
}

struct kv_coord_command *reclaim_of(struct member *m)
{
	return &kv_coord_segment(m->coord)
			->slots[kv_coord_slot_index(m->coord)]
			.control.commands[KV_COORD_RECLAIM];
}

void check(struct member *m)
{
	char text[128] = "";

	cr_assert_eq(kv_coord_lock(m->coord), 0);
	cr_assert_eq(
		kv_coord_check_sums(kv_coord_segment(m->coord), text, sizeof(text)), 0, "%s", text);
	kv_coord_unlock(m->coord);
	cr_assert_eq(kv_coord_check(kv_coord_segment(m->coord), sizeof(struct kv_coord_segment),
			     text, sizeof(text)),
		0, "%s", text);
}

void polled(bool (*reached)(struct member *m), struct member *m)
{
	for (int i = 0; i < 6000 && !reached(m); i++)
		usleep(10000);
	cr_assert(reached(m));
}

int promise(struct member *m, uint64_t bytes)
{
	return m->ledger.ops->promise(m->ledger.ctx, bytes, 0);
}

static void *serve(void *arg)
{
	struct agent *agent = arg;
	struct kv_coord_asked asked;

	while (!__atomic_load_n(&agent->stop, __ATOMIC_ACQUIRE)) {
		uint64_t held = account(agent->m)->held, give;

		if (!kv_coord_next(agent->m->coord, &asked)) {
			usleep(1000);
			continue;
		}
		give = held > agent->floor ? held - agent->floor : 0;
		if (give > asked.bytes)
			give = asked.bytes;
		uncharge(agent->m, give);
		kv_coord_ledger_settle(agent->m->coord);
		agent->gave += give;
		agent->n_answers++;
		kv_coord_answer(agent->m->coord, &asked, (int64_t)give);
	}
	return NULL;
}

void agent_start(struct agent *agent, struct member *m, uint64_t floor)
{
	*agent = (struct agent){.m = m, .floor = floor};
	cr_assert_eq(pthread_create(&agent->thread, NULL, serve, agent), 0);
}

void agent_stop(struct agent *agent)
{
	__atomic_store_n(&agent->stop, true, __ATOMIC_RELEASE);
	pthread_join(agent->thread, NULL);
}
