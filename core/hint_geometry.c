/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint_geometry.c - where the pieces of blocks lie. Pure.
 */
#include <errno.h>

#include "core/hint.h"
#include "core/poison.h"

uint64_t kv_geometry_hull(const struct kv_region_range *range, uint64_t n_blocks)
{
	return (n_blocks - 1) * range->stride + range->bytes;
}

/* False: the range ends beyond the address space. */
static bool fits(const struct kv_region_range *range, uint64_t n_blocks)
{
	uint64_t end;

	return !__builtin_mul_overflow(n_blocks - 1, range->stride, &end) &&
	       !__builtin_add_overflow(end, range->bytes, &end) &&
	       !__builtin_add_overflow(end, range->address, &end);
}

bool kv_geometry_meets(const struct kv_region_range *a, uint64_t n_blocks_a,
	const struct kv_region_range *b, uint64_t n_blocks_b)
{
	uint64_t apart;

	if (a->address > b->address)
		return kv_geometry_meets(b, n_blocks_b, a, n_blocks_a);
	apart = b->address - a->address;
	if (apart >= kv_geometry_hull(a, n_blocks_a))
		return false;
	if (n_blocks_a == 1)
		return apart < a->bytes;
	if (a->stride != b->stride && n_blocks_b > 1)
		return true;
	/* In step: b begins in the gap behind a's pieces, and ends before the next. */
	apart %= a->stride;
	return apart < a->bytes || b->bytes > a->stride - apart;
}

int kv_geometry_check(const struct kv_region_range *ranges, uint64_t n_ranges, uint64_t n_blocks)
{
	if (n_blocks == 0 || n_blocks > INT64_MAX || n_ranges == 0 || !ranges)
		return -EINVAL;
	for (uint64_t i = 0; i < n_ranges; i++) {
		if (ranges[i].bytes == 0)
			return -EINVAL;
		if (!fits(&ranges[i], n_blocks))
			return -EOVERFLOW;
		if (n_blocks > 1 && ranges[i].stride < ranges[i].bytes)
			return -EEXIST;
	}
	for (uint64_t i = 0; i < n_ranges; i++) {
		for (uint64_t j = 0; j < i; j++) {
			if (kv_geometry_meets(&ranges[i], n_blocks, &ranges[j], n_blocks))
				return -EEXIST;
		}
	}
	return 0;
}
