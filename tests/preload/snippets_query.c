/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snippets_query.c - what a program can ask about a pointer or make of it: attributes, handles,
 * descriptors; see fixture.h.
 */
#include <string.h>
#include <unistd.h>

#include "fixture.h"

/* ---- before ---- */

static bool attributes(struct fixture *f)
{
	f->attribute_names[0] = CU_POINTER_ATTRIBUTE_RANGE_START_ADDR;
	f->attribute_names[1] = CU_POINTER_ATTRIBUTE_RANGE_SIZE;
	f->attribute_values[0] = &f->attribute_words[0];
	f->attribute_values[1] = &f->attribute_words[1];
	return prepare_reservation(f);
}

static bool range_attribute(struct fixture *f)
{
	f->range_attribute = CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY;
	f->attribute_values[0] = &f->attribute_words[0];
	f->sizes[0] = sizeof(int);
	return true;
}

static bool physical(struct fixture *f)
{
	f->prop = (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
		.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
		.location = {CU_MEM_LOCATION_TYPE_DEVICE, f->device}};
	return CHECK_OK(f->d->cuMemCreate(&f->fresh_handle, BIG_BYTES, &f->prop, 0));
}

static bool tensor(struct fixture *f)
{
	for (int i = 0; i < 4; i++) {
		f->tensor_dims[i] = 16;
		f->tensor_box[i] = 16;
		f->tensor_steps[i] = 1;
	}
	f->tensor_strides[0] = 64;
	f->tensor_strides[1] = 64 * 16;
	f->tensor_strides[2] = 64 * 16 * 16;
	return prepare_reservation(f);
}

static bool encoded(struct fixture *f)
{
	return tensor(f) &&
	       f->d->cuTensorMapEncodeTiled(&f->tensor, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4,
		       (void *)(uintptr_t)f->small, f->tensor_dims, f->tensor_strides,
		       f->tensor_box, f->tensor_steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
		       CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
		       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) <= CUDA_ERROR_UNKNOWN;
}

static bool texture(struct fixture *f)
{
	if (!prepare_reservation(f))
		return false;
	f->resource = (CUDA_RESOURCE_DESC){.resType = CU_RESOURCE_TYPE_LINEAR,
		.res.linear = {.devPtr = f->fresh,
			.format = CU_AD_FORMAT_FLOAT,
			.numChannels = 1,
			.sizeInBytes = BYTES}};
	memset(&f->texture, 0, sizeof(f->texture));
	f->array_descriptor = (CUDA_ARRAY_DESCRIPTOR){
		.Width = 16, .Height = ROWS, .Format = CU_AD_FORMAT_FLOAT, .NumChannels = 1};
	if (PASSED(PFN_cuTexRefCreate_v2000, cuTexRefCreate)(&f->texref) != CUDA_SUCCESS)
		f->texref = NULL;
	return true;
}

/* ---- after ---- */

/* As for one native allocation of the size that was asked for. */
static bool whole_range(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->out == f->fresh) && CHECK(f->out_size == BIG_BYTES);
}

static bool start_address(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->attribute_words[0] == f->fresh);
}

static bool start_and_size(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && CHECK(f->attribute_words[0] == f->fresh) &&
	       CHECK(f->attribute_words[1] == BIG_BYTES);
}

static bool refused(struct fixture *f, CUresult result)
{
	return CHECK(result != CUDA_SUCCESS);
}

/* Whatever the driver made of the address: the reservation is static if it has gone out. */
static bool whole_if_out(struct fixture *f, CUresult result)
{
	return result != CUDA_SUCCESS || check_whole(f, result);
}

static bool handle_out(struct fixture *f, CUresult result)
{
	if (result == CUDA_SUCCESS)
		f->fresh_handle = f->out_handle;
	return whole_if_out(f, result);
}

static bool file_out(struct fixture *f, CUresult result)
{
	if (result == CUDA_SUCCESS)
		close(f->out_fd);
	return CHECK_OK(result);
}

static bool range_out(struct fixture *f, CUresult result)
{
	if (result == CUDA_SUCCESS)
		close(f->out_fd);
	return whole_if_out(f, result);
}

/* clang-format off */
#define ADDRESS (void *)(uintptr_t)f->fresh
#define PLAIN CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE

#define LIST(X) \
	X(cuMemGetAddressRange, NULL, (&f->out32, &f->out_size32, 0), NULL) \
	X(cuMemGetAddressRange_v2, prepare_reservation, (&f->out, &f->out_size, f->fresh + BYTES), whole_range) \
	X(cuPointerGetAttribute, attributes, (&f->attribute_words[0], CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, f->fresh + BYTES), start_address) \
	X(cuPointerGetAttributes, attributes, (2, f->attribute_names, f->attribute_values, f->fresh + BYTES), start_and_size) \
	X(cuPointerSetAttribute, attributes, (&(unsigned int){1}, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, f->fresh), whole_if_out) \
	X(cuMemRangeGetAttribute, range_attribute, (&f->attribute_words[0], sizeof(int), f->range_attribute, f->big, BYTES), check_invalid) \
	X(cuMemRangeGetAttributes, range_attribute, (f->attribute_values, f->sizes, &f->range_attribute, 1, f->big, BYTES), check_invalid) \
	X(cuIpcGetMemHandle, prepare_reservation, (&f->out_ipc, f->fresh), refused) \
	X(cuMemRetainAllocationHandle, prepare_reservation, (&f->out_handle, ADDRESS), handle_out) \
	X(cuMemExportToShareableHandle, physical, (&f->out_fd, f->fresh_handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0), file_out) \
	X(cuMemGetHandleForAddressRange, prepare_reservation, (&f->out_fd, f->fresh, BIG_BYTES, CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0), range_out) \
	X(cuMulticastBindAddr, prepare_reservation, (0, 0, f->fresh, BIG_BYTES, 0), whole_if_out) \
	X(cuTensorMapEncodeTiled, tensor, (&f->tensor, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, ADDRESS, f->tensor_dims, f->tensor_strides, f->tensor_box, f->tensor_steps, CU_TENSOR_MAP_INTERLEAVE_NONE, PLAIN), whole_if_out) \
	X(cuTensorMapEncodeIm2col, tensor, (&f->tensor, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, ADDRESS, f->tensor_dims, f->tensor_strides, f->tensor_low, f->tensor_high, 16, 16, f->tensor_steps, CU_TENSOR_MAP_INTERLEAVE_NONE, PLAIN), whole_if_out) \
	X(cuTensorMapEncodeIm2colWide, tensor, (&f->tensor, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, ADDRESS, f->tensor_dims, f->tensor_strides, 0, 0, 16, 16, f->tensor_steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_IM2COL_WIDE_MODE_W, PLAIN), whole_if_out) \
	X(cuTensorMapReplaceAddress, encoded, (&f->tensor, ADDRESS), whole_if_out) \
	X(cuTexObjectCreate, texture, (&f->out_texture, &f->resource, &f->texture, NULL), whole_if_out) \
	X(cuTexRefSetAddress_v2, texture, (&f->out_size, f->texref, f->fresh, BYTES), whole_if_out) \
	X(cuTexRefSetAddress2D_v2, texture, (f->texref, &f->array_descriptor, f->fresh, PITCH), whole_if_out) \
	X(cuTexRefSetAddress2D_v3, texture, (f->texref, &f->array_descriptor, f->fresh, PITCH), whole_if_out)
/* clang-format on */

SNIPPETS(snippets_query, LIST)
