/* SPDX-License-Identifier: Apache-2.0 */
/* test_shadow.c - index shadows: what is remembered, what dies, what is bounded. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/rules/shadow.h"

#define PLANE_A 0x7f0000000000ull
#define PLANE_B 0x7f1000000000ull

static struct kv_shadows *table(uint32_t n, uint32_t upload, uint64_t total)
{
	struct kv_shadows_config config = {n, upload, total, 64};
	struct kv_shadows *s;

	cr_assert_eq(kv_shadows_new(&config, &s), 0);
	return s;
}

static struct kv_shadows_stats stats(const struct kv_shadows *s)
{
	struct kv_shadows_stats st;

	kv_shadows_stats(s, &st);
	return st;
}

static bool holds(struct kv_shadows *s, uint64_t addr, const void *content, uint64_t length)
{
	static uint64_t plane = 1;
	const void *got = kv_shadows_consume(s, addr, length, plane++);

	return got && !memcmp(got, content, length);
}

Test(shadows, refuse_limits_that_make_no_sense)
{
	struct kv_shadows_config config = {0, 8, 8, 1};
	struct kv_shadows *s;

	cr_assert_eq(kv_shadows_new(&config, &s), -EINVAL);
	config = (struct kv_shadows_config){1, 0, 8, 1};
	cr_assert_eq(kv_shadows_new(&config, &s), -EINVAL);
	config = (struct kv_shadows_config){1, 9, 8, 1};
	cr_assert_eq(kv_shadows_new(&config, &s), -EINVAL);
}

Test(shadows, hold_what_was_uploaded_at_the_time_of_the_call)
{
	struct kv_shadows *s = table(8, 64, 256);
	char host[16] = "first content..";

	kv_shadows_upload(s, 0x1000, host, 16);
	memset(host, 'x', 16);
	cr_assert(holds(s, 0x1000, "first content..", 16));
	cr_assert(holds(s, 0x1006, "content", 7));
	cr_assert_null(kv_shadows_consume(s, 0x1008, 9, PLANE_A), "past the end");
	cr_assert_null(kv_shadows_consume(s, 0xfff, 2, PLANE_A), "before the beginning");
	cr_assert_null(kv_shadows_consume(s, 0x1000, 0, PLANE_A));
	cr_assert_eq(kv_shadows_check(s), 0);
	kv_shadows_free(s);
}

Test(shadows, are_consumed_once_per_plane_and_upload)
{
	struct kv_shadows *s = table(8, 64, 256);

	kv_shadows_upload(s, 0x1000, "12345678", 8);
	cr_assert_not_null(kv_shadows_consume(s, 0x1000, 8, PLANE_A));
	cr_assert_null(kv_shadows_consume(s, 0x1000, 8, PLANE_A));
	cr_assert_not_null(kv_shadows_consume(s, 0x1000, 8, PLANE_B));
	kv_shadows_upload(s, 0x1000, "12345678", 8);
	cr_assert_not_null(kv_shadows_consume(s, 0x1000, 8, PLANE_A));
	cr_assert_eq(stats(s).refused, 1);
	cr_assert_eq(stats(s).consumed, 3);
	kv_shadows_free(s);
}

Test(shadows, that_cannot_remember_a_consumption_refuse_it)
{
	struct kv_shadows_config config = {2, 8, 16, 16};
	struct kv_shadows *s;
	uint32_t given = 0;

	cr_assert_eq(kv_shadows_new(&config, &s), 0);
	kv_shadows_upload(s, 0x1000, "12345678", 8);
	for (uint64_t plane = 1; plane <= 40; plane++)
		given += kv_shadows_consume(s, 0x1000, 8, plane << 20) != NULL;
	cr_assert_eq(given, 16, "%u", given);
	/* What an upload that is gone had consumed makes room again. */
	kv_shadows_upload(s, 0x1000, "12345678", 8);
	cr_assert_not_null(kv_shadows_consume(s, 0x1000, 8, 99 << 20));
	kv_shadows_free(s);
}

Test(shadows, die_when_anything_is_written_over_any_of_their_bytes)
{
	struct kv_shadows *s = table(8, 64, 256);

	kv_shadows_upload(s, 0x1000, "12345678", 8);
	kv_shadows_upload(s, 0x1008, "abcdefgh", 8);
	kv_shadows_upload(s, 0x1010, "ABCDEFGH", 8);
	kv_shadows_kill(s, 0x100f, 1);
	cr_assert(holds(s, 0x1000, "12345678", 8));
	cr_assert_null(kv_shadows_consume(s, 0x1008, 8, PLANE_A));
	cr_assert(holds(s, 0x1010, "ABCDEFGH", 8));
	kv_shadows_kill(s, 0x1008, 0);
	kv_shadows_kill(s, 0xf00, 0x100);
	cr_assert_eq(stats(s).n, 2);
	kv_shadows_kill(s, 0, UINT64_MAX);
	cr_assert_eq(stats(s).n, 0);
	cr_assert_eq(stats(s).killed, 3);
	cr_assert_eq(kv_shadows_check(s), 0);
	kv_shadows_free(s);
}

