/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snippets_context.c - initialisation, contexts, modules; see fixture.h. What makes or destroys a
 * context works on the spare device.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "truth.h"

/* ---- before ---- */

/* A context with a reservation in it, not current. */
static bool context(struct fixture *f)
{
	CUdeviceptr reservation;

	return CHECK_OK(f->d->cuCtxCreate_v2(&f->out_context, 0, f->spare_device)) &&
	       CHECK_OK(f->d->cuMemAlloc_v2(&reservation, BIG_BYTES)) &&
	       CHECK_OK(f->d->cuMemsetD8_v2(reservation, 1, BYTES)) &&
	       CHECK_OK(f->d->cuCtxSetCurrent(f->context));
}

/* The same, current: cuCtxDetach wants that. */
static bool current_context(struct fixture *f)
{
	return CHECK_OK(f->d->cuCtxCreate_v2(&f->out_context, 0, f->spare_device));
}

/* The primary context of the spare device with a reservation in it, retained once. */
static bool primary(struct fixture *f)
{
	CUdeviceptr reservation;

	return CHECK_OK(f->d->cuDevicePrimaryCtxRetain(&f->out_context, f->spare_device)) &&
	       CHECK_OK(f->d->cuCtxSetCurrent(f->out_context)) &&
	       CHECK_OK(f->d->cuMemAlloc_v2(&reservation, BIG_BYTES)) &&
	       CHECK_OK(f->d->cuMemsetD8_v2(reservation, 1, BYTES)) &&
	       CHECK_OK(f->d->cuCtxSetCurrent(f->context));
}

static bool affinity(struct fixture *f)
{
	f->affinity = (CUexecAffinityParam){
		.type = CU_EXEC_AFFINITY_TYPE_SM_COUNT, .param.smCount.val = 1};
	return true;
}

static bool create_params(struct fixture *f)
{
	memset(&f->create_params, 0, sizeof(f->create_params));
	return true;
}

static bool peer(struct fixture *f)
{
	return CHECK_OK(f->d->cuDevicePrimaryCtxRetain(&f->fresh_context, f->spare_device));
}

static bool enabled_peer(struct fixture *f)
{
	return peer(f) && CHECK_OK(f->d->cuCtxEnablePeerAccess(f->fresh_context, 0));
}

/* The image in a file. */
static bool file(struct fixture *f)
{
	static const char *const directory = "/tmp";
	char *path = NULL;
	FILE *stream;

	if (asprintf(&path, "%s/kvshim-image-%d-%d", directory, getpid(), f->thread) < 0)
		return false;
	stream = fopen(path, "w");
	f->out_host = path;
	return CHECK(stream && fputs(fixture_image, stream) >= 0 && fclose(stream) == 0);
}

static bool module(struct fixture *f)
{
	return CHECK_OK(f->d->cuModuleLoadData(&f->out_module, fixture_image));
}

static bool library(struct fixture *f)
{
	return CHECK_OK(f->d->cuLibraryLoadData(
		&f->out_library, fixture_image, NULL, NULL, 0, NULL, NULL, 0));
}

/* ---- after ---- */

static bool context_made(struct fixture *f, CUresult result)
{
	CUdeviceptr reservation;
	bool ok;

	if (result == CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY)
		return true;
	ok = CHECK_OK(result) && CHECK_OK(f->d->cuCtxSetCurrent(f->out_context)) &&
	     CHECK_OK(f->d->cuMemAlloc_v2(&reservation, BIG_BYTES)) &&
	     CHECK_OK(f->d->cuMemFree_v2(reservation)) &&
	     CHECK_OK(f->d->cuCtxDestroy_v2(f->out_context));
	return CHECK_OK(f->d->cuCtxSetCurrent(f->context)) && ok;
}

static bool context_gone(struct fixture *f, CUresult result)
{
	return CHECK_OK(f->d->cuCtxSetCurrent(f->context)) && CHECK_OK(result);
}

static bool primary_made(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK_OK(f->d->cuDevicePrimaryCtxRelease_v2(f->spare_device));
}

/* Everything that the reservation held has gone back to the device. */
static bool primary_gone(struct fixture *f, CUresult result)
{
	size_t free_bytes = 0, total = 0;
	bool ok = CHECK_OK(result) &&
		  CHECK_OK(f->d->cuDevicePrimaryCtxRetain(&f->out_context, f->spare_device)) &&
		  CHECK_OK(f->d->cuCtxSetCurrent(f->out_context)) &&
		  CHECK_OK(f->d->cuMemGetInfo_v2(&free_bytes, &total)) &&
		  CHECK(free_bytes + BIG_BYTES > total) &&
		  CHECK_OK(f->d->cuDevicePrimaryCtxRelease_v2(f->spare_device));

	return CHECK_OK(f->d->cuCtxSetCurrent(f->context)) && ok;
}

static bool primary_reset(struct fixture *f, CUresult result)
{
	return primary_gone(f, result) &&
	       CHECK_OK(f->d->cuDevicePrimaryCtxRelease_v2(f->spare_device));
}

static bool peer_released(struct fixture *f)
{
	f->fresh_context = NULL;
	return CHECK_OK(f->d->cuDevicePrimaryCtxRelease_v2(f->spare_device));
}

static bool peer_enabled(struct fixture *f, CUresult result)
{
	bool ok = CHECK_OK(result) && CHECK_OK(f->d->cuCtxDisablePeerAccess(f->fresh_context));

	return peer_released(f) && ok;
}

