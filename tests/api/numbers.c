/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numbers.c - kvshim_stats_get(): each number moves when the thing happens that it counts, and
 * limits are those in force. The operator is this program itself, through the shared segment.
 */
#include <time.h>

#include "shim/kvshim.h"
#include "tests/memory/operator.h"

#define TRIES 6000 /* a minute, ten milliseconds each */
#define LAUNCHES 1000u

extern const char micro_ptx[]; /* tests/micro/kernels.ptx */

static struct kvshim_stats stats(void)
{
	struct kvshim_stats s = {.size = sizeof(s)};

	CHECK(kvshim_stats_get(0, &s) == 0);
	return s;
}

static void fill(uint64_t at, size_t size, uint8_t value)
{
	OK(cuMemsetD8(at, value, size));
	OK(cuCtxSynchronize());
}

static bool holds(uint64_t at, size_t size, uint8_t value)
{
	static uint8_t bytes[BIG];

	return OK(cuMemcpyDtoH(bytes, at, size)) && all(bytes, size, value);
}

/* ---- limits ---- */

static void limits(void)
{
	struct kv_coord_limits set = {
		.min = PAGE, .max = 96 * MIB, .host_budget = 48 * MIB, .weight = 300, .idle_ms = 0};
	struct kvshim_stats s = stats();

	CHECK(s.min == 4 * MIB && s.max == 64 * MIB && s.weight == 250 && s.idle_ms == 3600000);
	CHECK(s.host_budget == 32 * MIB && s.host_limit == 32 * MIB);
	CHECK(kv_coord_set_limits(coord, slot, &set,
		      KV_COORD_LIMIT_MIN | KV_COORD_LIMIT_MAX | KV_COORD_LIMIT_HOST_BUDGET |
			      KV_COORD_LIMIT_WEIGHT | KV_COORD_LIMIT_IDLE_MS) == 0);
	s = stats();
	CHECK(s.min == PAGE && s.max == 96 * MIB && s.weight == 300 && s.idle_ms == 0);
	CHECK(s.host_budget == 32 * MIB && s.host_limit == 48 * MIB);
	set.max = KV_COORD_NO_LIMIT;
	CHECK(kv_coord_set_limits(coord, slot, &set, KV_COORD_LIMIT_MAX) == 0);
	CHECK(stats().max == UINT64_MAX);
}

/* ---- content that moves ---- */

static void evictions(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_stats before, s;

	fill(kv, BIG, 7);
	before = stats();
	CHECK(before.evictions == 0 && before.restores == 0 && before.evicted_bytes == 0);
	CHECK(ask(KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL) == BIG);
	s = stats();
	CHECK(s.evictions == 1 && s.evicted_bytes == BIG && s.pages_evicted == BIG / PAGE);
	CHECK(s.evict_ns > 0 && s.restores == 0 && s.evicted == BIG && s.backed == 0);
	CHECK(ask(KV_COORD_RESTORE, KV_COORD_NO_LIMIT, NULL) == BIG);
	s = stats();
	CHECK(s.restores > 0 && s.restored_bytes == BIG && s.restore_ns > 0);
	CHECK(s.evictions == 1 && s.evicted == 0);
	CHECK(holds(kv, BIG, 7));
	OK(cuMemFree(kv));
}

/* What nobody has written since it came back goes without a copy. */
static void copies_kept(void)
{
	struct kvshim_stats before, s;
	CUdeviceptr weights;

	CHECK(kvshim_tag_push("weights", KVSHIM_MODE_EAGER, 128) == 0);
	weights = reserve(BIG);
	CHECK(kvshim_tag_pop() == 0);
	fill(weights, BIG, 9);
	CHECK(ask(KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL) >=
		(int64_t)BIG); /* and what was at hand */
	CHECK(ask(KV_COORD_RESTORE, KV_COORD_NO_LIMIT, NULL) == BIG);
	before = stats();
	CHECK(ask(KV_COORD_EVICT, KV_COORD_NO_LIMIT, NULL) == BIG);
	s = stats();
	CHECK(s.pages_not_copied == before.pages_not_copied + BIG / PAGE);
	CHECK(s.evictions == before.evictions + 1 && s.evicted_bytes == before.evicted_bytes);
	CHECK(holds(weights, BIG, 9));
	OK(cuMemFree(weights));
}

static bool wait_for_state(enum kvshim_state state)
{
	for (int i = 0; i < TRIES; i++) {
		if (stats().state == state)
			return true;
		usleep(10000);
	}
	return false;
}

static void asleep(void)
{
	struct kv_coord_limits set = {.idle_ms = 1};
	CUdeviceptr kv = reserve(BIG);
	uint64_t evictions_before;

	fill(kv, BIG, 7);
	evictions_before = stats().evictions;
	CHECK(wait_for_state(KVSHIM_STATE_BUSY));
	CHECK(kv_coord_set_limits(coord, slot, &set, KV_COORD_LIMIT_IDLE_MS) == 0);
	CHECK(wait_for_state(KVSHIM_STATE_EVICTED));
	set.idle_ms = 0;
	CHECK(kv_coord_set_limits(coord, slot, &set, KV_COORD_LIMIT_IDLE_MS) == 0);
	CHECK(stats().evictions > evictions_before && stats().backed == 0);
	CHECK(holds(kv, BIG, 7));
	CHECK(wait_for_state(KVSHIM_STATE_BUSY));
	OK(cuMemFree(kv));
}

