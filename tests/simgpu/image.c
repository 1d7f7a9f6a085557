/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - what a program hands to the driver as code: wrappers, fatbins and the choice among
 * their entries.
 *
 * A fatbin holds the same code for several devices; only the entry that is chosen is decompressed
 * and read, so that loading one of the hundred images of a large backend costs what its own kernels
 * cost. This reader shares no code with the shim's: two independent readings check each other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <zstd.h>

#include "image_parts.h"

#define WRAPPER_MAGIC 0x466243b1u
#define FATBIN_MAGIC 0xba55ed50u
#define MAX_RAW_BYTES ((uint64_t)1 << 30) /* one entry, decompressed */
#define MAX_PARAMS 4096u

enum { ENTRY_PTX = 1, ENTRY_ELF = 2 };
enum { ENTRY_LZ4 = 0x2000, ENTRY_ZSTD = 0x8000 };

/* What __cudaRegisterFatBinary and cuLibraryLoadData get from compiled code. */
struct wrapper {
	uint32_t magic, version;
	const void *data;
	const void *const *more; /* version 2: a NULL-ended array of fatbins */
};

struct fatbin_header {
	uint32_t magic;
	uint16_t version, header_size;
	uint64_t size; /* of all entries after this header */
};

struct entry_header {
	uint16_t kind, version;
	uint32_t header_size;
	uint64_t payload_size;
	uint32_t packed_size; /* 0: not compressed */
	uint32_t unknown20;
	uint16_t minor, major;
	uint32_t sm; /* 90 for compute capability 9.0 */
	uint64_t unknown32;
	uint64_t flags;
	uint64_t unknown48;
	uint64_t raw_size;
};
_Static_assert(offsetof(struct entry_header, sm) == 28 &&
		       offsetof(struct entry_header, flags) == 40 &&
		       offsetof(struct entry_header, raw_size) == 56,
	"fatbin entry layout");

struct entry {
	int kind, sm;
	uint64_t flags, raw_size;
	const uint8_t *payload;
	size_t size; /* as stored */
};

struct sim_kernel *image_add_kernel(struct image_builder *b, const char *name, size_t length)
{
	struct sim_image *image = b->image;

	if (image->n_kernels == b->room_kernels) {
		uint32_t room = b->room_kernels ? 2 * b->room_kernels : 16;
		struct sim_kernel *grown = realloc(image->kernels, room * sizeof(*grown));
		if (!grown)
			return NULL;
		image->kernels = grown;
		b->room_kernels = room;
	}
	struct sim_kernel *kernel = &image->kernels[image->n_kernels];
	memset(kernel, 0, sizeof(*kernel));
	kernel->name = strndup(name, length);
	if (!kernel->name)
		return NULL;
	image->n_kernels++;
	return kernel;
}

int image_set_param(struct sim_kernel *kernel, uint32_t index, uint32_t offset, uint32_t size)
{
	if (index >= MAX_PARAMS)
		return -EINVAL;
	struct sim_param *params = (struct sim_param *)kernel->params;
	if (index >= kernel->n_params) {
		params = realloc(params, (index + 1) * sizeof(*params));
		if (!params)
			return -ENOMEM;
		memset(params + kernel->n_params, 0,
			(index + 1 - kernel->n_params) * sizeof(*params));
		kernel->params = params;
		kernel->n_params = index + 1;
	}
	params[index] = (struct sim_param){.offset = offset, .size = size};
	return 0;
}

