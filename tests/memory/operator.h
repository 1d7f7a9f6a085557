/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operator.h - for programs that ask things of themselves through the shared segment, with a view
 * of it of their own, as the kvshim command has. Who answers is the agent in the preloaded library.
 */
#ifndef KV_TESTS_MEMORY_OPERATOR_H
#define KV_TESTS_MEMORY_OPERATOR_H

#include <errno.h>
#include <unistd.h>

#include "core/coord.h"
#include "tests/memory/check.h"

#define PATIENCE_NS 60000000000ull

static struct kv_coord *coord;
static uint32_t slot;

/* Sets coord and slot, or ends the program. */
static inline void find_self(void)
{
	struct kv_process_stats stats;
	char path[512], text[128];
	CUdevice device;
	CUuuid uuid;

	CHECK(state_find_self() && state_process(&stats));
	OK(cuDeviceGet(&device, 0));
	OK(cuDeviceGetUuid_v2(&uuid, device));
	CHECK(kv_coord_path(getenv("KVSHIM_DIR"), geteuid(), (uint8_t *)uuid.bytes, path,
		      sizeof(path)) == 0);
	if (kv_coord_attach(path, &coord, text, sizeof(text)) < 0 ||
		kv_coord_find_pid(coord, getpid(), &slot) < 0) {
		printf("FAILED: no slot of this process in %s\n", path);
		exit(1);
	}
}

/* The answer: bytes or a negative errno. */
static inline int64_t ask(enum kv_coord_command_kind kind, uint64_t bytes, const char *tag)
{
	int64_t result = -EIO;
	uint32_t ticket;

	CHECK(kv_coord_post(coord, slot, kind, bytes, tag, &ticket) == 0);
	CHECK(kv_coord_wait(coord, slot, kind, ticket, PATIENCE_NS, &result) == 0);
	return result;
}

#endif
