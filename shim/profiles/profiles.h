/* SPDX-License-Identifier: Apache-2.0 */
/* profiles.h - the rule files that are compiled in (hooks/rules/rules.h parses them). Immutable. */
#ifndef KV_SHIM_PROFILES_H
#define KV_SHIM_PROFILES_H

#include <stddef.h>

extern const char kv_profile_llama[]; /* not terminated */
extern const size_t kv_profile_llama_size;

#endif
