/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vectors.h - parameter blocks as a launch would carry them, written down one parameter at a time,
 * and the names of the kernels that take them (CUDA toolkit mangling).
 */
#ifndef KV_TESTS_RULES_VECTORS_H
#define KV_TESTS_RULES_VECTORS_H

#include "hooks/rules/rules.h"
#include "hooks/rules/shadow.h"

struct vector {
	uint8_t block[512];
	uint32_t size, n;
	uint32_t offsets[64], sizes[64];
	uint32_t grid[3], threads[3];
};

/* One parameter of `size` bytes, aligned to `align`, with the first 8 bytes of value. */
void vector_put(struct vector *v, uint32_t size, uint32_t align, uint64_t value);
void vector_longs(struct vector *v, uint32_t n, const int64_t *values);
void vector_ints(struct vector *v, uint32_t n, const int32_t *values);
/* A divisor prepared for multiplication, as ggml passes them: only the third word is the number. */
void vector_uint3(struct vector *v, uint32_t divisor);

/* The llama profile as compiled in; aborts the test if it is refused. */
struct kv_ruleset *profile_llama(void);
/* The bound rule, or aborts the test. Checked against the vector's sizes. */
struct kv_rule *rule_for(const struct kv_ruleset *set, const char *mangled, const struct vector *v);
int reach(const struct kv_rule *rule, const struct vector *v, struct kv_shadows *shadows,
	struct kv_reach *ret_reach);

/* A table of index shadows of an ordinary size. */
struct kv_shadows *shadows_new(void);

/* ---- families, with numbers as recorded from a real engine (8 heads of 128, f16, 2048 bytes a
 * row) ---- */

#define NAME_SET_ROWS "_Z10k_set_rowsIfl6__halfEvPKT_PKT0_PT1_llllllllllllll5uint3S9_S9_S9_S9_"
#define NAME_SET_ROWS_COUNTS "_Z10k_set_rowsIf6__halfEvPKT_PKlPT0_lllllllllllllllll"
#define NAME_SET_ROWS_QUANT \
	"_Z16k_set_rows_quantIl10block_q8_0Li32EXadL_ZL23quantize_f32_q8_0_blockPKfPS0_EEEvS2_" \
	"PKT_" \
	"PT0_llllllllllllll5uint3S9_S9_S9_S9_"
#define NAME_ROPE \
	"_Z9rope_normILb1ELb0Ef6__halfEvPKT1_PT2_iiiiiiiiiiiPKifff14rope_corr_dimsfPKfPKlib"
#define NAME_ROPE_SHIFT \
	"_Z9rope_neoxILb1ELb0E6__halfS0_EvPKT1_PT2_iiiiiiiiiiiPKifff14rope_corr_dimsfPKfPKlib"
#define NAME_NORM_ROPE \
	"_Z21rms_norm_mul_rope_f32ILi256ELb0E6__halfEvPKfPT1_illllllfS2_lll5uint3S5_S5_S5_iPKifff" \
	"14rope_corr_dimsfS2_PKlib"
#define NAME_FLASH_VEC \
	"_Z18flash_attn_ext_vecILi128ELi1EL9ggml_type1ELS0_1ELb0EEvPKcS2_S2_S2_S2_" \
	"PKiPfP6float2ffffjfi" \
	"5uint3iiiiiiiiiiiliiliiiiil"
#define NAME_FLASH_F16 \
	"_Z18flash_attn_ext_f16ILi128ELi128ELi16ELi4ELb0ELb0ELb0EEvPKcS1_S1_S1_S1_" \
	"PKiPfP6float2ffffjfi" \
	"5uint3iiiiiiiiiiiliiliiiiil"
#define NAME_FLASH_TILE \
	"_Z15flash_attn_tileILi128ELi128ELi16ELi1ELb0EEvPKcS1_S1_S1_S1_" \
	"PKiPfP6float2ffffjfi5uint3iiiiiiii" \
	"iiiliiliiiiil"
#define NAME_DEQUANTIZE_Q8 "_Z25dequantize_block_q8_0_f16ILb0EEvPKvP6__halfl"
#define NAME_DEQUANTIZE \
	"_Z16dequantize_blockILi32ELi2EXadL_ZL15dequantize_q5_0PKvliR6float2EE13__nv_" \
	"bfloat16EvS1_PT2_lll" \
	"5uint3lll"
#define NAME_CONVERT_CONT "_Z23convert_unary_cont_vec4I6__halffEvPKvPT0_l"
#define NAME_MUL_MAT_F "_Z9mul_mat_fI7__half2Li32ELi1ELi1ELb0EEvPKT_PKfPKiPfiiiiiiiiiiiiiiii"
#define NAME_MUL_MAT_VEC_F \
	"_Z13mul_mat_vec_fI6__halfS0_Li1ELi128ELb0ELb0EEvPKT_PKfPKi31ggml_cuda_mm_fusion_args_" \
	"devicePfi" \
	"5uint3iiiSA_iiiSA_iiii"
#define NAME_CPY_F32_Q "_Z9cpy_f32_qIXadL_ZL17cpy_blck_f32_q8_0PKcPcEELi32EEvS1_S2_lllllllllllllll"
#define NAME_CPY_SCALAR \
	"_Z10cpy_scalarIXadL_Z12cpy_1_scalarIf6__halfEvPKcPcEEEvS3_S4_lllllllllllllll"
#define NAME_BATCHED_PTRS "_Z22k_compute_batched_ptrsPKvS0_PcPS0_PPvlllmmmmmmll"

#define K_PLANE 0x7f0000000000ull
#define PLANE (1ull << 28) /* 131072 rows of 2048 bytes */
#define V_PLANE (K_PLANE + PLANE)
#define SCRATCH 0x7e0000000000ull
#define INDEX (SCRATCH + 0x80800)
#define MIB (1ull << 20)

/* tokens rows of 1024 halves at index positions. */
void vector_set_rows(struct vector *v, uint64_t dst, uint64_t index, int64_t tokens);
void vector_set_rows_quant(struct vector *v, uint64_t dst, uint64_t index, int64_t tokens);
void vector_rope(struct vector *v, uint64_t src, uint64_t dst, uint64_t index, int32_t tokens,
	int32_t stride);
void vector_norm_rope(struct vector *v, uint64_t dst, uint64_t index, uint32_t tokens);
void vector_flash(struct vector *v, uint64_t k, uint64_t vv, int32_t n_kv, int32_t streams);

#endif
