/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - the thread, its tasks and its doorbell; see agent.h.
 *
 * Going to sleep and poking are the two halves of one handshake: the thread says that it sleeps and
 * looks for a poke; whoever pokes leaves the poke and looks whether the thread sleeps. All four are
 * seq_cst, so one of the two sees the other.
 */
#include "core/agent.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/poison.h"

#define NSEC_PER_SEC 1000000000ull
/* Between the beginnings of two rounds, whoever may ring. */
#define ROUND_MIN_NS 1000000ull
/* A thread that sleeps "for ever" still looks once in a while: nothing hangs on one lost wake. */
#define SLEEP_MAX_NS (60 * NSEC_PER_SEC)

enum state {
	IDLE,    /* no thread yet */
	RUNNING, /* a thread */
	ENDED,   /* stopped; no thread */
	LEFT,    /* told to stop; it ends when its task does */
	FORGOTTEN,
};

struct task {
	kv_agent_task run;
	void *ctx;
	uint64_t due_ns; /* the thread's own */
};

struct kv_agent {
	pthread_mutex_t mutex; /* who adds, starts and stops; never held by the thread */
	pthread_t thread;      /* written under mutex before state says RUNNING */
	_Atomic int state;     /* enum state; written under mutex; atomic: seq_cst */
	_Atomic bool stop;     /* atomic: seq_cst */
	_Atomic uint32_t over; /* 1 when the thread is about to end; a futex word */

	pthread_mutex_t rounds;           /* held by the thread during a round, and while paused */
	_Atomic bool poked;               /* atomic: seq_cst, partner is asleep */
	_Atomic bool asleep;              /* atomic: seq_cst, partners are poked and word */
	_Atomic(_Atomic uint32_t *) word; /* the doorbell; atomic: seq_cst */
	_Atomic uint32_t own_word;
	_Atomic uint64_t n_rounds; /* atomic: relaxed */

	_Atomic uint32_t n_tasks; /* atomic: release when a task is complete, acquire to walk */
	struct task tasks[KV_AGENT_TASKS];
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Not private: the word may be shared with other processes. */
static void futex_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / NSEC_PER_SEC),
		.tv_nsec = (long)(timeout_ns % NSEC_PER_SEC),
	};

	syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
}

void kv_agent_ring(_Atomic uint32_t *word)
{
	int saved = errno;

	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	errno = saved;
}

/* ---- life ---- */

int kv_agent_new(struct kv_agent **ret_agent)
{
	struct kv_agent *agent = calloc(1, sizeof(*agent));

	if (!agent)
		return -ENOMEM;
	pthread_mutex_init(&agent->mutex, NULL);
	pthread_mutex_init(&agent->rounds, NULL);
	atomic_init(&agent->word, &agent->own_word);
	*ret_agent = agent;
	return 0;
}

void kv_agent_free(struct kv_agent *agent)
{
	if (!agent)
		return;
	kv_agent_stop(agent, UINT64_MAX);
	if (atomic_load(&agent->state) != FORGOTTEN) {
		pthread_mutex_destroy(&agent->mutex);
		pthread_mutex_destroy(&agent->rounds);
	}
	free(agent);
}

int kv_agent_add(struct kv_agent *agent, kv_agent_task run, void *ctx)
{
	uint32_t n;
	int error = 0;

	if (atomic_load(&agent->state) == FORGOTTEN)
		return -ESHUTDOWN;
	pthread_mutex_lock(&agent->mutex);
	n = atomic_load_explicit(&agent->n_tasks, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++) {
		if (agent->tasks[i].run == run && agent->tasks[i].ctx == ctx)
			error = -EEXIST;
	}
	if (error == 0 && n == KV_AGENT_TASKS)
		error = -ENOSPC;
	if (error == 0) {
		agent->tasks[n] = (struct task){.run = run, .ctx = ctx};
		/* release: partner is the acquire in kv_agent_round(). */
		atomic_store_explicit(&agent->n_tasks, n + 1, memory_order_release);
	}
	pthread_mutex_unlock(&agent->mutex);
	if (error == 0)
		kv_agent_poke(agent);
	return error;
}

