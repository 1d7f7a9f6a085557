/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - when the agents of this process (core/agent.h) come and go.
 */
#ifndef KV_HOOKS_AGENT_H
#define KV_HOOKS_AGENT_H

#include "hooks/device.h"

/*
 * A reservation has been made on the device: its agent gets its tasks and its thread, if it has
 * none yet. Cheap when it has. It ends in an exit handler that is registered here, that is to say
 * after those of the driver, so it runs before them.
 */
void kv_agents_start(struct kv_device *device);
/* In the child after a fork. */
void kv_agents_forget(void);
/* Between the two no agent is at work: the context that it works in is about to go. Returns what
 * resume wants: bit n for device n. */
uint64_t kv_agents_pause(void);
void kv_agents_resume(uint64_t paused);

#endif
