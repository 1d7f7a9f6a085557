/* SPDX-License-Identifier: Apache-2.0 */
/* test_segment.c - processes that share a segment: arriving, leaving, dying, and being forged. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/coord_private.h"
#include "tests/shim/segment_child.h"
#include "tests/shim/segment_place.h"

static int body_join_and_leave(struct child *self)
{
	struct kv_coord *coord;

	if (place_join(&coord, NULL, 0) != 0)
		return 1;
	ready_and_wait(self);
	kv_coord_leave(coord);
	return 0;
}

/* As if killed between two stores of a write: the sequence number is odd for good. */
static int body_die_writing(struct child *self)
{
	struct kv_coord *coord;

	if (place_join(&coord, NULL, 0) != 0)
		return 1;
	kv_coord_segment(coord)->slots[kv_coord_slot_index(coord)].seq |= 1;
	ready_and_wait(self);
	return 0;
}

TestSuite(segment, .init = place_make, .fini = place_remove, .timeout = 60);

Test(segment, the_last_process_to_leave_leaves_nothing_behind)
{
	struct kv_coord *coord = join();
	struct kv_coord_slot copy;
	char text[128];

	cr_assert_eq(access(place.path, F_OK), 0);
	cr_assert_eq(kv_coord_check(kv_coord_segment(coord), sizeof(struct kv_coord_segment), text,
			     sizeof(text)),
		0, "%s", text);
	cr_assert_eq(kv_coord_read_slot(
			     &kv_coord_segment(coord)->slots[kv_coord_slot_index(coord)], &copy),
		0);
	cr_assert_eq(copy.owner_pid, getpid());
	cr_assert_eq(copy.state, (uint32_t)KV_COORD_ACTIVE);
	cr_assert_eq(kv_coord_owner_life(&copy), KV_COORD_ALIVE);
	kv_coord_leave(coord);
	cr_assert_neq(access(place.path, F_OK), 0);
	cr_assert_eq(rmdir(place.directory), 0, "no temporary file either");
}

Test(segment, it_is_readable_and_writable_by_its_user_alone_whatever_the_umask)
{
	struct stat info;

	umask(0777);
	join();
	umask(022);
	cr_assert_eq(stat(place.path, &info), 0);
	cr_assert_eq(info.st_mode & 0777, 0600u);
	/* allocated, not sparse: a full file system is met now and not at a store */
	cr_assert_geq((uint64_t)info.st_blocks * 512, sizeof(struct kv_coord_segment));
}

Test(segment, processes_get_slots_of_their_own)
{
	struct kv_coord *coord = join();
	struct child children[8];
	uint32_t n_used = 0;

	for (int i = 0; i < 8; i++)
		children[i] = start(body_join_and_leave);
	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++)
		n_used += kv_coord_segment(coord)->slots[i].state == KV_COORD_ACTIVE;
	cr_assert_eq(n_used, 9u);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(finish(&children[i]), 0);
	kv_coord_leave(coord);
	cr_assert_neq(access(place.path, F_OK), 0);
}

Test(segment, a_process_killed_while_it_holds_the_mutex_blocks_nobody)
{
	struct child child = start(body_hold_the_mutex);
	struct kv_coord *coord;

	kill_child(&child);
	coord = join();
	cr_assert_eq(kv_coord_slot_index(coord), 0u, "the dead one's slot was taken back");
	kv_coord_leave(coord);
	cr_assert_neq(access(place.path, F_OK), 0);
}

Test(segment, a_process_killed_while_it_writes_leaves_a_slot_that_can_be_used_again)
{
	struct kv_coord *coord = join();
	struct child child = start(body_die_writing);
	struct kv_coord_slot copy;
	struct kv_coord *other;

	kill_child(&child);
	cr_assert_eq(kv_coord_read_slot(&kv_coord_segment(coord)->slots[1], &copy), -EAGAIN);
	cr_assert_eq(kv_coord_owner_life(&copy), KV_COORD_DEAD);
	other = join();
	cr_assert_eq(kv_coord_slot_index(other), 1u);
	cr_assert_eq(kv_coord_read_slot(&kv_coord_segment(coord)->slots[1], &copy), 0);
}

