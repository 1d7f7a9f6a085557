/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - `kvshim check`: is a segment sound? */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/coord_shm.h"
#include "shim/command/command.h"
#include "shim/json.h"

struct result {
	char problem[192]; /* "": none */
	uint32_t n_processes, n_dead;
};

/* Size before mapping: a file that is cut short is a SIGBUS to whoever reads behind its end. */
static int map_segment(const char *path, const void **ret_at, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = 0;
	struct stat info;
	void *at;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &info) != 0) {
		error = -errno;
	} else if (!S_ISREG(info.st_mode) || info.st_size == 0) {
		error = -EPROTO;
	} else {
		at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
		error = at == MAP_FAILED ? -errno : 0;
		*ret_at = at;
		*ret_size = (size_t)info.st_size;
	}
	close(fd);
	return error;
}

static void count(const struct kv_coord_segment *segment, struct result *result)
{
	static struct kv_coord_slot copy; /* too big for a stack that is shared with others */

	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		if (kv_coord_read_slot(&segment->slots[i], &copy) == -ENOENT)
			continue;
		result->n_processes++;
		result->n_dead += kv_coord_owner_life(&copy) == KV_COORD_DEAD;
	}
}

static void check_segment(const char *path, struct result *result)
{
	const void *at = NULL;
	size_t size = 0;
	int error = map_segment(path, &at, &size);

	memset(result, 0, sizeof(*result));
	if (error) {
		snprintf(result->problem, sizeof(result->problem), "%s",
			error == -EPROTO ? "no segment" : strerror(-error));
		return;
	}
	error = kv_coord_check(at, size, result->problem, sizeof(result->problem));
	if (!error)
		count(at, result);
	else if (!result->problem[0])
		snprintf(result->problem, sizeof(result->problem), "%s", strerror(-error));
	munmap((void *)(uintptr_t)at, size);
}

int kv_command_check(const struct kv_call *call)
{
	bool json = kv_call_value(call, "json");
	int status = KV_EXIT_OK;
	struct result result;

	if (json)
		fputs("{\"segments\":[", stdout);
	for (uint32_t i = 0; i < call->n_operands; i++) {
		check_segment(call->operands[i], &result);
		if (result.problem[0])
			status = KV_EXIT_FAILED;
		if (json) {
			fputs(i ? ",\n {" : "\n {", stdout);
			kv_json_member(stdout, "path", call->operands[i]);
			putchar(',');
			kv_json_member(
				stdout, "problem", result.problem[0] ? result.problem : NULL);
			printf(",\"processes\":%u,\"dead\":%u}", result.n_processes, result.n_dead);
		} else if (result.problem[0]) {
			kv_command_fail(
				call, KV_EXIT_FAILED, "%s: %s", call->operands[i], result.problem);
		} else {
			printf("%s: sound, %u processes, %u of them dead\n", call->operands[i],
				result.n_processes, result.n_dead);
		}
	}
	if (json)
		puts("]}");
	return status;
}
