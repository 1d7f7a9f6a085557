/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_elf.c - kernels, parameter layouts and globals out of an ELF cubin.
 *
 * A kernel is a function symbol with the CUDA entry bit in st_other. Its parameters stand in the
 * section .nv.info.<kernel>, a list of attributes: {format, attribute, value or length} and, for
 * the sized format, a payload. Register counts stand in the section .nv.info, by symbol index.
 * Every offset is checked.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image_parts.h"

#define STO_CUDA_ENTRY 0x10
#define STT_CUDA_OBJECT 13 /* globals of relocatable cubins */
#define INFO_SIZED 4       /* the attribute has a payload */
#define INFO_PARAM 0x17
#define INFO_PARAM_BYTES 0x19
#define INFO_REGISTERS 0x2f
#define INFO_PREFIX ".nv.info."

struct cubin {
	const uint8_t *data;
	size_t size;
	const Elf64_Shdr *sections;
	uint32_t n_sections;
	const char *names; /* section names, NUL-ended within names_size */
	size_t names_size;
};

static bool header_is_ours(const Elf64_Ehdr *h)
{
	return !memcmp(h->e_ident, ELFMAG, SELFMAG) && h->e_ident[EI_CLASS] == ELFCLASS64 &&
	       h->e_ident[EI_DATA] == ELFDATA2LSB && h->e_shentsize == sizeof(Elf64_Shdr);
}

size_t image_elf_span(const uint8_t *data)
{
	Elf64_Ehdr h;

	if (memcmp(data, ELFMAG, SELFMAG))
		return 0;
	memcpy(&h, data, sizeof(h));
	if (!header_is_ours(&h))
		return 0;
	size_t span = h.e_shoff + (size_t)h.e_shnum * sizeof(Elf64_Shdr);
	size_t programs = h.e_phoff + (size_t)h.e_phnum * h.e_phentsize;
	if (span < programs)
		span = programs;
	for (uint32_t i = 0; i < h.e_shnum; i++) {
		Elf64_Shdr s;
		memcpy(&s, data + h.e_shoff + i * sizeof(s), sizeof(s));
		if (s.sh_type != SHT_NOBITS && span < s.sh_offset + s.sh_size)
			span = s.sh_offset + s.sh_size;
	}
	return span;
}

/* The bytes of a section; NULL when it has none or leaves the file. */
static const uint8_t *section_bytes(const struct cubin *c, uint32_t index, size_t *ret_size)
{
	const Elf64_Shdr *s = &c->sections[index];

	if (s->sh_type == SHT_NOBITS || s->sh_offset > c->size ||
		s->sh_size > c->size - s->sh_offset)
		return NULL;
	*ret_size = s->sh_size;
	return c->data + s->sh_offset;
}

static const char *section_name(const struct cubin *c, uint32_t index)
{
	uint32_t at = c->sections[index].sh_name;

	return at < c->names_size ? c->names + at : "";
}

static int cubin_open(struct cubin *c, const uint8_t *data, size_t size)
{
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)data;

	if (size < sizeof(*h) || !header_is_ours(h))
		return -EINVAL;
	if (h->e_shoff % 8 || h->e_shoff > size ||
		h->e_shnum > (size - h->e_shoff) / sizeof(Elf64_Shdr) ||
		h->e_shstrndx >= h->e_shnum)
		return -EINVAL;
	c->data = data;
	c->size = size;
	c->sections = (const Elf64_Shdr *)(data + h->e_shoff);
	c->n_sections = h->e_shnum;
	c->names = (const char *)section_bytes(c, h->e_shstrndx, &c->names_size);
	if (!c->names || !c->names_size || c->names[c->names_size - 1])
		return -EINVAL;
	return 0;
}

static bool symbol_is_global(const struct cubin *c, const Elf64_Sym *s)
{
	int type = ELF64_ST_TYPE(s->st_info);

	if ((type != STT_OBJECT && type != STT_CUDA_OBJECT) || !s->st_size ||
		s->st_shndx == SHN_UNDEF || s->st_shndx >= c->n_sections)
		return false;
	return strncmp(section_name(c, s->st_shndx), ".nv.shared", 10) != 0;
}

struct symtab {
	const Elf64_Sym *symbols;
	uint32_t n;
	const char *names;
	size_t names_size;
};

/* The cubin's symbol table; -EINVAL when it has none that can be read. */
static int symtab_find(const struct cubin *c, struct symtab *ret)
{
	for (uint32_t i = 0; i < c->n_sections; i++) {
		size_t size;
		const Elf64_Shdr *s = &c->sections[i];

		if (s->sh_type != SHT_SYMTAB)
			continue;
		const uint8_t *bytes = section_bytes(c, i, &size);
		if (!bytes || (uintptr_t)bytes % 8 || s->sh_link >= c->n_sections)
			return -EINVAL;
		ret->symbols = (const Elf64_Sym *)bytes;
		ret->n = size / sizeof(Elf64_Sym);
		ret->names = (const char *)section_bytes(c, s->sh_link, &ret->names_size);
		if (!ret->names || !ret->names_size || ret->names[ret->names_size - 1])
			return -EINVAL;
		return 0;
	}
	return -EINVAL;
}