static bool peer_disabled(struct fixture *f, CUresult result)
{
	bool ok = CHECK_OK(result) && CHECK(f->real->cuCtxDisablePeerAccess(f->fresh_context) ==
					      CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);

	return peer_released(f) && ok;
}

static void remove_file(struct fixture *f)
{
	if (f->out_host) {
		unlink(f->out_host);
		free(f->out_host);
	}
	f->out_host = NULL;
}

static bool module_loaded(struct fixture *f, CUresult result)
{
	remove_file(f);
	return CHECK_OK(result) &&
	       CHECK_OK(f->d->cuModuleGetFunction(&f->out_function, f->out_module, "touch")) &&
	       CHECK_OK(f->d->cuModuleUnload(f->out_module));
}

static bool library_loaded(struct fixture *f, CUresult result)
{
	remove_file(f);
	return CHECK_OK(result) &&
	       CHECK_OK(f->d->cuLibraryGetKernel(&f->out_kernel, f->out_library, "touch")) &&
	       CHECK_OK(f->d->cuLibraryUnload(f->out_library));
}

/* The function that came out can be launched, and names what it points at. */
static bool function_found(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && prepare_reservation(f) &&
	       check_whole(f, f->d->cuLaunchKernel(f->out_function, 1, 1, 1, 1, 1, 1, 0, f->stream,
				      f->params, NULL));
}

static bool kernel_found(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) &&
	       function_found(f, f->d->cuKernelGetFunction(&f->out_function, f->out_kernel));
}

static bool library_module(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && function_found(f, f->d->cuModuleGetFunction(&f->out_function,
							     f->out_module, "touch"));
}

static bool global_found(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->out != 0 && f->out_size == 8);
}

static bool proc_found(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->out_host == truth_shim("cuInit")) &&
	       ((f->out_host = NULL), true);
}

/* clang-format off */
#define LIST(X) \
	X(cuGetProcAddress, NULL, ("cuInit", &f->out_host, 2000, 0), proc_found) \
	X(cuGetProcAddress_v2, NULL, ("cuInit", &f->out_host, 2000, 0, &f->out_status), proc_found) \
	X(cuInit, NULL, (0), NULL) \
	X(cuCtxCreate, NULL, (&f->out_context, 0, f->spare_device), context_made) \
	X(cuCtxCreate_v2, NULL, (&f->out_context, 0, f->spare_device), context_made) \
	X(cuCtxCreate_v3, affinity, (&f->out_context, NULL, 0, 0, f->spare_device), context_made) \
	X(cuCtxCreate_v4, create_params, (&f->out_context, &f->create_params, 0, f->spare_device), context_made) \
	X(cuCtxDestroy, context, (f->out_context), context_gone) \
	X(cuCtxDestroy_v2, context, (f->out_context), context_gone) \
	X(cuCtxDetach, current_context, (f->out_context), context_gone) \
	X(cuDevicePrimaryCtxRetain, NULL, (&f->out_context, f->spare_device), primary_made) \
	X(cuDevicePrimaryCtxRelease, primary, (f->spare_device), primary_gone) \
	X(cuDevicePrimaryCtxRelease_v2, primary, (f->spare_device), primary_gone) \
	X(cuDevicePrimaryCtxReset, primary, (f->spare_device), primary_reset) \
	X(cuDevicePrimaryCtxReset_v2, primary, (f->spare_device), primary_reset) \
	X(cuGreenCtxDestroy, NULL, (NULL), NULL) \
	X(cuCtxEnablePeerAccess, peer, (f->fresh_context, 0), peer_enabled) \
	X(cuCtxDisablePeerAccess, enabled_peer, (f->fresh_context), peer_disabled) \
	X(cuModuleLoad, file, (&f->out_module, f->out_host), module_loaded) \
	X(cuModuleLoadData, NULL, (&f->out_module, fixture_image), module_loaded) \
	X(cuModuleLoadDataEx, NULL, (&f->out_module, fixture_image, 0, NULL, NULL), module_loaded) \
	X(cuModuleLoadFatBinary, NULL, (&f->out_module, fixture_image), NULL) \
	X(cuLibraryLoadData, NULL, (&f->out_library, fixture_image, NULL, NULL, 0, NULL, NULL, 0), library_loaded) \
	X(cuLibraryLoadFromFile, file, (&f->out_library, f->out_host, NULL, NULL, 0, NULL, NULL, 0), library_loaded) \
	X(cuModuleUnload, module, (f->out_module), check_ok) \
	X(cuLibraryUnload, library, (f->out_library), check_ok) \
	X(cuModuleGetFunction, NULL, (&f->out_function, f->module, "touch"), function_found) \
	X(cuLibraryGetKernel, NULL, (&f->out_kernel, f->library, "touch"), kernel_found) \
	X(cuKernelGetFunction, NULL, (&f->out_function, f->kernel), function_found) \
	X(cuLibraryGetModule, NULL, (&f->out_module, f->library), library_module) \
	X(cuModuleGetGlobal_v2, NULL, (&f->out, &f->out_size, f->module, "counter"), global_found) \
	X(cuLibraryGetManaged, NULL, (&f->out, &f->out_size, f->library, "no_such_variable"), NULL)
/* clang-format on */

SNIPPETS(snippets_context, LIST)
