/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - the agents' threads: started with the first reservation, stopped before the driver is
 * taken down, absent in a forked child; see agent.h.
 */
#include "hooks/agent.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "core/agent.h"
#include "hooks/call.h"

/* At exit; an agent is at most a drain and a bulk copy away from its end. */
#define STOP_TIMEOUT_NS 2000000000ull

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool can_stop; /* immutable after once */

/* ---- going ---- */

static void stop_at_exit(void)
{
	struct kv_device *device;

	for (int i = 0; i < KV_DEVICES_MAX; i++) {
		device = kv_device_at(i);
		if (device)
			kv_agent_stop(kv_space_agent(device->space), STOP_TIMEOUT_NS);
	}
}

static void arrange_stop(void)
{
	can_stop = atexit(stop_at_exit) == 0;
	if (!can_stop)
		kv_hooks_log(1, "agent", "no memory for an exit handler: no thread is started");
}

void kv_agents_forget(void)
{
	struct kv_device *device;

	for (int i = 0; i < KV_DEVICES_MAX; i++) {
		device = kv_device_at(i);
		if (device)
			kv_agent_forget(kv_space_agent(device->space));
	}
}

uint64_t kv_agents_pause(void)
{
	struct kv_device *device;
	uint64_t paused = 0;

	_Static_assert(KV_DEVICES_MAX <= 64, "a bit per device");
	for (int i = 0; i < KV_DEVICES_MAX; i++) {
		device = kv_device_at(i);
		if (device) {
			kv_agent_pause(kv_space_agent(device->space));
			paused |= 1ull << i;
		}
	}
	return paused;
}

void kv_agents_resume(uint64_t paused)
{
	for (int i = 0; i < KV_DEVICES_MAX; i++) {
		if (paused >> i & 1)
			kv_agent_resume(kv_space_agent(kv_device_at(i)->space));
	}
}

/* ---- coming ---- */

void kv_agents_start(struct kv_device *device)
{
	struct kv_agent *agent = kv_space_agent(device->space);
	int err;

	if (kv_agent_is_running(agent))
		return;
	pthread_once(&once, arrange_stop);
	if (!can_stop)
		return;
	if (kv_hooks.config.evict_interval_ms)
		kv_agent_add(agent, kv_stress_task, device);
	if (kv_hooks.config.ahead)
		kv_agent_add(agent, kv_ahead_task, device);
	err = kv_space_attend(device->space);
	/* Stopped: the process is on its way out. */
	if (err < 0 && err != -ESHUTDOWN)
		kv_hooks_log(1, "agent",
			"no thread can be started (error %d): nothing is given back while idle",
			-err);
}
