/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_system.c - options, library, shared directory, segments, this machine; see finding.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/coord_shm.h"
#include "shim/command/finding.h"
#include "shim/command/library.h"
#include "shim/config.h"

#define GLIBC_MAJOR 2
#define GLIBC_MINOR 34  /* newest symbol version that libkvshim.so asks for */
#define SEGMENTS_ROOM 4 /* GPUs for whose segments there should be room */

static void complain(void *ctx, const char *line)
{
	kv_finding_remedy(kv_finding_add(ctx, KV_VERDICT_WARN, "options", "%s", line),
		"`kvshim explain` shows every option and what it may be");
}

/* Available memory of the machine in bytes; 0: unknown. */
static uint64_t available_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib << 10;
}

static void look_at_options(struct kv_findings *findings)
{
	uint32_t before = findings->n;
	uint64_t budget, available;
	struct kv_config config;

	if (kv_config_read(&config, environ, complain, findings) != 0) {
		kv_finding_add(findings, KV_VERDICT_FAIL, "options", "out of memory");
		return;
	}
	if (!kv_config_number(&config, KV_OPT_ENABLE))
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "options",
					  "KVSHIM=%s: the shim does nothing",
					  kv_config_text(&config, KV_OPT_ENABLE)),
			"unset KVSHIM");
	budget = (uint64_t)kv_config_number(&config, KV_OPT_HOST_BUDGET);
	available = available_memory();
	if (available && budget > available)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_WARN, "options",
				"KVSHIM_HOST_BUDGET=%s is more than the %" PRIu64
				" MiB that are available now",
				kv_config_text(&config, KV_OPT_HOST_BUDGET), available >> 20),
			"a page that is spilled takes host memory that cannot be swapped: lower "
			"it");
	if (findings->n == before)
		kv_finding_add(findings, KV_VERDICT_OK, "options",
			"what is set in the environment is understood");
	kv_config_free(&config);
}

static void look_at_library(struct kv_findings *findings)
{
	char path[PATH_MAX];
	struct statvfs fs;

	if (!kv_library_find(path)) {
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, "library",
				"there is no " KV_LIBRARY " that belongs to this command"),
			"install it, or name it with `kvshim run --lib FILE`");
		return;
	}
	if (access(path, R_OK) != 0)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, "library",
					  "%.200s cannot be read: %s", path, strerror(errno)),
			"chmod a+r it, and a+x the directories above it");
	else if (statvfs(path, &fs) == 0 && (fs.f_flag & ST_NOEXEC))
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, "library",
				"%.200s lies on a file system that is mounted noexec", path),
			"install it elsewhere: the loader maps nothing from there");
	else if (strpbrk(path, ": "))
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, "library",
					  "%.200s has a space or a colon in it", path),
			"install it elsewhere: LD_PRELOAD would be split there");
	else
		kv_finding_add(findings, KV_VERDICT_OK, "library", "%.300s", path);
}

static void look_at_libc(struct kv_findings *findings)
{
	const char *version = gnu_get_libc_version();
	unsigned major = 0, minor = 0;

	sscanf(version, "%u.%u", &major, &minor);
	if (major > GLIBC_MAJOR || (major == GLIBC_MAJOR && minor >= GLIBC_MINOR))
		kv_finding_add(findings, KV_VERDICT_OK, "library", "glibc %s", version);
	else
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, "library",
				"glibc %s is older than %d.%d", version, GLIBC_MAJOR, GLIBC_MINOR),
			"use a newer distribution or container image");
}

