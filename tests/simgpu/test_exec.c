/* SPDX-License-Identifier: Apache-2.0 */
/* test_exec.c - streams, events, host functions, contexts. */
#include <pthread.h>
#include <semaphore.h>

#include "simtest.h"

static sem_t gate;

static void wait_gate(void *data)
{
	while (sem_wait(&gate))
		;
}

static void set_flag(void *data)
{
	*(volatile int *)data = 1;
}

static void callback(CUstream stream, CUresult result, void *data)
{
	*(volatile int *)data = 1 + (int)result;
}

/* A stream that is busy until the gate is opened. */
static CUstream busy_stream(unsigned flags)
{
	CUstream stream;

	sem_init(&gate, 0, 0);
	ok(cuStreamCreate(&stream, flags));
	ok(cuLaunchHostFunc(stream, wait_gate, NULL));
	return stream;
}

Test(exec, work_of_one_stream_runs_in_order)
{
	CUdeviceptr a;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING);
	ok(launch_fill(a, 10, 1, stream));
	ok(cuMemsetD32Async(a, 2, 5, stream));
	ok(launch_copy(a + 100, a, 10, stream));
	fails(CUDA_ERROR_NOT_READY, cuStreamQuery(stream));
	sem_post(&gate);
	ok(cuStreamSynchronize(stream));
	ok(cuStreamQuery(stream));
	cr_assert_eq(byte_at(a + 100), 2);
	cr_assert_eq(byte_at(a + 120), 1);
}

Test(exec, a_host_function_may_wait_for_what_the_program_launches_next)
{
	volatile int flag = 0;

	start();
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING), other;
	ok(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
	ok(cuLaunchHostFunc(other, set_flag, (void *)&flag));
	ok(cuStreamSynchronize(other));
	cr_assert_eq(flag, 1);
	sem_post(&gate);
	ok(cuStreamSynchronize(stream));
}

Test(exec, an_event_is_complete_when_its_record_has_run)
{
	CUevent event;

	start();
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING);
	ok(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
	ok(cuEventQuery(event));
	ok(cuEventRecord(event, stream));
	fails(CUDA_ERROR_NOT_READY, cuEventQuery(event));
	sem_post(&gate);
	ok(cuEventSynchronize(event));
	ok(cuEventQuery(event));
	ok(cuEventDestroy_v2(event));
	fails(CUDA_ERROR_INVALID_HANDLE, cuEventQuery(event));
}

Test(exec, a_stream_waits_for_an_event_of_another)
{
	volatile int flag = 0;
	CUevent event;
	CUstream other;

	start();
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING);
	ok(cuEventCreate(&event, 0));
	ok(cuEventRecord(event, stream));
	ok(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
	ok(cuStreamWaitEvent(other, event, 0));
	ok(cuLaunchHostFunc(other, set_flag, (void *)&flag));
	fails(CUDA_ERROR_NOT_READY, cuStreamQuery(other));
	cr_assert_eq(flag, 0);
	sem_post(&gate);
	ok(cuStreamSynchronize(other));
	cr_assert_eq(flag, 1);
}

Test(exec, the_legacy_stream_and_blocking_streams_wait_for_each_other)
{
	CUdeviceptr a;
	CUstream free_stream;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	ok(cuStreamCreate(&free_stream, CU_STREAM_NON_BLOCKING));
	CUstream stream = busy_stream(0);
	ok(cuMemsetD8Async(a, 1, 1, stream));
	ok(cuMemsetD8Async(a, 2, 1, NULL));
	fails(CUDA_ERROR_NOT_READY, cuStreamQuery(NULL));
	/* A non-blocking stream does not care. */
	ok(cuMemsetD8Async(a + 1, 3, 1, free_stream));
	ok(cuStreamSynchronize(free_stream));
	sem_post(&gate);
	ok(cuStreamSynchronize(NULL));
	cr_assert_eq(byte_at(a), 2);
	cr_assert_eq(byte_at(a + 1), 3);
}

Test(exec, the_legacy_stream_is_idle_when_the_blocking_streams_are)
{
	start();
	CUstream stream = busy_stream(0);
	fails(CUDA_ERROR_NOT_READY, cuStreamQuery(NULL));
	sem_post(&gate);
	ok(cuStreamSynchronize(NULL));
	ok(cuStreamQuery(stream));
}

static void *per_thread_id(void *context)
{
	static __thread unsigned long long id;

	ok(cuCtxSetCurrent(context));
	ok(cuStreamGetId_ptsz(NULL, &id));
	return (void *)(uintptr_t)id;
}

Test(exec, the_per_thread_stream_is_one_of_each_thread)
{
	CUcontext context = start();
	unsigned long long legacy, mine, same;
	pthread_t thread;
	void *other;

	ok(cuStreamGetId(NULL, &legacy));
	ok(cuStreamGetId_ptsz(NULL, &mine));
	ok(cuStreamGetId(CU_STREAM_PER_THREAD, &same));
	cr_assert_eq(mine, same);
	cr_assert_neq(mine, legacy);
	pthread_create(&thread, NULL, per_thread_id, context);
	pthread_join(thread, &other);
	cr_assert_neq((uintptr_t)other, mine);
}

