/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handles.h - the engine's own physical memory: a handle's memory is in use until its last
 * reference is released and its last mapping unmapped, whichever comes last.
 *
 * Callers hold no lock; any thread. What cannot be remembered for lack of memory is not counted.
 */
#ifndef KV_HOOKS_HANDLES_H
#define KV_HOOKS_HANDLES_H

#include <stdint.h>

struct kv_space;

/* cuMemCreate: size bytes of the device of space. space NULL: not counted (host memory). */
void kv_handles_created(uint64_t handle, uint64_t size, struct kv_space *space);
/* One more reference, found by an address that it is mapped at (0: unknown), or imported. */
void kv_handles_retained(uint64_t handle, uint64_t addr);
void kv_handles_released(uint64_t handle);
void kv_handles_mapped(uint64_t handle, uint64_t addr, uint64_t size);
/* All mappings that begin in the range: the driver unmaps whole mappings only. */
void kv_handles_unmapped(uint64_t addr, uint64_t size);

#endif
