/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord.h - this process's place in the shared segment of one GPU.
 *
 * kv_coord_join() finds or makes the segment and claims a slot; what is put is written into the
 * slot under its sequence lock. A segment appears under its name only when it is complete. A
 * process that is killed leaves a slot that the next one to join takes back. The last one to leave
 * removes the file. All functions are thread-safe; none calls the GPU. Errors are negative errno
 * values.
 */
#ifndef KV_CORE_COORD_H
#define KV_CORE_COORD_H

#include <stdint.h>

#include "core/coord_shm.h"

struct kv_coord;

struct kv_coord_request {
	const char *directory;
	uint8_t uuid[16];
	const char *gpu_name;     /* for readers; may be NULL */
	uint64_t gpu_total;       /* bytes */
	uint64_t lock_timeout_ns; /* bound on waiting for the segment's mutex; 0: one second */
};

/* The file of a GPU: "<directory>/kvshim-<uid>-<32 hex digits>". -ENAMETOOLONG. */
int kv_coord_path(
	const char *directory, uint32_t uid, const uint8_t uuid[16], char *ret_path, uint32_t size);

/*
 * Claims a slot, making the segment if there is none.
 *   -EPROTO         the file is no segment, or a damaged one
 *   -EPROTONOSUPPORT a segment of another layout (another version of kvshim)
 *   -EPERM          the file belongs to another user, or others may write to it
 *   -EUSERS         all slots are taken
 *   -ETIMEDOUT      somebody holds the mutex and does not let go
 *   -ENOSPC, -EDQUOT, -EFBIG  no room for it
 *   -EACCES, -EROFS, -ENOENT, -ENOTDIR ... as the file system said
 * text (may be NULL) says more about the first two.
 */
int kv_coord_join(const struct kv_coord_request *request, struct kv_coord **ret_coord, char *text,
	uint32_t text_size);

/* Frees the slot, and the file if nobody else is there. Later puts by other threads do nothing;
 * the handle itself is never freed, since they may still hold it. */
void kv_coord_leave(struct kv_coord *coord);
/* In the child after a fork: the slot is the parent's; later puts and leave do nothing. Takes no
 * lock. */
void kv_coord_forget(struct kv_coord *coord);

void kv_coord_put_process(struct kv_coord *coord, const struct kv_process_stats *stats);
/* Rows from KV_COORD_ROWS on are not kept. base 0 frees the row. */
void kv_coord_put_row(
	struct kv_coord *coord, uint32_t row, const struct kv_reservation_stats *stats);
/* state: KV_COORD_ACTIVE or KV_COORD_INERT; note: one line, cut to 127 bytes. */
void kv_coord_put_state(struct kv_coord *coord, enum kv_coord_state state, const char *note);

/* For tests. */
struct kv_coord_segment *kv_coord_segment(struct kv_coord *coord);
uint32_t kv_coord_slot_index(const struct kv_coord *coord);
/* Takes the segment's mutex as a join would; the caller must unlock it. */
int kv_coord_lock(struct kv_coord *coord);
void kv_coord_unlock(struct kv_coord *coord);

#endif
