/* SPDX-License-Identifier: Apache-2.0 */
/* test_reservation.c - life of reservations and spaces, the table, what can be asked. */
#include <stdio.h>

#include "tests/unit/test.h"

#define P 4096ull

Test(core, is_idle_without_reservations)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(kv_core_is_idle(f.core), true);
	EXPECT(buffer_new(&f, P, &b), 0);
	EXPECT(kv_core_is_idle(f.core), false);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(kv_core_is_idle(f.core), true);
	CLOSE(&f);
}

Test(core, refuses_page_sizes_that_no_device_can_map)
{
	struct kv_core_config config = {.page_size = 3 * P};
	struct kv_core *core = NULL;
	struct kv_space *space;

	EXPECT(kv_core_new(&config, &core), 0);
	EXPECT(kv_space_new(core, &fake_gpu_ops, NULL, 2 * P, NULL, &space), -EINVAL);
	EXPECT(kv_space_new(core, &fake_gpu_ops, NULL, 0, NULL, &space), -EINVAL);
	EXPECT(kv_space_new(core, &fake_gpu_ops, NULL, 3 * P, NULL, &space), -EINVAL);
	EXPECT(kv_space_new(core, &fake_gpu_ops, &config, P, NULL, &space), 0);
	cr_assert(kv_space_gpu(space) == &config);
	kv_core_free(core);
	kv_core_free(NULL);
}

Test(reservation, answers_what_it_is)
{
	struct fixture f;
	struct buffer b;
	struct kv_reservation_stats stats;

	fixture_open(&f, (struct fixture_options){0});
	fake_gpu_set_time(f.gpu, 1000);
	EXPECT(buffer_new(&f, 2 * P + 1, &b), 0);
	EXPECT(kv_reservation_requested(b.r), 2 * P + 1);
	EXPECT(kv_reservation_reserved(b.r), 3 * P);
	EXPECT(kv_reservation_page_size(b.r), P);
	cr_assert(kv_reservation_space(b.r) == f.space);
	EXPECT(b.base % P, 0);
	EXPECT(kv_reservation_is_static(b.r), false);
	EXPECT(kv_reservation_page_state(b.r, 99), KV_PAGE_EMPTY);
	kv_reservation_stats(b.r, &stats);
	EXPECT(stats.base, b.base);
	EXPECT(stats.pages[KV_PAGE_EMPTY], 3);
	EXPECT(stats.score, 1007);
	EXPECT(stats.created_ns, 1001);
	cr_assert_str_eq(stats.tag, "test");
	EXPECT(memcmp(&stats, &f.rows[0], sizeof(stats)), 0);
	EXPECT(f.process.n_reservations, 1);
	EXPECT(f.process.reserved, 3 * P);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(f.rows[0].base, 0);
	EXPECT(f.process.reserved, 0);
	CLOSE(&f);
}

Test(reservation, of_nothing_is_refused_and_so_is_more_than_exists)
{
	struct fixture f;
	struct kv_reservation *r;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(kv_reservation_new(f.space, 0, NULL, 0, &r), -EINVAL);
	EXPECT(kv_reservation_new(f.space, UINT64_MAX, NULL, 0, &r), -ENOMEM);
	EXPECT(kv_reservation_new(f.space, UINT64_MAX / 2, NULL, 0, &r), -ENOMEM);
	EXPECT(kv_core_is_idle(f.core), true);
	EXPECT_SANE(&f);
	CLOSE(&f);
}

Test(reservation, keeps_31_bytes_of_its_tag)
{
	struct fixture f;
	struct kv_reservation *r;
	struct kv_reservation_stats stats;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(kv_reservation_new(f.space, P, "0123456789012345678901234567890123456789", 0, &r),
		0);
	kv_reservation_stats(r, &stats);
	EXPECT(strlen(stats.tag), 31);
	EXPECT(kv_reservation_free(f.core, kv_reservation_base(r)), 0);
	CLOSE(&f);
}

