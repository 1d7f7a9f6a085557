/* SPDX-License-Identifier: Apache-2.0 */
/* test_vmm.c - the rules of virtual memory management, each broken once. */
#include "simtest.h"

Test(vmm, a_mapped_page_holds_what_was_written)
{
	uint8_t in[1000], out[1000];

	start();
	CUdeviceptr addr = reserve(2, 2);
	memset(in, 7, sizeof(in));
	/* Across the border of two mappings. */
	ok(cuMemcpyHtoD_v2(addr + PAGE - 500, in, sizeof(in)));
	ok(cuMemcpyDtoH_v2(out, addr + PAGE - 500, sizeof(out)));
	cr_assert_arr_eq(in, out, sizeof(in));
}

Test(vmm, fresh_memory_is_poison_and_not_zero)
{
	start();
	CUdeviceptr addr = reserve(1, 1);
	cr_assert_eq(byte_at(addr + 12345), 0xa5);
	ok(cuMemsetD8_v2(addr, 0, 10));
	cr_assert_eq(byte_at(addr + 9), 0);
	cr_assert_eq(byte_at(addr + 10), 0xa5);
}

Test(vmm, a_released_page_comes_back_as_poison)
{
	start();
	CUdeviceptr addr = reserve(1, 1);
	ok(cuMemsetD8_v2(addr, 1, PAGE));
	ok(cuCtxSynchronize());
	ok(cuMemUnmap(addr, PAGE));
	CUmemGenericAllocationHandle handle = create_on(0, PAGE);
	ok(cuMemMap(addr, PAGE, 0, handle, 0));
	ok(allow(addr, PAGE, 0));
	cr_assert_eq(byte_at(addr), 0xa5);
}

Test(vmm, a_handle_keeps_its_content_while_it_moves)
{
	start();
	CUmemGenericAllocationHandle handle = create_on(0, PAGE);
	CUdeviceptr addr = reserve(2, 0);
	ok(cuMemMap(addr, PAGE, 0, handle, 0));
	ok(allow(addr, PAGE, 0));
	ok(cuMemsetD8_v2(addr, 9, PAGE));
	ok(cuCtxSynchronize());
	ok(cuMemUnmap(addr, PAGE));
	ok(cuMemMap(addr + PAGE, PAGE, 0, handle, 0));
	ok(allow(addr + PAGE, PAGE, 0));
	cr_assert_eq(byte_at(addr + PAGE + 77), 9);
}

Test(vmm, sizes_that_are_no_multiple_of_the_granularity_are_refused)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
	CUmemGenericAllocationHandle handle;
	CUdeviceptr addr;
	size_t granularity;

	start();
	ok(cuMemGetAllocationGranularity(&granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	cr_assert_eq(granularity, PAGE);
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&handle, PAGE + 4096, &prop, 0)));
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&addr, 1000, 0, 0, 0)));
	addr = reserve(2, 0);
	handle = create_on(0, PAGE);
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemMap(addr + 4096, PAGE, 0, handle, 0)));
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemMap(addr, PAGE / 2, 0, handle, 0)));
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemMap(addr, 2 * PAGE, 0, handle, 0)));
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemMap(addr, PAGE, PAGE, handle, 0)));
}

Test(vmm, mapping_over_a_mapping_is_refused)
{
	start();
	CUdeviceptr addr = reserve(2, 1);
	CUmemGenericAllocationHandle handle = create_on(0, 2 * PAGE);
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemMap(addr, 2 * PAGE, 0, handle, 0)));
	cr_assert_eq(byte_at(addr), 0xa5);
}

Test(vmm, unmapping_a_part_or_a_hole_is_refused)
{
	start();
	CUdeviceptr addr = reserve(4, 0);
	CUmemGenericAllocationHandle handle = create_on(0, 2 * PAGE);
	ok(cuMemMap(addr, 2 * PAGE, 0, handle, 0));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(addr, PAGE)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(addr + PAGE, PAGE)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(addr, 3 * PAGE)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(addr + 2 * PAGE, PAGE)));
	reports(VIOLATION, 0, ok(cuMemUnmap(addr, 2 * PAGE)));
}

