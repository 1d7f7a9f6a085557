/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_copy.c - ggml's copies between types and layouts.
 *
 * Builds of today use them around the shift of a quantised cache. Until July 2025 they wrote the
 * cache, too: into a view whose address moves on with every token, and for some months (when they
 * were launched from a graph) at an address that they took from an array of pointers.
 */
#include <stdlib.h>

#include "twins_ggml.h"

/* Counts ne and ne00 to ne02, strides nb00 to nb03, ne10 to ne12, nb10 to nb13: of 4 or 8 bytes. */
struct copy {
	uint64_t from, to;
	uint64_t n, from_n[3], from_stride[4], to_n[3], to_stride[4];
};

static bool copy_of(const struct sim_call *call, struct copy *c)
{
	uint64_t all[15];
	int width = twin_is(call, 17, 76) || twin_is(call, 19, 92) ? 4 : 8;

	if (width == 8 && !twin_layout(call, 17, 136))
		return false;
	for (int i = 0; i < 15; i++)
		all[i] = width == 4 ? (uint64_t)twin_i32(call, 16 + 4 * i)
				    : (uint64_t)twin_i64(call, 16 + 8 * i);
	c->from = (uint64_t)twin_i64(call, 0);
	c->to = (uint64_t)twin_i64(call, 8);
	c->n = all[0];
	memcpy(c->from_n, &all[1], sizeof(c->from_n));
	memcpy(c->from_stride, &all[4], sizeof(c->from_stride));
	memcpy(c->to_n, &all[8], sizeof(c->to_n));
	memcpy(c->to_stride, &all[11], sizeof(c->to_stride));
	if (twin_is(call, 19, 92) && twin_i64(call, 80))
		return sim_read(call,
			(uint64_t)twin_i64(call, 80) + 8 * (uint64_t)twin_i32(call, 88), &c->to, 8);
	return true;
}

/* Writes the target, row by row; a row whose elements do not lie side by side, one by one. per:
 * values in an element. */
static void write_rows(
	const struct sim_call *call, const struct copy *c, uint32_t per, uint32_t bytes)
{
	uint64_t elements = c->to_n[0] / per, plane = c->to_n[0] * c->to_n[1] * c->to_n[2];
	bool side_by_side = c->to_stride[0] == bytes;
	uint64_t pieces = side_by_side ? 1 : elements,
		 size = side_by_side ? elements * bytes : bytes;
	uint8_t *buffer = malloc(size ? size : 1);

	for (uint64_t l = 0; buffer && plane && l < c->n / plane; l++)
		for (uint64_t k = 0; k < c->to_n[2]; k++)
			for (uint64_t j = 0; j < c->to_n[1]; j++)
				for (uint64_t i = 0; i < pieces; i++) {
					uint64_t at = c->to + i * c->to_stride[0] +
						      j * c->to_stride[1] + k * c->to_stride[2] +
						      l * c->to_stride[3];
					twin_pattern(call, (k * c->to_n[1] + j) * pieces + i,
						buffer, size);
					if (!sim_write(call, at, buffer, size))
						goto out;
				}
out:
	free(buffer);
}

/*
 * cpy_f32_f16 <function>, cpy_scalar <function or types>. What turns into half precision can go
 * into a cache; other copies happen in scratch memory and are not followed.
 */
void twin_copy_scalar(const struct sim_call *call)
{
	struct copy c;

	if (strstr(call->kernel->name, "_f32_f16") && copy_of(call, &c))
		write_rows(call, &c, 1, 2);
}

/*
 * cpy_scalar_contiguous<float, half>, as the autumn of 2025 has it: the attention mask is uploaded
 * as floats and converted, and attention looks at what comes out. Only what a mask holds is told
 * apart: minus infinity from everything else.
 */
void twin_copy_contiguous(const struct sim_call *call)
{
	uint64_t from, to, n;
	uint32_t in[1024];
	uint16_t out[1024];

	if (!strstr(call->kernel->name, "If6__half") || !twin_is(call, 3, 24))
		return;
	from = (uint64_t)twin_i64(call, 0);
	to = (uint64_t)twin_i64(call, 8);
	n = (uint64_t)twin_i64(call, 16);
	for (uint64_t at = 0; at < n; at += 1024) {
		size_t m = n - at < 1024 ? n - at : 1024;

		if (!sim_read(call, from + 4 * at, in, 4 * m))
			return;
		for (size_t i = 0; i < m; i++)
			out[i] = in[i] == 0xff800000 ? 0xfc00 : in[i] ? 0x3c00 : 0;
		if (!sim_write(call, to + 2 * at, out, 2 * m))
			return;
	}
}

/* Source or target of a shift: all of it, without gaps. */
static bool dense(const uint64_t *stride, uint64_t elements, uint32_t per, uint32_t bytes)
{
	return stride[3] == elements / per * bytes;
}

void twin_copy_q_f32(const struct sim_call *call)
{
	uint32_t block = twin_block_bytes(call->kernel->name);
	struct copy c;

	if (!block || !copy_of(call, &c))
		return;
	if (dense(c.from_stride, c.n, 32, block) && dense(c.to_stride, c.n, 1, 4))
		twin_convert(call, c.from, c.to, c.n / 32, block, 4);
}

/*
 * After a shift the values were rotated by kernels that compute nothing here, so the target gets
 * new bytes wherever it held something. A view of some rows is written by a prompt or a token.
 */
void twin_copy_f32_q(const struct sim_call *call)
{
	uint32_t block = twin_block_bytes(call->kernel->name);
	struct copy c;

	if (!block || !copy_of(call, &c) || !sim_probe(call, c.from, c.n * 4, false))
		return;
	if (c.to_n[2] == 1)
		write_rows(call, &c, 32, block);
	else if (dense(c.from_stride, c.n, 1, 4) && dense(c.to_stride, c.n, 32, block))
		twin_transform(call, c.to, c.n / 32 * block, block);
}