Test(reservation, keeps_31_bytes_of_the_first_family_of_rules_that_reaches_it)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, P, &b), 0);
	cr_assert_str_eq(f.rows[0].rules, "");
	kv_core_enter(f.core, f.slot);
	kv_reservation_ruled(b.r, "0123456789012345678901234567890123456789");
	cr_assert_str_eq(f.rows[0].rules, "0123456789012345678901234567890", "told at once");
	kv_reservation_ruled(b.r, "another");
	kv_core_leave(f.core, f.slot);
	cr_assert_str_eq(f.rows[0].rules, "0123456789012345678901234567890");
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(buffer_new(&f, P, &b), 0);
	cr_assert_str_eq(f.rows[0].rules, "", "the next one in this row is another one");
	EXPECT_SANE(&f);
	CLOSE(&f);
}

Test(reservation, without_address_space_is_to_be_native)
{
	struct fixture f;
	struct kv_reservation *r;

	fixture_open(&f, (struct fixture_options){0});
	fake_gpu_fail_kind(f.gpu, FAKE_RANGE_RESERVE, 1, -ENOMEM);
	EXPECT(kv_reservation_new(f.space, P, NULL, 0, &r), -ENOSPC);
	fake_gpu_fail_kind(f.gpu, FAKE_MEMORY_INFO, 1, -ENODEV);
	EXPECT(kv_reservation_new(f.space, P, NULL, 0, &r), -ENODEV);
	EXPECT_SANE(&f);
	CLOSE(&f);
}

Test(reservation, is_freed_at_its_base_only_and_only_once)
{
	struct fixture f;
	struct buffer b;
	kv_gpu_addr base;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	base = b.base;
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	EXPECT(kv_reservation_free(f.core, base + P), -ENOENT);
	EXPECT(kv_reservation_free(f.core, base - 1), -ENOENT);
	EXPECT(kv_reservation_free(f.core, 0), -ENOENT);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(kv_reservation_free(f.core, base), -ENOENT);
	EXPECT(fake_gpu_device_used(f.gpu), 0);
	CLOSE(&f);
}

Test(reservation, free_waits_for_work_in_flight_and_refuses_during_a_capture)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	fake_gpu_set_capture(f.gpu, true);
	EXPECT(buffer_free(&f, &b), -EBUSY);
	fake_gpu_set_capture(f.gpu, false);
	EXPECT(app_read(&f, &b, 0, 4 * P), 0);
	fake_gpu_set_busy(f.gpu, 3);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(fake_gpu_calls(f.gpu, FAKE_DRAIN), 5);
	CLOSE(&f);
}

Test(reservation, free_reports_the_first_error_and_frees_the_rest)
{
	struct fixture f;
	struct buffer b;
	struct kv_reservation *r;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_HANDLE_RELEASE, 1, -EIO);
	EXPECT(kv_reservation_free(f.core, b.base), -EIO);
	EXPECT(fake_gpu_device_used(f.gpu), P); /* the one that the driver kept */
	cr_assert_null(kv_core_find(f.core, b.base));
	EXPECT_SANE(&f);
	EXPECT(kv_reservation_new(f.space, P, NULL, 0, &r), 0);
	EXPECT(kv_reservation_free(f.core, kv_reservation_base(r)), 0);
	free(b.ideal);
	cr_assert_not_null(fixture_close(&f)); /* negative control: left over is noticed */
}

Test(reservation, objects_are_used_again_and_know_nothing_of_their_past)
{
	struct fixture f;
	struct buffer b, c;
	struct kv_reservation *old;

	fixture_open(&f, (struct fixture_options){0});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	old = b.r;
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(buffer_new(&f, 9 * P, &c), 0);
	cr_assert(c.r == old);
	EXPECT(kv_reservation_is_static(c.r), false);
	EXPECT(kv_reservation_is_whole(c.r), false);
	EXPECT(pages_in(&c, KV_PAGE_EMPTY), 9);
	EXPECT(f.rows[0].static_reason, 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &c), 0);
	CLOSE(&f);
}

