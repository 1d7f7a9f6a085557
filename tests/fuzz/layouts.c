/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layouts.c - the readers of images against what the compiler was given (corpus/mixed.cu).
 *
 *   layouts FOLDER   the folder that holds image/mixed.*
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/fatbin.h"

static int failures;

static void check(bool holds, const char *file, const char *sentence)
{
	printf("%s: %s: %s\n", holds ? "ok" : "FAILED", file, sentence);
	failures += !holds;
}

static bool is(const void *image, size_t size, const char *kernel, uint32_t block, uint32_t n,
	const struct kv_layout_param *params)
{
	struct kv_layout *layout;
	bool same;

	if (kv_image_layout(image, size, kernel, &layout))
		return false;
	same = layout->params_size == block && layout->n_params == n &&
	       (!n || !memcmp(layout->params, params, n * sizeof(*params)));
	free(layout);
	return same;
}

static void check_image(const char *folder, const char *name)
{
	static const struct kv_layout_param mixed[] = {{0, 8}, {8, 4}, {16, 24}, {40, 1}, {48, 8}};
	static const struct kv_layout_param large[] = {{0, 4208}, {4208, 4}};
	static char image[1 << 16];
	struct kv_layout *layout;
	size_t size, found = 0;
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/image/%s", folder, name);
	file = fopen(path, "rbe");
	if (!file) {
		check(false, name, "can be read");
		return;
	}
	memset(image, 0, sizeof(image));
	size = fread(image, 1, sizeof(image) - 1, file);
	fclose(file);
	check(!kv_image_size(image, sizeof(image), &found) && found == size, name,
		"its size is found from its own headers");
	check(is(image, size, "mixed", 56, 5, mixed), name,
		"pointers, numbers and a struct by value have their offsets and sizes");
	check(is(image, size, "large_block", 4212, 2, large), name,
		"a block above 4 KiB is read as well");
	check(is(image, size, "empty", 0, 0, NULL), name, "a kernel without parameters has none");
	check(kv_image_layout(image, size, "mixe", &layout) == -ENOENT, name,
		"part of a name is not the name");
}

static const char text[] =
	".version 8.0\n.target sm_80\n.address_size 64\n"
	"// .entry commented(.param .u32 a) {}\n"
	"/* .entry commented(.param .u32 a) */\n"
	".visible .entry odd( .param .u8 a, /* one */ .param .align 16 .b8 b[32],\n"
	"\t.param .u64 .ptr .global .align 4 c, .param .f32 d // last\n)\n"
	".maxntid 128, 1, 1\n{ ret; }\n"
	".entry bare { ret; }\n.entry broken( .param .u32\n";

static void check_text(void)
{
	static const struct kv_layout_param odd[] = {{0, 1}, {16, 32}, {48, 8}, {56, 4}};
	struct kv_layout *layout;

	check(is(text, sizeof(text), "odd", 60, 4, odd), "text",
		"an alignment is kept, the one behind .ptr is of the target");
	check(is(text, sizeof(text), "bare", 0, 0, NULL), "text", "a list may be missing");
	check(kv_image_layout(text, sizeof(text), "commented", &layout) == -ENOENT, "text",
		"comments are no code");
	check(kv_image_layout(text, sizeof(text), "broken", &layout) == -EBADMSG, "text",
		"a list without end is refused");
}

int main(int argc, char **argv)
{
	static const char *const names[] = {
		"mixed.cubin", "mixed.ptx", "mixed-lz4.fatbin", "mixed-zstd.fatbin"};

	if (argc != 2)
		return 2;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check_image(argv[1], names[i]);
	check_text();
	return failures ? 1 : 0;
}
