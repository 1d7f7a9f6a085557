/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_ggml.h - what the twins of ggml's kernels share.
 *
 * The parameter tables are those of the published builds 3.1.1, 3.9.0, 3.14.5, 3.18.1 and 3.22.1,
 * for CUDA 12 and 13, equal in their cubins and their PTX. A kernel of another build whose
 * parameters differ in number or size is reported, not guessed at.
 */
#ifndef SIM_TWINS_GGML_H
#define SIM_TWINS_GGML_H

#include <string.h>

#include "twins.h"

#define TWIN_CHUNK 65536       /* bytes that one access moves at most */
#define TWIN_PAGE (2ull << 20) /* all pages are multiples */

static inline int64_t twin_i64(const struct sim_call *call, int at)
{
	int64_t v;

	memcpy(&v, call->params + at, sizeof(v));
	return v;
}

static inline int32_t twin_i32(const struct sim_call *call, int at)
{
	int32_t v;

	memcpy(&v, call->params + at, sizeof(v));
	return v;
}

/* The divisor of ggml's "fast division" triple (uint3). */
static inline uint32_t twin_divisor(const struct sim_call *call, int at)
{
	return (uint32_t)twin_i32(call, at + 8);
}

/* The layout that a twin was written for; reports a violation and says false for any other. */
bool twin_layout(const struct sim_call *call, uint32_t n_params, uint32_t params_size);

/* The same without a report. */
bool twin_is(const struct sim_call *call, uint32_t n_params, uint32_t params_size);

/* Fills bytes that no other write of the process makes: from the launch, the row and the place in
 * the row. */
void twin_pattern(const struct sim_call *call, uint64_t row, void *buffer, size_t size);

/* Bytes of a block of 32 values, by the type's name inside a mangled kernel name ("q8_0"); 0: not
 * there. */
uint32_t twin_block_bytes(const char *kernel_name);

/* Reads and compares a range in chunks and drops what was read. */
bool twin_read(const struct sim_call *call, uint64_t addr, uint64_t size);

/*
 * Reads a range and writes it again where it is not zero, with new bytes; where it is zero it stays
 * so, as a rotation or a scaling of zeros does. A shift goes over all of a cache, also over rows
 * that nobody will ever attend to: pieces that read as zero are compared only with
 * SIMGPU_DEAD_STRICT=1. They are not written, so that a row that was lost is found out by the next
 * token that attends to it. piece: bytes, at least 1, of which each row is a whole number: one with
 * the end of a row and the begin of the next would tell a lost row from its neighbour. For the same
 * reason pieces end at pages, of which one can be gone and the one before it not.
 */
bool twin_transform(const struct sim_call *call, uint64_t addr, uint64_t size, uint32_t piece);

/* The template arguments behind the name of an instance. */
const char *twin_template(const struct sim_call *call);
/* Bytes of the type at *at, which is moved behind it; 0: it is none that is known. */
uint32_t twin_type_bytes(const char **at);

/* twins_ggml.c: writers of rows */
void twin_set_rows(const struct sim_call *call);
void twin_set_rows_quant(const struct sim_call *call);

/* twins_rope.c */
void twin_rope(const struct sim_call *call);
void twin_norm_rope(const struct sim_call *call);

/* twins_copy.c: copies between types and layouts, the writers of builds from before July 2025 */
void twin_copy_scalar(const struct sim_call *call);
void twin_copy_contiguous(const struct sim_call *call);
void twin_copy_q_f32(const struct sim_call *call);
void twin_copy_f32_q(const struct sim_call *call);

/*
 * Reads `blocks` blocks and writes 32 values of `value` bytes for each: new bytes, zeros for zeros.
 * Not all that is converted is ever attended to: the source is compared only with
 * SIMGPU_DEAD_STRICT=1. What was lost in it is lost in the target, where attention finds it.
 */
void twin_convert(const struct sim_call *call, uint64_t from, uint64_t to, uint64_t blocks,
	uint32_t block, uint32_t value);

/* twins_read.c: readers */
void twin_flash_attention(const struct sim_call *call);
void twin_dequantize_q8_0(const struct sim_call *call);
void twin_dequantize_q4_0(const struct sim_call *call);
void twin_dequantize_rows(const struct sim_call *call);
void twin_mul_mat_f(const struct sim_call *call);
void twin_mul_mat_vec_f(const struct sim_call *call);

#endif
