/* SPDX-License-Identifier: Apache-2.0 */
/* engine.h - which engine a command is, and what is set for it; rows in engines.def. Pure. */
#ifndef KV_SHIM_COMMAND_ENGINE_H
#define KV_SHIM_COMMAND_ENGINE_H

struct kv_engine {
	const char *name, *programs, *arguments, *settings, *sentence;
};

/* The engine that this command (argv, NULL-terminated) starts, or NULL. */
const struct kv_engine *kv_engine_detect(char *const *argv);
/* The first row of this name, or NULL. */
const struct kv_engine *kv_engine_find(const char *name);
/* By index; NULL behind the last. */
const struct kv_engine *kv_engine_at(unsigned index);

#endif
