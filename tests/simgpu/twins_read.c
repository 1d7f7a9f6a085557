/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_read.c - the kernels of ggml's CUDA backend that read a KV cache.
 *
 * Attention reads the first n_kv rows of K and V of every stream and weighs them by a mask that the
 * engine has uploaded. A row that the mask lets no token see has no influence whatever it holds:
 * those are read without comparison unless SIMGPU_DEAD_STRICT=1 says that nothing may be lost at
 * all. Attended rows are always compared.
 */
#include <pthread.h>
#include <stdlib.h>

#include "twins_ggml.h"

#define HALF_MINUS_INFINITY 0xfc00

static bool dead_strict;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_environment(void)
{
	const char *value = getenv("SIMGPU_DEAD_STRICT");

	dead_strict = value && !strcmp(value, "1");
}

static bool read_range(const struct sim_call *call, uint64_t addr, uint64_t size, bool dead)
{
	uint8_t buffer[TWIN_CHUNK];

	pthread_once(&once, read_environment);
	while (size) {
		size_t n = size < sizeof(buffer) ? size : sizeof(buffer);
		bool ok = dead && !dead_strict ? sim_read_dead(call, addr, buffer, n)
					       : sim_read(call, addr, buffer, n);
		if (!ok)
			return false;
		addr += n;
		size -= n;
	}
	return true;
}

bool twin_read(const struct sim_call *call, uint64_t addr, uint64_t size)
{
	return read_range(call, addr, size, false);
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
	return !size || (!bytes[0] && !memcmp(bytes, bytes + 1, size - 1));
}

/* Pieces of a shift; see twins_ggml.h. */
struct pieces {
	uint32_t bytes;
	uint32_t phase; /* bytes of the first one that lie before what is looked at */
};

/* How many bytes are in pieces of the same kind: all of them zero, or none of them. */
static size_t alike(const uint8_t *bytes, size_t size, const struct pieces *p, bool *ret_zero)
{
	size_t n = p->bytes - p->phase;

	n = size < n ? size : n;
	*ret_zero = all_zero(bytes, n);
	while (n < size) {
		size_t m = size - n < p->bytes ? size - n : p->bytes;

		if (all_zero(bytes + n, m) != *ret_zero)
			break;
		n += m;
	}
	return n;
}

/* Reads, and compares what the shift has to have kept. */
static bool read_kept(const struct sim_call *call, uint64_t addr, uint8_t *bytes, size_t size,
	struct pieces pieces)
{
	pthread_once(&once, read_environment);
	if (dead_strict)
		return sim_read(call, addr, bytes, size);
	if (!sim_read_dead(call, addr, bytes, size))
		return false;
	for (size_t at = 0, n; at < size; at += n) {
		bool zero;

		n = alike(bytes + at, size - at, &pieces, &zero);
		if (!zero && !sim_read(call, addr + at, bytes + at, n))
			return false;
		pieces.phase = 0; /* where kinds change a piece begins */
	}
	return true;
}

bool twin_transform(const struct sim_call *call, uint64_t addr, uint64_t size, uint32_t piece)
{
	uint8_t buffer[TWIN_CHUNK];

	for (uint64_t done = 0, n; done < size; done += n) {
		struct pieces pieces = {piece, (uint32_t)(done % piece)};

		n = TWIN_PAGE - (addr + done) % TWIN_PAGE;
		n = n < sizeof(buffer) ? n : sizeof(buffer);
		n = n < size - done ? n : size - done;
		if (!read_kept(call, addr + done, buffer, n, pieces))
			return false;
		/* Rows differ: what is zero stays zero, piece by piece, and is not written at all:
		 * if it was lost, the ideal memory still has it. */
		for (size_t at = 0, m; at < n; at += m) {
			bool zero;

			m = alike(buffer + at, n - at, &pieces, &zero);
			pieces.phase = 0;
			if (!zero)
				twin_pattern(call, done + at, buffer + at, m);
			if (zero ? !sim_probe(call, addr + done + at, m, true)
				 : !sim_write(call, addr + done + at, buffer + at, m))
				return false;
		}
	}
	return true;
}

