/* SPDX-License-Identifier: Apache-2.0 */
/* test_memory.c - native allocations, their cost, their accounting, what is said about addresses.
 */
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "simtest.h"

static long resident_mib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss >> 10;
}

Test(memory, allocations_are_accounted_to_the_byte_and_given_back)
{
	size_t before, now, total;
	CUdeviceptr a;

	start();
	ok(cuMemGetInfo_v2(&before, &total));
	cr_assert_eq(total, 80ull << 30);
	ok(cuMemAlloc_v2(&a, 24290304));
	ok(cuMemGetInfo_v2(&now, &total));
	cr_assert_eq(before - now, 24290304);
	ok(cuMemFree_v2(a));
	ok(cuMemGetInfo_v2(&now, NULL));
	cr_assert_eq(before, now);
	/* Both are optional. */
	ok(cuMemGetInfo_v2(NULL, NULL));
}

Test(memory, more_than_the_device_has_is_refused)
{
	CUdeviceptr a, b;

	setenv("SIMGPU_MEMORY", "64M", 1);
	start();
	ok(cuMemAlloc_v2(&a, 60 * MIB));
	fails(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&b, 5 * MIB));
	ok(cuMemFree_v2(a));
	ok(cuMemAlloc_v2(&b, 5 * MIB));
}

Test(memory, huge_memory_that_is_zeroed_costs_nothing)
{
	CUdeviceptr a;
	long before;

	start();
	ok(cuMemAlloc_v2(&a, 40ull << 30));
	ok(cuMemsetD8_v2(a, 0, 4096));
	ok(cuCtxSynchronize());
	before = resident_mib();
	ok(cuMemsetD8_v2(a, 0, 40ull << 30));
	cr_assert_eq(byte_at(a + (39ull << 30)), 0);
	ok(cuMemcpyDtoD_v2(a + (20ull << 30), a, 20ull << 30));
	cr_assert_eq(byte_at(a + (39ull << 30)), 0);
	cr_assert_lt(resident_mib() - before, 64);
}

Test(memory, bytes_stop_at_the_end_of_an_allocation)
{
	uint8_t bytes[16] = {0};
	CUdeviceptr a;

	start();
	ok(cuMemAlloc_v2(&a, 1000));
	ok(cuMemcpyHtoD_v2(a + 984, bytes, 16));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(a + 985, bytes, 16)));
}

Test(memory, double_and_foreign_frees_are_violations)
{
	CUdeviceptr a;
	int local;

	start();
	ok(cuMemFree_v2(0));
	ok(cuMemAlloc_v2(&a, 1000));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(a + 8)));
	ok(cuMemFree_v2(a));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(a)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2((CUdeviceptr)&local)));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(&local)));
}

Test(memory, a_kernel_that_goes_too_far_faults_and_the_context_is_lost)
{
	CUdeviceptr a;
	size_t size;

	start();
	ok(cuMemAlloc_v2(&a, 400));
	ok(launch_fill(a, 100, 1, NULL));
	ok(cuCtxSynchronize());
	reports(FAULT, 1, {
		launch_fill(a, 101, 1, NULL);
		fails(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
	});
	/* Sticky. */
	fails(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemGetInfo_v2(&size, &size));
	fails(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemAlloc_v2(&a, 4));
}

Test(memory, patterns_and_rectangles)
{
	CUdeviceptr a;
	uint32_t words[64];
	size_t pitch;

	start();
	ok(cuMemAllocPitch_v2(&a, &pitch, 100, 8, 4));
	ok(cuMemsetD8_v2(a, 0, pitch * 8));
	ok(cuMemsetD2D32_v2(a + 4, pitch, 0x01020304, 3, 2));
	ok(cuMemcpyDtoH_v2(words, a + pitch, 32));
	cr_assert_eq(words[0], 0);
	cr_assert_eq(words[1], 0x01020304);
	cr_assert_eq(words[3], 0x01020304);
	cr_assert_eq(words[4], 0);
	CUDA_MEMCPY2D copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = a,
		.srcPitch = pitch,
		.srcXInBytes = 4,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = words,
		.dstPitch = 16,
		.WidthInBytes = 12,
		.Height = 2};
	memset(words, 0xff, sizeof(words));
	ok(cuMemcpy2D_v2(&copy));
	cr_assert_eq(words[2], 0x01020304);
	cr_assert_eq(words[3], 0xffffffff);
	cr_assert_eq(words[4], 0x01020304);
	ok(cuMemsetD16_v2(a, 0xbeef, 3));
	ok(cuMemcpyDtoH_v2(words, a, 8));
	cr_assert_eq(words[0], 0xbeefbeef);
	fails(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(a + 2, 0, 1));
}