static void look_at_directory(struct kv_findings *findings, const char *directory)
{
	const uint64_t wanted = SEGMENTS_ROOM * sizeof(struct kv_coord_segment);
	struct statvfs room;
	struct statfs kind;
	struct stat info;

	if (stat(directory, &info) != 0 || !S_ISDIR(info.st_mode)) {
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, "shared",
					  "%.200s is no directory", directory),
			"create it, or set KVSHIM_DIR to another");
		return;
	}
	if (access(directory, W_OK | X_OK) != 0) {
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, "shared",
				"%.200s cannot be written: %s", directory, strerror(errno)),
			"make it writable for uid %u, or set KVSHIM_DIR to another",
			(unsigned)geteuid());
		return;
	}
	if (statvfs(directory, &room) == 0 && (uint64_t)room.f_bavail * room.f_frsize < wanted)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "shared",
					  "%.200s has room for %" PRIu64 " KiB", directory,
					  (uint64_t)room.f_bavail * room.f_frsize >> 10),
			"a segment takes %zu KiB per GPU: make room; docker run --shm-size",
			sizeof(struct kv_coord_segment) >> 10);
	else if ((info.st_mode & S_IWOTH) && !(info.st_mode & S_ISVTX))
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_WARN, "shared",
				"in %.200s everybody may remove everybody's segments", directory),
			"chmod +t it");
	else if (statfs(directory, &kind) == 0 && kind.f_type != TMPFS_MAGIC)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "shared",
					  "%.200s is not in memory (no tmpfs)", directory),
			"the kernel writes segments back to it: take a tmpfs; network file systems "
			"do not work at all");
	else
		kv_finding_add(findings, KV_VERDICT_OK, "shared",
			"%.200s takes segments of %zu KiB per GPU", directory,
			sizeof(struct kv_coord_segment) >> 10);
}

static void look_at_segment(struct kv_findings *findings, const char *directory, const char *name)
{
	char path[PATH_MAX], text[160] = "";
	struct stat info = {0};
	void *at = MAP_FAILED;
	int fd, error;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		/* another user's: none of our business */
		if (errno != EACCES)
			kv_finding_add(findings, KV_VERDICT_WARN, "shared", "%.200s: %s", path,
				strerror(errno));
		return;
	}
	if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0)
		at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED) {
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, "shared",
					  "%.200s is no segment", path),
			"remove it");
		return;
	}
	error = kv_coord_check(at, (uint64_t)info.st_size, text, sizeof(text));
	munmap(at, (size_t)info.st_size);
	if (error == -EPROTONOSUPPORT)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_WARN, "shared",
				"%.150s is of another version of kvshim (%s)", path, text),
			"its users and new ones do not see each other: restart them, then remove "
			"it");
	else if (error)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, "shared",
					  "%.150s is damaged: %s", path, text),
			"`kvshim check` tells more; stop its users and remove it");
	else
		kv_finding_add(findings, KV_VERDICT_OK, "shared", "%.200s is sound", path);
}

static void look_at_segments(struct kv_findings *findings, const char *directory)
{
	DIR *folder = opendir(directory);
	struct dirent *entry;
	uint32_t n = 0;

	while (folder && n < 32 && (entry = readdir(folder)))
		if (strncmp(entry->d_name, "kvshim-", 7) == 0 && ++n)
			look_at_segment(findings, directory, entry->d_name);
	if (folder)
		closedir(folder);
}

static void look_at_process(struct kv_findings *findings)
{
	struct rlimit limit;
	long policy[16];

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "limits",
					  "address space is limited to %llu MiB",
					  (unsigned long long)limit.rlim_cur >> 20),
			"ulimit -v unlimited: drivers and reservations take address space, not "
			"memory");
	/* Container runtimes filter these calls; the driver needs them to place host memory. */
	if (syscall(SYS_get_mempolicy, policy, NULL, 0, NULL, 0) != 0 && errno == EPERM)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "limits",
					  "get_mempolicy(2) is not permitted here"),
			"pages may not be spilled to host memory: docker run --cap-add SYS_NICE");
	if (access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0 ||
		getenv("KUBERNETES_SERVICE_HOST"))
		kv_finding_add(findings, KV_VERDICT_OK, "limits",
			"in a container: processes share a GPU's segment if they share the "
			"directory (docs/containers-and-kubernetes.md)");
}

void kv_doctor_system(struct kv_findings *findings, const char *directory)
{
	look_at_options(findings);
	look_at_library(findings);
	look_at_libc(findings);
	look_at_directory(findings, directory);
	look_at_segments(findings, directory);
	look_at_process(findings);
}
