/* SPDX-License-Identifier: Apache-2.0 */
/* test_policy.c - fair shares and victims: by example, and as properties of random snapshots. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/coord_shm.h"
#include "core/policy.h"

#define M (1024ull * 1024)
#define G (1024 * M)
#define S 1000000000ull
#define ROUNDS 4000

_Static_assert((int)KV_POLICY_SPARE == (int)KV_COORD_BECAUSE_SPARE, "reasons");
_Static_assert((int)KV_POLICY_LIMIT == (int)KV_COORD_BECAUSE_LIMIT, "reasons");
_Static_assert((int)KV_POLICY_NOBODY == (int)KV_COORD_BECAUSE_NOBODY, "reasons");
_Static_assert(KV_POLICY_MAX >= KV_COORD_SLOTS, "every slot has a place in a snapshot");

static struct kv_policy_snapshot s;
static uint64_t shares[KV_POLICY_MAX];
static struct kv_policy_decision decisions[KV_POLICY_DECISIONS];

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	const char *given = getenv("KV_TEST_SEED");

	if (!seed)
		seed = (given ? strtoull(given, NULL, 0) : 0) * 0x9e3779b97f4a7c15ull | 1;
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return below ? seed % below : seed;
}

static struct kv_policy_process *busy(uint64_t held, uint64_t wants)
{
	struct kv_policy_process *p = &s.processes[s.n++];

	*p = (struct kv_policy_process){.pid = (int32_t)s.n,
		.busy = true,
		.weight = 100,
		.held = held,
		.wants = wants,
		.max = UINT64_MAX,
		.activity_ns = 100 * S};
	return p;
}

static struct kv_policy_process *idle(uint64_t held, uint64_t since)
{
	struct kv_policy_process *p = busy(held, held);

	p->busy = false;
	p->activity_ns = since;
	return p;
}

static void start(uint64_t capacity)
{
	memset(&s, 0, sizeof(s));
	s.capacity = capacity;
	s.now_ns = 100 * S;
	s.residency_ns = S;
}

TestSuite(shares, .timeout = 60);
TestSuite(victims, .timeout = 60);

Test(shares, are_by_weight_and_what_one_does_not_want_goes_to_the_others)
{
	start(80 * G);
	busy(0, 100 * G);
	busy(0, 100 * G)->weight = 300;
	busy(0, 8 * G);
	kv_policy_shares(&s, shares);
	cr_assert_eq(shares[2], 8 * G);
	cr_assert_eq(shares[0] / M, 18 * 1024);
	cr_assert_eq(shares[1] / M, 54 * 1024);
	cr_assert_eq(shares[0] + shares[1] + shares[2], 80 * G);
}

Test(shares, a_minimum_comes_first_and_a_maximum_last)
{
	start(80 * G);
	busy(0, 100 * G)->min = 50 * G;
	busy(0, 100 * G)->max = 10 * G;
	busy(0, 100 * G);
	kv_policy_shares(&s, shares);
	cr_assert_eq(shares[0], 50 * G);
	cr_assert_eq(shares[1], 10 * G);
	cr_assert_eq(shares[2], 20 * G);
	/* minima that cannot all be kept */
	s.processes[2].min = 150 * G;
	s.processes[2].wants = 150 * G;
	kv_policy_shares(&s, shares);
	cr_assert_eq(shares[0], 40 * G);
	cr_assert_eq(shares[2], 40 * G);
	cr_assert_eq(shares[1], 0u);
}

Test(shares, who_is_idle_wants_nothing)
{
	start(80 * G);
	idle(40 * G, 0)->min = 20 * G;
	busy(10 * G, 70 * G);
	kv_policy_shares(&s, shares);
	cr_assert_eq(shares[0], 0u);
	cr_assert_eq(shares[1], 70 * G);
}

static uint64_t cap_of(const struct kv_policy_process *p)
{
	return !p->busy ? 0 : p->wants < p->max ? p->wants : p->max;
}

/* Anything that a segment can say, with edges more often than they deserve. */
static void random_snapshot(void)
{
	uint64_t scale = 1ull << rnd(44);

	start(rnd(scale) + (rnd(8) ? 1 : 0));
	s.n = (uint32_t)rnd(rnd(4) ? 6 : KV_POLICY_MAX) + 1;
	for (uint32_t i = 0; i < s.n; i++) {
		struct kv_policy_process *p = &s.processes[i];

		p->pid = (int32_t)rnd(100000);
		p->busy = rnd(3) != 0;
		p->silent = rnd(8) == 0;
		p->weight = (uint32_t)(rnd(3) ? 100 : rnd(100000) + 1);
		p->held = rnd(s.capacity / s.n + 1);
		p->wants = p->held + rnd(rnd(2) ? scale : 4);
		p->spare = rnd(2) ? rnd(p->held + 1) : 0;
		p->dead = rnd(2) ? rnd(p->held + 1) : 0;
		p->pinned = rnd(4) ? 0 : rnd(p->held + 1);
		p->min = rnd(3) ? 0 : rnd(scale);
		p->max = rnd(3) ? UINT64_MAX : rnd(scale);
		p->activity_ns = rnd(200 * S);
		p->resident_ns = rnd(200 * S);
	}
}

