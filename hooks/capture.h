/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.h - book-keeping of open stream captures (kv_hooks.captures_open); see also
 * kv_stream_captures() in submit.h.
 */
#ifndef KV_HOOKS_CAPTURE_H
#define KV_HOOKS_CAPTURE_H

#include "hooks/submit.h"

/* A stream is being destroyed: a capture that was begun on it ends with it. Any thread; no driver
 * call. */
void kv_capture_stream_gone(CUstream stream);

/*
 * [outside] A context is about to be destroyed: captures on its streams go with it. They are ended
 * here, as far as this thread may, since nothing can be drained beside an open capture. Calls the
 * driver.
 */
void kv_capture_context_gone(CUcontext ctx);

#endif
