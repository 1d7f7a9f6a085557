/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tag.c - tags of threads, and the doors by which a program's own calls come in; see tag.h and
 * hooks.h.
 */
#include "hooks/tag.h"

#include <errno.h>
#include <string.h>

#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/device.h"

#define DEPTH_MAX 16u /* thread-local memory is scarce for who loads us late */

static __thread struct {
	uint32_t n;
	struct kv_tag_entry entries[DEPTH_MAX];
} stack __attribute__((tls_model("initial-exec")));

const struct kv_tag_entry *kv_tag_current(void)
{
	static const struct kv_tag_entry none = {.priority = KV_TAG_PRIORITY};

	return stack.n ? &stack.entries[stack.n - 1] : &none;
}

int kv_tag_push(enum kv_tag tag, const char *name, int priority)
{
	struct kv_tag_entry *entry;

	if (stack.n == DEPTH_MAX)
		return -ENOSPC;
	entry = &stack.entries[stack.n++];
	memset(entry, 0, sizeof(*entry));
	entry->tag = (uint8_t)tag;
	entry->priority = (uint8_t)priority;
	if (name)
		memcpy(entry->name, name, strnlen(name, sizeof(entry->name) - 1));
	return 0;
}

int kv_tag_pop(void)
{
	if (!stack.n)
		return -ENOENT;
	stack.n--;
	return 0;
}

/* ---- doors ---- */

bool kv_call_enter(void)
{
	return kv_submit_enter_quiet();
}

void kv_call_leave(void)
{
	kv_core_leave(kv_hooks.core, kv_thread.slot_plus_1 - 1);
	kv_thread.depth--;
}

void kv_call_begin(void)
{
	kv_thread.depth++;
}

void kv_call_end(void)
{
	kv_thread.depth--;
}

bool kv_hooks_captures(void)
{
	return atomic_load_explicit(&kv_hooks.captures_open, memory_order_relaxed) != 0;
}

struct kv_space *kv_hooks_space(int ordinal)
{
	struct kv_device *device;

	if (!kv_hooks_active() || ordinal < 0 || ordinal >= KV_DEVICES_MAX)
		return NULL;
	device = kv_device_at(ordinal);
	return device ? device->space : NULL;
}

int kv_hooks_allocate(uint64_t size, const char *tag, struct kv_reservation **ret_reservation)
{
	CUdeviceptr addr;
	CUresult res;
	int error;

	kv_hooks_ready();
	if (!kv_hooks_active())
		return -ENODEV;
	if (kv_hooks_captures())
		return -EBUSY;
	error = kv_tag_push(KV_TAG_LAZY, tag, KV_TAG_PRIORITY);
	if (error < 0)
		return error;
	res = kv_alloc(KV_REAL(cuMemAlloc_v2), &addr, size);
	kv_tag_pop();
	if (res != CUDA_SUCCESS)
		return kv_errno_of(res);
	*ret_reservation = kv_hooks_find(addr);
	if (*ret_reservation)
		return 0;
	/* Native memory, for a reason that has been logged: of no use here. */
	kv_free(KV_REAL(cuMemFree_v2), addr);
	return -EOPNOTSUPP;
}

void kv_hooks_release(uint64_t addr)
{
	if (kv_hooks_active())
		kv_free(KV_REAL(cuMemFree_v2), addr);
}
