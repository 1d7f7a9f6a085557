/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_file.h - the file behind a segment: found or made, checked and mapped.
 */
#ifndef KV_CORE_COORD_FILE_H
#define KV_CORE_COORD_FILE_H

#include <stdbool.h>

#include "core/coord.h"

struct kv_coord_file {
	int fd; /* atomic: relaxed. A program that closes all descriptors, as daemons do, closes
		   this one too, and may have another file under its number: nothing is asked of it
		   before it is looked at */
	uint64_t device, inode;           /* of the file; immutable once open */
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
/* Closes the descriptor, unless it is the program's by now. The mapping stays. */
void kv_coord_file_let_go(struct kv_coord_file *file);
/*
 * If the descriptor is not ours any more, opens the file again; the record locks are gone with it.
 * One thread at a time. 0: it was ours. 1: opened again, to be marked again. -ESTALE: another file
 * has its name now; or as open(2) says.
 */
int kv_coord_file_keep(struct kv_coord_file *file);
/* True if the file still stands under its name. */
bool kv_coord_file_is_linked(const struct kv_coord_file *file);

/*
 * The record lock on one byte of the file that the owner of slot index holds as long as it lives.
 * It is this process's, not the thread's: taking what the process has is a success, and closing any
 * descriptor of the file drops all of them. 0; -EAGAIN: another process holds it; other errors: the
 * file system has no such locks, or the descriptor is not ours any more (-EBADF).
 */
int kv_coord_file_mark(const struct kv_coord_file *file, uint32_t index);
void kv_coord_file_unmark(const struct kv_coord_file *file, uint32_t index);
/* 1: another process holds it, 0: no other does, negative: cannot be told. */
int kv_coord_file_is_marked(const struct kv_coord_file *file, uint32_t index);

#endif
