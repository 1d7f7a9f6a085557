/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - see engine.h. */
#include "shim/command/engine.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct kv_engine engines[] = {
#define KV_ENGINE(name, programs, arguments, settings, sentence) \
	{name, programs, arguments, settings, sentence},
#include "shim/command/engines.def"
#undef KV_ENGINE
};

#define N_ENGINES (sizeof(engines) / sizeof(engines[0]))

static bool fits(const char *globs, const char *text)
{
	char glob[64];

	while (*globs) {
		size_t length = strcspn(globs, ",");

		if (length < sizeof(glob)) {
			memcpy(glob, globs, length);
			glob[length] = '\0';
			if (fnmatch(glob, text, 0) == 0)
				return true;
		}
		globs += length + (globs[length] == ',');
	}
	return false;
}

static const char *file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_engine(const struct kv_engine *engine, char *const *argv)
{
	if (!fits(engine->programs, file_name(argv[0])))
		return false;
	if (!engine->arguments[0])
		return true;
	/* The interpreter's own arguments name the engine; those behind are the engine's. */
	for (int i = 1; argv[i] && i < 8; i++)
		if (fits(engine->arguments, argv[i]))
			return true;
	return false;
}

const struct kv_engine *kv_engine_detect(char *const *argv)
{
	for (unsigned i = 0; argv[0] && i < N_ENGINES; i++)
		if (is_engine(&engines[i], argv))
			return &engines[i];
	return NULL;
}

const struct kv_engine *kv_engine_find(const char *name)
{
	for (unsigned i = 0; i < N_ENGINES; i++)
		if (strcmp(engines[i].name, name) == 0)
			return &engines[i];
	return NULL;
}

const struct kv_engine *kv_engine_at(unsigned index)
{
	return index < N_ENGINES ? &engines[index] : NULL;
}
