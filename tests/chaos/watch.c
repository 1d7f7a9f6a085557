/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - looks at the segments of a directory from outside, and changes what operators change.
 *
 * usage: watch DIRECTORY SEED. For each line on standard input one look: every segment is checked,
 * with its mutex held and without, the limits of some process are changed and some process is asked
 * to evict, restore or give. Prints "ok", or what is wrong (exit status 1). A mutex that a stopped
 * process holds is no error: "busy".
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/coord.h"

#define MIB (1024ull * 1024)

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* As an operator would. Errors are none of ours: the process may have ended. */
static void interfere(struct kv_coord *coord)
{
	static const enum kv_coord_command_kind kinds[] = {
		KV_COORD_EVICT, KV_COORD_RESTORE, KV_COORD_RECLAIM};
	uint32_t slot = (uint32_t)rnd(16), ticket;
	struct kv_coord_limits limits = {.weight = 1 + (uint32_t)rnd(1000),
		.idle_ms = rnd(2) ? 0 : 20 + (uint32_t)rnd(500),
		.max = rnd(2) ? KV_COORD_NO_LIMIT : (8 + rnd(64)) * MIB,
		.min = rnd(2) ? 0 : rnd(8) * MIB};

	kv_coord_set_limits(coord, slot, &limits,
		KV_COORD_LIMIT_WEIGHT | KV_COORD_LIMIT_IDLE_MS | KV_COORD_LIMIT_MAX |
			KV_COORD_LIMIT_MIN);
	kv_coord_post(coord, (uint32_t)rnd(16), kinds[rnd(3)],
		rnd(2) ? KV_COORD_NO_LIMIT : rnd(64) * MIB, NULL, &ticket);
}

static const char *look(const char *path, bool change)
{
	static char text[256];
	struct kv_coord *coord;
	int error = kv_coord_attach(path, &coord, text, sizeof(text));

	if (error == -ENOENT)
		return NULL; /* the last one has left */
	if (error) {
		printf("attach: %s %s\n", strerror(-error), text);
		exit(1);
	}
	error = kv_coord_lock(coord);
	if (error == -ETIMEDOUT) {
		kv_coord_detach(coord);
		return "busy";
	}
	if (error)
		snprintf(text, sizeof(text), "lock: %s", strerror(-error));
	else
		error = kv_coord_check_sums(kv_coord_segment(coord), text, sizeof(text));
	kv_coord_unlock(coord);
	if (!error)
		error = kv_coord_check(kv_coord_segment(coord), sizeof(struct kv_coord_segment),
			text, sizeof(text));
	if (error) {
		puts(text);
		exit(1);
	}
	if (change)
		interfere(coord);
	kv_coord_detach(coord);
	return NULL;
}

int main(int argc, char **argv)
{
	char line[64], path[512];

	if (argc != 3)
		return 2;
	seed = (strtoull(argv[2], NULL, 10) + 1) * 0x9e3779b97f4a7c15ull | 1;
	while (fgets(line, sizeof(line), stdin)) {
		const char *answer = NULL;
		struct dirent *entry;
		DIR *dir = opendir(argv[1]);

		if (!dir)
			return 2;
		while ((entry = readdir(dir))) {
			if (strncmp(entry->d_name, "kvshim-", 7) != 0)
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
			answer = look(path, line[0] == 'c');
		}
		closedir(dir);
		puts(answer ? answer : "ok");
		fflush(stdout);
	}
	return 0;
}