Test(shares, add_up_to_no_more_than_there_is_and_leave_nothing_that_somebody_wants)
{
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t sum = 0, wanted = 0;

		random_snapshot();
		kv_policy_shares(&s, shares);
		for (uint32_t i = 0; i < s.n; i++) {
			cr_assert_leq(shares[i], cap_of(&s.processes[i]));
			sum += shares[i];
			wanted += cap_of(&s.processes[i]);
		}
		cr_assert_eq(sum, wanted < s.capacity ? wanted : s.capacity, "round %d", round);
	}
}

Test(shares, guarantee_the_minimum_of_who_wants_it)
{
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t minima = 0;

		random_snapshot();
		for (uint32_t i = 0; i < s.n; i++) {
			uint64_t cap = cap_of(&s.processes[i]);

			minima += cap < s.processes[i].min ? cap : s.processes[i].min;
		}
		kv_policy_shares(&s, shares);
		for (uint32_t i = 0; minima <= s.capacity && i < s.n; i++) {
			uint64_t cap = cap_of(&s.processes[i]);

			cr_assert_geq(
				shares[i], cap < s.processes[i].min ? cap : s.processes[i].min);
		}
	}
}

Test(shares, do_not_fall_with_the_weight)
{
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t before;
		uint32_t i;

		random_snapshot();
		i = (uint32_t)rnd(s.n);
		kv_policy_shares(&s, shares);
		before = shares[i];
		s.processes[i].weight += (uint32_t)rnd(100000);
		kv_policy_shares(&s, shares);
		/* but for what rounding deals out, at most a weight */
		cr_assert_geq(shares[i] + 200000, before);
		if (s.capacity > 100 * G)
			cr_assert_geq(shares[i] + before / 1000, before);
	}
}

Test(shares, of_those_who_want_their_shares_are_the_same_shares)
{
	uint64_t again[KV_POLICY_MAX];

	for (int round = 0; round < ROUNDS; round++) {
		random_snapshot();
		kv_policy_shares(&s, shares);
		for (uint32_t i = 0; i < s.n; i++)
			s.processes[i].wants = shares[i];
		kv_policy_shares(&s, again);
		cr_assert_eq(memcmp(shares, again, s.n * sizeof(again[0])), 0);
	}
}

Test(shares, nobody_below_its_share_of_weight_is_so_for_the_sake_of_one_above)
{
	for (int round = 0; round < ROUNDS; round++) {
		random_snapshot();
		for (uint32_t i = 0; i < s.n; i++)
			s.processes[i].min = 0;
		kv_policy_shares(&s, shares);
		for (uint32_t i = 0; i < s.n; i++) {
			for (uint32_t j = 0; j < s.n; j++) {
				const struct kv_policy_process *p = &s.processes[i];
				const struct kv_policy_process *q = &s.processes[j];

				/* p wants more and has less by weight than q: rounding only */
				if (!p->busy || shares[i] == cap_of(p) || !q->busy)
					continue;
				cr_assert_leq((double)shares[j] / q->weight,
					(double)shares[i] / p->weight + 2.0 + 1e5 / p->weight);
			}
		}
	}
}

Test(victims, come_in_their_order_and_each_says_why)
{
	uint32_t n;

	start(80 * G);
	busy(1 * G, 40 * G);
	busy(60 * G, 60 * G);
	s.processes[1].spare = 1 * G;
	s.processes[1].dead = 2 * G;
	idle(9 * G, 50 * S);
	idle(10 * G, 20 * S)->pinned = 4 * G;
	n = kv_policy_decide(&s, 0, 35 * G, decisions);
	cr_assert_eq(n, 5u);
	cr_assert_eq(decisions[0].reason, KV_POLICY_SPARE);
	cr_assert_eq(decisions[0].bytes, 1 * G);
	cr_assert_eq(decisions[1].reason, KV_POLICY_DEAD);
	cr_assert_eq(decisions[1].bytes, 2 * G);
	cr_assert_eq(decisions[2].victim, 3u, "the longest idle");
	cr_assert_eq(decisions[2].bytes, 6 * G, "but for what is pinned");
	cr_assert_eq(decisions[3].victim, 2u);
	cr_assert_eq(decisions[3].bytes, 9 * G);
	cr_assert_eq(decisions[4].reason, KV_POLICY_SHARE);
	cr_assert_eq(decisions[4].bytes, 17 * G, "down to its share of 40");
	for (uint32_t i = 0; i < n; i++)
		cr_assert_neq(decisions[i].text[0], '\0');
	cr_assert_not_null(strstr(decisions[3].text, "idle for 50.0 s"), "%s", decisions[3].text);
	cr_assert_not_null(strstr(decisions[4].text, "share 40960"), "%s", decisions[4].text);
}

