/* SPDX-License-Identifier: Apache-2.0 */
/* test_control.c - limits that others change, and commands with answers. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/coord.h"
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

static int body_change_limits(struct child *self)
{
	struct kv_coord_limits limits;
	struct kv_coord *coord;
	uint32_t generation;

	if (place_join(&coord, NULL, 0) != 0)
		return 1;
	ready_and_wait(self);
	for (uint32_t i = 0; i < 1000; i++) {
		limits = (struct kv_coord_limits){.min = i, .max = 1000 + i, .weight = 1 + i};
		if (kv_coord_set_limits(coord, 0, &limits,
			    KV_COORD_LIMIT_MIN | KV_COORD_LIMIT_MAX | KV_COORD_LIMIT_WEIGHT) != 0)
			return 1;
	}
	if (kv_coord_limits(coord, 0, &limits, &generation) != 0 || limits.min != 999 ||
		limits.max != 1999 || limits.weight != 1000)
		return 1;
	return 0;
}

TestSuite(control, .init = place_make, .fini = place_remove, .timeout = 60);

static struct kv_coord_control *control_of(struct kv_coord *coord)
{
	return &kv_coord_segment(coord)->slots[kv_coord_slot_index(coord)].control;
}

Test(control, limits_start_as_the_request_says_and_nonsense_is_mended)
{
	struct kv_coord_request request = {.directory = place.directory,
		.gpu_total = 1ull << 30,
		.limits = {.min = 50, .max = 20, .weight = 0, .idle_ms = 7}};
	struct kv_coord_limits limits;
	struct kv_coord *coord;

	memcpy(request.uuid, place.uuid, sizeof(request.uuid));
	cr_assert_eq(kv_coord_join(&request, &coord, NULL, 0), 0);
	cr_assert_eq(kv_coord_limits(coord, 0, &limits, NULL), 0);
	cr_assert_eq(limits.min, 20u);
	cr_assert_eq(limits.max, 20u);
	cr_assert_eq(limits.weight, KV_COORD_WEIGHT);
	cr_assert_eq(limits.idle_ms, 7u);
	/* the owner hears of them once, as of any change */
	cr_assert(kv_coord_new_limits(coord, &limits));
	cr_assert_eq(limits.idle_ms, 7u);
	cr_assert_not(kv_coord_new_limits(coord, &limits));
}

Test(control, a_changed_limit_reaches_its_owner_and_rings_its_doorbell)
{
	struct kv_coord *owner = join(), *tool;
	struct kv_coord_limits limits, change = {.max = 500, .weight = 300};
	uint32_t before, after, bell, slot;

	kv_coord_new_limits(owner, &limits);
	cr_assert_eq(kv_coord_attach(place.path, &tool, NULL, 0), 0);
	cr_assert_eq(kv_coord_find_pid(tool, getpid(), &slot), 0);
	cr_assert_eq(slot, kv_coord_slot_index(owner));
	cr_assert_eq(kv_coord_limits(tool, slot, &limits, &before), 0);
	bell = *kv_coord_doorbell(owner);
	cr_assert_eq(kv_coord_set_limits(tool, slot, &change, KV_COORD_LIMIT_MAX), 0);
	cr_assert_eq(*kv_coord_doorbell(owner), bell + 1);
	cr_assert(kv_coord_new_limits(owner, &limits));
	cr_assert_eq(limits.max, 500u);
	cr_assert_eq(limits.weight, KV_COORD_WEIGHT, "the mask did not name it");
	cr_assert_eq(kv_coord_limits(tool, slot, &limits, &after), 0);
	cr_assert_eq(after, before + 1);
	cr_assert_eq(control_of(owner)->limits_seen, after);
	/* the same value again, and back to what it was: the owner hears of both */
	change.max = KV_COORD_NO_LIMIT;
	cr_assert_eq(kv_coord_set_limits(tool, slot, &change, KV_COORD_LIMIT_MAX), 0);
	cr_assert(kv_coord_new_limits(owner, &limits));
	cr_assert_eq(limits.max, KV_COORD_NO_LIMIT);
	kv_coord_leave(tool);
}

/* Pids come round: what a killed process left under the same one is not what its name stands for.
 */
Test(control, a_pid_names_the_process_that_has_it_now)
{
	struct kv_coord *owner = join(), *tool;
	struct kv_coord_slot *slots;
	uint32_t mine = kv_coord_slot_index(owner), other = mine + 1, slot = UINT32_MAX;

	cr_assert_eq(kv_coord_attach(place.path, &tool, NULL, 0), 0);
	slots = kv_coord_segment(owner)->slots;
	slots[other] = slots[mine];
	slots[mine].owner_start++;
	cr_assert_eq(kv_coord_find_pid(tool, getpid(), &slot), 0);
	cr_assert_eq(slot, other);
	slots[other].owner_start++;
	cr_assert_eq(kv_coord_find_pid(tool, getpid(), &slot), -ESRCH);
	slots[other].state = KV_COORD_FREE;
	slots[mine].owner_start--;
	kv_coord_detach(tool);
}

