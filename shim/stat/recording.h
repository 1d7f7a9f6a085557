/* SPDX-License-Identifier: Apache-2.0 */
/* recording.h - a file that record.h has written, read back: what plot.h needs of it. */
#ifndef KV_SHIM_STAT_RECORDING_H
#define KV_SHIM_STAT_RECORDING_H

#include <stdint.h>
#include <stdio.h>

/* What a track has at each moment; KV_UNKNOWN where the file says nothing. */
enum kv_track_value {
	KV_TRACK_TOTAL = 0, /* of a GPU only */
	KV_TRACK_NATIVE,
	KV_TRACK_BACKED,
	KV_TRACK_SPILLED,
	KV_TRACK_RESERVED,
	KV_TRACK_VALUES,
};

struct kv_track_point {
	double time_s;
	uint64_t value[KV_TRACK_VALUES];
};

/* A GPU, or a process on one. */
struct kv_track {
	char gpu[40];
	char name[128]; /* printable ASCII */
	int pid;        /* 0: the GPU */
	uint32_t n_points;
	struct kv_track_point *points; /* owned, as they stand in the file */
};

struct kv_recording {
	uint32_t n_tracks;
	struct kv_track *tracks; /* owned, as they first appear */
	double start_s, end_s;
};

/*
 * 0; a negative errno of the file system; -EINVAL: it is no recording, or has no sample; -ENOMEM.
 * On an error text says where and what. Columns that are not known are skipped.
 */
int kv_recording_read(
	const char *path, struct kv_recording *ret_recording, char *text, uint32_t text_size);
/* The same of what is open already and stays open: -EINVAL or -ENOMEM. */
int kv_recording_parse(
	FILE *in, struct kv_recording *ret_recording, char *text, uint32_t text_size);
/* One that was read; nothing of one that was not. */
void kv_recording_free(struct kv_recording *recording);

#endif
