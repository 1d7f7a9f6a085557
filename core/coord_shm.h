/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_shm.h - the shared segment: one file per GPU, one slot and one account per process.
 *
 * File kvshim-<uid>-<gpu uuid, 32 hex digits> in /dev/shm (or the directory option), mode 0600;
 * with a shared group kvshim-g<gid>-<...>, mode 0660. Fixed-width fields, append only, natural
 * alignment, little endian. Every value read from it is hostile: readers bound their loops by the
 * constants below, not by what the segment says, and strings are read with their size.
 *
 * A slot belongs to the process that owner_pid and owner_start name (start time as in field 22 of
 * /proc/PID/stat, so that a recycled pid is not mistaken for the owner). Its owner also holds a
 * record lock on byte <slot index> of the file, which the kernel drops when the owner ends or calls
 * exec: that tells the living from the dead across pid namespaces. generation rises by one whenever
 * the slot changes hands.
 *
 * Who writes what:
 *   owner, under seq        everything of a slot from owner_pid on, but control
 *   anyone, under the mutex control.limits, control.commands[].asked and their parameters; each
 * field is one atomic store, read without the mutex owner, atomic control.commands[].answered and
 * result, account fields that say so under the mutex         the other account fields, the sums,
 * the ring of decisions seq is a sequence lock: odd while the owner writes. The robust
 * process-shared mutex is never held across a wait or a driver call. No invariant spans two stores:
 * whoever dies while holding it leaves accounts that are each right before or right after its last
 * store, and sums that are made anew.
 */
#ifndef KV_CORE_COORD_SHM_H
#define KV_CORE_COORD_SHM_H

#include <pthread.h>
#include <stdint.h>

#include "core/stats.h"

#define KV_COORD_MAGIC 0x6d6968732d76766bull /* "kvv-shim" */
#define KV_COORD_LAYOUT 3u
#define KV_COORD_SLOTS 256u
#define KV_COORD_ROWS 64u /* reservations shown per process; more are counted, not listed */
#define KV_COORD_COMMANDS 8u
#define KV_COORD_DECISIONS 64u
#define KV_COORD_WEIGHT 100u        /* of a process that says nothing */
#define KV_COORD_WEIGHT_MAX 100000u /* least: 1 */
#define KV_COORD_NO_LIMIT UINT64_MAX
#define KV_COORD_IDLE_NS 5000000000ull
#define KV_COORD_GRANT_NS 2000000000ull /* a grant that is not taken so long is for all again */

/* enum kv_coord_slot.state */
enum kv_coord_state {
	KV_COORD_FREE = 0,
	KV_COORD_ACTIVE = 1,
	KV_COORD_INERT = 2, /* shim loaded, cannot work; note says why */
};

/* What the process is doing (struct kv_coord_account.activity). That a reservation is static stands
 * in its row. */
enum kv_coord_activity {
	KV_COORD_BUSY = 0,    /* submits work */
	KV_COORD_IDLE = 1,    /* nothing submitted for its idle time, and drained */
	KV_COORD_EVICTED = 2, /* idle, and its content is in host memory */
};

/* What may be asked of a process (index of struct kv_coord_control.commands). */
enum kv_coord_command_kind {
	KV_COORD_EVICT = 0,   /* move everything out now; bytes: at most so many (no limit: all) */
	KV_COORD_RESTORE = 1, /* move back in what was moved out; bytes as above */
	KV_COORD_RECLAIM = 2, /* give so many bytes of device memory back, cheapest first */
	KV_COORD_PAUSE = 3,   /* evict the reservations with this tag and keep them out */
	KV_COORD_RESUME = 4,  /* ends that */
};

/* Pages whose content must be kept may be moved out to give so much; else only what costs nothing.
 */
#define KV_COORD_IN_USE_TOO 1u

/*
 * One kind of request and its answer. A request is pending while asked != answered. A new post of
 * the same kind while one is pending joins it: the larger bytes counts, one answer answers both.
 */
struct kv_coord_command {
	uint32_t asked;    /* rises by one per post; atomic: release when posted */
	uint32_t answered; /* futex; the value of asked that was answered; atomic: release by owner
			    */
	uint64_t bytes;
	int64_t result;    /* bytes moved, or a negative errno; before answered */
	uint64_t asked_ns; /* CLOCK_MONOTONIC of the oldest post that is pending */
	int32_t by_pid;    /* who asked last */
	uint32_t flags;    /* of RECLAIM: KV_COORD_IN_USE_TOO */
	char tag[32];
};

struct kv_coord_limits {
	uint64_t min;         /* device bytes that others cannot ask back while it uses them */
	uint64_t max;         /* device bytes that it never exceeds; KV_COORD_NO_LIMIT */
	uint64_t host_budget; /* host bytes that may stand in for device memory */
	uint32_t weight;      /* of its fair share; 1 .. KV_COORD_WEIGHT_MAX */
	uint32_t idle_ms;     /* without a submission, until it evicts itself; 0: never, and others
				 count     it as idle after KV_COORD_IDLE_NS */
};

