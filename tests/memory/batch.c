/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - many copies in one call, volumes between devices, and calls that only note an address:
 * what is EMPTY costs nothing, what is moved is right, and what the driver refuses is refused.
 */
#include "tests/memory/check.h"

static uint8_t host[BIG], back[BIG];
static CUcontext ctx[2];
static CUdevice device;

static const CUmemcpyAttributes in_order = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
static const CUmemcpyAttributes any_order = {.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_ANY};

static CUstream stream_new(void)
{
	CUstream stream = NULL;

	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	return stream;
}

static enum kv_static_reason reason_of(CUdeviceptr r)
{
	struct kv_reservation_stats row;

	return state_reservation(r, &row) ? (enum kv_static_reason)row.static_reason : KV_STATIC_NO;
}

/* ---- linear batches ---- */

#define MANY 100u

/* Every third source is EMPTY; the attributes change within runs of both kinds. */
static void many(void)
{
	CUdeviceptr src = reserve(BIG), native, dsts[MANY], srcs[MANY];
	CUmemcpyAttributes attrs[] = {in_order, any_order, in_order, any_order, in_order};
	size_t sizes[MANY], idxs[] = {0, 1, 39, 40, 99};
	CUstream stream = stream_new();

	OK(cuMemAlloc(&native, 2 * MIB));
	OK(cuMemsetD8(native, 9, 2 * MIB));
	OK(cuCtxSynchronize());
	OK(cuMemcpyHtoD(src, host, PAGE));
	for (size_t i = 0; i < MANY; i++) {
		dsts[i] = native + i * 16 * 1024;
		srcs[i] = i % 3 == 1 ? src + 8 * MIB + i * 100 : src + i * 1000;
		sizes[i] = 1000 + i;
	}
	OK(cuMemcpyBatchAsync(dsts, srcs, sizes, MANY, attrs, idxs, 5, stream));
	OK(cuStreamSynchronize(stream));
	CHECK(backed() == PAGE);
	OK(cuMemcpyDtoH(back, native, 2 * MIB));
	for (size_t i = 0; i < MANY; i++) {
		const uint8_t *got = back + i * 16 * 1024;

		CHECK(i % 3 == 1 ? all(got, sizes[i], 0) : !memcmp(got, host + i * 1000, sizes[i]));
		CHECK(got[sizes[i]] == 9);
	}
	OK(cuMemFree(native));
	OK(cuMemFree(src));
	OK(cuStreamDestroy(stream));
}

/* Nothing is left of the batch. */
static void nothing(void)
{
	CUdeviceptr r = reserve(BIG), dsts[2] = {r, r + 4 * MIB},
		    srcs[2] = {r + 8 * MIB, r + 9 * MIB};
	CUmemcpyAttributes attrs = in_order;
	size_t sizes[2] = {MIB, 3 * MIB}, idxs = 0;
	CUstream stream = stream_new();

	OK(cuMemcpyBatchAsync(dsts, srcs, sizes, 2, &attrs, &idxs, 1, stream));
	CHECK(backed() == 0);
	CHECK(cuMemcpyBatchAsync(dsts, srcs, sizes, 2, &attrs, &idxs, 1, NULL) != CUDA_SUCCESS);
	OK(cuStreamDestroy(stream));
	CHECK(cuMemcpyBatchAsync(dsts, srcs, sizes, 2, &attrs, &idxs, 1, stream) != CUDA_SUCCESS);
	forget_reports();
	OK(cuMemFree(r));
}

/* The page of an EMPTY source gets memory because another copy of the batch writes elsewhere in it.
 */
static void neighbours(void)
{
	CUdeviceptr r = reserve(BIG), native;
	CUdeviceptr dsts[3], srcs[3];
	CUmemcpyAttributes attrs = in_order;
	size_t sizes[3] = {1000, 1000, 1000}, idxs = 0;
	CUstream stream = stream_new();

	OK(cuMemAlloc(&native, MIB));
	dsts[0] = r + 8 * MIB, srcs[0] = r;
	dsts[1] = r + MIB, srcs[1] = (CUdeviceptr)host;
	dsts[2] = native, srcs[2] = r + 4 * MIB;
	OK(cuMemcpyBatchAsync(dsts, srcs, sizes, 3, &attrs, &idxs, 1, stream));
	OK(cuStreamSynchronize(stream));
	memset(back, 0xee, 1000);
	OK(cuMemcpyDtoH(back, r + 8 * MIB, 1000));
	CHECK(all(back, 1000, 0));
	OK(cuMemcpyDtoH(back, r + MIB, 1000));
	CHECK(!memcmp(back, host, 1000));
	OK(cuMemFree(native));
	OK(cuMemFree(r));
	OK(cuStreamDestroy(stream));
}