Test(vmm, one_unmap_may_span_whole_mappings)
{
	start();
	CUdeviceptr addr = reserve(3, 3);
	reports(VIOLATION, 0, ok(cuMemUnmap(addr, 3 * PAGE)));
	reports(VIOLATION, 0, ok(cuMemAddressFree(addr, 3 * PAGE)));
}

Test(vmm, access_must_be_set_before_use_and_over_whole_mappings)
{
	start();
	CUdeviceptr addr = reserve(3, 0);
	CUmemGenericAllocationHandle handle = create_on(0, PAGE);
	ok(cuMemMap(addr, PAGE, 0, handle, 0));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(addr, 0, 1)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, allow(addr, 2 * PAGE, 0)));
	ok(allow(addr, PAGE, 0));
	reports(VIOLATION, 0, ok(cuMemsetD8_v2(addr, 0, 1)));
}

Test(vmm, a_kernel_without_access_faults)
{
	start();
	CUdeviceptr addr = reserve(1, 0);
	CUmemGenericAllocationHandle handle = create_on(0, PAGE);
	ok(cuMemMap(addr, PAGE, 0, handle, 0));
	reports(FAULT, 1, {
		launch_fill(addr, 1, 1, NULL);
		fails(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
	});
}

Test(vmm, access_can_be_read_only)
{
	CUmemAccessDesc desc = {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READ};
	CUmemLocation location = {.type = CU_MEM_LOCATION_TYPE_DEVICE};
	unsigned long long flags;

	start();
	CUdeviceptr addr = reserve(1, 1);
	ok(cuMemSetAccess(addr, PAGE, &desc, 1));
	ok(cuMemGetAccess(&flags, &location, addr));
	cr_assert_eq(flags, CU_MEM_ACCESS_FLAGS_PROT_READ);
	cr_assert_eq(byte_at(addr), 0xa5);
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(addr, 0, 1)));
}

Test(vmm, copies_and_sets_of_unmapped_ranges_are_refused)
{
	uint8_t byte = 0;

	start();
	CUdeviceptr addr = reserve(2, 1), other;
	ok(cuMemAlloc_v2(&other, 2 * PAGE));
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(addr + PAGE, &byte, 1)));
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH_v2(&byte, addr + PAGE, 1)));
	reports(VIOLATION, 1,
		fails(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoD_v2(other, addr, PAGE + 1)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(addr, 0, PAGE + 1)));
	/* Nothing was written before the hole was met. */
	cr_assert_eq(byte_at(addr), 0xa5);
}

Test(vmm, a_stale_or_released_handle_is_refused)
{
	start();
	CUdeviceptr addr = reserve(1, 0);
	CUmemGenericAllocationHandle handle = create_on(0, PAGE);
	ok(cuMemRelease(handle));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemRelease(handle)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemMap(addr, PAGE, 0, handle, 0)));
	/* The slot is used again, with another id. */
	cr_assert_neq(create_on(0, PAGE), handle);
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemRelease(handle)));
}

Test(vmm, memory_lives_until_the_last_mapping_and_the_last_reference)
{
	CUmemGenericAllocationHandle again;
	size_t before, now, total;

	start();
	ok(cuMemGetInfo_v2(&before, &total));
	CUdeviceptr addr = reserve(1, 1);
	ok(cuMemRetainAllocationHandle(&again, (void *)(addr + 100)));
	ok(cuMemUnmap(addr, PAGE));
	ok(cuMemGetInfo_v2(&now, &total));
	cr_assert_eq(before - now, PAGE);
	ok(cuMemRelease(again));
	ok(cuMemGetInfo_v2(&now, &total));
	cr_assert_eq(before, now);
	fails(CUDA_ERROR_INVALID_VALUE, cuMemRetainAllocationHandle(&again, (void *)addr));
}

