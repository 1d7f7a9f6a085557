/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life.c - allocation, free, contexts, fork, and what happens when there is not enough.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/memory/check.h"

static CUcontext primary;
static CUdevice device;

static bool shimmed(void)
{
	return state_find_self();
}

static size_t free_now(void)
{
	size_t free_bytes = 0, total;

	OK(cuMemGetInfo(&free_bytes, &total));
	return free_bytes;
}

static void frees(void)
{
	CUdeviceptr r = reserve(BIG);
	size_t before = free_now();
	CUstream stream;

	OK(cuMemsetD8(r, 1, BIG));
	CHECK(cuMemFree(r + 256) != CUDA_SUCCESS);
	CHECK(cuMemFree(0xdead000) != CUDA_SUCCESS);
	OK(cuMemFree(0));
	OK(cuMemFree(r));
	CHECK(cuMemFree(r) != CUDA_SUCCESS);
	CHECK(free_now() == before + BIG);
	r = reserve(BIG);
	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuMemsetD8Async(r, 1, BIG, stream));
	if (shimmed()) {
		OK(cuMemFreeAsync(r, stream));
		CHECK(backed() == 0);
		r = 0;
	}
	OK(cuStreamDestroy(stream));
	OK(cuMemFree(r));
	CHECK(free_now() == before + BIG);
	forget_reports();
}

static void pitched(void)
{
	CUdeviceptr r, base = 0;
	size_t pitch = 0, size = 0;

	OK(cuMemAllocPitch(&r, &pitch, 10001, 2000, 4));
	CHECK(pitch >= 10001 && pitch % 512 == 0);
	OK(cuMemGetAddressRange(&base, &size, r + 5 * pitch));
	CHECK(base == r && size >= 1999 * pitch + 10001);
	OK(cuMemsetD2D8(r, pitch, 3, 10001, 2000));
	OK(cuMemFree(r));
}

/* The device cannot be drained while a capture is open: the memory comes back after it. */
static void frees_in_capture(void)
{
	CUdeviceptr r = reserve(BIG);
	CUstream stream;
	CUgraph graph;

	OK(cuMemsetD8(r, 1, BIG));
	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	OK(cuMemFree(r));
	OK(cuStreamEndCapture(stream, &graph));
	OK(cuGraphDestroy(graph));
	OK(cuStreamDestroy(stream));
	OK(cuMemFree(reserve(BIG)));
	if (shimmed())
		CHECK(backed() == 0);
}

/* Work that is queued when memory is freed still has it. */
static void frees_with_work(void)
{
	static uint8_t host[BIG];
	CUstream stream;
	CUdeviceptr r;

	for (int i = 0; i < 20; i++) {
		OK(cuStreamCreate(&stream, i & 1 ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT));
		r = reserve(BIG);
		OK(cuMemcpyHtoDAsync(r, host, BIG, stream));
		OK(cuMemsetD8Async(r, (unsigned char)i, BIG, stream));
		OK(cuStreamDestroy(stream));
		OK(cuMemFree(r));
	}
}

static void contexts(void)
{
	CUdeviceptr mine, theirs;
	CUcontext other;
	size_t before;
	uint8_t byte;

	mine = reserve(BIG);
	OK(cuMemsetD8(mine, 7, BIG));
	before = free_now();
	OK(cuCtxCreate(&other, NULL, 0, device));
	theirs = reserve(BIG);
	OK(cuMemsetD8(theirs, 8, BIG));
	OK(cuCtxDestroy(other));
	OK(cuCtxSetCurrent(primary));
	CHECK(free_now() == before);
	CHECK(cuMemFree(theirs) != CUDA_SUCCESS);
	OK(cuMemcpyDtoH(&byte, mine + BIG - 1, 1));
	CHECK(byte == 7);
	OK(cuMemFree(mine));
	forget_reports();
}

