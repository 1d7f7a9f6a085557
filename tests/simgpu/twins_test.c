/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_test.c - the twins of ggml's cache kernels on a memory made here: which bytes they touch.
 *
 * The parameter blocks are those that the published backend passes for small tensors.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "twins.h"

#define BASE 0x7f0000000000u
#define MEMORY_BYTES 0x100000u

enum { UNTOUCHED = 0, READ = 1, READ_DEAD = 2, WRITTEN = 4 };

static uint8_t memory[MEMORY_BYTES], touched[MEMORY_BYTES];
static unsigned n_violations;

void sim_report(enum sim_report kind, const char *format, ...)
{
	n_violations += kind == SIM_VIOLATION;
}

static bool touch(uint64_t addr, size_t size, int how)
{
	cr_assert(addr >= BASE && addr + size <= BASE + MEMORY_BYTES, "access outside: %lx",
		(unsigned long)addr);
	for (size_t i = 0; i < size; i++)
		touched[addr - BASE + i] |= how;
	return true;
}

bool sim_read(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	touch(addr, size, READ);
	memcpy(buffer, memory + (addr - BASE), size);
	return true;
}

bool sim_read_dead(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	touch(addr, size, READ_DEAD);
	memcpy(buffer, memory + (addr - BASE), size);
	return true;
}

bool sim_read_ideal(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	memcpy(buffer, memory + (addr - BASE), size);
	return true;
}

bool sim_write_ideal(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size)
{
	return true;
}

bool sim_write(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size)
{
	touch(addr, size, WRITTEN);
	memcpy(memory + (addr - BASE), buffer, size);
	return true;
}

bool sim_probe(const struct sim_call *call, uint64_t addr, size_t size, bool write)
{
	return touch(addr, size, UNTOUCHED);
}

/* Every byte of [offset, offset + size) was touched like this. */
static void expect_touched(size_t offset, size_t size, int how)
{
	for (size_t i = offset; i < offset + size; i++)
		cr_assert_eq(touched[i], how, "byte 0x%zx: %d, should be %d", i, touched[i], how);
}

struct block {
	uint8_t bytes[256];
};

static void put64(struct block *b, int at, int64_t v)
{
	memcpy(b->bytes + at, &v, 8);
}

static void put32(struct block *b, int at, int32_t v)
{
	memcpy(b->bytes + at, &v, 4);
}

/* ggml's fast division triple: only the divisor, the third word, is looked at. */
static void put_divisor(struct block *b, int at, int32_t v)
{
	put32(b, at + 8, v);
}

static void run(
	const char *name, uint32_t n_params, uint32_t size, const struct block *b, uint64_t seq)
{
	struct sim_kernel kernel = {.name = name, .n_params = n_params, .params_size = size};
	struct sim_call call = {.kernel = &kernel,
		.grid = {8, 2, 1},
		.block = {32, 1, 1},
		.params = b->bytes,
		.seq = seq};
	sim_twin_fn twin = sim_twin_find(name);

	cr_assert_not_null(twin, "%s has no twin", name);
	twin(&call);
}

#define INDICES 0x1000u
#define TARGET 0x10000u
#define SOURCE 0x2000u
static const char set_rows[] =
	"_Z10k_set_rowsIfl6__halfEvPKT_PKT0_PT1_llllllllllllll5uint3S9_S9_S9_S9_";

static void set_rows_block(struct block *b, int64_t n_rows, int64_t row_elements, int64_t stride)
{
	memset(b, 0, sizeof(*b));
	put64(b, 0, BASE + SOURCE);
	put64(b, 8, BASE + INDICES);
	put64(b, 16, BASE + TARGET);
	put64(b, 24, n_rows * row_elements);
	put64(b, 32, n_rows);
	put64(b, 64, row_elements);
	put64(b, 88, 1);
	put64(b, 112, stride);
	put_divisor(b, 136, (int32_t)row_elements);
	put_divisor(b, 148, (int32_t)n_rows);
	put_divisor(b, 160, 1);
	put_divisor(b, 172, 1);
	put_divisor(b, 184, 1);
}

static void put_indices(const int64_t *indices, size_t n)
{
	memcpy(memory + INDICES, indices, n * 8);
}

