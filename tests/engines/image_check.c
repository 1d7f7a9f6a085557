/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_check.c - two independent readers of fatbins, on all images of a real backend.
 *
 * The reader of the software GPU reads every image for several compute capabilities: machine code
 * and PTX have to agree on every kernel's parameters. Some kernels of each image are then asked of
 * the shim's reader as well.
 *
 * usage: image-check LIBRARY IMAGES: exit 0 if LIBRARY holds IMAGES fatbins and no reading differs.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hooks/fatbin.h"
#include "sim.h"

#define COMPARED_PER_IMAGE 4

static unsigned n_images, n_kernels, n_compared, n_wrong;

/* The twins want it; none runs here. */
void sim_report(enum sim_report kind, const char *format, ...)
{
}

static void wrong(const char *what, const char *kernel)
{
	if (n_wrong++ < 10)
		printf("%s: %s\n", what, kernel);
}

static bool same_params(const struct sim_kernel *a, const struct sim_kernel *b)
{
	return a->n_params == b->n_params && a->params_size == b->params_size &&
	       !memcmp(a->params, b->params, a->n_params * sizeof(a->params[0]));
}

static void compare_with_shim(const void *fatbin, size_t size, const struct sim_kernel *k)
{
	struct kv_layout *layout;

	n_compared++;
	if (kv_image_layout(fatbin, size, k->name, &layout)) {
		wrong("the shim's reader does not find", k->name);
		return;
	}
	bool same = layout->n_params == k->n_params;
	for (uint32_t i = 0; same && i < k->n_params; i++)
		same = layout->params[i].offset == k->params[i].offset &&
		       layout->params[i].size == k->params[i].size;
	if (!same)
		wrong("the two readers differ on", k->name);
	free(layout);
}

static void check_fatbin(const void *fatbin, size_t size)
{
	static const int capabilities[] = {90, 89, 120};
	struct sim_image *first = NULL;

	n_images++;
	for (size_t c = 0; c < sizeof(capabilities) / sizeof(capabilities[0]); c++) {
		struct sim_image *image;
		if (sim_image_parse(fatbin, capabilities[c], &image)) {
			wrong("unreadable image", "");
			continue;
		}
		if (!first) {
			first = image;
			n_kernels += image->n_kernels;
			continue;
		}
		if (image->n_kernels != first->n_kernels)
			wrong("other kernels for another device", "");
		for (uint32_t i = 0; i < image->n_kernels; i++) {
			const struct sim_kernel *k =
				sim_image_kernel(first, image->kernels[i].name);
			if (!k || !same_params(k, &image->kernels[i]))
				wrong("other parameters for another device",
					image->kernels[i].name);
		}
		sim_image_free(image);
	}
	for (uint32_t i = 0; first && i < COMPARED_PER_IMAGE && i < first->n_kernels; i++)
		compare_with_shim(
			fatbin, size, &first->kernels[i * first->n_kernels / COMPARED_PER_IMAGE]);
	sim_image_free(first);
}

/* The images of one section lie one behind the other. */
static void check_section(const uint8_t *at, const uint8_t *end)
{
	while (end - at >= 16) {
		uint32_t magic;
		uint64_t size;

		memcpy(&magic, at, 4);
		memcpy(&size, at + 8, 8);
		if (magic != KV_FATBIN_MAGIC || size > (uint64_t)(end - at) - 16) {
			at += 8;
			continue;
		}
		check_fatbin(at, size + 16);
		at += 16 + size;
	}
}

int main(int argc, char **argv)
{
	struct stat st;

	if (argc != 3) {
		fprintf(stderr, "usage: image-check LIBRARY IMAGES\n");
		return 2;
	}
	int fd = open(argv[1], O_RDONLY);
	if (fd < 0 || fstat(fd, &st)) {
		perror(argv[1]);
		return 1;
	}
	const uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	const Elf64_Ehdr *h = (const Elf64_Ehdr *)file;
	const Elf64_Shdr *s = (const Elf64_Shdr *)(file + h->e_shoff);
	const char *names = (const char *)file + s[h->e_shstrndx].sh_offset;
	for (uint32_t i = 0; i < h->e_shnum; i++)
		if (!strcmp(names + s[i].sh_name, ".nv_fatbin"))
			check_section(file + s[i].sh_offset, file + s[i].sh_offset + s[i].sh_size);
	printf("%u images, %u kernels, %u compared with the shim's reader, %u differences\n",
		n_images, n_kernels, n_compared, n_wrong);
	return n_wrong || n_images != (unsigned)atoi(argv[2]);
}
