/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_params.c - parameter blocks from nowhere: every eight-byte word that may hold an address is
 * looked at, nothing else, and nothing outside the blocks.
 *
 * Input: u8 number of parameters (modulo 24); u8 size of each; u8 flags (1: packed block in
 * `extra`, 2: no size given with it, 8: captured); the bytes of the block, repeated as needed. A
 * word whose low half has the top byte 'A' (0x41) counts as an address of the one reservation.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/launch.h"
#include "tests/fuzz/fake_hooks.h"
#include "tests/fuzz/fuzz.h"

#define PARAMS_MAX 24u

struct launch {
	uint32_t n, block, hits;
	uint32_t sizes[PARAMS_MAX], offsets[PARAMS_MAX];
	bool packed, unsized;
	void *params[PARAMS_MAX]; /* one heap block each, of exactly its size */
	unsigned char *bytes;     /* the packed block */
};

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* What the layout alone says about how often the reservation is hit. */
static uint32_t expected(const struct launch *l)
{
	uint32_t hits = 0;

	for (uint32_t i = 0; i < l->n; i++)
		for (uint32_t at = 0; l->sizes[i] % 8 == 0 && at < l->sizes[i]; at += 8)
			hits += fake_is_hit(l->bytes + l->offsets[i] + at);
	return hits;
}

static void fill(struct launch *l, const uint8_t *data, size_t size)
{
	for (uint32_t i = 0; i < l->n; i++) {
		l->offsets[i] = l->block;
		l->block += l->sizes[i];
	}
	l->bytes = malloc(l->block ? l->block : 1);
	require(l->bytes);
	for (uint32_t i = 0; i < l->block; i++)
		l->bytes[i] = size ? data[i % size] : 0;
	for (uint32_t i = 0; i < l->n; i++) {
		l->params[i] = malloc(l->sizes[i] ? l->sizes[i] : 1);
		require(l->params[i]);
		memcpy(l->params[i], l->bytes + l->offsets[i], l->sizes[i]);
	}
}

static void scan(struct launch *l, bool captured)
{
	size_t size = l->block;
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, l->bytes,
		l->unsized ? CU_LAUNCH_PARAM_END : CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
		CU_LAUNCH_PARAM_END};
	const struct kv_kernel *kernel;

	fake_function(l->n, l->offsets, l->sizes);
	kernel = kv_kernel_of(&fake_handle);
	require(kernel->layout_known && kernel->n_params == l->n);
	fake_hits = 0;
	require(!kv_launch_scan(
		kernel, l->packed ? NULL : l->params, l->packed ? extra : NULL, captured));
	require(fake_hits == expected(l));
	kv_kernel_forget();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct launch l = {0};
	uint8_t flags;

	if (!size)
		return 0;
	l.n = data[0] % PARAMS_MAX;
	if (size < l.n + 2)
		return 0;
	for (uint32_t i = 0; i < l.n; i++)
		l.sizes[i] = data[1 + i] ? data[1 + i] : 8;
	flags = data[1 + l.n];
	l.packed = flags & 1;
	l.unsized = flags & 2;
	fill(&l, data + 2 + l.n, size - 2 - l.n);
	scan(&l, flags & 8);
	for (uint32_t i = 0; i < l.n; i++)
		free(l.params[i]);
	free(l.bytes);
	return 0;
}
