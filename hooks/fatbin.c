/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fatbin.c - see fatbin.h. The container format is undocumented; what stands here was read off the
 * output of nvcc 12 and 13.
 */
#include "hooks/fatbin.h"

#include <elf.h>
#include <errno.h>
#include <lz4.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "hooks/cubin.h"
#include "hooks/ptx.h"

enum {
	FATBIN_HEADER = 16, /* magic, u16 version, u16 header size, u64 bytes of entries */
	ENTRY_HEADER = 64,
	ENTRY_PTX = 1,
	ENTRY_ELF = 2,
};
#define ENTRY_LZ4 0x2000u
#define ENTRY_ZSTD 0x8000u

struct entry {
	uint32_t kind;
	uint64_t flags;
	const uint8_t *payload;
	size_t payload_size, packed_size, raw_size; /* payload_size includes padding */
};

static uint64_t get(const void *at, size_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return value;
}

/* Cuts the next entry off [*at, *at + *left). -ENOENT: no more. */
static int next_entry(const uint8_t **at, size_t *left, struct entry *ret_entry)
{
	uint64_t header, payload;

	if (!*left)
		return -ENOENT;
	if (*left < ENTRY_HEADER)
		return -EBADMSG;
	header = get(*at + 4, 4);
	payload = get(*at + 8, 8);
	if (header < ENTRY_HEADER || header > *left || payload > *left - header)
		return -EBADMSG;
	ret_entry->kind = get(*at, 2);
	ret_entry->packed_size = get(*at + 16, 4);
	ret_entry->flags = get(*at + 40, 8);
	ret_entry->raw_size = get(*at + 56, 8);
	ret_entry->payload = *at + header;
	ret_entry->payload_size = payload;
	if (ret_entry->packed_size > payload)
		return -EBADMSG;
	if (!ret_entry->packed_size)
		ret_entry->packed_size = payload;
	*at += header + payload;
	*left -= header + payload;
	return 0;
}

/* The bytes of an entry: inside the image, or in *ret_copy (to be freed). */
static int unpack(const struct entry *e, const void **ret_data, size_t *ret_size, void **ret_copy)
{
	void *copy;
	bool good;

	*ret_copy = NULL;
	if (!(e->flags & (ENTRY_LZ4 | ENTRY_ZSTD))) {
		*ret_data = e->payload;
		*ret_size = e->payload_size;
		return 0;
	}
	if (!e->raw_size || e->raw_size > KV_IMAGE_RAW_MAX)
		return -EBADMSG;
	/* An honest LZ4 block grows at most 255 times: do not ask for memory on a liar's word. */
	if (e->flags & ENTRY_LZ4 && e->raw_size / 255 > e->packed_size)
		return -EBADMSG;
	if (e->flags & ENTRY_ZSTD &&
		ZSTD_getFrameContentSize(e->payload, e->packed_size) != e->raw_size)
		return -EBADMSG;
	copy = malloc(e->raw_size);
	if (!copy)
		return -ENOMEM;
	if (e->flags & ENTRY_LZ4) {
		good = LZ4_decompress_safe((const char *)e->payload, copy, (int)e->packed_size,
			       (int)e->raw_size) == (int)e->raw_size;
	} else {
		good = ZSTD_decompress(copy, e->raw_size, e->payload, e->packed_size) ==
		       e->raw_size;
	}
	if (!good) {
		free(copy);
		return -EBADMSG;
	}
	*ret_copy = copy;
	*ret_data = copy;
	*ret_size = e->raw_size;
	return 0;
}

static int entry_layout(const struct entry *e, const char *kernel, struct kv_layout **ret_layout)
{
	const void *data;
	void *copy;
	size_t size;
	int err;

	err = unpack(e, &data, &size, &copy);
	if (err)
		return err;
	if (e->kind == ENTRY_PTX)
		err = kv_ptx_layout(data, size, kernel, ret_layout);
	else
		err = kv_cubin_layout(data, size, kernel, ret_layout);
	free(copy);
	return err;
}

