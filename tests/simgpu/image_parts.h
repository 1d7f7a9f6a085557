/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_parts.h - what the readers of cubins and PTX hand to image.c.
 *
 * An image under construction: kernels and globals are appended by the readers in any order;
 * image.c sorts them, drops doubles and gives the finished sim_image away. Owned by one thread
 * while it is built.
 */
#ifndef SIM_IMAGE_PARTS_H
#define SIM_IMAGE_PARTS_H

#include "sim.h"

struct image_builder {
	struct sim_image *image;
	uint32_t room_kernels, room_globals;
};

/*
 * Appends a kernel with a copy of `name` (length bytes), no parameters yet. The pointer is good
 * until the next append. NULL: no memory.
 */
struct sim_kernel *image_add_kernel(struct image_builder *b, const char *name, size_t length);

/* Sets parameter `index` of a kernel, growing its list. -ENOMEM, or -EINVAL for an absurd index. */
int image_set_param(struct sim_kernel *kernel, uint32_t index, uint32_t offset, uint32_t size);

/* Appends a module global of `size` bytes. -ENOMEM. */
int image_add_global(struct image_builder *b, const char *name, size_t length, uint64_t size);

/*
 * image_elf.c: reads an ELF cubin of `size` bytes. -EINVAL: not a 64-bit little-endian ELF, or a
 * table that points out of it. -ENOMEM.
 */
int image_read_elf(struct image_builder *b, const uint8_t *data, size_t size);

/*
 * image_elf.c: bytes that an ELF of unknown length spans by its own tables; 0 when it is no ELF
 * that we read. Reads the file header and the section table behind the pointer, as a driver must.
 */
size_t image_elf_span(const uint8_t *data);

/* image_ptx.c: reads `size` bytes of PTX text (a NUL ends it early). -EINVAL: no PTX. -ENOMEM. */
int image_read_ptx(struct image_builder *b, const char *text, size_t size);

#endif
