/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_ggml.c - the kernels of ggml's CUDA backend that write a KV cache, and how all of its twins
 * are found.
 *
 * They scatter rows: the destination is a whole tensor, the rows to write come from an index array
 * in device memory. The twin reads that array as the kernel does and fills the rows with bytes that
 * occur nowhere else.
 */
#include <ctype.h>
#include <stdlib.h>

#include "twins_ggml.h"

bool twin_is(const struct sim_call *call, uint32_t n_params, uint32_t params_size)
{
	return call->kernel->n_params == n_params && call->kernel->params_size == params_size;
}

bool twin_layout(const struct sim_call *call, uint32_t n_params, uint32_t params_size)
{
	const struct sim_kernel *k = call->kernel;

	if (twin_is(call, n_params, params_size))
		return true;
	sim_report(SIM_VIOLATION,
		"unknown layout of %s: %u parameters in %u bytes, its twin knows %u in %u", k->name,
		k->n_params, k->params_size, n_params, params_size);
	return false;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

void twin_pattern(const struct sim_call *call, uint64_t row, void *buffer, size_t size)
{
	uint64_t state = mix(call->seq * 0x9e3779b97f4a7c15u + row);
	uint8_t *at = buffer;

	while (size) {
		state += 0x9e3779b97f4a7c15u;
		uint64_t word = mix(state) | 1; /* never zero: zero means untouched */
		size_t n = size < sizeof(word) ? size : sizeof(word);
		memcpy(at, &word, n);
		at += n;
		size -= n;
	}
}

uint32_t twin_block_bytes(const char *kernel_name)
{
	static const struct {
		const char *name;
		uint32_t bytes;
	} types[] = {{"q4_0", 18}, {"q4_1", 20}, {"q5_0", 22}, {"q5_1", 24}, {"q8_0", 34},
		{"iq4_nl", 18}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strstr(kernel_name, types[i].name))
			return types[i].bytes;
	return 0;
}

/* What the template arguments behind "name" + "I" say; T is one of f, 6__half, 13__nv_bfloat16, i,
 * l. */
const char *twin_template(const struct sim_call *call)
{
	const char *at = call->kernel->name + 2;
	size_t length = strtoul(at, (char **)&at, 10);

	return at + length + 1;
}

uint32_t twin_type_bytes(const char **at)
{
	static const struct {
		const char *name;
		uint32_t bytes;
	} types[] = {{"6__half", 2}, {"13__nv_bfloat16", 2}, {"f", 4}, {"i", 4}, {"l", 8},
		{"S0_", 2} /* "the same again": only the half precision types are so long */};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t n = strlen(types[i].name);
		if (!strncmp(*at, types[i].name, n)) {
			*at += n;
			return types[i].bytes;
		}
	}
	return 0;
}

/* The index array of k_set_rows(_quant): positions by the strides of the tensor, in elements. */
struct rows {
	uint32_t index_bytes;
	int64_t n[3], source_stride[3], index_stride[3], target_stride[2];
	uint32_t repeat[2]; /* the index tensor repeats over the outer dimensions */
};

static struct rows rows_of(const struct sim_call *call, uint32_t index_bytes)
{
	int64_t total_rows = 0;
	struct rows r = {.index_bytes = index_bytes,
		.source_stride = {twin_i64(call, 64), twin_i64(call, 72), twin_i64(call, 80)},
		.index_stride = {twin_i64(call, 88), twin_i64(call, 96), twin_i64(call, 104)},
		.target_stride = {twin_i64(call, 120), twin_i64(call, 128)},
		.repeat = {twin_divisor(call, 172), twin_divisor(call, 184)}};

	r.n[0] = twin_divisor(call, 148);
	r.n[1] = twin_divisor(call, 160);
	total_rows = r.n[0] * r.n[1];
	uint32_t row_elements = twin_divisor(call, 136);
	r.n[2] = total_rows && row_elements ? twin_i64(call, 24) / (total_rows * row_elements) : 0;
	return r;
}

static bool read_index(
	const struct sim_call *call, const struct rows *r, const int64_t i[3], int64_t *ret)
{
	int64_t at = i[0] * r->index_stride[0] + i[1] % r->repeat[0] * r->index_stride[1] +
		     i[2] % r->repeat[1] * r->index_stride[2];
	uint64_t addr = (uint64_t)twin_i64(call, 8) + (uint64_t)at * r->index_bytes;
	int32_t narrow;

	if (r->index_bytes == 8)
		return sim_read(call, addr, ret, 8);
	if (!sim_read(call, addr, &narrow, 4))
		return false;
	*ret = narrow;
	return true;
}

