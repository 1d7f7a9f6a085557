/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_rope.c - rotary embedding: fused with a write of cache rows, or in place over all of K.
 *
 * Five lists of parameters in two years. What the kernel does with them is the same: with an index
 * array the heads of a token go side by side into the row that it names; without one, and in place,
 * K is rotated as a whole. Anything else happens in scratch memory.
 */
#include "twins_ggml.h"

struct rope {
	uint64_t source, target, indices;
	int64_t stride; /* of a row, in elements; 0: not fused */
	int64_t elements, heads, tokens, head_stride;
	bool contiguous; /* heads and tokens lie side by side in the source */
};

static struct rope rope_of_2024(const struct sim_call *call)
{
	/* Rows of ne0 elements, as many as the grid is wide. */
	return (struct rope){.elements = twin_i32(call, 16),
		.heads = 1,
		.tokens = call->grid[0],
		.contiguous = true};
}

/* ne0, heads, the strides of a row and of a token; the index array behind everything else. */
static struct rope rope_by_rows(const struct sim_call *call, int indices)
{
	struct rope r = {.elements = twin_i32(call, 16), .heads = twin_i32(call, 20)};

	r.tokens = r.heads > 0 ? call->grid[0] / r.heads : 0;
	r.head_stride = r.elements;
	r.contiguous = twin_i32(call, 28) == r.heads * r.elements;
	if (indices) {
		r.indices = (uint64_t)twin_i64(call, indices);
		r.stride = twin_i32(call, indices + 8);
	}
	return r;
}

/* Three counts, then the strides of source and target. */
static struct rope rope_by_strides(const struct sim_call *call, int indices)
{
	struct rope r = {.elements = twin_i32(call, 16),
		.heads = twin_i32(call, 20),
		.tokens = twin_i32(call, 24),
		.head_stride = twin_i32(call, 40),
		.indices = (uint64_t)twin_i64(call, indices),
		.stride = twin_i32(call, indices + 8)};

	r.contiguous = twin_i32(call, 32) == r.heads * r.elements;
	return r;
}

/* One index per token, heads side by side in a row; `bytes` per element. */
static void rope_rows(const struct sim_call *call, const struct rope *r, uint32_t bytes)
{
	uint8_t head[8192];
	uint64_t size = (uint64_t)r->elements * bytes;
	int64_t index;

	if (size > sizeof(head)) {
		sim_report(SIM_VIOLATION, "%s: a head of %lld elements", call->kernel->name,
			(long long)r->elements);
		return;
	}
	for (int64_t t = 0; t < r->tokens; t++) {
		if (!sim_read(call, r->indices + (uint64_t)t * 8, &index, 8))
			return;
		for (int64_t h = 0; h < r->heads; h++) {
			int64_t at = index * r->stride + h * r->head_stride;
			twin_pattern(call, (uint64_t)(t * r->heads + h), head, size);
			if (!sim_write(call, r->target + (uint64_t)at * bytes, head, size))
				return;
		}
	}
}

/* Bytes of an element of the target: the last type among the template arguments. */
static uint32_t target_bytes(const struct sim_call *call)
{
	const char *at = twin_template(call);
	uint32_t bytes = 0;

	while (*at && *at != 'E') {
		if (*at == 'L') { /* a number or a truth value */
			at = strchr(at, 'E') + 1;
			continue;
		}
		uint32_t one = twin_type_bytes(&at);
		if (!one)
			break;
		bytes = one;
	}
	return bytes;
}

/* rope_norm, rope_neox */
void twin_rope(const struct sim_call *call)
{
	uint32_t bytes = target_bytes(call);
	struct rope r;

	if (twin_is(call, 12, 72))
		r = rope_of_2024(call);
	else if (twin_is(call, 14, 80))
		r = rope_by_rows(call, 0);
	else if (twin_is(call, 16, 92))
		r = rope_by_rows(call, 80);
	else if (twin_is(call, 21, 108))
		r = rope_by_strides(call, 96);
	else if (twin_layout(call, 23, 117))
		r = rope_by_strides(call, 104);
	else
		return;
	if (!bytes) {
		sim_report(SIM_VIOLATION, "unknown types of %s", call->kernel->name);
		return;
	}
	r.source = (uint64_t)twin_i64(call, 0);
	r.target = (uint64_t)twin_i64(call, 8);
	if (r.indices && r.stride)
		rope_rows(call, &r, bytes);
	else if (r.source == r.target && r.contiguous)
		twin_transform(call, r.source, (uint64_t)(r.tokens * r.heads * r.elements) * bytes,
			(uint32_t)r.elements * bytes);
}

/* rms_norm_mul_rope_f32 <block, has_ff, target>: grid is (heads, tokens, streams). */
void twin_norm_rope(const struct sim_call *call)
{
	if (!twin_layout(call, 29, 221))
		return;
	struct rope r = {.target = (uint64_t)twin_i64(call, 8),
		.indices = (uint64_t)twin_i64(call, 208),
		.stride = twin_i32(call, 216),
		.elements = twin_i32(call, 16),
		.heads = call->grid[0],
		.tokens = call->grid[1],
		.head_stride = twin_i64(call, 48)};

	if (r.indices && r.stride)
		rope_rows(call, &r, target_bytes(call));
}
