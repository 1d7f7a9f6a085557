/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_file.h - the file behind a segment: found or made, checked and mapped.
 */
#ifndef KV_CORE_COORD_FILE_H
#define KV_CORE_COORD_FILE_H

#include <stdbool.h>

#include "core/coord.h"

struct kv_coord_file {
	int fd;
	struct kv_coord_segment *segment; /* mapped shared, writable */
	char path[512];
};

/* Errors of kv_coord_join(). On success the caller closes it. */
int kv_coord_file_open(const struct kv_coord_request *request, struct kv_coord_file *ret_file,
	char *text, uint32_t text_size);
void kv_coord_file_close(struct kv_coord_file *file);
/* True if the file still stands under its name. */
bool kv_coord_file_is_linked(const struct kv_coord_file *file);

#endif
