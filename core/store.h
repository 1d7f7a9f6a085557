/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - what a space keeps between uses: spare device handles and host slabs. Private to core.
 *
 * Spares are handles of exactly one page, unmapped, ready to be mapped again. Host slabs are pieces
 * of pinned memory that hold the content of EVICTED pages, cut into slots of one page. Both are
 * guarded by lock (KV_RANK_STORE); gpu_ops calls are made outside it.
 */
#ifndef KV_CORE_STORE_H
#define KV_CORE_STORE_H

#include <stdint.h>

#include "core/gpu_ops.h"
#include "core/rank.h"

struct kv_space;
struct kv_slab;

/* Bytes of one host slab, unless a page is larger or memory is short. */
#define KV_SLAB_BYTES (64ull << 20)

struct kv_store {
	struct kv_lock lock;
	kv_gpu_handle *spares; /* stack, capacity fixed at init */
	uint32_t n_spares;
	uint32_t max_spares;
	struct kv_slab *slabs; /* list, newest first */
	uint64_t n_slots_used;
};

/* -ENOMEM: no memory for the stack. */
int kv_store_init(struct kv_store *store, uint64_t page_size, uint64_t spare_bytes);
/* Host-side memory only, no gpu_ops call. */
void kv_store_destroy(struct kv_store *store);

/* A spare handle, or 0. */
kv_gpu_handle kv_spare_pop(struct kv_space *space);
/* Keeps an unmapped handle of one page, or releases it when enough are kept. The error of the
 * release. */
int kv_spare_push(struct kv_space *space, kv_gpu_handle handle);
uint64_t kv_spare_bytes(struct kv_space *space);

/*
 * Finds up to n_wanted adjacent slots of one page each; makes a new slab if there is none.
 * ret_host: the first, ret_n: how many, at least 1. -ENOMEM or another error of host_alloc.
 */
int kv_host_take(struct kv_space *space, uint32_t n_wanted, void **ret_host, uint32_t *ret_n);
/* Gives one slot back. Makes no gpu_ops call: an empty slab stays until kv_host_collect(). */
void kv_host_give(struct kv_space *space, void *host);
/* Returns empty slabs to the driver. Freeing pinned memory may wait for the device, so this is for
 * [outside] callers only, never for the launch path. */
void kv_host_collect(struct kv_space *space);
/* Forgets spares and slabs without gpu_ops calls: the device that they belonged to is gone. */
void kv_store_forget(struct kv_space *space);

#endif
