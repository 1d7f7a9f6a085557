/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress.c - the test option that evicts everything at an interval, from a thread of its own.
 *
 * Never started unless the option is set, never from a constructor, and over as soon as the process
 * is inert. (The option that evicts before every n-th submission is part of the gate, in submit.c.)
 */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "hooks/call.h"

static void *evict_at_interval(void *unused)
{
	uint32_t ms = kv_hooks.config.evict_interval_ms;
	struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000L};

	(void)unused;
	while (kv_hooks_active()) {
		nanosleep(&pause, NULL);
		if (!atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed))
			kv_evict_all(kv_hooks.core);
	}
	return NULL;
}

static void start(void)
{
	sigset_t all, old;
	pthread_t thread;

	/* The program's signals are for the program's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, evict_at_interval, NULL) == 0)
		pthread_detach(thread);
	else
		kv_hooks_log(1, "test", "cannot start the thread that evicts at an interval");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void kv_stress_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (kv_hooks.config.evict_interval_ms)
		pthread_once(&once, start);
}
