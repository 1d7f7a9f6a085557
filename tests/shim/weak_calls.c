/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weak_calls.c - a library with weak references to every entry point that the shim exports, and
 * calls to them with nothing but zeros.
 */
#include "weak_calls.h"

#include <stddef.h>
#include <stdio.h>

enum { NO_DEVICE = 100 }; /* cuda.h: CUDA_ERROR_NO_DEVICE */

/* clang-format off */
#define KV_HOOK(symbol, base, pfn, group, sentence) extern __attribute__((weak)) int symbol(void);
#define KV_REFUSE(symbol, base, pfn, group, sentence) extern __attribute__((weak)) int symbol(void);
#define KV_NEED(symbol, base, pfn, sentence)
#define KV_PASS(symbol, sentence)
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE

typedef int entry_fn(unsigned long, unsigned long, unsigned long, unsigned long, unsigned long,
	unsigned long, unsigned long, unsigned long, unsigned long, unsigned long, unsigned long,
	unsigned long);

static const struct entry {
	const char *name;
	void (*function)(void);
} entries[] = {
#define KV_HOOK(symbol, base, pfn, group, sentence) {#symbol, (void (*)(void))symbol},
#define KV_REFUSE(symbol, base, pfn, group, sentence) {#symbol, (void (*)(void))symbol},
#include "hooks/hooks.def"
};
/* clang-format on */
#define N_ENTRIES (sizeof(entries) / sizeof(entries[0]))

unsigned weak_bound(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < N_ENTRIES; i++)
		n += entries[i].function != NULL;
	return n;
}

unsigned weak_count(void)
{
	return N_ENTRIES;
}

unsigned weak_call_all(void)
{
	unsigned n_wrong = 0;

	for (size_t i = 0; i < N_ENTRIES; i++) {
		int result = ((entry_fn *)entries[i].function)(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

		if (result == NO_DEVICE)
			continue;
		printf("%s: %d\n", entries[i].name, result);
		n_wrong++;
	}
	return n_wrong;
}
