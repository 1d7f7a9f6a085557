/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recognise.h - launches that a rule understands (P3): exactly what they reach is touched, and
 * nothing leaks. Index arrays come from shadows of the program's uploads.
 *
 * Only with config.rules. Work that is submitted without being described here (a graph, a copy
 * between arrays, ...) may write anywhere: kv_submit_leave() forgets all shadows after it. Whoever
 * has described what its call writes says so with kv_recognise_described().
 *
 * One leaf mutex guards the shadows; it is never held across a call into core or the driver. A
 * launch takes it only if its rule asks for an index array, or if it may write where a shadow is; a
 * graph that is launched again, as a rule, not at all (graph_steady.h).
 */
#ifndef KV_HOOKS_RECOGNISE_H
#define KV_HOOKS_RECOGNISE_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/launch.h"
#include "hooks/rules/quick.h"
#include "hooks/rules/rules.h"
#include "hooks/rules/shadow.h"

/* Grid and threads of a launch. */
struct kv_shape {
	uint32_t grid[3], threads[3];
};

/*
 * [inside] A launch that is not captured, by any kernel whose layout is known. Touches or leaks
 * what its parameters point at: by its rule as far as one understands it, else as kv_launch_scan().
 * Shadows that it may write die. 0 or a negative errno.
 */
int kv_recognise_launch(
	const struct kv_kernel *kernel, void **params, void **extra, const struct kv_shape *shape);

/* [inside] length bytes are about to go from host memory, or from the device, to dst; or something
 * else is written there. Not for captured calls, which do nothing yet. */
void kv_recognise_upload(uint64_t dst, const void *host, uint64_t length);
void kv_recognise_copy(uint64_t dst, uint64_t src, uint64_t length);
void kv_recognise_write(uint64_t dst, uint64_t length);

/* The submission that the calling thread is in has been described. No-op without rules. */
static inline void kv_recognise_described(void)
{
	kv_thread.described = true;
}

/* Small shadows, for readers without the mutex; see quick.h. */
extern struct kv_quick kv_recognise_quick;
/* One grain of memory each; see shadow.h. */
extern _Atomic uint8_t kv_recognise_marks[KV_SHADOW_MARKS];

/* Forgets all shadows. */
void kv_recognise_forget(void);

/* ---- for launches that are evaluated elsewhere (graphs) ---- */

/* Takes the mutex of the shadows, and does what was claimed without it; NULL: there are none yet.
 * No call into core or the driver until kv_recognise_unlock(). */
struct kv_shadows *kv_recognise_lock(void);
void kv_recognise_unlock(void);

/* True if a word of the launch points into a reservation that is not static and whole. */
bool kv_recognise_hits(const struct kv_kernel *kernel, const struct kv_launch *launch);
/* The eight bytes of one word, false if the launch does not have them. */
bool kv_recognise_word(
	const struct kv_launch *launch, const struct kv_kernel_word *w, uint64_t *ret_word);

#endif
