/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - launches of the libcudart stand-in.
 */
#include "exports.h"

#define MAX_NESTED 16

/* What <<<...>>> pushed and the kernel's host stub will pop. */
struct configuration {
	struct rt_dim3 grid, block;
	size_t shared;
	CUstream stream;
};

static _Thread_local struct configuration pushed[MAX_NESTED];
static _Thread_local unsigned n_pushed;

EXPORT unsigned __cudaPushCallConfiguration(
	struct rt_dim3 grid, struct rt_dim3 block, size_t shared, CUstream stream)
{
	if (n_pushed == MAX_NESTED)
		return 1;
	pushed[n_pushed++] = (struct configuration){grid, block, shared, stream};
	return 0;
}

EXPORT int __cudaPopCallConfiguration(
	struct rt_dim3 *grid, struct rt_dim3 *block, size_t *shared, void *stream)
{
	if (!n_pushed)
		return rt_error(RT_MISSING_CONFIGURATION);
	const struct configuration *c = &pushed[--n_pushed];
	*grid = c->grid;
	*block = c->block;
	*shared = c->shared;
	*(CUstream *)stream = c->stream;
	return 0;
}

EXPORT int __cudaLaunchKernel(CUkernel kernel, struct rt_dim3 grid, struct rt_dim3 block,
	void **args, size_t shared, CUstream stream)
{
	RT_CALL(d->cuLaunchKernel((CUfunction)kernel, grid.x, grid.y, grid.z, block.x, block.y,
		block.z, (unsigned)shared, stream, args, NULL));
}

EXPORT int cudaLaunchKernel(const void *function, struct rt_dim3 grid, struct rt_dim3 block,
	void **args, size_t shared, CUstream stream)
{
	CUkernel kernel;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_kernel(d, function, &kernel);
	if (error)
		return rt_error(error);
	return __cudaLaunchKernel(kernel, grid, block, args, shared, stream);
}

EXPORT int cudaLaunchCooperativeKernel(const void *function, struct rt_dim3 grid,
	struct rt_dim3 block, void **args, size_t shared, CUstream stream)
{
	CUkernel kernel;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_kernel(d, function, &kernel);
	if (!error)
		error = d->cuLaunchCooperativeKernel((CUfunction)kernel, grid.x, grid.y, grid.z,
			block.x, block.y, block.z, (unsigned)shared, stream, args);
	return rt_error(error);
}

struct rt_launch_config {
	struct rt_dim3 grid, block;
	size_t shared; /* the driver's field is an unsigned, so the struct cannot be passed on */
	CUstream stream;
	CUlaunchAttribute *attributes;
	unsigned n_attributes;
};
_Static_assert(offsetof(struct rt_launch_config, shared) == 24 &&
		       offsetof(struct rt_launch_config, n_attributes) == 48,
	"cudaLaunchConfig_t");

EXPORT int cudaLaunchKernelExC(
	const struct rt_launch_config *config, const void *function, void **args)
{
	CUkernel kernel;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_kernel(d, function, &kernel);
	if (error)
		return rt_error(error);
	CUlaunchConfig launch = {
		.gridDimX = config->grid.x,
		.gridDimY = config->grid.y,
		.gridDimZ = config->grid.z,
		.blockDimX = config->block.x,
		.blockDimY = config->block.y,
		.blockDimZ = config->block.z,
		.sharedMemBytes = (unsigned)config->shared,
		.hStream = config->stream,
		.attrs = config->attributes,
		.numAttrs = config->n_attributes,
	};
	return rt_error(d->cuLaunchKernelEx(&launch, (CUfunction)kernel, args, NULL));
}
