/* SPDX-License-Identifier: Apache-2.0 */
/* library.c - see library.h. */
#include "shim/command/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool kv_library_find(char ret_path[PATH_MAX])
{
	static const char *const places[] = {"", "../" KVSHIM_LIBDIR "/"};
	char self[PATH_MAX], candidate[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			snprintf(candidate, sizeof(candidate), "%s/%s" KV_LIBRARY, self, places[i]);
			if (realpath(candidate, ret_path))
				return true;
		}
	}
	return realpath(KVSHIM_PREFIX "/" KVSHIM_LIBDIR "/" KV_LIBRARY, ret_path) != NULL;
}

bool kv_library_is_shim(const char *entry, size_t length)
{
	size_t name = strlen(KV_LIBRARY);

	return length >= name && strncmp(entry + length - name, KV_LIBRARY, name) == 0 &&
	       (length == name || entry[length - name - 1] == '/');
}

char *kv_library_preload(const char *library, const char *old)
{
	char *list = malloc(strlen(library) + (old ? strlen(old) : 0) + 2);

	if (!list)
		return NULL;
	strcpy(list, library);
	while (old && *old) {
		size_t length = strcspn(old, ": "), used = strlen(list);

		if (length && !kv_library_is_shim(old, length)) {
			list[used] = ':';
			memcpy(list + used + 1, old, length);
			list[used + 1 + length] = '\0';
		}
		old += length + (old[length] != '\0');
	}
	return list;
}
