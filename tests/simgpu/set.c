/* SPDX-License-Identifier: Apache-2.0 */
/* set.c - the entry points of memory sets. Like the driver's, the synchronous forms do not wait. */
#include "api_protos.h"
#include "memory.h"

static CUresult submit_set(uint64_t dst, uint64_t pitch, uint32_t value, uint32_t element,
	uint64_t width, uint64_t height, CUstream handle)
{
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	if (!width || !height)
		return CUDA_SUCCESS;
	if (dst % element || (height > 1 && (pitch % element || pitch < width * element)))
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_work work = {.type = SIM_WORK_SET,
		.set = {.dst = dst,
			.pitch = pitch,
			.width = width,
			.height = height,
			.value = value,
			.element = element}};
	result = sim_check_set(stream->context, &work.set);
	return result == CUDA_SUCCESS ? sim_submit(stream, &work) : result;
}

CUresult sim_cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t n)
{
	return submit_set(dst, n, value, 1, n, 1, NULL);
}

CUresult sim_cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t n, CUstream stream)
{
	return submit_set(dst, n, value, 1, n, 1, stream);
}

CUresult sim_cuMemsetD16_v2(CUdeviceptr dst, unsigned short value, size_t n)
{
	return submit_set(dst, 2 * n, value, 2, n, 1, NULL);
}

CUresult sim_cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t n, CUstream stream)
{
	return submit_set(dst, 2 * n, value, 2, n, 1, stream);
}

CUresult sim_cuMemsetD32_v2(CUdeviceptr dst, unsigned int value, size_t n)
{
	return submit_set(dst, 4 * n, value, 4, n, 1, NULL);
}

CUresult sim_cuMemsetD32Async(CUdeviceptr dst, unsigned int value, size_t n, CUstream stream)
{
	return submit_set(dst, 4 * n, value, 4, n, 1, stream);
}

CUresult sim_cuMemsetD2D8_v2(
	CUdeviceptr dst, size_t pitch, unsigned char value, size_t width, size_t height)
{
	return submit_set(dst, pitch, value, 1, width, height, NULL);
}

CUresult sim_cuMemsetD2D8Async(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width,
	size_t height, CUstream stream)
{
	return submit_set(dst, pitch, value, 1, width, height, stream);
}

CUresult sim_cuMemsetD2D16_v2(
	CUdeviceptr dst, size_t pitch, unsigned short value, size_t width, size_t height)
{
	return submit_set(dst, pitch, value, 2, width, height, NULL);
}

CUresult sim_cuMemsetD2D16Async(CUdeviceptr dst, size_t pitch, unsigned short value, size_t width,
	size_t height, CUstream stream)
{
	return submit_set(dst, pitch, value, 2, width, height, stream);
}

CUresult sim_cuMemsetD2D32_v2(
	CUdeviceptr dst, size_t pitch, unsigned int value, size_t width, size_t height)
{
	return submit_set(dst, pitch, value, 4, width, height, NULL);
}

CUresult sim_cuMemsetD2D32Async(CUdeviceptr dst, size_t pitch, unsigned int value, size_t width,
	size_t height, CUstream stream)
{
	return submit_set(dst, pitch, value, 4, width, height, stream);
}