Test(memory, pinned_and_managed_memory_is_the_hosts_and_the_devices)
{
	CUdeviceptr managed, device;
	uint32_t *host;

	start();
	ok(cuMemHostAlloc((void **)&host, 4096, 0));
	ok(cuMemHostGetDevicePointer_v2(&device, host, 0));
	ok(launch_fill(device, 4, 42, NULL));
	ok(cuCtxSynchronize());
	cr_assert_eq(host[3], 42);
	ok(cuMemAllocManaged(&managed, 4096, CU_MEM_ATTACH_GLOBAL));
	((uint32_t *)managed)[1] = 5;
	ok(launch_copy(device, managed, 2, NULL));
	ok(cuCtxSynchronize());
	cr_assert_eq(host[1], 5);
	ok(cuMemPrefetchAsync(managed, 4096, 0, NULL));
	fails(CUDA_ERROR_INVALID_VALUE, cuMemPrefetchAsync(device, 4096, 0, NULL));
	ok(cuMemFreeHost(host));
	ok(cuMemFree_v2(managed));
}

Test(memory, registered_memory_is_reached_until_it_is_unregistered)
{
	static uint32_t words[1024];

	start();
	ok(cuMemHostRegister_v2(words, sizeof(words), 0));
	fails(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister_v2(words, 16, 0));
	ok(launch_fill((CUdeviceptr)words, 1024, 1, NULL));
	ok(cuCtxSynchronize());
	cr_assert_eq(words[1023], 1);
	ok(cuMemHostUnregister(words));
	fails(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(words));
	reports(FAULT, 1, {
		launch_fill((CUdeviceptr)words, 1, 1, NULL);
		cuCtxSynchronize();
	});
}