Test(segment, a_mutex_that_a_living_process_keeps_ends_in_a_bounded_wait)
{
	struct child child = start(body_hold_the_mutex);
	struct kv_coord *coord;

	cr_assert_eq(place_join_within(10000000, &coord, NULL, 0), -ETIMEDOUT);
	cr_assert_eq(finish(&child), 0);
}

Test(segment, the_generation_rises_when_a_slot_changes_hands)
{
	struct kv_coord *keeper = join();
	struct child child = start(body_join_and_leave);
	uint32_t before = kv_coord_segment(keeper)->slots[1].generation;

	kill_child(&child);
	child = start(body_join_and_leave);
	cr_assert_eq(kv_coord_segment(keeper)->slots[1].generation, before + 1);
	cr_assert_eq(finish(&child), 0);
}

Test(segment, a_recycled_pid_is_not_taken_for_the_owner)
{
	struct kv_coord *keeper = join();
	struct child child = start(body_join_and_leave);
	struct kv_coord_slot *slot = &kv_coord_segment(keeper)->slots[1];

	kill_child(&child);
	slot->owner_pid = getppid(); /* that process lives, but the owner was an earlier one */
	slot->owner_start = 1;
	cr_assert_eq(kv_coord_owner_life(slot), KV_COORD_DEAD);
	cr_assert_eq(kv_coord_slot_index(join()), 1u);
}

/* A record lock tells the living from the dead where pids cannot. */
Test(segment, an_owner_in_another_pid_namespace_keeps_its_slot_as_long_as_it_lives)
{
	struct kv_coord *keeper = join();
	struct child child = start(body_join_and_leave);
	struct kv_coord_slot *slot = &kv_coord_segment(keeper)->slots[1];

	slot->owner_pid = 99999999; /* no such process here */
	cr_assert_eq(kv_coord_owner_life(slot), KV_COORD_DEAD);
	slot->owner_pidns++;
	cr_assert_eq(kv_coord_owner_life(slot), KV_COORD_ELSEWHERE);
	cr_assert_eq(kv_coord_slot_index(join()), 2u);
	kill_child(&child);
	cr_assert_eq(kv_coord_slot_index(join()), 1u);
}

Test(segment, what_a_program_held_before_it_called_exec_is_taken_back)
{
	struct kv_coord *keeper = join();

	kv_coord_segment(keeper)->slots[kv_coord_slot_index(keeper)].owner_image++;
	cr_assert_eq(kv_coord_slot_index(join()), kv_coord_slot_index(keeper));
}

Test(segment, a_forked_child_writes_nothing_and_frees_nothing)
{
	struct kv_coord *coord = join();
	struct kv_process_stats stats = {.reserved = 42};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		kv_coord_forget(coord);
		kv_coord_put_process(coord, &stats);
		kv_coord_leave(coord);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	cr_assert_eq(kv_coord_segment(coord)->slots[0].state, (uint32_t)KV_COORD_ACTIVE);
	cr_assert_eq(kv_coord_segment(coord)->slots[0].process.reserved, 0u);
}

Test(segment, every_slot_taken_is_told_as_such)
{
	struct kv_coord *keeper = join(), *coord;

	for (uint32_t i = 1; i < KV_COORD_SLOTS; i++) {
		kv_coord_segment(keeper)->slots[i] = kv_coord_segment(keeper)->slots[0];
	}
	cr_assert_eq(place_join(&coord, NULL, 0), -EUSERS);
}

/* Sums look at accounts up to the last slot in use: that end rises with who comes, falls when the
 * dead are looked for, and is not believed beyond the slots. */
