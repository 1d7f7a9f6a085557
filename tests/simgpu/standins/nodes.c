/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nodes.c - the kernel nodes of a graph, as the libcudart stand-in shows them.
 *
 * Builds of ggml from before the summer of 2025 change an argument of the captured copy kernels
 * before each launch. They know a kernel by its host function, so the driver's handle is turned
 * back into that.
 */
#include "exports.h"

struct rt_kernel_node {
	const void *function;
	struct rt_dim3 grid, block;
	unsigned shared;
	void **args, **extra;
};
_Static_assert(offsetof(struct rt_kernel_node, args) == 40, "cudaKernelNodeParams");

EXPORT int cudaGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n)
{
	RT_CALL(d->cuGraphGetNodes(graph, nodes, n));
}

EXPORT int cudaGraphNodeGetType(CUgraphNode node, int *type)
{
	RT_CALL(d->cuGraphNodeGetType(node, (CUgraphNodeType *)type));
}

EXPORT int cudaGraphKernelNodeGetParams(CUgraphNode node, struct rt_kernel_node *params)
{
	CUDA_KERNEL_NODE_PARAMS p;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = d->cuGraphKernelNodeGetParams(node, &p);
	if (error)
		return rt_error(error);
	const void *function = rt_function_of(d, p.func ? (void *)p.func : (void *)p.kern);
	if (!function)
		return rt_error(RT_INVALID_DEVICE_FUNCTION);
	*params = (struct rt_kernel_node){
		.function = function,
		.grid = {p.gridDimX, p.gridDimY, p.gridDimZ},
		.block = {p.blockDimX, p.blockDimY, p.blockDimZ},
		.shared = p.sharedMemBytes,
		.args = p.kernelParams,
		.extra = p.extra,
	};
	return 0;
}

EXPORT int cudaGraphKernelNodeSetParams(CUgraphNode node, const struct rt_kernel_node *params)
{
	CUkernel kernel;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_kernel(d, params->function, &kernel);
	if (error)
		return rt_error(error);
	CUDA_KERNEL_NODE_PARAMS p = {
		.kern = kernel,
		.gridDimX = params->grid.x,
		.gridDimY = params->grid.y,
		.gridDimZ = params->grid.z,
		.blockDimX = params->block.x,
		.blockDimY = params->block.y,
		.blockDimZ = params->block.z,
		.sharedMemBytes = params->shared,
		.kernelParams = params->args,
		.extra = params->extra,
	};
	return rt_error(d->cuGraphKernelNodeSetParams(node, &p));
}
