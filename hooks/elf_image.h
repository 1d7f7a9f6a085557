/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_image.h - a loaded object as the loader mapped it: symbols and import slots.
 *
 * Views into memory that belongs to the loader: valid while the object stays loaded, so inside a
 * dl_iterate_phdr() callback, or for objects that are never unloaded. Nothing here allocates, locks
 * or calls the loader.
 */
#ifndef KV_HOOKS_ELF_IMAGE_H
#define KV_HOOKS_ELF_IMAGE_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv_elf_image {
	const char *name;     /* as the loader knows it; "" for the program itself */
	uintptr_t base;       /* what is added to addresses in the file */
	uintptr_t start, end; /* the addresses that its segments span */
	const ElfW(Dyn) * dynamic;
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *gnu_hash;      /* NULL: none */
	const ElfW(Versym) * versions; /* NULL: none */
	const ElfW(Rela) * plt_relocs; /* slots of calls; NULL: none */
	const ElfW(Rela) * relocs;     /* all others; NULL: none */
	size_t n_plt_relocs, n_relocs;
	uintptr_t relro_start, relro_end; /* read-only after relocation, whole pages; equal: none */
};

/* Reads the headers of an object that the loader is showing us. False: it has no symbols to speak
 * of. */
bool kv_elf_image_read(const struct dl_phdr_info *info, struct kv_elf_image *ret_image);

/* The address of a function or object that image itself defines; of several versions, the default
 * one. NULL: none. Needs a GNU hash table, as everything has that was linked in the last 15 years.
 */
void *kv_elf_image_symbol(const struct kv_elf_image *image, const char *symbol);

/* Whether image names library among those it needs, by exact name. */
bool kv_elf_image_needs(const struct kv_elf_image *image, const char *library);

static inline bool kv_elf_image_contains(const struct kv_elf_image *image, const void *address)
{
	return (uintptr_t)address >= image->start && (uintptr_t)address < image->end;
}

#endif