Test(twins, rows_are_written_where_the_index_array_says)
{
	struct block b;

	put_indices((int64_t[]){3, 0, 100}, 3);
	set_rows_block(&b, 3, 1024, 1024);
	run(set_rows, 22, 196, &b, 1);
	cr_expect_eq(n_violations, 0);
	for (size_t row = 0; row < 110; row++)
		expect_touched(TARGET + row * 2048, 2048,
			row == 0 || row == 3 || row == 100 ? WRITTEN : UNTOUCHED);
	expect_touched(INDICES, 24, READ);
	expect_touched(INDICES + 24, 8, UNTOUCHED);
}

Test(twins, two_writes_of_the_same_row_leave_different_bytes)
{
	struct block b;
	uint8_t before[2048];

	put_indices((int64_t[]){5, 6}, 2);
	set_rows_block(&b, 2, 1024, 1024);
	run(set_rows, 22, 196, &b, 1);
	memcpy(before, memory + TARGET + 5 * 2048, sizeof(before));
	cr_expect_neq(memcmp(before, memory + TARGET + 6 * 2048, sizeof(before)), 0);
	run(set_rows, 22, 196, &b, 2);
	cr_expect_neq(memcmp(before, memory + TARGET + 5 * 2048, sizeof(before)), 0);
}

Test(twins, transposed_values_are_scattered_element_by_element)
{
	struct block b;

	put_indices((int64_t[]){7, 107, 207}, 3);
	set_rows_block(&b, 3, 1, 1);
	run(set_rows, 22, 196, &b, 1);
	for (size_t element = 0; element < 300; element++)
		expect_touched(TARGET + element * 2, 2, element % 100 == 7 ? WRITTEN : UNTOUCHED);
}

Test(twins, quantised_rows_are_as_long_as_their_blocks)
{
	struct block b;

	put_indices((int64_t[]){2, 9}, 2);
	set_rows_block(&b, 2, 1024, 1088);
	put64(&b, 24, 2 * 32);
	run("_Z16k_set_rows_quantIl10block_q8_0Li32EXadL_Z1fEEEvS3_PKT_PT0_l", 22, 196, &b, 1);
	cr_expect_eq(n_violations, 0);
	for (size_t row = 0; row < 12; row++)
		expect_touched(
			TARGET + row * 1088, 1088, row == 2 || row == 9 ? WRITTEN : UNTOUCHED);
}

static const char rope[] =
	"_Z9rope_normILb1ELb0Ef6__halfEvPKT1_PT2_iiiiiiiiiiiPKifff14rope_corr_dimsfPKfPKlib";

Test(twins, a_fused_rope_writes_whole_rows_of_heads)
{
	struct block b = {0};

	put_indices((int64_t[]){4, 11}, 2);
	put64(&b, 8, BASE + TARGET);
	put32(&b, 16, 128);
	put32(&b, 20, 8);
	put32(&b, 24, 2);
	put32(&b, 40, 128);
	put64(&b, 104, BASE + INDICES);
	put32(&b, 112, 1024);
	run(rope, 23, 117, &b, 1);
	for (size_t row = 0; row < 14; row++)
		expect_touched(
			TARGET + row * 2048, 2048, row == 4 || row == 11 ? WRITTEN : UNTOUCHED);
}

Test(twins, a_shift_rewrites_what_holds_something_and_leaves_zeros)
{
	struct block b = {0};
	uint8_t was[100];

	memset(was, 0x11, sizeof(was));
	memcpy(memory + TARGET + 70000, was, sizeof(was));
	put64(&b, 0, BASE + TARGET);
	put64(&b, 8, BASE + TARGET);
	put32(&b, 16, 128);
	put32(&b, 20, 8);
	put32(&b, 24, 64);
	put32(&b, 32, 1024);
	run("_Z9rope_normILb1ELb0E6__halfS0_EvPKT1_PT2_iiiiiiiiiiiPKifff14rope_corr_dimsfPKfPKlib",
		23, 117, &b, 1);
	/* Only what holds something is compared: dead rows may be gone. */
	expect_touched(TARGET, 69888, READ_DEAD);
	expect_touched(TARGET + 69888, 256, READ_DEAD | READ | WRITTEN);
	expect_touched(TARGET + 70144, 131072 - 70144, READ_DEAD);
	cr_expect_eq(memory[TARGET + 69887], 0);
	cr_expect(memcmp(memory + TARGET + 70000, was, sizeof(was)));
}

