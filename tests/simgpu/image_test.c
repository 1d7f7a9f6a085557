/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_test.c - the image reader of the software GPU, on images made here byte by byte.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <lz4.h>
#include <stdarg.h>
#include <string.h>
#include <zstd.h>

#include "sim.h"

/* The twins report through it; no image test makes one run. */
void sim_report(enum sim_report kind, const char *format, ...)
{
	cr_assert(false, "unexpected report of kind %d", (int)kind);
}

static const char ptx[] = "// made by hand\n"
			  ".version 7.8\n.target sm_80\n.address_size 64\n"
			  ".extern .shared .align 16 .b8 scratch[];\n"
			  ".extern .global .u32 elsewhere;\n"
			  ".visible .global .align 8 .u64 counter;\n"
			  ".const .align 4 .f32 table[4][3];\n"
			  ".func (.param .b32 r) helper(.param .b32 a) { /* } */ ret; }\n"
			  ".visible .entry zeta(\n"
			  "  .param .u64 .ptr .global .align 1 zeta_0,\n"
			  "  .param .u8 zeta_1,\n"
			  "  .param .align 8 .b8 zeta_2[12], // a comment, with a comma\n"
			  "  .param .u32 zeta_3\n)\n"
			  ".maxntid 256, 1, 1\n{ { ret; } // }\n}\n"
			  ".weak .entry alpha() { ret; }\n";

struct fatbin {
	uint8_t bytes[16384];
	size_t size;
};

static void fatbin_start(struct fatbin *f)
{
	memset(f, 0, sizeof(*f));
	uint32_t magic = 0xba55ed50;
	uint16_t version_and_header[2] = {1, 16};
	memcpy(f->bytes, &magic, 4);
	memcpy(f->bytes + 4, version_and_header, 4);
	f->size = 16;
}

static void fatbin_add(struct fatbin *f, uint16_t kind, uint32_t sm, uint64_t flags,
	const void *payload, size_t stored, uint64_t raw)
{
	uint8_t *h = f->bytes + f->size;
	uint32_t header_size = 64, packed = flags ? (uint32_t)stored : 0;
	uint64_t padded = (stored + 7) & ~(uint64_t)7;

	cr_assert_lt(f->size + 64 + padded, sizeof(f->bytes));
	memcpy(h, &kind, 2);
	memcpy(h + 4, &header_size, 4);
	memcpy(h + 8, &padded, 8);
	memcpy(h + 16, &packed, 4);
	memcpy(h + 28, &sm, 4);
	memcpy(h + 40, &flags, 8);
	memcpy(h + 56, &raw, 8);
	memcpy(h + 64, payload, stored);
	f->size += 64 + padded;
	uint64_t entries = f->size - 16;
	memcpy(f->bytes + 8, &entries, 8);
}

static struct sim_image *parse(const void *data, int cc)
{
	struct sim_image *image = NULL;

	cr_assert_eq(sim_image_parse(data, cc, &image), CUDA_SUCCESS);
	return image;
}

static void expect_param(const struct sim_kernel *k, uint32_t i, uint32_t offset, uint32_t size)
{
	cr_assert_lt(i, k->n_params);
	cr_expect_eq(k->params[i].offset, offset, "parameter %u at %u", i, k->params[i].offset);
	cr_expect_eq(k->params[i].size, size, "parameter %u of %u", i, k->params[i].size);
}

static void expect_ptx_content(const struct sim_image *image)
{
	cr_assert_eq(image->n_kernels, 2);
	const struct sim_kernel *zeta = sim_image_kernel(image, "zeta");
	cr_assert_not_null(zeta);
	cr_assert_eq(zeta->n_params, 4);
	expect_param(zeta, 0, 0, 8);
	expect_param(zeta, 1, 8, 1);
	expect_param(zeta, 2, 16, 12);
	expect_param(zeta, 3, 28, 4);
	cr_expect_eq(zeta->params_size, 32);
	const struct sim_kernel *alpha = sim_image_kernel(image, "alpha");
	cr_assert_not_null(alpha);
	cr_expect_eq(alpha->n_params, 0);
	cr_assert_eq(image->n_globals, 2);
	cr_expect_str_eq(image->globals[0].name, "counter");
	cr_expect_eq(image->globals[0].size, 8);
	cr_expect_str_eq(image->globals[1].name, "table");
	cr_expect_eq(image->globals[1].size, 48);
	cr_expect_null(sim_image_kernel(image, "helper"));
}

