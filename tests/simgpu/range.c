/* SPDX-License-Identifier: Apache-2.0 */
/* range.c - the address space: a sorted table of ranges. Guarded by sim_memory_lock. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory.h"

static struct sim_range **table;
static size_t n_ranges, cap;
static uint64_t last_id;
static uint64_t low_next = 0x302000000ull; /* SIMGPU_LOW_ADDRESSES: the next reservation */

/* Index of the first range that ends above addr. */
static size_t lower_bound(uint64_t addr)
{
	size_t low = 0, high = n_ranges;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (table[mid]->base + table[mid]->span <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool insert(struct sim_range *range)
{
	size_t at = lower_bound(range->base);

	if (at < n_ranges && table[at]->base < range->base + range->span)
		return false;
	if (n_ranges == cap) {
		size_t more = cap ? cap * 2 : 64;
		struct sim_range **grown = realloc(table, more * sizeof(*table));
		if (!grown)
			return false;
		table = grown;
		cap = more;
	}
	memmove(&table[at + 1], &table[at], (n_ranges - at) * sizeof(*table));
	table[at] = range;
	n_ranges++;
	range->id = ++last_id;
	return true;
}

/* Inaccessible address space. 0: none left. */
static uint64_t take_addresses(uint64_t span, uint64_t align, uint64_t hint, bool low)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	if (low && !hint) {
		hint = (low_next + align - 1) / align * align;
		low_next = hint + span;
	}
	if (hint && hint % align == 0) {
		void *at = mmap((void *)hint, span, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
		if (at == (void *)hint)
			return hint;
		if (at != MAP_FAILED)
			munmap(at, span);
	}
	uint8_t *at = mmap(NULL, span + align, PROT_NONE, flags, -1, 0);
	if (at == MAP_FAILED)
		return 0;
	uint8_t *begin = (uint8_t *)(((uint64_t)at + align - 1) / align * align);
	if (begin > at)
		munmap(at, (size_t)(begin - at));
	munmap(begin + span, (size_t)(at + align - begin));
	return (uint64_t)begin;
}

struct sim_range *sim_range_new(
	enum sim_range_kind kind, uint64_t size, uint64_t align, uint64_t hint)
{
	struct sim_range *range = calloc(1, sizeof(*range));
	bool reserved = kind == SIM_RANGE_RESERVED;

	if (!range)
		return NULL;
	range->kind = kind;
	range->size = size;
	range->span = (size + 4095) / 4096 * 4096;
	range->device = -1;
	range->manager = sim_is_manager();
	if (range->span < size)
		goto no_range;
	range->base = take_addresses(range->span, align < 4096 ? 4096 : align, hint,
		reserved && sim_config.low_addresses);
	if (!range->base)
		goto no_range;
	if (reserved) {
		range->n_pages = size / SIM_GRANULARITY;
		range->pages = calloc(range->n_pages + 1, sizeof(*range->pages));
		if (!range->pages)
			goto no_pages;
		if (sim_config.mirror && range->manager)
			range->mirror = sim_store_new(size, 0, true);
	}
	if (!insert(range))
		goto no_insert;
	return range;
no_insert:
	sim_store_free(range->mirror);
	free(range->pages);
no_pages:
	munmap((void *)range->base, range->span);
no_range:
	free(range);
	return NULL;
}

struct sim_range *sim_range_over(enum sim_range_kind kind, uint64_t base, uint64_t size)
{
	struct sim_range *range = calloc(1, sizeof(*range));

	if (!range)
		return NULL;
	range->kind = kind;
	range->base = base;
	range->size = range->span = size;
	range->device = -1;
	range->manager = sim_is_manager();
	if (!insert(range)) {
		free(range);
		return NULL;
	}
	return range;
}

void sim_range_free(struct sim_range *range)
{
	size_t at = lower_bound(range->base);

	memmove(&table[at], &table[at + 1], (n_ranges - at - 1) * sizeof(*table));
	n_ranges--;
	if (range->kind != SIM_RANGE_REGISTERED)
		munmap((void *)range->base, range->span);
	sim_store_free(range->mirror);
	free(range->pages);
	free(range);
}

struct sim_range *sim_range_find(uint64_t addr)
{
	size_t at = lower_bound(addr);

	if (at == n_ranges || addr < table[at]->base || addr - table[at]->base >= table[at]->size)
		return NULL;
	return table[at];
}

struct sim_range *sim_range_at(uint64_t base)
{
	size_t at = lower_bound(base);

	return at < n_ranges && table[at]->base == base ? table[at] : NULL;
}

void sim_ranges_each(void (*visit)(struct sim_range *range, void *arg), void *arg)
{
	/* Backwards, so that visit may free the range it is given. */
	for (size_t i = n_ranges; i-- > 0;)
		visit(table[i], arg);
}

uint64_t sim_ranges_count(void)
{
	return n_ranges;
}

struct sim_mapping *sim_range_mapping(const struct sim_range *range, uint64_t addr)
{
	uint64_t page = (addr - range->base) / SIM_GRANULARITY;

	return page < range->n_pages ? range->pages[page] : NULL;
}