/* A row of 1088 bytes ends within any power of two: what its neighbour has lost is not held against
 * it. */
Test(twins, a_shift_of_quantised_rows_tells_a_lost_row_from_its_neighbour)
{
	struct block b = {0};

	memset(memory + TARGET + 5 * 1088, 0x11, 1088);
	put64(&b, 0, BASE + TARGET + 0x4000);
	put64(&b, 8, BASE + TARGET);
	put64(&b, 16, 8 * 1024);
	put64(&b, 16 + 8 * 7, 8 * 1024 * 4);
	put64(&b, 16 + 8 * 8, 128);
	put64(&b, 16 + 8 * 9, 8);
	put64(&b, 16 + 8 * 10, 8);
	put64(&b, 16 + 8 * 14, 8 * 1088);
	run("_Z9cpy_f32_qIXadL_Z17cpy_blck_f32_q8_0PKcPcEELi32EEvS1_S2_lllllllllllllll", 17, 136,
		&b, 1);
	cr_expect_eq(n_violations, 0);
	for (size_t row = 0; row < 8; row++)
		expect_touched(TARGET + row * 1088, 1088,
			row == 5 ? READ_DEAD | READ | WRITTEN : READ_DEAD);
}

static const char attention[] = "_Z18flash_attn_ext_vecILi128ELi1EL9ggml_type1ELS0_1ELb0EEvPKc";

static void attention_block(struct block *b, uint32_t n_kv, uint32_t n_streams)
{
	memset(b, 0, sizeof(*b));
	put64(b, 8, BASE + 0x20000);
	put64(b, 16, BASE + 0x60000);
	put64(b, 24, BASE + 0x4000);
	put_divisor(b, 92, 1);
	put32(b, 128, (int32_t)n_kv);
	put32(b, 132, 8);
	put32(b, 136, (int32_t)n_streams);
	put32(b, 140, 2048);
	put32(b, 144, 256);
	put64(b, 152, 0x20000);
	put32(b, 160, 2048);
	put32(b, 164, 256);
	put64(b, 168, 0x20000);
	put32(b, 184, (int32_t)n_streams);
	put32(b, 188, (int32_t)n_kv * 2);
	put64(b, 200, (int64_t)n_kv * 2);
}

Test(twins, attention_compares_the_rows_that_the_mask_lets_through)
{
	struct block b;
	uint16_t *mask = (uint16_t *)(memory + 0x4000);

	attention_block(&b, 16, 2);
	for (int i = 0; i < 32; i++)
		mask[i] = 0xfc00;
	mask[3] = mask[4] = 0; /* stream 0 */
	mask[16 + 15] = 0;     /* stream 1 */
	run(attention, 37, 208, &b, 1);
	cr_expect_eq(n_violations, 0);
	for (size_t row = 0; row < 17; row++) {
		int k0 = row == 16 ? UNTOUCHED : row == 3 || row == 4 ? READ : READ_DEAD;
		int k1 = row == 16 ? UNTOUCHED : row == 15 ? READ : READ_DEAD;
		expect_touched(0x20000 + row * 2048, 2048, k0);
		expect_touched(0x40000 + row * 2048, 2048, k1);
		expect_touched(0x60000 + row * 2048, 2048, k0);
		expect_touched(0x80000 + row * 2048, 2048, k1);
	}
}

Test(twins, an_unknown_layout_is_reported_and_nothing_is_touched)
{
	struct block b;

	put_indices((int64_t[]){3}, 1);
	set_rows_block(&b, 1, 1024, 1024);
	run(set_rows, 21, 188, &b, 1);
	run(rope, 24, 125, &b, 1);
	run(attention, 37, 216, &b, 1);
	cr_expect_eq(n_violations, 3);
	expect_touched(0, MEMORY_BYTES, UNTOUCHED);
}

Test(twins, other_kernels_have_no_twin)
{
	cr_expect_null(sim_twin_find("_Z12rms_norm_f32ILi256ELb1ELb0EEvPKfPfilll"));
	cr_expect_null(sim_twin_find("_Z10k_set_rows"));
	cr_expect_null(sim_twin_find("k_set_rows"));
	cr_expect_null(sim_twin_find(""));
}