static void reclaims(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_stats before, s;

	fill(kv, BIG, 7);
	OK(cuMemFree(kv));
	kv = reserve(BIG);
	before = stats();
	CHECK(before.spare > 0);
	CHECK(ask(KV_COORD_RECLAIM, KV_COORD_NO_LIMIT, NULL) == (int64_t)before.spare);
	s = stats();
	CHECK(s.reclaims == before.reclaims + 1 &&
		s.reclaimed_bytes == before.reclaimed_bytes + before.spare && s.spare == 0);
	OK(cuMemFree(kv));
}

/* Beyond the maximum pages are waited for, refused, and put into host memory; above it they come
 * back. */
static void spills(void)
{
	struct kv_coord_limits set = {.max = 4 * PAGE};
	struct kvshim_stats before = stats(), s;
	CUdeviceptr kv = reserve(BIG);

	CHECK(before.waits == 0 && before.pages_promoted == 0 && before.denied == 0);
	CHECK(kv_coord_set_limits(coord, slot, &set, KV_COORD_LIMIT_MAX) == 0);
	fill(kv, BIG, 8);
	s = stats();
	CHECK(s.waits > 0 && s.wait_timeouts > 0 && s.denied > 0);
	CHECK(s.wait_ns >= s.wait_ns_max && s.wait_ns_max > 0);
	CHECK(s.spilled == BIG - 4 * PAGE && s.host_taken >= s.spilled);
	CHECK(s.pages_spilled == before.pages_spilled + 4 && s.pages_promoted == 0);
	set.max = KV_COORD_NO_LIMIT;
	CHECK(kv_coord_set_limits(coord, slot, &set, KV_COORD_LIMIT_MAX) == 0);
	for (int i = 0; i < TRIES && s.pages_promoted < 4; i++) {
		usleep(10000);
		OK(cuMemsetD8(kv, 8, 1)); /* a process at work */
		s = stats();
	}
	CHECK(s.pages_promoted == 4 && s.spilled == 0);
	CHECK(holds(kv, BIG, 8));
	OK(cuMemFree(kv));
}

/* ---- work ---- */

static void launches(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_stats before, s;
	struct timespec now;
	uint32_t n = 128, value = 1;
	void *params[] = {&kv, &n, &value};
	CUmodule module;
	CUfunction f;

	OK(cuModuleLoadData(&module, micro_ptx));
	OK(cuModuleGetFunction(&f, module, "micro_fill"));
	before = stats();
	CHECK(before.launches == 0 && before.launch_ns_p50 == 0 && before.launch_ns_p99 == 0);
	for (unsigned i = 0; i < LAUNCHES; i++)
		OK(cuLaunchKernel(f, 1, 1, 1, 128, 1, 1, 0, NULL, params, NULL));
	OK(cuCtxSynchronize());
	s = stats();
	CHECK(s.launches == LAUNCHES);
	CHECK(s.launch_ns_p50 > 0 && s.launch_ns_p99 >= s.launch_ns_p50);
	/* counted by the agent, once per second */
	for (int i = 0; i < TRIES && s.submitted < before.submitted + LAUNCHES; i++) {
		usleep(10000);
		s = stats();
	}
	CHECK(s.submitted >= before.submitted + LAUNCHES);
	clock_gettime(CLOCK_MONOTONIC, &now);
	CHECK(s.last_activity_ns > 0 &&
		s.last_activity_ns <= (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	OK(cuModuleUnload(module));
	OK(cuMemFree(kv));
}

/* ---- versions ---- */

/* A program that was built when the structure ended with last_submission_ns. */
static void first_version(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_stats s;

	memset(&s, 0xa5, sizeof(s));
	s.size = offsetof(struct kvshim_stats, waits);
	CHECK(s.size == 200);
	CHECK(kvshim_stats_get(0, &s) == 0 && s.size == 200 && s.reserved == BIG);
	for (size_t i = 200; i < sizeof(s); i++)
		CHECK(((uint8_t *)&s)[i] == 0xa5);
	OK(cuMemFree(kv));
}

int main(void)
{
	CUcontext context = start();
	CUdevice device;
	CUdeviceptr first = reserve(BIG);

	(void)context;
	find_self();
	OK(cuMemFree(first));
	says("limits are those of the options, then those of the operator", limits);
	says("evictions and restores are counted", evictions);
	says("what was not copied is counted", copies_kept);
	says("who sleeps is evicted, who wakes is busy", asleep);
	says("what neighbours got is counted", reclaims);
	says("waits, spills and promotions are counted", spills);
	says("launches are counted, and some are timed", launches);
	says("an older program gets what it knows", first_version);
	kv_coord_detach(coord);
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures ? 1 : 0;
}
