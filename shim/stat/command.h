/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - what an operator asks of a process from the live view. The only part of kvshim-stat
 * that writes to a segment, and only kv_command_send() does.
 */
#ifndef KV_SHIM_STAT_COMMAND_H
#define KV_SHIM_STAT_COMMAND_H

#include <stdint.h>

#include "stat/reader.h"

enum kv_command_kind { KV_COMMAND_LIMITS = 0, KV_COMMAND_EVICT, KV_COMMAND_RESTORE };

struct kv_command {
	enum kv_command_kind kind;
	char path[512]; /* of the segment */
	uint32_t slot_index, generation;
	int32_t pid;
	char name[64];
	uint32_t mask;                 /* enum kv_coord_limit: which of limits to change */
	struct kv_coord_limits limits; /* of KV_COMMAND_LIMITS */
};

/* A command for this process. */
void kv_command_make(struct kv_command *command, enum kv_command_kind kind,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process);
/*
 * Reads "min=1G max=none weight=200 host=4G idle=60s", any of them. 0, or -EINVAL with one line in
 * text.
 */
int kv_command_read_limits(
	struct kv_command *command, const char *words, char *text, uint32_t text_size);
/* What it will do, as a question: one line. */
void kv_command_ask(const struct kv_command *command, char *text, uint32_t text_size);
/*
 * Does it, and says in one line what came of it. The slot must still be the process's. Evicting and
 * restoring are asked for, not waited for.
 */
void kv_command_send(const struct kv_command *command, char *text, uint32_t text_size);

#endif
