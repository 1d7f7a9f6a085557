/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - see policy.h. */
#include "core/policy.h"

#include <stdio.h>

#include "core/poison.h"

#define MIB (1024.0 * 1024.0)
#define LEVEL_SHIFT \
	20 /* the level is in 2^-20 bytes per unit of weight: rounding stays below one page */

typedef unsigned __int128 wide;

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* ---- pouring ---- */

/* What one gets when the water stands at level: by weight, at least floor, at most cap. */
static uint64_t poured(uint64_t floor, uint64_t cap, uint32_t weight, wide level)
{
	wide amount = (level * weight) >> LEVEL_SHIFT;

	if (amount >= cap)
		return cap;
	return amount > floor ? (uint64_t)amount : least(floor, cap);
}

static wide sum_at(const struct kv_policy_snapshot *s, const uint64_t *floors, const uint64_t *caps,
	wide level)
{
	wide sum = 0;

	for (uint32_t i = 0; i < s->n; i++)
		sum += poured(floors[i], caps[i], s->processes[i].weight, level);
	return sum;
}

/*
 * Fills ret with floors[i] <= ret[i] <= caps[i], by weight, so that they add up to capacity
 * exactly, or to the sum of the caps if that is less. The floors must fit.
 */
static void pour(const struct kv_policy_snapshot *s, uint64_t capacity, const uint64_t *floors,
	const uint64_t *caps, uint64_t *ret)
{
	wide low = 0, high = (wide)UINT64_MAX << LEVEL_SHIFT, middle;
	uint64_t left;

	/* the highest level at which all of them fit */
	while (low < high) {
		middle = low + (high - low + 1) / 2;
		if (sum_at(s, floors, caps, middle) <= capacity)
			low = middle;
		else
			high = middle - 1;
	}
	left = capacity;
	for (uint32_t i = 0; i < s->n; i++) {
		ret[i] = poured(floors[i], caps[i], s->processes[i].weight, low);
		left -= ret[i];
	}
	/* what rounding has left over, a few bytes each */
	for (uint32_t i = 0; i < s->n && left; i++) {
		uint64_t more = least(left, least(caps[i] - ret[i], s->processes[i].weight));

		ret[i] += more;
		left -= more;
	}
}

void kv_policy_shares(const struct kv_policy_snapshot *s, uint64_t *ret_shares)
{
	uint64_t floors[KV_POLICY_MAX], caps[KV_POLICY_MAX], none[KV_POLICY_MAX];
	wide sum = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct kv_policy_process *p = &s->processes[i];

		caps[i] = p->busy ? least(p->wants, p->max) : 0;
		floors[i] = least(p->min, caps[i]);
		none[i] = 0;
		sum += floors[i];
	}
	if (sum > s->capacity)
		pour(s, s->capacity, none, floors, ret_shares);
	else
		pour(s, s->capacity, floors, caps, ret_shares);
}

uint64_t kv_policy_excess(const struct kv_policy_process *process)
{
	return minus(process->held, process->max);
}

static uint64_t held_by_all(const struct kv_policy_snapshot *s)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < s->n; i++)
		sum = s->processes[i].held > UINT64_MAX - sum ? UINT64_MAX
							      : sum + s->processes[i].held;
	return sum;
}

uint64_t kv_policy_grant(const struct kv_policy_snapshot *s, uint32_t requester, uint64_t bytes)
{
	const struct kv_policy_process *p = &s->processes[requester];

	return least(bytes, least(minus(s->capacity, held_by_all(s)), minus(p->max, p->held)));
}

/* ---- who gives ---- */

struct plan {
	const struct kv_policy_snapshot *s;
	uint32_t requester;
	uint64_t missing;              /* still to be found */
	uint64_t taken[KV_POLICY_MAX]; /* by this plan, of each */
	uint64_t shares[KV_POLICY_MAX];
	struct kv_policy_decision *decisions;
	uint32_t n;
};

