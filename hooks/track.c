/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track.c - sorted tables of ranges with readers that take no lock.
 *
 * Writers hold the table's mutex and make the sequence odd while they move rows; readers search
 * without a lock and search again if the sequence moved. A table that grows gets new rows, and the
 * old ones are never freed, since a reader may be in them: sizes double, so that what is lost is
 * less than what is used.
 */
#include "hooks/track.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "hooks/call.h"

struct row {
	_Atomic uint64_t start;           /* atomic: relaxed, validated by the table's sequence */
	_Atomic uint64_t end;             /* the same */
	_Atomic(struct kv_space *) space; /* the same */
	_Atomic uint32_t kind;            /* the same */
	const void *owner;                /* guarded by the table's mutex; context, NULL: none */
};

struct table {
	pthread_mutex_t mutex;     /* of writers */
	_Atomic uint32_t sequence; /* odd while rows move; atomic: see the functions */
	_Atomic uint32_t n;        /* atomic: relaxed, validated by sequence */
	_Atomic(struct row *)
		rows; /* sorted by start; atomic: release, partner acquire in readers */
	struct kv_track_bounds *bounds; /* immutable */
	uint32_t size;                  /* guarded by mutex */
};

#define NO_BOUNDS \
	{ \
		.low = UINT64_MAX \
	}
#define TABLE(its_bounds) \
	{ \
		.mutex = PTHREAD_MUTEX_INITIALIZER, .bounds = &(its_bounds) \
	}

struct kv_track_bounds kv_track_host = NO_BOUNDS;
static struct kv_track_bounds native_bounds = NO_BOUNDS;

static struct table native = TABLE(native_bounds);  /* device memory of the engine's own */
static struct table visible = TABLE(kv_track_host); /* host memory that the GPU can read */