Test(exec, waits_and_writes_of_values)
{
	uint32_t *words;
	CUstream stream;

	start();
	ok(cuMemHostAlloc((void **)&words, 4096, 0));
	words[0] = words[1] = 0;
	ok(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	ok(cuStreamWaitValue32_v2(stream, (CUdeviceptr)words, 5, CU_STREAM_WAIT_VALUE_GEQ));
	ok(cuStreamWriteValue32_v2(stream, (CUdeviceptr)(words + 1), 9, 0));
	fails(CUDA_ERROR_NOT_READY, cuStreamQuery(stream));
	*(volatile uint32_t *)words = 6;
	ok(cuStreamSynchronize(stream));
	cr_assert_eq(words[1], 9);
}

Test(exec, a_callback_gets_the_status)
{
	volatile int got = 0;
	CUstream stream;

	start();
	ok(cuStreamCreate(&stream, 0));
	ok(cuStreamAddCallback(stream, callback, (void *)&got, 0));
	ok(cuStreamSynchronize(stream));
	cr_assert_eq(got, 1);
}

Test(exec, unmapping_what_queued_work_may_touch_is_a_violation)
{
	start();
	CUdeviceptr addr = reserve(4, 4);
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING);
	ok(cuMemsetD8Async(addr, 1, 10, stream));
	reports(VIOLATION, 0, ok(cuMemUnmap(addr + PAGE, PAGE)));
	reports(VIOLATION, 1, ok(cuMemUnmap(addr, PAGE)));
	/* And what the work then meets is a fault. */
	reports(FAULT, 1, {
		sem_post(&gate);
		fails(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(stream));
	});
}

Test(exec, a_queued_kernel_may_touch_all_of_a_range_that_it_points_into)
{
	start();
	CUdeviceptr addr = reserve(4, 4);
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING);
	ok(launch_fill(addr, 1, 1, stream));
	reports(VIOLATION, 1, ok(cuMemUnmap(addr + 3 * PAGE, PAGE)));
	sem_post(&gate);
	ok(cuStreamSynchronize(stream));
	reports(VIOLATION, 0, ok(cuMemUnmap(addr, PAGE)));
}

Test(exec, a_queued_kernel_cannot_touch_what_no_device_has_had_access_to)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE}};
	CUmemAccessDesc access = {.location = prop.location};
	CUmemGenericAllocationHandle handle;

	start();
	CUdeviceptr addr = reserve(4, 2);
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING);
	ok(launch_fill(addr, 1, 1, stream));
	ok(cuMemCreate(&handle, PAGE, &prop, 0));
	ok(cuMemMap(addr + 2 * PAGE, PAGE, 0, handle, 0));
	reports(VIOLATION, 0, ok(cuMemUnmap(addr + 2 * PAGE, PAGE)));
	/* Access that was taken away again was access. */
	ok(cuMemMap(addr + 2 * PAGE, PAGE, 0, handle, 0));
	access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	ok(cuMemSetAccess(addr + 2 * PAGE, PAGE, &access, 1));
	access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
	ok(cuMemSetAccess(addr + 2 * PAGE, PAGE, &access, 1));
	reports(VIOLATION, 1, ok(cuMemUnmap(addr + 2 * PAGE, PAGE)));
	sem_post(&gate);
	ok(cuStreamSynchronize(stream));
	ok(cuMemRelease(handle));
}

Test(exec, freeing_waits_for_the_device)
{
	CUdeviceptr a;

	start();
	ok(cuMemAlloc_v2(&a, 4096));
	CUstream stream = busy_stream(CU_STREAM_NON_BLOCKING);
	ok(launch_fill(a, 1000, 1, stream));
	sem_post(&gate);
	ok(cuMemFree_v2(a));
	ok(cuStreamSynchronize(stream));
	cr_assert_eq(simgpu_report_count(FAULT), 0);
}

Test(exec, a_kernel_goes_to_streams_of_the_current_context_only)
{
	CUcontext second;
	CUstream stream;

	start();
	ok(cuStreamCreate(&stream, 0));
	CUfunction function = kernel("micro_nothing");
	ok(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
	ok(cuCtxCreate_v2(&second, 0, 0));
	fails(CUDA_ERROR_INVALID_HANDLE,
		cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
	ok(cuCtxDestroy_v2(second));
	ok(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
}

Test(exec, launches_with_wrong_arguments_are_refused)
{
	CUfunction function;
	CUstream stream;

	start();
	function = kernel("micro_fill");
	fails(CUDA_ERROR_INVALID_VALUE,
		cuLaunchKernel(function, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	fails(CUDA_ERROR_INVALID_VALUE,
		cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
	ok(cuStreamCreate(&stream, 0));
	ok(cuStreamDestroy_v2(stream));
	fails(CUDA_ERROR_INVALID_HANDLE, cuStreamQuery(stream));
}

Test(exec, parameters_may_come_as_one_buffer)
{
	struct {
		CUdeviceptr dst;
		uint32_t n, value;
	} block = {.n = 3, .value = 8};
	size_t size = sizeof(block);
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &block, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
		CU_LAUNCH_PARAM_END};

	start();
	ok(cuMemAlloc_v2(&block.dst, 4096));
	ok(cuLaunchKernel(kernel("micro_fill"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
	ok(cuCtxSynchronize());
	cr_assert_eq(byte_at(block.dst + 8), 8);
}

Test(exec, calls_need_initialisation_and_a_context)
{
	CUdeviceptr a;
	CUcontext context;
	int n;

	fails(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&n));
	ok(cuInit(0));
	ok(cuDeviceGetCount(&n));
	cr_assert_eq(n, 1);
	fails(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc_v2(&a, 16));
	fails(CUDA_ERROR_INVALID_DEVICE, cuDevicePrimaryCtxRetain(&context, 1));
	ok(cuCtxCreate_v2(&context, 0, 0));
	ok(cuMemAlloc_v2(&a, 16));
	ok(cuCtxDestroy_v2(context));
	fails(CUDA_ERROR_INVALID_CONTEXT, cuCtxSetCurrent(context));
}
