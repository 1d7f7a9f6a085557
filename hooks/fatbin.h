/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fatbin.h - images as cuModuleLoadData and cuLibraryLoadData take them: a fatbin wrapper (version
 * 1 or 2), a fatbin container with PTX and ELF entries (plain, LZ4 or zstd), a bare cubin, PTX
 * text.
 *
 * Stateless; any thread. Sizes inside an image are hostile; the two pointers inside a wrapper are
 * followed as the driver follows them.
 */
#ifndef KV_HOOKS_FATBIN_H
#define KV_HOOKS_FATBIN_H

#include <stddef.h>
#include <stdint.h>

#include "hooks/layout.h"

#define KV_FATBIN_WRAPPER_MAGIC 0x466243b1u
#define KV_FATBIN_MAGIC 0xba55ed50u

/* What nvcc puts in front of the containers. */
struct kv_fatbin_wrapper {
	uint32_t magic;
	uint32_t version; /* 1: data is the container; 2: more is a NULL-terminated list of
			     containers */
	const void *data;
	const void *more;
};

/*
 * Bytes that an image (no wrapper) occupies, found from its own headers, at most limit. -EBADMSG:
 * none of the known kinds, or larger than limit.
 */
int kv_image_size(const void *image, size_t limit, size_t *ret_size);

/*
 * The layout of one kernel (mangled name) of an image (no wrapper) of size bytes: the first entry
 * that has it, machine code before PTX. One entry at a time is unpacked, at most KV_IMAGE_RAW_MAX
 * bytes. On success the caller frees *ret_layout. -ENOENT, -EBADMSG, -EOPNOTSUPP, -ENOMEM.
 */
#define KV_IMAGE_RAW_MAX (512u << 20)
int kv_image_layout(
	const void *image, size_t size, const char *kernel, struct kv_layout **ret_layout);

/*
 * Gives every entry of an image (no wrapper), unpacked, to visit, until that returns non-zero;
 * returns that, else 0. Damaged entries are passed over. -EBADMSG: the image's own headers are
 * damaged.
 */
typedef int (*kv_image_visit)(void *ctx, const void *data, size_t size);
int kv_image_each(const void *image, size_t size, kv_image_visit visit, void *ctx);

#endif
