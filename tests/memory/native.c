/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.c - memory that the shim leaves alone is counted as long as the program has it, no longer
 * and no shorter: what the counter says is compared with what the device says.
 */
#include "tests/memory/check.h"

#define NATIVE (20 * MIB) /* left alone by option */

static CUdevice device;
static CUcontext primary;

static uint64_t native(void)
{
	return state_counter(STATE_COUNTER(native));
}

static CUmemAllocationProp on_device(void)
{
	return (CUmemAllocationProp){
		.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
	};
}

static void linear(void)
{
	uint64_t before = native();
	CUdeviceptr a, b;

	OK(cuMemAlloc(&a, NATIVE));
	OK(cuMemAlloc(&b, MIB));
	CHECK(native() - before == NATIVE + MIB);
	CHECK(cuMemFree(a + 256) != CUDA_SUCCESS);
	CHECK(native() - before == NATIVE + MIB);
	OK(cuMemFree(a));
	CHECK(native() - before == MIB);
	CHECK(cuMemFree(a) != CUDA_SUCCESS);
	OK(cuMemFree(b));
	CHECK(native() == before);
	forget_reports();
}

/* The order in which engines give up a handle: at the end, or right after it was mapped. */
static void handles(bool release_early)
{
	CUmemGenericAllocationHandle handle, again;
	CUmemAllocationProp prop = on_device();
	uint64_t before = native();
	CUdeviceptr range;

	OK(cuMemAddressReserve(&range, 8 * PAGE, 0, 0, 0));
	OK(cuMemCreate(&handle, 2 * PAGE, &prop, 0));
	CHECK(native() - before == 2 * PAGE);
	OK(cuMemMap(range, 2 * PAGE, 0, handle, 0));
	OK(cuMemMap(range + 4 * PAGE, 2 * PAGE, 0, handle, 0));
	if (release_early)
		OK(cuMemRelease(handle));
	CHECK(native() - before == 2 * PAGE);
	/* A new handle, with whatever value, is other memory. */
	OK(cuMemCreate(&again, PAGE, &prop, 0));
	CHECK(native() - before == 3 * PAGE);
	OK(cuMemRelease(again));
	CHECK(native() - before == 2 * PAGE);
	OK(cuMemUnmap(range, 2 * PAGE));
	CHECK(native() - before == 2 * PAGE);
	/* Named again by its address. */
	OK(cuMemRetainAllocationHandle(&again, (void *)(range + 5 * PAGE)));
	OK(cuMemUnmap(range + 4 * PAGE, 2 * PAGE));
	CHECK(native() - before == 2 * PAGE);
	OK(cuMemRelease(again));
	if (!release_early) {
		CHECK(native() - before == 2 * PAGE);
		OK(cuMemRelease(handle));
	}
	CHECK(native() == before);
	OK(cuMemAddressFree(range, 8 * PAGE));
}

static void handles_kept(void)
{
	handles(false);
}

static void handles_released(void)
{
	handles(true);
}

/* Many mappings, gone by one call. */
static void mappings(void)
{
	CUmemAllocationProp prop = on_device();
	uint64_t before = native();
	CUdeviceptr range;

	OK(cuMemAddressReserve(&range, 64 * PAGE, 0, 0, 0));
	for (size_t i = 64; i-- > 0;) {
		CUmemGenericAllocationHandle handle;

		OK(cuMemCreate(&handle, PAGE, &prop, 0));
		OK(cuMemMap(range + i * PAGE, PAGE, 0, handle, 0));
		OK(cuMemRelease(handle));
	}
	CHECK(native() - before == 64 * PAGE);
	OK(cuMemUnmap(range + 8 * PAGE, 16 * PAGE));
	CHECK(native() - before == 48 * PAGE);
	OK(cuMemUnmap(range, 8 * PAGE));
	OK(cuMemUnmap(range + 24 * PAGE, 40 * PAGE));
	CHECK(native() == before);
	OK(cuMemAddressFree(range, 64 * PAGE));
}

static void stream_ordered(void)
{
	CUmemPoolProps props = {
		.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device},
	};
	uint64_t before = native();
	CUdeviceptr a, b, c;
	CUmemoryPool pool;
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuMemPoolCreate(&pool, &props));
	OK(cuMemAllocAsync(&a, 3 * MIB, stream));
	OK(cuMemAllocFromPoolAsync(&b, 5 * MIB, pool, stream));
	OK(cuMemAllocAsync(&c, 7 * MIB, NULL));
	CHECK(native() - before == 15 * MIB);
	OK(cuMemFreeAsync(a, stream));
	CHECK(native() - before == 12 * MIB);
	OK(cuMemFree(c));
	OK(cuMemFreeAsync(b, stream));
	CHECK(native() == before);
	OK(cuStreamSynchronize(stream));
	OK(cuMemPoolDestroy(pool));
	OK(cuStreamDestroy(stream));
}

/* What a context takes along is off the books; what it does not own stays on them. */
static void contexts(void)
{
	uint64_t before = native();
	CUdeviceptr mine, theirs;
	CUcontext other;

	OK(cuMemAlloc(&mine, NATIVE));
	OK(cuCtxCreate(&other, NULL, 0, device));
	OK(cuMemAlloc(&theirs, MIB));
	OK(cuMemAlloc(&theirs, NATIVE));
	CHECK(native() - before == 2 * NATIVE + MIB);
	OK(cuCtxDestroy(other));
	CHECK(native() - before == NATIVE);
	OK(cuCtxSetCurrent(primary));
	OK(cuMemFree(mine));
	CHECK(native() == before);
}

/* What was promised to a reservation no way of allocating gets. */
static void refused(void)
{
	size_t free_bytes = 0, total;
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp prop = on_device();
	CUdeviceptr r, a;
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
	OK(cuMemFree(reserve(BIG)));
	OK(cuMemGetInfo(&free_bytes, &total));
	OK(cuMemAlloc(&r, free_bytes / PAGE * PAGE - 4 * PAGE));
	CHECK(backed() == 0);
	ERROR_IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&a, NATIVE));
	ERROR_IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAllocAsync(&a, NATIVE, stream));
	ERROR_IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemCreate(&handle, 8 * PAGE, &prop, 0));
	OK(cuMemFree(r));
	OK(cuMemAlloc(&a, NATIVE));
	OK(cuMemFree(a));
	OK(cuStreamDestroy(stream));
}

int main(void)
{
	primary = start();
	OK(cuDeviceGet(&device, 0));
	OK(cuMemFree(reserve(BIG)));
	says("linear memory is counted from allocation to free", linear);
	says("a handle that is kept is counted until it is released", handles_kept);
	says("a handle that is released at once is counted until it is unmapped", handles_released);
	says("one call unmaps many", mappings);
	says("stream-ordered memory is counted until its free is queued", stream_ordered);
	says("a context takes its memory off the books", contexts);
	says("what is promised no way of allocating gets", refused);
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
