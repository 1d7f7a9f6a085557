/* SPDX-License-Identifier: Apache-2.0 */
/* segment_place.h - a directory and a segment of its own for one test. */
#ifndef KV_TESTS_SEGMENT_PLACE_H
#define KV_TESTS_SEGMENT_PLACE_H

#include <stdint.h>

#include "core/coord.h"

struct place {
	char directory[64];
	char path[256]; /* of the segment */
	uint8_t uuid[16];
};
extern struct place place;

void place_make(void);
void place_remove(void);
int place_join(struct kv_coord **ret_coord, char *text, uint32_t text_size);
int place_join_within(
	uint64_t lock_timeout_ns, struct kv_coord **ret_coord, char *text, uint32_t text_size);

#endif