static void note(struct plan *plan, uint32_t victim, enum kv_policy_reason reason, uint64_t bytes)
{
	const struct kv_policy_process *from = &plan->s->processes[victim];
	const struct kv_policy_process *to = &plan->s->processes[plan->requester];
	struct kv_policy_decision *decision = &plan->decisions[plan->n++];
	double mib = (double)bytes / MIB;
	char *text = decision->text;

	decision->requester = plan->requester;
	decision->victim = victim;
	decision->reason = reason;
	decision->bytes = bytes;
	switch (reason) {
	case KV_POLICY_SPARE:
		snprintf(text, KV_POLICY_TEXT, "%.0f MiB: %d has them spare", mib, from->pid);
		break;
	case KV_POLICY_DEAD:
		snprintf(text, KV_POLICY_TEXT, "%.0f MiB: %d will not read them again", mib,
			from->pid);
		break;
	case KV_POLICY_IDLE:
		snprintf(text, KV_POLICY_TEXT, "%.0f MiB: %d has been idle for %.1f s", mib,
			from->pid, (double)minus(plan->s->now_ns, from->activity_ns) / 1e9);
		break;
	case KV_POLICY_SHARE:
		snprintf(text, KV_POLICY_TEXT,
			"%.0f MiB: %d holds %.0f (share %.0f), %d %.0f (share %.0f)", mib,
			from->pid, (double)from->held / MIB, (double)plan->shares[victim] / MIB,
			to->pid, (double)to->held / MIB,
			(double)plan->shares[plan->requester] / MIB);
		break;
	case KV_POLICY_LIMIT:
		snprintf(text, KV_POLICY_TEXT,
			"%.0f MiB refused: %d holds %.0f, its maximum is %.0f", mib, to->pid,
			(double)to->held / MIB, (double)to->max / MIB);
		break;
	case KV_POLICY_NOBODY:
		snprintf(text, KV_POLICY_TEXT,
			"%.0f MiB: nobody can give them to %d (holds %.0f, share %.0f)", mib,
			to->pid, (double)to->held / MIB,
			(double)plan->shares[plan->requester] / MIB);
		break;
	}
}

/* Takes up to available from victim. */
static void take(
	struct plan *plan, uint32_t victim, enum kv_policy_reason reason, uint64_t available)
{
	uint64_t bytes = least(available, plan->missing);

	if (!bytes)
		return;
	note(plan, victim, reason, bytes);
	plan->taken[victim] += bytes;
	plan->missing -= bytes;
}

/* What a process could give beyond what was taken from it already. */
static uint64_t could_give(const struct plan *plan, uint32_t i)
{
	const struct kv_policy_process *p = &plan->s->processes[i];

	return minus(minus(p->held, p->pinned), plan->taken[i]);
}

static bool may_ask(const struct plan *plan, uint32_t i)
{
	return i != plan->requester && !plan->s->processes[i].silent;
}

static uint64_t spare_of(const struct plan *plan, uint32_t i)
{
	return least(plan->s->processes[i].spare, could_give(plan, i));
}

static uint64_t dead_of(const struct plan *plan, uint32_t i)
{
	return least(plan->s->processes[i].dead, could_give(plan, i));
}

static uint64_t idle_of(const struct plan *plan, uint32_t i)
{
	return plan->s->processes[i].busy ? 0 : could_give(plan, i);
}

static uint64_t above_share_of(const struct plan *plan, uint32_t i)
{
	const struct kv_policy_process *p = &plan->s->processes[i];

	if (!p->busy || minus(plan->s->now_ns, p->resident_ns) < plan->s->residency_ns)
		return 0;
	return least(minus(minus(p->held, plan->taken[i]), plan->shares[i]), could_give(plan, i));
}

static uint64_t idle_time_of(const struct plan *plan, uint32_t i)
{
	/* at least 1: order among those that have something to give */
	return minus(plan->s->now_ns, plan->s->processes[i].activity_ns) + 1;
}

/* Asks all, the one with the largest key first, until nothing is missing. */
static void ask_all(struct plan *plan, enum kv_policy_reason reason,
	uint64_t (*available)(const struct plan *plan, uint32_t i),
	uint64_t (*key)(const struct plan *plan, uint32_t i))
{
	bool asked[KV_POLICY_MAX] = {false};

	while (plan->missing) {
		uint64_t best_key = 0;
		uint32_t best = 0;

		for (uint32_t i = 0; i < plan->s->n; i++) {
			if (asked[i] || !may_ask(plan, i) || !available(plan, i) ||
				key(plan, i) <= best_key)
				continue;
			best_key = key(plan, i);
			best = i;
		}
		if (!best_key)
			return;
		asked[best] = true;
		take(plan, best, reason, available(plan, best));
	}
}

uint32_t kv_policy_decide(const struct kv_policy_snapshot *s, uint32_t requester, uint64_t bytes,
	struct kv_policy_decision *ret_decisions)
{
	const struct kv_policy_process *to = &s->processes[requester];
	struct plan plan = {.s = s, .requester = requester, .decisions = ret_decisions};
	uint64_t allowed = least(bytes, minus(to->max, to->held)), rest;

	kv_policy_shares(s, plan.shares);
	plan.missing = allowed;
	ask_all(&plan, KV_POLICY_SPARE, spare_of, spare_of);
	ask_all(&plan, KV_POLICY_DEAD, dead_of, dead_of);
	ask_all(&plan, KV_POLICY_IDLE, idle_of, idle_time_of);
	/* What others use is only for one that has less than its share, and only up to it. */
	rest = plan.missing;
	plan.missing = least(rest, minus(plan.shares[requester], to->held));
	rest -= plan.missing;
	ask_all(&plan, KV_POLICY_SHARE, above_share_of, above_share_of);
	rest += plan.missing;
	if (rest)
		note(&plan, requester, KV_POLICY_NOBODY, rest);
	if (bytes > allowed)
		note(&plan, requester, KV_POLICY_LIMIT, bytes - allowed);
	return plan.n;
}
