/* SPDX-License-Identifier: Apache-2.0 */
/* coord_wait.c - asking others for device memory, and waiting for it; see coord_snapshot.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/coord_grant.h"
#include "core/coord_snapshot.h"

#define TURN_NS 50000000ull   /* a waiter looks at least this often */
#define SWEEP_NS 200000000ull /* ... and for the dead */
#define LOCK_NS 20000000ull
#define ASK_TRIES 8 /* answers that brought nothing */

static bool is_pending(const struct kv_coord_command *command)
{
	return __atomic_load_n(&command->asked, __ATOMIC_RELAXED) !=
	       __atomic_load_n(&command->answered, __ATOMIC_ACQUIRE);
}

/* Does it submit work, as far as others can see? */
static bool is_busy(const struct kv_coord_account *account, const struct kv_coord_limits *limits,
	uint64_t now_ns)
{
	if (account->asked)
		return true;
	if (account->activity != KV_COORD_BUSY)
		return false;
	return limits->idle_ms || kv_coord_minus(now_ns, account->activity_ns) < KV_COORD_IDLE_NS;
}

static void describe(struct kv_coord *coord, uint32_t slot, const struct kv_coord_account *account,
	uint64_t now_ns, uint64_t silent_ns, struct kv_policy_process *ret)
{
	const struct kv_coord_slot *shared = &coord->file.segment->slots[slot];
	const struct kv_coord_command *command = &shared->control.commands[KV_COORD_RECLAIM];
	struct kv_coord_limits limits = {.max = KV_COORD_NO_LIMIT, .weight = KV_COORD_WEIGHT};

	kv_coord_limits(coord, slot, &limits, NULL);
	*ret = (struct kv_policy_process){
		.pid = shared->owner_pid,
		.busy = is_busy(account, &limits, now_ns),
		.weight = limits.weight,
		.held = kv_coord_add(account->charged, account->granted),
		/* to reap it closes the gate, which it cannot while it waits */
		.dead = account->asked ? 0 : account->dead,
		.pinned = account->pinned,
		.min = limits.min,
		.max = limits.max,
		.activity_ns = account->activity_ns,
		.resident_ns = account->resident_ns,
	};
	ret->wants = kv_coord_add(account->charged, account->asked);
	if (ret->wants < ret->held)
		ret->wants = ret->held;
	/* what is charged and not held is as good as a spare handle, unless it waits for the rest
	 */
	ret->spare = kv_coord_add(account->spare,
		kv_coord_minus(account->charged, kv_coord_add(account->held, account->asked)));
	ret->silent = slot != coord->index && is_pending(command) &&
		      kv_coord_minus(now_ns, command->asked_ns) > silent_ns;
}

void kv_coord_snapshot(struct kv_coord *coord, uint64_t asks, uint64_t residency_ns,
	uint64_t silent_ns, struct kv_coord_snapshot *ret_snapshot)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_policy_snapshot *policy = &ret_snapshot->policy;
	struct kv_coord_account account;
	uint64_t native = 0;

	policy->n = 0;
	policy->now_ns = kv_coord_now_ns();
	policy->residency_ns = residency_ns;
	ret_snapshot->charged = 0;
	for (uint32_t i = 0, end = kv_coord_used_end(segment, coord->index + 1); i < end; i++) {
		struct kv_policy_process *process = &policy->processes[policy->n];

		kv_coord_read_account(segment, i, &account);
		kv_coord_grant_expire(segment, i, policy->now_ns, &account);
		native = kv_coord_add(native, account.native);
		if (!account.charged && !account.granted && !account.asked && i != coord->index)
			continue;
		describe(coord, i, &account, policy->now_ns, silent_ns, process);
		if (i == coord->index) {
			ret_snapshot->me = policy->n;
			process->wants = kv_coord_add(process->held, asks);
			process->busy = true;
		}
		ret_snapshot->charged = kv_coord_add(
			ret_snapshot->charged, kv_coord_add(account.charged, account.granted));
		ret_snapshot->waits[policy->n] = account.asked || account.elsewhere;
		ret_snapshot->slots[policy->n++] = i;
	}
	policy->capacity =
		kv_coord_minus(kv_coord_minus(segment->gpu_total, segment->outside), native);
}

/* ---- a turn ---- */

