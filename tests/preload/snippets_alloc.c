/* SPDX-License-Identifier: Apache-2.0 */
/* snippets_alloc.c - allocation and free in all forms, and information; see fixture.h. */
#include <string.h>
#include <unistd.h>

#include "fixture.h"

/* ---- before ---- */

static bool count_free(struct fixture *f)
{
	f->out = 0;
	f->free_before = fixture_free_bytes(f);
	return true;
}

static bool host_allocated(struct fixture *f)
{
	return CHECK_OK(f->d->cuMemHostAlloc(&f->out_host, BYTES, 0));
}

static bool registered(struct fixture *f)
{
	f->registered = true;
	return CHECK_OK(f->d->cuMemHostRegister_v2(f->host, BYTES, CU_MEMHOSTREGISTER_DEVICEMAP));
}

/* A reservation with one page in use; it leaves nothing behind for fixture_tidy(). */
static bool used_reservation(struct fixture *f)
{
	f->free_before = fixture_free_bytes(f);
	return CHECK_OK(f->d->cuMemAlloc_v2(&f->out, BIG_BYTES)) &&
	       CHECK_OK(f->d->cuMemsetD8_v2(f->out, 1, BYTES)) && fixture_finish(f);
}

static bool pool(struct fixture *f)
{
	return CHECK_OK(f->d->cuMemPoolCreate(&f->out_pool, &f->pool_props));
}

static bool physical_props(struct fixture *f)
{
	f->prop = (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = {CU_MEM_LOCATION_TYPE_DEVICE, f->device}};
	f->access = (CUmemAccessDesc){.location = {CU_MEM_LOCATION_TYPE_DEVICE, f->device},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	return true;
}

static bool physical(struct fixture *f)
{
	return physical_props(f) &&
	       CHECK_OK(f->d->cuMemCreate(&f->out_handle, BIG_BYTES, &f->prop, 0));
}

static bool exported(struct fixture *f)
{
	f->fresh_handle = 0;
	return physical_props(f) &&
	       CHECK_OK(f->d->cuMemCreate(&f->fresh_handle, BIG_BYTES, &f->prop, 0)) &&
	       CHECK_OK(f->d->cuMemExportToShareableHandle(
		       &f->out_fd, f->fresh_handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
}

static bool range(struct fixture *f)
{
	return CHECK_OK(f->d->cuMemAddressReserve(&f->out, BIG_BYTES, 0, 0, 0));
}

/* A range of the program's own, and memory for it. */
static bool range_and_physical(struct fixture *f)
{
	return physical_props(f) &&
	       CHECK_OK(f->d->cuMemAddressReserve(&f->range, BIG_BYTES, 0, 0, 0)) &&
	       CHECK_OK(f->d->cuMemCreate(&f->fresh_handle, BIG_BYTES, &f->prop, 0));
}

static bool mapped(struct fixture *f)
{
	return range_and_physical(f) &&
	       CHECK_OK(f->d->cuMemMap(f->range, BIG_BYTES, 0, f->fresh_handle, 0));
}

static bool map_info(struct fixture *f)
{
	memset(&f->map_info, 0, sizeof(f->map_info));
	return true;
}

static bool buffer(struct fixture *f)
{
	memset(&f->buffer, 0, sizeof(f->buffer));
	return true;
}

/* ---- after ---- */

/* Costs nothing yet, and can be used and freed. */
static bool reserved(struct fixture *f, CUresult result)
{
	uint8_t byte = 1;

	return CHECK_OK(result) && CHECK(fixture_free_bytes(f) == f->free_before) &&
	       CHECK_OK(f->d->cuMemcpyDtoH_v2(&byte, f->out + BIG_BYTES - 1, 1)) &&
	       CHECK(byte == 0) && CHECK_OK(f->d->cuMemFree_v2(f->out)) &&
	       CHECK(fixture_free_bytes(f) == f->free_before);
}

static bool native(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemsetD8_v2(f->out, 1, BYTES)) &&
	       CHECK_OK(f->d->cuMemFree_v2(f->out)) &&
	       CHECK(fixture_free_bytes(f) == f->free_before);
}

static bool pitched(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->out_size >= ROW_BYTES) &&
	       CHECK_OK(f->d->cuMemFree_v2(f->out)) &&
	       CHECK(fixture_free_bytes(f) == f->free_before);
}

/* Addresses of 32 bits: a driver may or may not have memory there. */
static bool native_or_refused(struct fixture *f, CUresult result)
{
	return result != CUDA_SUCCESS || CHECK_OK(f->d->cuMemFree(f->out32));
}

static bool pinned(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && (memset(f->out_host, 1, BYTES), true) &&
	       CHECK_OK(f->d->cuMemFreeHost(f->out_host));
}

static bool now_registered(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemHostUnregister(f->host));
}

static bool alias(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->out != 0);
}

/* With 32 bits: the memory may or may not have such an address. */
static bool alias32(struct fixture *f, CUresult result)
{
	return true;
}

static bool unregistered(struct fixture *f, CUresult result)
{
	f->registered = false;
	return check_ok(f, result);
}

static bool async_allocated(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemsetD8Async(f->out, 1, BYTES, f->stream)) &&
	       CHECK_OK(f->d->cuMemFreeAsync(f->out, f->stream)) && fixture_finish(f);
}

/* Nothing of the reservation is left, whatever call freed it. */
static bool freed(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) &&
	       CHECK(fixture_free_bytes(f) == f->free_before);
}