static int fatbin_layout(
	const uint8_t *image, size_t size, const char *kernel, struct kv_layout **ret_layout)
{
	uint64_t header, entries;
	int result = -ENOENT;

	if (size < FATBIN_HEADER)
		return -EBADMSG;
	header = get(image + 6, 2);
	entries = get(image + 8, 8);
	if (header < FATBIN_HEADER || header > size || entries > size - header)
		return -EBADMSG;
	/* One kernel has the same layout for every architecture: the first that has it will do. A
	 * damaged entry does not hide the others. */
	for (uint32_t kind = ENTRY_ELF; kind >= ENTRY_PTX; kind--) {
		const uint8_t *at = image + header;
		size_t left = entries;
		struct entry e;
		int err;

		while (!(err = next_entry(&at, &left, &e))) {
			if (e.kind != kind)
				continue;
			err = entry_layout(&e, kernel, ret_layout);
			if (!err)
				return 0;
			if (err != -ENOENT)
				result = err;
		}
		if (err != -ENOENT)
			result = err;
	}
	return result;
}

/* The end of the last thing that an ELF header or a section header names. */
static int elf_size(const uint8_t *image, size_t limit, size_t *ret_size)
{
	Elf64_Ehdr header;
	uint64_t end;

	if (limit < sizeof(header))
		return -EBADMSG;
	memcpy(&header, image, sizeof(header));
	if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
		(header.e_shnum && header.e_shentsize != sizeof(Elf64_Shdr)) ||
		header.e_shoff > limit || header.e_phoff > limit)
		return -EBADMSG;
	end = header.e_shoff + (uint64_t)header.e_shnum * header.e_shentsize;
	if (end > limit)
		return -EBADMSG;
	for (uint32_t i = 0; i < header.e_shnum; i++) {
		Elf64_Shdr section;

		memcpy(&section, image + header.e_shoff + i * sizeof(section), sizeof(section));
		if (section.sh_type == SHT_NOBITS)
			continue;
		if (section.sh_offset > limit || section.sh_size > limit - section.sh_offset)
			return -EBADMSG;
		if (section.sh_offset + section.sh_size > end)
			end = section.sh_offset + section.sh_size;
	}
	if (header.e_phoff + (uint64_t)header.e_phnum * header.e_phentsize > end)
		end = header.e_phoff + (uint64_t)header.e_phnum * header.e_phentsize;
	if (end < sizeof(header) || end > limit)
		return -EBADMSG;
	*ret_size = end;
	return 0;
}

static bool has_magic(const void *image, size_t size, const char magic[4])
{
	return size >= 4 && !memcmp(image, magic, 4);
}

int kv_image_size(const void *image, size_t limit, size_t *ret_size)
{
	if (has_magic(image, limit, ELFMAG))
		return elf_size(image, limit, ret_size);
	if (limit >= FATBIN_HEADER && get(image, 4) == KV_FATBIN_MAGIC) {
		uint64_t header = get((const uint8_t *)image + 6, 2);
		uint64_t entries = get((const uint8_t *)image + 8, 8);

		if (header < FATBIN_HEADER || header > limit || entries > limit - header)
			return -EBADMSG;
		*ret_size = header + entries;
		return 0;
	}
	*ret_size = strnlen(image, limit);
	return *ret_size && *ret_size < limit ? 0 : -EBADMSG;
}

int kv_image_layout(
	const void *image, size_t size, const char *kernel, struct kv_layout **ret_layout)
{
	if (has_magic(image, size, ELFMAG))
		return kv_cubin_layout(image, size, kernel, ret_layout);
	if (size >= 4 && get(image, 4) == KV_FATBIN_MAGIC)
		return fatbin_layout(image, size, kernel, ret_layout);
	return kv_ptx_layout(image, size, kernel, ret_layout);
}

int kv_image_each(const void *image, size_t size, kv_image_visit visit, void *ctx)
{
	const uint8_t *at = image;
	uint64_t header, entries;
	size_t left, data_size;
	struct entry e;
	int err;

	if (size < FATBIN_HEADER || get(at, 4) != KV_FATBIN_MAGIC)
		return visit(ctx, image, size);
	header = get(at + 6, 2);
	entries = get(at + 8, 8);
	if (header < FATBIN_HEADER || header > size || entries > size - header)
		return -EBADMSG;
	at += header;
	left = entries;
	while (!(err = next_entry(&at, &left, &e))) {
		const void *data;
		void *copy;

		if (unpack(&e, &data, &data_size, &copy))
			continue;
		err = visit(ctx, data, data_size);
		free(copy);
		if (err)
			return err;
	}
	return err == -ENOENT ? 0 : err;
}
