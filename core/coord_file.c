/* SPDX-License-Identifier: Apache-2.0 */
/* coord_file.c - making, finding and checking the file of a segment; see coord_file.h. */
#include "core/coord_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_TRIES 8 /* somebody else may make or remove the file between two of our calls */

static int make_path(const char *directory, const char *whose, uint32_t id, const uint8_t uuid[16],
	char *ret_path, uint32_t size)
{
	char hex[33];
	int n;

	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", uuid[i]);
	n = snprintf(ret_path, size, "%s/kvshim-%s%u-%s", directory, whose, id, hex);
	return n < 0 || (uint32_t)n >= size ? -ENAMETOOLONG : 0;
}

int kv_coord_path(
	const char *directory, uint32_t uid, const uint8_t uuid[16], char *ret_path, uint32_t size)
{
	return make_path(directory, "", uid, uuid, ret_path, size);
}

int kv_coord_group_path(
	const char *directory, uint32_t gid, const uint8_t uuid[16], char *ret_path, uint32_t size)
{
	return make_path(directory, "g", gid, uuid, ret_path, size);
}

static int init_mutex(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;
	int error = pthread_mutexattr_init(&attr);

	if (error)
		return -error;
	error = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (!error)
		error = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (!error)
		error = pthread_mutex_init(mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	return -error;
}

/* Writes a new segment into an empty file. The slots stay zero: free. */
static int fill(int fd, const struct kv_coord_request *request)
{
	struct kv_coord_segment *segment;
	struct rlimit limit;
	int error;

	/* Growing beyond the limit would raise SIGXFSZ, which ends the program */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
		limit.rlim_cur < sizeof(*segment))
		return -EFBIG;
	/* the umask of the program may have taken bits away */
	if (request->has_group && fchown(fd, (uid_t)-1, request->gid) != 0)
		return -errno;
	if (fchmod(fd, S_IRUSR | S_IWUSR | (request->has_group ? S_IRGRP | S_IWGRP : 0)) != 0)
		return -errno;
	/* Room now, or an error now: a page that a full file system cannot give is a SIGBUS later
	 */
	do
		error = posix_fallocate(fd, 0, sizeof(*segment));
	while (error == EINTR);
	if (error)
		return -error;
	segment = mmap(NULL, sizeof(*segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (segment == MAP_FAILED)
		return -errno;
	segment->magic = KV_COORD_MAGIC;
	segment->layout = KV_COORD_LAYOUT;
	segment->header_size = offsetof(struct kv_coord_segment, slots);
	segment->slot_size = sizeof(struct kv_coord_slot);
	segment->n_slots = KV_COORD_SLOTS;
	segment->size = sizeof(*segment);
	segment->mutex_size = sizeof(pthread_mutex_t);
	memcpy(segment->gpu_uuid, request->uuid, sizeof(segment->gpu_uuid));
	snprintf(segment->gpu_name, sizeof(segment->gpu_name), "%s",
		request->gpu_name ? request->gpu_name : "");
	segment->gpu_total = request->gpu_total;
	error = init_mutex(&segment->mutex);
	if (!error)
		__atomic_store_n(&segment->ready, 1, __ATOMIC_RELEASE);
	munmap(segment, sizeof(*segment));
	return error;
}

/* A file without a name, given its name when it is complete: nothing is left if we are killed. */
static int make_unnamed(const struct kv_coord_request *request, const char *path)
{
	char self[32];
	int fd, error;

	fd = open(request->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return errno == EISDIR || errno == EINVAL ? -EOPNOTSUPP : -errno;
	error = fill(fd, request);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (!error && linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)
		error = errno == EEXIST ? -EEXIST : -EOPNOTSUPP;
	close(fd);
	return error;
}

/* The same where the file system has no O_TMPFILE or there is no /proc. */
static int make_named(const struct kv_coord_request *request, const char *path)
{
	char temporary[600];
	int fd, error;

	snprintf(temporary, sizeof(temporary), "%s.%d.new", path, (int)getpid());
	unlink(temporary); /* of an earlier process with our pid */
	fd = open(temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return -errno;
	error = fill(fd, request);
	if (!error && link(temporary, path) != 0)
		error = -errno;
	unlink(temporary);
	close(fd);
	return error;
}

static int make(const struct kv_coord_request *request, const char *path)
{
	int error = make_unnamed(request, path);

	return error == -EOPNOTSUPP ? make_named(request, path) : error;
}

/* Is it only ours, or only our group's? Without a request, root may look after anybody's. */
static bool may_use(const struct stat *info, const struct kv_coord_request *request)
{
	if (request && request->has_group)
		return info->st_gid == request->gid;
	if (request)
		return info->st_uid == geteuid() && !(info->st_mode & S_IWGRP);
	return info->st_uid == geteuid() || geteuid() == 0 || (info->st_mode & S_IWGRP);
}

/* Whose file, and is it as long as it must be before a mapping of it is touched? */
static int check_file(struct kv_coord_file *file, const struct kv_coord_request *request,
	char *text, uint32_t text_size)
{
	union {
		uint8_t bytes[64];
		uint64_t aligned;
	} head = {{0}};
	struct stat info;
	int fd = file->fd;

	if (fstat(fd, &info) != 0)
		return -errno;
	file->device = info.st_dev;
	file->inode = info.st_ino;
	if (!S_ISREG(info.st_mode)) {
		if (text && text_size)
			snprintf(text, text_size, "not a regular file");
		return -EPROTO;
	}
	if ((info.st_mode & S_IWOTH) || !may_use(&info, request))
		return -EPERM;
	if ((uint64_t)info.st_size == sizeof(struct kv_coord_segment))
		return 0;
	if (pread(fd, head.bytes, sizeof(head.bytes), 0) < 0)
		return -errno;
	return kv_coord_check_header(head.bytes, (uint64_t)info.st_size, text, text_size);
}

/* request: NULL when the path alone says which one. */
static int open_once(const struct kv_coord_request *request, struct kv_coord_file *file, char *text,
	uint32_t text_size)
{
	int error;

	file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (file->fd < 0)
		return -errno;
	error = check_file(file, request, text, text_size);
	if (error)
		goto close_fd;
	file->segment =
		mmap(NULL, sizeof(*file->segment), PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (file->segment == MAP_FAILED) {
		error = -errno;
		goto close_fd;
	}
	error = kv_coord_check_header(file->segment, sizeof(*file->segment), text, text_size);
	if (!error && request && memcmp(file->segment->gpu_uuid, request->uuid, 16) != 0) {
		if (text && text_size)
			snprintf(text, text_size, "it names another GPU");
		error = -EPROTO;
	}
	if (!error)
		return 0;
	munmap(file->segment, sizeof(*file->segment));
close_fd:
	close(file->fd);
	return error;
}

int kv_coord_file_open(const struct kv_coord_request *request, struct kv_coord_file *ret_file,
	char *text, uint32_t text_size)
{
	int error = make_path(request->directory, request->has_group ? "g" : "",
		request->has_group ? request->gid : (uint32_t)geteuid(), request->uuid,
		ret_file->path, sizeof(ret_file->path));

	for (int i = 0; !error && i < OPEN_TRIES; i++) {
		error = open_once(request, ret_file, text, text_size);
		if (error != -ENOENT)
			return error;
		error = make(request, ret_file->path);
		if (error == -EEXIST)
			error = 0;
	}
	return error ? error : -EAGAIN;
}

int kv_coord_file_attach(
	const char *path, struct kv_coord_file *ret_file, char *text, uint32_t text_size)
{
	int n = snprintf(ret_file->path, sizeof(ret_file->path), "%s", path);

	if (n < 0 || (size_t)n >= sizeof(ret_file->path))
		return -ENAMETOOLONG;
	return open_once(NULL, ret_file, text, text_size);
}

static bool is_it(const struct kv_coord_file *file, const struct stat *info)
{
	return info->st_dev == file->device && info->st_ino == file->inode;
}

/* The descriptor, or -1 if it is not ours any more. */
static int own_fd(const struct kv_coord_file *file)
{
	int fd = __atomic_load_n(&file->fd, __ATOMIC_RELAXED);
	struct stat info;

	return fd >= 0 && fstat(fd, &info) == 0 && is_it(file, &info) ? fd : -1;
}

void kv_coord_file_let_go(struct kv_coord_file *file)
{
	int fd = own_fd(file);

	__atomic_store_n(&file->fd, -1, __ATOMIC_RELAXED);
	if (fd >= 0)
		close(fd);
}

void kv_coord_file_close(struct kv_coord_file *file)
{
	munmap(file->segment, sizeof(*file->segment));
	kv_coord_file_let_go(file);
}

int kv_coord_file_keep(struct kv_coord_file *file)
{
	struct stat info;
	int fd;

	if (own_fd(file) >= 0)
		return 0;
	fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &info) != 0 || !is_it(file, &info)) {
		close(fd);
		return -ESTALE;
	}
	__atomic_store_n(&file->fd, fd, __ATOMIC_RELAXED);
	return 1;
}

bool kv_coord_file_is_linked(const struct kv_coord_file *file)
{
	int fd = own_fd(file);
	struct stat info;

	if (fd >= 0)
		return fstat(fd, &info) == 0 && info.st_nlink > 0;
	return stat(file->path, &info) == 0 && is_it(file, &info);
}

static struct flock byte_of(uint32_t index, short type)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)index, .l_len = 1};
}

int kv_coord_file_mark(const struct kv_coord_file *file, uint32_t index)
{
	struct flock lock = byte_of(index, F_WRLCK);

	if (fcntl(own_fd(file), F_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

void kv_coord_file_unmark(const struct kv_coord_file *file, uint32_t index)
{
	struct flock lock = byte_of(index, F_UNLCK);

	fcntl(own_fd(file), F_SETLK, &lock);
}

int kv_coord_file_is_marked(const struct kv_coord_file *file, uint32_t index)
{
	struct flock lock = byte_of(index, F_WRLCK);

	if (fcntl(own_fd(file), F_GETLK, &lock) != 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}
