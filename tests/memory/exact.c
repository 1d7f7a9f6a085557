/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exact.c - copies and sets back exactly the pages that they must, and move exactly the bytes that
 * were asked for. The shim's own counters say what is backed.
 */
#include "tests/memory/check.h"

static uint8_t host[BIG], back[BIG];

static void fill_host(void)
{
	for (size_t i = 0; i < BIG; i++)
		host[i] = (uint8_t)(i * 7 + (i >> 12) + 1);
}

static void uploads(void)
{
	CUdeviceptr r = reserve(BIG);

	CHECK(backed() == 0);
	OK(cuMemcpyHtoD(r + 3 * MIB, host, 1));
	CHECK(backed() == PAGE);
	OK(cuMemcpyHtoD(r + 6 * MIB - 1, host, 2));
	CHECK(backed() == 3 * PAGE);
	OK(cuMemcpyHtoD(r + 3 * MIB, host, MIB));
	CHECK(backed() == 3 * PAGE);
	OK(cuMemcpyHtoD(r, host, 0));
	CHECK(backed() == 3 * PAGE);
	OK(cuMemcpyDtoH(back, r + 3 * MIB, MIB));
	CHECK(!memcmp(back, host, MIB));
	OK(cuMemFree(r));
	CHECK(backed() == 0);
}

static void reads_of_nothing(void)
{
	CUdeviceptr r = reserve(BIG);
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	memset(back, 0xee, BIG);
	OK(cuMemcpyDtoH(back, r, BIG));
	CHECK(all(back, BIG, 0));
	memset(back, 0xee, BIG);
	OK(cuMemcpyDtoHAsync(back, r + 5, 3 * MIB, stream));
	OK(cuStreamSynchronize(stream));
	CHECK(all(back, 3 * MIB, 0) && back[3 * MIB] == 0xee);
	memset(back, 0xee, BIG);
	OK(cuMemcpy((CUdeviceptr)back, r, BIG));
	CHECK(all(back, BIG, 0));
	CHECK(backed() == 0);
	/* Content between holes. */
	OK(cuMemcpyHtoD(r + 5 * MIB, host, MIB));
	memset(back, 0xee, BIG);
	OK(cuMemcpyDtoH(back, r, BIG));
	CHECK(all(back, 5 * MIB, 0) && !memcmp(back + 5 * MIB, host, MIB) &&
		all(back + 6 * MIB, 10 * MIB, 0));
	CHECK(backed() == PAGE);
	OK(cuMemFree(r));
	OK(cuStreamDestroy(stream));
}

static void copies_of_nothing(void)
{
	CUdeviceptr a = reserve(BIG), b = reserve(BIG), native;

	OK(cuMemAlloc(&native, MIB));
	OK(cuMemcpyDtoD(b, a, BIG));
	CHECK(backed() == 0);
	OK(cuMemcpyHtoD(b + MIB, host, 4 * MIB)); /* pages 0 to 2 */
	CHECK(backed() == 3 * PAGE);
	OK(cuMemcpyDtoD(b + 2 * MIB, a, 2 * MIB));
	OK(cuMemcpyDtoH(back, b, 8 * MIB));
	CHECK(all(back, MIB, 0) && !memcmp(back + MIB, host, MIB) &&
		all(back + 2 * MIB, 2 * MIB, 0) && !memcmp(back + 4 * MIB, host + 3 * MIB, MIB));
	CHECK(backed() == 3 * PAGE);
	OK(cuMemsetD8(native, 9, MIB));
	OK(cuMemcpyDtoD(native, a + 777, MIB));
	OK(cuMemcpyDtoH(back, native, MIB));
	CHECK(all(back, MIB, 0));
	OK(cuMemsetD8(native, 9, MIB));
	OK(cuMemcpy(native, a + 777, MIB));
	OK(cuMemcpyDtoH(back, native, MIB));
	CHECK(all(back, MIB, 0));
	/* Content and holes, over content. */
	OK(cuMemcpyDtoD(a + 4 * MIB, b, 8 * MIB));
	OK(cuMemcpyDtoH(back, a + 4 * MIB, 8 * MIB));
	CHECK(all(back, MIB, 0) && !memcmp(back + MIB, host, MIB));
	CHECK(backed() == 6 * PAGE);
	OK(cuMemFree(a));
	OK(cuMemFree(b));
	OK(cuMemFree(native));
}

