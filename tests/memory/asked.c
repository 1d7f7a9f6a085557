/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asked.c - what another process asks of this one, through the shared segment, and what becomes of
 * its memory meanwhile. The asker is this program itself, with a view of the segment of its own, as
 * the kvshim command has; the one who answers is the agent in the preloaded library.
 */
#include "tests/memory/operator.h"

static CUdeviceptr a, b;

/* Both buffers hold what was written into them. */
static bool intact(void)
{
	static uint8_t bytes[BIG];
	bool good;

	OK(cuMemcpyDtoH(bytes, a, BIG));
	good = all(bytes, BIG, 0x11);
	OK(cuMemcpyDtoH(bytes, b, BIG / 2));
	return good && all(bytes, BIG / 2, 0x22);
}

static uint64_t driver_free(void)
{
	struct kv_process_stats stats;
	size_t free_bytes, total;

	OK(cuMemGetInfo(&free_bytes, &total));
	CHECK(state_process(&stats));
	/* What the shim reports leaves out what was promised and is not backed. */
	return free_bytes + stats.reserved - stats.backed - stats.spare;
}

static void evicts_and_restores(void)
{
	uint64_t before = driver_free();

	CHECK(backed() == BIG + BIG / 2);
	CHECK(ask(KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL) == BIG + BIG / 2);
	CHECK(backed() == 0);
	CHECK(driver_free() == before + BIG + BIG / 2);
	CHECK(ask(KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL) == 0);
	CHECK(ask(KV_COORD_RESTORE, 4 * PAGE, NULL) == 4 * PAGE);
	CHECK(backed() == 4 * PAGE);
	CHECK(ask(KV_COORD_RESTORE, KV_COORD_NO_LIMIT, NULL) == BIG + BIG / 2 - 4 * PAGE);
	CHECK(backed() == BIG + BIG / 2);
	CHECK(intact());
	CHECK(ask(KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL) == BIG + BIG / 2);
	CHECK(intact()); /* by itself, with the first copies */
	CHECK(backed() == BIG + BIG / 2);
}

static void evicts_a_part(void)
{
	CHECK(ask(KV_COORD_EVICT, 3 * PAGE, NULL) == 3 * PAGE);
	CHECK(backed() == BIG + BIG / 2 - 3 * PAGE);
	CHECK(intact());
}

static void gives_back_what_it_keeps_at_hand(void)
{
	CUdeviceptr c = reserve(BIG);
	struct kv_process_stats stats;

	OK(cuMemsetD8(c, 1, BIG));
	OK(cuMemFree(c));
	CHECK(state_process(&stats) && stats.spare == BIG);
	CHECK(ask(KV_COORD_RECLAIM, 2 * PAGE, NULL) == 2 * PAGE);
	CHECK(state_process(&stats) && stats.spare == BIG - 2 * PAGE);
	CHECK(backed() == BIG + BIG / 2);
	CHECK(ask(KV_COORD_RECLAIM, BIG, NULL) == BIG);
	CHECK(state_process(&stats) && stats.spare == 0);
	CHECK(backed() == BIG + BIG / 2 - 2 * PAGE);
	CHECK(intact());
}

static void obeys_a_maximum(void)
{
	struct kv_coord_limits limits = {.max = 4 * PAGE};
	uint64_t evictions = state_counter(STATE_COUNTER(pages_evicted));

	CHECK(kv_coord_set_limits(coord, slot, &limits, KV_COORD_LIMIT_MAX) == 0);
	CHECK(state_wait_above(STATE_COUNTER(pages_evicted), evictions));
	limits.max = KV_COORD_NO_LIMIT;
	CHECK(kv_coord_set_limits(coord, slot, &limits, KV_COORD_LIMIT_MAX) == 0);
	CHECK(intact());
}

static void falls_asleep_when_told_to(void)
{
	struct kv_coord_limits limits = {.idle_ms = 1};

	CHECK(intact());
	CHECK(kv_coord_set_limits(coord, slot, &limits, KV_COORD_LIMIT_IDLE_MS) == 0);
	CHECK(state_wait_gone(a) && state_wait_gone(b));
	limits.idle_ms = 0;
	CHECK(kv_coord_set_limits(coord, slot, &limits, KV_COORD_LIMIT_IDLE_MS) == 0);
	/* Limits come before requests: from this answer on nothing falls asleep. */
	CHECK(ask(KV_COORD_RESTORE, KV_COORD_NO_LIMIT, NULL) >= 0);
	CHECK(intact());
}

static void refuses_during_a_capture(void)
{
	CUstream stream;
	CUgraph graph;

	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
	CHECK(ask(KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL) == -EBUSY);
	CHECK(backed() == BIG + BIG / 2);
	OK(cuStreamEndCapture(stream, &graph));
	OK(cuGraphDestroy(graph));
	OK(cuStreamDestroy(stream));
	CHECK(intact());
}

static void puts_away_by_tag(void)
{
	CHECK(ask(KV_COORD_PAUSE, KV_COORD_NO_LIMIT, "nobody") == -ENOENT);
	CHECK(ask(KV_COORD_PAUSE, KV_COORD_NO_LIMIT, "") == BIG + BIG / 2);
	CHECK(backed() == 0);
	CHECK(ask(KV_COORD_RESTORE, KV_COORD_NO_LIMIT, NULL) == 0);
	CHECK(ask(KV_COORD_RESUME, KV_COORD_NO_LIMIT, "nobody") == -ENOENT);
	CHECK(ask(KV_COORD_RESUME, KV_COORD_NO_LIMIT, "") >= 0);
	CHECK(intact());
}

int main(void)
{
	CUdevice device;

	start();
	a = reserve(BIG);
	b = reserve(BIG);
	OK(cuMemsetD8(a, 0x11, BIG));
	OK(cuMemsetD8(b, 0x22, BIG / 2));
	find_self();
	says("evicts and restores on request, and by itself what is used", evicts_and_restores);
	says("evicts as much as is asked for", evicts_a_part);
	says("gives spare pages back first, then moves what is used",
		gives_back_what_it_keeps_at_hand);
	says("a maximum that is set while it runs is obeyed", obeys_a_maximum);
	says("an idle time that is set while it runs is obeyed", falls_asleep_when_told_to);
	says("during a capture nothing is evicted, and the asker hears why",
		refuses_during_a_capture);
	says("reservations are put away and brought back by their tag", puts_away_by_tag);
	OK(cuMemFree(a));
	OK(cuMemFree(b));
	kv_coord_leave(coord);
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
