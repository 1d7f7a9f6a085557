/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared.c - who holds how many bytes of each device, over all processes that share SIMGPU_SHARED.
 *
 * The file is one table of rows (pid, start time, bytes per device), changed under a robust mutex
 * inside it. A row whose process is gone is cleared by whoever needs its memory. Without
 * SIMGPU_SHARED the table is private memory of this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define ROWS 256
#define MAGIC 0x53494d4753484152ull

struct row {
	int64_t pid; /* 0: free */
	uint64_t start;
	uint64_t used[SIM_MAX_DEVICES];
};

struct table {
	uint64_t magic;
	uint64_t size;
	pthread_mutex_t lock; /* robust, shared */
	struct row rows[ROWS];
};

static struct table *table;
static struct row *mine;
static uint64_t peak[SIM_MAX_DEVICES]; /* guarded by the table's lock */

/* Start time of a process in clock ticks after boot, 0 if it is gone. */
static uint64_t start_time(int64_t pid)
{
	char path[64], text[1024];

	snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* The name in parentheses may hold anything; field 22 counts from the last one. */
	char *p = strrchr(text, ')');
	/* Of one that has ended and was not waited for, the driver has everything back. */
	if (p && (p[1] == '\0' || p[2] == 'Z' || p[2] == 'X'))
		return 0;
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

static void lock_table(void)
{
	if (pthread_mutex_lock(&table->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&table->lock);
}

static void unlock_table(void)
{
	pthread_mutex_unlock(&table->lock);
}

static void sweep(void)
{
	for (int i = 0; i < ROWS; i++) {
		struct row *row = &table->rows[i];
		if (row->pid && row != mine && start_time(row->pid) != row->start)
			memset(row, 0, sizeof(*row));
	}
}

static void format_table(struct table *t)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&t->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	t->size = sizeof(*t);
	t->magic = MAGIC;
}

static struct table *open_file(const char *path)
{
	struct table *t = MAP_FAILED;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return MAP_FAILED;
	/* The file lock covers only making the table. */
	if (flock(fd, LOCK_EX) == 0 && ftruncate(fd, sizeof(*t)) == 0) {
		t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (t != MAP_FAILED && t->magic != MAGIC)
			format_table(t);
		/* The mapping keeps the open file, and so its lock, alive. */
		flock(fd, LOCK_UN);
	}
	close(fd);
	return t;
}

int sim_account_open(void)
{
	const char *path = sim_config.shared;

	if (path && *path) {
		table = open_file(path);
	} else {
		table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (table != MAP_FAILED)
			format_table(table);
	}
	if (table == MAP_FAILED)
		return -1;
	lock_table();
	sweep();
	for (int i = 0; i < ROWS && !mine; i++) {
		if (!table->rows[i].pid) {
			mine = &table->rows[i];
			mine->pid = getpid();
			mine->start = start_time(getpid());
		}
	}
	unlock_table();
	return mine ? 0 : -1;
}

uint32_t sim_account_pid(void)
{
	return mine ? (uint32_t)mine->pid : 0;
}

void sim_account_close(void)
{
	lock_table();
	memset(mine, 0, sizeof(*mine));
	unlock_table();
}

static uint64_t used_by_all(int device)
{
	uint64_t used = 0;
	for (int i = 0; i < ROWS; i++)
		used += table->rows[i].used[device];
	return used;
}

int sim_account_take(int device, uint64_t bytes)
{
	int result = -1;

	lock_table();
	for (int attempt = 0; attempt < 2 && result; attempt++) {
		uint64_t used = used_by_all(device);
		if (used <= sim_config.memory && bytes <= sim_config.memory - used) {
			mine->used[device] += bytes;
			if (mine->used[device] > peak[device])
				peak[device] = mine->used[device];
			result = 0;
		} else if (!attempt) {
			sweep();
		}
	}
	unlock_table();
	return result;
}

void sim_account_give(int device, uint64_t bytes)
{
	lock_table();
	mine->used[device] -= bytes;
	unlock_table();
}

uint64_t sim_account_free(int device)
{
	lock_table();
	if (sim_config.shared)
		sweep();
	uint64_t used = used_by_all(device);
	unlock_table();
	return used < sim_config.memory ? sim_config.memory - used : 0;
}

uint64_t sim_account_used(int device)
{
	return mine ? mine->used[device] : 0;
}

uint64_t sim_account_peak(int device)
{
	return peak[device];
}