int image_add_global(struct image_builder *b, const char *name, size_t length, uint64_t size)
{
	struct sim_image *image = b->image;

	if (image->n_globals == b->room_globals) {
		uint32_t room = b->room_globals ? 2 * b->room_globals : 16;
		struct sim_global *grown = realloc(image->globals, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		image->globals = grown;
		b->room_globals = room;
	}
	char *copy = strndup(name, length);
	if (!copy)
		return -ENOMEM;
	image->globals[image->n_globals++] = (struct sim_global){.name = copy, .size = size};
	return 0;
}

static void kernel_free(struct sim_kernel *kernel)
{
	free((char *)kernel->name);
	free((struct sim_param *)kernel->params);
}

void sim_image_free(struct sim_image *image)
{
	if (!image)
		return;
	for (uint32_t i = 0; i < image->n_kernels; i++)
		kernel_free(&image->kernels[i]);
	for (uint32_t i = 0; i < image->n_globals; i++)
		free((char *)image->globals[i].name);
	free(image->kernels);
	free(image->globals);
	free(image);
}

/* Steps to the next entry of a fatbin. False at the end or at an entry that leaves it. */
static bool entry_next(const uint8_t **at, const uint8_t *end, struct entry *ret)
{
	struct entry_header h;

	if ((size_t)(end - *at) < sizeof(h))
		return false;
	memcpy(&h, *at, sizeof(h));
	size_t left = (size_t)(end - *at);
	if (h.header_size < sizeof(h) || h.header_size > left ||
		h.payload_size > left - h.header_size)
		return false;
	ret->kind = h.kind;
	ret->sm = (int)h.sm;
	ret->flags = h.flags;
	ret->raw_size = h.raw_size;
	ret->payload = *at + h.header_size;
	ret->size = h.payload_size;
	if ((h.flags & (ENTRY_LZ4 | ENTRY_ZSTD)) && h.packed_size && h.packed_size < ret->size)
		ret->size = h.packed_size;
	*at += h.header_size + h.payload_size;
	return true;
}

/* Is `a` a better choice than `b` for compute capability cc? NULL b: is `a` a choice at all? */
static bool entry_better(const struct entry *a, const struct entry *b, int cc)
{
	bool elf = a->kind == ENTRY_ELF;

	if (a->kind != ENTRY_ELF && a->kind != ENTRY_PTX)
		return false;
	if (a->sm > cc || (elf && a->sm / 10 != cc / 10))
		return false;
	if (!b)
		return true;
	if (elf != (b->kind == ENTRY_ELF))
		return elf;
	return a->sm > b->sm;
}

static int entry_unpack(const struct entry *e, uint8_t *raw)
{
	if (e->flags & ENTRY_ZSTD) {
		size_t n = ZSTD_decompress(raw, e->raw_size, e->payload, e->size);
		return ZSTD_isError(n) || n != e->raw_size ? -EINVAL : 0;
	}
	if (e->size > INT32_MAX)
		return -EINVAL;
	int n = LZ4_decompress_safe(
		(const char *)e->payload, (char *)raw, (int)e->size, (int)e->raw_size);
	return n < 0 || (uint64_t)n != e->raw_size ? -EINVAL : 0;
}

static int entry_read(struct image_builder *b, const struct entry *e)
{
	const uint8_t *data = e->payload;
	size_t size = e->size;
	uint8_t *raw = NULL;
	int ret;

	if (e->flags & (ENTRY_LZ4 | ENTRY_ZSTD)) {
		if (!e->raw_size || e->raw_size > MAX_RAW_BYTES)
			return -EINVAL;
		raw = malloc(e->raw_size);
		if (!raw)
			return -ENOMEM;
		ret = entry_unpack(e, raw);
		if (ret)
			goto out;
		data = raw;
		size = e->raw_size;
	}
	if (e->kind == ENTRY_ELF)
		ret = image_read_elf(b, data, size);
	else
		ret = image_read_ptx(b, (const char *)data, size);
	if (!ret) {
		b->image->sm = e->sm;
		b->image->was_ptx = e->kind == ENTRY_PTX;
	}
out:
	free(raw);
	return ret;
}

/* -ENOENT: nothing in it runs on this device. */
static int fatbin_read(struct image_builder *b, const void *fatbin, int cc)
{
	struct fatbin_header h;
	struct entry e, best;
	bool found = false;

	memcpy(&h, fatbin, sizeof(h));
	if (h.magic != FATBIN_MAGIC || h.header_size < sizeof(h))
		return -EINVAL;
	const uint8_t *at = (const uint8_t *)fatbin + h.header_size;
	const uint8_t *end = at + h.size;
	while (entry_next(&at, end, &e)) {
		if (entry_better(&e, found ? &best : NULL, cc)) {
			best = e;
			found = true;
		}
	}
	return found ? entry_read(b, &best) : -ENOENT;
}

static int wrapper_read(struct image_builder *b, const struct wrapper *w, int cc)
{
	int ret = -ENOENT, r;

	if (w->version == 1)
		return w->data ? fatbin_read(b, w->data, cc) : -EINVAL;
	if (w->version != 2)
		return -EINVAL;
	/* Relocatable code: each part brings kernels of its own, some parts have nothing for us. */
	if (w->data) {
		ret = fatbin_read(b, w->data, cc);
		if (ret && ret != -ENOENT)
			return ret;
	}
	for (const void *const *p = w->more; p && *p; p++) {
		r = fatbin_read(b, *p, cc);
		if (r && r != -ENOENT)
			return r;
		if (!r)
			ret = 0;
	}
	return ret;
}

static int any_read(struct image_builder *b, const void *image, int cc)
{
	uint32_t magic;

	memcpy(&magic, image, sizeof(magic));
	if (magic == WRAPPER_MAGIC)
		return wrapper_read(b, image, cc);
	if (magic == FATBIN_MAGIC)
		return fatbin_read(b, image, cc);
	size_t span = image_elf_span(image);
	if (span)
		return image_read_elf(b, image, span);
	int ret = image_read_ptx(b, image, strlen(image));
	b->image->was_ptx = true;
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sim_kernel *)a)->name, ((const struct sim_kernel *)b)->name);
}

static void sort_and_drop_doubles(struct sim_image *image)
{
	uint32_t kept = 0;

	if (image->n_kernels)
		qsort(image->kernels, image->n_kernels, sizeof(image->kernels[0]), by_name);
	for (uint32_t i = 0; i < image->n_kernels; i++) {
		struct sim_kernel *kernel = &image->kernels[i];
		if (kept && !strcmp(image->kernels[kept - 1].name, kernel->name))
			kernel_free(kernel);
		else
			image->kernels[kept++] = *kernel;
	}
	image->n_kernels = kept;
}

CUresult sim_image_parse(const void *data, int cc, struct sim_image **ret_image)
{
	struct image_builder b = {0};

	if (!data)
		return CUDA_ERROR_INVALID_VALUE;
	b.image = calloc(1, sizeof(*b.image));
	if (!b.image)
		return CUDA_ERROR_OUT_OF_MEMORY;
	int ret = any_read(&b, data, cc);
	if (ret) {
		sim_image_free(b.image);
		return ret == -ENOMEM   ? CUDA_ERROR_OUT_OF_MEMORY
		       : ret == -ENOENT ? CUDA_ERROR_NO_BINARY_FOR_GPU
					: CUDA_ERROR_INVALID_IMAGE;
	}
	sort_and_drop_doubles(b.image);
	for (uint32_t i = 0; i < b.image->n_kernels; i++)
		b.image->kernels[i].twin = sim_twin_find(b.image->kernels[i].name);
	*ret_image = b.image;
	return CUDA_SUCCESS;
}

const struct sim_kernel *sim_image_kernel(const struct sim_image *image, const char *name)
{
	struct sim_kernel key = {.name = name};

	if (!image->n_kernels)
		return NULL;
	return bsearch(&key, image->kernels, image->n_kernels, sizeof(key), by_name);
}