struct kv_coord_control {
	uint32_t doorbell;          /* futex; rises by one per ring */
	uint32_t limits_generation; /* rises by one per change of limits, after the change */
	uint32_t limits_seen;       /* owner, atomic: the generation that is in effect there */
	uint32_t pad;
	struct kv_coord_limits limits;
	struct kv_coord_command commands[KV_COORD_COMMANDS];
};

/* The part of a process that the ledger sums up, all of them side by side. */
struct kv_coord_account {
	uint64_t charged;  /* device bytes it may hold for pages: held plus what it has in hand */
	uint64_t held;     /* owner, atomic: device bytes of handles that exist: backed and spare */
	uint64_t native;   /* owner, atomic: device bytes allocated past us, as far as seen */
	uint64_t promised; /* bytes of its reservations */
	uint64_t host_budget; /* what backs its promises beyond the device */
	uint64_t overcommit;  /* what it may promise beyond both */
	uint64_t spare;       /* owner, atomic: of held, given back without a gate */
	uint64_t dead;        /* owner, atomic: of held, given back without a copy */
	uint64_t pinned;      /* owner, atomic: of held, never given back (exported) */
	uint64_t asked;       /* bytes that it waits for; 0: it does not wait */
	uint64_t asked_ns;    /* CLOCK_MONOTONIC since when */
	uint64_t resident_ns; /* CLOCK_MONOTONIC of its last restore or wait that was served */
	uint64_t activity_ns; /* owner, atomic: CLOCK_MONOTONIC of its last submission, coarse */
	uint64_t alive_ns;    /* owner, atomic: CLOCK_MONOTONIC of its agent's last turn */
	uint32_t activity;    /* owner, atomic: enum kv_coord_activity */
	uint32_t blind; /* owner, atomic: 1 while it holds pages that it could not be charged with
			   yet, because the mutex was not to be had */
	/* Device bytes that others have given up for this process while it waits: nobody else can
	 * have them. Its owner makes them part of charged; until then they count like that. Who
	 * waits no more, or does not take them in KV_COORD_GRANT_NS, loses them. */
	uint64_t granted;
	uint64_t granted_ns;                    /* CLOCK_MONOTONIC of the last grant */
	uint64_t asked_by[KV_COORD_SLOTS / 64]; /* bits of the slots that have asked it to give and
						 * may be waiting for it still */
	uint32_t elsewhere; /* owner, atomic: threads that wait for memory of another device, inside
			       the gate: until then it can give nothing that takes a closed gate */
	uint32_t pad;
};

struct kv_coord_slot {
	uint32_t state; /* enum kv_coord_state */
	uint32_t generation;
	uint32_t seq;      /* sequence lock of everything below but control */
	int32_t owner_pid; /* as seen in the owner's pid namespace */
	uint64_t owner_start;
	uint64_t owner_pidns; /* inode of /proc/self/ns/pid */
	uint32_t owner_uid;
	uint32_t n_rows;      /* reservations, also those beyond KV_COORD_ROWS */
	uint64_t owner_image; /* differs after exec, which keeps pid and start time */
	char name[64];        /* /proc/self/comm */
	char note[128];
	uint64_t updated_ns; /* CLOCK_MONOTONIC of the last write */
	struct kv_process_stats process;
	struct kv_reservation_stats rows[KV_COORD_ROWS];
	struct kv_coord_control control;
	uint64_t reserved[32];
};

/* Why pages went from one process to another (struct kv_coord_decision.reason). */
enum kv_coord_reason {
	KV_COORD_BECAUSE_SPARE = 0,  /* handles that nothing uses */
	KV_COORD_BECAUSE_DEAD = 1,   /* pages whose content is never read again */
	KV_COORD_BECAUSE_IDLE = 2,   /* the victim submits nothing */
	KV_COORD_BECAUSE_SHARE = 3,  /* the victim is the most above its fair share */
	KV_COORD_BECAUSE_LIMIT = 4,  /* the victim is above its maximum */
	KV_COORD_BECAUSE_NOBODY = 5, /* nobody can give: victim_pid 0 */
};

/* One decision of the policy, for people. */
struct kv_coord_decision {
	uint64_t number; /* 1 and up; 0: this entry is empty */
	uint64_t time_ns;
	int32_t requester_pid;
	int32_t victim_pid;
	uint64_t bytes;
	uint32_t reason; /* enum kv_coord_reason */
	uint32_t pad;
	char text[96]; /* one line */
};

