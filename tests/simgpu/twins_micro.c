/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_micro.c - the host twins of tests/micro/kernels.ptx: they touch the same bytes and leave
 * the same values. A twin does the work of the whole grid, which the programs launch large enough.
 */
#include <string.h>

#include "twins.h"

#define CHUNK 1024u /* words moved at a time */

static uint64_t get(const struct sim_call *call, uint32_t offset, uint32_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, call->params + offset, bytes);
	return value;
}

static uint64_t get8(const struct sim_call *call, uint32_t offset)
{
	return get(call, offset, 8);
}

static uint32_t get4(const struct sim_call *call, uint32_t offset)
{
	return get(call, offset, 4);
}

static bool fill(const struct sim_call *call, uint64_t dst, uint32_t n, uint32_t value)
{
	uint32_t words[CHUNK];

	for (uint32_t i = 0; i < CHUNK; i++)
		words[i] = value;
	for (uint32_t done = 0, now; done < n; done += now) {
		now = n - done < CHUNK ? n - done : CHUNK;
		if (!sim_write(call, dst + 4ull * done, words, 4ull * now))
			return false;
	}
	return true;
}

static bool copy(const struct sim_call *call, uint64_t dst, uint64_t src, uint32_t n)
{
	uint32_t words[CHUNK];

	for (uint32_t done = 0, now; done < n; done += now) {
		now = n - done < CHUNK ? n - done : CHUNK;
		if (!sim_read(call, src + 4ull * done, words, 4ull * now) ||
			!sim_write(call, dst + 4ull * done, words, 4ull * now))
			return false;
	}
	return true;
}

static void twin_fill(const struct sim_call *call)
{
	fill(call, get8(call, 0), get4(call, 8), get4(call, 12));
}

static void twin_copy(const struct sim_call *call)
{
	copy(call, get8(call, 0), get8(call, 8), get4(call, 16));
}

static void twin_saxpy(const struct sim_call *call)
{
	uint64_t y = get8(call, 0), x = get8(call, 8);
	uint32_t n = get4(call, 20);
	float a, of_x, of_y;

	memcpy(&a, call->params + 16, sizeof(a));
	for (uint32_t i = 0; i < n; i++) {
		if (!sim_read(call, y + 4ull * i, &of_y, 4) ||
			!sim_read(call, x + 4ull * i, &of_x, 4))
			return;
		of_y = (float)((double)a * of_x + of_y); /* one rounding, nearly always */
		if (!sim_write(call, y + 4ull * i, &of_y, 4))
			return;
	}
}

static void twin_store_pointer(const struct sim_call *call)
{
	uint64_t target = get8(call, 16);

	sim_write(call, get8(call, 0) + 8ull * get4(call, 8), &target, sizeof(target));
}

static void twin_read_through(const struct sim_call *call)
{
	uint64_t target;

	if (sim_read(call, get8(call, 8) + 8ull * get4(call, 16), &target, sizeof(target)))
		copy(call, get8(call, 0), target, get4(call, 20));
}

static void twin_write_through(const struct sim_call *call)
{
	uint64_t target;

	if (sim_read(call, get8(call, 0) + 8ull * get4(call, 8), &target, sizeof(target)))
		fill(call, target, get4(call, 12), get4(call, 16));
}

static void twin_index_scatter(const struct sim_call *call)
{
	uint64_t dst = get8(call, 0), index = get8(call, 8), row;
	uint32_t n = get4(call, 16), row_words = get4(call, 20), value = get4(call, 24);

	for (uint32_t i = 0; i < n; i++) {
		if (!sim_read(call, index + 8ull * i, &row, sizeof(row)) ||
			!fill(call, dst + row * row_words * 4, row_words, value + i))
			return;
	}
}

static void twin_reads(const struct sim_call *call)
{
	copy(call, get8(call, 0), get8(call, 8), get4(call, 16) * get4(call, 20));
}

static void twin_index_set(const struct sim_call *call)
{
	uint32_t n = get4(call, 8), value = get4(call, 12);

	for (uint32_t i = 0; i < n; i++) {
		uint64_t row = (uint32_t)(value + i);

		if (!sim_write(call, get8(call, 0) + 8ull * i, &row, sizeof(row)))
			return;
	}
}

static void twin_struct(const struct sim_call *call)
{
	uint32_t n = get4(call, 0);

	if (n && fill(call, get8(call, 8), n, get4(call, 4)))
		sim_write(call, get8(call, 16), &n, sizeof(n));
}

static void twin_two_numbers(const struct sim_call *call)
{
	sim_write(call, get8(call, 8), call->params, 8);
}

static void twin_three_numbers(const struct sim_call *call)
{
	sim_write(call, get8(call, 16), call->params, 12);
}

sim_twin_fn sim_twin_micro(const char *kernel_name)
{
	static const struct {
		const char *name;
		sim_twin_fn twin;
	} twins[] = {
		{"micro_fill", twin_fill},
		{"micro_copy", twin_copy},
		{"micro_saxpy", twin_saxpy},
		{"micro_store_pointer", twin_store_pointer},
		{"micro_read_through", twin_read_through},
		{"micro_write_through", twin_write_through},
		{"micro_index_scatter", twin_index_scatter},
		{"_Z10micro_rowsPjPKljjjm", twin_index_scatter},
		{"_Z11micro_readsPjPKjjjm", twin_reads},
		{"_Z14micro_strangerPjjj", twin_fill},
		{"micro_index_set", twin_index_set},
		{"micro_struct", twin_struct},
		{"micro_two_numbers", twin_two_numbers},
		{"micro_three_numbers", twin_three_numbers},
	};

	for (size_t i = 0; i < sizeof(twins) / sizeof(twins[0]); i++)
		if (!strcmp(twins[i].name, kernel_name))
			return twins[i].twin;
	return NULL; /* micro_nothing and micro_eight touch nothing */
}