static void zero_sets(void)
{
	CUdeviceptr r = reserve(BIG);

	OK(cuMemsetD8(r, 0, BIG));
	OK(cuMemsetD32Async(r + 4 * MIB, 0, MIB, NULL));
	OK(cuMemsetD2D8(r, 4096, 0, 1024, 2000));
	CHECK(backed() == 0);
	OK(cuMemcpyHtoD(r + MIB, host, 6 * MIB));
	CHECK(backed() == 4 * PAGE);
	OK(cuMemsetD8(r + 3 * MIB, 0, 13 * MIB));
	OK(cuMemcpyDtoH(back, r, BIG));
	CHECK(all(back, MIB, 0) && !memcmp(back + MIB, host, 2 * MIB) &&
		all(back + 3 * MIB, 13 * MIB, 0));
	CHECK(backed() <= 4 * PAGE);
	OK(cuMemFree(r));
}

static void other_sets(void)
{
	CUdeviceptr r = reserve(BIG);

	OK(cuMemsetD8(r + 7 * MIB, 5, 5));
	CHECK(backed() == PAGE);
	OK(cuMemsetD16(r + 2 * MIB - 2, 0x0506, 2));
	CHECK(backed() == 3 * PAGE);
	OK(cuMemsetD2D32(r + 8 * MIB, 4 * MIB, 0x01020304, 4, 2));
	CHECK(backed() == 6 * PAGE || backed() == 3 * PAGE + 3 * PAGE);
	OK(cuMemcpyDtoH(back, r + 7 * MIB, 6));
	CHECK(all(back, 5, 5) && back[5] == 0);
	OK(cuMemcpyDtoH(back, r + 12 * MIB, 20));
	CHECK(back[0] == 4 && back[15] == 1 && back[16] == 0);
	ERROR_IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(r + 2, 0, 4));
	ERROR_IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(r, 1, 2 * BIG));
	CHECK(backed() == 6 * PAGE);
	OK(cuMemFree(r));
}

static void boxes(void)
{
	CUdeviceptr r = reserve(BIG), native;
	CUDA_MEMCPY2D box = {
		.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = r,
		.srcPitch = 4096,
		.srcXInBytes = 100,
		.srcY = 3,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = back,
		.dstPitch = 2048,
		.WidthInBytes = 1000,
		.Height = 1000,
	};

	memset(back, 0xee, BIG);
	OK(cuMemcpy2D(&box));
	CHECK(backed() == 0);
	for (size_t y = 0; y < 1000; y++)
		CHECK(all(back + y * 2048, 1000, 0) && back[y * 2048 + 1000] == 0xee);
	/* One row is a linear copy. */
	box.Height = 1;
	memset(back, 0xee, 2000);
	OK(cuMemcpy2DUnaligned(&box));
	CHECK(all(back, 1000, 0) && back[1000] == 0xee);
	CHECK(backed() == 0);
	/* To the device: bounded by the rows. */
	box.srcMemoryType = CU_MEMORYTYPE_HOST;
	box.srcHost = host;
	box.srcXInBytes = box.srcY = 0;
	box.dstMemoryType = CU_MEMORYTYPE_DEVICE;
	box.dstDevice = r + 4 * MIB;
	box.dstPitch = MIB;
	box.Height = 3;
	OK(cuMemcpy2DAsync(&box, NULL));
	CHECK(backed() == 2 * PAGE);
	OK(cuMemcpyDtoH(back, r + 5 * MIB, 1001));
	CHECK(!memcmp(back, host + 4096, 1000) && back[1000] == 0);
	/* From nothing to native memory and to other nothing. */
	OK(cuMemAlloc(&native, 3 * MIB));
	OK(cuMemsetD8(native, 9, 3 * MIB));
	box.srcMemoryType = CU_MEMORYTYPE_DEVICE;
	box.srcDevice = r + 8 * MIB;
	box.dstDevice = native;
	OK(cuMemcpy2D(&box));
	OK(cuMemcpyDtoH(back, native + MIB, 1001));
	CHECK(all(back, 1000, 0) && back[1000] == 9);
	box.dstDevice = r + 12 * MIB;
	OK(cuMemcpy2D(&box));
	CHECK(backed() == 2 * PAGE);
	OK(cuMemFree(native));
	OK(cuMemFree(r));
}