struct kv_coord_segment {
	uint64_t magic;
	uint32_t layout;
	uint32_t header_size; /* offsetof(struct kv_coord_segment, slots) */
	uint32_t slot_size;
	uint32_t n_slots;
	uint64_t size; /* of the file */
	uint8_t gpu_uuid[16];
	char gpu_name[64];
	uint64_t gpu_total;  /* bytes */
	uint32_t mutex_size; /* sizeof(pthread_mutex_t) of who made it */
	uint32_t ready;      /* 1 once everything above is valid; atomic: release/acquire */
	union {
		pthread_mutex_t mutex; /* robust, process-shared */
		uint8_t mutex_space[64];
	};
	/* Sums over the accounts, made anew by whoever holds the mutex and changes one. */
	uint64_t charged_total; /* with what is granted */
	uint64_t promised_total;
	uint64_t native_total;
	uint64_t host_budget_total;
	uint64_t outside;   /* device bytes in use that no account explains: contexts, strangers */
	uint64_t free_seen; /* free bytes of the device as the driver last said ... */
	uint64_t free_seen_ns; /* ... at this CLOCK_MONOTONIC */
	uint32_t freed;     /* futex; rises whenever an account gives bytes back while some wait */
	uint32_t n_waiting; /* accounts that wait; atomic, a hint only */
	uint64_t n_repairs; /* times that a holder of the mutex had died */
	uint64_t n_decisions; /* entry n is decisions[(n - 1) % KV_COORD_DECISIONS] */
	uint32_t used_end;    /* slots from here on are free, and their accounts zero: who sums up
				 looks no further; see kv_coord_used_end() */
	uint32_t pad;
	uint64_t reserved[21];
	struct kv_coord_decision decisions[KV_COORD_DECISIONS];
	struct kv_coord_account accounts[KV_COORD_SLOTS]; /* by slot index */
	struct kv_coord_slot slots[KV_COORD_SLOTS];
};

_Static_assert(sizeof(pthread_mutex_t) <= 64, "the mutex fits its space");
_Static_assert(sizeof(struct kv_coord_slot) % 8 == 0, "slots keep their alignment");
_Static_assert(sizeof(struct kv_coord_account) == 176, "accounts keep their shape");
_Static_assert(sizeof(struct kv_coord_command) == 72, "commands keep their shape");
_Static_assert(sizeof(struct kv_coord_decision) == 136, "decisions keep their shape");

/* ---- for readers: pure, no lock, no allocation (coord_check.c, coord_owner.c) ---- */

/*
 * Is this a segment that we can read? bytes: at least min(size, sizeof(struct kv_coord_segment))
 * bytes may be read. size: of the file. 0; -EPROTONOSUPPORT: a segment of another layout; -EPROTO:
 * no segment, or a damaged one. On an error text (may be NULL) says what is wrong.
 */
int kv_coord_check_header(const void *bytes, uint64_t size, char *text, uint32_t text_size);
/*
 * Is this copy of a slot in use sensible? 0, or -EPROTO with text. Strings of a slot that passed
 * end within their arrays.
 */
int kv_coord_check_slot(const struct kv_coord_slot *copy, char *text, uint32_t text_size);
/* The same for a copy of an account of a device of gpu_total bytes. */
int kv_coord_check_account(
	const struct kv_coord_account *copy, uint64_t gpu_total, char *text, uint32_t text_size);
/*
 * Is no more charged than the device has, and no account above its charge? The caller holds the
 * mutex, or nobody else is there. 0, or -EPROTO with text.
 */
int kv_coord_check_sums(const struct kv_coord_segment *segment, char *text, uint32_t text_size);
/* Header, all slots that nobody writes at this moment, their accounts and the decisions. As above.
 */
int kv_coord_check(const void *bytes, uint64_t size, char *text, uint32_t text_size);
/*
 * Copies a slot that is in use, under its sequence lock. 0; -ENOENT: it is free; -EAGAIN: its owner
 * was writing at every try, or died writing: the copy is made and may be torn. Limits and commands
 * are outside that lock: each field of them is whole, together they may be of two moments.
 */
int kv_coord_read_slot(const struct kv_coord_slot *shared, struct kv_coord_slot *ret_copy);
/* Copies an account field by field; index below KV_COORD_SLOTS. */
void kv_coord_read_account(
	const struct kv_coord_segment *shared, uint32_t index, struct kv_coord_account *ret_copy);
/*
 * Copies the decisions of which the segment still has whole copies, oldest first, at most max.
 * Returns how many; each text ends within its array.
 */
uint32_t kv_coord_read_decisions(
	const struct kv_coord_segment *shared, struct kv_coord_decision *ret_copies, uint32_t max);

enum kv_coord_life {
	KV_COORD_ALIVE = 0,
	KV_COORD_DEAD = 1,
	KV_COORD_ELSEWHERE = 2, /* in another pid namespace: cannot be told from here */
};
/* Is the owner that the slot names still there? Reads /proc. */
enum kv_coord_life kv_coord_owner_life(const struct kv_coord_slot *copy);

#endif
