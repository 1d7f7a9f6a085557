/* SPDX-License-Identifier: Apache-2.0 */
/* segments.h - the shared segments of a directory, opened one after the other. One thread. */
#ifndef KV_SHIM_COMMAND_SEGMENTS_H
#define KV_SHIM_COMMAND_SEGMENTS_H

#include <stdint.h>

#include "core/coord.h"

struct kv_segments_visit {
	const char *directory;
	const char
		*gpu; /* only segments whose UUID begins so (hex, dashes do not count); or NULL */
	/* For each that could be opened; path is borrowed. Not 0: stop, and return it. */
	int (*segment)(void *ctx, struct kv_coord *coord, const char *path);
	void *ctx;
	uint32_t n_seen;   /* segments that fit gpu ... */
	uint32_t n_opened; /* ... and could be opened */
	char problem[256]; /* of the last one that could not be opened; "" if all could */
};

/*
 * Visits every segment that may be written to. 0, a negative errno of the directory, or what
 * segment() returned. A segment that cannot be opened is counted and told in problem.
 */
int kv_segments_visit(struct kv_segments_visit *visit);
/* "0123abcd-...": as kvshim-stat shows it. */
void kv_segments_uuid(struct kv_coord *coord, char ret_text[37]);

#endif
