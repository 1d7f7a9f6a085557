/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc.c - memory that is handed out: to other processes, to network cards, to descriptors.
 *
 * A legacy handle cannot be made for a reservation. Everything else can, but what is handed out
 * must stay where it is: the reservation turns static, and is whole before the driver looks at it.
 */
#include "hooks/call.h"
#include "hooks/query.h"

bool kv_export_enter(
	CUdeviceptr addr, enum kv_static_reason reason, const char *by, CUresult *ret_result)
{
	struct kv_reservation *r;

	if (!kv_hooks_find(addr) || !kv_submit_enter())
		return false;
	r = kv_core_find(kv_hooks.core, addr);
	if (!r) {
		kv_submit_leave(); /* freed by another thread: the driver's to judge */
		return false;
	}
	kv_leak(r, reason, by);
	*ret_result = kv_submit_settle();
	return true;
}

void kv_export_note(const void *addr, const char *by)
{
	struct kv_reservation *r = kv_thread.depth ? NULL : kv_hooks_find((CUdeviceptr)addr);

	if (r)
		kv_leak(r, KV_STATIC_ARRAY, by);
}

CUresult kv_ipc_get(PFN_cuIpcGetMemHandle_v4010 real, CUipcMemHandle *handle, CUdeviceptr addr)
{
	static _Atomic bool said; /* atomic: relaxed, one line is enough and two do no harm */
	struct kv_reservation *r = kv_thread.depth ? NULL : kv_hooks_find(addr);

	if (!r)
		return real(handle, addr);
	if (!atomic_exchange_explicit(&said, true, memory_order_relaxed))
		kv_hooks_log(1, "ipc",
			"cuIpcGetMemHandle: memory of %llu bytes is a reservation and cannot be "
			"shared that way; KVSHIM_EXCLUDE_SIZES=%llu leaves it native",
			(unsigned long long)kv_reservation_requested(r),
			(unsigned long long)kv_reservation_requested(r));
	return CUDA_ERROR_INVALID_VALUE; /* the driver's own word for memory that it cannot share */
}