/* ---- attention ---- */

/* K or V as attention sees it: rows of heads, streams. Bytes. */
struct plane {
	uint64_t base, row, head, stream;
	uint32_t heads;
};

struct attention {
	struct plane k, v;
	uint64_t mask;
	uint32_t n_kv, n_streams, n_tokens, mask_streams;
	uint64_t mask_row, mask_stream;
};

/* Until the summer of 2025: one stream of masks, all strides 32 bits wide. */
static void attention_of_2024(const struct sim_call *call, struct attention *a)
{
	memset(a, 0, sizeof(*a));
	a->n_kv = (uint32_t)twin_i32(call, 92);
	a->n_streams = (uint32_t)twin_i32(call, 100);
	a->n_tokens = (uint32_t)twin_i32(call, 76);
	a->k = (struct plane){.base = (uint64_t)twin_i64(call, 8),
		.row = (uint32_t)twin_i32(call, 124),
		.head = (uint32_t)twin_i32(call, 128),
		.stream = (uint32_t)twin_i32(call, 132),
		.heads = (uint32_t)twin_i32(call, 96)};
	a->v = (struct plane){.base = (uint64_t)twin_i64(call, 16),
		.row = (uint32_t)twin_i32(call, 136),
		.head = (uint32_t)twin_i32(call, 140),
		.stream = (uint32_t)twin_i32(call, 144),
		.heads = a->k.heads};
	a->mask = (uint64_t)twin_i64(call, 24);
	a->mask_row = (uint32_t)twin_i32(call, 108);
}

static void attention_of(const struct sim_call *call, struct attention *a)
{
	memset(a, 0, sizeof(*a));
	a->n_kv = (uint32_t)twin_i32(call, 128);
	a->n_streams = (uint32_t)twin_i32(call, 136);
	a->n_tokens = twin_divisor(call, 92);
	a->k = (struct plane){.base = (uint64_t)twin_i64(call, 8),
		.row = (uint32_t)twin_i32(call, 140),
		.head = (uint32_t)twin_i32(call, 144),
		.stream = (uint64_t)twin_i64(call, 152),
		.heads = (uint32_t)twin_i32(call, 132)};
	a->v = (struct plane){.base = (uint64_t)twin_i64(call, 16),
		.row = (uint32_t)twin_i32(call, 160),
		.head = (uint32_t)twin_i32(call, 164),
		.stream = (uint64_t)twin_i64(call, 168),
		.heads = a->k.heads};
	a->mask = (uint64_t)twin_i64(call, 24);
	a->mask_streams = (uint32_t)twin_i32(call, 184);
	a->mask_row = (uint32_t)twin_i32(call, 188);
	a->mask_stream = (uint64_t)twin_i64(call, 200);
}

/* attended[r] = 1 where some token of the stream sees row r. False: a fault. */
static bool read_mask(const struct sim_call *call, const struct attention *a, uint32_t stream,
	uint16_t *row, uint8_t *attended)
{
	if (!a->mask) {
		memset(attended, 1, a->n_kv);
		return true;
	}
	memset(attended, 0, a->n_kv);
	uint32_t s = a->mask_streams ? stream % a->mask_streams : 0;
	for (uint32_t t = 0; t < a->n_tokens; t++) {
		uint64_t at = a->mask + s * a->mask_stream + t * a->mask_row;
		if (!sim_read(call, at, row, 2 * (size_t)a->n_kv))
			return false;
		for (uint32_t r = 0; r < a->n_kv; r++)
			attended[r] |= row[r] != HALF_MINUS_INFINITY;
	}
	return true;
}

/* Reads the rows of one stream: runs of attended rows compared, the others as dead. */
static bool read_plane(const struct sim_call *call, const struct plane *p, uint32_t stream,
	uint32_t n_kv, const uint8_t *attended)
{
	/* In a cache the heads of a row lie side by side; a scratch copy may hold head after head.
	 */
	bool side_by_side = p->head < p->row;
	uint32_t n_heads = side_by_side ? 1 : p->heads;

	for (uint32_t h = 0; h < n_heads; h++) {
		uint64_t base = p->base + stream * p->stream + h * p->head;
		for (uint32_t r = 0, end; r < n_kv; r = end) {
			for (end = r + 1; end < n_kv && attended[end] == attended[r];)
				end++;
			if (!read_range(call, base + r * p->row, (end - r) * p->row, !attended[r]))
				return false;
		}
	}
	return true;
}

