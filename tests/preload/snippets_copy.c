/* SPDX-License-Identifier: Apache-2.0 */
/* snippets_copy.c - every copy and every set, each checked by its bytes; see fixture.h. */
#include <string.h>

#include "fixture.h"

#define HALF (f->big + BIG_BYTES / 2)

static void new_pattern(struct fixture *f)
{
	f->pattern = (uint8_t)(f->pattern % 250 + 1);
}

static bool holds(const uint8_t *bytes, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != value)
			return false;
	}
	return true;
}

/* Rows of memory on the device, one after the other into host. */
static bool read_rows(struct fixture *f, CUdeviceptr from, size_t rows, size_t pitch, size_t bytes)
{
	memset(f->host, 0, BYTES);
	for (size_t i = 0; i < rows; i++) {
		if (!CHECK_OK(f->d->cuMemcpyDtoH_v2(f->host + i * bytes, from + i * pitch, bytes)))
			return false;
	}
	return true;
}

/* ---- before ---- */

static bool upload(struct fixture *f)
{
	new_pattern(f);
	memset(f->host, f->pattern, BYTES);
	f->dsts[0] = f->big;
	f->srcs[0] = (CUdeviceptr)(uintptr_t)f->host;
	f->sizes[0] = BYTES;
	f->indices[0] = 0;
	f->attributes = (CUmemcpyAttributes){.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
	return true;
}

static bool download(struct fixture *f)
{
	new_pattern(f);
	memset(f->host, 0, BYTES);
	return CHECK_OK(f->d->cuMemsetD8_v2(f->big, f->pattern, BYTES)) && fixture_finish(f);
}

static bool from_array(struct fixture *f)
{
	CUDA_MEMCPY2D copy = {.srcMemoryType = CU_MEMORYTYPE_HOST,
		.srcHost = f->host,
		.dstMemoryType = CU_MEMORYTYPE_ARRAY,
		.dstArray = f->array,
		.WidthInBytes = BYTES,
		.Height = 1};

	new_pattern(f);
	memset(f->host, f->pattern, BYTES);
	return !f->array || CHECK_OK(f->real->cuMemcpy2D_v2(&copy));
}

static bool pitched(struct fixture *f)
{
	upload(f);
	f->copy2d = (CUDA_MEMCPY2D){.srcMemoryType = CU_MEMORYTYPE_HOST,
		.srcHost = f->host,
		.srcPitch = ROW_BYTES,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = f->big,
		.dstPitch = PITCH,
		.WidthInBytes = ROW_BYTES,
		.Height = ROWS};
	f->copy3d = (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_HOST,
		.srcHost = f->host,
		.srcPitch = ROW_BYTES,
		.srcHeight = ROWS,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = f->big,
		.dstPitch = PITCH,
		.dstHeight = ROWS,
		.WidthInBytes = ROW_BYTES,
		.Height = ROWS,
		.Depth = 1};
	f->batch3d = (CUDA_MEMCPY3D_BATCH_OP){
		.src = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER,
			.op.ptr = {.ptr = (CUdeviceptr)(uintptr_t)f->host,
				.rowLength = ROW_BYTES,
				.layerHeight = ROWS,
				.locHint = {.type = CU_MEM_LOCATION_TYPE_HOST}}},
		.dst = {.type = CU_MEMCPY_OPERAND_TYPE_POINTER,
			.op.ptr = {.ptr = f->big,
				.rowLength = PITCH,
				.layerHeight = ROWS,
				.locHint = f->location}},
		.extent = {ROW_BYTES, ROWS, 1},
		.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM};
	return CHECK_OK(f->d->cuMemsetD8_v2(f->big, 0, ROWS * PITCH)) && fixture_finish(f);
}

static bool peer(struct fixture *f)
{
	if (!download(f))
		return false;
	f->copy3d_peer = (CUDA_MEMCPY3D_PEER){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
		.srcDevice = f->big,
		.srcPitch = BYTES,
		.srcHeight = 1,
		.srcContext = f->context,
		.dstMemoryType = CU_MEMORYTYPE_DEVICE,
		.dstDevice = HALF,
		.dstPitch = BYTES,
		.dstHeight = 1,
		.dstContext = f->context,
		.WidthInBytes = BYTES,
		.Height = 1,
		.Depth = 1};
	return true;
}

static bool managed_only(struct fixture *f)
{
	f->dsts[0] = f->big;
	f->sizes[0] = BYTES;
	f->indices[0] = 0;
	return true;
}

static bool compressed(struct fixture *f)
{
	f->decompress = (CUmemDecompressParams){.srcNumBytes = BYTES,
		.dstNumBytes = BYTES,
		.src = (const void *)(uintptr_t)f->big,
		.dst = (void *)(uintptr_t)HALF,
		.algo = CU_MEM_DECOMPRESS_ALGORITHM_DEFLATE};
	return true;
}

