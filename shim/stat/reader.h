/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.h - from segments to plain structures: all that the views see.
 *
 * Opens files for reading only, creates no CUDA context, takes no lock. A segment or a slot that
 * cannot be read is an entry with a problem, not an error. The clock is a parameter.
 */
#ifndef KV_SHIM_STAT_READER_H
#define KV_SHIM_STAT_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/coord_shm.h"
#include "stat/metrics.h"

struct kv_stat_clock {
	uint64_t now_ns;  /* CLOCK_MONOTONIC, as the times in the segments */
	uint64_t wall_ns; /* since 1970 */
};

enum kv_stat_state {
	KV_STAT_ACTIVE = 0,
	KV_STAT_IDLE,
	KV_STAT_EVICTED,
	KV_STAT_STATIC, /* every reservation is */
	KV_STAT_INERT,
	KV_STAT_DEAD,
	KV_STAT_STATES,
};

struct kv_stat_process {
	uint32_t slot_index;
	uint32_t generation; /* of the slot */
	int32_t pid;         /* in its own pid namespace */
	uint32_t uid;
	enum kv_coord_life life;
	enum kv_stat_state state;
	char problem[128]; /* "" or why nothing below is known */
	char name[64];
	char user[33]; /* the number, if the uid has no name here */
	char note[128];
	bool pages_known;                   /* every reservation has a row */
	uint64_t pages[8];                  /* of all reservations, by enum kv_page_state */
	uint64_t value[KV_PROCESS_METRICS]; /* KV_UNKNOWN where not told */
	double rate[KV_PROCESS_METRICS];    /* of counters, per second; below 0: not known */
	uint32_t n_rows;                    /* reservations that are listed */
	struct kv_reservation_stats *rows;  /* checked; owned; NULL if there are none */
};

struct kv_stat_segment {
	char path[512];
	char problem[160]; /* "" or why nothing below is known */
	char uuid[37];
	char gpu_name[64];
	uint64_t value[KV_GPU_METRICS]; /* KV_UNKNOWN where not told */
	uint32_t n_processes;
	struct kv_stat_process *processes; /* by slot index; owned */
	uint32_t n_decisions;
	struct kv_coord_decision *decisions; /* oldest first; owned; NULL if there are none */
};

struct kv_stat {
	char directory[256];
	char problem[160]; /* "" or why the directory cannot be read */
	struct kv_stat_clock clock;
	uint32_t n_segments;
	struct kv_stat_segment *segments; /* by path; owned */
};

/* The clock of this machine. */
struct kv_stat_clock kv_stat_clock_now(void);
/* Reads everything in directory. 0 or -ENOMEM; ret_stat owns nothing then. Rates are not known. */
int kv_stat_read(
	const char *directory, const struct kv_stat_clock *clock, struct kv_stat *ret_stat);
void kv_stat_free(struct kv_stat *stat);

/* Fills in the rates of what is in both samples. before may be NULL: nothing is known. */
void kv_stat_rate(struct kv_stat *stat, const struct kv_stat *before);
/* The same process on the same GPU in another sample, or NULL. */
const struct kv_stat_process *kv_stat_find(const struct kv_stat *stat,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process);

/* Was anything not to be read: the directory or a segment? */
bool kv_stat_has_problem(const struct kv_stat *stat);
/* The word for enum kv_static_reason, for people and for JSON; NULL for KV_STATIC_NO. */
const char *kv_stat_reason(uint32_t reason);
/* Why memory was taken from somebody: "idle", "share" ...; "unknown" for numbers of other versions.
 */
const char *kv_stat_because(uint32_t reason);
/* "active" and so on. */
const char *kv_stat_state_word(enum kv_stat_state state);

#endif
