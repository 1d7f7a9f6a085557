/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.h - what is said about a reservation, and handing it out.
 *
 * Bodies of the exported functions in exports_query.c and exports_ipc.c.
 */
#ifndef KV_HOOKS_QUERY_H
#define KV_HOOKS_QUERY_H

#include "hooks/submit.h"

/* cuMemGetInfo; out-pointers may be NULL. */
CUresult kv_info(PFN_cuMemGetInfo_v3020 real, size_t *free_bytes, size_t *total);

/* cuMemGetAddressRange; out-pointers may be NULL. */
CUresult kv_query_range(
	PFN_cuMemGetAddressRange_v3020 real, CUdeviceptr *base, size_t *size, CUdeviceptr addr);
/* Answers as for native memory of the requested size; IPC capable: no. */
CUresult kv_query_attribute(PFN_cuPointerGetAttribute_v4000 real, void *data,
	CUpointer_attribute attribute, CUdeviceptr addr);
CUresult kv_query_attributes(PFN_cuPointerGetAttributes_v7000 real, unsigned int n,
	CUpointer_attribute *attributes, void **data, CUdeviceptr addr);

/*
 * Native memory of the device that addr belongs to, in place of an address in a reservation: what
 * the driver says about the one, it would say about the other. 0 if addr is in no reservation.
 * *size, which may be NULL, is clipped to what is there.
 */
CUdeviceptr kv_query_twin(CUdeviceptr addr, size_t *size);
/* True if one of the addresses is in a reservation. */
bool kv_query_any(const CUdeviceptr *addrs, size_t n);

/*
 * The program hands out, registers or binds memory at addr: a reservation there is static from now
 * on and whole before the driver is called. False: none, call the driver. True: *ret_result says
 * whether the driver may be called; kv_submit_leave() afterwards.
 */
bool kv_export_enter(
	CUdeviceptr addr, enum kv_static_reason reason, const char *by, CUresult *ret_result);
/* The same for what the driver does not look at yet: nothing is made whole, nothing to leave. */
void kv_export_note(const void *addr, const char *by);

CUresult kv_ipc_get(PFN_cuIpcGetMemHandle_v4010 real, CUipcMemHandle *handle, CUdeviceptr addr);

#endif