/* Writes every row: `row_bytes` at target + index * stride + the outer strides, all in units of
 * `unit` bytes. */
static void scatter(
	const struct sim_call *call, const struct rows *r, uint32_t row_bytes, uint32_t unit)
{
	uint64_t target = (uint64_t)twin_i64(call, 16);
	int64_t stride = twin_i64(call, 112), index;
	uint8_t *row = malloc(row_bytes);
	uint64_t n = 0;

	if (!row) {
		sim_report(SIM_VIOLATION, "%s: no memory for a row", call->kernel->name);
		return;
	}
	for (int64_t k = 0; k < r->n[2]; k++) {
		for (int64_t j = 0; j < r->n[1]; j++) {
			for (int64_t i = 0; i < r->n[0]; i++) {
				if (!read_index(call, r, (int64_t[]){i, j, k}, &index))
					goto out;
				int64_t at = index * stride + j * r->target_stride[0] +
					     k * r->target_stride[1];
				twin_pattern(call, n++, row, row_bytes);
				if (!sim_write(
					    call, target + (uint64_t)(at * unit), row, row_bytes))
					goto out;
			}
		}
	}
out:
	free(row);
}

void twin_set_rows(const struct sim_call *call)
{
	const char *types = twin_template(call);

	if (!twin_layout(call, 22, 196))
		return;
	uint32_t source = twin_type_bytes(&types), index = twin_type_bytes(&types),
		 target = twin_type_bytes(&types);
	if (!source || (index != 4 && index != 8) || !target) {
		sim_report(SIM_VIOLATION, "unknown types of %s", call->kernel->name);
		return;
	}
	struct rows r = rows_of(call, index);
	uint32_t elements = twin_divisor(call, 136);
	if (!sim_probe(call, (uint64_t)twin_i64(call, 0),
		    ((uint64_t)(r.n[0] - 1) * (uint64_t)r.source_stride[0] + elements) * source,
		    false))
		return;
	scatter(call, &r, elements * target, target);
}

void twin_set_rows_quant(const struct sim_call *call)
{
	const char *types = twin_template(call);
	uint32_t block = twin_block_bytes(call->kernel->name);

	if (!twin_layout(call, 22, 196))
		return;
	uint32_t index = twin_type_bytes(&types);
	if ((index != 4 && index != 8) || !block) {
		sim_report(SIM_VIOLATION, "unknown types of %s", call->kernel->name);
		return;
	}
	struct rows r = rows_of(call, index);
	uint32_t elements = twin_divisor(call, 136);
	/* The kernel counts blocks, rows_of() elements. */
	if (r.n[0] && r.n[1] && elements >= 32)
		r.n[2] = twin_i64(call, 24) / (r.n[0] * r.n[1] * (elements / 32));
	scatter(call, &r, elements / 32 * block, 1);
}

sim_twin_fn sim_twin_ggml(const char *kernel_name)
{
	static const struct {
		const char *name;
		sim_twin_fn twin;
	} families[] = {{"k_set_rows", twin_set_rows}, {"k_set_rows_quant", twin_set_rows_quant},
		{"rope_norm", twin_rope}, {"rope_neox", twin_rope},
		{"rms_norm_mul_rope_f32", twin_norm_rope},
		{"flash_attn_ext_vec", twin_flash_attention},
		{"flash_attn_ext_f16", twin_flash_attention},
		{"flash_attn_tile", twin_flash_attention},
		{"dequantize_block_q8_0_f16", twin_dequantize_q8_0},
		{"dequantize_block_q4_0", twin_dequantize_q4_0},
		{"dequantize_block", twin_dequantize_rows}, {"cpy_q_f32", twin_copy_q_f32},
		{"cpy_f32_q", twin_copy_f32_q}, {"cpy_f32_f16", twin_copy_scalar},
		{"cpy_scalar", twin_copy_scalar}, {"cpy_scalar_contiguous", twin_copy_contiguous},
		{"mul_mat_f", twin_mul_mat_f}, {"mul_mat_vec_f", twin_mul_mat_vec_f}};

	/* A template instance: _Z, the length of the name, the name, I. */
	if (strncmp(kernel_name, "_Z", 2) || !isdigit((unsigned char)kernel_name[2]))
		return NULL;
	char *at;
	size_t length = strtoul(kernel_name + 2, &at, 10);
	if (length >= strlen(at) || at[length] != 'I')
		return NULL;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (strlen(families[i].name) == length && !strncmp(at, families[i].name, length))
			return families[i].twin;
	return NULL;
}
