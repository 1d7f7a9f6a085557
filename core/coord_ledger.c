/* SPDX-License-Identifier: Apache-2.0 */
/* coord_ledger.c - see coord_ledger.h. */
#include "core/coord_ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/coord_grant.h"
#include "core/coord_ledger_body.h"

/* ---- up: under the segment's mutex ---- */

static bool is_blind(const struct kv_coord_ledger *l)
{
	return kv_coord_now_ns() < __atomic_load_n(&l->blind_until_ns, __ATOMIC_RELAXED);
}

/* The mutex was not to be had for as long as one may wait for it. */
static void go_blind(struct kv_coord_ledger *l)
{
	__atomic_store_n(&l->blind_until_ns, kv_coord_now_ns() + BLIND_NS, __ATOMIC_RELAXED);
}

int kv_coord_ledger_lock(struct kv_coord *coord, uint64_t timeout_ns)
{
	int error = kv_coord_lock_within(coord, is_blind(coord->ledger) ? 0 : timeout_ns);

	if (!error)
		__atomic_add_fetch(&coord->ledger->n_locks, 1, __ATOMIC_RELAXED);
	return error;
}

int kv_coord_ledger_lock_or_go_blind(struct kv_coord *coord, uint64_t timeout_ns)
{
	int error = kv_coord_ledger_lock(coord, timeout_ns);

	if (error == -ETIMEDOUT && !is_blind(coord->ledger))
		go_blind(coord->ledger);
	return error;
}

/* Both locked. */
static void raise_by(struct kv_coord *coord, uint64_t bytes)
{
	struct kv_coord_ledger *l = coord->ledger;
	struct kv_coord_account *account = account_of(coord);

	l->charged += bytes;
	put64(&account->charged, l->charged);
	__atomic_store_n(&account->blind, l->used > l->charged, __ATOMIC_RELAXED);
	KV_COORD_POINT("charge: raised, sums are old");
	kv_coord_sum(coord->file.segment);
}

/* The ledger's mutex is held. */
static bool within_maximum(struct kv_coord *coord, uint64_t bytes)
{
	struct kv_coord_limits limits;

	return kv_coord_limits(coord, coord->index, &limits, NULL) != 0 ||
	       kv_coord_add(coord->ledger->used, bytes) <= limits.max;
}

/* What is in use: by pages, and what is kept for native memory. The ledger's mutex is held. */
static uint64_t in_use(const struct kv_coord_ledger *l)
{
	return kv_coord_add(l->used, l->aside);
}

/* Raises the charge so that bytes more can be used. The ledger's mutex is held. */
static int refill(struct kv_coord *coord, uint64_t bytes)
{
	struct kv_coord_ledger *l = coord->ledger;
	struct kv_coord_snapshot *s = &l->scratch.snapshot;
	uint64_t grant, needed, debt, more = l->config.lease_bytes;
	int error = kv_coord_ledger_lock(coord, LOCK_NS);

	/* its holder does not let go: see coord_ledger.h */
	if (error)
		return is_blind(l) && within_maximum(coord, bytes) ? 0 : -ENOMEM;
	KV_COORD_POINT("charge: locked");
	/* what was taken blindly is charged first */
	debt = kv_coord_minus(l->used, l->charged);
	needed = kv_coord_minus(in_use(l) + bytes, l->charged);
	kv_coord_snapshot(coord, 0, l->config.residency_ns, l->config.wait_ns, s);
	/* Nothing ahead while others wait; and the last memory is not for leases. */
	if (__atomic_load_n(&coord->file.segment->n_waiting, __ATOMIC_RELAXED))
		more = 0;
	else if (more > kv_coord_minus(s->policy.capacity, s->charged) / 8)
		more = kv_coord_minus(s->policy.capacity, s->charged) / 8;
	grant = kv_policy_grant(&s->policy, s->me, needed + more);
	if (grant < needed) {
		grant = grant < debt ? grant : debt;
		error = -ENOMEM;
	}
	if (grant)
		raise_by(coord, grant);
	kv_coord_unlock(coord);
	return error;
}

