/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_owner.h - who a process is, so that a recycled pid is not mistaken for it.
 */
#ifndef KV_CORE_COORD_OWNER_H
#define KV_CORE_COORD_OWNER_H

#include <stdint.h>

struct kv_coord_owner {
	int32_t pid;
	uint32_t uid;   /* effective */
	uint64_t start; /* clock ticks after boot, field 22 of /proc/PID/stat; 0: /proc cannot be
			   read */
	uint64_t pidns; /* inode of /proc/self/ns/pid; 0: cannot be read */
	uint64_t image; /* differs after exec */
	char name[64];  /* /proc/self/comm */
};

void kv_coord_owner_self(struct kv_coord_owner *ret_owner);

#endif
