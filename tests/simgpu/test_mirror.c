/* SPDX-License-Identifier: Apache-2.0 */
/* test_mirror.c - the ideal memory notices what a manager of memory gets wrong, and nothing else.
 */
#include "simtest.h"

/* A page of a range that a manager has reserved and zeroed, as a shim does. */
static CUdeviceptr managed_page(void)
{
	setenv("SIMGPU_MIRROR", "1", 1);
	start();
	manage(1);
	CUdeviceptr addr = reserve(4, 1);
	ok(cuMemsetD8_v2(addr, 0, PAGE));
	ok(cuCtxSynchronize());
	manage(0);
	return addr;
}

/* The manager takes the page away and brings another, with or without the content. */
static void move(CUdeviceptr addr, bool keep)
{
	static uint8_t content[2 << 20];

	ok(cuCtxSynchronize());
	manage(1);
	ok(cuMemcpyDtoH_v2(content, addr, PAGE));
	ok(cuMemUnmap(addr, PAGE));
	CUmemGenericAllocationHandle handle = create_on(0, PAGE);
	ok(cuMemMap(addr, PAGE, 0, handle, 0));
	ok(allow(addr, PAGE, 0));
	if (keep)
		ok(cuMemcpyHtoD_v2(addr, content, PAGE));
	manage(0);
}

Test(mirror, a_page_that_was_moved_with_its_content_is_fine)
{
	CUdeviceptr addr = managed_page();

	ok(cuMemsetD8_v2(addr + 100, 7, 50));
	move(addr, true);
	reports(MISMATCH, 0, cr_assert_eq(byte_at(addr + 100), 7));
	reports(MISMATCH, 0, cr_assert_eq(byte_at(addr + 99), 0));
}

Test(mirror, content_that_was_lost_is_noticed_by_a_copy)
{
	CUdeviceptr addr = managed_page();

	ok(cuMemsetD8_v2(addr + 100, 7, 50));
	move(addr, false);
	reports(MISMATCH, 1, byte_at(addr + 100));
}

Test(mirror, content_that_was_lost_is_noticed_by_a_kernel)
{
	CUdeviceptr addr = managed_page(), other;

	ok(cuMemAlloc_v2(&other, 4096));
	ok(launch_fill(addr, 10, 7, NULL));
	ok(cuCtxSynchronize());
	move(addr, false);
	reports(MISMATCH, 1, {
		ok(launch_copy(other, addr, 10, NULL));
		ok(cuCtxSynchronize());
	});
}

Test(mirror, a_fresh_page_that_was_not_zeroed_is_noticed)
{
	setenv("SIMGPU_MIRROR", "1", 1);
	start();
	manage(1);
	CUdeviceptr addr = reserve(1, 1);
	manage(0);
	reports(MISMATCH, 1, byte_at(addr));
}

Test(mirror, a_stray_write_of_the_manager_is_noticed_and_one_of_the_program_is_not)
{
	CUdeviceptr addr = managed_page();

	ok(cuMemsetD8_v2(addr, 1, 10));
	reports(MISMATCH, 0, byte_at(addr));
	manage(1);
	ok(cuMemsetD8_v2(addr, 2, 10));
	/* What the manager itself reads is not compared. */
	reports(MISMATCH, 0, byte_at(addr));
	manage(0);
	reports(MISMATCH, 1, byte_at(addr));
}

Test(mirror, a_copy_carries_the_ideal_content_on)
{
	CUdeviceptr addr = managed_page();

	ok(cuMemsetD8_v2(addr, 1, 10));
	manage(1);
	ok(cuMemsetD8_v2(addr, 2, 10));
	manage(0);
	/* Whether anybody will ever read it is not known yet. */
	reports(MISMATCH, 0, {
		ok(cuMemcpyDtoD_v2(addr + 4096, addr, 10));
		ok(cuCtxSynchronize());
	});
	/* The target holds the wrong bytes too, and that is known. */
	reports(MISMATCH, 1, byte_at(addr + 4096));
}

Test(mirror, a_copy_is_compared_itself_when_nothing_may_be_lost)
{
	setenv("SIMGPU_DEAD_STRICT", "1", 1);
	CUdeviceptr addr = managed_page();

	ok(cuMemsetD8_v2(addr, 1, 10));
	manage(1);
	ok(cuMemsetD8_v2(addr, 2, 10));
	manage(0);
	reports(MISMATCH, 1, {
		ok(cuMemcpyDtoD_v2(addr + 4096, addr, 10));
		ok(cuCtxSynchronize());
	});
	/* The target holds the wrong bytes too, and that is known. */
	reports(MISMATCH, 1, byte_at(addr + 4096));
}

Test(mirror, what_was_left_out_with_reason_can_be_noted)
{
	uint8_t out[16] = {0};
	CUdeviceptr addr = managed_page();

	ok(cuMemsetD8_v2(addr, 7, 100));
	/* The manager knows that all of it becomes zero, and lets nothing through. */
	simgpu_program_set(addr, 0, 1, PAGE, NULL, 0);
	move(addr, false);
	manage(1);
	ok(cuMemsetD8_v2(addr, 0, PAGE));
	manage(0);
	reports(MISMATCH, 0, cr_assert_eq(byte_at(addr), 0));
	simgpu_program_check(out, addr, sizeof(out), NULL, 0);
	ok(cuCtxSynchronize());
	cr_assert_eq(simgpu_report_count(MISMATCH), 0);
	out[3] = 1;
	simgpu_program_check(out, addr, sizeof(out), NULL, 0);
	ok(cuCtxSynchronize());
	cr_assert_eq(simgpu_report_count(MISMATCH), 1);
}

Test(mirror, reads_of_dead_rows_and_ranges_of_the_program_are_not_compared)
{
	setenv("SIMGPU_MIRROR", "1", 1);
	start();
	CUdeviceptr addr = reserve(1, 1);
	reports(MISMATCH, 0, cr_assert_eq(byte_at(addr), 0xa5));
}

Test(mirror, a_reservation_of_80_gib_costs_nothing)
{
	CUdeviceptr addr;

	setenv("SIMGPU_MIRROR", "1", 1);
	start();
	manage(1);
	ok(cuMemAddressReserve(&addr, 80ull << 30, 0, 0, 0));
	ok(cuMemMap(addr + (79ull << 30), PAGE, 0, create_on(0, PAGE), 0));
	ok(allow(addr + (79ull << 30), PAGE, 0));
	ok(cuMemsetD8_v2(addr + (79ull << 30), 0, PAGE));
	manage(0);
	reports(MISMATCH, 0, cr_assert_eq(byte_at(addr + (79ull << 30)), 0));
}
