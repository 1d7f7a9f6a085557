/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - the one thread that a space has: it does what need not be done, or cannot be done, by
 * the thread that submits work.
 *
 * A task is a function that returns when it wants to run next. Every space owns one agent; its
 * thread is started when the first reservation is made, never earlier, with all signals blocked,
 * and is stopped before the driver's own exit handlers run. In a forked child there is none. Nobody
 * else in the product starts a thread.
 *
 * Between rounds the thread sleeps on a futex word, the doorbell: its own, or one in shared memory
 * that other processes can ring (add one, wake it). Whoever rings or pokes, all tasks run.
 * All functions are thread-safe and take no lock of core.
 */
#ifndef KV_CORE_AGENT_H
#define KV_CORE_AGENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct kv_agent;

#define KV_AGENT_TASKS 16u
#define KV_AGENT_NEVER UINT64_MAX

/*
 * Runs in the agent's thread with no lock held; may call core [outside]. now_ns: CLOCK_MONOTONIC
 * at the beginning of the round. Returns how many nanoseconds to wait until the next run,
 * KV_AGENT_NEVER: until somebody pokes.
 */
typedef uint64_t (*kv_agent_task)(void *ctx, uint64_t now_ns);

/* Without a thread. -ENOMEM. */
int kv_agent_new(struct kv_agent **ret_agent);
/* Stops the thread if it runs, waiting for as long as its task takes. NULL is allowed. */
void kv_agent_free(struct kv_agent *agent);

/*
 * One more task, which is due at once. ctx must outlive the agent. -EEXIST: this run with this ctx
 * is there already. -ENOSPC: KV_AGENT_TASKS are. -ESHUTDOWN: forgotten.
 */
int kv_agent_add(struct kv_agent *agent, kv_agent_task run, void *ctx);

/*
 * Starts the thread if it does not run yet. -EAGAIN or -ENOMEM: it cannot be started (tried again
 * at the next call). -ESHUTDOWN: it was stopped, or this process is a child that forgot it.
 */
int kv_agent_start(struct kv_agent *agent);
bool kv_agent_is_running(struct kv_agent *agent);
/*
 * For good. 0: the thread has ended or there was none. -ETIMEDOUT: a task takes longer than
 * timeout_ns; the thread ends after it. -EDEADLK: called by a task, the thread ends after it.
 */
int kv_agent_stop(struct kv_agent *agent, uint64_t timeout_ns);
/* In the child after a fork, where the thread does not exist: every later call does nothing. */
void kv_agent_forget(struct kv_agent *agent);

/*
 * Between the two no task runs; pause waits for the round that is under way. For what pulls the
 * ground from under the tasks: a context that is destroyed. Not nested, not by a task.
 */
void kv_agent_pause(struct kv_agent *agent);
void kv_agent_resume(struct kv_agent *agent);

/* Makes all tasks due. [hot]: no lock; a system call only if the thread sleeps and nobody has poked
 * it since it went to sleep. Keeps errno. NULL is allowed. */
void kv_agent_poke(struct kv_agent *agent);

/*
 * The thread sleeps on this word from now on; NULL: on its own again. The word may lie in memory
 * that other processes write to: any change of it together with a wake (without FUTEX_PRIVATE_FLAG)
 * makes all tasks due. It must stay mapped as long as the agent lives. However often it is rung,
 * there is at most one round in a millisecond.
 */
void kv_agent_set_doorbell(struct kv_agent *agent, _Atomic uint32_t *word);
/* Rings a doorbell, for whoever has one mapped. */
void kv_agent_ring(_Atomic uint32_t *word);

/*
 * One round without the thread, for tests: runs what is due and returns the time until the next
 * run. The thread must not run.
 */
uint64_t kv_agent_round(struct kv_agent *agent, uint64_t now_ns);
/* How many rounds there have been: what an idle process costs. */
uint64_t kv_agent_n_rounds(const struct kv_agent *agent);

#endif