Test(find, knows_every_address_and_none_beside)
{
	struct fixture f;
	struct buffer b[20];
	struct kv_reservation *hit;

	fixture_open(&f, (struct fixture_options){0});
	cr_assert_null(kv_core_find(f.core, 0));
	cr_assert_null(kv_core_find(f.core, UINT64_MAX));
	for (int i = 0; i < 20; i++)
		EXPECT(buffer_new(&f, (i + 1) * P, &b[i]), 0);
	for (int i = 0; i < 20; i += 3)
		EXPECT(buffer_free(&f, &b[i]), 0);
	for (int i = 0; i < 20; i++) {
		if (i % 3 == 0)
			continue;
		cr_assert(kv_core_find(f.core, b[i].base) == b[i].r);
		cr_assert(kv_core_find(f.core, b[i].base + b[i].size - 1) == b[i].r);
		cr_assert_null(kv_core_find(f.core, b[i].base - 1));
		cr_assert_null(kv_core_find(f.core, b[i].base + b[i].size));
		EXPECT(kv_core_hits(f.core, b[i].base + 1, &hit), true);
		cr_assert(hit == b[i].r);
		EXPECT(kv_core_hits(f.core, b[i].base - 1, &hit), false);
	}
	EXPECT_SANE(&f);
	for (int i = 0; i < 20; i++) {
		if (i % 3)
			EXPECT(buffer_free(&f, &b[i]), 0);
	}
	CLOSE(&f);
}

Test(find, a_full_table_sends_the_next_allocation_to_the_driver)
{
	static kv_gpu_addr base[4096];
	struct fixture f;
	struct kv_reservation *r;

	fixture_open(&f, (struct fixture_options){.device_pages = 5000, .no_content = true});
	for (int i = 0; i < 4096; i++) {
		EXPECT(kv_reservation_new(f.space, P, NULL, 0, &r), 0);
		base[i] = kv_reservation_base(r);
	}
	EXPECT(kv_reservation_new(f.space, P, NULL, 0, &r), -ENOSPC);
	EXPECT_SANE(&f);
	EXPECT(kv_reservation_free(f.core, base[2000]), 0);
	EXPECT(kv_reservation_new(f.space, P, NULL, 0, &r), 0);
	EXPECT_SANE(&f);
	CLOSE(&f); /* drops all of them */
}

static int count_until(void *ctx, struct kv_reservation *r)
{
	int *n = ctx;

	return --*n == 0 ? 42 : 0;
}

Test(each, visits_all_until_told_to_stop)
{
	struct fixture f;
	struct buffer b[4];
	int n = 100;

	fixture_open(&f, (struct fixture_options){0});
	for (int i = 0; i < 4; i++)
		EXPECT(buffer_new(&f, P, &b[i]), 0);
	EXPECT(kv_core_each(f.core, count_until, &n), 0);
	EXPECT(n, 96);
	n = 2;
	EXPECT(kv_core_each(f.core, count_until, &n), 42);
	for (int i = 0; i < 4; i++)
		EXPECT(buffer_free(&f, &b[i]), 0);
	CLOSE(&f);
}

Test(space, dropped_without_a_device_makes_no_call_and_can_be_used_again)
{
	struct fixture f;
	struct buffer b, c, d;

	fixture_open(&f,
		(struct fixture_options){.spare_pages = 2, .device_pages = 64, .host_pages = 8});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(buffer_new(&f, 4 * P, &c), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	EXPECT(app_leak(&f, &c), 0);
	EXPECT(kv_evict(f.space, P, NULL), 0);
	fake_gpu_reset_calls(f.gpu);
	kv_space_drop(f.space, 0);
	EXPECT(fake_gpu_all_calls(f.gpu), 0);
	EXPECT(kv_core_is_idle(f.core), true);
	EXPECT(f.process.reserved, 0);
	EXPECT(f.process.evicted, 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_new(&f, 4 * P, &d), 0);
	EXPECT(app_write(&f, &d, 0, 4 * P, 1), 0);
	EXPECT(buffer_free(&f, &d), 0);
	free(b.ideal);
	free(c.ideal);
	cr_assert_not_null(fixture_close(&f)); /* what the device had is left over, as it must be */
}

Test(space, dropped_during_a_capture_still_releases_everything)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.spare_pages = 2});
	EXPECT(buffer_new(&f, 4 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, P, 1), 0);
	EXPECT(app_read(&f, &b, 0, P), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), 0);
	EXPECT(kv_reap(f.space, NULL), 0);
	fake_gpu_set_capture(f.gpu, true);
	free(b.ideal);
	CLOSE(&f);
}

