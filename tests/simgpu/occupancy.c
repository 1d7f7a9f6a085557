/* SPDX-License-Identifier: Apache-2.0 */
/* occupancy.c - how many blocks fit: by threads, shared memory and 32 blocks only. */
#include "api_protos.h"

CUresult sim_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
	int *blocks, CUfunction function, int block_size, size_t shared, unsigned int flags)
{
	int threads;

	if (!blocks || block_size < 1)
		return CUDA_ERROR_INVALID_VALUE;
	if (!sim_function_of(function))
		return CUDA_ERROR_INVALID_HANDLE;
	sim_cuDeviceGetAttribute(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 0);
	*blocks = block_size > 1024 ? 0 : threads / block_size < 32 ? threads / block_size : 32;
	if (shared && *blocks > (int)(233472 / (shared + 1024)))
		*blocks = (int)(233472 / (shared + 1024));
	return CUDA_SUCCESS;
}

CUresult sim_cuOccupancyMaxActiveBlocksPerMultiprocessor(
	int *blocks, CUfunction function, int block_size, size_t shared)
{
	return sim_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
		blocks, function, block_size, shared, 0);
}

CUresult sim_cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction function,
	CUoccupancyB2DSize shared_of, size_t shared, int limit, unsigned int flags)
{
	int multiprocessors;

	if (!grid || !block)
		return CUDA_ERROR_INVALID_VALUE;
	*block = limit > 0 && limit < 1024 ? limit : 1024;
	CUresult result = sim_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
		grid, function, *block, shared_of ? shared_of(*block) : shared, flags);
	sim_cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0);
	if (result == CUDA_SUCCESS)
		*grid *= multiprocessors;
	return result;
}

CUresult sim_cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction function,
	CUoccupancyB2DSize shared_of, size_t shared, int limit)
{
	return sim_cuOccupancyMaxPotentialBlockSizeWithFlags(
		grid, block, function, shared_of, shared, limit, 0);
}

CUresult sim_cuOccupancyAvailableDynamicSMemPerBlock(
	size_t *size, CUfunction function, int blocks, int block_size)
{
	if (!size || blocks < 1)
		return CUDA_ERROR_INVALID_VALUE;
	*size = 233472 / (size_t)blocks - 1024;
	return sim_function_of(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult sim_cuOccupancyMaxActiveClusters(
	int *clusters, CUfunction function, const CUlaunchConfig *config)
{
	if (!clusters || !config)
		return CUDA_ERROR_INVALID_VALUE;
	*clusters = 16;
	return sim_function_of(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult sim_cuOccupancyMaxPotentialClusterSize(
	int *size, CUfunction function, const CUlaunchConfig *config)
{
	if (!size || !config)
		return CUDA_ERROR_INVALID_VALUE;
	*size = 8;
	return sim_function_of(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
