/* SPDX-License-Identifier: Apache-2.0 */
/* coord_owner.c - telling the living from the dead; see coord_owner.h and coord_shm.h. */
#include "core/coord_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/coord_shm.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* Reads a small file; 0 bytes on any failure. Always ends text with NUL. */
static size_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0) {
		do
			n = read(fd, text, size - 1);
		while (n < 0 && errno == EINTR);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/*
 * Does /proc show the pid namespace that we live in? Not if a program was put into another one
 * without a /proc of its own: what stands under a pid there is about somebody else.
 */
static bool proc_is_ours(void)
{
	char link[32];
	ssize_t n = readlink("/proc/self", link, sizeof(link) - 1);

	if (n <= 0)
		return false;
	link[n] = '\0';
	return strtol(link, NULL, 10) == getpid();
}

/* Field 22 of /proc/PID/stat; 0: cannot be told. The name in field 2 may contain anything: count
 * from its last ')'. */
static uint64_t start_of(int32_t pid)
{
	char path[32], text[1024];
	char *at;

	if (pid == (int32_t)getpid())
		snprintf(path, sizeof(path), "/proc/self/stat");
	else if (proc_is_ours())
		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	else
		return 0;
	if (!read_file(path, text, sizeof(text)))
		return 0;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

static uint64_t pid_namespace(void)
{
	struct stat info;

	return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

void kv_coord_owner_self(struct kv_coord_owner *ret_owner)
{
	const void *random = (const void *)getauxval(AT_RANDOM); /* 16 bytes, new at every exec */
	size_t length;

	memset(ret_owner, 0, sizeof(*ret_owner));
	ret_owner->pid = (int32_t)getpid();
	ret_owner->uid = (uint32_t)geteuid();
	ret_owner->start = start_of(ret_owner->pid);
	ret_owner->pidns = pid_namespace();
	if (random) {
		uint64_t words[2];

		/* not the bytes themselves: the C library makes its stack guard of them */
		memcpy(words, random, sizeof(words));
		ret_owner->image = (words[0] ^ (words[1] >> 7)) * 0x9e3779b97f4a7c15ull >> 16;
	}
	length = read_file("/proc/self/comm", ret_owner->name, sizeof(ret_owner->name));
	if (length && ret_owner->name[length - 1] == '\n')
		ret_owner->name[length - 1] = '\0';
}

/* 1: pid is gone, 0: something runs under it. A pidfd also tells a zombie, whose memory is gone. */
static bool has_exited(int32_t pid)
{
	struct pollfd exited = {.events = POLLIN};
	bool gone = false;

	exited.fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0u);
	if (exited.fd >= 0) {
		gone = poll(&exited, 1, 0) == 1 && (exited.revents & POLLIN);
		close(exited.fd);
		return gone;
	}
	if (errno == ESRCH)
		return true;
	return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

enum kv_coord_life kv_coord_owner_life(const struct kv_coord_slot *copy)
{
	uint64_t here = pid_namespace(), start;

	if (copy->owner_pid <= 0)
		return KV_COORD_DEAD;
	/* without /proc nobody can say where anybody is */
	if (!here || copy->owner_pidns != here)
		return KV_COORD_ELSEWHERE;
	if (has_exited(copy->owner_pid))
		return KV_COORD_DEAD;
	start = start_of(copy->owner_pid);
	if (start && copy->owner_start && start != copy->owner_start)
		return KV_COORD_DEAD;
	return KV_COORD_ALIVE;
}
