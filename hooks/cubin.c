/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cubin.c - see cubin.h. The record format is what cuobjdump -elf prints, checked against cubins of
 * CUDA 12 and 13 (sm_80 to sm_120).
 */
#include "hooks/cubin.h"

#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#define EM_CUDA_GPU 190
#define SHT_NV_INFO 0x70000000u

/* One attribute of .nv.info.<kernel>: u8 format, u8 attribute, u16 value; format 4 has value bytes
 * more. */
enum {
	NV_FORMAT_SIZED = 4,
	NV_KPARAM_INFO =
		0x17, /* one parameter: index, ordinal, offset, size in the bits from 18 up */
	NV_CBANK_PARAM_SIZE = 0x19, /* bytes of the whole block, as the value */
	NV_KPARAM_INFO_LARGE =
		0x45, /* one parameter of a block above 4 KiB: the size is a word of its own */
};
#define NV_KPARAM_BYTES 12

/*
 * Stands in for libelf's own, whose thread-local variable a distribution's static library addresses
 * in a way that only executables can be linked with. Nobody here asks for libelf's error number.
 */
void __libelf_seterrno(int value);
void __libelf_seterrno(int value)
{
}

static uint32_t get16(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) | get16(at + 2) << 16;
}

/* One pass over the records: counts parameters (layout NULL) or stores them. -EOPNOTSUPP: not
 * understood. */
static int walk_records(
	const uint8_t *data, size_t size, uint32_t *ret_count, struct kv_layout *layout)
{
	uint32_t count = 0;
	size_t at = 0;

	while (size - at >= 4) {
		uint8_t format = data[at], attribute = data[at + 1];
		uint32_t value = get16(data + at + 2);
		const uint8_t *payload = data + at + 4;

		at += 4;
		if (format == NV_FORMAT_SIZED) {
			if (value > size - at)
				return -EOPNOTSUPP;
			at += value;
		}
		if (attribute == NV_CBANK_PARAM_SIZE && layout)
			layout->params_size = value;
		if (attribute != NV_KPARAM_INFO && attribute != NV_KPARAM_INFO_LARGE)
			continue;
		if (format != NV_FORMAT_SIZED || value != NV_KPARAM_BYTES)
			return -EOPNOTSUPP;
		if (++count > KV_LAYOUT_PARAMS_MAX)
			return -EOPNOTSUPP;
		if (layout) {
			uint32_t ordinal = get16(payload + 4), word = get32(payload + 8);

			if (ordinal >= layout->n_params || layout->params[ordinal].size)
				return -EOPNOTSUPP;
			layout->params[ordinal].offset = get16(payload + 6);
			layout->params[ordinal].size =
				attribute == NV_KPARAM_INFO ? word >> 18 : word;
		}
	}
	*ret_count = count;
	return at == size ? 0 : -EOPNOTSUPP;
}

static int layout_from_records(const uint8_t *data, size_t size, struct kv_layout **ret_layout)
{
	struct kv_layout *layout;
	uint32_t count, end = 0;
	int err;

	err = walk_records(data, size, &count, NULL);
	if (err)
		return err;
	layout = calloc(1, sizeof(*layout) + count * sizeof(layout->params[0]));
	if (!layout)
		return -ENOMEM;
	layout->n_params = count;
	err = walk_records(data, size, &count, layout);
	if (err)
		goto free_layout;
	err = -EOPNOTSUPP;
	for (uint32_t i = 0; i < count; i++) {
		struct kv_layout_param *p = &layout->params[i];

		if (!p->size || p->size > KV_LAYOUT_BYTES_MAX)
			goto free_layout;
		if (p->offset + p->size > end)
			end = p->offset + p->size;
	}
	if (layout->params_size < end)
		layout->params_size = end;
	*ret_layout = layout;
	return 0;

free_layout:
	free(layout);
	return err;
}

/* The section .nv.info.<kernel>, its bytes inside the image. */
static int find_info(Elf *elf, const char *kernel, const uint8_t **ret_data, size_t *ret_size)
{
	static const char prefix[] = ".nv.info.";
	Elf_Scn *section = NULL;
	size_t names;

	if (elf_getshdrstrndx(elf, &names))
		return -EBADMSG;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		Elf_Data *data;
		const char *name;

		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_NV_INFO)
			continue;
		name = elf_strptr(elf, names, header.sh_name);
		if (!name || strncmp(name, prefix, sizeof(prefix) - 1) ||
			strcmp(name + sizeof(prefix) - 1, kernel))
			continue;
		data = elf_rawdata(section, NULL);
		if (!data || (data->d_size && !data->d_buf))
			return -EBADMSG;
		*ret_data = data->d_buf;
		*ret_size = data->d_size;
		return 0;
	}
	return -ENOENT;
}

/* NULL: not an ELF file for GPUs. Ended with elf_end(). */
static Elf *open_image(const void *image, size_t size)
{
	GElf_Ehdr header;
	Elf *elf;

	if (size < sizeof(Elf64_Ehdr) || elf_version(EV_CURRENT) == EV_NONE)
		return NULL;
	/* libelf takes a char *, but writes to memory only for files opened for writing. */
	elf = elf_memory((char *)(uintptr_t)image, size);
	if (elf &&
		(elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header) ||
			header.e_machine != EM_CUDA_GPU || header.e_ident[EI_CLASS] != ELFCLASS64 ||
			header.e_ident[EI_DATA] != ELFDATA2LSB)) {
		elf_end(elf);
		elf = NULL;
	}
	return elf;
}

int kv_cubin_layout(
	const void *image, size_t size, const char *kernel, struct kv_layout **ret_layout)
{
	const uint8_t *data = NULL;
	size_t data_size = 0;
	Elf *elf = open_image(image, size);
	int err;

	if (!elf)
		return -EBADMSG;
	err = find_info(elf, kernel, &data, &data_size);
	if (!err)
		err = layout_from_records(data, data_size, ret_layout);
	elf_end(elf);
	return err;
}

int kv_cubin_each(const void *image, size_t size, kv_kernel_visit visit, void *ctx)
{
	static const char prefix[] = ".nv.info.";
	Elf *elf = open_image(image, size);
	Elf_Scn *section = NULL;
	size_t names;
	int err = 0;

	if (!elf)
		return -EBADMSG;
	if (elf_getshdrstrndx(elf, &names))
		err = -EBADMSG;
	while (!err && (section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		const char *name;

		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_NV_INFO)
			continue;
		name = elf_strptr(elf, names, header.sh_name);
		if (name && !strncmp(name, prefix, sizeof(prefix) - 1))
			err = visit(
				ctx, name + sizeof(prefix) - 1, strlen(name + sizeof(prefix) - 1));
	}
	elf_end(elf);
	return err;
}