Test(segment, what_is_in_use_ends_where_it_is_said_to)
{
	struct kv_coord *a = join(), *b = join(), *c = join();
	struct kv_coord_segment *segment = kv_coord_segment(a);

	cr_assert_eq(segment->used_end, 3u);
	kv_coord_leave(b);
	b = join();
	cr_assert_eq(kv_coord_slot_index(b), 1u);
	cr_assert_eq(segment->used_end, 3u);
	kv_coord_leave(c);
	kv_coord_leave(b);
	b = join();
	cr_assert_eq(segment->used_end, 2u);
	segment->accounts[0].promised = 5;
	segment->accounts[1].promised = 7;
	segment->used_end = UINT32_MAX;
	kv_coord_sum(segment);
	cr_assert_eq(segment->promised_total, 12u);
	kv_coord_leave(b);
	kv_coord_leave(a);
}

Test(segment, what_is_put_is_what_is_read_and_a_put_after_leaving_is_lost)
{
	struct kv_coord *keeper = join(), *coord = join();
	struct kv_coord_slot *slot = &kv_coord_segment(keeper)->slots[kv_coord_slot_index(coord)];
	struct kv_process_stats stats = {.reserved = 5, .n_reservations = 70};
	struct kv_reservation_stats row = {
		.base = 4096, .requested = 1, .reserved = 2, .page_size = 2};
	struct kv_coord_slot copy;

	kv_coord_put_process(coord, &stats);
	kv_coord_put_row(coord, 3, &row);
	kv_coord_put_row(coord, KV_COORD_ROWS, &row);
	kv_coord_put_state(coord, KV_COORD_INERT, "because");
	cr_assert_eq(kv_coord_read_slot(slot, &copy), 0);
	cr_assert_eq(copy.process.reserved, 5u);
	cr_assert_eq(copy.n_rows, 70u);
	cr_assert_eq(copy.rows[3].base, 4096u);
	cr_assert_eq(copy.state, (uint32_t)KV_COORD_INERT);
	cr_assert_str_eq(copy.note, "because");
	kv_coord_leave(coord);
	kv_coord_put_process(coord, &stats);
	kv_coord_leave(coord);
	cr_assert_eq(kv_coord_read_slot(slot, &copy), -ENOENT);
}

static int body_join_and_leave_often(struct child *self)
{
	ready_and_wait(self);
	for (int i = 0; i < 100; i++) {
		struct kv_coord *coord;

		if (place_join(&coord, NULL, 0) != 0)
			return 1;
		kv_coord_leave(coord);
	}
	return 0;
}

/* The last to leave removes the file while another opens it: nobody may end up alone in a removed
 * one. */
Test(segment, processes_that_come_and_go_at_once_never_fail_and_leave_nothing)
{
	struct child children[4];

	for (int i = 0; i < 4; i++)
		children[i] = start(body_join_and_leave_often);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(write(children[i].to, "g", 1), 1);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(reap(&children[i]), 0);
	cr_assert_eq(rmdir(place.directory), 0);
}

static int body_write_for_ever(struct child *self)
{
	struct kv_process_stats stats;
	struct kv_coord *coord;
	uint64_t round = 0;

	if (place_join(&coord, NULL, 0) != 0)
		return 1;
	for (int told = 0;; round++) {
		for (unsigned i = 0; i < sizeof(stats) / sizeof(uint64_t); i++)
			((uint64_t *)&stats)[i] = round;
		kv_coord_put_process(coord, &stats);
		if (!told++ && write(self->to, "r", 1) != 1)
			return 1;
	}
}

Test(segment, a_reader_never_takes_a_torn_write_for_a_whole_one)
{
	struct kv_coord *keeper = join();
	struct child child = start(body_write_for_ever);
	const struct kv_coord_slot *slot = &kv_coord_segment(keeper)->slots[1];
	struct kv_coord_slot copy;
	unsigned n_read = 0;

	for (int i = 0; i < 20000; i++) {
		if (kv_coord_read_slot(slot, &copy) != 0)
			continue;
		n_read++;
		cr_assert_eq(copy.process.reserved, copy.process.last_submission_ns);
		cr_assert_eq(copy.process.reserved, copy.process.pages_spilled);
	}
	kill_child(&child);
	cr_assert_gt(n_read, 0u);
}