/* Before CUDA 13 it said which one failed. */
typedef CUresult (*first_version_fn)(CUdeviceptr *, CUdeviceptr *, size_t *, size_t,
	CUmemcpyAttributes *, size_t *, size_t, size_t *, CUstream);

/* A copy that the driver refuses fails the batch, among EMPTY ones too; so does one over the end.
 */
static void failing(void)
{
	first_version_fn first_version =
		(first_version_fn)dlsym(RTLD_DEFAULT, "cuMemcpyBatchAsync");
	CUdeviceptr r = reserve(BIG), native, dsts[3], srcs[3];
	CUmemcpyAttributes attrs[2] = {in_order, any_order};
	size_t sizes[3] = {1000, 1000, 1000}, idxs[2] = {0, 2}, failed = 77;
	CUstream stream = stream_new();

	OK(cuMemAlloc(&native, MIB));
	dsts[0] = native, srcs[0] = r;
	dsts[1] = native + 4096, srcs[1] = r + MIB;
	dsts[2] = native + 8192, srcs[2] = r + BIG - 10;
	ERROR_IS(CUDA_ERROR_INVALID_VALUE,
		cuMemcpyBatchAsync(dsts, srcs, sizes, 3, attrs, idxs, 2, stream));
	ERROR_IS(CUDA_ERROR_INVALID_VALUE,
		first_version(dsts, srcs, sizes, 3, attrs, idxs, 2, &failed, stream));
	CHECK(failed == 2 || failed == SIZE_MAX);
	srcs[2] = r + 2 * MIB;
	OK(first_version(dsts, srcs, sizes, 3, attrs, idxs, 2, &failed, stream));
	OK(cuStreamSynchronize(stream));
	CHECK(backed() == 0);
	forget_reports();
	OK(cuMemFree(native));
	OK(cuMemFree(r));
	OK(cuStreamDestroy(stream));
}

/* ---- volumes ---- */

static CUDA_MEMCPY3D_BATCH_OP volume(
	CUdeviceptr dst, CUdeviceptr src, size_t width, size_t height, size_t depth)
{
	CUDA_MEMCPY3D_BATCH_OP op = {
		.src = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER},
		.dst = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER},
		.extent = {width, height, depth},
		.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM,
	};

	op.src.op.ptr.ptr = src;
	op.dst.op.ptr.ptr = dst;
	return op;
}

static void volume_batches(void)
{
	CUdeviceptr r = reserve(BIG), native;
	CUDA_MEMCPY3D_BATCH_OP ops[12];
	CUstream stream = stream_new();

	OK(cuMemAlloc(&native, 3 * MIB));
	OK(cuMemsetD8(native, 9, 3 * MIB));
	OK(cuCtxSynchronize());
	OK(cuMemcpyHtoD(r, host, PAGE));
	memset(back, 0xee, BIG);
	ops[0] = volume(native, r + 4 * MIB, 100, 10, 3); /* nothing to native memory */
	ops[0].dst.op.ptr.rowLength = 128;
	ops[1] = volume((CUdeviceptr)back, r + 4 * MIB, 1000, 30, 2); /* to the host */
	ops[2] = volume(r + 6 * MIB, r + 10 * MIB, 1000, 100, 3);     /* to nothing */
	ops[3] = volume(native + MIB, r, 256, 4, 2);                  /* content */
	ops[3].src.op.ptr.rowLength = 1024;
	OK(cuMemcpy3DBatchAsync(4, ops, 0, stream));
	OK(cuStreamSynchronize(stream));
	CHECK(backed() == PAGE);
	CHECK(all(back, 60000, 0) && back[60000] == 0xee);
	OK(cuMemcpyDtoH(back, native, 2 * MIB));
	CHECK(all(back, 100, 0) && back[100] == 9 && all(back + 29 * 128, 100, 0) &&
		back[29 * 128 + 100] == 9);
	CHECK(!memcmp(back + MIB + 3 * 256, host + 3 * 1024, 256));
	CHECK(!memcmp(back + MIB + 7 * 256, host + 7 * 1024, 256) && back[MIB + 2048] == 9);
	/* More than fit on the stack; rows that are longer than what zeros are copied from. */
	for (size_t i = 0; i < 12; i++)
		ops[i] = volume(native + i * 1000, r + 4 * MIB + i * 1000, 10, 10, 1);
	ops[5] = volume((CUdeviceptr)back, r + 4 * MIB, 5 * MIB, 2, 1);
	memset(back, 0xee, BIG);
	OK(cuMemcpy3DBatchAsync(12, ops, 0, stream));
	OK(cuStreamSynchronize(stream));
	CHECK(all(back, 10 * MIB, 0) && back[10 * MIB] == 0xee);
	CHECK(backed() == PAGE);
	CHECK(cuMemcpy3DBatchAsync(12, ops, 1, stream) != CUDA_SUCCESS);
	OK(cuMemFree(native));
	OK(cuMemFree(r));
	OK(cuStreamDestroy(stream));
}