static struct table *table_of(enum kv_track_kind kind)
{
	switch (kind) {
	case KV_TRACK_NATIVE:
		return &native;
	default:
		return &visible;
	}
}

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* Index of the first row that starts above addr. */
static uint32_t upper_bound(struct row *rows, uint32_t n, uint64_t addr)
{
	uint32_t low = 0, high = n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (GET(rows[middle].start) <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void row_copy(struct row *to, struct row *from)
{
	SET(to->start, GET(from->start));
	SET(to->end, GET(from->end));
	SET(to->space, GET(from->space));
	SET(to->kind, GET(from->kind));
	to->owner = from->owner;
}

/* ---- readers ---- */

struct found {
	uint64_t start, end;
	uint32_t kind;
};

static bool table_find(struct table *table, uint64_t addr, struct found *ret_found)
{
	for (uint32_t tries = 0;; tries++) {
		/* acquire: partner is the release that ends write_begin/write_end; rows are read
		 * after. */
		uint32_t sequence = atomic_load_explicit(&table->sequence, memory_order_acquire);
		bool hit = false;

		if (!(sequence & 1)) {
			struct row *rows = atomic_load_explicit(&table->rows, memory_order_acquire);
			uint32_t i = rows ? upper_bound(rows, GET(table->n), addr) : 0;

			if (i > 0) {
				ret_found->start = GET(rows[i - 1].start);
				ret_found->end = GET(rows[i - 1].end);
				ret_found->kind = GET(rows[i - 1].kind);
				hit = addr < ret_found->end;
			}
			/* acquire fence: the loads above are done before the sequence is read
			 * again. */
			atomic_thread_fence(memory_order_acquire);
			if (atomic_load_explicit(&table->sequence, memory_order_relaxed) ==
				sequence)
				return hit;
		}
		if (tries > 100)
			sched_yield(); /* the writer was preempted */
	}
}

static bool outside(struct table *table, uint64_t addr)
{
	return addr < GET(table->bounds->low) || addr >= GET(table->bounds->high);
}

bool kv_track_is_host_visible(uint64_t word)
{
	struct found found;

	return kv_unlikely(!outside(&visible, word)) && table_find(&visible, word, &found);
}

bool kv_track_find(
	uint64_t addr, enum kv_track_kind *ret_kind, uint64_t *ret_base, uint64_t *ret_size)
{
	struct table *const tables[] = {&native, &visible};
	struct found found;

	for (int i = 0; i < 2; i++) {
		if (outside(tables[i], addr) || !table_find(tables[i], addr, &found))
			continue;
		*ret_kind = (enum kv_track_kind)found.kind;
		*ret_base = found.start;
		*ret_size = found.end - found.start;
		return true;
	}
	return false;
}

/* ---- writers; the table's mutex is held ---- */

static void write_begin(struct table *table)
{
	atomic_store_explicit(&table->sequence, GET(table->sequence) + 1, memory_order_relaxed);
	/* release fence: nobody sees a moved row with the even sequence of before. */
	atomic_thread_fence(memory_order_release);
}

static void write_end(struct table *table)
{
	/* release: partner is the acquire load in table_find(). */
	atomic_store_explicit(&table->sequence, GET(table->sequence) + 1, memory_order_release);
}

static bool table_grow(struct table *table)
{
	uint32_t size = table->size ? table->size * 2 : 64;
	struct row *old = GET(table->rows);
	struct row *rows = calloc(size, sizeof(*rows));

	if (!rows)
		return false;
	for (uint32_t i = 0; i < GET(table->n); i++)
		row_copy(&rows[i], &old[i]);
	table->size = size;
	/* release: partner is the acquire load of rows; a reader in the old rows finds them
	 * unchanged, or changed under an odd sequence. */
	atomic_store_explicit(&table->rows, rows, memory_order_release);
	return true;
}

static struct row *table_exact(struct table *table, uint64_t addr, uint32_t *ret_index)
{
	struct row *rows = GET(table->rows);
	uint32_t i = rows ? upper_bound(rows, GET(table->n), addr) : 0;

	if (i == 0 || GET(rows[i - 1].start) != addr)
		return NULL;
	*ret_index = i - 1;
	return &rows[i - 1];
}

static void table_insert(
	struct table *table, const struct found *range, struct kv_space *space, const void *owner)
{
	uint32_t n = GET(table->n), i;
	struct row *rows;

	if (n == table->size && !table_grow(table))
		return;
	rows = GET(table->rows);
	i = upper_bound(rows, n, range->start);
	if (range->start < GET(table->bounds->low))
		SET(table->bounds->low, range->start);
	if (range->end > GET(table->bounds->high))
		SET(table->bounds->high, range->end);
	write_begin(table);
	for (uint32_t k = n; k > i; k--)
		row_copy(&rows[k], &rows[k - 1]);
	SET(rows[i].start, range->start);
	SET(rows[i].end, range->end);
	SET(rows[i].kind, range->kind);
	SET(rows[i].space, space);
	rows[i].owner = owner;
	SET(table->n, n + 1);
	write_end(table);
}

static void table_erase(struct table *table, uint32_t index)
{
	struct row *rows = GET(table->rows);
	uint32_t n = GET(table->n);

	write_begin(table);
	for (uint32_t k = index; k + 1 < n; k++)
		row_copy(&rows[k], &rows[k + 1]);
	SET(table->n, n - 1);
	write_end(table);
}

/* ---- the two halves of the books ---- */

/* Only device memory counts as native in the statistics. */
static void account(enum kv_track_kind kind, struct kv_space *space, int64_t delta)
{
	if (space && kind == KV_TRACK_NATIVE)
		kv_space_native(space, delta);
}

void kv_track_add(enum kv_track_kind kind, uint64_t addr, uint64_t size, struct kv_space *space)
{
	kv_track_add_owned(kind, addr, size, space, NULL);
}

void kv_track_add_owned(enum kv_track_kind kind, uint64_t addr, uint64_t size,
	struct kv_space *space, const void *owner)
{
	struct table *table = table_of(kind);
	struct found range = {addr, addr + size, kind};
	struct kv_space *old_space = NULL;
	uint64_t old_size = 0;
	struct row *row;
	uint32_t index;

	if (!addr)
		return;
	if (range.end <= addr)
		range.end = addr + 1;
	if (table == &visible && kv_hooks.core)
		kv_core_watch(kv_hooks.core, addr, range.end);
	pthread_mutex_lock(&table->mutex);
	row = table_exact(table, addr, &index);
	if (row) {
		old_space = GET(row->space);
		old_size = GET(row->end) - addr;
		table_erase(table, index);
	}
	table_insert(table, &range, space, owner);
	pthread_mutex_unlock(&table->mutex);
	account(kind, old_space, -(int64_t)old_size);
	account(kind, space, (int64_t)size);
}

uint64_t kv_track_remove(enum kv_track_kind kind, uint64_t addr)
{
	struct table *table = table_of(kind);
	struct kv_space *space = NULL;
	uint64_t size = 0;
	struct row *row;
	uint32_t index;

	pthread_mutex_lock(&table->mutex);
	row = table_exact(table, addr, &index);
	if (row) {
		space = GET(row->space);
		size = GET(row->end) - addr;
		table_erase(table, index);
	}
	pthread_mutex_unlock(&table->mutex);
	account(kind, space, -(int64_t)size);
	return size;
}

void kv_track_forget(struct kv_space *space, const void *owner, bool with_pools)
{
	uint64_t size = 0;
	struct row *rows;

	pthread_mutex_lock(&native.mutex);
	rows = GET(native.rows);
	for (uint32_t i = GET(native.n); i-- > 0;) {
		if (GET(rows[i].space) != space ||
			(rows[i].owner != owner && !(with_pools && !rows[i].owner)))
			continue;
		size += GET(rows[i].end) - GET(rows[i].start);
		table_erase(&native, i);
	}
	pthread_mutex_unlock(&native.mutex);
	account(KV_TRACK_NATIVE, space, -(int64_t)size);
}
