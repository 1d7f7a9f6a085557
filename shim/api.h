/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - what the files behind kvshim.h share: how errors are converted and said. Private to shim.
 */
#ifndef KV_SHIM_API_H
#define KV_SHIM_API_H

#include <stdbool.h>

#define KVSHIM_DIRECT 1
#include "shim/kvshim.h"

#define KV_API_DEVICES 64

/* From core's negative errno. 0 stays 0. */
int kv_api_error(int error);

/*
 * A call was refused because of what it was given: one line, and the error itself. call: the
 * function's name; format: what was wrong with it.
 */
int kv_api_refuse(int error, const char *call, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether pools may look ahead (KVSHIM_PREDICT). Written before the first driver call returns, then
 * constant. */
extern bool kv_api_may_predict;

/* 0 if the shim is at work in this process, else KVSHIM_ERR_INERT; said in a line, once, if it was
 * at work before (in a forked child, for one). */
int kv_api_ready(void);

/* [outside] Memory was short: pages that hints have given back, and that have not gone yet, go now.
 * Worth another try, also when it finds nothing: the agent may be at it. */
void kv_api_reap(void);

/* Copies as much of a structure as both sides have, and clears the rest; size is kept. INVALID:
 * smaller than any version of it. */
#define KV_API_GIVE(to, from, call) kv_api_give(to, &(from), sizeof(from), call)
int kv_api_give(void *to, const void *from, uint64_t from_size, const char *call);
/* first: the size of its first version; a shorter one may end within a pointer. */
#define KV_API_TAKE(to, from, first, call) kv_api_take(&(to), from, sizeof(to), first, call)
int kv_api_take(
	void *to, const void *from, uint64_t to_size, uint64_t first_size, const char *call);

#endif