static void volumes_of_peers(void)
{
	CUdeviceptr a, b, native;
	CUDA_MEMCPY3D_PEER box = {
		.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcContext = ctx[0],
		.srcPitch = 4096,
		.srcHeight = 256,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstContext = ctx[1],
		.dstPitch = 4096,
		.dstHeight = 256,
		.WidthInBytes = 1000,
		.Height = 10,
		.Depth = 3,
	};

	if (!ctx[1])
		return;
	OK(cuCtxSetCurrent(ctx[1]));
	b = reserve(BIG);
	OK(cuMemAlloc(&native, 3 * MIB));
	OK(cuMemsetD8(native, 9, 3 * MIB));
	OK(cuCtxSynchronize());
	OK(cuCtxSetCurrent(ctx[0]));
	a = reserve(BIG);
	box.srcDevice = a, box.dstDevice = b;
	OK(cuMemcpy3DPeer(&box)); /* nothing to nothing */
	box.dstDevice = native;
	OK(cuMemcpy3DPeerAsync(&box, NULL));
	OK(cuCtxSynchronize());
	CHECK(backed() == 0);
	OK(cuCtxSetCurrent(ctx[1]));
	OK(cuMemcpyDtoH(back, native, 3 * MIB));
	for (size_t z = 0; z < 3; z++)
		CHECK(all(back + z * MIB + 9 * 4096, 1000, 0) &&
			back[z * MIB + 9 * 4096 + 1000] == 9 && back[z * MIB + 10 * 4096] == 9);
	OK(cuCtxSetCurrent(ctx[0]));
	OK(cuMemcpyHtoD(a, host, PAGE));
	box.Depth = 2;
	OK(cuMemcpy3DPeer(&box));
	OK(cuCtxSynchronize());
	OK(cuCtxSetCurrent(ctx[1]));
	OK(cuMemcpyDtoH(back, native, 2 * MIB));
	CHECK(!memcmp(back + MIB + 9 * 4096, host + MIB + 9 * 4096, 1000));
	OK(cuMemFree(native));
	OK(cuMemFree(b));
	OK(cuCtxSetCurrent(ctx[0]));
	OK(cuMemFree(a));
}

/* ---- addresses that the driver keeps ---- */

static void textures(void)
{
	CUDA_RESOURCE_DESC resource = {
		.resType = CU_RESOURCE_TYPE_LINEAR,
		.res.linear = {.format = CU_AD_FORMAT_FLOAT, .numChannels = 1, .sizeInBytes = MIB},
	};
	CUDA_TEXTURE_DESC texture = {0};
	CUdeviceptr r = reserve(BIG);
	CUtexObject object;
	CUresult res;

	resource.res.linear.devPtr = r + 4 * MIB;
	res = cuTexObjectCreate(&object, &resource, &texture, NULL);
	CHECK(reason_of(r) == KV_STATIC_ARRAY && backed() == BIG);
	if (res == CUDA_SUCCESS)
		OK(cuTexObjectDestroy(object));
	OK(cuMemFree(r));
}

static void tensor_maps(void)
{
	static CUtensorMap map __attribute__((aligned(64)));
	cuuint64_t dims[2] = {256, 256}, strides[1] = {256};
	cuuint32_t box[2] = {16, 16}, steps[2] = {1, 1};
	CUdeviceptr r = reserve(BIG), other = reserve(BIG);

	OK(cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)(r + MIB), dims,
		strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
		CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
	CHECK(reason_of(r) == KV_STATIC_ARRAY && reason_of(other) == KV_STATIC_NO);
	OK(cuTensorMapReplaceAddress(&map, (void *)other));
	CHECK(reason_of(other) == KV_STATIC_ARRAY);
	/* Whole at the next submission, whatever that is. */
	OK(cuMemsetD8(r, 0, 1));
	CHECK(backed() == 2 * BIG);
	OK(cuMemFree(r));
	OK(cuMemFree(other));
}

