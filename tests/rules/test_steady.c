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
static struct kv_quick quick;
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
	kv_steady_end(&steady, shadows, &quick, true);
}

static void set_up(void)
{
	struct kv_shadows_config config = {16, 1024, 8192, 64, .quick = &quick};

	cr_assert_eq(kv_shadows_new(&config, &shadows), 0);
}

static void tear_down(void)
{
	kv_steady_clear(&steady, &quick);
	quick = (struct kv_quick){0};
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
	kv_steady_clear(&steady, &quick);
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
	kv_steady_end(&steady, shadows, &quick, false);
	upload(INDEX, 3);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "an evaluation that needs more");
	kv_steady_begin(&steady, 1);
	for (uint64_t i = 0; i <= KV_STEADY_GROUPS; i++) {
		use.index = INDEX + 8 * i;
		kv_steady_use(&steady, &use, i, &window, 1);
	}
	kv_steady_end(&steady, shadows, &quick, true);
	cr_assert_not(kv_steady_launch(&steady, shadows, 1), "too many arrays");
}

/* ---- without the mutex ---- */

/* As with the mutex of the shadows: what was claimed is done first. */
static void hold(void)
{
	struct kv_steady *claimed = kv_quick_close(&quick);

	if (claimed)
		kv_steady_settle(claimed, shadows);
}

static void let_go(void)
{
	kv_quick_open(&quick);
}

static void held_upload(uint64_t addr, const void *rows, uint64_t length)
{
	hold();
	kv_shadows_upload(shadows, addr, rows, length);
	let_go();
}

static void evaluated(uint64_t killed)
{
	hold();
	evaluate(1, (struct kv_window){0, 1024}, (struct kv_window){0, 1024}, killed);
	let_go();
}

Test(steady, can_be_seen_at_a_glance)
{
	int64_t row = 3;

	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_EVALUATE, "not yet");
	evaluated(0x20000);
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK, "nothing uploaded");
	held_upload(INDEX, &row, sizeof(row));
	held_upload(0x20004, &row, sizeof(row));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_DONE);
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK, "claimed already");
	cr_assert_neq(kv_shadows_serial(shadows, INDEX), 0, "left to who comes next");
	hold();
	cr_assert_eq(kv_shadows_serial(shadows, INDEX), 0, "a later node writes there");
	cr_assert_eq(kv_shadows_serial(shadows, 0x20004), 0, "and there");
	let_go();
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK, "gone");
	held_upload(INDEX, &row, sizeof(row));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 2), KV_GLANCE_EVALUATE, "memory was lost");
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_DONE);
}

Test(steady, is_evaluated_if_a_glance_finds_a_row_elsewhere)
{
	int64_t row = 16, rows[2] = {3, 4};

	evaluated(0x20000);
	held_upload(INDEX, &row, sizeof(row));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_EVALUATE);
	kv_steady_clear(&steady, &quick);
	evaluated(INDEX + 8);
	held_upload(INDEX, rows, sizeof(rows));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_EVALUATE,
		"an earlier node writes into the upload");
	held_upload(INDEX, rows, sizeof(rows[0]));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_DONE);
}

Test(steady, asks_for_what_a_glance_cannot_see)
{
	static int64_t many[KV_QUICK_BYTES / 8 + 1];
	int64_t row = 3;

	evaluated(0x20000);
	held_upload(INDEX, many, sizeof(many));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK, "too large");
	held_upload(INDEX - 8, many, 16);
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK, "begins before it");
	held_upload(INDEX, &row, sizeof(row));
	hold();
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK, "somebody is there");
	cr_assert_not_null(kv_shadows_consume(shadows, INDEX, 8, PLANE_A));
	let_go();
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK, "used up");
}

Test(steady, claims_nothing_that_has_changed_meanwhile)
{
	int64_t row = 3, got;
	uint64_t state, length;

	held_upload(INDEX, &row, sizeof(row));
	cr_assert(kv_quick_begin(&quick, &state));
	cr_assert(kv_quick_read(&quick, INDEX, 8, &got, &length) && got == 3 && length == 8);
	held_upload(0x20000, &row, sizeof(row));
	cr_assert_not(kv_quick_claim(&quick, state, 1));
	cr_assert(kv_quick_begin(&quick, &state));
	cr_assert_not(kv_quick_claim(&quick, state, 0), "no number");
	hold();
	cr_assert_not(kv_quick_claim(&quick, state, 1), "somebody is there");
	let_go();
}

Test(steady, without_index_arrays_needs_nothing_while_nothing_is_uploaded)
{
	static struct kv_steady other;
	int64_t row = 3;

	for (int i = 0; i < 2; i++) {
		struct kv_steady *s = i ? &other : &steady;

		hold();
		kv_steady_begin(s, 1);
		kv_steady_kill(s, 0x20000, 8, 2);
		kv_steady_end(s, shadows, &quick, true);
		let_go();
	}
	held_upload(0x20000, &row, sizeof(row));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_DONE, "claims the kill");
	cr_assert_eq(kv_steady_glance(&other, &quick, 1), KV_GLANCE_ASK, "one at a time");
	hold();
	cr_assert_eq(kv_shadows_serial(shadows, 0x20000), 0);
	cr_assert(kv_steady_launch(&other, shadows, 1));
	let_go();
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_DONE);
		cr_assert_eq(kv_steady_glance(&other, &quick, 1), KV_GLANCE_DONE);
	}
	hold();
	kv_steady_clear(&other, &quick);
	let_go();
}

Test(steady, graphs_beyond_those_that_can_claim_ask)
{
	int64_t row = 3;
	uint32_t last = 0;

	hold();
	for (uint32_t i = 1; i < KV_QUICK_OWNERS; i++)
		last = kv_quick_enter(&quick, &steady);
	cr_assert_eq(last, KV_QUICK_OWNERS - 1);
	cr_assert_eq(kv_quick_enter(&quick, &steady), 0);
	let_go();
	evaluated(0x20000);
	held_upload(INDEX, &row, sizeof(row));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_ASK);
	kv_quick_leave(&quick, last);
	evaluated(0x20000);
	held_upload(INDEX, &row, sizeof(row));
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_DONE);
}

Test(steady, what_cannot_be_remembered_as_read_is_forgotten)
{
	struct kv_shadows_config config = {16, 1024, 8192, 1, .quick = &quick};
	struct kv_window window = {0, 1024};
	struct kv_index_use use = use_of(PLANE_A);
	int64_t row = 3;

	kv_shadows_free(shadows);
	cr_assert_eq(kv_shadows_new(&config, &shadows), 0);
	hold();
	kv_steady_begin(&steady, 1);
	kv_steady_use(&steady, &use, 1, &window, 1);
	kv_steady_end(&steady, shadows, &quick, true);
	let_go();
	held_upload(INDEX, &row, sizeof(row));
	held_upload(0x30000, &row, sizeof(row));
	hold(); /* until there is no room for more that was consumed */
	for (uint64_t plane = 1; kv_shadows_consume(shadows, 0x30000, 8, plane << 20); plane++)
		cr_assert_lt(plane, 1000);
	let_go();
	cr_assert_eq(kv_steady_glance(&steady, &quick, 1), KV_GLANCE_DONE);
	hold();
	cr_assert_eq(kv_shadows_serial(shadows, INDEX), 0);
	let_go();
}
