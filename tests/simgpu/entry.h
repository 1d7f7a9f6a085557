/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry.h - the frame around every exported entry point.
 *
 * Counts the call, injects the failures and the latency that the environment asks for, refuses what
 * the driver would refuse before it looks at the arguments (not initialised, no context, lost
 * context, a capture that the call would disturb), and tells the implementation whether the
 * per-thread variant was called.
 */
#ifndef SIM_ENTRY_H
#define SIM_ENTRY_H

#include "internal.h"

enum sim_entry_flags {
	SIM_NO_INIT = 1,     /* works before cuInit */
	SIM_NO_CONTEXT = 2,  /* needs no current context */
	SIM_NO_STICKY = 4,   /* answers although the context is lost */
	SIM_UNSAFE = 8,      /* refused while a stream is being captured */
	SIM_UNSAFE_VMM = 16, /* the same, if SIMGPU_UNSAFE_VMM is set */
	SIM_PER_THREAD = 32, /* stream 0 is the per-thread stream */
};

struct sim_entry {
	const char *name;
	uint32_t flags;
};

struct sim_proc {
	const char *name; /* as given to cuGetProcAddress */
	int version;      /* in which this ABI appeared */
	int per_thread;
	void *address;
};

extern const struct sim_entry sim_entries[];
extern const struct sim_proc sim_procs[];
extern const unsigned sim_n_procs;

#define SIM_EXPORT __attribute__((visibility("default")))

struct sim_frame {
	bool per_thread; /* of the call around this one */
	int entry;
};

/* CUDA_SUCCESS: go on. Always followed by sim_leave(). */
CUresult sim_enter(struct sim_frame *frame, int entry);
CUresult sim_leave(struct sim_frame *frame, CUresult result);
/* An entry point without an implementation: says so once, CUDA_ERROR_NOT_SUPPORTED. */
CUresult sim_stub(int entry);

#define SIM_FRAME(name, call) \
	struct sim_frame frame; \
	CUresult result = sim_enter(&frame, SIM_FN_##name); \
	if (result == CUDA_SUCCESS) \
		result = call; \
	return sim_leave(&frame, result)
#define SIM_STUB(name) return sim_stub(SIM_FN_##name)

#endif
