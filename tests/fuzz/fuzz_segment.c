/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_segment.c - garbage in a live segment: the input is written over it, eight bytes here and
 * there, and two members of it go on with everything that they do. Nothing may crash, hang or reach
 * outside.
 *
 * An input is a series of records of 12 bytes: where (4, taken modulo the segment), what (8). The
 * bytes of the mutex are left out: a wrong one is refused before it is locked
 * (tests/shim/test_segment_hostile.c), and one that changes under a thread that holds it is beyond
 * what any process can defend itself against.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/coord_ledger.h"
#include "tests/fuzz/fuzz.h"

#define PAGE (2ull << 20)
#define RECORD 12
#define RECORDS_MAX 64

static char directory[] = "/tmp/kvshim-fuzz-XXXXXX";
static struct kv_coord_segment *clean; /* a copy of the segment before the first input */
static struct kv_coord *one, *two;
static struct kv_ledger ledger_one, ledger_two;

static void require(int holds)
{
	if (!holds)
		abort();
}

static struct kv_coord *join(void)
{
	struct kv_coord_request request = {.directory = directory,
		.gpu_total = 1ull << 30,
		.lock_timeout_ns = 10000000,
		.gpu_name = "fuzz"};
	struct kv_coord *coord = NULL;
	char text[128];
	int error = kv_coord_join(&request, &coord, text, sizeof(text));

	require(error <= 0);
	return error ? NULL : coord;
}

static void clean_up(void)
{
	char path[256];
	uint8_t uuid[16] = {0};

	kv_coord_path(directory, (uint32_t)geteuid(), uuid, path, sizeof(path));
	unlink(path);
	rmdir(directory);
}

static void set_up(void)
{
	const struct kv_coord_ledger_config config = {.lease_bytes = 8 * PAGE};

	require(mkdtemp(directory) != NULL);
	atexit(clean_up);
	one = join();
	two = join();
	require(one && two);
	require(kv_coord_ledger_new(one, &config, &ledger_one) == 0);
	require(kv_coord_ledger_new(two, &config, &ledger_two) == 0);
	clean = malloc(sizeof(*clean));
	require(clean != NULL);
	memcpy(clean, kv_coord_segment(one), sizeof(*clean));
}

static void put_garbage(const uint8_t *data, size_t size)
{
	uint8_t *bytes = (uint8_t *)kv_coord_segment(one);
	const size_t mutex = offsetof(struct kv_coord_segment, mutex);
	const size_t after = mutex + sizeof(clean->mutex_space);

	/* all but the mutex, which remembers its own history */
	memcpy(bytes, clean, mutex);
	memcpy(bytes + after, (uint8_t *)clean + after, sizeof(*clean) - after);
	for (size_t i = 0; i + RECORD <= size && i < RECORDS_MAX * RECORD; i += RECORD) {
		uint32_t at;

		memcpy(&at, data + i, sizeof(at));
		/* half of them where the sums and accounts are, which are small */
		at = at & 1 ? at / 2 % (uint32_t)offsetof(struct kv_coord_segment, slots)
			    : at / 2 % (uint32_t)(sizeof(*clean) - 8);
		if (at + 8 <= mutex || at >= after)
			memcpy(bytes + at, data + i + 4, 8);
	}
}

/* What a process does with its ledger. */
static void charge_and_give(const struct kv_ledger *ledger)
{
	const struct kv_ledger_ops *ops = ledger->ops;
	const struct kv_ledger_wait wait = {.bytes = PAGE};
	uint64_t charged = 0, could;

	ops->seen(ledger->ctx, PAGE * 100, 1ull << 30);
	for (int i = 0; i < 4; i++)
		charged += ops->charge(ledger->ctx, PAGE) == 0 ? PAGE : 0;
	if (ops->promise(ledger->ctx, PAGE, 0) == 0)
		ops->unpromise(ledger->ctx, PAGE);
	ops->promise(ledger->ctx, 0, PAGE);
	require(ops->wait(ledger->ctx, &wait) <= 0);
	ops->elsewhere(ledger->ctx, 1);
	ops->elsewhere(ledger->ctx, -1);
	ops->put_aside(ledger->ctx, PAGE);
	ops->put_aside(ledger->ctx, -(int64_t)PAGE);
	kv_coord_ledger_catch_up(ledger->ctx);
	kv_coord_ledger_could_get(ledger->ctx, &could);
	kv_coord_ledger_excess(ledger->ctx);
	ops->uncharge(ledger->ctx, charged);
	kv_coord_ledger_settle(ledger->ctx);
}

/* What its agent does. */
static void serve(struct kv_coord *coord)
{
	struct kv_coord_limits limits;
	struct kv_coord_asked asked;

	kv_coord_beat(coord);
	if (kv_coord_new_limits(coord, &limits))
		require(limits.min <= limits.max && limits.weight >= 1 &&
			limits.weight <= KV_COORD_WEIGHT_MAX);
	for (int i = 0; i < 16 && kv_coord_next(coord, &asked); i++) {
		require(asked.kind <= KV_COORD_RESUME);
		require(memchr(asked.tag, 0, sizeof(asked.tag)) != NULL);
		kv_coord_answer(coord, &asked, 0);
	}
}

/* What operators and monitors do. */
static void look_and_change(struct kv_coord *coord)
{
	static struct kv_coord_decision decisions[KV_COORD_DECISIONS];
	static struct kv_coord_slot copy;
	struct kv_coord_limits limits = {.max = 5 * PAGE, .weight = 7};
	char text[128];
	uint32_t slot, ticket, n;
	int64_t result;

	kv_coord_check(kv_coord_segment(coord), sizeof(*clean), text, sizeof(text));
	kv_coord_check_sums(kv_coord_segment(coord), text, sizeof(text));
	n = kv_coord_read_decisions(kv_coord_segment(coord), decisions, KV_COORD_DECISIONS);
	require(n <= KV_COORD_DECISIONS);
	for (uint32_t i = 0; i < n; i++)
		require(memchr(decisions[i].text, 0, sizeof(decisions[i].text)) != NULL);
	if (kv_coord_read_slot(&kv_coord_segment(coord)->slots[1], &copy) == 0)
		kv_coord_check_slot(&copy, text, sizeof(text));
	if (kv_coord_find_pid(coord, (int32_t)getpid(), &slot) == 0)
		require(slot < KV_COORD_SLOTS);
	kv_coord_set_limits(coord, 1, &limits, KV_COORD_LIMIT_MAX | KV_COORD_LIMIT_WEIGHT);
	if (kv_coord_post(coord, 1, KV_COORD_RECLAIM, PAGE, NULL, &ticket) == 0)
		kv_coord_wait(coord, 1, KV_COORD_RECLAIM, ticket, 0, &result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kv_process_stats stats = {.reserved = 1, .native = PAGE};
	struct kv_coord *third;

	if (!clean)
		set_up();
	put_garbage(data, size);
	charge_and_give(&ledger_one);
	look_and_change(one);
	serve(two);
	charge_and_give(&ledger_two);
	serve(one);
	kv_coord_put_process(two, &stats);
	kv_coord_put_activity(two, KV_COORD_IDLE);
	third = join();
	if (third) {
		kv_coord_leave(third);
		kv_coord_detach(third); /* no other thread is behind a put here */
	}
	return 0;
}
