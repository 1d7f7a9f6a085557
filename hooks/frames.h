/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.h - who called: libraries and symbols on the stack, for selection by caller.
 */
#ifndef KV_HOOKS_FRAMES_H
#define KV_HOOKS_FRAMES_H

#include <stdint.h>

#define KV_FRAMES_MAX 48u

struct kv_frames {
	const char *libraries[KV_FRAMES_MAX]; /* base names, or NULL */
	const char *symbols[KV_FRAMES_MAX];   /* exported symbols, or NULL */
	uint32_t n;
};

/*
 * Fills in the callers of this library, innermost first. Allocates nothing; takes the loader's lock
 * for each frame. The strings belong to the loaded objects.
 */
void kv_frames_collect(struct kv_frames *frames);

#endif
