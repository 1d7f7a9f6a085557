/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.c - pointer queries: a reservation answers as the native allocation that it stands for.
 *
 * What depends on the address is answered here. Everything else the driver answers itself, about
 * the zero page: native memory of the same device and context, so that types, sizes and error codes
 * are its own, whatever its version.
 */
#include "hooks/query.h"

#include <string.h>

#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/device.h"
#include "hooks/origin.h"

static bool is_program(void)
{
	return kv_hooks_active() && !kv_thread.depth;
}

/* ---- ranges ---- */

CUresult kv_query_range(
	PFN_cuMemGetAddressRange_v3020 real, CUdeviceptr *base, size_t *size, CUdeviceptr addr)
{
	struct kv_reservation *r = is_program() ? kv_hooks_find(addr) : NULL;

	if (!r)
		return real(base, size, addr);
	if (addr - kv_reservation_base(r) >= kv_reservation_requested(r))
		return CUDA_ERROR_NOT_FOUND; /* what was rounded up is not the program's */
	if (base)
		*base = kv_reservation_base(r);
	if (size)
		*size = kv_reservation_requested(r);
	return CUDA_SUCCESS;
}

CUdeviceptr kv_query_twin(CUdeviceptr addr, size_t *size)
{
	struct kv_reservation *r = is_program() ? kv_hooks_find(addr) : NULL;

	if (!r)
		return 0;
	if (size && *size > KV_ZERO_PAGE_SIZE)
		*size = KV_ZERO_PAGE_SIZE;
	return kv_copy_zeros(r);
}

bool kv_query_any(const CUdeviceptr *addrs, size_t n)
{
	if (!addrs || !is_program())
		return false;
	for (size_t i = 0; i < n; i++) {
		if (kv_hooks_find(addrs[i]))
			return true;
	}
	return false;
}

/* ---- attributes ---- */

/*
 * "No" to IS_LEGACY_CUDA_IPC_CAPABLE, in as many bytes as the driver writes: cuda.h does not say
 * how many a boolean has. Native memory is capable, so that its answer changes each of them.
 */
static void answer_not_capable(PFN_cuPointerGetAttribute_v4000 real, CUdeviceptr twin, void *data)
{
	unsigned char probe[16];
	size_t n = 0;

	memset(probe, 0xa5, sizeof(probe));
	if (real(probe, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, twin) != CUDA_SUCCESS)
		n = 1;
	while (n < sizeof(probe) && probe[n] != 0xa5)
		n++;
	memset(data, 0, n ? n : 1);
}

/* What depends on the address. False: ask the driver about the twin. */
static bool answer(PFN_cuPointerGetAttribute_v4000 real, struct kv_reservation *r, CUdeviceptr twin,
	CUpointer_attribute attribute, CUdeviceptr addr, void *data)
{
	struct kv_origin origin;

	if (!kv_origin_find(kv_reservation_base(r), &origin))
		return false;
	switch ((int)attribute) {
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = addr;
		return true;
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = origin.ctx;
		return true;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
		*(unsigned long long *)data = origin.id;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)data = origin.base;
		return true;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)data = origin.size;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		answer_not_capable(real, twin, data);
		return true;
	default:
		return false;
	}
}

/* Tokens for a network card: as good as a registration. */
static CUresult answer_tokens(PFN_cuPointerGetAttribute_v4000 real, CUdeviceptr addr, void *data)
{
	CUresult res;

	if (!kv_export_enter(addr, KV_STATIC_EXPORT, "cuPointerGetAttribute", &res))
		return real(data, CU_POINTER_ATTRIBUTE_P2P_TOKENS, addr);
	if (res == CUDA_SUCCESS)
		res = real(data, CU_POINTER_ATTRIBUTE_P2P_TOKENS, addr);
	kv_submit_leave();
	return res;
}

CUresult kv_query_attribute(PFN_cuPointerGetAttribute_v4000 real, void *data,
	CUpointer_attribute attribute, CUdeviceptr addr)
{
	struct kv_reservation *r = is_program() ? kv_hooks_find(addr) : NULL;
	CUdeviceptr twin = r ? kv_copy_zeros(r) : 0;

	if (!r || !twin || !data)
		return real(data, attribute, addr);
	if (attribute == CU_POINTER_ATTRIBUTE_P2P_TOKENS)
		return answer_tokens(real, addr, data);
	if (answer(real, r, twin, attribute, addr, data))
		return CUDA_SUCCESS;
	return real(data, attribute, twin);
}

CUresult kv_query_attributes(PFN_cuPointerGetAttributes_v7000 real, unsigned int n,
	CUpointer_attribute *attributes, void **data, CUdeviceptr addr)
{
	struct kv_reservation *r = is_program() ? kv_hooks_find(addr) : NULL;
	CUdeviceptr twin = r ? kv_copy_zeros(r) : 0;
	CUresult res;

	if (!r || !twin)
		return real(n, attributes, data, addr);
	res = real(n, attributes, data, twin);
	if (res != CUDA_SUCCESS || !attributes || !data)
		return res;
	for (unsigned int i = 0; i < n; i++) {
		if (!data[i])
			continue;
		if (attributes[i] == CU_POINTER_ATTRIBUTE_P2P_TOKENS)
			answer_tokens(KV_REAL(cuPointerGetAttribute), addr, data[i]);
		else
			answer(KV_REAL(cuPointerGetAttribute), r, twin, attributes[i], addr,
				data[i]);
	}
	return res;
}
