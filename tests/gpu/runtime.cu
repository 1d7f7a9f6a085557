/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.cu - a program against the CUDA runtime: big and small allocations, streams, a graph that
 * is replayed, host copies. Prints one line with a checksum; the same with and without the shim,
 * with the static and with the shared runtime.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <cuda_runtime.h>

#define MUST(call) \
	do { \
		cudaError_t error_ = (call); \
		if (error_ != cudaSuccess) { \
			printf("FAILED: %s: %s\n", #call, cudaGetErrorString(error_)); \
			exit(1); \
		} \
	} while (0)

__global__ void mix(uint32_t *dst, const uint32_t *src, size_t n, uint32_t salt)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
		i += (size_t)gridDim.x * blockDim.x)
		dst[i] = dst[i] * 1664525u + src[(i * 7919u) % n] + salt;
}

int main()
{
	const size_t n = (64u << 20) / 4; /* words of one buffer: above the size floor of the shim */
	uint32_t *buffers[4], *small, sum = 0;
	std::vector<uint32_t> host(n);
	cudaGraphExec_t exec;
	cudaStream_t stream;
	cudaGraph_t graph;

	for (auto &buffer : buffers)
		MUST(cudaMalloc(&buffer, n * 4));
	MUST(cudaMalloc(&small, 4096));
	MUST(cudaStreamCreate(&stream));
	MUST(cudaMemset(buffers[0], 0, n * 4));
	for (size_t i = 0; i < n; i++)
		host[i] = (uint32_t)(i * 2654435761u);
	MUST(cudaMemcpy(buffers[1], host.data(), n * 4, cudaMemcpyHostToDevice));
	MUST(cudaMemcpy(buffers[2], buffers[1], n * 4, cudaMemcpyDeviceToDevice));
	MUST(cudaMemset(buffers[3], 0x5a, n * 4));
	MUST(cudaDeviceSynchronize());
	MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
	mix<<<256, 256, 0, stream>>>(buffers[0], buffers[1], n, 1);
	mix<<<256, 256, 0, stream>>>(buffers[3], buffers[2], n, 2);
	MUST(cudaMemsetAsync(small, 7, 4096, stream));
	MUST(cudaStreamEndCapture(stream, &graph));
	MUST(cudaGraphInstantiate(&exec, graph, 0));
	for (int i = 0; i < 20; i++) {
		MUST(cudaGraphLaunch(exec, stream));
		mix<<<256, 256, 0, stream>>>(buffers[1], buffers[2], n, (uint32_t)i);
	}
	MUST(cudaStreamSynchronize(stream));
	for (auto &buffer : buffers) {
		MUST(cudaMemcpy(host.data(), buffer, n * 4, cudaMemcpyDeviceToHost));
		for (size_t i = 0; i < n; i++)
			sum = sum * 31u + host[i];
		MUST(cudaFree(buffer));
	}
	MUST(cudaFree(small));
	printf("checksum %08x\n", sum);
	return 0;
}
