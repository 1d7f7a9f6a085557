/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_writer.c - a process as kvshim-stat sees it, without a GPU: joins a segment in the
 * directory given, puts known numbers, says "ready" and stays until its standard input ends.
 *
 * usage: segment_writer DIRECTORY FIRST_UUID_BYTE N_RESERVATIONS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/coord.h"

#define MIB (1024ull * 1024ull)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
	struct kv_coord_request request = {
		.gpu_name = "Paper \"GPU\"\t\xff", .gpu_total = 80ull << 30};
	struct kv_process_stats stats = {0};
	struct kv_coord *coord;
	char text[128], byte;
	uint32_t n_rows;
	int error;

	if (argc != 4)
		return 2;
	request.directory = argv[1];
	request.uuid[0] = (uint8_t)atoi(argv[2]);
	n_rows = (uint32_t)atoi(argv[3]);
	error = kv_coord_join(&request, &coord, text, sizeof(text));
	if (error) {
		fprintf(stderr, "join: %s %s\n", strerror(-error), text);
		return 1;
	}
	for (uint32_t i = 0; i < n_rows; i++) {
		struct kv_reservation_stats row = {.base = 0x302000000ull + (i << 30),
			.requested = 63 * MIB,
			.reserved = 64 * MIB,
			.backed = 4 * MIB,
			.backed_peak = 6 * MIB,
			.evicted = 2 * MIB,
			.page_size = 2 * MIB,
			.pages = {29, 2, 1, 0},
			.score = i == 1 ? 997 : 0,
			.created_ns = now_ns()};

		if (i == 1) {
			row.static_reason = KV_STATIC_KERNEL;
			strcpy(row.static_by, "_Z11k_set_rows_\"quoted\"");
			row.dead = 2 * MIB;
			row.map[0].dead = 255;
		}
		kv_coord_put_row(coord, i, &row);
	}
	stats.reserved = n_rows * 64 * MIB;
	stats.backed = n_rows * 4 * MIB;
	stats.backed_peak = n_rows * 6 * MIB;
	stats.dead = n_rows > 1 ? 3 * MIB : 0;
	stats.native = 300 * MIB;
	stats.native_peak = UINT64_MAX / 2;
	stats.n_reservations = n_rows;
	stats.n_static = n_rows > 1;
	stats.pages_backed = 17;
	kv_coord_put_process(coord, &stats);
	kv_coord_put_state(coord, KV_COORD_ACTIVE, n_rows ? NULL : "nothing here");
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	kv_coord_leave(coord);
	return 0;
}
