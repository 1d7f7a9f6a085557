/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports.h - the entry points of the libcudart stand-in, under CUDA's own names.
 *
 * Their meaning is CUDA's. All may be called by any thread.
 */
#ifndef STANDIN_EXPORTS_H
#define STANDIN_EXPORTS_H

#include "runtime.h"

#if STANDIN_MAJOR >= 13
#define PROPERTIES_NAME cudaGetDeviceProperties
#else
#define PROPERTIES_NAME cudaGetDeviceProperties_v2
#endif

struct rt_function_attributes;
struct rt_launch_config;
struct rt_kernel_node;
struct rt_copy_3d_peer;
struct rt_properties;

/* state.c */
int cudaGetDevice(int *device);
int cudaSetDevice(int device);
int cudaSetDeviceFlags(unsigned flags);
int cudaDeviceSynchronize(void);
int cudaDeviceEnablePeerAccess(int peer, unsigned flags);
int cudaDeviceDisablePeerAccess(int peer);
int cudaGetLastError(void);
int cudaPeekAtLastError(void);
const char *cudaGetErrorString(int error);

/* properties.c */
int cudaGetDeviceCount(int *count);
int PROPERTIES_NAME(struct rt_properties *properties, int device);
int cudaDeviceGetAttribute(int *value, int attribute, int device);
int cudaDeviceGetPCIBusId(char *text, int length, int device);
int cudaDeviceCanAccessPeer(int *can, int device, int peer);
int cudaMemGetInfo(size_t *free, size_t *total);

/* kernels.c */
void **__cudaRegisterFatBinary(void *wrapper);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
void __cudaRegisterFunction(void **handle, const char *function, char *device_function,
	const char *name, int thread_limit, void *tid, void *bid, void *block, void *grid,
	int *warp_size);
void __cudaRegisterVar(void **handle, char *variable, char *address, const char *name, int ext,
	size_t size, int constant, int global);
int __cudaGetKernel(CUkernel *kernel, const void *function);
int cudaFuncGetAttributes(struct rt_function_attributes *attributes, const void *function);
int cudaFuncSetAttribute(const void *function, int attribute, int value);
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
	int *blocks, const void *function, int block_size, size_t shared, unsigned flags);

/* launch.c */
unsigned __cudaPushCallConfiguration(
	struct rt_dim3 grid, struct rt_dim3 block, size_t shared, CUstream stream);
int __cudaPopCallConfiguration(
	struct rt_dim3 *grid, struct rt_dim3 *block, size_t *shared, void *stream);
int __cudaLaunchKernel(CUkernel kernel, struct rt_dim3 grid, struct rt_dim3 block, void **args,
	size_t shared, CUstream stream);
int cudaLaunchKernel(const void *function, struct rt_dim3 grid, struct rt_dim3 block, void **args,
	size_t shared, CUstream stream);
int cudaLaunchCooperativeKernel(const void *function, struct rt_dim3 grid, struct rt_dim3 block,
	void **args, size_t shared, CUstream stream);
int cudaLaunchKernelExC(const struct rt_launch_config *config, const void *function, void **args);

/* memory.c */
int cudaMalloc(void **address, size_t size);
int cudaFree(void *address);
int cudaMallocManaged(void **address, size_t size, unsigned flags);
int cudaMallocHost(void **address, size_t size);
int cudaHostAlloc(void **address, size_t size, unsigned flags);
int cudaFreeHost(void *address);
int cudaHostRegister(void *address, size_t size, unsigned flags);
int cudaHostUnregister(void *address);
int cudaHostGetDevicePointer(void **device, void *host, unsigned flags);
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, CUstream stream);
int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
	size_t height, int kind, CUstream stream);
int cudaMemcpyPeerAsync(
	void *to, int to_device, const void *from, int from_device, size_t size, CUstream stream);
int cudaMemcpy3DPeerAsync(const struct rt_copy_3d_peer *copy, CUstream stream);
int cudaMemset(void *address, int value, size_t size);
int cudaMemsetAsync(void *address, int value, size_t size, CUstream stream);

/* streams.c */
int cudaStreamCreateWithFlags(CUstream *stream, unsigned flags);
int cudaStreamDestroy(CUstream stream);
int cudaStreamSynchronize(CUstream stream);
int cudaStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
int cudaStreamBeginCapture(CUstream stream, int mode);
int cudaStreamEndCapture(CUstream stream, CUgraph *graph);
int cudaStreamIsCapturing(CUstream stream, int *status);
int cudaEventCreateWithFlags(CUevent *event, unsigned flags);
int cudaEventDestroy(CUevent event);
int cudaEventRecord(CUevent event, CUstream stream);
int cudaEventSynchronize(CUevent event);
int cudaGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
int cudaGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *result);
int cudaGraphLaunch(CUgraphExec exec, CUstream stream);
int cudaGraphDestroy(CUgraph graph);
int cudaGraphExecDestroy(CUgraphExec exec);

/* nodes.c */
int cudaGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *n);
int cudaGraphNodeGetType(CUgraphNode node, int *type);
int cudaGraphKernelNodeGetParams(CUgraphNode node, struct rt_kernel_node *params);
int cudaGraphKernelNodeSetParams(CUgraphNode node, const struct rt_kernel_node *params);

#endif