Test(image, ptx_text_gives_kernels_parameters_and_globals)
{
	struct sim_image *image = parse(ptx, 90);

	expect_ptx_content(image);
	cr_expect(image->was_ptx);
	cr_expect_eq(image->sm, 80);
	sim_image_free(image);
}

Test(image, lz4_and_zstd_entries_are_unpacked)
{
	struct fatbin f;
	char packed[4096];

	int n = LZ4_compress_default(ptx, packed, sizeof(ptx), sizeof(packed));
	cr_assert_gt(n, 0);
	fatbin_start(&f);
	fatbin_add(&f, 1, 80, 0x2000, packed, (size_t)n, sizeof(ptx));
	struct sim_image *image = parse(f.bytes, 90);
	expect_ptx_content(image);
	sim_image_free(image);

	size_t z = ZSTD_compress(packed, sizeof(packed), ptx, sizeof(ptx), 1);
	cr_assert(!ZSTD_isError(z));
	fatbin_start(&f);
	fatbin_add(&f, 1, 80, 0x8000, packed, z, sizeof(ptx));
	image = parse(f.bytes, 90);
	expect_ptx_content(image);
	sim_image_free(image);
}

Test(image, a_broken_compressed_entry_is_an_invalid_image)
{
	struct fatbin f;
	char noise[64] = {0x12, 0x34};
	struct sim_image *image = NULL;

	fatbin_start(&f);
	fatbin_add(&f, 1, 80, 0x8000, noise, sizeof(noise), 1000);
	cr_expect_eq(sim_image_parse(f.bytes, 90, &image), CUDA_ERROR_INVALID_IMAGE);
	fatbin_start(&f);
	fatbin_add(&f, 1, 80, 0x2000, noise, sizeof(noise), 1000);
	cr_expect_eq(sim_image_parse(f.bytes, 90, &image), CUDA_ERROR_INVALID_IMAGE);
	cr_expect_eq(sim_image_parse("no image at all", 90, &image), CUDA_ERROR_INVALID_IMAGE);
	cr_expect_null(image);
}

/* A cubin with one kernel "kern" of two parameters and one global "state". */
struct cubin {
	Elf64_Ehdr head;
	char names[64];
	Elf64_Sym symbols[3];
	uint8_t params[36];
	uint8_t registers[12];
	Elf64_Shdr sections[6];
};

static void attribute(uint8_t *at, uint8_t id, uint16_t length, const void *payload)
{
	at[0] = 4;
	at[1] = id;
	memcpy(at + 2, &length, 2);
	memcpy(at + 4, payload, length);
}

static void cubin_make(struct cubin *c)
{
	static const char names[] = "\0kern\0state\0.nv.info.kern\0.nv.info\0.nv.shared.x";

	memset(c, 0, sizeof(*c));
	memcpy(c->head.e_ident, ELFMAG, SELFMAG);
	c->head.e_ident[EI_CLASS] = ELFCLASS64;
	c->head.e_ident[EI_DATA] = ELFDATA2LSB;
	c->head.e_shoff = offsetof(struct cubin, sections);
	c->head.e_shentsize = sizeof(Elf64_Shdr);
	c->head.e_shnum = 6;
	c->head.e_shstrndx = 1;
	memcpy(c->names, names, sizeof(names));
	c->symbols[1] = (Elf64_Sym){.st_name = 1,
		.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
		.st_other = 0x10,
		.st_shndx = 5};
	c->symbols[2] = (Elf64_Sym){.st_name = 6,
		.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
		.st_size = 24,
		.st_shndx = 5};
	uint32_t second[3] = {0, 1 | 8u << 16, 12u << 18}, first[3] = {0, 0, 8u << 18};
	attribute(c->params, 0x17, 12, second);
	attribute(c->params + 16, 0x17, 12, first);
	memcpy(c->params + 32, (uint8_t[]){3, 0x19, 20, 0}, 4);
	attribute(c->registers, 0x2f, 8, (uint32_t[]){1, 42});
	c->sections[1] = (Elf64_Shdr){.sh_type = SHT_STRTAB,
		.sh_offset = offsetof(struct cubin, names),
		.sh_size = sizeof(c->names)};
	c->sections[2] = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
		.sh_link = 1,
		.sh_offset = offsetof(struct cubin, symbols),
		.sh_size = sizeof(c->symbols)};
	c->sections[3] = (Elf64_Shdr){.sh_name = 12,
		.sh_type = SHT_PROGBITS,
		.sh_offset = offsetof(struct cubin, params),
		.sh_size = sizeof(c->params)};
	c->sections[4] = (Elf64_Shdr){.sh_name = 26,
		.sh_type = SHT_PROGBITS,
		.sh_offset = offsetof(struct cubin, registers),
		.sh_size = sizeof(c->registers)};
	c->sections[5] = (Elf64_Shdr){.sh_type = SHT_NOBITS};
}