/* ---- rounds ---- */

static uint64_t run_round(struct kv_agent *agent, uint64_t now, bool all)
{
	/* acquire: partner is the release in kv_agent_add(). */
	uint32_t n = atomic_load_explicit(&agent->n_tasks, memory_order_acquire);
	uint64_t next = KV_AGENT_NEVER;

	atomic_fetch_add_explicit(&agent->n_rounds, 1, memory_order_relaxed);
	for (uint32_t i = 0; i < n && !atomic_load(&agent->stop); i++) {
		struct task *task = &agent->tasks[i];

		if (all || task->due_ns <= now) {
			uint64_t wait = task->run(task->ctx, now);

			task->due_ns = wait > UINT64_MAX - now ? UINT64_MAX : now + wait;
		}
		if (task->due_ns < next)
			next = task->due_ns;
	}
	if (next == UINT64_MAX)
		return KV_AGENT_NEVER;
	return next > now ? next - now : 0;
}

uint64_t kv_agent_round(struct kv_agent *agent, uint64_t now)
{
	return run_round(agent, now, atomic_exchange(&agent->poked, false));
}

uint64_t kv_agent_n_rounds(const struct kv_agent *agent)
{
	return atomic_load_explicit(&agent->n_rounds, memory_order_relaxed);
}

/* Sleeps for wait_ns, or until somebody pokes or rings. word held seen before the last round. */
static void sleep_until_rung(
	struct kv_agent *agent, _Atomic uint32_t *word, uint32_t seen, uint64_t wait_ns)
{
	atomic_store(&agent->asleep, true);
	if (!atomic_load(&agent->poked) && !atomic_load(&agent->stop) &&
		atomic_load(&agent->word) == word)
		futex_sleep(word, seen, wait_ns < SLEEP_MAX_NS ? wait_ns : SLEEP_MAX_NS);
	atomic_store(&agent->asleep, false);
}

/* The time, once ROUND_MIN_NS have passed since the last round began. */
static uint64_t next_start(uint64_t last)
{
	uint64_t now = now_ns();

	if (now - last < ROUND_MIN_NS) {
		const struct timespec pause = {.tv_nsec = (long)(ROUND_MIN_NS - (now - last))};

		nanosleep(&pause, NULL);
		now = now_ns();
	}
	return now;
}

