/* SPDX-License-Identifier: Apache-2.0 */
/* recording.c - see recording.h. */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stat/format.h"
#include "stat/metrics.h"
#include "stat/recording.h"

#define MAX_COLUMNS 256
#define MAX_TRACKS 4096

/* Where what we need stands; -1: the file does not have it. */
struct columns {
	int time, gpu, gpu_name, pid, name;
	int of_gpu[KV_TRACK_VALUES], of_process[KV_TRACK_VALUES];
};

/* Cuts a line into cells, in place. Returns how many, or -EINVAL. */
static int cut(char *line, char *cells[MAX_COLUMNS])
{
	char *to;
	int n = 0;

	for (;;) {
		if (n == MAX_COLUMNS)
			return -EINVAL;
		cells[n++] = line;
		if (*line != '"') {
			line = strchr(line, ',');
			if (!line)
				return n;
			*line++ = '\0';
			continue;
		}
		for (to = line++; *line && (*line != '"' || line[1] == '"'); line++) {
			line += *line == '"';
			*to++ = *line;
		}
		if (*line != '"' || (line[1] && line[1] != ','))
			return -EINVAL;
		line += line[1] ? 2 : 1;
		*to = '\0';
		if (!*line && line[-1] != ',')
			return n;
	}
}

static int find_column(char **cells, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(cells[i], name) == 0)
			return i;
	return -1;
}

static int read_head(char *line, struct columns *columns)
{
	static const char *const values[KV_TRACK_VALUES] = {[KV_TRACK_TOTAL] = "total_bytes",
		[KV_TRACK_NATIVE] = "native_bytes",
		[KV_TRACK_BACKED] = "backed_bytes",
		[KV_TRACK_SPILLED] = "spilled_bytes",
		[KV_TRACK_RESERVED] = "reserved_bytes"};
	char *cells[MAX_COLUMNS], name[64];
	int n = cut(line, cells);

	if (n < 0)
		return n;
	columns->time = find_column(cells, n, "time_s");
	columns->gpu = find_column(cells, n, "gpu");
	columns->gpu_name = find_column(cells, n, "gpu_name");
	columns->pid = find_column(cells, n, "pid");
	columns->name = find_column(cells, n, "name");
	for (int i = 0; i < KV_TRACK_VALUES; i++) {
		snprintf(name, sizeof(name), "gpu.%s", values[i]);
		columns->of_gpu[i] = find_column(cells, n, name);
		snprintf(name, sizeof(name), "process.%s", values[i]);
		columns->of_process[i] = find_column(cells, n, name);
	}
	return columns->time < 0 || columns->gpu < 0 || columns->gpu_name < 0 || columns->pid < 0 ||
			       columns->name < 0 || columns->of_gpu[KV_TRACK_TOTAL] < 0
		       ? -EINVAL
		       : 0;
}

static struct kv_track *track_of(
	struct kv_recording *recording, const char *gpu, const char *name, int pid)
{
	struct kv_track *track;
	char clean[sizeof(track->name)];

	/* as it is kept: what is no printable ASCII, or too long, is the same one next time */
	kv_format_clean(name, clean, sizeof(clean));
	for (uint32_t i = 0; i < recording->n_tracks; i++) {
		track = &recording->tracks[i];
		if (track->pid == pid && strcmp(track->gpu, gpu) == 0 &&
			(!pid || strcmp(track->name, clean) == 0))
			return track;
	}
	if (recording->n_tracks == MAX_TRACKS)
		return NULL;
	track = realloc(recording->tracks, (recording->n_tracks + 1) * sizeof(*track));
	if (!track)
		return NULL;
	recording->tracks = track;
	track += recording->n_tracks++;
	memset(track, 0, sizeof(*track));
	snprintf(track->gpu, sizeof(track->gpu), "%.39s", gpu);
	memcpy(track->name, clean, sizeof(clean));
	track->pid = pid;
	return track;
}

static int add_point(struct kv_track *track, const struct kv_track_point *point)
{
	struct kv_track_point *grown;

	/* room for 64, 128, 256 ... */
	if (track->n_points == 0 ||
		(track->n_points >= 64 && (track->n_points & (track->n_points - 1)) == 0)) {
		grown = realloc(track->points,
			(track->n_points ? track->n_points * 2 : 64) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		track->points = grown;
	}
	track->points[track->n_points++] = *point;
	return 0;
}

static int read_row(char *line, const struct columns *columns, struct kv_recording *recording)
{
	char *cells[MAX_COLUMNS], *end;
	int n = cut(line, cells), pid;
	struct kv_track_point point;
	struct kv_track *track;
	const int *at;

	if (n <= columns->time || n <= columns->gpu || n <= columns->gpu_name ||
		n <= columns->pid || n <= columns->name)
		return -EINVAL;
	point.time_s = strtod(cells[columns->time], &end);
	pid = atoi(cells[columns->pid]);
	if (*end || !isfinite(point.time_s) || point.time_s < 0 || pid < 0 ||
		strlen(cells[columns->gpu]) >= sizeof(track->gpu))
		return -EINVAL;
	at = pid ? columns->of_process : columns->of_gpu;
	for (int i = 0; i < KV_TRACK_VALUES; i++)
		point.value[i] = at[i] >= 0 && at[i] < n && cells[at[i]][0]
					 ? strtoull(cells[at[i]], NULL, 10)
					 : KV_UNKNOWN;
	track = track_of(recording, cells[columns->gpu],
		cells[pid ? columns->name : columns->gpu_name], pid);
	if (!track)
		return -ENOMEM;
	if (recording->end_s == 0)
		recording->start_s = point.time_s;
	recording->end_s = point.time_s > recording->end_s ? point.time_s : recording->end_s;
	return add_point(track, &point);
}

static int read_lines(FILE *in, struct kv_recording *recording, char *text, uint32_t text_size)
{
	struct columns columns;
	size_t room = 0;
	char *line = NULL;
	int error = 0, number = 0;
	ssize_t length;

	while (!error && (length = getline(&line, &room, in)) > 0) {
		/* a recording that was cut off ends in the middle of a line */
		if (line[length - 1] != '\n')
			break;
		line[length - 1] = '\0';
		error = number++ ? read_row(line, &columns, recording) : read_head(line, &columns);
	}
	if (error == -EINVAL)
		snprintf(text, text_size, "line %d is not one of a recording", number);
	else if (error)
		snprintf(text, text_size, "out of memory");
	else if (!recording->n_tracks) {
		snprintf(text, text_size, "no sample in it");
		error = -EINVAL;
	}
	free(line);
	return error;
}

int kv_recording_parse(FILE *in, struct kv_recording *ret_recording, char *text, uint32_t text_size)
{
	int error;

	memset(ret_recording, 0, sizeof(*ret_recording));
	error = read_lines(in, ret_recording, text, text_size);
	if (error)
		kv_recording_free(ret_recording);
	return error;
}

int kv_recording_read(
	const char *path, struct kv_recording *ret_recording, char *text, uint32_t text_size)
{
	FILE *in = fopen(path, "re");
	int error;

	if (!in) {
		error = -errno;
		snprintf(text, text_size, "%s", strerror(-error));
		return error;
	}
	error = kv_recording_parse(in, ret_recording, text, text_size);
	fclose(in);
	return error;
}

void kv_recording_free(struct kv_recording *recording)
{
	for (uint32_t i = 0; i < recording->n_tracks; i++)
		free(recording->tracks[i].points);
	free(recording->tracks);
	memset(recording, 0, sizeof(*recording));
}
