/* SPDX-License-Identifier: Apache-2.0 */
/* library.h - where libkvshim.so is, and the list that preloads it. */
#ifndef KV_SHIM_COMMAND_LIBRARY_H
#define KV_SHIM_COMMAND_LIBRARY_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define KV_LIBRARY "libkvshim.so"

/*
 * The library that belongs to this command: beside it (build tree), else where it was installed
 * relative to the command, else where the build meant it to be.
 */
bool kv_library_find(char ret_path[PATH_MAX]);
/* Is this entry of a preload list (length characters) a libkvshim.so, by whatever path? */
bool kv_library_is_shim(const char *entry, size_t length);
/*
 * A list for LD_PRELOAD: library first, then what old (may be NULL) names, in its order and without
 * any libkvshim.so: two of them in one process would stand in each other's way. Free it; NULL: no
 * memory.
 */
char *kv_library_preload(const char *library, const char *old);

#endif
