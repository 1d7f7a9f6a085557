/* SPDX-License-Identifier: Apache-2.0 */
/* test_grains.c - where a launch has to look twice. */
#include <stdlib.h>

#include "core/grains.h"
#include "tests/unit/fixture.h"
#include "tests/unit/test.h"

#define GRAIN (1ull << KV_CORE_GRAIN_BITS)
#define P 4096ull

static bool marked(const struct kv_core *core, uint64_t addr)
{
	return kv_grains_or(0, kv_core_grains(core), KV_GRAINS_FAR, KV_CORE_GRAIN_BITS, &addr);
}

Test(grains, every_byte_of_a_range_counts_and_none_beside_it)
{
	struct kv_grains *grains = calloc(2, sizeof(*grains));
	uint64_t low = 0x7f1234567800, high = low + 0x300, at;

	kv_grains_count(&grains[1], 8, low, high, 1);
	for (at = low; at < high; at++)
		cr_assert_neq(kv_grains_or(0, grains, 1, 8, &at), 0);
	EXPECT(kv_grains_or(0, grains, 1, 8, &high), 0);
	at = low - 1;
	EXPECT(kv_grains_or(0, grains, 1, 8, &at), 0);
	EXPECT(kv_grains_or(0, grains, 0, 8, &low), 0);          /* the other element */
	EXPECT(kv_grains_or(0x100, grains, 1, 8, &high), 0x100); /* nothing seen is lost */
	kv_grains_count(&grains[1], 8, low, high, -1);
	EXPECT(kv_grains_or(0, grains, 1, 8, &low), 0);
	kv_grains_count(&grains[1], 8, high, high, 1);
	EXPECT(kv_grains_or(0, grains, 1, 8, &high), 0);
	free(grains);
}

Test(grains, what_was_counted_too_often_stays_and_what_is_longer_than_all_is_everywhere)
{
	struct kv_grains *grains = calloc(1, sizeof(*grains));
	uint64_t at = 0x5500, all = (uint64_t)KV_GRAINS << 8;

	for (int i = 0; i < 300; i++)
		kv_grains_count(grains, 8, at, at + 1, 1);
	for (int i = 0; i < 300; i++)
		kv_grains_count(grains, 8, at, at + 1, -1);
	cr_assert_neq(kv_grains_or(0, grains, 0, 8, &at), 0);
	kv_grains_count(grains, 8, 0x77, 0x77 + 3 * all, 1);
	for (uint32_t i = 0; i < KV_GRAINS; i++)
		cr_assert_neq(grains->count[i], 0);
	kv_grains_count(grains, 8, 0x77, 0x77 + 3 * all, -1);
	at = 0;
	EXPECT(kv_grains_or(0, grains, 0, 8, &at), 0);
	free(grains);
}

Test(grains, a_reservation_is_in_them_until_it_is_static_and_whole_or_gone)
{
	struct fixture f;
	struct buffer b;
	uint64_t base;

	fixture_open(&f, (struct fixture_options){.device_pages = 64});
	EXPECT(buffer_new(&f, 9 * P, &b), 0);
	base = kv_reservation_base(b.r);
	cr_assert(marked(f.core, base) && marked(f.core, base + 9 * P - 1));
	cr_assert(!marked(f.core, base + 9 * P + 2 * GRAIN));
	kv_leak(b.r, KV_STATIC_OPTION, "test");
	EXPECT(app_wild_write(&f, &b, 0, P, 1), 0);
	EXPECT(kv_reservation_is_whole(b.r), true);
	EXPECT(marked(f.core, base), false);
	EXPECT(kv_reservation_free(f.core, base), 0);
	EXPECT(marked(f.core, base), false);
	EXPECT(buffer_new(&f, 9 * P, &b), 0);
	base = kv_reservation_base(b.r);
	EXPECT(marked(f.core, base), true);
	EXPECT(kv_reservation_free(f.core, base), 0);
	EXPECT(marked(f.core, base), false);
	kv_core_watch(f.core, 40 * GRAIN + 5, 40 * GRAIN + 6);
	EXPECT(marked(f.core, 40 * GRAIN), true);
	cr_assert_null(fixture_close(&f));
}