static bool pool_made(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemPoolDestroy(f->out_pool));
}

static bool physical_made(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemRelease(f->out_handle));
}

static bool imported(struct fixture *f, CUresult result)
{
	close(f->out_fd);
	return physical_made(f, result);
}

static bool range_made(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemAddressFree(f->out, BIG_BYTES));
}

static bool now_mapped(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemUnmap(f->range, BIG_BYTES));
}

static bool now_accessible(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemsetD8_v2(f->range, 1, BYTES)) &&
	       fixture_finish(f) && CHECK_OK(f->d->cuMemUnmap(f->range, BIG_BYTES));
}

/* What is reserved and not yet backed is not free; a null pointer is allowed. */
static bool less_than_physical(struct fixture *f, CUresult result)
{
	size_t total = 0;

	return CHECK_OK(result) && CHECK(f->out_size + BIG_BYTES <= fixture_free_bytes(f)) &&
	       CHECK(f->out_size <= f->out_size2) &&
	       CHECK_OK(f->d->cuMemGetInfo_v2(NULL, &total)) && CHECK(total == f->out_size2) &&
	       CHECK(f->d->cuMemGetInfo_v2(&f->out_size, NULL) ==
		       f->real->cuMemGetInfo_v2(&f->out_size2, NULL));
}

/* clang-format off */
#define BOTH(X, symbol, prepare, arguments, check) \
	X(symbol, prepare, arguments, check) \
	X(symbol##_ptsz, prepare, arguments, check)
#define FD CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR

#define LIST(X) \
	X(cuMemAlloc, NULL, (&f->out32, BYTES), native_or_refused) \
	X(cuMemAllocPitch, NULL, (&f->out32, &f->out_size32, ROW_BYTES, ROWS, 4), native_or_refused) \
	X(cuMemAlloc_v2, count_free, (&f->out, BIG_BYTES), reserved) \
	X(cuMemAllocPitch_v2, count_free, (&f->out, &f->out_size, ROW_BYTES, ROWS, 4), pitched) \
	X(cuMemAllocManaged, count_free, (&f->out, BYTES, CU_MEM_ATTACH_GLOBAL), native) \
	X(cuMemAllocHost, NULL, (&f->out_host, BYTES), pinned) \
	X(cuMemAllocHost_v2, NULL, (&f->out_host, BYTES), pinned) \
	X(cuMemHostAlloc, NULL, (&f->out_host, BYTES, 0), pinned) \
	X(cuMemHostRegister, NULL, (f->host, BYTES, 0), now_registered) \
	X(cuMemHostRegister_v2, NULL, (f->host, BYTES, 0), now_registered) \
	X(cuMemHostGetDevicePointer, registered, (&f->out32, f->host, 0), alias32) \
	X(cuMemHostGetDevicePointer_v2, registered, (&f->out, f->host, 0), alias) \
	X(cuMemFreeHost, host_allocated, (f->out_host), check_ok) \
	X(cuMemHostUnregister, registered, (f->host), unregistered) \
	X(cuMemFree, NULL, (0), NULL) \
	X(cuMemFree_v2, used_reservation, (f->out), freed) \
	BOTH(X, cuMemAllocAsync, count_free, (&f->out, BIG_BYTES, f->stream), async_allocated) \
	BOTH(X, cuMemAllocFromPoolAsync, count_free, (&f->out, BIG_BYTES, f->pool, f->stream), async_allocated) \
	BOTH(X, cuMemFreeAsync, used_reservation, (f->out, f->stream), freed) \
	X(cuMemPoolCreate, NULL, (&f->out_pool, &f->pool_props), pool_made) \
	X(cuMemPoolDestroy, pool, (f->out_pool), check_ok) \
	X(cuMemPoolTrimTo, NULL, (f->pool, 0), check_ok) \
	X(cuMemPoolExportToShareableHandle, NULL, (&f->out_fd, f->pool, FD, 0), NULL) \
	X(cuMemPoolImportPointer, NULL, (&f->out, f->pool, NULL), NULL) \
	X(cuMemCreate, physical_props, (&f->out_handle, BIG_BYTES, &f->prop, 0), physical_made) \
	X(cuMemImportFromShareableHandle, exported, (&f->out_handle, (void *)(uintptr_t)f->out_fd, FD), imported) \
	X(cuMemRelease, physical, (f->out_handle), check_ok) \
	X(cuMemAddressReserve, NULL, (&f->out, BIG_BYTES, 0, 0, 0), range_made) \
	X(cuMemAddressFree, range, (f->out, BIG_BYTES), check_ok) \
	X(cuMemMap, range_and_physical, (f->range, BIG_BYTES, 0, f->fresh_handle, 0), now_mapped) \
	X(cuMemUnmap, mapped, (f->range, BIG_BYTES), check_ok) \
	X(cuMemSetAccess, mapped, (f->range, BIG_BYTES, &f->access, 1), now_accessible) \
	BOTH(X, cuMemMapArrayAsync, map_info, (&f->map_info, 1, f->stream), NULL) \
	X(cuExternalMemoryGetMappedBuffer, buffer, (&f->out, NULL, &f->buffer), NULL) \
	X(cuMemGetInfo, NULL, (&f->out_size32, &f->out_size32_2), NULL) \
	X(cuMemGetInfo_v2, prepare_reservation, (&f->out_size, &f->out_size2), less_than_physical)
/* clang-format on */

SNIPPETS(snippets_alloc, LIST)