Test(shadows, die_when_an_unknown_kernel_gets_an_address_in_them)
{
	struct kv_shadows *s = table(8, 64, 256);

	kv_shadows_upload(s, 0x1000, "12345678", 8);
	kv_shadows_point(s, 0xfff);
	kv_shadows_point(s, 0x1008);
	cr_assert_eq(stats(s).n, 1);
	kv_shadows_point(s, 0x1007);
	cr_assert_eq(stats(s).n, 0);
	kv_shadows_free(s);
}

Test(shadows, follow_copies_on_the_device)
{
	struct kv_shadows *s = table(8, 64, 256);

	kv_shadows_upload(s, 0x1000, "12345678", 8);
	cr_assert_not_null(kv_shadows_consume(s, 0x1000, 8, PLANE_A));
	kv_shadows_copy(s, 0x2000, 0x1000, 8);
	cr_assert_not_null(kv_shadows_consume(s, 0x2000, 8, PLANE_A));
	kv_shadows_copy(s, 0x3000, 0x1002, 4);
	cr_assert(holds(s, 0x3000, "3456", 4));
	/* A source that is not remembered, or only in part, takes the target's content away. */
	kv_shadows_copy(s, 0x2000, 0x9000, 4);
	cr_assert_eq(kv_shadows_serial(s, 0x2000), 0);
	kv_shadows_copy(s, 0x3000, 0x1004, 8);
	cr_assert_eq(kv_shadows_serial(s, 0x3000), 0);
	/* Onto itself. */
	kv_shadows_copy(s, 0x1004, 0x1000, 8);
	cr_assert_eq(stats(s).n, 0);
	cr_assert_eq(stats(s).copies, 2);
	cr_assert_eq(kv_shadows_check(s), 0);
	kv_shadows_free(s);
}

Test(shadows, of_large_uploads_are_not_made_but_what_was_there_is_forgotten)
{
	struct kv_shadows *s = table(8, 16, 256);
	char large[17] = {0};

	kv_shadows_upload(s, 0x1000, "12345678", 8);
	kv_shadows_upload(s, 0x0ff8, large, 17);
	cr_assert_eq(stats(s).n, 0);
	cr_assert_eq(stats(s).too_large, 1);
	kv_shadows_free(s);
}

Test(shadows, drop_the_oldest_when_their_number_or_their_bytes_are_used_up)
{
	struct kv_shadows *s = table(4, 64, 128);
	char bytes[64] = "long";

	for (uint64_t i = 0; i < 6; i++)
		kv_shadows_upload(s, 0x1000 * (i + 1), "12345678", 8);
	cr_assert_eq(stats(s).n, 4);
	cr_assert_eq(stats(s).dropped, 2);
	cr_assert_eq(kv_shadows_serial(s, 0x2000), 0);
	cr_assert_neq(kv_shadows_serial(s, 0x3000), 0);
	kv_shadows_upload(s, 0x20000, bytes, 64);
	kv_shadows_upload(s, 0x30000, bytes, 64);
	cr_assert_eq(kv_shadows_check(s), 0);
	cr_assert_neq(kv_shadows_serial(s, 0x30000), 0);
	cr_assert_eq(kv_shadows_serial(s, 0x3000), 0);
	cr_assert_leq(stats(s).bytes, 128);
	kv_shadows_clear(s);
	cr_assert_eq(stats(s).n, 0);
	kv_shadows_free(s);
}

/* A model that remembers byte by byte. */
#define SPACE 4096
#define UNKNOWN 0x100

