/* SPDX-License-Identifier: Apache-2.0 */
/* coord_promise.c - what was promised to reservations, of a device and of host budgets; see
 * ledger.h. */
#include <errno.h>

#include "core/coord_ledger_body.h"

void kv_coord_ledger_seen(void *ctx, uint64_t free_bytes, uint64_t total_bytes)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_account account;
	uint64_t explained = 0;

	if (!kv_coord_is_mine(coord) || kv_coord_ledger_lock(coord, LOCK_NS) != 0)
		return;
	for (uint32_t i = 0, end = kv_coord_used_end(segment, 0); i < end; i++) {
		kv_coord_read_account(segment, i, &account);
		explained = kv_coord_add(explained, kv_coord_add(account.held, account.native));
	}
	put64(&segment->outside,
		kv_coord_minus(kv_coord_minus(total_bytes, free_bytes), explained));
	put64(&segment->free_seen, free_bytes);
	put64(&segment->free_seen_ns, kv_coord_now_ns());
	kv_coord_unlock(coord);
}

/* Locked. */
static bool can_promise(struct kv_coord *coord, uint64_t reserve, uint64_t native)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_account account, mine;
	struct kv_coord_limits limits;
	uint64_t overcommit = 0, asked, there;

	kv_coord_sum(segment);
	for (uint32_t i = 0, end = kv_coord_used_end(segment, 0); i < end; i++) {
		kv_coord_read_account(segment, i, &account);
		if (account.overcommit > overcommit)
			overcommit = account.overcommit;
	}
	kv_coord_read_account(segment, coord->index, &mine);
	asked = kv_coord_add(segment->promised_total, segment->native_total);
	asked = kv_coord_add(kv_coord_add(asked, segment->outside), kv_coord_add(reserve, native));
	there = kv_coord_add(
		kv_coord_add(segment->gpu_total, segment->host_budget_total), overcommit);
	if (asked > there)
		return false;
	/* A maximum of its own is no less of a bound than the device. */
	if (kv_coord_limits(coord, coord->index, &limits, NULL) != 0 || !reserve)
		return true;
	return kv_coord_add(mine.promised, reserve) <=
	       kv_coord_add(kv_coord_add(limits.max, mine.host_budget), mine.overcommit);
}

int kv_coord_ledger_promise(void *ctx, uint64_t reserve, uint64_t native)
{
	struct kv_coord *coord = ctx;
	bool can;

	if (!kv_coord_is_mine(coord) ||
		kv_coord_ledger_lock_or_go_blind(coord, coord->lock_timeout_ns) != 0)
		return -EAGAIN;
	can = can_promise(coord, reserve, native);
	if (!can) {
		kv_coord_sweep(coord);
		can = can_promise(coord, reserve, native);
	}
	if (can && reserve) {
		__atomic_add_fetch(&account_of(coord)->promised, reserve, __ATOMIC_RELAXED);
		KV_COORD_POINT("promise: made, sums are old");
		kv_coord_sum(coord->file.segment);
	}
	kv_coord_unlock(coord);
	return can ? 0 : -ENOMEM;
}

void kv_coord_ledger_unpromise(void *ctx, uint64_t bytes)
{
	struct kv_coord *coord = ctx;

	/* Down needs no mutex; another thread may be promising meanwhile. */
	if (kv_coord_is_mine(coord)) {
		uint64_t *promised = &account_of(coord)->promised, old;

		old = __atomic_load_n(promised, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(promised, &old, kv_coord_minus(old, bytes),
			false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			;
	}
}

void kv_coord_ledger_promised(void *ctx, uint64_t bytes)
{
	struct kv_coord *coord = ctx;

	if (kv_coord_is_mine(coord))
		__atomic_add_fetch(&account_of(coord)->promised, bytes, __ATOMIC_RELAXED);
}