Test(victims, are_not_those_who_just_waited_for_their_pages_nor_the_silent)
{
	start(80 * G);
	busy(0, 40 * G);
	busy(80 * G, 80 * G)->resident_ns = s.now_ns - S / 2;
	cr_assert_eq(kv_policy_decide(&s, 0, G, decisions), 1u);
	cr_assert_eq(decisions[0].reason, KV_POLICY_NOBODY);
	s.now_ns += S;
	cr_assert_eq(kv_policy_decide(&s, 0, G, decisions), 1u);
	cr_assert_eq(decisions[0].reason, KV_POLICY_SHARE);
	s.processes[1].silent = true;
	kv_policy_decide(&s, 0, G, decisions);
	cr_assert_eq(decisions[0].reason, KV_POLICY_NOBODY);
}

Test(victims, a_maximum_is_told_as_such)
{
	start(80 * G);
	busy(4 * G, 40 * G)->max = 5 * G;
	idle(20 * G, 0);
	cr_assert_eq(kv_policy_decide(&s, 0, 3 * G, decisions), 2u);
	cr_assert_eq(decisions[0].reason, KV_POLICY_IDLE);
	cr_assert_eq(decisions[0].bytes, 1 * G);
	cr_assert_eq(decisions[1].reason, KV_POLICY_LIMIT);
	cr_assert_eq(decisions[1].bytes, 2 * G);
	cr_assert_eq(kv_policy_grant(&s, 0, 3 * G), 1 * G);
	s.processes[0].held = 7 * G;
	cr_assert_eq(kv_policy_excess(&s.processes[0]), 2 * G);
	cr_assert_eq(kv_policy_grant(&s, 0, G), 0u);
}

Test(victims, grants_never_go_beyond_what_is_free)
{
	start(10 * G);
	busy(4 * G, 40 * G);
	busy(5 * G, 5 * G);
	cr_assert_eq(kv_policy_grant(&s, 0, 3 * G), 1 * G);
	s.capacity = 8 * G; /* somebody without an account came */
	cr_assert_eq(kv_policy_grant(&s, 0, 3 * G), 0u);
}

Test(victims, give_what_they_have_and_no_more_than_is_asked)
{
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t taken[KV_POLICY_MAX] = {0}, bytes, sum = 0;
		uint32_t requester, n;

		random_snapshot();
		requester = (uint32_t)rnd(s.n);
		bytes = rnd(s.capacity + 1);
		kv_policy_shares(&s, shares);
		n = kv_policy_decide(&s, requester, bytes, decisions);
		cr_assert_leq(n, KV_POLICY_DECISIONS);
		for (uint32_t i = 0; i < n; i++) {
			const struct kv_policy_decision *d = &decisions[i];
			const struct kv_policy_process *v = &s.processes[d->victim];

			sum += d->bytes;
			cr_assert_gt(d->bytes, 0u);
			cr_assert_not_null(memchr(d->text, 0, sizeof(d->text)));
			if (d->reason == KV_POLICY_LIMIT || d->reason == KV_POLICY_NOBODY) {
				cr_assert_eq(d->victim, requester);
				continue;
			}
			cr_assert(i == 0 || decisions[i - 1].reason <= d->reason, "the order");
			cr_assert_neq(d->victim, requester);
			cr_assert_not(v->silent);
			taken[d->victim] += d->bytes;
			cr_assert_leq(taken[d->victim], v->held - v->pinned);
			if (d->reason == KV_POLICY_IDLE)
				cr_assert_not(v->busy);
			if (d->reason == KV_POLICY_SHARE) {
				cr_assert_geq(v->held - taken[d->victim], shares[d->victim]);
				cr_assert_lt(s.processes[requester].held, shares[requester]);
			}
		}
		cr_assert_eq(sum, bytes, "round %d: all of it is accounted for", round);
	}
}

/* No cycle of waits: edges go from below the share to above it, or to what nobody uses. */
Test(victims, never_wait_for_their_requester_in_turn)
{
	struct kv_policy_decision back[KV_POLICY_DECISIONS];

	for (int round = 0; round < ROUNDS; round++) {
		uint32_t requester, n, m;

		random_snapshot();
		requester = (uint32_t)rnd(s.n);
		n = kv_policy_decide(&s, requester, rnd(s.capacity + 1), decisions);
		for (uint32_t i = 0; i < n; i++) {
			if (decisions[i].reason != KV_POLICY_SHARE)
				continue;
			m = kv_policy_decide(&s, decisions[i].victim, s.capacity, back);
			for (uint32_t j = 0; j < m; j++)
				cr_assert_neq(back[j].reason, KV_POLICY_SHARE);
			break;
		}
	}
}