static void *agent_main(void *arg)
{
	struct kv_agent *agent = arg;
	_Atomic uint32_t *word = NULL;
	uint64_t start = 0;
	uint32_t seen = 0;

	while (!atomic_load(&agent->stop)) {
		uint64_t wait, spent;
		_Atomic uint32_t *current;
		uint32_t value;
		bool all;

		start = next_start(start);
		/* What is left or rung from here on is found before the thread sleeps. */
		current = atomic_load(&agent->word);
		value = atomic_load(current);
		all = current != word || value != seen;
		if (atomic_exchange(&agent->poked, false))
			all = true;
		word = current;
		seen = value;
		pthread_mutex_lock(&agent->rounds);
		wait = run_round(agent, start, all);
		pthread_mutex_unlock(&agent->rounds);
		spent = now_ns() - start;
		if (wait > spent)
			sleep_until_rung(
				agent, word, seen, wait == KV_AGENT_NEVER ? wait : wait - spent);
	}
	atomic_store(&agent->over, 1);
	syscall(SYS_futex, &agent->over, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return NULL;
}

/* ---- the thread ---- */

int kv_agent_start(struct kv_agent *agent)
{
	sigset_t all, old;
	int error = 0;

	if (atomic_load(&agent->state) == RUNNING)
		return 0;
	if (atomic_load(&agent->state) == FORGOTTEN)
		return -ESHUTDOWN;
	pthread_mutex_lock(&agent->mutex);
	if (atomic_load(&agent->state) == IDLE) {
		/* The program's signals are for the program's threads. */
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		error = -pthread_create(&agent->thread, NULL, agent_main, agent);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		if (error == 0) {
			pthread_setname_np(agent->thread, "kvshim-agent");
			atomic_store(&agent->state, RUNNING);
		}
	} else if (atomic_load(&agent->state) != RUNNING) {
		error = -ESHUTDOWN;
	}
	pthread_mutex_unlock(&agent->mutex);
	return error;
}

bool kv_agent_is_running(struct kv_agent *agent)
{
	return atomic_load(&agent->state) == RUNNING;
}

/* Until the thread says that it is about to end. False: it has not within timeout_ns. */
static bool wait_until_over(struct kv_agent *agent, uint64_t timeout_ns)
{
	uint64_t start = now_ns(), spent;

	while (atomic_load(&agent->over) == 0) {
		spent = now_ns() - start;
		if (spent >= timeout_ns)
			return false;
		futex_sleep(&agent->over, 0,
			timeout_ns - spent < NSEC_PER_SEC ? timeout_ns - spent : NSEC_PER_SEC);
	}
	return true;
}

int kv_agent_stop(struct kv_agent *agent, uint64_t timeout_ns)
{
	bool ours, over;
	int state;

	if (atomic_load(&agent->state) == FORGOTTEN)
		return 0;
	pthread_mutex_lock(&agent->mutex);
	state = atomic_load(&agent->state);
	ours = state == RUNNING;
	if (ours)
		atomic_store(&agent->state, LEFT);
	else if (state == IDLE)
		atomic_store(&agent->state, ENDED);
	pthread_mutex_unlock(&agent->mutex);
	atomic_store(&agent->stop, true);
	kv_agent_poke(agent);
	if (state == IDLE || state == ENDED)
		return 0;
	if (pthread_equal(pthread_self(), agent->thread)) {
		if (ours)
			pthread_detach(agent->thread);
		return -EDEADLK;
	}
	over = wait_until_over(agent, timeout_ns);
	/* The first to stop it cares for its remains. */
	if (ours && over) {
		pthread_join(agent->thread, NULL);
		atomic_store(&agent->state, ENDED);
	} else if (ours) {
		pthread_detach(agent->thread);
	}
	return over ? 0 : -ETIMEDOUT;
}

void kv_agent_forget(struct kv_agent *agent)
{
	/* The mutex may be held by a thread that the child does not have: it is not taken. */
	atomic_store(&agent->state, FORGOTTEN);
	atomic_store(&agent->asleep, false);
	atomic_store(&agent->word, &agent->own_word);
}

void kv_agent_pause(struct kv_agent *agent)
{
	if (atomic_load(&agent->state) != FORGOTTEN)
		pthread_mutex_lock(&agent->rounds);
}

void kv_agent_resume(struct kv_agent *agent)
{
	if (atomic_load(&agent->state) != FORGOTTEN)
		pthread_mutex_unlock(&agent->rounds);
}

/* ---- poking ---- */

static void wake(struct kv_agent *agent, _Atomic uint32_t *word)
{
	if (atomic_load(&agent->asleep))
		kv_agent_ring(word);
}

void kv_agent_poke(struct kv_agent *agent)
{
	/* Who finds it poked leaves the waking to whoever poked first; an exchange, not a load, so
	 * that the round to come sees what both have done before. */
	if (!agent || atomic_exchange(&agent->poked, true))
		return;
	wake(agent, atomic_load(&agent->word));
}

void kv_agent_set_doorbell(struct kv_agent *agent, _Atomic uint32_t *word)
{
	_Atomic uint32_t *old = atomic_exchange(&agent->word, word ? word : &agent->own_word);

	/* The thread sleeps on the old one if it did not see the new one. */
	wake(agent, old);
}
