/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.h - the processes that a command is about: what is done to each of their slots, and how it
 * is told when there is none.
 */
#ifndef KV_SHIM_COMMAND_TARGET_H
#define KV_SHIM_COMMAND_TARGET_H

#include "shim/command/command.h"
#include "shim/command/segments.h"

struct kv_target {
	const struct kv_call *call;
	int32_t pid; /* 0: every process that works */
	/* For each slot. An exit status; the first one that is not 0 becomes that of the command.
	 */
	int (*slot)(struct kv_target *target, struct kv_coord *coord, uint32_t slot, int32_t pid);
	void *ctx;
	uint32_t n_slots; /* found so far, over all segments */
	int status;
};

/* Reads a pid. False: one line has been written. */
bool kv_target_pid(const struct kv_call *call, const char *text, int32_t *ret_pid);
/* Visits the slots of target->pid in the segments of --dir and --gpu. An exit status; no slot is
 * KV_EXIT_FAILED, with a line that says why. */
int kv_target_visit(struct kv_target *target);

/* A size, count or time of a flag, by the grammar of options; false: one line has been written. A
 * flag that was not given leaves *ret_number. */
bool kv_target_number(const struct kv_call *call, const char *flag, enum kv_option_type type,
	int64_t low, int64_t high, const char *word, int64_t word_value, int64_t *ret_number);

#endif