/* Locked. */
static void record(struct kv_coord *coord, const struct kv_coord_snapshot *s,
	const struct kv_policy_decision *decision)
{
	struct kv_coord_segment *segment = coord->file.segment;
	uint64_t number = segment->n_decisions + 1;
	struct kv_coord_decision *entry = &segment->decisions[(number - 1) % KV_COORD_DECISIONS];

	/* 0 while it is written; readers look at it before and after */
	__atomic_store_n(&entry->number, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	entry->time_ns = s->policy.now_ns;
	entry->requester_pid = s->policy.processes[decision->requester].pid;
	entry->victim_pid = decision->victim == decision->requester
				    ? 0
				    : s->policy.processes[decision->victim].pid;
	entry->bytes = decision->bytes;
	entry->reason = decision->reason;
	snprintf(entry->text, sizeof(entry->text), "%s", decision->text);
	KV_COORD_POINT("decision: written, not numbered");
	__atomic_store_n(&entry->number, number, __ATOMIC_RELEASE);
	__atomic_store_n(&segment->n_decisions, number, __ATOMIC_RELEASE);
}

/* Those who answered again and again and brought nothing are left alone for this wait. */
static void silence(struct kv_coord_wait *w, struct kv_coord_snapshot *s)
{
	for (uint32_t i = 0; i < s->policy.n; i++)
		if (w->n_asked[s->slots[i]] > ASK_TRIES)
			s->policy.processes[i].silent = true;
}

/* Those who wait themselves give only what takes no closed gate. True: that makes a difference. */
static bool leave_out_waiters(struct kv_coord_snapshot *s)
{
	bool some = false;

	for (uint32_t i = 0; i < s->policy.n; i++) {
		struct kv_policy_process *p = &s->policy.processes[i];

		if (i == s->me || !s->waits[i])
			continue;
		p->busy = true;
		p->dead = 0;
		if (p->pinned < kv_coord_minus(p->held, p->spare)) {
			p->pinned = kv_coord_minus(p->held, p->spare);
			some = true;
		}
	}
	return some;
}

/* Locked. One request per victim, of all that it is to give. Returns how many requests are open. */
static uint32_t ask(struct kv_coord_wait *w, uint32_t n)
{
	const struct kv_coord_snapshot *s = &w->scratch->snapshot;
	uint64_t bytes[KV_POLICY_MAX] = {0};
	uint32_t flags[KV_POLICY_MAX] = {0}, n_open = 0, ticket;

	for (uint32_t i = 0; i < n; i++) {
		const struct kv_policy_decision *decision = &w->scratch->decisions[i];
		uint32_t victim = decision->victim;

		if (victim == s->me)
			continue;
		bytes[victim] += decision->bytes;
		if (decision->reason == KV_POLICY_IDLE || decision->reason == KV_POLICY_SHARE)
			flags[victim] |= KV_COORD_IN_USE_TOO;
		if (w->n_asked[s->slots[victim]])
			continue;
		record(w->coord, s, decision);
		snprintf(w->line, sizeof(w->line), "%s", decision->text);
	}
	for (uint32_t i = 0; i < s->policy.n; i++) {
		uint32_t slot = s->slots[i];
		struct kv_coord_command *command =
			&w->coord->file.segment->slots[slot].control.commands[KV_COORD_RECLAIM];

		if (!bytes[i])
			continue;
		n_open++;
		kv_coord_grant_ask(w->coord, slot);
		if (is_pending(command) && w->n_asked[slot])
			continue;
		kv_coord_post_locked(command, bytes[i], flags[i], NULL, &ticket);
		KV_COORD_POINT("wait: posted, not rung");
		if (w->n_asked[slot] < UINT8_MAX)
			w->n_asked[slot]++;
		w->ring[w->n_ring++] = slot;
	}
	return n_open;
}

/* Locked. */
static int decide(struct kv_coord_wait *w, uint64_t *ret_grant)
{
	struct kv_coord_segment *segment = w->coord->file.segment;
	struct kv_coord_account *mine = &segment->accounts[w->coord->index];
	struct kv_coord_snapshot *s = &w->scratch->snapshot;
	uint64_t missing, grant, now = kv_coord_now_ns();
	bool left_out;
	uint32_t n;

	if (now - w->swept_ns >= SWEEP_NS) {
		w->swept_ns = now;
		kv_coord_sweep(w->coord);
	}
	w->freed = __atomic_load_n(&segment->freed, __ATOMIC_ACQUIRE);
	*ret_grant = kv_coord_grant_take(w->coord);
	kv_coord_sum(segment);
	/* Its lease is at hand: what is asked of others is the rest. */
	missing = kv_coord_minus(w->bytes,
		kv_coord_minus(mine->charged, __atomic_load_n(&mine->held, __ATOMIC_ACQUIRE)));
	kv_coord_snapshot(w->coord, missing, w->residency_ns, w->silent_ns, s);
	silence(w, s);
	left_out = w->descends && leave_out_waiters(s);
	/* A part of it is kept at hand until the rest comes: nobody else gets it meanwhile. */
	grant = kv_policy_grant(&s->policy, s->me, missing);
	if (grant) {
		__atomic_store_n(&mine->charged, mine->charged + grant, __ATOMIC_RELAXED);
		KV_COORD_POINT("wait: granted");
		*ret_grant += grant;
		s->policy.processes[s->me].held += grant;
		s->charged += grant;
	}
	if (grant == missing) {
		__atomic_store_n(&mine->resident_ns, now, __ATOMIC_RELAXED);
		return 0;
	}
	n = kv_policy_decide(&s->policy, s->me, missing - grant, w->scratch->decisions);
	if (ask(w, n))
		return -EAGAIN;
	record(w->coord, s, &w->scratch->decisions[0]);
	snprintf(w->line, sizeof(w->line), "%s", w->scratch->decisions[0].text);
	return left_out ? -EDEADLK : -ENOMEM;
}

int kv_coord_wait_look(struct kv_coord_wait *w, uint64_t *ret_grant)
{
	int error = kv_coord_lock_within(w->coord, w->lock_ns);

	*ret_grant = 0;
	w->n_ring = 0;
	w->line[0] = '\0';
	if (!error) {
		w->locked_once = true;
		w->lock_ns = LOCK_NS;
		error = kv_coord_is_mine(w->coord) ? decide(w, ret_grant) : -ENOMEM;
		kv_coord_unlock(w->coord);
	} else {
		/* who knew that it is not to be had has not come to wait for it */
		error = w->lock_ns ? -EAGAIN : -ETIMEDOUT;
	}
	return error == -EAGAIN && kv_coord_now_ns() >= w->deadline_ns ? -ETIMEDOUT : error;
}

void kv_coord_wait_sleep(struct kv_coord_wait *w)
{
	uint64_t left = kv_coord_minus(w->deadline_ns, kv_coord_now_ns());

	for (uint32_t i = 0; i < w->n_ring; i++)
		kv_coord_ring(w->coord, w->ring[i]);
	kv_coord_sleep(&w->coord->file.segment->freed, w->freed, left < TURN_NS ? left : TURN_NS);
}
