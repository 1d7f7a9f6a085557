/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointers.c - addresses that reach a kernel by other ways than its parameters.
 */
#include <string.h>

#include "core/stats.h"
#include "tests/micro/micro.h"

#define SIZE (128 * MIB)
#define N 5000u

static CUdeviceptr array, out;

static void read_through(CUdeviceptr from, uint32_t slot)
{
	uint32_t n = N;

	micro_launch(micro_kernel("micro_read_through"), N, NULL, PARAMS(&out, &from, &slot, &n));
}

/* A large allocation with a pattern that was written without a kernel. */
static CUdeviceptr patterned(unsigned char pattern)
{
	CUdeviceptr r = micro_alloc(SIZE);

	MUST(cuMemsetD8_v2, r + SIZE / 2, pattern, N * 4);
	return r;
}

static void stored_by_a_kernel(void)
{
	CUdeviceptr r = patterned(0x11), target = r + SIZE / 2;
	uint32_t slot = 3, n = N, value = 77;

	micro_expect_elastic(r);
	micro_launch(micro_kernel("micro_store_pointer"), 1, NULL, PARAMS(&array, &slot, &target));
	read_through(array, slot);
	micro_check(micro_holds(out, N, 0x11111111),
		"a kernel reads through an address that an earlier kernel has stored");
	micro_launch(
		micro_kernel("micro_write_through"), N, NULL, PARAMS(&array, &slot, &n, &value));
	micro_check(micro_holds(target, N, 77), "and writes through it");
	micro_expect_static(r, KV_STATIC_KERNEL, "micro_store_pointer");
	MUST(cuMemFree_v2, r);
}

static void in_pinned_memory(void)
{
	CUdeviceptr r = patterned(0x22), from;
	CUdeviceptr *pinned;
	void *memory;

	MUST(cuMemHostAlloc, &memory, 4096, CU_MEMHOSTALLOC_DEVICEMAP);
	pinned = memory;
	pinned[1] = r + SIZE / 2;
	MUST(cuMemHostGetDevicePointer_v2, &from, memory, 0);
	micro_expect_elastic(r);
	read_through(from, 1);
	micro_check(micro_holds(out, N, 0x22222222),
		"a kernel follows an address that the program has written to pinned memory");
	micro_expect_static(r, KV_STATIC_HOST_MEMORY, "micro_read_through");
	MUST(cuMemFreeHost, memory);
	MUST(cuMemFree_v2, r);
}

static void in_managed_memory(void)
{
	CUdeviceptr r = patterned(0x55), from;

	MUST(cuMemAllocManaged, &from, 4096, CU_MEM_ATTACH_GLOBAL);
	((CUdeviceptr *)from)[1] = r + SIZE / 2;
	micro_expect_elastic(r);
	read_through(from, 1);
	micro_check(micro_holds(out, N, 0x55555555),
		"a kernel follows an address that the program has written to managed memory");
	micro_expect_static(r, KV_STATIC_HOST_MEMORY, "micro_read_through");
	MUST(cuMemFree_v2, from);
	MUST(cuMemFree_v2, r);
}

static void uploaded(void)
{
	CUdeviceptr r = patterned(0x33), table[16] = {0};

	table[5] = r + SIZE / 2;
	MUST(cuMemcpyHtoD_v2, array, table, sizeof(table));
	micro_expect_static(r, KV_STATIC_UPLOAD, NULL);
	read_through(array, 5);
	micro_check(micro_holds(out, N, 0x33333333), "a kernel follows an uploaded address");
	MUST(cuMemFree_v2, r);
}

/* A source that is not aligned, as a serializer may leave it. */
static void uploaded_unaligned(void)
{
	CUdeviceptr r = patterned(0x44), target = r + SIZE / 2;
	static _Alignas(8) char bytes[68];

	memcpy(bytes + 4 + 16, &target, sizeof(target));
	MUST(cuMemcpyHtoD_v2, array, bytes + 4, 64);
	micro_expect_static(r, KV_STATIC_UPLOAD, NULL);
	read_through(array, 2);
	micro_check(micro_holds(out, N, 0x44444444), "also from a source that is not aligned");
	MUST(cuMemFree_v2, r);
}

static void index_changed_on_the_device(void)
{
	CUdeviceptr r = micro_alloc(SIZE), index = array;
	uint32_t n = 4, row_words = 1024, value = 100, far = 20000;
	uint64_t rows[4] = {0, 1, 2, 3};
	CUfunction scatter = micro_kernel("micro_index_scatter");

	MUST(cuMemcpyHtoD_v2, index, rows, sizeof(rows));
	micro_launch(scatter, n, NULL, PARAMS(&r, &index, &n, &row_words, &value));
	micro_launch(micro_kernel("micro_index_set"), n, NULL, PARAMS(&index, &n, &far));
	value = 200;
	micro_launch(scatter, n, NULL, PARAMS(&r, &index, &n, &row_words, &value));
	for (uint32_t i = 0; i < n; i++) {
		micro_check(micro_holds(r + 4ull * row_words * i, row_words, 100 + i),
			"row %u went where the uploaded index said", i);
		micro_check(micro_holds(r + 4ull * row_words * (far + i), row_words, 200 + i),
			"row %u went where a kernel had changed the index to", far + i);
	}
	micro_check(micro_holds(r + 4ull * row_words * 10, row_words, 0) || !micro_shimmed(),
		"a row in between reads as zero");
	MUST(cuMemFree_v2, r);
}

int main(void)
{
	micro_start();
	array = micro_alloc(4096);
	out = micro_alloc(N * 4);
	stored_by_a_kernel();
	in_pinned_memory();
	in_managed_memory();
	uploaded();
	uploaded_unaligned();
	index_changed_on_the_device();
	MUST(cuMemFree_v2, out);
	MUST(cuMemFree_v2, array);
	return micro_end();
}
