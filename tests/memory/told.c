/* SPDX-License-Identifier: Apache-2.0 */
/*
 * told.c - what cuMemGetInfo says when an option fixes it: a budget of 100 MiB, or the driver's own
 * numbers. Native are allocations of 20 MiB, by option.
 */
#include "tests/memory/check.h"

#define BUDGET (100 * MIB)
#define NATIVE (20 * MIB)

static size_t free_now(void)
{
	size_t free_bytes = 0, total;

	OK(cuMemGetInfo(&free_bytes, &total));
	return free_bytes;
}

static void a_budget_is_a_device_of_that_size(void)
{
	CUdeviceptr native = 0, buffer;
	size_t free_bytes, total = 0;

	OK(cuMemGetInfo(&free_bytes, &total));
	CHECK(total == BUDGET && free_bytes == BUDGET);
	buffer = reserve(BIG);
	CHECK(free_now() == BUDGET - BIG);
	OK(cuMemsetD8(buffer, 1, BIG));
	CHECK(free_now() == BUDGET - BIG); /* what was asked for counts, used or not */
	OK(cuMemAlloc(&native, NATIVE));
	CHECK(free_now() == BUDGET - BIG - NATIVE);
	OK(cuMemFree(native));
	OK(cuMemFree(buffer));
	CHECK(free_now() == BUDGET);
}

static void raw_numbers_are_the_drivers(void)
{
	CUdeviceptr buffer = reserve(BIG);
	size_t before;

	/* What the shim needs for itself it has from here on. */
	OK(cuMemFree(buffer));
	before = free_now();
	buffer = reserve(BIG);
	CHECK(free_now() == before);
	OK(cuMemsetD8(buffer, 1, PAGE));
	CHECK(free_now() == before - PAGE);
	OK(cuMemFree(buffer));
}

int main(void)
{
	CUdevice device;

	start();
	if (getenv("KVSHIM_REPORT_BUDGET"))
		says("a budget is a device of that size", a_budget_is_a_device_of_that_size);
	else
		says("raw numbers are the driver's", raw_numbers_are_the_drivers);
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
