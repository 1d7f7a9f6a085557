/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - see state.h.
 */
#include "tests/micro/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/micro/micro.h"

static const struct kv_coord_slot *slot;

/* Field 22 of /proc/self/stat: with it a slot that a killed process with our pid left is not ours.
 */
static uint64_t own_start(void)
{
	char text[1024], *at;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

static const struct kv_coord_slot *own_slot(const struct kv_coord_segment *segment)
{
	uint64_t start = own_start();

	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++)
		if (segment->slots[i].state == KV_COORD_ACTIVE &&
			segment->slots[i].owner_pid == getpid() &&
			segment->slots[i].owner_start == start)
			return &segment->slots[i];
	return NULL;
}

static const struct kv_coord_slot *slot_in(const char *path)
{
	const struct kv_coord_slot *found;
	struct kv_coord_segment *segment;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat info;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &info) != 0 || info.st_size != sizeof(*segment)) {
		close(fd); /* of another version */
		return NULL;
	}
	segment = mmap(NULL, sizeof(*segment), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (segment == MAP_FAILED)
		return NULL;
	found = segment->magic == KV_COORD_MAGIC && segment->layout == KV_COORD_LAYOUT
			? own_slot(segment)
			: NULL;
	if (!found)
		munmap(segment, sizeof(*segment));
	return found;
}

bool state_find_self(void)
{
	const char *directory = getenv("KVSHIM_DIR");
	struct dirent *entry;
	char path[4096];
	DIR *dir;

	if (slot)
		return true;
	directory = directory && *directory ? directory : "/dev/shm";
	dir = opendir(directory);
	while (dir && !slot && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "kvshim-", 7))
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		slot = slot_in(path);
	}
	if (dir)
		closedir(dir);
	return slot;
}

/* The sequence is odd while the shim writes. */
static void copy(void *to, const void *from, size_t size)
{
	const volatile uint32_t *sequence = &slot->seq;
	uint32_t before;

	do {
		while ((before = __atomic_load_n(sequence, __ATOMIC_ACQUIRE)) & 1)
			;
		memcpy(to, from, size);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (*sequence != before);
}

bool state_process(struct kv_process_stats *ret_stats)
{
	if (!state_find_self())
		return false;
	copy(ret_stats, &slot->process, sizeof(*ret_stats));
	return true;
}

uint64_t state_counter(unsigned long offset)
{
	struct kv_process_stats stats;
	uint64_t value = 0;

	if (state_process(&stats))
		memcpy(&value, (char *)&stats + offset, sizeof(value));
	return value;
}

bool state_wait_above(unsigned long offset, uint64_t value)
{
	const struct timespec pause = {0, 1000000};

	for (int i = 0; i < 20000; i++) {
		if (state_counter(offset) > value)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

bool state_wait_gone(uint64_t base)
{
	const struct timespec pause = {0, 1000000};
	struct kv_reservation_stats row;

	for (int i = 0; i < 20000; i++) {
		if (state_reservation(base, &row) && row.backed == 0)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

uint64_t micro_evictions(void)
{
	return state_counter(STATE_COUNTER(pages_evicted));
}

bool state_reservation(uint64_t base, struct kv_reservation_stats *ret_row)
{
	for (uint32_t i = 0; state_find_self() && i < KV_COORD_ROWS; i++) {
		copy(ret_row, &slot->rows[i], sizeof(*ret_row));
		if (ret_row->base == base)
			return true;
	}
	return false;
}

void micro_reservation(CUdeviceptr base, struct micro_state *ret_state)
{
	struct kv_reservation_stats row;

	memset(ret_state, 0, sizeof(*ret_state));
	if (!state_reservation(base, &row))
		return;
	ret_state->found = true;
	ret_state->backed = row.backed;
	ret_state->evicted = row.evicted;
	ret_state->reason = row.static_reason;
	memcpy(ret_state->by, row.static_by, sizeof(ret_state->by));
}