static void expect_cubin_content(const struct sim_image *image)
{
	const struct sim_kernel *k = sim_image_kernel(image, "kern");

	cr_assert_not_null(k);
	cr_assert_eq(k->n_params, 2);
	expect_param(k, 0, 0, 8);
	expect_param(k, 1, 8, 12);
	cr_expect_eq(k->params_size, 20);
	cr_expect_eq(k->registers, 42);
	cr_assert_eq(image->n_globals, 1);
	cr_expect_str_eq(image->globals[0].name, "state");
	cr_expect_eq(image->globals[0].size, 24);
}

Test(image, a_cubin_gives_parameters_registers_and_globals)
{
	struct cubin c;

	cubin_make(&c);
	struct sim_image *image = parse(&c, 89);
	expect_cubin_content(image);
	cr_expect(!image->was_ptx);
	sim_image_free(image);

	uint8_t odd[sizeof(c) + 1];
	memcpy(odd + 1, &c, sizeof(c));
	image = parse(odd + 1, 89);
	expect_cubin_content(image);
	sim_image_free(image);
}

Test(image, a_cubin_that_points_out_of_itself_is_invalid)
{
	struct cubin c;
	struct fatbin f;
	struct sim_image *image = NULL;

	for (int broken = 0; broken < 4; broken++) {
		cubin_make(&c);
		if (broken == 0)
			c.head.e_shoff = 1 << 20;
		else if (broken == 1)
			c.sections[1].sh_size = 1 << 20;
		else if (broken == 2)
			c.sections[2].sh_link = 77;
		else
			c.sections[3].sh_offset = 1 << 20;
		fatbin_start(&f);
		fatbin_add(&f, 2, 89, 0, &c, sizeof(c), 0);
		cr_expect_eq(sim_image_parse(f.bytes, 89, &image), CUDA_ERROR_INVALID_IMAGE,
			"case %d", broken);
	}
}

Test(image, the_cubin_of_the_same_major_wins_else_the_newest_ptx)
{
	struct cubin c;
	struct fatbin f;
	struct sim_image *image;

	cubin_make(&c);
	fatbin_start(&f);
	fatbin_add(&f, 1, 75, 0, ptx, sizeof(ptx), 0);
	fatbin_add(&f, 2, 80, 0, &c, sizeof(c), 0);
	fatbin_add(&f, 2, 86, 0, &c, sizeof(c), 0);
	fatbin_add(&f, 1, 90, 0, ptx, sizeof(ptx), 0);
	static const struct {
		int cc, sm;
		bool ptx;
	} cases[] = {
		{75, 75, true}, {80, 80, false}, {89, 86, false}, {90, 90, true}, {120, 90, true}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		image = parse(f.bytes, cases[i].cc);
		cr_expect_eq(image->sm, cases[i].sm, "cc %d chose %d", cases[i].cc, image->sm);
		cr_expect_eq(image->was_ptx, cases[i].ptx);
		sim_image_free(image);
	}
	image = NULL;
	cr_expect_eq(sim_image_parse(f.bytes, 70, &image), CUDA_ERROR_NO_BINARY_FOR_GPU);
	cr_expect_null(image);
}

Test(image, a_wrapper_of_version_two_brings_all_its_parts)
{
	struct cubin c;
	struct fatbin one, two;
	struct {
		uint32_t magic, version;
		const void *data, *more;
	} wrapper;

	cubin_make(&c);
	fatbin_start(&one);
	fatbin_add(&one, 2, 89, 0, &c, sizeof(c), 0);
	fatbin_start(&two);
	fatbin_add(&two, 1, 80, 0, ptx, sizeof(ptx), 0);
	const void *more[] = {one.bytes, two.bytes, NULL};
	wrapper.magic = 0x466243b1;
	wrapper.version = 2;
	wrapper.data = one.bytes;
	wrapper.more = more;
	struct sim_image *image = parse(&wrapper, 89);
	cr_expect_eq(image->n_kernels, 3);
	cr_expect_not_null(sim_image_kernel(image, "kern"));
	cr_expect_not_null(sim_image_kernel(image, "zeta"));
	sim_image_free(image);

	wrapper.version = 1;
	wrapper.data = two.bytes;
	image = parse(&wrapper, 89);
	expect_ptx_content(image);
	sim_image_free(image);
}