static int ledger_charge(void *ctx, uint64_t bytes)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_ledger *l = coord->ledger;
	int error = 0;

	pthread_mutex_lock(&l->mutex);
	if (kv_coord_is_mine(coord)) {
		if (bytes > UINT64_MAX - in_use(l))
			error = -ENOMEM;
		else if (in_use(l) + bytes > l->charged)
			error = refill(coord, bytes);
		if (!error) {
			l->used += bytes;
			l->fresh = kv_coord_minus(l->fresh, bytes);
			if (l->used > l->charged)
				__atomic_store_n(&account_of(coord)->blind, 1, __ATOMIC_RELAXED);
			/* release: whoever reads what is held reads a charge that covers it;
			 * partner is kv_coord_read_account() */
			__atomic_store_n(&account_of(coord)->held, l->used, __ATOMIC_RELEASE);
		}
	}
	pthread_mutex_unlock(&l->mutex);
	return error;
}

/* Raises the charge so that bytes more can be used, if nobody will miss them. The ledger's mutex is
 * held. */
static int refill_unneeded(struct kv_coord *coord, uint64_t bytes, uint64_t keep)
{
	struct kv_coord_ledger *l = coord->ledger;
	struct kv_coord_snapshot *s = &l->scratch.snapshot;
	uint64_t needed, unused;
	int error = -ENOMEM;

	if (kv_coord_ledger_lock(coord, LOCK_NS) < 0)
		return -ENOMEM;
	kv_coord_snapshot(coord, 0, l->config.residency_ns, l->config.wait_ns, s);
	needed = kv_coord_minus(in_use(l) + bytes, l->charged);
	unused = kv_coord_minus(s->policy.capacity, s->charged);
	if (!__atomic_load_n(&coord->file.segment->n_waiting, __ATOMIC_RELAXED) && unused >= keep &&
		unused - keep >= needed && kv_policy_grant(&s->policy, s->me, needed) == needed) {
		error = 0;
		if (needed)
			raise_by(coord, needed);
	}
	kv_coord_unlock(coord);
	return error;
}

static int ledger_charge_unneeded(void *ctx, uint64_t bytes, uint64_t keep)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_ledger *l = coord->ledger;
	int error = 0;

	pthread_mutex_lock(&l->mutex);
	if (kv_coord_is_mine(coord)) {
		error = bytes > UINT64_MAX - in_use(l) ? -ENOMEM
						       : refill_unneeded(coord, bytes, keep);
		if (!error) {
			l->used += bytes;
			/* release: see ledger_charge() */
			__atomic_store_n(&account_of(coord)->held, l->used, __ATOMIC_RELEASE);
		}
	}
	pthread_mutex_unlock(&l->mutex);
	return error;
}

/* ---- down: without it ---- */

/*
 * What those who asked for it wait for is theirs from now on. Without the mutex it becomes free
 * instead, as it does for who has not asked. The ledger's mutex is held.
 */
static void grant(struct kv_coord *coord, uint64_t bytes)
{
	struct kv_coord_ledger *l = coord->ledger;

	if (!kv_coord_grant_is_asked(coord) || kv_coord_now_ns() < l->no_grant_ns)
		return;
	/* once, and not for each page that is given with the gate closed */
	if (kv_coord_ledger_lock(coord, LOCK_NS) != 0) {
		l->no_grant_ns = kv_coord_now_ns() + BLIND_NS;
		return;
	}
	l->charged -= kv_coord_grant_give(coord, bytes);
	kv_coord_unlock(coord);
}

/* What is not to be given: what a thread of this process waits for, or has waited for just now. */
static uint64_t wanted(struct kv_coord_ledger *l)
{
	if (l->fresh && kv_coord_now_ns() - l->fresh_ns > FRESH_NS)
		l->fresh = 0;
	return kv_coord_add(l->waiting, l->fresh);
}

