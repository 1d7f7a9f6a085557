/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - the reservation table: sorted rows, sequence-locked readers.
 */
#include "core/table.h"

#include <errno.h>

#include "core/reservation.h"
#include "core/poison.h"

/* A writer shifts at most KV_TABLE_ROWS rows, some microseconds; a reader that has tried this often
 * has met a writer that lost its processor and had better sleep on its lock. */
#define READER_TRIES 1000

#define LOAD(field) atomic_load_explicit(&(field), memory_order_acquire)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

void kv_table_init(struct kv_table *table, struct kv_core_hot *hot)
{
	atomic_init(&table->seq, 0);
	atomic_init(&table->n_rows, 0);
	atomic_init(&table->lo, 0);
	atomic_init(&table->hi, 0);
	for (uint32_t i = 0; i < KV_TABLE_ROWS; i++) {
		atomic_init(&table->base[i], 0);
		atomic_init(&table->end[i], 0);
		atomic_init(&table->reservation[i], NULL);
		atomic_init(&table->quiet[i], false);
	}
	kv_lock_init(&table->lock, KV_RANK_TABLE);
	table->hot = hot;
}

/* Number of rows with a base at or below addr. */
static uint32_t rows_up_to(struct kv_table *table, uint64_t addr)
{
	uint32_t low = 0, high = LOAD(table->n_rows);

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (LOAD(table->base[mid]) <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct kv_reservation *search(struct kv_table *table, uint64_t addr, bool *ret_quiet)
{
	uint32_t n = rows_up_to(table, addr);

	if (n == 0 || addr >= LOAD(table->end[n - 1]))
		return NULL;
	*ret_quiet = LOAD(table->quiet[n - 1]);
	return LOAD(table->reservation[n - 1]);
}

struct kv_reservation *kv_table_find(struct kv_table *table, uint64_t addr, bool *ret_quiet)
{
	uint64_t lo = atomic_load_explicit(&table->lo, memory_order_relaxed);
	uint64_t hi = atomic_load_explicit(&table->hi, memory_order_relaxed);
	struct kv_reservation *r;

	if (addr - lo >= hi - lo)
		return NULL;
	for (int i = 0; i < READER_TRIES; i++) {
		uint32_t seq = atomic_load_explicit(&table->seq, memory_order_acquire);

		if (seq & 1)
			continue;
		r = search(table, addr, ret_quiet);
		if (atomic_load_explicit(&table->seq, memory_order_relaxed) == seq)
			return r;
	}
	kv_lock_take(&table->lock);
	r = search(table, addr, ret_quiet);
	kv_lock_drop(&table->lock);
	return r;
}

struct kv_reservation *kv_table_at(struct kv_table *table, uint64_t addr)
{
	bool quiet;
	struct kv_reservation *r = kv_table_find(table, addr, &quiet);

	return r && kv_reservation_base(r) == addr ? r : NULL;
}

struct kv_reservation *kv_table_next(struct kv_table *table, uint64_t after, uint64_t *ret_base)
{
	struct kv_reservation *r = NULL;
	uint32_t i;

	kv_lock_take(&table->lock);
	i = rows_up_to(table, after);
	if (i < LOAD(table->n_rows)) {
		r = LOAD(table->reservation[i]);
		*ret_base = LOAD(table->base[i]);
	}
	kv_lock_drop(&table->lock);
	return r;
}

/* Between write_begin and write_end readers try again. lock is held. */
static void write_begin(struct kv_table *table)
{
	uint32_t seq = atomic_load_explicit(&table->seq, memory_order_relaxed);

	/* Partner: the last load in kv_table_find(). Every STORE after this carries it along. */
	atomic_store_explicit(&table->seq, seq + 1, memory_order_relaxed);
}

static void write_end(struct kv_table *table)
{
	uint32_t seq = atomic_load_explicit(&table->seq, memory_order_relaxed);
	uint32_t n = LOAD(table->n_rows);
	uint64_t lo = 0, hi = 0;

	STORE(table->seq, seq + 1);

	for (uint32_t i = 0; i < n; i++) {
		if (LOAD(table->quiet[i]))
			continue;
		if (hi == 0)
			lo = LOAD(table->base[i]);
		hi = LOAD(table->end[i]);
	}
	atomic_fetch_add_explicit(&table->hot->losses, 1, memory_order_relaxed);
	atomic_store_explicit(&table->hot->lo, lo, memory_order_relaxed);
	atomic_store_explicit(&table->hot->hi, hi, memory_order_relaxed);
	atomic_store_explicit(&table->lo, n ? LOAD(table->base[0]) : 0, memory_order_relaxed);
	atomic_store_explicit(&table->hi, n ? LOAD(table->end[n - 1]) : 0, memory_order_relaxed);
}

/* [base, end) needs attention, or does not any more. lock is held. */
static void notice(struct kv_table *table, uint64_t base, uint64_t end, int delta)
{
	kv_grains_count(&table->hot->grains[KV_GRAINS_FAR], KV_CORE_GRAIN_BITS, base, end, delta);
}

static void move_row(struct kv_table *table, uint32_t to, uint32_t from)
{
	STORE(table->base[to], LOAD(table->base[from]));
	STORE(table->end[to], LOAD(table->end[from]));
	STORE(table->reservation[to], LOAD(table->reservation[from]));
	STORE(table->quiet[to], LOAD(table->quiet[from]));
}

int kv_table_insert(struct kv_table *table, struct kv_reservation *r, uint64_t base, uint64_t end)
{
	uint32_t n, at;

	kv_lock_take(&table->lock);
	n = LOAD(table->n_rows);
	if (n == KV_TABLE_ROWS) {
		kv_lock_drop(&table->lock);
		return -ENOSPC;
	}
	at = rows_up_to(table, base);
	notice(table, base, end, 1);
	write_begin(table);
	for (uint32_t i = n; i > at; i--)
		move_row(table, i, i - 1);
	STORE(table->base[at], base);
	STORE(table->end[at], end);
	STORE(table->reservation[at], r);
	STORE(table->quiet[at], false);
	STORE(table->n_rows, n + 1);
	write_end(table);
	kv_lock_drop(&table->lock);
	return 0;
}

/* The row of r, or KV_TABLE_ROWS. lock is held. */
static uint32_t row_of(struct kv_table *table, struct kv_reservation *r)
{
	uint32_t n = rows_up_to(table, kv_reservation_base(r));

	if (n == 0 || LOAD(table->reservation[n - 1]) != r)
		return KV_TABLE_ROWS;
	return n - 1;
}

void kv_table_remove(struct kv_table *table, struct kv_reservation *r)
{
	uint32_t n, at;

	kv_lock_take(&table->lock);
	n = LOAD(table->n_rows);
	at = row_of(table, r);
	if (at < n) {
		if (!LOAD(table->quiet[at]))
			notice(table, LOAD(table->base[at]), LOAD(table->end[at]), -1);
		write_begin(table);
		for (uint32_t i = at; i + 1 < n; i++)
			move_row(table, i, i + 1);
		STORE(table->reservation[n - 1], NULL);
		STORE(table->n_rows, n - 1);
		write_end(table);
	}
	kv_lock_drop(&table->lock);
}

void kv_table_refresh(struct kv_table *table, struct kv_reservation *r)
{
	uint32_t at;

	kv_lock_take(&table->lock);
	at = row_of(table, r);
	if (at < KV_TABLE_ROWS) {
		bool before = LOAD(table->quiet[at]), now = LOAD(r->quiet);
		uint64_t base = LOAD(table->base[at]), end = LOAD(table->end[at]);

		if (before && !now)
			notice(table, base, end, 1);
		write_begin(table);
		STORE(table->quiet[at], now);
		write_end(table);
		if (now && !before)
			notice(table, base, end, -1);
	}
	kv_lock_drop(&table->lock);
}