static int read_symbols(struct image_builder *b, const struct cubin *c, const struct symtab *t)
{
	for (uint32_t i = 0; i < t->n; i++) {
		const Elf64_Sym *s = &t->symbols[i];

		if (s->st_name >= t->names_size)
			continue;
		const char *name = t->names + s->st_name;
		if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && (s->st_other & STO_CUDA_ENTRY) &&
			s->st_shndx != SHN_UNDEF) {
			if (!image_add_kernel(b, name, strlen(name)))
				return -ENOMEM;
		} else if (symbol_is_global(c, s)) {
			int ret = image_add_global(b, name, strlen(name), s->st_size);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* One attribute of an .nv.info list. `value` is the short value or, for sized ones, the payload's
 * length. */
struct attribute {
	uint8_t format, id;
	uint16_t value;
	const uint8_t *payload;
};

static bool attribute_next(const uint8_t **at, const uint8_t *end, struct attribute *ret)
{
	if (end - *at < 4)
		return false;
	ret->format = (*at)[0];
	ret->id = (*at)[1];
	memcpy(&ret->value, *at + 2, 2);
	ret->payload = *at + 4;
	*at += 4;
	if (ret->format != INFO_SIZED)
		return true;
	if (end - *at < ret->value)
		return false;
	*at += ret->value;
	return true;
}

static int read_params(struct sim_kernel *kernel, const uint8_t *at, size_t size)
{
	const uint8_t *end = at + size;
	struct attribute a;
	int ret = 0;

	while (!ret && attribute_next(&at, end, &a)) {
		if (a.id == INFO_PARAM && a.format == INFO_SIZED && a.value >= 12) {
			uint16_t place[2]; /* ordinal, offset */
			uint32_t word;     /* size in the upper 14 bits */
			memcpy(place, a.payload + 4, sizeof(place));
			memcpy(&word, a.payload + 8, sizeof(word));
			ret = image_set_param(kernel, place[0], place[1], word >> 18);
		} else if (a.id == INFO_PARAM_BYTES) {
			kernel->params_size = a.value;
		}
	}
	return ret;
}

static int by_name(const void *a, const void *b)
{
	const struct sim_kernel *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void read_registers(struct sim_kernel *kernels, uint32_t n, const struct symtab *t,
	const uint8_t *at, size_t size)
{
	const uint8_t *end = at + size;
	struct attribute a;

	while (attribute_next(&at, end, &a)) {
		uint32_t pair[2]; /* symbol index, registers */

		if (a.id != INFO_REGISTERS || a.format != INFO_SIZED || a.value < sizeof(pair))
			continue;
		memcpy(pair, a.payload, sizeof(pair));
		if (pair[0] >= t->n || t->symbols[pair[0]].st_name >= t->names_size)
			continue;
		struct sim_kernel key = {.name = t->names + t->symbols[pair[0]].st_name};
		struct sim_kernel *k = n ? bsearch(&key, kernels, n, sizeof(key), by_name) : NULL;
		if (k)
			k->registers = pair[1];
	}
}

/* Reads a cubin that lies at an address divisible by eight. */
static int read_aligned(struct image_builder *b, const uint8_t *data, size_t size)
{
	struct cubin c;
	struct symtab t;
	uint32_t first = b->image->n_kernels;

	int ret = cubin_open(&c, data, size);
	if (!ret)
		ret = symtab_find(&c, &t);
	if (!ret)
		ret = read_symbols(b, &c, &t);
	if (ret)
		return ret;
	/* The kernels of this cubin only: those of other parts of the image have lists of their
	 * own. */
	struct sim_kernel *kernels = b->image->kernels + first;
	uint32_t n = b->image->n_kernels - first;
	if (n)
		qsort(kernels, n, sizeof(*kernels), by_name);
	for (uint32_t i = 0; i < c.n_sections && !ret; i++) {
		const char *name = section_name(&c, i);
		size_t bytes_size;

		if (strncmp(name, INFO_PREFIX, strlen(INFO_PREFIX) - 1))
			continue;
		const uint8_t *bytes = section_bytes(&c, i, &bytes_size);
		if (!bytes)
			return -EINVAL;
		if (!strcmp(name, ".nv.info")) {
			read_registers(kernels, n, &t, bytes, bytes_size);
			continue;
		}
		struct sim_kernel key = {.name = name + strlen(INFO_PREFIX)};
		struct sim_kernel *k = n ? bsearch(&key, kernels, n, sizeof(key), by_name) : NULL;
		if (k)
			ret = read_params(k, bytes, bytes_size);
	}
	return ret;
}

int image_read_elf(struct image_builder *b, const uint8_t *data, size_t size)
{
	if (!((uintptr_t)data % 8))
		return read_aligned(b, data, size);
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, size);
	int ret = read_aligned(b, copy, size);
	free(copy);
	return ret;
}
