/* SPDX-License-Identifier: Apache-2.0 */
/* test_promise.c - pay first: what is reserved can be had. */
#include "tests/unit/test.h"

#define P 4096ull

Test(promise, is_limited_by_free_memory)
{
	struct fixture f;
	struct buffer b, c;

	fixture_open(&f, (struct fixture_options){.device_pages = 10});
	EXPECT(buffer_new(&f, 11 * P, &b), -ENOMEM);
	EXPECT(buffer_new(&f, 6 * P, &b), 0);
	EXPECT(kv_space_unbacked(f.space), 6 * P);
	EXPECT(buffer_new(&f, 5 * P, &c), -ENOMEM);
	EXPECT(f.process.refused, 2);
	/* Backing moves memory from free to backed: the promise is the same. */
	EXPECT(app_write(&f, &b, 0, 4 * P, 1), 0);
	EXPECT(kv_space_unbacked(f.space), 2 * P);
	EXPECT(buffer_new(&f, 5 * P, &c), -ENOMEM);
	EXPECT(buffer_new(&f, 4 * P, &c), 0);
	EXPECT(app_write(&f, &b, 0, 6 * P, 1), 0);
	EXPECT(app_write(&f, &c, 0, 4 * P, 1), 0);
	EXPECT_SANE(&f);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(buffer_new(&f, 6 * P, &b), 0);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(buffer_free(&f, &c), 0);
	EXPECT(kv_space_unbacked(f.space), 0);
	CLOSE(&f);
}

Test(promise, counts_the_host_budget_spares_and_overcommit)
{
	struct fixture f;
	struct buffer b, c;

	fixture_open(&f, (struct fixture_options){.device_pages = 10,
				 .host_pages = 3,
				 .spare_pages = 2,
				 .overcommit_pages = 4});
	EXPECT(buffer_new(&f, 18 * P, &b), -ENOMEM);
	EXPECT(buffer_new(&f, 17 * P, &b), 0);
	EXPECT(kv_space_unbacked(f.space), 14 * P);            /* beyond the host budget */
	EXPECT(app_transient(&f, &b, true, 0, 0, 0), -ENOMEM); /* that is what overcommit means */
	EXPECT(app_write(&f, &b, 0, 13 * P, 1), 0);
	EXPECT(kv_space_unbacked(f.space), 4 * P);
	EXPECT(app_zero(&f, &b, 0, 13 * P), 0);
	EXPECT(kv_reap(f.space, NULL), 0);
	EXPECT(f.process.spare, 2 * P);
	EXPECT(buffer_new(&f, P, &c), -ENOMEM);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(buffer_new(&f, 17 * P, &b), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(promise, an_evicted_page_counts_as_promised)
{
	struct fixture f;
	struct buffer b, c;

	fixture_open(&f, (struct fixture_options){.device_pages = 10});
	EXPECT(buffer_new(&f, 10 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 10 * P, 1), 0);
	EXPECT(kv_evict(f.space, UINT64_MAX, NULL), 0);
	EXPECT(kv_space_unbacked(f.space), 10 * P);
	EXPECT(buffer_new(&f, P, &c), -ENOMEM);
	EXPECT(kv_space_admit_native(f.space, P), -ENOMEM);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(promise, a_native_allocation_may_not_take_what_was_promised)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 10, .spare_pages = 4});
	EXPECT(kv_space_admit_native(f.space, 100 * P), 0); /* nothing promised: ask the driver */
	EXPECT(fake_gpu_all_calls(f.gpu), 0);
	EXPECT(buffer_new(&f, 6 * P, &b), 0);
	EXPECT(kv_space_admit_native(f.space, 4 * P), 0);
	EXPECT(kv_space_admit_native(f.space, 4 * P + 1), -ENOMEM);
	EXPECT(kv_space_admit_native(f.space, UINT64_MAX), -ENOMEM);
	EXPECT(kv_space_unbacked(f.space), 6 * P); /* asking takes nothing */
	EXPECT(app_write(&f, &b, 0, 6 * P, 1), 0);
	EXPECT(kv_space_admit_native(f.space, 4 * P), 0);
	fake_gpu_fail_kind(f.gpu, FAKE_MEMORY_INFO, 1, -EIO);
	EXPECT(kv_space_admit_native(f.space, 400 * P), 0); /* in doubt */
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(promise, spares_make_room_for_a_native_allocation)
{
	struct fixture f;
	struct buffer b;

	fixture_open(&f, (struct fixture_options){.device_pages = 10, .spare_pages = 4});
	EXPECT(buffer_new(&f, 6 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 6 * P, 1), 0);
	EXPECT(buffer_free(&f, &b), 0);
	EXPECT(fake_gpu_device_used(f.gpu), 4 * P);
	EXPECT(kv_space_admit_native(f.space, 6 * P), 0);
	EXPECT(fake_gpu_device_used(f.gpu), 4 * P);
	EXPECT(kv_space_admit_native(f.space, 7 * P + 1), 0);
	EXPECT(fake_gpu_device_used(f.gpu), 2 * P);
	CLOSE(&f);
}

Test(promise, sums_do_not_overflow)
{
	struct kv_core_config config = {
		.host_budget = UINT64_MAX, .overcommit_bytes = UINT64_MAX, .spare_bytes = 0};
	struct fake_gpu *gpu = fake_gpu_new(P, 10 * P, false);
	struct kv_core *core;
	struct kv_space *space;
	struct kv_reservation *r;

	EXPECT(kv_core_new(&config, &core), 0);
	EXPECT(kv_space_new(core, &fake_gpu_ops, gpu, P, NULL, &space), 0);
	EXPECT(kv_reservation_new(space, 1000 * P, NULL, 0, &r), 0);
	EXPECT(kv_space_unbacked(space), 0);
	EXPECT(kv_reservation_new(space, UINT64_MAX - 1, NULL, 0, &r), -ENOMEM);
	EXPECT(kv_space_admit_native(space, UINT64_MAX), -ENOMEM);
	EXPECT(kv_reservation_free(core, kv_reservation_base(r)), 0);
	kv_core_free(core);
	EXPECT(fake_gpu_free(gpu), 0);
}