/* A page that holds something, so that a set shows. */
static bool filled(struct fixture *f)
{
	return CHECK_OK(f->d->cuMemsetD8_v2(f->big, 0xff, ROWS * PITCH + BYTES)) &&
	       fixture_finish(f);
}

/* ---- after ---- */

static bool uploaded(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) && read_rows(f, f->big, 1, 0, BYTES) &&
	       CHECK(holds(f->host, BYTES, f->pattern));
}

static bool downloaded(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) && CHECK(holds(f->host, BYTES, f->pattern));
}

static bool moved(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) && read_rows(f, HALF, 1, 0, BYTES) &&
	       CHECK(holds(f->host, BYTES, f->pattern));
}

static bool to_array(struct fixture *f, CUresult result)
{
	CUDA_MEMCPY2D copy = {.dstMemoryType = CU_MEMORYTYPE_HOST,
		.dstHost = f->host,
		.srcMemoryType = CU_MEMORYTYPE_ARRAY,
		.srcArray = f->array,
		.WidthInBytes = BYTES,
		.Height = 1};

	if (!f->array)
		return CHECK(result != CUDA_SUCCESS);
	memset(f->host, 0, BYTES);
	return CHECK_OK(result) && CHECK_OK(f->real->cuMemcpy2D_v2(&copy)) &&
	       CHECK(holds(f->host, BYTES, f->pattern));
}

static bool out_of_array(struct fixture *f, CUresult result)
{
	return f->array ? uploaded(f, result) : CHECK(result != CUDA_SUCCESS);
}

static bool pitch_kept(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) &&
	       read_rows(f, f->big, ROWS, PITCH, ROW_BYTES) &&
	       CHECK(holds(f->host, ROWS * ROW_BYTES, f->pattern)) &&
	       read_rows(f, f->big + ROW_BYTES, ROWS - 1, PITCH, PITCH - ROW_BYTES) &&
	       CHECK(holds(f->host, (ROWS - 1) * (PITCH - ROW_BYTES), 0));
}

static bool set(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) && read_rows(f, f->big, 1, 0, BYTES) &&
	       CHECK(holds(f->host, BYTES, 0x5a)) && read_rows(f, f->big + BYTES, 1, 0, 64) &&
	       CHECK(holds(f->host, 64, 0xff));
}

static bool rows_set(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) &&
	       read_rows(f, f->big, ROWS, PITCH, ROW_BYTES) &&
	       CHECK(holds(f->host, ROWS * ROW_BYTES, 0x5a)) &&
	       read_rows(f, f->big + ROW_BYTES, ROWS - 1, PITCH, PITCH - ROW_BYTES) &&
	       CHECK(holds(f->host, (ROWS - 1) * (PITCH - ROW_BYTES), 0xff));
}

#define HOST f->host
#define UNIFIED_HOST ((CUdeviceptr)(uintptr_t)f->host)

