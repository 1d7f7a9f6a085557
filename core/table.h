/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - the sorted table of live reservations that every launch searches. Private to core.
 *
 * Readers take no lock: a sequence count tells them that a writer was at work, and they try again.
 * All fields are atomics. Instead of fences (which ThreadSanitizer cannot see) data is stored with
 * release and loaded with acquire: a reader that meets a new value also meets the odd count written
 * before it. On x86-64 both are plain moves.
 *
 * Writers hold lock (KV_RANK_TABLE), which also guards the recycled reservation objects.
 */
#ifndef KV_CORE_TABLE_H
#define KV_CORE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "core/rank.h"

#define KV_TABLE_ROWS 4096u

struct kv_table {
	_Atomic uint32_t seq;    /* atomic: odd while a writer is at work; partners in lookup() */
	_Atomic uint32_t n_rows; /* atomic: like the rows */
	_Atomic uint64_t lo;     /* atomic: relaxed; bounds of all rows, see struct kv_core_hot */
	_Atomic uint64_t hi;
	/* Sorted by base. atomic: release under lock, acquire without it */
	_Atomic uint64_t base[KV_TABLE_ROWS];
	_Atomic uint64_t end[KV_TABLE_ROWS];
	_Atomic(struct kv_reservation *) reservation[KV_TABLE_ROWS];
	_Atomic bool quiet[KV_TABLE_ROWS]; /* static and whole: no launch has to care */
	struct kv_lock lock;
	/* immutable after init; its bounds and grains are kept by the table: */
	struct kv_core_hot *hot;
};

void kv_table_init(struct kv_table *table, struct kv_core_hot *hot);

/* Adds a row for r, which covers [base, end). -ENOSPC: full. Takes lock. */
int kv_table_insert(struct kv_table *table, struct kv_reservation *r, uint64_t base, uint64_t end);
/* Takes the row of r out. Takes lock. */
void kv_table_remove(struct kv_table *table, struct kv_reservation *r);
/* Copies r->quiet into the row of r, if it has one. To be called after each change of r->quiet,
 * without the reservation's mutex: whoever comes last copies the newest value. Takes lock. */
void kv_table_refresh(struct kv_table *table, struct kv_reservation *r);

/* The row that contains addr: lock-free unless a writer stays in the way. */
struct kv_reservation *kv_table_find(struct kv_table *table, uint64_t addr, bool *ret_quiet);
/* The row that starts at addr exactly. */
struct kv_reservation *kv_table_at(struct kv_table *table, uint64_t addr);
/* The first row with a base above after (0 to begin), or NULL. ret_base: its base. Takes lock. */
struct kv_reservation *kv_table_next(struct kv_table *table, uint64_t after, uint64_t *ret_base);

#endif
