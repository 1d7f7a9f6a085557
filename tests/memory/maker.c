/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maker.c - a library that allocates, as an engine's does: built twice, with another name for its
 * functions (PREFIX) each. Nothing here is a tail call: a frame has to be on the stack.
 */
#include <cuda.h>
#include <stddef.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#define EXPORT __attribute__((visibility("default")))

EXPORT CUresult JOIN(PREFIX, _make)(CUdeviceptr *addr, size_t size);
EXPORT int JOIN(PREFIX, _make_by)(int (*malloc_fn)(void **, size_t), void **addr, size_t size);

CUresult JOIN(PREFIX, _make)(CUdeviceptr *addr, size_t size)
{
	CUresult res = cuMemAlloc(addr, size);

	__asm__ volatile("" ::: "memory");
	return res;
}

int JOIN(PREFIX, _make_by)(int (*malloc_fn)(void **, size_t), void **addr, size_t size)
{
	int res = malloc_fn(addr, size);

	__asm__ volatile("" ::: "memory");
	return res;
}