/* The ledger's mutex is held. Keeps so many bytes of the lease, and what is wanted. */
static void lower(struct kv_coord *coord, uint64_t keep)
{
	struct kv_coord_ledger *l = coord->ledger;
	struct kv_coord_segment *segment = coord->file.segment;
	uint64_t floor = kv_coord_add(in_use(l), keep > wanted(l) ? keep : wanted(l));
	bool waiting = __atomic_load_n(&segment->n_waiting, __ATOMIC_RELAXED);

	if (floor >= l->charged)
		return;
	if (waiting)
		grant(coord, l->charged - floor);
	if (floor < l->charged) {
		l->charged = floor;
		KV_COORD_POINT("uncharge: lease not given back yet");
		put64(&account_of(coord)->charged, l->charged);
	}
	__atomic_add_fetch(&segment->freed, 1, __ATOMIC_RELEASE);
	if (waiting)
		kv_coord_wake(&segment->freed);
}

static void ledger_uncharge(void *ctx, uint64_t bytes)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_ledger *l = coord->ledger;
	uint64_t keep = l->config.lease_bytes;

	pthread_mutex_lock(&l->mutex);
	if (kv_coord_is_mine(coord)) {
		l->used = kv_coord_minus(l->used, bytes);
		__atomic_store_n(&account_of(coord)->held, l->used, __ATOMIC_RELEASE);
		if (__atomic_load_n(&coord->file.segment->n_waiting, __ATOMIC_RELAXED))
			lower(coord, 0);
		else if (kv_coord_minus(l->charged, in_use(l)) > 2 * keep)
			lower(coord, keep);
	}
	pthread_mutex_unlock(&l->mutex);
}

void kv_coord_ledger_settle(struct kv_coord *coord)
{
	struct kv_coord_ledger *l = coord->ledger;

	if (!l)
		return;
	pthread_mutex_lock(&l->mutex);
	if (kv_coord_is_mine(coord))
		lower(coord, 0);
	pthread_mutex_unlock(&l->mutex);
}

static void ledger_put_aside(void *ctx, int64_t keep)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_ledger *l = coord->ledger;

	pthread_mutex_lock(&l->mutex);
	if (keep < 0) {
		l->aside = kv_coord_minus(l->aside, -(uint64_t)keep);
	} else {
		uint64_t lease = kv_coord_minus(l->charged, in_use(l));

		l->fresh = kv_coord_minus(l->fresh, (uint64_t)keep);
		l->aside += (uint64_t)keep < lease ? (uint64_t)keep : lease;
	}
	if (kv_coord_is_mine(coord))
		lower(coord, 0);
	pthread_mutex_unlock(&l->mutex);
}

uint64_t kv_coord_ledger_catch_up(struct kv_coord *coord)
{
	struct kv_coord_ledger *l = coord->ledger;
	uint64_t debt = 0;

	if (!l || !kv_coord_is_mine(coord) ||
		!__atomic_load_n(&account_of(coord)->blind, __ATOMIC_RELAXED))
		return 0;
	pthread_mutex_lock(&l->mutex);
	if (kv_coord_is_mine(coord) && l->used > l->charged) {
		refill(coord, 0);
		debt = kv_coord_minus(l->used, l->charged);
	}
	__atomic_store_n(&account_of(coord)->blind, debt != 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&l->mutex);
	return debt;
}

static void ledger_forget(void *ctx)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_ledger *l = coord->ledger;

	pthread_mutex_lock(&l->mutex);
	l->used = 0;
	l->aside = l->fresh = 0;
	if (kv_coord_is_mine(coord)) {
		__atomic_store_n(&account_of(coord)->held, 0, __ATOMIC_RELEASE);
		lower(coord, 0);
	}
	pthread_mutex_unlock(&l->mutex);
}