Test(space, counts_what_is_native)
{
	struct fixture f;
	struct kv_process_stats stats;

	fixture_open(&f, (struct fixture_options){0});
	kv_space_native(f.space, 1000);
	kv_space_native(f.space, -400);
	kv_space_count_passed(f.space);
	kv_space_stats(f.space, &stats);
	EXPECT(stats.native, 600);
	EXPECT(stats.native_peak, 1000);
	EXPECT(stats.passed, 1);
	EXPECT(f.process.native, 600);
	CLOSE(&f);
}

static void on_log(void *ctx, int level, const char *topic, const char *text)
{
	snprintf(ctx, 256, "%d %s %s", level, topic, text);
}

Test(core, tells_the_operator_when_a_reservation_turns_static)
{
	char line[256] = "";
	struct kv_core_config config = {.log = on_log, .log_ctx = line};
	struct fake_gpu *gpu = fake_gpu_new(P, 10 * P, true);
	struct kv_core *core;
	struct kv_space *space;
	struct kv_reservation *r;

	EXPECT(kv_core_new(&config, &core), 0);
	EXPECT(kv_space_new(core, &fake_gpu_ops, gpu, P, NULL, &space), 0);
	EXPECT(kv_reservation_new(space, P, NULL, 0, &r), 0);
	kv_leak(r, KV_STATIC_KERNEL, "some_kernel");
	cr_assert_not_null(strstr(line, "some_kernel"));
	EXPECT(kv_reservation_free(core, kv_reservation_base(r)), 0);
	kv_core_free(core);
	EXPECT(fake_gpu_free(gpu), 0);
}

Test(space, two_devices_keep_their_books_apart)
{
	struct fixture f;
	struct fake_gpu *gpu = fake_gpu_new(2 * P, 20 * P, true);
	struct kv_space *space;
	struct kv_reservation *r;
	struct kv_process_stats stats;
	struct buffer b;
	kv_gpu_addr base;

	fixture_open(&f, (struct fixture_options){.device_pages = 10});
	EXPECT(kv_space_new(f.core, &fake_gpu_ops, gpu, 2 * P, NULL, &space), 0);
	/* A real driver has one address space for all; here the second begins above the first. */
	EXPECT(fake_gpu_ops.range_reserve(gpu, 1ull << 30, P * 2, &base), 0);
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(kv_reservation_new(space, 20 * P, NULL, 0, &r), 0);
	EXPECT(kv_reservation_page_size(r), 2 * P);
	EXPECT(app_write(&f, &b, 0, 10 * P, 1), 0);
	kv_leak(r, KV_STATIC_OPTION, "test");
	EXPECT(app_wild_write(&f, &b, 0, P, 1), 0); /* settles the other device as well */
	EXPECT(kv_reservation_is_whole(r), true);
	EXPECT(fake_gpu_device_used(gpu), 20 * P);
	EXPECT_SANE(&f);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(fake_gpu_device_used(f.gpu), 0);
	EXPECT(fake_gpu_device_used(gpu), 20 * P);
	EXPECT(kv_evict_all(f.core), 0);
	EXPECT(fake_gpu_device_used(gpu), 0);
	kv_space_drop(space, 1);
	kv_space_stats(space, &stats);
	EXPECT(stats.n_reservations, 0);
	EXPECT(app_read(&f, &b, 0, 10 * P), 0);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(fake_gpu_n_breaches(gpu), 0);
	CLOSE(&f);
	EXPECT(fake_gpu_free(gpu), 1); /* the gap */
}
