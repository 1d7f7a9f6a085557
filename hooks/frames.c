/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.c - the unwinder of libgcc (linked in statically) and dladdr.
 */
#include "hooks/frames.h"

#include <dlfcn.h>
#include <string.h>
#include <unwind.h>

/* One per process: tells our own frames from others. */
static const char here;

struct walk {
	struct kv_frames *frames;
	const void *own_base;
};

static _Unwind_Reason_Code visit(struct _Unwind_Context *context, void *arg)
{
	struct walk *walk = arg;
	struct kv_frames *frames = walk->frames;
	uintptr_t pc = _Unwind_GetIP(context);
	const char *slash;
	Dl_info info;

	/* The return address may be the first byte of the next function. */
	if (!pc || !dladdr((void *)(pc - 1), &info) || info.dli_fbase == walk->own_base)
		return _URC_NO_REASON;
	slash = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
	frames->libraries[frames->n] = slash ? slash + 1 : info.dli_fname;
	frames->symbols[frames->n] = info.dli_sname;
	return ++frames->n < KV_FRAMES_MAX ? _URC_NO_REASON : _URC_END_OF_STACK;
}

void kv_frames_collect(struct kv_frames *frames)
{
	struct walk walk = {.frames = frames};
	Dl_info info;

	frames->n = 0;
	if (dladdr(&here, &info))
		walk.own_base = info.dli_fbase;
	_Unwind_Backtrace(visit, &walk);
}
