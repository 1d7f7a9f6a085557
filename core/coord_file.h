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
/* An existing segment, by its path. Errors of kv_coord_attach(). On success the caller closes it.
 */
int kv_coord_file_attach(
	const char *path, struct kv_coord_file *ret_file, char *text, uint32_t text_size);
void kv_coord_file_close(struct kv_coord_file *file);
/* True if the file still stands under its name. */
bool kv_coord_file_is_linked(const struct kv_coord_file *file);

/*
 * The record lock on one byte of the file that the owner of slot index holds as long as it lives.
 * It is this process's, not the thread's: taking what the process has is a success, and closing any
 * descriptor of the file drops all of them. 0; -EAGAIN: another process holds it; other errors: the
 * file system has no such locks.
 */
int kv_coord_file_mark(const struct kv_coord_file *file, uint32_t index);
void kv_coord_file_unmark(const struct kv_coord_file *file, uint32_t index);
/* 1: another process holds it, 0: no other does, negative: cannot be told. */
int kv_coord_file_is_marked(const struct kv_coord_file *file, uint32_t index);

#endif