static void tokens(void)
{
	CUDA_POINTER_ATTRIBUTE_P2P_TOKENS tokens;
	CUdeviceptr r = reserve(BIG);

	cuPointerGetAttribute(&tokens, CU_POINTER_ATTRIBUTE_P2P_TOKENS, r + 5 * MIB);
	CHECK(reason_of(r) == KV_STATIC_EXPORT && backed() == BIG);
	OK(cuMemFree(r));
}

static void decompression(void)
{
	CUdeviceptr r = reserve(BIG);
	CUmemDecompressParams params = {
		.srcNumBytes = 1000,
		.dstNumBytes = 5 * MIB,
		.src = (void *)r,
		.dst = (void *)(r + 4 * MIB),
		.dstActBytes = (cuuint32_t *)(r + 12 * MIB),
	};
	CUstream stream = stream_new();
	size_t failed = 0;

	/* Whether the driver can or cannot: its pages are there before it is asked. */
	cuMemBatchDecompressAsync(&params, 1, 0, &failed, stream);
	CHECK(backed() == 5 * PAGE);
	OK(cuStreamDestroy(stream));
	OK(cuMemFree(r));
}

/* ---- what only managed memory allows ---- */

static void hints(void)
{
	CUmemLocation where = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0};
	CUdeviceptr r = reserve(BIG), native, managed, of_r[2], of_native[2];
	size_t sizes[2] = {MIB, MIB}, idx = 0;
	CUstream stream = stream_new();

	OK(cuMemAlloc(&native, MIB));
	OK(cuMemAllocManaged(&managed, MIB, CU_MEM_ATTACH_GLOBAL));
	of_r[0] = of_native[0] = managed;
	of_r[1] = r, of_native[1] = native;
	CHECK(cuMemPrefetchBatchAsync(of_r, sizes, 2, &where, &idx, 1, 0, stream) ==
		cuMemPrefetchBatchAsync(of_native, sizes, 2, &where, &idx, 1, 0, stream));
	CHECK(cuMemDiscardBatchAsync(of_r, sizes, 2, 0, stream) ==
		cuMemDiscardBatchAsync(of_native, sizes, 2, 0, stream));
	CHECK(cuMemDiscardAndPrefetchBatchAsync(of_r, sizes, 2, &where, &idx, 1, 0, stream) ==
		cuMemDiscardAndPrefetchBatchAsync(of_native, sizes, 2, &where, &idx, 1, 0, stream));
	OK(cuMemPrefetchBatchAsync(of_r, sizes, 1, &where, &idx, 1, 0, stream));
	OK(cuMemPrefetchAsync(managed, MIB, where, 0, stream));
	ERROR_IS(CUDA_ERROR_INVALID_VALUE, cuMemPrefetchAsync(r, MIB, where, 0, stream));
	ERROR_IS(CUDA_ERROR_INVALID_VALUE,
		cuMemAdvise(r, MIB, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, where));
	CHECK(backed() == 0);
	OK(cuMemFree(managed));
	OK(cuMemFree(native));
	OK(cuMemFree(r));
	OK(cuStreamDestroy(stream));
}

int main(void)
{
	CUdevice second;
	int n = 0;

	ctx[0] = start();
	state_find_self(); /* of the first device, before there is another */
	OK(cuDeviceGet(&device, 0));
	OK(cuDeviceGetCount(&n));
	if (n > 1) {
		OK(cuDeviceGet(&second, 1));
		OK(cuDevicePrimaryCtxRetain(&ctx[1], second));
	}
	for (size_t i = 0; i < BIG; i++)
		host[i] = (uint8_t)(i * 7 + (i >> 12) + 1);
	says("a big batch with empty sources keeps the rest and its attributes", many);
	says("a batch of nothing is nothing, but still refused where the driver refuses", nothing);
	says("a source that gets memory within the batch is copied with it", neighbours);
	says("a batch with a copy that cannot be made fails", failing);
	says("a batch of volumes out of nothing costs nothing", volume_batches);
	says("a volume out of nothing for another device costs nothing", volumes_of_peers);
	says("a texture over a reservation finds it whole", textures);
	says("a tensor map makes its reservation static", tensor_maps);
	says("tokens for a network card make it static and whole", tokens);
	says("decompression finds its three ranges backed", decompression);
	says("hints for managed memory are refused as for native memory", hints);
	if (ctx[1])
		OK(cuDevicePrimaryCtxRelease(second));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
