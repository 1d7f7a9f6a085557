/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_agent.c - a process that is asked things through the segment, without a GPU: joins, says
 * "ready", prints what it is asked and which limits it gets, and answers with the number given (a
 * negative one is an errno) or with silence, until its standard input ends.
 *
 * usage: segment_agent DIRECTORY FIRST_UUID_BYTE NUMBER|silent|inert
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/coord.h"

#define TURN_MS 5

static void take_limits(struct kv_coord *coord)
{
	struct kv_coord_limits limits;

	if (!kv_coord_new_limits(coord, &limits))
		return;
	printf("limits min %" PRIu64 " max %" PRIu64 " host %" PRIu64 " weight %u idle %u\n",
		limits.min, limits.max, limits.host_budget, limits.weight, limits.idle_ms);
	fflush(stdout);
}

static void take_request(struct kv_coord *coord, const char *answer)
{
	static uint32_t told[KV_COORD_COMMANDS];
	struct kv_coord_asked asked;

	if (!kv_coord_next(coord, &asked) || told[asked.kind] == asked.ticket)
		return;
	told[asked.kind] = asked.ticket;
	printf("asked %d bytes %" PRIu64 " tag '%s'\n", asked.kind, asked.bytes, asked.tag);
	fflush(stdout);
	if (strcmp(answer, "silent") != 0)
		kv_coord_answer(coord, &asked, atoll(answer));
}

int main(int argc, char **argv)
{
	struct kv_coord_request request = {.gpu_name = "Paper GPU", .gpu_total = 80ull << 30};
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct kv_coord_limits limits;
	struct kv_coord *coord;
	char text[128];
	int error;

	if (argc != 4)
		return 2;
	request.directory = argv[1];
	request.uuid[0] = (uint8_t)atoi(argv[2]);
	error = kv_coord_join(&request, &coord, text, sizeof(text));
	if (error) {
		fprintf(stderr, "join: %s %s\n", strerror(-error), text);
		return 1;
	}
	if (strcmp(argv[3], "inert") == 0)
		kv_coord_put_state(coord, KV_COORD_INERT, "for a test");
	kv_coord_new_limits(coord, &limits); /* those that it joined with */
	puts("ready");
	fflush(stdout);
	while (poll(&input, 1, TURN_MS) == 0) {
		take_limits(coord);
		take_request(coord, argv[3]);
	}
	kv_coord_leave(coord);
	return 0;
}
