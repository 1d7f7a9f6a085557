/* SPDX-License-Identifier: Apache-2.0 */
/* test_agent.c - the agent: its rounds with a clock of the test's own, and its thread. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/agent.h"
#include "tests/unit/test.h"

/* Bound of every wait: far above what the slowest machine needs. */
#define PATIENCE_MS 60000

struct job {
	_Atomic uint32_t n_runs;
	_Atomic uint64_t last_ns;
	_Atomic uint64_t answer; /* what run() returns */
	_Atomic bool hold;       /* run() does not return while set */
	struct kv_agent *agent;
	_Atomic int error;
	_Atomic bool signals_blocked;
};

static uint64_t run(void *ctx, uint64_t now_ns)
{
	struct job *job = ctx;

	atomic_store(&job->last_ns, now_ns);
	atomic_fetch_add(&job->n_runs, 1);
	while (atomic_load(&job->hold))
		usleep(1000);
	return atomic_load(&job->answer);
}

/* True as soon as run() has begun n times. */
static bool has_run(struct job *job, uint32_t n)
{
	for (int i = 0; i < PATIENCE_MS; i++) {
		if (atomic_load(&job->n_runs) >= n)
			return true;
		usleep(1000);
	}
	return false;
}

static _Atomic uint32_t *shared_word(void)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert(memory != MAP_FAILED);
	return memory;
}

static struct kv_agent *new_agent(void)
{
	struct kv_agent *agent = NULL;

	EXPECT(kv_agent_new(&agent), 0);
	return agent;
}

Test(agent, a_task_runs_when_it_is_added_and_then_when_it_wants)
{
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = 100};

	EXPECT(kv_agent_round(agent, 5), KV_AGENT_NEVER);
	EXPECT(kv_agent_add(agent, run, &job), 0);
	EXPECT(kv_agent_round(agent, 1000), 100);
	EXPECT(job.n_runs, 1);
	EXPECT(kv_agent_round(agent, 1040), 60);
	EXPECT(job.n_runs, 1);
	EXPECT(kv_agent_round(agent, 1100), 100);
	EXPECT(job.n_runs, 2);
	EXPECT(job.last_ns, 1100);
	EXPECT(kv_agent_n_rounds(agent), 4);
	kv_agent_free(agent);
}

Test(agent, the_next_round_is_that_of_the_most_impatient_task)
{
	struct kv_agent *agent = new_agent();
	struct job slow = {.answer = 500}, fast = {.answer = 20},
		   never = {.answer = KV_AGENT_NEVER};

	EXPECT(kv_agent_add(agent, run, &slow), 0);
	EXPECT(kv_agent_add(agent, run, &fast), 0);
	EXPECT(kv_agent_add(agent, run, &never), 0);
	EXPECT(kv_agent_round(agent, 1), 20);
	EXPECT(kv_agent_round(agent, 21), 20);
	EXPECT(slow.n_runs, 1);
	EXPECT(fast.n_runs, 2);
	fast.answer = KV_AGENT_NEVER;
	EXPECT(kv_agent_round(agent, 41), 460);
	slow.answer = UINT64_MAX - 1; /* beyond the end of time is never */
	EXPECT(kv_agent_round(agent, 501), KV_AGENT_NEVER);
	EXPECT(never.n_runs, 1);
	kv_agent_free(agent);
}

Test(agent, a_poke_makes_all_tasks_due_once)
{
	struct kv_agent *agent = new_agent();
	struct job a = {.answer = KV_AGENT_NEVER}, b = {.answer = 1000};

	EXPECT(kv_agent_add(agent, run, &a), 0);
	EXPECT(kv_agent_add(agent, run, &b), 0);
	kv_agent_round(agent, 1);
	kv_agent_poke(agent);
	kv_agent_poke(agent);
	EXPECT(kv_agent_round(agent, 2), 1000);
	EXPECT(a.n_runs, 2);
	EXPECT(b.n_runs, 2);
	EXPECT(kv_agent_round(agent, 3), 999);
	EXPECT(a.n_runs, 2);
	kv_agent_poke(NULL);
	kv_agent_free(agent);
}

