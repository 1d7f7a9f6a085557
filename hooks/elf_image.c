/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_image.c - reads what the loader left in memory of an object. No libelf: that reads files, and
 * this runs inside look-ups, where nothing may allocate.
 */
#include "hooks/elf_image.h"

#include <string.h>
#include <unistd.h>

/* The loader relocates the pointers of the dynamic section in place, except in objects whose
 * section is read-only (the vDSO): a value below the base is an offset. */
static const void *dynamic_pointer(const struct kv_elf_image *image, uintptr_t value)
{
	return (const void *)(value < image->base ? value + image->base : value);
}

static void read_segments(const struct dl_phdr_info *info, struct kv_elf_image *image)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	image->start = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + segment->p_vaddr;
		uintptr_t end = start + segment->p_memsz;

		if (segment->p_type == PT_LOAD) {
			image->start = start < image->start ? start : image->start;
			image->end = end > image->end ? end : image->end;
		} else if (segment->p_type == PT_DYNAMIC) {
			image->dynamic = (const void *)start;
		} else if (segment->p_type == PT_GNU_RELRO) {
			/* as the loader does it: only whole pages are protected */
			image->relro_start = start & ~(page - 1);
			image->relro_end = end & ~(page - 1);
		}
	}
}

bool kv_elf_image_read(const struct dl_phdr_info *info, struct kv_elf_image *ret_image)
{
	struct kv_elf_image image = {.name = info->dlpi_name, .base = info->dlpi_addr};
	size_t plt_bytes = 0, bytes = 0;
	bool rela = true;

	read_segments(info, &image);
	if (!image.dynamic)
		return false;
	for (const ElfW(Dyn) *entry = image.dynamic; entry->d_tag != DT_NULL; entry++) {
		const void *pointer = dynamic_pointer(&image, entry->d_un.d_ptr);

		switch (entry->d_tag) {
		case DT_SYMTAB:
			image.symbols = pointer;
			break;
		case DT_STRTAB:
			image.strings = pointer;
			break;
		case DT_GNU_HASH:
			image.gnu_hash = pointer;
			break;
		case DT_VERSYM:
			image.versions = pointer;
			break;
		case DT_JMPREL:
			image.plt_relocs = pointer;
			break;
		case DT_PLTRELSZ:
			plt_bytes = entry->d_un.d_val;
			break;
		case DT_PLTREL:
			rela = entry->d_un.d_val == DT_RELA;
			break;
		case DT_RELA:
			image.relocs = pointer;
			break;
		case DT_RELASZ:
			bytes = entry->d_un.d_val;
			break;
		}
	}
	if (!image.symbols || !image.strings)
		return false;
	if (rela && image.plt_relocs)
		image.n_plt_relocs = plt_bytes / sizeof(*image.plt_relocs);
	if (image.relocs)
		image.n_relocs = bytes / sizeof(*image.relocs);
	*ret_image = image;
	return true;
}

static uint32_t gnu_hash(const char *symbol)
{
	uint32_t hash = 5381;

	for (const unsigned char *c = (const unsigned char *)symbol; *c; c++)
		hash = hash * 33 + *c;
	return hash;
}

/* Bit 15 of a version index: not the version that a new link would take. */
static bool is_default_version(const struct kv_elf_image *image, uint32_t index)
{
	return !image->versions || !(image->versions[index] & 0x8000);
}

void *kv_elf_image_symbol(const struct kv_elf_image *image, const char *symbol)
{
	const uint32_t *table = image->gnu_hash;
	uint32_t hash = gnu_hash(symbol);

	if (!table || table[0] == 0)
		return NULL;
	/* header: number of buckets, index of the first hashed symbol, words in the Bloom filter,
	 * shift */
	const uint32_t *buckets = table + 4 + table[2] * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	const uint32_t *chain = buckets + table[0];
	uint32_t index = buckets[hash % table[0]];

	if (index < table[1])
		return NULL;
	for (void *found = NULL;; index++) {
		uint32_t entry = chain[index - table[1]];
		const ElfW(Sym) *candidate = &image->symbols[index];

		if ((entry | 1) == (hash | 1) && candidate->st_shndx != SHN_UNDEF &&
			!strcmp(image->strings + candidate->st_name, symbol)) {
			found = (void *)(image->base + candidate->st_value);
			if (is_default_version(image, index))
				return found;
		}
		if (entry & 1)
			return found;
	}
}

bool kv_elf_image_needs(const struct kv_elf_image *image, const char *library)
{
	for (const ElfW(Dyn) *entry = image->dynamic; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_NEEDED &&
			!strcmp(image->strings + entry->d_un.d_val, library))
			return true;
	}
	return false;
}