Test(vmm, a_reservation_is_freed_whole_and_unmapped)
{
	start();
	CUdeviceptr addr = reserve(2, 1);
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(addr, 2 * PAGE)));
	ok(cuMemUnmap(addr, PAGE));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(addr, PAGE)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(addr + PAGE, PAGE)));
	ok(cuMemAddressFree(addr, 2 * PAGE));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(addr, 2 * PAGE)));
}

Test(vmm, vmm_memory_is_not_for_cuMemFree)
{
	start();
	CUdeviceptr addr = reserve(1, 1);
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(addr)));
}

Test(vmm, each_device_needs_access_of_its_own)
{
	CUcontext second;

	setenv("SIMGPU_DEVICES", "2", 1);
	start();
	CUdeviceptr addr = reserve(1, 1);
	ok(cuDevicePrimaryCtxRetain(&second, 1));
	ok(cuCtxSetCurrent(second));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemsetD8_v2(addr, 0, 1)));
	ok(allow(addr, PAGE, 1));
	reports(VIOLATION, 0, ok(cuMemsetD8_v2(addr, 0, 1)));
}

Test(vmm, host_memory_serves_the_device_and_the_host_if_it_is_let_in)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_HOST_NUMA}};
	CUmemAccessDesc host = {.location = {.type = CU_MEM_LOCATION_TYPE_HOST_NUMA},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUmemGenericAllocationHandle handle;
	size_t before, now, total;

	start();
	ok(cuMemGetInfo_v2(&before, &total));
	ok(cuMemCreate(&handle, PAGE, &prop, 0));
	ok(cuMemGetInfo_v2(&now, &total));
	cr_assert_eq(before, now);
	CUdeviceptr addr = reserve(1, 0);
	ok(cuMemMap(addr, PAGE, 0, handle, 0));
	ok(allow(addr, PAGE, 0));
	ok(cuMemsetD8_v2(addr, 3, PAGE));
	ok(cuCtxSynchronize());
	ok(cuMemSetAccess(addr, PAGE, &host, 1));
	cr_assert_eq(*(volatile uint8_t *)addr, 3);
	*(volatile uint8_t *)addr = 4;
	cr_assert_eq(byte_at(addr), 4);
	/* The host never gets at device memory. */
	CUdeviceptr other = reserve(1, 1);
	fails(CUDA_ERROR_NOT_SUPPORTED, cuMemSetAccess(other, PAGE, &host, 1));
}

Test(vmm, the_host_cannot_dereference_device_memory, .signal = SIGSEGV)
{
	start();
	CUdeviceptr addr = reserve(1, 1);
	cr_assert_eq(*(volatile uint8_t *)addr, 0);
}

Test(vmm, without_vmm_every_call_says_so)
{
	CUdeviceptr addr;
	int value = 1;

	setenv("SIMGPU_NO_VMM", "1", 1);
	start();
	ok(cuDeviceGetAttribute(
		&value, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0));
	cr_assert_eq(value, 0);
	fails(CUDA_ERROR_NOT_SUPPORTED, cuMemAddressReserve(&addr, PAGE, 0, 0, 0));
}

Test(vmm, low_addresses_on_request)
{
	setenv("SIMGPU_LOW_ADDRESSES", "1", 1);
	start();
	cr_assert_lt(reserve(2, 1), 1ull << 40);
}

Test(vmm, exported_handles_come_back_in_the_same_process)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE},
		.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR};
	CUmemGenericAllocationHandle handle, same;
	int fd;

	start();
	ok(cuMemCreate(&handle, PAGE, &prop, 0));
	ok(cuMemExportToShareableHandle(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	ok(cuMemImportFromShareableHandle(
		&same, (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	cr_assert_eq(handle, same);
	/* One that was not made for it cannot be exported. */
	fails(CUDA_ERROR_INVALID_VALUE, cuMemExportToShareableHandle(&fd, create_on(0, PAGE),
						CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
}
