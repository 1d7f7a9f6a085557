/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.c - the coordinator with many processes on one device, for scripts/bench scale.
 *
 *   KVSHIM_DIR=DIRECTORY scale_slots WHAT PROCESSES
 *
 * PROCESSES slots of one segment, each with its share of a full device (all of this process, which
 * makes no difference to what is counted). Runs in scale_measured():
 *
 *   lease    a page is charged and given back, paid from the lease: what most charges are
 *   charge   a page is charged and given back with a visit to the segment
 *   decide   the policy says who gives 64 pages to the first of them
 *   wait     one turn of a wait for 64 pages: snapshot, decision, requests to the victims
 *   join     one more process joins, and leaves
 *
 * Every process but the first is busy and holds more than the first, which is below its fair share.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/coord_ledger.h"
#include "core/coord_snapshot.h"

#define PAGE (2ull << 20)
#define EACH (64 * PAGE) /* that each holds, but for the first */
#define MOST KV_COORD_SLOTS

static struct kv_coord *coord[MOST];
static struct kv_ledger ledger[MOST];
static struct kv_coord_request request = {.gpu_name = "scale"};
static struct kv_coord_scratch scratch;
static uint32_t n;

static void must(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "scale_slots: %s: %s\n", what, strerror(-result));
		exit(1);
	}
}

static void lease(void)
{
	must(ledger[0].ops->charge(ledger[0].ctx, PAGE), "charge");
	ledger[0].ops->uncharge(ledger[0].ctx, PAGE);
}

static void charge(void)
{
	lease();
	kv_coord_ledger_settle(coord[0]);
}

/* Of what is in the segment now; locked by nobody else. */
static void look_around(void)
{
	must(kv_coord_lock(coord[0]), "lock");
	kv_coord_snapshot(coord[0], 64 * PAGE, 0, UINT64_MAX, &scratch.snapshot);
	kv_coord_unlock(coord[0]);
	if (scratch.snapshot.policy.n != n)
		must(-EIO, "not everybody is in the snapshot");
}

static void decide(void)
{
	uint32_t n_decisions = kv_policy_decide(
		&scratch.snapshot.policy, scratch.snapshot.me, 64 * PAGE, scratch.decisions);

	if (!n_decisions)
		must(-EIO, "nothing was decided");
}

static void wait_once(void)
{
	struct kv_coord_wait wait = {.coord = coord[0],
		.scratch = &scratch,
		.bytes = 64 * PAGE,
		.deadline_ns = UINT64_MAX,
		.silent_ns = UINT64_MAX};
	uint64_t grant;

	(void)kv_coord_wait_look(&wait, &grant);
	if (!wait.locked_once)
		must(-EIO, "the mutex could not be had");
}

static void join(void)
{
	struct kv_coord *one;
	char text[128] = "";

	must(kv_coord_join(&request, &one, text, sizeof(text)), "join");
	kv_coord_leave(one);
}

static const struct {
	const char *name;
	void (*run)(void);
} what[] = {
	{"lease", lease},
	{"charge", charge},
	{"decide", decide},
	{"wait", wait_once},
	{"join", join},
};

void scale_measured(void (*run)(void));

__attribute__((noinline)) void scale_measured(void (*run)(void))
{
	run();
}

static void add(uint32_t i, bool with_lease)
{
	struct kv_coord_ledger_config config = {.lease_bytes = with_lease && !i ? 32 * PAGE : 0};
	struct kv_coord_account *account;
	char text[128] = "";

	if (kv_coord_join(&request, &coord[i], text, sizeof(text)) < 0) {
		fprintf(stderr, "scale_slots: process %u cannot join: %s\n", i, text);
		exit(1);
	}
	must(kv_coord_ledger_new(coord[i], &config, &ledger[i]), "a ledger");
	account = &kv_coord_segment(coord[i])->accounts[kv_coord_slot_index(coord[i])];
	account->activity_ns = INT64_MAX; /* busy for as long as this takes */
	if (i)
		must(ledger[i].ops->charge(ledger[i].ctx, EACH), "charge");
}

int main(int argc, char **argv)
{
	void (*run)(void) = NULL;
	bool leased;

	for (size_t i = 0; argc == 3 && i < sizeof(what) / sizeof(what[0]); i++)
		if (!strcmp(argv[1], what[i].name))
			run = what[i].run;
	n = run ? (uint32_t)strtoul(argv[2], NULL, 0) : 0;
	request.directory = getenv("KVSHIM_DIR");
	if (!n || n > MOST || !request.directory) {
		fprintf(stderr,
			"usage: scale_slots WHAT PROCESSES (at most %u; KVSHIM_DIR: where)\n",
			MOST);
		return 2;
	}
	/* "join" needs a slot */
	if (run == join && n == MOST)
		n--;
	leased = run == lease;
	memset(request.uuid, (int)(getpid() & 0xff), sizeof(request.uuid));
	/* all of it is held, but for what the first one charges */
	request.gpu_total = (n - 1) * EACH + (run == decide || run == wait_once ? 0 : EACH);
	if (!request.gpu_total)
		request.gpu_total = EACH;
	for (uint32_t i = 0; i < n; i++)
		add(i, leased);
	if (leased)
		lease(); /* pays for the ones to come */
	if (run == decide)
		look_around();
	scale_measured(run);
	for (uint32_t i = n; i-- > 0;)
		kv_coord_leave(coord[i]);
	return 0;
}