Test(memory, pool_allocations_are_freed_in_stream_order)
{
	size_t before, now, total;
	CUdeviceptr a;
	CUstream stream;

	start();
	ok(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	ok(cuMemGetInfo_v2(&before, &total));
	ok(cuMemAllocAsync(&a, 4 * MIB, stream));
	ok(launch_fill(a, 1000, 1, stream));
	ok(cuMemFreeAsync(a, stream));
	reports(VIOLATION, 1, fails(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(a, stream)));
	ok(cuStreamSynchronize(stream));
	ok(cuMemGetInfo_v2(&now, &total));
	cr_assert_eq(before, now);
	cr_assert_eq(simgpu_report_count(FAULT), 0);
}

Test(memory, a_peer_is_reached_after_it_is_enabled)
{
	CUcontext first, second;
	CUdeviceptr a, b;

	setenv("SIMGPU_DEVICES", "2", 1);
	first = start();
	ok(cuMemAlloc_v2(&a, 4096));
	ok(cuMemsetD8_v2(a, 6, 4096));
	ok(cuCtxSynchronize());
	ok(cuDevicePrimaryCtxRetain(&second, 1));
	ok(cuCtxSetCurrent(second));
	ok(cuMemAlloc_v2(&b, 4096));
	/* A peer copy needs no access, a kernel does. */
	ok(cuMemcpyPeer(b, second, a, first, 4096));
	cr_assert_eq(byte_at(b), 6);
	ok(cuCtxEnablePeerAccess(first, 0));
	fails(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, cuCtxEnablePeerAccess(first, 0));
	ok(launch_copy(b, a, 10, NULL));
	ok(cuCtxSynchronize());
	ok(cuCtxDisablePeerAccess(first));
	reports(FAULT, 1, {
		launch_copy(b, a, 10, NULL);
		fails(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
	});
}

Test(memory, what_is_said_of_native_memory)
{
	CUcontext context = start(), of;
	CUdeviceptr a, base;
	size_t size;
	bool flag;
	CUipcMemHandle ipc;

	ok(cuMemAlloc_v2(&a, 10000));
	ok(cuMemGetAddressRange_v2(&base, &size, a + 5000));
	cr_assert_eq(base, a);
	cr_assert_eq(size, 10000);
	ok(cuPointerGetAttribute(&of, CU_POINTER_ATTRIBUTE_CONTEXT, a));
	cr_assert_eq(of, context);
	ok(cuPointerGetAttribute(&flag, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, a));
	cr_assert(flag);
	ok(cuIpcGetMemHandle(&ipc, a));
	fails(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange_v2(&base, &size, 4096));
	fails(CUDA_ERROR_INVALID_VALUE,
		cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, 4096));
}

Test(memory, what_is_said_of_vmm_memory_differs)
{
	CUcontext of = (CUcontext)1;
	CUdeviceptr base;
	size_t size;
	bool flag = true;
	CUipcMemHandle ipc;
	int yes = 1;

	start();
	CUdeviceptr a = reserve(4, 2);
	ok(cuMemGetAddressRange_v2(&base, &size, a + PAGE + 1));
	cr_assert_eq(base, a + PAGE);
	cr_assert_eq(size, PAGE);
	ok(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, a));
	cr_assert_eq(size, 4 * PAGE);
	ok(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_MAPPING_SIZE, a));
	cr_assert_eq(size, PAGE);
	ok(cuPointerGetAttribute(&of, CU_POINTER_ATTRIBUTE_CONTEXT, a));
	cr_assert_null(of);
	ok(cuPointerGetAttribute(&flag, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, a));
	cr_assert_not(flag);
	ok(cuPointerGetAttribute(&flag, CU_POINTER_ATTRIBUTE_MAPPED, a + 3 * PAGE));
	cr_assert_not(flag);
	fails(CUDA_ERROR_INVALID_VALUE, cuIpcGetMemHandle(&ipc, a));
	fails(CUDA_ERROR_NOT_SUPPORTED,
		cuPointerSetAttribute(&yes, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, a));
	fails(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange_v2(&base, &size, a + 2 * PAGE));
}

Test(memory, a_reset_frees_native_memory_and_leaves_vmm_memory)
{
	size_t before, now, total;
	CUdeviceptr a;
	CUcontext context;

	start();
	ok(cuMemGetInfo_v2(&before, &total));
	reserve(1, 1);
	ok(cuMemAlloc_v2(&a, 10 * MIB));
	ok(cuDevicePrimaryCtxReset_v2(0));
	ok(cuDevicePrimaryCtxRetain(&context, 0));
	ok(cuCtxSetCurrent(context));
	ok(cuMemGetInfo_v2(&now, &total));
	cr_assert_eq(before - now, PAGE);
}

Test(memory, two_processes_share_one_device_and_the_dead_are_swept)
{
	char path[] = "/tmp/simgpu-shared-XXXXXX";
	size_t now, total;
	CUdeviceptr a;
	int pipes[2], status;
	char byte;

	cr_assert_geq(mkstemp(path), 0);
	setenv("SIMGPU_SHARED", path, 1);
	setenv("SIMGPU_MEMORY", "1G", 1);
	cr_assert_eq(pipe(pipes), 0);
	pid_t child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		start();
		ok(cuMemAlloc_v2(&a, 700 * MIB));
		if (write(pipes[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	cr_assert_eq(read(pipes[0], &byte, 1), 1);
	start();
	ok(cuMemGetInfo_v2(&now, &total));
	cr_assert_eq(now, 324 * MIB);
	fails(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&a, 400 * MIB));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	ok(cuMemAlloc_v2(&a, 400 * MIB));
	unlink(path);
}

Test(memory, a_forked_child_finds_the_driver_not_initialised)
{
	CUdeviceptr a;
	int status;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	pid_t child = fork();
	if (!child)
		_exit(cuMemAlloc_v2(&a, 4096) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
	waitpid(child, &status, 0);
	cr_assert_eq(status, 0);
}
