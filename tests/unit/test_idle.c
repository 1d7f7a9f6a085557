/* SPDX-License-Identifier: Apache-2.0 */
/* test_idle.c - what an agent does for a process that does nothing; the clock is the test's. */
#include <unistd.h>

#include "core/agent.h"
#include "core/coord_shm.h"
#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull
#define MS 1000000ull
#define SECOND (1000 * MS)

static struct fixture f;
static struct buffer b;
static uint32_t n_turns;
static uint32_t activity; /* that the sink was told last */
static uint64_t turn_answer;

static void on_activity(void *ctx, uint32_t now)
{
	activity = now;
}

static uint64_t on_turn(void *ctx, struct kv_space *space, uint64_t now_ns)
{
	cr_assert(ctx == &f && space == f.space);
	__atomic_fetch_add(&n_turns, 1, __ATOMIC_SEQ_CST);
	return turn_answer;
}

/* A buffer with four pages of content, and an idle time of two seconds. The agent has its task and
 * no thread. */
static void open_space(uint64_t idle_ns)
{
	fixture_open(&f, (struct fixture_options){.page = P, .spare_pages = 4});
	f.space->sink.activity = on_activity;
	kv_space_set_idle(f.space, idle_ns);
	EXPECT(kv_agent_add(f.space->agent, kv_idle_task, f.space), 0);
	EXPECT(buffer_new(&f, 8 * P, &b), 0);
	EXPECT(app_write(&f, &b, 0, 4 * P, 42), 0);
}

static uint64_t look(uint64_t now_ns)
{
	return kv_agent_round(f.space->agent, now_ns);
}

/* Submitted and awake at that time. */
static void submit(uint64_t now_ns)
{
	EXPECT(app_write(&f, &b, 0, 1, 42), 0);
	look(now_ns);
}

static void close_space(void)
{
	EXPECT(app_read(&f, &b, 0, b.size), 0);
	EXPECT(buffer_free(&f, &b), 0);
	CLOSE(&f);
}

