/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - kernel launches: checks, the copy of the parameter block, submission. */
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "memory.h"

/* Copies the parameters as the kernel's layout says. The block belongs to the caller (free). */
static CUresult launch_params(
	const struct sim_kernel *kernel, void **params, void **extra, uint8_t **ret)
{
	uint32_t size = kernel->params_size ? kernel->params_size : 8;

	if (params && extra)
		return CUDA_ERROR_INVALID_VALUE;
	if (kernel->n_params && !params && !extra)
		return CUDA_ERROR_INVALID_VALUE;
	uint8_t *block = calloc(1, size);
	if (!block)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (params) {
		for (uint32_t i = 0; i < kernel->n_params; i++)
			memcpy(block + kernel->params[i].offset, params[i], kernel->params[i].size);
	} else if (extra) {
		const void *buffer = NULL;
		size_t given = 0;
		for (void **at = extra; *at != CU_LAUNCH_PARAM_END; at += 2) {
			if (*at == CU_LAUNCH_PARAM_BUFFER_POINTER)
				buffer = at[1];
			else if (*at == CU_LAUNCH_PARAM_BUFFER_SIZE)
				given = *(size_t *)at[1];
			else
				break;
		}
		if (kernel->n_params && (!buffer || given < kernel->params_size)) {
			free(block);
			return CUDA_ERROR_INVALID_VALUE;
		}
		if (buffer)
			memcpy(block, buffer,
				given < kernel->params_size ? given : kernel->params_size);
	}
	*ret = block;
	return CUDA_SUCCESS;
}

uint64_t sim_next_seq(void)
{
	static _Atomic uint64_t seq;

	return atomic_fetch_add_explicit(&seq, 1, memory_order_relaxed) + 1;
}

/* Fills a launch. grid and block have three elements each. */
CUresult sim_launch_make(CUfunction function, const unsigned grid[3], const unsigned block[3],
	unsigned shared, void **params, void **extra, struct sim_launch *ret)
{
	struct sim_function *f = sim_function_of(function);

	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	memset(ret, 0, sizeof(*ret));
	for (int i = 0; i < 3; i++) {
		if (!grid[i] || !block[i] || (i && grid[i] > 65535))
			return CUDA_ERROR_INVALID_VALUE;
		ret->grid[i] = grid[i];
		ret->block[i] = block[i];
	}
	if ((uint64_t)block[0] * block[1] * block[2] > 1024)
		return CUDA_ERROR_INVALID_VALUE;
	ret->kernel = f->kernel;
	ret->function = f;
	ret->shared = shared;
	ret->seq = sim_next_seq();
	ret->packed = !params && extra;
	return launch_params(f->kernel, params, extra, &ret->params);
}

static CUresult launch(CUfunction function, const unsigned grid[3], const unsigned block[3],
	unsigned shared, CUstream handle, void **params, void **extra)
{
	struct sim_work work = {.type = SIM_WORK_KERNEL};
	CUresult result;
	struct sim_stream *stream = sim_stream_get(handle, &result);

	if (!stream)
		return result;
	/* Unlike a copy, a kernel goes to streams of the current context only. */
	if (stream->context != sim_context_current())
		return CUDA_ERROR_INVALID_HANDLE;
	result = sim_launch_make(function, grid, block, shared, params, extra, &work.launch);
	if (result != CUDA_SUCCESS)
		return result;
	return sim_submit(stream, &work);
}

CUresult sim_cuLaunchKernel(CUfunction function, unsigned int gx, unsigned int gy, unsigned int gz,
	unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared, CUstream stream,
	void **params, void **extra)
{
	return launch(function, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, stream,
		params, extra);
}

CUresult sim_cuLaunchKernelEx(
	const CUlaunchConfig *config, CUfunction function, void **params, void **extra)
{
	if (!config || (config->numAttrs && !config->attrs))
		return CUDA_ERROR_INVALID_VALUE;
	return launch(function, (unsigned[]){config->gridDimX, config->gridDimY, config->gridDimZ},
		(unsigned[]){config->blockDimX, config->blockDimY, config->blockDimZ},
		config->sharedMemBytes, config->hStream, params, extra);
}

CUresult sim_cuLaunchCooperativeKernel(CUfunction function, unsigned int gx, unsigned int gy,
	unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
	CUstream stream, void **params)
{
	return launch(function, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, stream,
		params, NULL);
}

CUresult sim_cuLaunchCooperativeKernelMultiDevice(
	CUDA_LAUNCH_PARAMS *list, unsigned int n, unsigned int flags)
{
	if (!list || !n)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < n; i++) {
		CUDA_LAUNCH_PARAMS *p = &list[i];
		CUresult result = sim_cuLaunchCooperativeKernel(p->function, p->gridDimX,
			p->gridDimY, p->gridDimZ, p->blockDimX, p->blockDimY, p->blockDimZ,
			p->sharedMemBytes, p->hStream, p->kernelParams);
		if (result != CUDA_SUCCESS)
			return result;
	}
	return CUDA_SUCCESS;
}
