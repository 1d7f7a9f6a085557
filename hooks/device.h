/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - one record per device: how we work on it, and whether we can.
 *
 * Records are made on first sight and live as long as the process. What calls of our own need (a
 * context, a stream, the zero page) is taken from the context that is current at the first
 * substitution, and from another one when that is destroyed: we never retain a context ourselves,
 * since that would keep the memory of a device alive that the engine wants to reset.
 */
#ifndef KV_HOOKS_DEVICE_H
#define KV_HOOKS_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "hooks/real.h"

#define KV_DEVICES_MAX 64
#define KV_ZERO_PAGE_SIZE (2u << 20)

/* What calls of our own use. Immutable once published; replaced as a whole, never freed. */
struct kv_own {
	CUcontext ctx;
	CUstream stream;  /* non-blocking */
	CUdeviceptr zero; /* KV_ZERO_PAGE_SIZE bytes of zeros, native memory */
};

struct kv_device {
	CUdevice ordinal;
	char name[64];
	uint8_t uuid[16];
	uint64_t total;        /* bytes */
	uint64_t granularity;  /* bytes */
	bool rdma;             /* handles can be registered for GPUDirect RDMA */
	bool managed_readable; /* the host may read managed memory while the device works */
	int host_node;         /* NUMA node for host-located handles, -1: they cannot be made */
	struct kv_space *space;
	/* everything above: immutable once the record is ready */
	_Atomic bool shareable; /* ask for POSIX descriptors; atomic: relaxed, only falls */
	_Atomic uint64_t peers; /* devices that see our memory, bit per ordinal; atomic: seq_cst,
				 * see kv_device_peer() */
	_Atomic(struct kv_own *) own; /* atomic: release, partner acquire in kv_device_own() */
	pthread_mutex_t adopting; /* who makes own; held across driver calls of this device only,
				   * never taken inside another lock */
};

/*
 * The record of the current context's device, made if it is new. NULL: no current context, or a
 * device that we leave alone (said once). Calls the driver and, for a new device, the embedder.
 */
struct kv_device *kv_device_current(void);
/* The same for a device that is known to exist. */
struct kv_device *kv_device_find(CUdevice ordinal);
/* The record of a device if it is ready, else NULL. Calls nothing. */
struct kv_device *kv_device_at(CUdevice ordinal);

/* [slow] Makes sure that own is there, from the current context. 0 or a negative errno. */
int kv_device_adopt(struct kv_device *device);
/* What calls of our own use now; NULL if no context is left. */
struct kv_own *kv_device_own(struct kv_device *device);
/*
 * The context is about to go: own is taken down if it lives there and set up in another one, if
 * some reservation has one. works: the driver can still be called in it.
 */
void kv_device_abandon(struct kv_device *device, CUcontext ctx, bool works);

/*
 * viewer may read and write the memory of owner (cuCtxEnablePeerAccess): all present and future
 * mappings get access. 0 or a negative errno.
 */
int kv_device_peer(CUdevice owner, CUdevice viewer);
/* Future mappings do without. */
void kv_device_unpeer(CUdevice owner, CUdevice viewer);

#endif