/* Changes come one after the other, the last one counts: there is no revision to be stale. */
Test(control, a_thousand_changes_leave_a_whole_set_and_the_last_one_counts)
{
	struct child child = start(body_change_limits);
	struct kv_coord *reader = join();
	struct kv_coord_limits limits;
	uint32_t generation, last = 0;

	cr_assert_eq(write(child.to, "g", 1), 1);
	for (int i = 0; i < 2000; i++) {
		cr_assert_eq(kv_coord_limits(reader, 0, &limits, &generation), 0);
		cr_assert_geq(generation, last);
		cr_assert_leq(limits.min, limits.max);
		last = generation;
	}
	cr_assert_eq(reap(&child), 0);
}

Test(control, limits_as_they_are_already_change_nothing)
{
	struct kv_coord *owner = join();
	struct kv_coord_limits limits, change = {.max = 4096, .weight = 7};
	const uint32_t mask = KV_COORD_LIMIT_MAX | KV_COORD_LIMIT_WEIGHT;
	uint32_t before, after;

	kv_coord_new_limits(owner, &limits);
	cr_assert_eq(kv_coord_set_limits(owner, 0, &change, mask), 0);
	cr_assert_eq(kv_coord_limits(owner, 0, &limits, &before), 0);
	cr_assert(kv_coord_new_limits(owner, &limits));
	cr_assert_eq(kv_coord_set_limits(owner, 0, &change, mask), 0);
	cr_assert_eq(kv_coord_limits(owner, 0, &limits, &after), 0);
	cr_assert_eq(after, before);
	cr_assert_not(kv_coord_new_limits(owner, &limits));
}

Test(control, limits_that_make_no_sense_are_refused_and_change_nothing)
{
	struct kv_coord *owner = join();
	struct kv_coord_limits limits, change = {.min = 10, .max = 5, .weight = 0};

	cr_assert_eq(
		kv_coord_set_limits(owner, 0, &change, KV_COORD_LIMIT_MIN | KV_COORD_LIMIT_MAX),
		-EINVAL);
	cr_assert_eq(kv_coord_set_limits(owner, 0, &change, KV_COORD_LIMIT_WEIGHT), -EINVAL);
	change.weight = KV_COORD_WEIGHT_MAX + 1;
	cr_assert_eq(kv_coord_set_limits(owner, 0, &change, KV_COORD_LIMIT_WEIGHT), -EINVAL);
	cr_assert_eq(kv_coord_set_limits(owner, 1, &change, KV_COORD_LIMIT_MIN), -ESRCH);
	cr_assert_eq(
		kv_coord_set_limits(owner, KV_COORD_SLOTS, &change, KV_COORD_LIMIT_MIN), -ESRCH);
	cr_assert_eq(kv_coord_limits(owner, 0, &limits, NULL), 0);
	cr_assert_eq(limits.min, 0u);
	cr_assert_eq(kv_coord_limits(owner, 1, &limits, NULL), -ESRCH);
}

Test(control, a_command_is_seen_once_and_its_answer_reaches_who_asked)
{
	struct kv_coord *owner = join(), *peer = join();
	struct kv_coord_asked asked;
	uint32_t ticket;
	int64_t result;

	cr_assert_not(kv_coord_next(owner, &asked));
	cr_assert_eq(kv_coord_post(peer, 0, KV_COORD_PAUSE, 4096, "chat", &ticket), 0);
	cr_assert_eq(kv_coord_wait(peer, 0, KV_COORD_PAUSE, ticket, 1000000, &result), -ETIMEDOUT);
	cr_assert(kv_coord_next(owner, &asked));
	cr_assert_eq(asked.kind, KV_COORD_PAUSE);
	cr_assert_eq(asked.bytes, 4096u);
	cr_assert_eq(asked.by_pid, getpid());
	cr_assert_str_eq(asked.tag, "chat");
	kv_coord_answer(owner, &asked, 1234);
	cr_assert_not(kv_coord_next(owner, &asked));
	cr_assert_eq(kv_coord_wait(peer, 0, KV_COORD_PAUSE, ticket, 0, &result), 0);
	cr_assert_eq(result, 1234);
	cr_assert_not(kv_coord_next(peer, &asked), "it was not asked");
}

