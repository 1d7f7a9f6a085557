/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_quota.c - kvshim.h: how much there is, and who is told when that changes.
 */
#include "shim/api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/agent.h"
#include "core/core.h"
#include "hooks/hooks.h"

#define LOOK_NS 100000000ull

/* One per device, kept for the life of the process. */
struct watch {
	struct kv_space *space;
	int fd;                      /* 0: none yet; guarded by mutex, then immutable */
	_Atomic uint64_t limit;      /* atomic: relaxed; the last one told */
	_Atomic uint64_t generation; /* atomic: relaxed */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* a leaf but for the agent's */
static struct watch watches[KV_API_DEVICES];

/* What the space may have now. Calls the driver. 0 or a negative errno. */
static int look(struct kv_space *space, struct watch *watch, struct kvshim_quota *ret_quota)
{
	struct kvshim_quota quota = {0};
	uint64_t page, limit, told;
	int error;

	kv_call_begin();
	error = kv_space_room(space, &quota.backed, &quota.growth, &page);
	kv_call_end();
	if (error < 0)
		return error;
	limit = quota.backed + quota.growth;
	told = atomic_load_explicit(&watch->limit, memory_order_relaxed);
	if (limit > told ? limit - told >= page : told - limit >= page) {
		atomic_store_explicit(&watch->limit, limit, memory_order_relaxed);
		atomic_fetch_add_explicit(&watch->generation, 1, memory_order_relaxed);
	}
	quota.limit = limit;
	quota.generation = atomic_load_explicit(&watch->generation, memory_order_relaxed);
	*ret_quota = quota;
	return 0;
}

int kvshim_quota_get(int device, struct kvshim_quota *ret_quota)
{
	struct kvshim_quota quota;
	struct kv_space *space;
	int error = kv_api_ready();

	if (error < 0)
		return error;
	space = kv_hooks_space(device);
	if (!space)
		return kv_api_refuse(KVSHIM_ERR_DEVICE, __func__,
			"this process has had no reservation on device %d", device);
	error = look(space, &watches[device], &quota);
	if (error < 0)
		return kv_api_error(error);
	return KV_API_GIVE(ret_quota, quota, __func__);
}

/* The agent's task. */
static uint64_t look_again(void *ctx, uint64_t now_ns)
{
	struct watch *watch = ctx;
	uint64_t before = atomic_load_explicit(&watch->generation, memory_order_relaxed);
	const uint64_t one = 1;
	struct kvshim_quota quota;

	(void)now_ns;
	if (look(watch->space, watch, &quota) == 0 && quota.generation != before) {
		/* Full: whoever reads it has been told already. */
		ssize_t written = write(watch->fd, &one, sizeof(one));

		(void)written;
	}
	return LOOK_NS;
}

int kvshim_quota_fd(int device)
{
	struct kv_space *space;
	struct watch *watch;
	int error = kv_api_ready(), fd;

	if (error < 0)
		return error;
	space = kv_hooks_space(device);
	if (!space)
		return kv_api_refuse(KVSHIM_ERR_DEVICE, __func__,
			"this process has had no reservation on device %d", device);
	watch = &watches[device];
	pthread_mutex_lock(&mutex);
	if (!watch->fd) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd > 0) {
			watch->space = space;
			watch->fd = fd;
			if (kv_agent_add(kv_space_agent(space), look_again, watch) < 0) {
				watch->fd = 0;
				close(fd);
			}
		}
	}
	fd = watch->fd;
	pthread_mutex_unlock(&mutex);
	kv_agent_poke(kv_space_agent(space));
	return fd ? fd : KVSHIM_ERR_NO_MEMORY;
}