Test(agent, has_room_for_so_many_tasks_and_takes_none_twice)
{
	struct kv_agent *agent = new_agent();
	struct job jobs[KV_AGENT_TASKS + 1] = {0};

	for (uint32_t i = 0; i < KV_AGENT_TASKS; i++)
		EXPECT(kv_agent_add(agent, run, &jobs[i]), 0);
	EXPECT(kv_agent_add(agent, run, &jobs[3]), -EEXIST);
	EXPECT(kv_agent_add(agent, run, &jobs[KV_AGENT_TASKS]), -ENOSPC);
	kv_agent_free(agent);
}

Test(agent, the_thread_runs_tasks_when_poked_and_rung)
{
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = KV_AGENT_NEVER};
	_Atomic uint32_t doorbell = 7;
	uint32_t before;

	EXPECT(kv_agent_add(agent, run, &job), 0);
	EXPECT(job.n_runs, 0);
	EXPECT(kv_agent_is_running(agent), false);
	EXPECT(kv_agent_start(agent), 0);
	EXPECT(kv_agent_start(agent), 0);
	EXPECT(kv_agent_is_running(agent), true);
	cr_assert(has_run(&job, 1));
	for (uint32_t i = 0; i < 20; i++) {
		before = job.n_runs;
		kv_agent_poke(agent);
		cr_assert(has_run(&job, before + 1));
	}
	/* Seen at the latest when the thread sleeps on it, so that no ring after this is lost. */
	before = job.n_runs;
	kv_agent_set_doorbell(agent, &doorbell);
	cr_assert(has_run(&job, before + 1));
	for (uint32_t i = 0; i < 20; i++) {
		before = job.n_runs;
		kv_agent_ring(&doorbell);
		cr_assert(has_run(&job, before + 1));
	}
	before = job.n_runs;
	kv_agent_poke(agent);
	cr_assert(has_run(&job, before + 1));
	before = job.n_runs;
	kv_agent_set_doorbell(agent, NULL);
	cr_assert(has_run(&job, before + 1));
	EXPECT(kv_agent_stop(agent, UINT64_MAX), 0);
	EXPECT(kv_agent_is_running(agent), false);
	kv_agent_free(agent);
}

Test(agent, another_process_can_ring)
{
	_Atomic uint32_t *doorbell = shared_word();
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = KV_AGENT_NEVER};
	pid_t pid;

	kv_agent_set_doorbell(agent, doorbell);
	EXPECT(kv_agent_add(agent, run, &job), 0);
	EXPECT(kv_agent_start(agent), 0);
	cr_assert(has_run(&job, 1));
	pid = fork();
	if (pid == 0) {
		kv_agent_ring(doorbell);
		_exit(0);
	}
	cr_assert(pid > 0);
	cr_assert(has_run(&job, 2));
	waitpid(pid, NULL, 0);
	kv_agent_free(agent);
}

Test(agent, a_doorbell_that_never_rests_costs_one_round_in_a_millisecond)
{
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = 0}; /* always due, as if it were rung all the time */
	struct timespec start, end;
	double ms;

	EXPECT(kv_agent_add(agent, run, &job), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	EXPECT(kv_agent_start(agent), 0);
	cr_assert(has_run(&job, 20));
	EXPECT(kv_agent_stop(agent, UINT64_MAX), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ms = (double)(end.tv_sec - start.tv_sec) * 1e3 +
	     (double)(end.tv_nsec - start.tv_nsec) / 1e6;
	/* The first one is not waited for. A slow machine makes fewer, never more. */
	cr_assert(job.n_runs <= ms + 1, "%u rounds in %.1f ms", job.n_runs, ms);
	kv_agent_free(agent);
}

Test(agent, no_task_runs_while_it_is_paused)
{
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = 0};
	uint32_t before;

	EXPECT(kv_agent_add(agent, run, &job), 0);
	EXPECT(kv_agent_start(agent), 0);
	cr_assert(has_run(&job, 1));
	kv_agent_pause(agent);
	before = job.n_runs;
	usleep(20000);
	EXPECT(job.n_runs, before);
	kv_agent_resume(agent);
	cr_assert(has_run(&job, before + 1));
	kv_agent_free(agent);
}

