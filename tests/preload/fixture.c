/* SPDX-License-Identifier: Apache-2.0 */
/* fixture.c - makes and unmakes what snippets work on; see fixture.h. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "truth.h"

const char fixture_image[] = ".version 7.0\n"
			     ".target sm_50\n"
			     ".address_size 64\n"
			     ".visible .global .align 8 .u64 counter;\n"
			     ".visible .entry touch(.param .u64 touch_param_0)\n"
			     "{\n"
			     "\tret;\n"
			     "}\n";

bool fixture_failed(const char *file, int line, const char *what, long got)
{
	const char *slash = strrchr(file, '/');

	printf("FAILED: %s:%d: %s (%ld)\n", slash ? slash + 1 : file, line, what, got);
	return false;
}

void *fixture_passed(const char *symbol)
{
	return truth_driver(symbol);
}

uint64_t fixture_free_bytes(struct fixture *f)
{
	size_t free_bytes = 0, total;

	CHECK_OK(f->real->cuMemGetInfo_v2(&free_bytes, &total));
	return free_bytes;
}

bool fixture_finish(struct fixture *f)
{
	return CHECK_OK(f->real->cuStreamSynchronize(f->stream)) &&
	       CHECK_OK(f->real->cuCtxSynchronize());
}

/* Arrays and pools are extras: without them the snippets that use them compare errors. */
static void open_extras(struct fixture *f)
{
	f->array_descriptor = (CUDA_ARRAY_DESCRIPTOR){
		.Width = BYTES, .Format = CU_AD_FORMAT_UNSIGNED_INT8, .NumChannels = 1};
	if (PASSED(PFN_cuArrayCreate_v3020, cuArrayCreate_v2)(&f->array, &f->array_descriptor) !=
		CUDA_SUCCESS)
		f->array = NULL;
	f->pool_props = (CUmemPoolProps){.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
		.location = {CU_MEM_LOCATION_TYPE_DEVICE, f->device}};
	if (f->d->cuMemPoolCreate(&f->pool, &f->pool_props) != CUDA_SUCCESS)
		f->pool = NULL;
}

bool fixture_open(struct fixture *f, const struct driver *d, const struct driver *real, int thread)
{
	memset(f, 0, sizeof(*f));
	f->d = d;
	f->real = real;
	f->thread = thread;
	f->location = (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, 2 * thread};
	if (!CHECK_OK(d->cuInit(0)) || !CHECK_OK(d->cuDeviceGet(&f->device, 2 * thread)) ||
		!CHECK_OK(d->cuDeviceGet(&f->spare_device, 2 * thread + 1)) ||
		!CHECK_OK(d->cuDevicePrimaryCtxRetain(&f->context, f->device)) ||
		!CHECK_OK(d->cuCtxSetCurrent(f->context)) ||
		!CHECK_OK(d->cuStreamCreate(&f->stream, CU_STREAM_DEFAULT)) ||
		!CHECK_OK(d->cuMemAlloc_v2(&f->big, BIG_BYTES)) ||
		!CHECK_OK(d->cuMemAlloc_v2(&f->small, BYTES)) ||
		!CHECK_OK(d->cuModuleLoadData(&f->module, fixture_image)) ||
		!CHECK_OK(d->cuModuleGetFunction(&f->function, f->module, "touch")) ||
		!CHECK_OK(d->cuLibraryLoadData(
			&f->library, fixture_image, NULL, NULL, 0, NULL, NULL, 0)) ||
		!CHECK_OK(d->cuLibraryGetKernel(&f->kernel, f->library, "touch")))
		return false;
	f->host = aligned_alloc(4096, BYTES);
	if (!f->host)
		return false;
	open_extras(f);
	return true;
}

void fixture_tidy(struct fixture *f)
{
	CHECK_OK(f->real->cuCtxSetCurrent(f->context));
	if (f->exec)
		CHECK_OK(PASSED(PFN_cuGraphExecDestroy_v10000, cuGraphExecDestroy)(f->exec));
	if (f->graph)
		CHECK_OK(PASSED(PFN_cuGraphDestroy_v10000, cuGraphDestroy)(f->graph));
	if (f->fresh)
		CHECK_OK(f->d->cuMemFree_v2(f->fresh));
	if (f->fresh_host)
		CHECK_OK(f->d->cuMemFreeHost(f->fresh_host));
	if (f->registered)
		CHECK_OK(f->d->cuMemHostUnregister(f->host));
	if (f->fresh_stream)
		CHECK_OK(f->d->cuStreamDestroy_v2(f->fresh_stream));
	if (f->fresh_context)
		CHECK_OK(f->d->cuCtxDestroy_v2(f->fresh_context));
	if (f->fresh_module)
		CHECK_OK(f->d->cuModuleUnload(f->fresh_module));
	if (f->fresh_library)
		CHECK_OK(f->d->cuLibraryUnload(f->fresh_library));
	if (f->fresh_handle)
		CHECK_OK(f->d->cuMemRelease(f->fresh_handle));
	if (f->range)
		CHECK_OK(f->d->cuMemAddressFree(f->range, BIG_BYTES));
	if (f->fresh_pool)
		CHECK_OK(f->d->cuMemPoolDestroy(f->fresh_pool));
	f->exec = NULL;
	f->graph = NULL;
	f->fresh = f->range = 0;
	f->fresh_host = NULL;
	f->registered = false;
	f->fresh_stream = NULL;
	f->fresh_context = NULL;
	f->fresh_module = NULL;
	f->fresh_library = NULL;
	f->fresh_handle = 0;
	f->fresh_pool = NULL;
}

void fixture_close(struct fixture *f)
{
	if (f->array)
		CHECK_OK(PASSED(PFN_cuArrayDestroy_v2000, cuArrayDestroy)(f->array));
	if (f->pool)
		CHECK_OK(f->d->cuMemPoolDestroy(f->pool));
	CHECK_OK(f->d->cuLibraryUnload(f->library));
	CHECK_OK(f->d->cuModuleUnload(f->module));
	CHECK_OK(f->d->cuMemFree_v2(f->small));
	CHECK_OK(f->d->cuMemFree_v2(f->big));
	CHECK_OK(f->d->cuStreamDestroy_v2(f->stream));
	CHECK_OK(f->d->cuDevicePrimaryCtxRelease_v2(f->device));
	free(f->host);
}

bool prepare_reservation(struct fixture *f)
{
	uint64_t unreserved = fixture_free_bytes(f);

	if (!CHECK_OK(f->d->cuMemAlloc_v2(&f->fresh, BIG_BYTES)))
		return false;
	f->param = f->fresh;
	f->params[0] = &f->param;
	f->free_before = fixture_free_bytes(f);
	return CHECK(f->free_before == unreserved); /* else it is native memory */
}

bool check_whole(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuMemsetD8Async(f->small, 0, 1, f->stream)) &&
	       fixture_finish(f) && CHECK(fixture_free_bytes(f) + BIG_BYTES <= f->free_before);
}

bool check_ok(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f);
}

bool check_invalid(struct fixture *f, CUresult result)
{
	return CHECK(result == CUDA_ERROR_INVALID_VALUE);
}