Test(control, requests_that_meet_are_answered_together_and_the_larger_counts)
{
	struct kv_coord *owner = join();
	struct kv_coord_asked asked;
	uint32_t first, second;
	int64_t result;

	cr_assert_eq(kv_coord_post(owner, 0, KV_COORD_RECLAIM, 100, NULL, &first), 0);
	cr_assert_eq(kv_coord_post(owner, 0, KV_COORD_RECLAIM, 70, NULL, &second), 0);
	cr_assert(kv_coord_next(owner, &asked));
	cr_assert_eq(asked.bytes, 100u);
	kv_coord_answer(owner, &asked, 100);
	cr_assert_eq(kv_coord_wait(owner, 0, KV_COORD_RECLAIM, first, 0, &result), 0);
	cr_assert_eq(kv_coord_wait(owner, 0, KV_COORD_RECLAIM, second, 0, &result), 0);
	/* one that comes while an answer is being made is not lost */
	cr_assert_eq(kv_coord_post(owner, 0, KV_COORD_RECLAIM, 1, NULL, &first), 0);
	cr_assert(kv_coord_next(owner, &asked));
	cr_assert_eq(kv_coord_post(owner, 0, KV_COORD_RECLAIM, 2, NULL, &second), 0);
	kv_coord_answer(owner, &asked, 1);
	cr_assert(kv_coord_next(owner, &asked));
	cr_assert_eq(asked.bytes, 2u);
}

/* What is asked of one tag must not become a request for another, nor seem to be done. */
Test(control, two_tags_are_not_asked_for_at_once)
{
	struct kv_coord *owner = join(), *one = join(), *two = join();
	struct kv_coord_asked asked;
	uint32_t ticket, again;

	cr_assert_eq(kv_coord_post(one, 0, KV_COORD_PAUSE, 4096, "draft", &ticket), 0);
	cr_assert_eq(kv_coord_post(two, 0, KV_COORD_PAUSE, 4096, "other", &again), -EBUSY);
	cr_assert_eq(kv_coord_post(two, 0, KV_COORD_PAUSE, 4096, "draft", &again), 0);
	cr_assert_eq(kv_coord_post(two, 0, KV_COORD_RESUME, 4096, "other", &ticket), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert(kv_coord_next(owner, &asked));
		cr_assert_str_eq(asked.tag, asked.kind == KV_COORD_PAUSE ? "draft" : "other");
		kv_coord_answer(owner, &asked, 0);
	}
	cr_assert_eq(kv_coord_post(two, 0, KV_COORD_PAUSE, 4096, "other", &again), 0);
	cr_assert(kv_coord_next(owner, &asked));
	cr_assert_str_eq(asked.tag, "other");
}

Test(control, nobody_waits_for_an_answer_of_the_dead_or_of_those_who_left)
{
	struct kv_coord *keeper = join();
	struct child child = start(body_join_and_leave);
	uint32_t ticket;
	int64_t result;

	cr_assert_eq(kv_coord_post(keeper, 1, KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL, &ticket), 0);
	kill_child(&child);
	cr_assert_eq(
		kv_coord_wait(keeper, 1, KV_COORD_EVICT, ticket, 50000000000ull, &result), -ESRCH);
	cr_assert_eq(kv_coord_post(keeper, 1, KV_COORD_EVICT, 1, NULL, &ticket), -ESRCH);
	child = start(body_join_and_leave);
	cr_assert_eq(kv_coord_post(keeper, 1, KV_COORD_EVICT, 1, NULL, &ticket), 0);
	cr_assert_eq(finish(&child), 0);
	cr_assert_eq(
		kv_coord_wait(keeper, 1, KV_COORD_EVICT, ticket, 50000000000ull, &result), -ESRCH);
	cr_assert_eq(kv_coord_post(keeper, 0, (enum kv_coord_command_kind)99, 1, NULL, &ticket),
		-EINVAL);
	cr_assert_eq(kv_coord_wait(keeper, KV_COORD_SLOTS, KV_COORD_EVICT, 0, 1, &result), -EINVAL);
}

Test(control, a_forked_child_answers_nothing_in_its_parents_name)
{
	struct kv_coord *coord = join();
	struct kv_coord_asked asked;
	uint32_t ticket;
	int status;
	pid_t pid;

	cr_assert_eq(kv_coord_post(coord, 0, KV_COORD_EVICT, 1, NULL, &ticket), 0);
	pid = fork();
	if (pid == 0) {
		kv_coord_forget(coord);
		_exit(kv_coord_next(coord, &asked) ? 1 : 0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	cr_assert(kv_coord_next(coord, &asked));
}

Test(control, a_slot_that_went_to_another_is_not_written_by_the_one_before)
{
	struct kv_coord *keeper = join(), *coord = join();
	struct kv_process_stats stats = {.reserved = 42};
	struct kv_coord_asked asked;
	struct kv_coord_limits limits;

	/* as if it had been taken for dead, say stopped where no record lock tells */
	kv_coord_segment(keeper)->slots[1].generation++;
	kv_coord_put_process(coord, &stats);
	kv_coord_put_activity(coord, KV_COORD_EVICTED);
	kv_coord_beat(coord);
	cr_assert_not(kv_coord_next(coord, &asked));
	cr_assert_not(kv_coord_new_limits(coord, &limits));
	cr_assert_eq(kv_coord_segment(keeper)->slots[1].process.reserved, 0u);
	cr_assert_eq(kv_coord_segment(keeper)->accounts[1].activity, (uint32_t)KV_COORD_BUSY);
	cr_assert_eq(kv_coord_segment(keeper)->accounts[1].alive_ns, 0u);
}
