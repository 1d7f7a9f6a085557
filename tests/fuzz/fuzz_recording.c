/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_recording.c - recordings from nowhere: what can be read of them is drawn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stat/plot.h"
#include "tests/fuzz/fuzz.h"

static void require(int holds)
{
	if (!holds)
		abort();
}

static void check_track(const struct kv_recording *recording, const struct kv_track *track)
{
	require(strlen(track->gpu) < sizeof(track->gpu));
	require(strlen(track->name) < sizeof(track->name));
	for (const char *at = track->name; *at; at++)
		require(*at >= 0x20 && *at < 0x7f);
	require(track->pid >= 0 && track->n_points > 0);
	for (uint32_t i = 0; i < track->n_points; i++)
		require(track->points[i].time_s >= 0 &&
			track->points[i].time_s <= recording->end_s);
	/* as they first appear, each once */
	for (const struct kv_track *other = recording->tracks; other < track; other++)
		require(other->pid != track->pid || strcmp(other->gpu, track->gpu) != 0 ||
			(track->pid && strcmp(other->name, track->name) != 0));
}

static void draw(const struct kv_recording *recording)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	require(out != NULL);
	kv_plot_svg(recording, out);
	require(fclose(out) == 0);
	require(size > 12 && strstr(text, "</svg>") && !strstr(text, "nan"));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kv_recording recording;
	char text[160] = "";
	FILE *in;
	int error;

	if (!size)
		return 0;
	in = fmemopen((void *)data, size, "r");
	require(in != NULL);
	error = kv_recording_parse(in, &recording, text, sizeof(text));
	fclose(in);
	if (error) {
		require(error == -EINVAL || error == -ENOMEM);
		require(text[0] && !recording.tracks);
		return 0;
	}
	for (uint32_t i = 0; i < recording.n_tracks; i++)
		check_track(&recording, &recording.tracks[i]);
	draw(&recording);
	kv_recording_free(&recording);
	return 0;
}
