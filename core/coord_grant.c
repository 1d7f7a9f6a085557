/* SPDX-License-Identifier: Apache-2.0 */
/* coord_grant.c - see coord_grant.h. */
#include "core/coord_grant.h"

void kv_coord_grant_ask(struct kv_coord *coord, uint32_t slot)
{
	uint64_t *word = &coord->file.segment->accounts[slot].asked_by[coord->index / 64];

	put64(word, get64(word) | 1ull << coord->index % 64);
}

bool kv_coord_grant_is_asked(const struct kv_coord *coord)
{
	const struct kv_coord_account *mine = &coord->file.segment->accounts[coord->index];

	for (uint32_t i = 0; i < KV_COORD_SLOTS / 64; i++)
		if (get64(&mine->asked_by[i]))
			return true;
	return false;
}

/* What it waits for beyond what it has at hand and was granted. */
static uint64_t missing(const struct kv_coord_account *account)
{
	uint64_t there = kv_coord_minus(account->charged, account->held);

	return kv_coord_minus(account->asked, kv_coord_add(there, account->granted));
}

/* The one who waits longest of those who asked, and misses something. KV_COORD_SLOTS: nobody. Bits
 * of those who wait no more go. */
static uint32_t next_waiter(struct kv_coord *coord, struct kv_coord_account *ret_account)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_account *mine = &segment->accounts[coord->index], account;
	uint32_t best = KV_COORD_SLOTS;

	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		uint64_t *word = &mine->asked_by[i / 64];

		if (!(get64(word) >> i % 64 & 1))
			continue;
		kv_coord_read_account(segment, i, &account);
		if (!account.asked || i == coord->index) {
			put64(word, get64(word) & ~(1ull << i % 64));
			continue;
		}
		if (!missing(&account) ||
			(best < KV_COORD_SLOTS && account.asked_ns >= ret_account->asked_ns))
			continue;
		*ret_account = account;
		best = i;
	}
	return best;
}

uint64_t kv_coord_grant_give(struct kv_coord *coord, uint64_t bytes)
{
	struct kv_coord_segment *segment = coord->file.segment;
	struct kv_coord_account *mine = &segment->accounts[coord->index], to;
	uint64_t given = 0;
	uint32_t slot, n = 0;

	if (bytes > get64(&mine->charged))
		bytes = get64(&mine->charged);
	/* each of them misses nothing afterwards; the numbers are those of others, so it is counted
	 */
	while (given < bytes && n++ < KV_COORD_SLOTS &&
		(slot = next_waiter(coord, &to)) < KV_COORD_SLOTS) {
		uint64_t some = missing(&to);

		if (some > bytes - given)
			some = bytes - given;
		put64(&mine->charged, get64(&mine->charged) - some);
		KV_COORD_POINT("grant: given up, nobody's yet");
		/* the time first: a grant is never older than it looks */
		put64(&segment->accounts[slot].granted_ns, kv_coord_now_ns());
		put64(&segment->accounts[slot].granted, kv_coord_add(to.granted, some));
		KV_COORD_POINT("grant: given, sums are old");
		given += some;
	}
	if (given)
		kv_coord_sum(segment);
	return given;
}

uint64_t kv_coord_grant_take(struct kv_coord *coord)
{
	struct kv_coord_account *mine = &coord->file.segment->accounts[coord->index];
	uint64_t granted = get64(&mine->granted);

	if (!granted)
		return 0;
	put64(&mine->granted, 0);
	KV_COORD_POINT("grant: taken, not charged");
	put64(&mine->charged, kv_coord_add(get64(&mine->charged), granted));
	return granted;
}

void kv_coord_grant_expire(struct kv_coord_segment *segment, uint32_t index, uint64_t now_ns,
	struct kv_coord_account *account)
{
	if (!account->granted ||
		(account->asked && kv_coord_minus(now_ns, account->granted_ns) < KV_COORD_GRANT_NS))
		return;
	account->granted = 0;
	put64(&segment->accounts[index].granted, 0);
}
