/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.h - what the driver would know about a reservation and core does not: in which context it
 * was allocated, and its identity.
 *
 * One row per live reservation, guarded by a mutex inside; no function calls the driver.
 */
#ifndef KV_HOOKS_ORIGIN_H
#define KV_HOOKS_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/real.h"

struct kv_device;

struct kv_origin {
	CUdeviceptr base;
	uint64_t size; /* bytes, as the engine asked for them */
	CUcontext ctx; /* current when it was allocated; it dies with this one */
	struct kv_device *device;
	uint64_t id; /* CU_POINTER_ATTRIBUTE_BUFFER_ID: never used twice */
};

/* Fills in origin->id. False: no memory. */
bool kv_origin_add(struct kv_origin *origin);
void kv_origin_remove(CUdeviceptr base);
/* By base address. */
bool kv_origin_find(CUdeviceptr base, struct kv_origin *ret_origin);
/* Any row of this context, except the base addresses at or below after (0: all); rows come by
 * rising base. */
bool kv_origin_next(CUcontext ctx, CUdeviceptr after, struct kv_origin *ret_origin);
/* Any row of this device that was made in another context than ctx. */
bool kv_origin_elsewhere(
	const struct kv_device *device, CUcontext ctx, struct kv_origin *ret_origin);
/* Forgets all rows of a device. */
void kv_origin_forget(const struct kv_device *device);

#endif