Test(idle, evicts_everything_after_the_idle_time_and_not_before)
{
	open_space(2 * SECOND);
	EXPECT(look(100 * SECOND), SECOND);
	EXPECT(activity, KV_COORD_BUSY);
	EXPECT(look(101 * SECOND), SECOND);
	EXPECT(look(102 * SECOND - 1), 1);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	look(102 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	EXPECT(activity, KV_COORD_EVICTED);
	EXPECT(kv_spare_bytes(f.space), 0);
	EXPECT(fake_gpu_device_used(f.gpu), 0);
	EXPECT(f.process.evictions, 1);
	EXPECT(f.process.evicted_bytes, 4 * P);
	EXPECT_SANE(&f);
	close_space();
}

Test(idle, a_process_without_an_idle_time_is_never_evicted)
{
	open_space(0);
	for (uint64_t t = 1; t < 100; t++)
		EXPECT(look(t * SECOND), SECOND);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT(activity, KV_COORD_BUSY);
	close_space();
}

Test(idle, looks_once_per_second_at_most_when_nothing_happens)
{
	open_space(2 * SECOND);
	look(100 * SECOND);
	look(102 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	for (uint64_t t = 103; t < 200; t++)
		EXPECT(look(t * SECOND), SECOND);
	EXPECT(f.process.evictions, 1);
	close_space();
}

Test(idle, each_submission_begins_the_idle_time_anew)
{
	open_space(2 * SECOND);
	for (uint64_t t = 100; t < 110; t++)
		submit(t * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	look(110 * SECOND);
	EXPECT(activity, KV_COORD_BUSY);
	look(111 * SECOND - MS);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	look(111 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	close_space();
}

Test(idle, the_first_submission_brings_back_what_it_touches)
{
	open_space(2 * SECOND);
	look(100 * SECOND);
	look(102 * SECOND);
	EXPECT(app_read(&f, &b, P, 2 * P), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 2);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 2);
	look(103 * SECOND);
	EXPECT(activity, KV_COORD_BUSY);
	look(105 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	EXPECT(f.process.evictions, 2);
	EXPECT(f.process.evicted_bytes, 6 * P);
	close_space();
}

Test(idle, a_static_reservation_goes_and_is_whole_again_before_the_next_submission)
{
	open_space(2 * SECOND);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(app_write(&f, &b, 0, 8 * P, 17), 0);
	look(100 * SECOND);
	look(102 * SECOND);
	EXPECT(fake_gpu_device_used(f.gpu), 0);
	EXPECT(app_wild_write(&f, &b, 3 * P, 5, 99), 0);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(kv_reservation_is_whole(b.r), true);
	close_space();
}

Test(idle, what_others_know_stays)
{
	open_space(2 * SECOND);
	kv_leak(b.r, KV_STATIC_EXPORT, "cuMemExportToShareableHandle");
	EXPECT(app_wild_write(&f, &b, 0, 0, 0), 0);
	look(100 * SECOND);
	for (uint64_t t = 102; t < 110; t++)
		EXPECT(look(t * SECOND), SECOND);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 8);
	EXPECT(activity, KV_COORD_IDLE);
	EXPECT(f.process.evictions, 0);
	close_space();
}

Test(idle, work_that_goes_on_is_left_alone_and_asked_again)
{
	open_space(2 * SECOND);
	look(100 * SECOND);
	fake_gpu_set_busy(f.gpu, 1);
	look(102 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT(activity, KV_COORD_IDLE);
	look(103 * SECOND); /* not before another idle time has passed */
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	look(104 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	close_space();
}

Test(idle, nothing_goes_during_a_capture)
{
	open_space(2 * SECOND);
	look(100 * SECOND);
	fake_gpu_set_capture(f.gpu, true);
	look(102 * SECOND);
	look(104 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	fake_gpu_set_capture(f.gpu, false);
	look(106 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	close_space();
}

Test(idle, without_host_memory_everything_stays)
{
	open_space(2 * SECOND);
	look(100 * SECOND);
	fake_gpu_fail_kind(f.gpu, FAKE_HOST_ALLOC, 2, -ENOMEM);
	look(102 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT_SANE(&f);
	look(104 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	close_space();
}

Test(idle, the_idle_time_can_be_changed_while_it_runs)
{
	open_space(0);
	look(100 * SECOND);
	look(110 * SECOND);
	kv_space_set_idle(f.space, 5 * SECOND);
	look(110 * SECOND + 1);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	close_space();
}

Test(idle, statistics_are_published_once_per_second_and_not_without_news)
{
	uint32_t before;

	open_space(0);
	look(100 * SECOND);
	EXPECT(f.process.submitted, 1);
	EXPECT(f.process.last_activity_ns, 100 * SECOND);
	before = f.n_process;
	for (uint64_t t = 101; t < 120; t++)
		look(t * SECOND);
	EXPECT(f.n_process, before);
	EXPECT(app_write(&f, &b, 0, 1, 42), 0); /* backs nothing: nobody is told */
	EXPECT(f.n_process, before);
	look(120 * SECOND);
	EXPECT(f.n_process, before + 1);
	EXPECT(f.process.submitted, 2);
	EXPECT(f.process.last_activity_ns, 120 * SECOND);
	EXPECT(app_write(&f, &b, 0, 1, 42), 0);
	look(120 * SECOND + 100 * MS);
	EXPECT(f.n_process, before + 1);
	look(121 * SECOND);
	EXPECT(f.n_process, before + 2);
	EXPECT(f.process.submitted, 3);
	close_space();
}

/* ---- on request ---- */

Test(idle, restores_all_or_about_so_much_before_anybody_touches_it)
{
	uint64_t bytes = 1;

	open_space(0);
	EXPECT(kv_evict_gently(f.space, UINT64_MAX, false, &bytes), 0);
	EXPECT(bytes, 4 * P);
	EXPECT(activity, KV_COORD_EVICTED);
	EXPECT(kv_restore(f.space, P, &bytes), 0);
	EXPECT(bytes, P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 1);
	EXPECT(activity, KV_COORD_BUSY);
	EXPECT(kv_restore(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 3 * P);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	EXPECT(pages_in(&b, KV_PAGE_EMPTY), 4);
	EXPECT(kv_restore(f.space, UINT64_MAX, &bytes), 0);
	EXPECT(bytes, 0);
	EXPECT(kv_gate_passes(&f.core->hot.gate), 1); /* no submission of the program's */
	EXPECT_SANE(&f);
	close_space();
}

Test(idle, restores_a_static_reservation_whole)
{
	uint64_t bytes;

	open_space(0);
	EXPECT(app_leak(&f, &b), 0);
	EXPECT(kv_evict_gently(f.space, UINT64_MAX, false, NULL), 0);
	EXPECT(kv_reservation_is_whole(b.r), false);
	EXPECT(kv_restore(f.space, P, &bytes), 0);
	EXPECT(kv_reservation_is_whole(b.r), true);
	EXPECT_SANE(&f);
	close_space();
}

Test(idle, a_restore_without_device_memory_says_so_and_loses_nothing)
{
	uint64_t bytes = 77;

	open_space(0);
	EXPECT(kv_evict_gently(f.space, UINT64_MAX, false, NULL), 0);
	fake_gpu_set_foreign(f.gpu, 4096 * P);
	EXPECT(kv_restore(f.space, UINT64_MAX, &bytes), -ENOMEM);
	EXPECT(bytes, 77);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	fake_gpu_set_foreign(f.gpu, 4094 * P);
	EXPECT(kv_restore(f.space, P, &bytes), 0);
	EXPECT(bytes, P);
	fake_gpu_set_foreign(f.gpu, 0);
	EXPECT_SANE(&f);
	close_space();
}

Test(idle, an_eviction_that_cannot_begin_says_why)
{
	open_space(0);
	fake_gpu_set_busy(f.gpu, 1);
	EXPECT(kv_evict_gently(f.space, UINT64_MAX, false, NULL), -ETIMEDOUT);
	fake_gpu_set_capture(f.gpu, true);
	EXPECT(kv_evict_gently(f.space, UINT64_MAX, false, NULL), -EBUSY);
	fake_gpu_set_capture(f.gpu, false);
	close_space();
}

Test(idle, what_was_restored_on_request_stays_for_an_idle_time)
{
	open_space(2 * SECOND);
	look(100 * SECOND);
	look(102 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	fake_gpu_set_time(f.gpu, 110 * SECOND);
	EXPECT(kv_restore(f.space, UINT64_MAX, NULL), 0);
	look(110 * SECOND);
	look(111 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_BACKED), 4);
	look(113 * SECOND);
	EXPECT(pages_in(&b, KV_PAGE_EVICTED), 4);
	close_space();
}

/* ---- the thread and the embedder's turn ---- */

Test(idle, attending_starts_the_thread_which_takes_turns_when_its_doorbell_rings)
{
	static uint32_t doorbell;
	uint32_t before;

	fixture_open(&f, (struct fixture_options){.page = P});
	f.space->sink.turn = on_turn;
	f.space->sink.doorbell = &doorbell;
	turn_answer = KV_AGENT_NEVER;
	EXPECT(kv_space_attend(f.space), 0);
	EXPECT(kv_space_attend(f.space), 0);
	EXPECT(kv_agent_is_running(f.space->agent), true);
	for (int i = 0; i < 60000 && __atomic_load_n(&n_turns, __ATOMIC_SEQ_CST) < 1; i++)
		usleep(1000);
	before = __atomic_load_n(&n_turns, __ATOMIC_SEQ_CST);
	cr_assert(before >= 1);
	for (int i = 0; i < 60000 && __atomic_load_n(&n_turns, __ATOMIC_SEQ_CST) == before; i++) {
		kv_agent_ring((_Atomic uint32_t *)&doorbell);
		usleep(1000);
	}
	cr_assert(__atomic_load_n(&n_turns, __ATOMIC_SEQ_CST) > before);
	EXPECT(kv_agent_stop(f.space->agent, UINT64_MAX), 0);
	EXPECT(kv_space_attend(f.space), -ESHUTDOWN);
	CLOSE(&f);
}
