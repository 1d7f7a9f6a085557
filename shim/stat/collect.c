/* SPDX-License-Identifier: Apache-2.0 */
/* collect.c - reads every segment of a directory; see collect.h. */
#include "stat/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *kv_stat_reason(uint32_t reason)
{
	static const char *const words[] = {
		[KV_STATIC_NO] = NULL,
		[KV_STATIC_KERNEL] = "kernel",
		[KV_STATIC_UPLOAD] = "upload",
		[KV_STATIC_HOST_MEMORY] = "host-memory",
		[KV_STATIC_EXPORT] = "export",
		[KV_STATIC_GRAPH] = "graph",
		[KV_STATIC_OPTION] = "option",
		[KV_STATIC_ARRAY] = "array",
	};

	return reason < sizeof(words) / sizeof(words[0]) ? words[reason] : "unknown";
}

static void sum_pages(struct kv_stat_process *process)
{
	const struct kv_coord_slot *slot = &process->slot;
	uint64_t n_listed = 0;

	memset(process->pages, 0, sizeof(process->pages));
	for (uint32_t i = 0; i < KV_COORD_ROWS; i++) {
		if (!slot->rows[i].base)
			continue;
		n_listed++;
		for (int state = 0; state < 8; state++)
			process->pages[state] += slot->rows[i].pages[state];
	}
	process->pages_known = n_listed == slot->process.n_reservations;
}

static void read_process(const struct kv_coord_slot *shared, uint32_t index,
	struct kv_stat_process *process, bool *ret_used)
{
	int error;

	memset(process, 0, sizeof(*process));
	process->slot_index = index;
	error = kv_coord_read_slot(shared, &process->slot);
	*ret_used = error != -ENOENT;
	if (error == -ENOENT)
		return;
	process->life = kv_coord_owner_life(&process->slot);
	if (error == -EAGAIN)
		snprintf(process->problem, sizeof(process->problem),
			"it was being written at every try");
	else
		error = kv_coord_check_slot(
			&process->slot, process->problem, sizeof(process->problem));
	if (!error)
		sum_pages(process);
}

static int read_slots(const struct kv_coord_segment *mapped, struct kv_stat_segment *segment)
{
	struct kv_stat_process *grown;
	bool used;

	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		if (__atomic_load_n(&mapped->slots[i].state, __ATOMIC_ACQUIRE) == KV_COORD_FREE)
			continue;
		grown = realloc(segment->processes, (segment->n_processes + 1) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		segment->processes = grown;
		read_process(&mapped->slots[i], i, &grown[segment->n_processes], &used);
		segment->n_processes += used;
	}
	return 0;
}

static void read_header(const struct kv_coord_segment *mapped, struct kv_stat_segment *segment)
{
	char *at = segment->uuid;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += snprintf(at, 3, "%02x", mapped->gpu_uuid[i]);
	}
	memcpy(segment->gpu_name, mapped->gpu_name, sizeof(segment->gpu_name));
	segment->gpu_name[sizeof(segment->gpu_name) - 1] = '\0';
	segment->gpu_total = mapped->gpu_total;
}

/* The size is looked at before the mapping is touched: a short file would be a SIGBUS. */
static int check_size(int fd, struct kv_stat_segment *segment)
{
	union {
		uint8_t bytes[64];
		uint64_t aligned;
	} head = {{0}};
	struct stat info;

	if (fstat(fd, &info) != 0 || pread(fd, head.bytes, sizeof(head.bytes), 0) < 0)
		return snprintf(segment->problem, sizeof(segment->problem), "%s", strerror(errno));
	if (!S_ISREG(info.st_mode))
		return snprintf(segment->problem, sizeof(segment->problem), "not a regular file");
	if ((uint64_t)info.st_size == sizeof(struct kv_coord_segment))
		return 0;
	return kv_coord_check_header(
		head.bytes, (uint64_t)info.st_size, segment->problem, sizeof(segment->problem));
}

static int read_segment(struct kv_stat_segment *segment)
{
	const struct kv_coord_segment *mapped;
	int error = 0;
	int fd = open(segment->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0) {
		snprintf(segment->problem, sizeof(segment->problem), "%s", strerror(errno));
		return 0;
	}
	if (check_size(fd, segment) != 0)
		goto close_fd;
	mapped = mmap(NULL, sizeof(*mapped), PROT_READ, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED) {
		snprintf(segment->problem, sizeof(segment->problem), "%s", strerror(errno));
		goto close_fd;
	}
	if (kv_coord_check_header(
		    mapped, sizeof(*mapped), segment->problem, sizeof(segment->problem)) == 0) {
		read_header(mapped, segment);
		error = read_slots(mapped, segment);
	}
	munmap((void *)mapped, sizeof(*mapped));
close_fd:
	close(fd);
	return error;
}

/* "kvshim-<uid>-<32 hex digits>" */
static int is_segment(const struct dirent *entry)
{
	const char *at = entry->d_name;
	size_t digits;

	if (strncmp(at, "kvshim-", 7) != 0)
		return 0;
	at += 7;
	digits = strspn(at, "0123456789");
	if (!digits || at[digits] != '-')
		return 0;
	at += digits + 1;
	return strlen(at) == 32 && strspn(at, "0123456789abcdef") == 32;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

int kv_stat_collect(const char *directory, struct kv_stat *ret_stat)
{
	struct dirent **names = NULL;
	int n, error = 0;

	memset(ret_stat, 0, sizeof(*ret_stat));
	snprintf(ret_stat->directory, sizeof(ret_stat->directory), "%s", directory);
	ret_stat->now_ns = now_ns();
	n = scandir(directory, &names, is_segment, alphasort);
	if (n < 0) {
		snprintf(ret_stat->problem, sizeof(ret_stat->problem), "%s", strerror(errno));
		return 0;
	}
	if (n > 0)
		ret_stat->segments = calloc((size_t)n, sizeof(*ret_stat->segments));
	if (n > 0 && !ret_stat->segments)
		error = -ENOMEM;
	for (int i = 0; i < n; i++) {
		if (!error) {
			struct kv_stat_segment *segment =
				&ret_stat->segments[ret_stat->n_segments++];

			snprintf(segment->path, sizeof(segment->path), "%s/%s", directory,
				names[i]->d_name);
			error = read_segment(segment);
		}
		free(names[i]);
	}
	free(names);
	if (error)
		kv_stat_free(ret_stat);
	return error;
}

void kv_stat_free(struct kv_stat *stat)
{
	for (uint32_t i = 0; i < stat->n_segments; i++)
		free(stat->segments[i].processes);
	free(stat->segments);
	stat->segments = NULL;
	stat->n_segments = 0;
}