Test(agent, stops_within_the_bound_also_when_a_task_does_not_end)
{
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = KV_AGENT_NEVER, .hold = true};

	EXPECT(kv_agent_add(agent, run, &job), 0);
	EXPECT(kv_agent_start(agent), 0);
	cr_assert(has_run(&job, 1));
	EXPECT(kv_agent_stop(agent, 1000000), -ETIMEDOUT);
	EXPECT(kv_agent_stop(agent, 1000000), -ETIMEDOUT);
	EXPECT(kv_agent_start(agent), -ESHUTDOWN);
	job.hold = false;
	EXPECT(kv_agent_stop(agent, UINT64_MAX), 0);
	kv_agent_free(agent);
}

Test(agent, does_not_start_after_it_was_stopped)
{
	struct kv_agent *agent = new_agent();

	EXPECT(kv_agent_stop(agent, 0), 0);
	EXPECT(kv_agent_start(agent), -ESHUTDOWN);
	EXPECT(kv_agent_stop(agent, 0), 0);
	kv_agent_free(agent);
}

static uint64_t stop_myself(void *ctx, uint64_t now_ns)
{
	struct job *job = ctx;

	atomic_store(&job->error, kv_agent_stop(job->agent, UINT64_MAX));
	return run(ctx, now_ns);
}

Test(agent, a_task_that_stops_its_own_agent_does_not_wait_for_itself)
{
	struct job job = {.agent = new_agent(), .answer = 0};

	EXPECT(kv_agent_add(job.agent, stop_myself, &job), 0);
	EXPECT(kv_agent_start(job.agent), 0);
	cr_assert(has_run(&job, 1));
	EXPECT(job.error, -EDEADLK);
	EXPECT(kv_agent_stop(job.agent, UINT64_MAX), 0);
	EXPECT(job.n_runs, 1);
	kv_agent_free(job.agent);
}

static uint64_t look_at_signals(void *ctx, uint64_t now_ns)
{
	struct job *job = ctx;
	sigset_t set;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	atomic_store(&job->signals_blocked, sigismember(&set, SIGTERM) &&
						    sigismember(&set, SIGUSR1) &&
						    sigismember(&set, SIGPROF));
	return run(ctx, now_ns);
}

Test(agent, the_threads_signals_are_blocked_and_the_starters_are_not)
{
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = KV_AGENT_NEVER};
	sigset_t set;

	EXPECT(kv_agent_add(agent, look_at_signals, &job), 0);
	EXPECT(kv_agent_start(agent), 0);
	cr_assert(has_run(&job, 1));
	cr_assert(job.signals_blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	cr_assert(!sigismember(&set, SIGTERM));
	kv_agent_free(agent);
}

Test(agent, is_absent_in_a_forked_child)
{
	struct kv_agent *agent = new_agent();
	struct job job = {.answer = KV_AGENT_NEVER};
	int status;
	pid_t pid;

	EXPECT(kv_agent_add(agent, run, &job), 0);
	EXPECT(kv_agent_start(agent), 0);
	cr_assert(has_run(&job, 1));
	pid = fork();
	if (pid == 0) {
		uint32_t before = job.n_runs;

		kv_agent_forget(agent);
		kv_agent_poke(agent);
		kv_agent_set_doorbell(agent, NULL);
		if (kv_agent_is_running(agent) || kv_agent_start(agent) != -ESHUTDOWN ||
			kv_agent_add(agent, run, NULL) != -ESHUTDOWN ||
			kv_agent_stop(agent, UINT64_MAX))
			_exit(1);
		kv_agent_free(agent);
		_exit(job.n_runs == before ? 0 : 2);
	}
	cr_assert(pid > 0);
	EXPECT(waitpid(pid, &status, 0), pid);
	EXPECT(status, 0);
	kv_agent_free(agent);
}
