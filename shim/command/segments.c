/* SPDX-License-Identifier: Apache-2.0 */
/* segments.c - see segments.h. */
#include "shim/command/segments.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "kvshim-"
#define DIGITS 32 /* of a UUID, at the end of a segment's name */

static bool fits_gpu(const char *digits, const char *gpu)
{
	for (; *gpu; gpu++) {
		if (*gpu == '-')
			continue;
		if (!*digits || tolower((unsigned char)*gpu) != *digits++)
			return false;
	}
	return true;
}

static bool is_segment(const char *name, const char *gpu)
{
	size_t length = strlen(name);
	const char *digits = name + length - DIGITS;

	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && length > strlen(PREFIX) + DIGITS &&
	       strspn(digits, "0123456789abcdef") == DIGITS && (!gpu || fits_gpu(digits, gpu));
}

static int visit_one(struct kv_segments_visit *visit, const char *name)
{
	char path[PATH_MAX], text[128] = "";
	struct kv_coord *coord;
	int status;

	snprintf(path, sizeof(path), "%s/%s", visit->directory, name);
	visit->n_seen++;
	status = kv_coord_attach(path, &coord, text, sizeof(text));
	if (status) {
		snprintf(visit->problem, sizeof(visit->problem), "%.160s: %.80s", path,
			text[0] ? text : strerror(-status));
		return 0;
	}
	visit->n_opened++;
	status = visit->segment(visit->ctx, coord, path);
	kv_coord_detach(coord);
	return status;
}

int kv_segments_visit(struct kv_segments_visit *visit)
{
	struct dirent **names = NULL;
	int n = scandir(visit->directory, &names, NULL, alphasort), status = 0;

	visit->n_seen = visit->n_opened = 0;
	visit->problem[0] = '\0';
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		if (!status && is_segment(names[i]->d_name, visit->gpu))
			status = visit_one(visit, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return status;
}

void kv_segments_uuid(struct kv_coord *coord, char ret_text[37])
{
	const uint8_t *uuid = kv_coord_segment(coord)->gpu_uuid;
	char *at = ret_text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += snprintf(at, 3, "%02x", uuid[i]);
	}
}