/* The first substitution is made in a context that goes; others go on. */
static void first_context_goes(void)
{
	CUcontext first, second;
	CUdeviceptr a, b;
	uint8_t byte;

	OK(cuCtxCreate(&first, NULL, 0, device));
	a = reserve(BIG);
	OK(cuMemsetD8(a, 1, PAGE));
	OK(cuCtxCreate(&second, NULL, 0, device));
	b = reserve(BIG);
	OK(cuMemsetD8(b, 2, PAGE));
	OK(cuCtxDestroy(first));
	OK(cuCtxSetCurrent(second));
	OK(cuMemsetD8(b + 8 * MIB, 3, PAGE));
	OK(cuMemcpyDtoH(&byte, b, 1));
	CHECK(byte == 2);
	OK(cuMemcpyDtoH(
		&byte, b + 4 * MIB, 1)); /* out of nothing: a zero page of the second context */
	CHECK(byte == 0 || !shimmed());  /* native memory holds what it held before */
	OK(cuCtxDestroy(second));
	OK(cuCtxSetCurrent(primary));
	if (shimmed())
		CHECK(backed() == 0);
}

static void reset(void)
{
	CUdeviceptr r = reserve(BIG);

	OK(cuMemsetD8(r, 7, BIG));
	OK(cuDevicePrimaryCtxReset(device));
	if (shimmed())
		CHECK(backed() == 0);
	OK(cuDevicePrimaryCtxRetain(&primary, device));
	OK(cuCtxSetCurrent(primary));
	r = reserve(BIG);
	OK(cuMemsetD8(r, 7, BIG));
	OK(cuMemFree(r));
	OK(cuDevicePrimaryCtxRelease(device));
}

static void child(void)
{
	CUdeviceptr r = reserve(BIG), other;
	uint8_t byte = 0;
	int status;
	pid_t pid;

	OK(cuMemsetD8(r, 7, BIG));
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		/* Whatever the driver says here, it says it by itself, and quickly. */
		cuMemAlloc(&other, BIG);
		cuMemcpyDtoH(&byte, r, 1);
		cuMemFree(r);
		cuCtxSynchronize();
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	OK(cuMemcpyDtoH(&byte, r, 1));
	CHECK(byte == 7);
	OK(cuMemFree(r));
}

/* What cannot be promised is refused when it is asked for, not when it is used. */
static void promises(void)
{
	size_t total, free_bytes;
	CUdeviceptr a = 0, b = 0, c = 0, d = 0;

	OK(cuMemGetInfo(&free_bytes, &total));
	OK(cuMemAlloc(&a, free_bytes / 2 / MIB * MIB));
	ERROR_IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&b, free_bytes / 4 * 3));
	/* Native memory cannot take it either: KVSHIM_EXCLUDE_SIZES names what stays native. */
	OK(cuMemAlloc(&b, 20 * MIB));
	OK(cuMemFree(b));
	OK(cuMemGetInfo(&free_bytes, &total));
	OK(cuMemAlloc(&b, free_bytes / MIB * MIB - 24 * MIB));
	OK(cuMemAlloc(&c, 20 * MIB));
	OK(cuMemFree(c));
	OK(cuMemAlloc(&c, 3 * MIB)); /* below the floor */
	OK(cuMemFree(c));
	OK(cuMemAlloc(&c, 20 * MIB));
	ERROR_IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&d, 20 * MIB));
	OK(cuMemsetD8(b, 1, free_bytes > 64 * MIB ? 64 * MIB : BIG));
	OK(cuMemFree(a));
	OK(cuMemFree(b));
	OK(cuMemFree(c));
}

/* Every byte that was promised can be used. */
static void promises_are_kept(void)
{
	size_t total, free_bytes, size;
	CUdeviceptr a = 0;

	OK(cuMemGetInfo(&free_bytes, &total));
	size = free_bytes / MIB / 2 * 2 * MIB - 8 * MIB;
	OK(cuMemAlloc(&a, size));
	OK(cuMemsetD8(a, 1, size));
	CHECK(free_now() <= 10 * MIB);
	OK(cuMemFree(a));
	CHECK(free_now() == free_bytes);
}

int main(void)
{
	primary = start();
	OK(cuDeviceGet(&device, 0));
	OK(cuMemFree(reserve(BIG))); /* what the shim itself needs is there from now on */
	says("memory is freed by its base address and by nothing else", frees);
	says("rows are pitched as the driver does it", pitched);
	says("memory can be freed while a stream is captured", frees_in_capture);
	says("memory can be freed with work queued", frees_with_work);
	says("memory goes with the context that it was allocated in", contexts);
	says("what the shim works in may go", first_context_goes);
	says("a forked child talks to the driver alone", child);
	says("what cannot be promised is refused at once", promises);
	says("what was promised can be used", promises_are_kept);
	says("a reset takes everything", reset);
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