static void volumes(void)
{
	CUdeviceptr r = reserve(BIG);
	CUDA_MEMCPY3D box = {
		.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = r,
		.srcPitch = 4096,
		.srcHeight = 256, /* layers of a MiB */
		.srcZ = 2,
		.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = back,
		.dstPitch = 4096,
		.dstHeight = 256,
		.WidthInBytes = 64,
		.Height = 10,
		.Depth = 5,
	};

	memset(back, 0xee, 8 * MIB);
	OK(cuMemcpy3D(&box));
	CHECK(backed() == 0);
	CHECK(all(back + 4 * MIB + 9 * 4096, 64, 0) && back[4 * MIB + 9 * 4096 + 64] == 0xee);
	OK(cuMemsetD8(r + 6 * MIB, 7, 64)); /* the first row of layer 6 */
	OK(cuMemcpy3DAsync(&box, NULL));
	OK(cuCtxSynchronize());
	CHECK(all(back + 4 * MIB, 64, 7) && all(back + 3 * MIB, 64, 0));
	CHECK(backed() == 3 * PAGE); /* bounded by first and last byte: pages 1 to 3 */
	OK(cuMemFree(r));
}

static void batches(void)
{
	CUdeviceptr r = reserve(BIG), native;
	CUdeviceptr dsts[4], srcs[4];
	size_t sizes[4] = {1000, 2000, 3000, 4000}, idxs[2] = {0, 2};
	CUmemcpyAttributes attrs[2] = {
		{.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM},
		{.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_ANY},
	};
	CUresult res;
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
	OK(cuMemAlloc(&native, MIB));
	OK(cuMemsetD8(native, 9, MIB));
	dsts[0] = r, srcs[0] = (CUdeviceptr)host;
	dsts[1] = native, srcs[1] = r + 8 * MIB;             /* from nothing */
	dsts[2] = (CUdeviceptr)back, srcs[2] = r + 10 * MIB; /* the same */
	dsts[3] = r + 4 * MIB, srcs[3] = (CUdeviceptr)(host + 77);
	memset(back, 0xee, 4000);
	res = cuMemcpyBatchAsync(dsts, srcs, sizes, 4, attrs, idxs, 2, stream);
	if (res == CUDA_ERROR_NOT_SUPPORTED) {
		printf("(batches: not in this driver)\n");
	} else {
		OK(res);
		OK(cuStreamSynchronize(stream));
		CHECK(all(back, 3000, 0) && back[3000] == 0xee);
		CHECK(backed() == 2 * PAGE);
		OK(cuMemcpyDtoH(back, native, 2001));
		CHECK(all(back, 2000, 0) && back[2000] == 9);
		OK(cuMemcpyDtoH(back, r + 4 * MIB, 4000));
		CHECK(!memcmp(back, host + 77, 4000));
	}
	OK(cuMemFree(native));
	OK(cuMemFree(r));
	OK(cuStreamDestroy(stream));
}

static void values(void)
{
	CUdeviceptr r = reserve(BIG);
	uint32_t word = 0;

	OK(cuStreamWriteValue32(NULL, r + 10 * MIB, 0x12345678, 0));
	CHECK(backed() == PAGE);
	OK(cuMemcpyDtoH(&word, r + 10 * MIB, 4));
	CHECK(word == 0x12345678);
	OK(cuMemFree(r));
}

/* What comes to nothing is refused all the same where the driver would refuse it. */
static void errors(void)
{
	CUdeviceptr r = reserve(BIG);
	CUstream stream;

	OK(cuStreamCreate(&stream, CU_STREAM_DEFAULT));
	OK(cuStreamDestroy(stream));
	CHECK(cuMemsetD8Async(r, 0, BIG, stream) != CUDA_SUCCESS);
	CHECK(cuMemcpyDtoDAsync(r, r + 8 * MIB, MIB, stream) != CUDA_SUCCESS);
	CHECK(cuMemcpyDtoH(back, r + BIG - 1, PAGE) != CUDA_SUCCESS);
	forget_reports();
	OK(cuMemFree(r));
}

int main(void)
{
	CUdevice device;

	start();
	fill_host();
	says("an upload backs the pages that it writes", uploads);
	says("reading pages that were never written gives zeros and costs nothing",
		reads_of_nothing);
	says("copying pages that were never written costs nothing", copies_of_nothing);
	says("a set to zero costs nothing", zero_sets);
	says("a set to something else backs the pages that it writes", other_sets);
	says("copies of rows touch what lies between first and last byte", boxes);
	says("copies of volumes touch what lies between first and last byte", volumes);
	says("a batch with empty sources copies what is there and clears what is not", batches);
	says("a value written by a stream backs its page", values);
	says("a call that comes to nothing reports the errors of the driver", errors);
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