void twin_flash_attention(const struct sim_call *call)
{
	struct attention a;

	if (twin_is(call, 35, 164))
		attention_of_2024(call, &a);
	else if (twin_layout(call, 37, 208))
		attention_of(call, &a);
	else
		return;
	uint8_t *attended = malloc(a.n_kv ? a.n_kv : 1);
	uint16_t *row = malloc(a.n_kv ? 2 * (size_t)a.n_kv : 1);
	if (!attended || !row)
		sim_report(SIM_VIOLATION, "%s: no memory for a mask", call->kernel->name);
	for (uint32_t s = 0; attended && row && s < a.n_streams; s++) {
		if (!read_mask(call, &a, s, row, attended) ||
			!read_plane(call, &a.k, s, a.n_kv, attended) ||
			!read_plane(call, &a.v, s, a.n_kv, attended))
			break;
	}
	free(attended);
	free(row);
}

/* ---- conversions ---- */

/* The blocks that the paged memory has otherwise than the ideal one become different values, too.
 */
static bool carry_losses(const struct sim_call *call, const uint8_t *in, const uint8_t *ideal,
	uint64_t n, uint32_t block, uint64_t at, uint8_t *out, uint32_t value)
{
	for (uint64_t i = 0; i < n; i++)
		for (uint32_t b = 0;
			memcmp(in + i * block, ideal + i * block, block) && b < 32 * value; b++)
			out[i * 32 * value + b] ^= 0xff;
	return sim_write_ideal(call, at, out, n * 32 * value);
}

/* Zeros are written only where something else lies: a large scratch buffer stays sparse. */
static bool write_zeros(const struct sim_call *call, uint64_t at, uint8_t *out, uint64_t size)
{
	bool clean = true;

	for (int ideal = 0; ideal < 2; ideal++) {
		if (!(ideal ? sim_read_ideal : sim_read_dead)(call, at, out, size))
			return false;
		clean = clean && all_zero(out, size);
	}
	memset(out, 0, size);
	return clean || sim_write(call, at, out, size);
}

void twin_convert(const struct sim_call *call, uint64_t from, uint64_t to, uint64_t blocks,
	uint32_t block, uint32_t value)
{
	uint8_t in[34 * 128], ideal[34 * 128], out[32 * 4 * 128];

	pthread_once(&once, read_environment);
	for (uint64_t done = 0; done < blocks;) {
		uint64_t n = blocks - done < 128 ? blocks - done : 128;
		uint64_t size = n * 32 * value, at = to + done * 32 * value;
		bool ok = (dead_strict ? sim_read : sim_read_dead)(
				  call, from + done * block, in, n * block) &&
			  sim_read_ideal(call, from + done * block, ideal, n * block);

		if (ok && all_zero(in, n * block)) {
			ok = write_zeros(call, at, out, size);
		} else if (ok) {
			twin_pattern(call, done, out, size);
			ok = sim_write(call, at, out, size);
		}
		if (ok && memcmp(in, ideal, n * block) != 0)
			ok = carry_losses(call, in, ideal, n, block, at, out, value);
		if (!ok)
			return;
		done += n;
	}
}

void twin_dequantize_q8_0(const struct sim_call *call)
{
	if (!twin_layout(call, 3, 24))
		return;
	twin_convert(call, (uint64_t)twin_i64(call, 0), (uint64_t)twin_i64(call, 8),
		(uint64_t)twin_i64(call, 16) / 32, 34, 2);
}

/* The values of a mangled name that ends in <T>: half and bfloat16 take two bytes. */
static uint32_t value_bytes(const char *name)
{
	return strstr(name, "6__half") || strstr(name, "13__nv_bfloat16") ? 2 : 4;
}