/* ---- waiting ---- */

/* What all threads of this process wait for together. The ledger's mutex is held. */
static void set_waiting(struct kv_coord *coord, uint64_t waiting)
{
	struct kv_coord_account *account = account_of(coord);

	coord->ledger->waiting = waiting;
	if (!kv_coord_is_mine(coord))
		return;
	if (waiting && !account->asked)
		put64(&account->asked_ns, kv_coord_now_ns());
	put64(&account->asked, waiting);
}

/*
 * Also after a wait in vain: what came until now is of use, the rest is spilled. Without the mutex
 * what was granted is lost, since who waits no more has no grant; and the number of those who wait,
 * a hint, is counted by the next one.
 */
static void end_wait(struct kv_coord *coord, uint64_t bytes, bool served)
{
	struct kv_coord_ledger *l = coord->ledger;
	int error;

	pthread_mutex_lock(&l->mutex);
	error = kv_coord_ledger_lock(coord, LOCK_NS);
	if (!error && kv_coord_is_mine(coord))
		l->charged += kv_coord_grant_take(coord);
	set_waiting(coord, kv_coord_minus(l->waiting, bytes));
	if (served) {
		l->fresh = kv_coord_add(kv_coord_minus(wanted(l), l->waiting), bytes);
		l->fresh_ns = kv_coord_now_ns();
	}
	if (!error) {
		kv_coord_sum(coord->file.segment);
		kv_coord_unlock(coord);
	}
	pthread_mutex_unlock(&l->mutex);
}

static int ledger_wait(void *ctx, const struct kv_ledger_wait *wait)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_ledger *l = coord->ledger;
	bool blind = is_blind(l);
	struct kv_coord_wait w = {.coord = coord,
		.scratch = &l->scratch,
		.bytes = wait->bytes,
		/* the mutex is known not to be had: one look, if somebody has let go of it */
		.lock_ns = blind ? 0 : LOCK_NS,
		.deadline_ns = kv_coord_add(wait->start_ns, l->config.wait_ns),
		.residency_ns = l->config.residency_ns,
		.silent_ns = l->config.wait_ns};
	uint64_t grant;
	int error;

	if (!kv_coord_is_mine(coord))
		return -ENOMEM;
	pthread_mutex_lock(&l->mutex);
	set_waiting(coord, kv_coord_add(l->waiting, wait->bytes));
	for (;;) {
		w.descends = wait->descends && wait->descends(wait->arg);
		KV_COORD_POINT("wait: begun");
		error = kv_coord_wait_look(&w, &grant);
		l->charged += grant;
		if (error == -ETIMEDOUT && !w.locked_once && !blind)
			go_blind(l);
		pthread_mutex_unlock(&l->mutex);
		if (w.line[0] && l->config.log)
			l->config.log(l->config.log_ctx, w.line);
		if (error != -EAGAIN)
			break;
		kv_coord_wait_sleep(&w);
		pthread_mutex_lock(&l->mutex);
	}
	end_wait(coord, wait->bytes, error == 0);
	return error == 0 || error == -EDEADLK ? error : -ENOMEM;
}

static int ledger_could_get(void *ctx, uint64_t *ret_bytes)
{
	return kv_coord_ledger_could_get(ctx, ret_bytes);
}

static void ledger_elsewhere(void *ctx, int n)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_segment *segment = coord->file.segment;

	if (!kv_coord_is_mine(coord))
		return;
	__atomic_add_fetch(&account_of(coord)->elsewhere, (uint32_t)n, __ATOMIC_RELAXED);
	if (n < 0 || !__atomic_load_n(&segment->n_waiting, __ATOMIC_RELAXED))
		return;
	/* those who count on this process look again */
	__atomic_add_fetch(&segment->freed, 1, __ATOMIC_RELEASE);
	kv_coord_wake(&segment->freed);
}