/* What daemons do to descriptors that they do not know: another file gets the number. */
static int close_the_file(void)
{
	struct stat file, info;
	int last = -1, null = open("/dev/null", O_RDWR);

	if (null < 0 || stat(place.path, &file) != 0)
		return -1;
	for (int fd = 3; fd < 1024; fd++) {
		if (fstat(fd, &info) != 0 || info.st_ino != file.st_ino ||
			info.st_dev != file.st_dev)
			continue;
		last = dup2(null, fd);
	}
	return last;
}

static int body_close_the_file(struct child *self)
{
	struct kv_coord *coord;
	struct stat info;
	int fd;

	if (place_join(&coord, NULL, 0) != 0)
		return 1;
	kv_coord_segment(coord)->slots[kv_coord_slot_index(coord)].owner_pidns++;
	/* a copy is as good as the thing itself: the locks are gone */
	close(open(place.path, O_RDWR));
	kv_coord_beat(coord);
	ready_and_wait(self);
	fd = close_the_file();
	if (fd < 0)
		return 2;
	kv_coord_beat(coord);
	ready_and_wait(self);
	if (kv_coord_segment(coord)->slots[kv_coord_slot_index(coord)].generation != 1)
		return 3;
	kv_coord_leave(coord);
	/* the number is the program's */
	return fstat(fd, &info) == 0 && S_ISCHR(info.st_mode) ? 0 : 4;
}

/* To the next ready_and_wait(). */
static void proceed(struct child *child)
{
	char byte;

	cr_assert_eq(write(child->to, "g", 1), 1);
	cr_assert_eq(read(child->from, &byte, 1), 1);
}

Test(segment, a_program_that_closes_our_file_stays_known_in_other_pid_namespaces)
{
	struct kv_coord *keeper = join(), *other;
	struct child child = start(body_close_the_file);

	other = join();
	cr_assert_eq(kv_coord_slot_index(other), 2u);
	proceed(&child);
	kv_coord_leave(other);
	other = join();
	cr_assert_eq(kv_coord_slot_index(other), 2u);
	cr_assert_eq(finish(&child), 0);
	kv_coord_leave(other);
	kv_coord_leave(keeper);
	cr_assert_neq(access(place.path, F_OK), 0);
}

/* Who looks after others through a descriptor that is not the segment's any more takes nobody for
 * dead, and still knows whether it is the last one. */
Test(segment, who_has_lost_its_descriptor_takes_nobodys_slot_and_leaves_nothing_behind)
{
	struct kv_coord *keeper = join();
	struct child child = start(body_join_and_leave);

	kv_coord_segment(keeper)->slots[1].owner_pidns++;
	cr_assert_geq(close_the_file(), 0);
	cr_assert_eq(kv_coord_lock(keeper), 0);
	cr_assert_eq(kv_coord_sweep(keeper), 2u);
	kv_coord_unlock(keeper);
	kv_coord_segment(keeper)->slots[1].owner_pidns--;
	cr_assert_eq(finish(&child), 0);
	kv_coord_leave(keeper);
	cr_assert_neq(access(place.path, F_OK), 0);
}

static int body_die_after_exec(struct child *self)
{
	struct kv_coord *coord;

	/* a recycled image would look alive by pid and start time; the lock goes with the
	 * descriptor */
	if (place_join(&coord, NULL, 0) != 0)
		return 1;
	kv_coord_segment(coord)->slots[kv_coord_slot_index(coord)].owner_pidns++;
	ready_and_wait(self);
	execl("/bin/sh", "sh", "-c", "read line", NULL);
	return 1;
}

Test(segment, what_called_exec_in_another_pid_namespace_has_left)
{
	struct kv_coord *keeper = join();
	struct child child = start(body_die_after_exec);
	struct kv_coord *other = join();

	cr_assert_eq(kv_coord_slot_index(other), 2u);
	cr_assert_eq(write(child.to, "g", 1), 1);
	for (int i = 0; i < 6000 && kv_coord_slot_index(other) != 1u; i++) {
		usleep(10000);
		other = join();
	}
	cr_assert_eq(kv_coord_slot_index(other), 1u);
	kill_child(&child);
	kv_coord_leave(keeper);
}
