/* SPDX-License-Identifier: Apache-2.0 */
/*
 * truth.h - what a symbol look-up ought to find, learnt from the symbol tables of the loaded
 * objects themselves and not through any look-up that the shim could have changed.
 */
#ifndef TEST_TRUTH_H
#define TEST_TRUTH_H

#include <stdbool.h>

/* The address of symbol in the loaded libcuda.so.1; NULL: not loaded, or it has none. */
void *truth_driver(const char *symbol);
/* The address of symbol among what libkvshim.so exports. */
void *truth_shim(const char *symbol);
/* An object whose file name is or starts with name; NULL if it is not loaded. */
void *truth_object(const char *name, const char *symbol);
bool truth_is_loaded(const char *name);

/* What cuGetProcAddress and dlsym have to answer where the driver has driver: the shim's wrapper if
 * the table has one for that entry point, else driver itself. */
void *truth_expected(void *driver);

/* The row of hooks.def as text: "hooked", "refused", "needed", "passed"; NULL: not in the table. */
const char *truth_class(const char *symbol);

/* CUDA_SUCCESS from the preloaded shim? Prints SKIP and exits 77 if libkvshim.so is not in this
 * process. */
void truth_require_shim(void);

#endif
