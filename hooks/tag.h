/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tag.h - what a thread says about its next allocations, as a stack; and how a program's own calls
 * into the shim enter core.
 */
#ifndef KV_HOOKS_TAG_H
#define KV_HOOKS_TAG_H

#include "hooks/hooks.h"

#define KV_TAG_NAME_MAX 32u
#define KV_TAG_PRIORITY 128 /* of memory without a tag */

struct kv_tag_entry {
	uint8_t tag;                /* enum kv_tag */
	uint8_t priority;           /* 0 to 255; the lowest is evicted first */
	char name[KV_TAG_NAME_MAX]; /* NUL-terminated, "" none */
};

/* What this thread has pushed last; no tag if nothing. Never NULL. */
const struct kv_tag_entry *kv_tag_current(void);

#endif
