/* SPDX-License-Identifier: Apache-2.0 */
/* test_segment_hostile.c - segments that are no segments, and places where none can be. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/coord.h"
#include "tests/shim/segment_place.h"

/* A finished segment with one slot in use, as bytes. */
static struct kv_coord_segment *a_segment(void)
{
	struct kv_coord_segment *bytes = malloc(sizeof(*bytes));
	struct kv_coord *coord;

	cr_assert_not_null(bytes);
	cr_assert_eq(place_join(&coord, NULL, 0), 0);
	memcpy(bytes, kv_coord_segment(coord), sizeof(*bytes));
	kv_coord_leave(coord);
	return bytes;
}

static void write_file(const void *bytes, size_t size)
{
	int fd = open(place.path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

static int try_join(char text[128])
{
	struct kv_coord *coord;

	return place_join_within(10000000, &coord, text, 128);
}

static uint64_t random_state; /* 0: not seeded yet */

/* The same words in every run, other ones with another KV_TEST_SEED. */
static uint64_t random_word(void)
{
	const char *given = getenv("KV_TEST_SEED");

	if (!random_state)
		random_state = (given ? strtoull(given, NULL, 0) : 0) * 0x9e3779b97f4a7c15ull | 1;
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

TestSuite(hostile, .init = place_make, .fini = place_remove, .timeout = 120);

Test(hostile, files_that_are_no_segments_are_refused_and_left_alone)
{
	struct kv_coord_segment *bytes = a_segment();
	static const size_t sizes[] = {0, 1, 11, 12, 63, 64, 4096, sizeof(*bytes) - 1};
	struct stat info;
	char text[128];

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		write_file(bytes, sizes[i]);
		cr_assert_eq(try_join(text), -EPROTO, "%zu bytes", sizes[i]);
		cr_assert_neq(text[0], '\0');
		cr_assert_eq(stat(place.path, &info), 0);
		cr_assert_eq((size_t)info.st_size, sizes[i]);
	}
	memset(bytes, 0x5a, sizeof(*bytes));
	write_file(bytes, sizeof(*bytes));
	cr_assert_eq(try_join(text), -EPROTO);
	free(bytes);
}

Test(hostile, a_segment_of_another_layout_is_told_from_a_damaged_one)
{
	struct kv_coord_segment *bytes = a_segment();
	char text[128];

	bytes->layout = KV_COORD_LAYOUT + 1;
	write_file(bytes, sizeof(*bytes));
	cr_assert_eq(try_join(text), -EPROTONOSUPPORT);
	cr_assert_not_null(strstr(text, "layout 3"), "%s", text);
	bytes->layout = 1;
	write_file(bytes, sizeof(*bytes));
	cr_assert_eq(try_join(text), -EPROTONOSUPPORT);
	cr_assert_not_null(strstr(text, "layout 1"), "%s", text);
	/* another layout may well be longer or shorter */
	write_file(bytes, 100);
	cr_assert_eq(try_join(text), -EPROTONOSUPPORT);
	free(bytes);
}

Test(hostile, every_header_field_that_does_not_fit_is_refused)
{
	struct kv_coord_segment *bytes = a_segment();
	uint32_t *const fields[] = {&bytes->header_size, &bytes->slot_size, &bytes->n_slots,
		(uint32_t *)&bytes->size, &bytes->mutex_size, &bytes->ready,
		(uint32_t *)bytes->gpu_uuid};
	char text[128];

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		*fields[i] += 1;
		write_file(bytes, sizeof(*bytes));
		cr_assert_eq(try_join(text), -EPROTO, "field %u", i);
		*fields[i] -= 1;
	}
	free(bytes);
}

Test(hostile, a_mutex_of_the_wrong_kind_is_never_locked)
{
	struct kv_coord_segment *bytes = a_segment();
	char text[128];

	memset(&bytes->mutex, 0x7f, sizeof(bytes->mutex));
	write_file(bytes, sizeof(*bytes));
	cr_assert_eq(try_join(text), -EPROTO);
	cr_assert_not_null(strstr(text, "mutex"), "%s", text);
	free(bytes);
}

Test(hostile, a_directory_a_link_or_a_pipe_in_its_place_is_refused)
{
	char text[128];

	cr_assert_eq(mkdir(place.path, 0700), 0);
	cr_assert_lt(try_join(text), 0);
	rmdir(place.path);
	cr_assert_eq(symlink("/etc/passwd", place.path), 0);
	cr_assert_eq(try_join(text), -ELOOP);
	unlink(place.path);
	cr_assert_eq(mkfifo(place.path, 0600), 0);
	cr_assert_eq(try_join(text), -EPROTO);
}

Test(hostile, a_file_that_others_may_write_is_refused)
{
	struct kv_coord_segment *bytes = a_segment();
	char text[128];

	write_file(bytes, sizeof(*bytes));
	chmod(place.path, 0666);
	cr_assert_eq(try_join(text), -EPERM);
	free(bytes);
}

Test(hostile, a_file_of_another_user_is_refused)
{
	struct kv_coord_segment *bytes = a_segment();
	char text[128];

	write_file(bytes, sizeof(*bytes));
	free(bytes);
	if (chown(place.path, 65534, 65534) != 0)
		cr_skip_test("only root can give a file away");
	cr_assert_eq(try_join(text), -EPERM);
}

Test(hostile, a_file_size_limit_is_an_error_and_not_a_signal)
{
	struct rlimit limit = {65536, 65536};
	char text[128];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGXFSZ, SIG_DFL);
		setrlimit(RLIMIT_FSIZE, &limit);
		_exit(try_join(text) == -EFBIG ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	cr_assert_eq(rmdir(place.directory), 0, "nothing half made is left");
}

Test(hostile, a_full_file_system_is_an_error_and_not_a_bus_error)
{
	char text[128];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
			mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
			mount("tmpfs", place.directory, "tmpfs", 0, "size=64k") != 0)
			_exit(77);
		_exit(try_join(text) == -ENOSPC ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip_test("no file system can be mounted here");
	cr_assert_eq(status, 0);
}

Test(hostile, a_directory_that_cannot_be_written_or_is_not_there_is_told_as_such)
{
	char text[128];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		chmod(place.directory, 0555);
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
			_exit(1);
		_exit(try_join(text) == -EACCES ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	rmdir(place.directory);
	cr_assert_eq(try_join(text), -ENOENT);
}

/* Each field of a slot alone, to every kind of value: the checker and the reader stay within
 * bounds. */
Test(hostile, garbage_in_a_segment_is_found_or_harmless)
{
	struct kv_coord_segment *bytes = a_segment();
	const size_t header = offsetof(struct kv_coord_segment, slots);
	unsigned n_found = 0, n_rounds = 3000;
	char text[128];

	for (unsigned i = 0; i < n_rounds; i++) {
		size_t at = (random_word() % (i % 4 ? 3 * sizeof(struct kv_coord_slot) : header)) &
			    ~(size_t)7;
		uint64_t *word = (uint64_t *)((uint8_t *)bytes + (i % 4 ? header : 0) + at);
		uint64_t before = *word;

		*word = i % 3 ? random_word() : (i % 2 ? UINT64_MAX : 0);
		bytes->slots[1].state = i % 2 ? KV_COORD_ACTIVE : bytes->slots[1].state;
		n_found += kv_coord_check(bytes, sizeof(*bytes), text, sizeof(text)) != 0;
		if (i % 8 < 4) /* the damage grows, half of the time */
			*word = before;
	}
	cr_assert_gt(n_found, n_rounds / 100);
	free(bytes);
}

/* Slots full of garbage under a good header: a join is still bounded and gets a slot, or says why
 * not. */
Test(hostile, a_join_survives_any_garbage_in_the_slots)
{
	struct kv_coord_segment *bytes = a_segment();
	struct kv_coord *coord;
	char text[128];
	int error;

	for (unsigned round = 0; round < 8; round++) {
		for (size_t i = 0; i < sizeof(bytes->slots) / 8; i++)
			((uint64_t *)bytes->slots)[i] = random_word();
		write_file(bytes, sizeof(*bytes));
		error = place_join_within(10000000, &coord, text, sizeof(text));
		cr_assert(error == 0 || error == -EUSERS, "%d %s", error, text);
		if (!error)
			kv_coord_leave(coord);
		unlink(place.path);
	}
	free(bytes);
}
