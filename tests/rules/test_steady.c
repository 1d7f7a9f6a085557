/* SPDX-License-Identifier: Apache-2.0 */
/* test_steady.c - a graph that is launched again: when that needs nothing, and when it does. */
#include <criterion/criterion.h>

#include "hooks/graph_steady.h"

#define INDEX 0x10000ull
#define PLANE_A 0x7f0000000000ull
#define PLANE_B 0x7f1000000000ull
#define STRIDE 64u
#define BYTES 4096u /* of a plane: 64 rows */

static struct kv_shadows *shadows;
static struct kv_steady steady;

static void upload(uint64_t addr, int64_t row)
{
	kv_shadows_upload(shadows, addr, &row, sizeof(row));
}

static struct kv_index_use use_of(uint64_t plane)
{
	return (struct kv_index_use){INDEX, plane, 1, STRIDE, STRIDE, BYTES, 8, true};
}

/* Two planes, written by nodes 1 and 3; node 2 writes at killed, node 4 over the index array. */
static void evaluate(uint64_t losses, struct kv_window a, struct kv_window b, uint64_t killed)
{
	struct kv_index_use use = use_of(PLANE_A), other = use_of(PLANE_B);

	kv_steady_begin(&steady, losses);
	kv_steady_use(&steady, &use, 1, &a, 1);
	kv_steady_kill(&steady, killed, 8, 2);
	kv_steady_use(&steady, &other, 3, &b, 1);
	kv_steady_kill(&steady, INDEX, 8, 4);
	kv_steady_end(&steady, shadows, true);
}

static void set_up(void)
{
	struct kv_shadows_config config = {16, 64, 1024, 64, NULL};

	cr_assert_eq(kv_shadows_new(&config, &shadows), 0);
}

static void tear_down(void)
{
	kv_steady_clear(&steady);
	kv_shadows_free(shadows);
}

TestSuite(steady, .init = set_up, .fini = tear_down);

Test(steady, needs_an_evaluation_first)
{
	upload(INDEX, 0);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1));
}

Test(steady, takes_rows_that_have_memory_in_all_planes)
{
	evaluate(1, (struct kv_window){0, 1024}, (struct kv_window){512, 2048}, 0x20000);
	upload(INDEX, 8);
	cr_assert(kv_steady_launch(&steady, shadows, 1));
	cr_assert_eq(kv_shadows_serial(shadows, INDEX), 0, "a later node writes there");
	upload(INDEX, 15);
	cr_assert(kv_steady_launch(&steady, shadows, 1));
	upload(INDEX, 7);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "not in the second plane");
	upload(INDEX, 16);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "not in the first one");
	upload(INDEX, -1);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1));
	upload(INDEX, INT64_MAX);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1));
}

Test(steady, keeps_what_earlier_evaluations_found)
{
	evaluate(1, (struct kv_window){0, 1024}, (struct kv_window){0, 1024}, 0x20000);
	evaluate(1, (struct kv_window){1024, 2048}, (struct kv_window){1024, 2048}, 0x20000);
	upload(INDEX, 3);
	cr_assert(kv_steady_launch(&steady, shadows, 1));
	evaluate(2, (struct kv_window){1024, 2048}, (struct kv_window){1024, 2048}, 0x20000);
	upload(INDEX, 3);
	cr_assert_not(kv_steady_launch(&steady, shadows, 2), "memory was lost in between");
	upload(INDEX, 16);
	cr_assert_not(kv_steady_launch(&steady, shadows, 3), "and again");
	cr_assert(kv_steady_launch(&steady, shadows, 2));
}

Test(steady, wants_an_upload_for_each_launch)
{
	evaluate(1, (struct kv_window){0, 1024}, (struct kv_window){0, 1024}, 0x20000);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "none yet");
	/* Together with what lies before it: node 4 does not write there, but to the same upload.
	 */
	kv_shadows_upload(shadows, INDEX - 8, (int64_t[2]){0, 3}, 16);
	cr_assert(kv_steady_launch(&steady, shadows, 1));
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "gone with the launch");
	upload(INDEX, 3);
	cr_assert_not_null(kv_shadows_consume(shadows, INDEX, 8, PLANE_A));
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "used up by somebody else");
}

Test(steady, does_not_rest_on_an_array_that_is_written_before_it_is_read)
{
	evaluate(1, (struct kv_window){0, 1024}, (struct kv_window){0, 1024}, INDEX);
	upload(INDEX, 3);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1));
	kv_steady_clear(&steady);
	evaluate(1, (struct kv_window){0, 1024}, (struct kv_window){0, 1024}, INDEX + 8);
	kv_shadows_upload(shadows, INDEX, (int64_t[2]){3, 4}, 16);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "in the same upload");
	upload(INDEX, 3);
	cr_assert(kv_steady_launch(&steady, shadows, 1));
}

Test(steady, kills_what_the_graph_writes_over_and_nothing_else)
{
	evaluate(1, (struct kv_window){0, 1024}, (struct kv_window){0, 1024}, 0x20000);
	upload(INDEX, 3);
	upload(0x20004, 1);
	upload(0x20010, 2);
	upload(0x1fff8, 2);
	cr_assert(kv_steady_launch(&steady, shadows, 1));
	cr_assert_eq(kv_shadows_serial(shadows, 0x20004), 0);
	cr_assert_neq(kv_shadows_serial(shadows, 0x20010), 0);
	cr_assert_neq(kv_shadows_serial(shadows, 0x1fff8), 0);
}

Test(steady, is_not_what_cannot_be_told)
{
	struct kv_index_use use = use_of(PLANE_A);
	struct kv_window window = {0, BYTES};

	kv_steady_begin(&steady, 1);
	kv_steady_use(&steady, &use, 1, &window, 1);
	kv_steady_end(&steady, shadows, false);
	upload(INDEX, 3);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "an evaluation that needs more");
	kv_steady_begin(&steady, 1);
	for (uint64_t i = 0; i <= KV_STEADY_GROUPS; i++) {
		use.index = INDEX + 8 * i;
		kv_steady_use(&steady, &use, i, &window, 1);
	}
	kv_steady_end(&steady, shadows, true);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "too many arrays");
}