static const struct kv_ledger_ops ledger_ops = {
	.put_aside = ledger_put_aside,
	.could_get = ledger_could_get,
	.charge = ledger_charge,
	.charge_unneeded = ledger_charge_unneeded,
	.uncharge = ledger_uncharge,
	.wait = ledger_wait,
	.elsewhere = ledger_elsewhere,
	.seen = kv_coord_ledger_seen,
	.promise = kv_coord_ledger_promise,
	.unpromise = kv_coord_ledger_unpromise,
	.promised = kv_coord_ledger_promised,
	.forget = ledger_forget,
};

/* ---- the rest ---- */

int kv_coord_ledger_new(struct kv_coord *coord, const struct kv_coord_ledger_config *config,
	struct kv_ledger *ret_ledger)
{
	struct kv_coord_ledger *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->config = *config;
	pthread_mutex_init(&l->mutex, NULL);
	coord->ledger = l;
	put64(&account_of(coord)->host_budget, config->host_budget);
	put64(&account_of(coord)->overcommit, config->overcommit);
	ret_ledger->ops = &ledger_ops;
	ret_ledger->ctx = coord;
	memcpy(ret_ledger->order, coord->file.segment->gpu_uuid, sizeof(ret_ledger->order));
	return 0;
}

void kv_coord_ledger_forked(struct kv_coord *coord)
{
	/* the child's only thread: nobody holds it, whatever it says */
	if (coord->ledger)
		pthread_mutex_init(&coord->ledger->mutex, NULL);
}

uint64_t kv_coord_ledger_excess(struct kv_coord *coord)
{
	struct kv_coord_limits limits;

	if (!coord->ledger || !kv_coord_is_mine(coord) ||
		kv_coord_limits(coord, coord->index, &limits, NULL) != 0)
		return 0;
	return kv_coord_minus(
		__atomic_load_n(&account_of(coord)->held, __ATOMIC_RELAXED), limits.max);
}

/* What a process would give without being asked for what it uses. */
static uint64_t gives(const struct kv_policy_process *p)
{
	uint64_t may = kv_coord_minus(p->held, p->pinned),
		 free_of_charge = kv_coord_add(p->spare, p->dead);

	return !p->busy || free_of_charge > may ? may : free_of_charge;
}

int kv_coord_ledger_could_get(struct kv_coord *coord, uint64_t *ret_bytes)
{
	struct kv_coord_ledger *l = coord->ledger;
	const struct kv_coord_snapshot *s;
	uint64_t could, held, max;

	if (!l || !kv_coord_is_mine(coord) || kv_coord_ledger_lock(coord, LOCK_NS) != 0)
		return -EAGAIN;
	s = &l->scratch.snapshot;
	kv_coord_snapshot(
		coord, 0, l->config.residency_ns, l->config.wait_ns, &l->scratch.snapshot);
	held = __atomic_load_n(&account_of(coord)->held, __ATOMIC_RELAXED);
	could = kv_coord_minus(s->policy.capacity, s->charged);
	/* its own: what it is charged with and does not hold */
	could = kv_coord_add(could, kv_coord_minus(s->policy.processes[s->me].held, held));
	for (uint32_t i = 0; i < s->policy.n; i++)
		if (i != s->me)
			could = kv_coord_add(could, gives(&s->policy.processes[i]));
	max = kv_coord_minus(s->policy.processes[s->me].max, held);
	kv_coord_unlock(coord);
	*ret_bytes = could < max ? could : max;
	return 0;
}

void kv_coord_ledger_set_host_budget(struct kv_coord *coord, uint64_t bytes)
{
	if (kv_coord_is_mine(coord))
		put64(&account_of(coord)->host_budget, bytes);
}

uint64_t kv_coord_ledger_n_locks(const struct kv_coord *coord)
{
	return __atomic_load_n(&coord->ledger->n_locks, __ATOMIC_RELAXED);
}