void twin_dequantize_q4_0(const struct sim_call *call)
{
	if (!twin_layout(call, 3, 20))
		return;
	twin_convert(call, (uint64_t)twin_i64(call, 0), (uint64_t)twin_i64(call, 8),
		(uint64_t)twin_i32(call, 16), 18, value_bytes(call->kernel->name));
}

/* Rows with strides, in blocks; the target is dense. */
void twin_dequantize_rows(const struct sim_call *call)
{
	uint32_t block = twin_block_bytes(call->kernel->name);

	if (!twin_layout(call, 9, 80) || !block)
		return;
	int64_t elements = twin_i64(call, 16), rows = twin_i64(call, 24),
		outer = twin_i64(call, 32);
	int64_t n2 = twin_divisor(call, 40);
	uint32_t value = value_bytes(call->kernel->name);
	uint64_t from = (uint64_t)twin_i64(call, 0), to = (uint64_t)twin_i64(call, 8);
	for (int64_t o = 0; o < outer; o++) {
		for (int64_t r = 0; r < rows; r++) {
			int64_t at = r * twin_i64(call, 56) +
				     (n2 ? o % n2 : 0) * twin_i64(call, 64) +
				     (n2 ? o / n2 : 0) * twin_i64(call, 72);
			twin_convert(call, from + (uint64_t)at * block,
				to + (uint64_t)((o * rows + r) * elements) * value,
				(uint64_t)elements / 32, block, value);
		}
	}
}

/* ---- matrix products without flash attention ---- */

/*
 * The left matrix. With rows closer to each other than they are long apart it is a view into a
 * cache and is compared; a dense one is a weight, which is only checked for access: reading all
 * weights for every token would take longer than all else.
 */
static void left_matrix(const struct sim_call *call, uint64_t rows, uint64_t row_bytes,
	uint64_t stride, uint64_t channels, uint64_t channel_stride)
{
	uint64_t base = (uint64_t)twin_i64(call, 0);

	if (stride <= row_bytes) {
		sim_probe(call, base, rows * row_bytes, false);
		return;
	}
	if (channels * channel_stride == stride && channel_stride == row_bytes) {
		/* Heads side by side: whole rows. */
		twin_read(call, base, rows * stride);
		return;
	}
	for (uint64_t c = 0; c < channels; c++)
		for (uint64_t r = 0; r < rows; r++)
			if (!twin_read(call, base + c * channel_stride + r * stride, row_bytes))
				return;
}

/* Units of two values; the name says which (half2, bfloat162, float). */
void twin_mul_mat_f(const struct sim_call *call)
{
	if (!twin_layout(call, 20, 96))
		return;
	uint64_t ratio = (uint32_t)twin_i32(call, 64);
	uint64_t channels = (uint32_t)twin_i32(call, 40);
	left_matrix(call, (uint32_t)twin_i32(call, 52), 4ull * (uint32_t)twin_i32(call, 32),
		4ull * (uint32_t)twin_i32(call, 44), ratio ? channels / ratio : 1,
		4ull * (uint32_t)twin_i32(call, 68));
}

void twin_mul_mat_vec_f(const struct sim_call *call)
{
	const char *name = call->kernel->name;
	uint32_t bytes = strstr(name, "I6__half") || strstr(name, "I13__nv_bfloat16") ? 2 : 4;

	/* Columns in pairs, stride of a row, ratio of channels, stride of a channel. */
	static const int lists[3][4] = {{80, 96, 108, 120}, {64, 80, 92, 104}, {64, 72, 84, 96}};
	const int *at = lists[twin_is(call, 18, 132) ? 2 : twin_is(call, 19, 144) ? 1 : 0];

	if (at == lists[0] && !twin_layout(call, 19, 160))
		return;
	uint64_t ratio = twin_divisor(call, at[2]);
	left_matrix(call, call->grid[0], 2ull * bytes * (uint32_t)twin_i32(call, at[0]),
		(uint64_t)bytes * (uint32_t)twin_i32(call, at[1]),
		ratio ? call->grid[1] / ratio : 1,
		(uint64_t)bytes * (uint32_t)twin_i32(call, at[3]));
}