/* clang-format off */
#define BOTH(X, symbol, suffix, prepare, arguments, check) \
	X(symbol, prepare, arguments, check) \
	X(symbol##suffix, prepare, arguments, check)

#define LIST(X) \
	BOTH(X, cuMemcpy, _ptds, upload, (f->big, UNIFIED_HOST, BYTES), uploaded) \
	BOTH(X, cuMemcpyAsync, _ptsz, download, (UNIFIED_HOST, f->big, BYTES, f->stream), downloaded) \
	BOTH(X, cuMemcpyPeer, _ptds, download, (HALF, f->context, f->big, f->context, BYTES), moved) \
	BOTH(X, cuMemcpyPeerAsync, _ptsz, download, (HALF, f->context, f->big, f->context, BYTES, f->stream), moved) \
	BOTH(X, cuMemcpyHtoD_v2, _ptds, upload, (f->big, HOST, BYTES), uploaded) \
	BOTH(X, cuMemcpyHtoDAsync_v2, _ptsz, upload, (f->big, HOST, BYTES, f->stream), uploaded) \
	BOTH(X, cuMemcpyDtoH_v2, _ptds, download, (HOST, f->big, BYTES), downloaded) \
	BOTH(X, cuMemcpyDtoHAsync_v2, _ptsz, download, (HOST, f->big, BYTES, f->stream), downloaded) \
	BOTH(X, cuMemcpyDtoD_v2, _ptds, download, (HALF, f->big, BYTES), moved) \
	BOTH(X, cuMemcpyDtoDAsync_v2, _ptsz, download, (HALF, f->big, BYTES, f->stream), moved) \
	BOTH(X, cuMemcpyDtoA_v2, _ptds, download, (f->array, 0, f->big, BYTES), to_array) \
	BOTH(X, cuMemcpyAtoD_v2, _ptds, from_array, (f->big, f->array, 0, BYTES), out_of_array) \
	BOTH(X, cuMemcpy2D_v2, _ptds, pitched, (&f->copy2d), pitch_kept) \
	BOTH(X, cuMemcpy2DUnaligned_v2, _ptds, pitched, (&f->copy2d), pitch_kept) \
	BOTH(X, cuMemcpy2DAsync_v2, _ptsz, pitched, (&f->copy2d, f->stream), pitch_kept) \
	BOTH(X, cuMemcpy3D_v2, _ptds, pitched, (&f->copy3d), pitch_kept) \
	BOTH(X, cuMemcpy3DAsync_v2, _ptsz, pitched, (&f->copy3d, f->stream), pitch_kept) \
	BOTH(X, cuMemcpy3DPeer, _ptds, peer, (&f->copy3d_peer), moved) \
	BOTH(X, cuMemcpy3DPeerAsync, _ptsz, peer, (&f->copy3d_peer, f->stream), moved) \
	BOTH(X, cuMemcpyBatchAsync, _ptsz, upload, (f->dsts, f->srcs, f->sizes, 1, &f->attributes, f->indices, 1, &f->fail_index, f->stream), uploaded) \
	BOTH(X, cuMemcpyBatchAsync_v2, _ptsz, upload, (f->dsts, f->srcs, f->sizes, 1, &f->attributes, f->indices, 1, f->stream), uploaded) \
	BOTH(X, cuMemcpy3DBatchAsync, _ptsz, pitched, (1, &f->batch3d, &f->fail_index, 0, f->stream), pitch_kept) \
	BOTH(X, cuMemcpy3DBatchAsync_v2, _ptsz, pitched, (1, &f->batch3d, 0, f->stream), pitch_kept) \
	BOTH(X, cuMemBatchDecompressAsync, _ptsz, compressed, (&f->decompress, 1, 0, &f->fail_index, f->stream), NULL) \
	BOTH(X, cuMemPrefetchAsync, _ptsz, managed_only, (f->big, BYTES, f->device, f->stream), check_invalid) \
	BOTH(X, cuMemPrefetchAsync_v2, _ptsz, managed_only, (f->big, BYTES, f->location, 0, f->stream), check_invalid) \
	X(cuMemAdvise, managed_only, (f->big, BYTES, CU_MEM_ADVISE_SET_READ_MOSTLY, f->device), check_invalid) \
	X(cuMemAdvise_v2, managed_only, (f->big, BYTES, CU_MEM_ADVISE_SET_READ_MOSTLY, f->location), check_invalid) \
	BOTH(X, cuMemPrefetchBatchAsync, _ptsz, managed_only, (f->dsts, f->sizes, 1, &f->location, f->indices, 1, 0, f->stream), check_invalid) \
	BOTH(X, cuMemDiscardBatchAsync, _ptsz, managed_only, (f->dsts, f->sizes, 1, 0, f->stream), check_invalid) \
	BOTH(X, cuMemDiscardAndPrefetchBatchAsync, _ptsz, managed_only, (f->dsts, f->sizes, 1, &f->location, f->indices, 1, 0, f->stream), check_invalid) \
	BOTH(X, cuMemsetD8_v2, _ptds, filled, (f->big, 0x5a, BYTES), set) \
	BOTH(X, cuMemsetD8Async, _ptsz, filled, (f->big, 0x5a, BYTES, f->stream), set) \
	BOTH(X, cuMemsetD16_v2, _ptds, filled, (f->big, 0x5a5a, BYTES / 2), set) \
	BOTH(X, cuMemsetD16Async, _ptsz, filled, (f->big, 0x5a5a, BYTES / 2, f->stream), set) \
	BOTH(X, cuMemsetD32_v2, _ptds, filled, (f->big, 0x5a5a5a5a, BYTES / 4), set) \
	BOTH(X, cuMemsetD32Async, _ptsz, filled, (f->big, 0x5a5a5a5a, BYTES / 4, f->stream), set) \
	BOTH(X, cuMemsetD2D8_v2, _ptds, filled, (f->big, PITCH, 0x5a, ROW_BYTES, ROWS), rows_set) \
	BOTH(X, cuMemsetD2D8Async, _ptsz, filled, (f->big, PITCH, 0x5a, ROW_BYTES, ROWS, f->stream), rows_set) \
	BOTH(X, cuMemsetD2D16_v2, _ptds, filled, (f->big, PITCH, 0x5a5a, ROW_BYTES / 2, ROWS), rows_set) \
	BOTH(X, cuMemsetD2D16Async, _ptsz, filled, (f->big, PITCH, 0x5a5a, ROW_BYTES / 2, ROWS, f->stream), rows_set) \
	BOTH(X, cuMemsetD2D32_v2, _ptds, filled, (f->big, PITCH, 0x5a5a5a5a, ROW_BYTES / 4, ROWS), rows_set) \
	BOTH(X, cuMemsetD2D32Async, _ptsz, filled, (f->big, PITCH, 0x5a5a5a5a, ROW_BYTES / 4, ROWS, f->stream), rows_set)
/* clang-format on */

SNIPPETS(snippets_copy, LIST)