Test(shadows, agree_with_a_model_over_many_random_steps)
{
	struct kv_shadows *s = table(24, 64, 2048);
	static uint16_t model[SPACE];
	uint64_t plane = 1;
	uint32_t seen = 0;
	uint8_t host[64];

	srand(7);
	for (int i = 0; i < SPACE; i++)
		model[i] = UNKNOWN;
	for (int step = 0; step < 40000; step++) {
		uint64_t at = rand() % (SPACE - 64), from = rand() % (SPACE - 64);
		uint64_t length = 1 + rand() % 64;
		const uint8_t *got;
		uint16_t copy[64];

		switch (rand() % 6) {
		case 0:
		case 1:
			for (uint64_t i = 0; i < length; i++)
				model[at + i] = host[i] = rand();
			kv_shadows_upload(s, 0x10000 + at, host, length);
			break;
		case 2:
			memcpy(copy, model + from, sizeof(copy));
			memcpy(model + at, copy, length * sizeof(copy[0]));
			kv_shadows_copy(s, 0x10000 + at, 0x10000 + from, length);
			break;
		case 3:
			for (uint64_t i = 0; i < length; i++)
				model[at + i] = UNKNOWN;
			kv_shadows_kill(s, 0x10000 + at, length);
			break;
		default:
			got = kv_shadows_consume(s, 0x10000 + at, 1 + length / 8, plane++);
			for (uint64_t i = 0; got && i < 1 + length / 8; i++)
				cr_assert_eq(got[i], model[at + i], "step %d", step);
			seen += got != NULL;
			break;
		}
		cr_assert_eq(kv_shadows_check(s), 0, "step %d", step);
	}
	cr_assert_gt(seen, 500, "the table forgets too much: %u", seen);
	kv_shadows_free(s);
}

Test(shadows, are_looked_at_without_being_used_up)
{
	struct kv_shadows *s = table(8, 64, 256);
	uint64_t start = 0, length = 0;
	const void *got;

	kv_shadows_upload(s, 0x1000, "12345678", 8);
	for (int i = 0; i < 2; i++) {
		got = kv_shadows_peek(s, 0x1002, 4, PLANE_A, &start, &length);
		cr_assert(got && !memcmp(got, "3456", 4));
		cr_assert(start == 0x1000 && length == 8);
	}
	cr_assert_not_null(kv_shadows_consume(s, 0x1002, 4, PLANE_A));
	cr_assert_null(kv_shadows_peek(s, 0x1002, 4, PLANE_A, &start, &length), "used up");
	cr_assert_not_null(kv_shadows_peek(s, 0x1002, 4, PLANE_B, &start, &length));
	cr_assert_null(kv_shadows_peek(s, 0x1006, 4, PLANE_B, &start, &length), "past the end");
	kv_shadows_free(s);
}

struct asked {
	uint64_t low, high; /* what lies between dies */
	uint32_t n;
};

static bool dies(void *ctx, uint64_t addr, uint64_t length)
{
	struct asked *asked = ctx;

	asked->n++;
	return addr < asked->high && addr + length > asked->low;
}

Test(shadows, that_are_young_are_swept)
{
	struct kv_shadows *s = table(8, 64, 256);
	struct asked asked = {0x1008, 0x1011, 0};
	uint64_t since;

	kv_shadows_upload(s, 0x1008, "old", 3);
	since = kv_shadows_last(s);
	cr_assert_gt(since, 0);
	kv_shadows_upload(s, 0x1010, "a", 1);
	kv_shadows_upload(s, 0x1018, "b", 1);
	cr_assert_eq(kv_shadows_sweep(s, since, dies, &asked), kv_shadows_last(s));
	cr_assert_eq(asked.n, 2, "the old one is not asked about");
	cr_assert(holds(s, 0x1008, "old", 3) && holds(s, 0x1018, "b", 1));
	cr_assert_eq(kv_shadows_serial(s, 0x1010), 0, "swept");
	cr_assert_eq(kv_shadows_check(s), 0);
	kv_shadows_sweep(s, 0, dies, &asked);
	cr_assert_eq(kv_shadows_serial(s, 0x1008), 0, "asked about when all are young");
	kv_shadows_free(s);
}

Test(shadows, are_marked_as_long_as_there_is_one)
{
	static _Atomic uint8_t marks[KV_SHADOW_MARKS];
	struct kv_shadows_config config = {4, 4096, 8192, 64, marks};
	static const char zeros[4096];
	struct kv_shadows *s;

	cr_assert_eq(kv_shadows_new(&config, &s), 0);
	cr_assert_eq(kv_shadow_mark(marks, 0x1000), 0);
	kv_shadows_upload(s, 0x1010, zeros, 600);
	cr_assert(kv_shadow_mark(marks, 0x1000) && kv_shadow_mark(marks, 0x1100) &&
		  kv_shadow_mark(marks, 0x12ff));
	cr_assert_eq(kv_shadow_mark(marks, 0x1300), 0);
	kv_shadows_upload(s, 0x1260, zeros, 8);
	cr_assert_eq(kv_shadow_mark(marks, 0x1000), 0, "the upload went over the first one");
	kv_shadows_upload(s, 0x1290, zeros, 8);
	kv_shadows_kill(s, 0x1260, 8);
	cr_assert_neq(kv_shadow_mark(marks, 0x1200), 0, "there is another one in the grain");
	kv_shadows_clear(s);
	for (uint32_t i = 0; i < KV_SHADOW_MARKS; i++)
		cr_assert_eq(marks[i], 0, "grain %u", i);
	kv_shadows_free(s);
}
