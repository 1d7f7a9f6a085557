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

#include <stdbool.h>
#include <stdint.h>

#include "core/coord_shm.h"

struct kv_coord;

struct kv_coord_request {
	const char *directory;
	uint8_t uuid[16];
	const char *gpu_name;     /* for readers; may be NULL */
	uint64_t gpu_total;       /* bytes */
	uint64_t lock_timeout_ns; /* bound on waiting for the segment's mutex; 0: one second */
	uint32_t has_group; /* 1: the segment is shared by the members of gid, whoever they are */
	uint32_t gid;
	struct kv_coord_limits limits; /* of this process to begin with; weight 0: as if unset */
};

/* The file of a GPU: "<directory>/kvshim-<uid>-<32 hex digits>". -ENAMETOOLONG. */
int kv_coord_path(
	const char *directory, uint32_t uid, const uint8_t uuid[16], char *ret_path, uint32_t size);
/* That of a group: "<directory>/kvshim-g<gid>-<32 hex digits>". -ENAMETOOLONG. */
int kv_coord_group_path(
	const char *directory, uint32_t gid, const uint8_t uuid[16], char *ret_path, uint32_t size);

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

/* state of the account, see struct kv_coord_account. */
void kv_coord_put_activity(struct kv_coord *coord, enum kv_coord_activity activity);

/* ---- what others may ask of a process: limits and commands ---- */

/*
 * Opens a segment by its path without a slot of one's own, for the calls below and for reading.
 * Errors of kv_coord_join(). kv_coord_detach() closes it; kv_coord_leave() does too, but keeps the
 * handle and the mapping.
 */
int kv_coord_attach(const char *path, struct kv_coord **ret_coord, char *text, uint32_t text_size);
/* Unmaps and frees what kv_coord_attach() opened; no other thread may use it any more. */
void kv_coord_detach(struct kv_coord *coord);

/*
 * The slot of the process that has this pid now, in this pid namespace or, if there is none, in
 * any. -ESRCH. Reads /proc.
 */
int kv_coord_find_pid(struct kv_coord *coord, int32_t pid, uint32_t *ret_slot);

enum kv_coord_limit {
	KV_COORD_LIMIT_MIN = 1,
	KV_COORD_LIMIT_MAX = 2,
	KV_COORD_LIMIT_HOST_BUDGET = 4,
	KV_COORD_LIMIT_WEIGHT = 8,
	KV_COORD_LIMIT_IDLE_MS = 16,
};
/* The limits in force of any slot; -ESRCH: it is free. ret_generation may be NULL. */
int kv_coord_limits(struct kv_coord *coord, uint32_t slot, struct kv_coord_limits *ret_limits,
	uint32_t *ret_generation);
/*
 * Changes those limits of a slot that mask (enum kv_coord_limit) names and rings its doorbell; to
 * what they are already: nothing is seen of it.
 * -EINVAL: min above max, a weight out of range. -ESRCH: the slot is free. -ETIMEDOUT, -EPROTO: the
 * mutex.
 */
int kv_coord_set_limits(
	struct kv_coord *coord, uint32_t slot, const struct kv_coord_limits *limits, uint32_t mask);

/*
 * Asks the owner of a slot for something and rings its doorbell. bytes: KV_COORD_NO_LIMIT: all.
 * tag: for PAUSE and RESUME, else NULL. ret_ticket: for kv_coord_wait(). -ESRCH: the slot is free
 * or inert. -EINVAL: unknown kind. -EBUSY: the same is being asked of another tag. -ETIMEDOUT,
 * -EPROTO: the mutex.
 */
int kv_coord_post(struct kv_coord *coord, uint32_t slot, enum kv_coord_command_kind kind,
	uint64_t bytes, const char *tag, uint32_t *ret_ticket);
/*
 * Waits for the answer. 0 and *ret_result (bytes, or the owner's negative errno); -ETIMEDOUT;
 * -ESRCH: the owner has gone. No lock is held; must not be called by the owner's own agent.
 */
int kv_coord_wait(struct kv_coord *coord, uint32_t slot, enum kv_coord_command_kind kind,
	uint32_t ticket, uint64_t timeout_ns, int64_t *ret_result);

/* The futex word (process-shared) that others ring: rises by one each time. Stays mapped for good,
 * also after leaving. */
uint32_t *kv_coord_doorbell(struct kv_coord *coord);
/* Rings the doorbell of a slot: one system call, no lock. */
void kv_coord_ring(struct kv_coord *coord, uint32_t slot);

/* ---- the owner's side, for its agent ---- */

/* What is asked of this process, one kind. */
struct kv_coord_asked {
	enum kv_coord_command_kind kind;
	uint32_t ticket;
	uint64_t bytes;
	int32_t by_pid;
	uint32_t flags;    /* as in struct kv_coord_command */
	uint64_t asked_ns; /* CLOCK_MONOTONIC of the oldest post that this answers; hostile */
	char tag[32];      /* ends within */
};
/* The oldest request that is pending, without a lock. False: none. */
bool kv_coord_next(struct kv_coord *coord, struct kv_coord_asked *ret_asked);
/* Answers it: bytes moved, or a negative errno. Wakes who waits. */
void kv_coord_answer(struct kv_coord *coord, const struct kv_coord_asked *asked, int64_t result);
/*
 * Limits of this process that have changed since it last asked. False: none (one relaxed load).
 */
bool kv_coord_new_limits(struct kv_coord *coord, struct kv_coord_limits *ret_limits);
/* The agent is alive. To be called at every turn, by one thread. Takes the mark of a living owner
 * again if the program has closed the file. */
void kv_coord_beat(struct kv_coord *coord);

/* For tests. */
struct kv_coord_segment *kv_coord_segment(struct kv_coord *coord);
uint32_t kv_coord_slot_index(const struct kv_coord *coord);
/* Takes the segment's mutex as a join would; the caller must unlock it. */
int kv_coord_lock(struct kv_coord *coord);
void kv_coord_unlock(struct kv_coord *coord);

#endif
