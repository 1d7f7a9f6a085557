/* SPDX-License-Identifier: Apache-2.0 */
/* truth.c - reads the symbol tables of loaded objects; see truth.h. */
#include "truth.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/elf_image.h"

struct wanted {
	const char *object;
	const char *symbol; /* NULL: only whether the object is there */
	void *found;
	bool loaded;
};

static int visit(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct wanted *wanted = ctx;
	const char *slash = strrchr(info->dlpi_name, '/');
	const char *file = slash ? slash + 1 : info->dlpi_name;
	struct kv_elf_image image;

	if (strncmp(file, wanted->object, strlen(wanted->object)) ||
		!kv_elf_image_read(info, &image))
		return 0;
	wanted->loaded = true;
	wanted->found = wanted->symbol ? kv_elf_image_symbol(&image, wanted->symbol) : NULL;
	return 1;
}

void *truth_object(const char *name, const char *symbol)
{
	struct wanted wanted = {.object = name, .symbol = symbol};

	dl_iterate_phdr(visit, &wanted);
	return wanted.found;
}

bool truth_is_loaded(const char *name)
{
	struct wanted wanted = {.object = name};

	dl_iterate_phdr(visit, &wanted);
	return wanted.loaded;
}

void *truth_driver(const char *symbol)
{
	return truth_object("libcuda.so", symbol);
}

void *truth_shim(const char *symbol)
{
	return truth_object("libkvshim.so", symbol);
}

/* clang-format off */
static const struct {
	const char *symbol, *kind;
} rows[] = {
#define KV_HOOK(symbol, base, pfn, group, sentence) {#symbol, "hooked"},
#define KV_REFUSE(symbol, base, pfn, group, sentence) {#symbol, "refused"},
#define KV_NEED(symbol, base, pfn, sentence) {#symbol, "needed"},
#define KV_PASS(symbol, sentence) {#symbol, "passed"},
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
#undef KV_NEED
#undef KV_PASS
};
/* clang-format on */
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static bool has_wrapper(size_t row)
{
	return rows[row].kind[0] == 'h' || rows[row].kind[0] == 'r';
}

void *truth_expected(void *driver)
{
	static void *driver_has[N_ROWS];
	static bool filled;

	for (size_t i = 0; i < N_ROWS && !filled; i++) {
		if (has_wrapper(i))
			driver_has[i] = truth_driver(rows[i].symbol);
	}
	filled = true;
	for (size_t i = 0; driver && i < N_ROWS; i++) {
		if (driver_has[i] == driver)
			return truth_shim(rows[i].symbol);
	}
	return driver;
}

const char *truth_class(const char *symbol)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		if (!strcmp(rows[i].symbol, symbol))
			return rows[i].kind;
	}
	return NULL;
}

void truth_require_shim(void)
{
	if (truth_is_loaded("libkvshim.so"))
		return;
	printf("SKIP: libkvshim.so is not preloaded\n");
	exit(77);
}
