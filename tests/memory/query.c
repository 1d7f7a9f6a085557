/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.c - what the driver says of a reservation, beside what it says of native memory:
 * allocations of NATIVE bytes are left alone by option, those of BIG bytes are not. Without the
 * shim both are native, and the same checks hold except where the shim is asked for.
 */
#include "tests/memory/check.h"

#define NATIVE (20 * MIB)

static CUcontext ctx;

static bool shimmed(void)
{
	return state_find_self();
}

/* One attribute of both, in a buffer that shows how many bytes were written. */
static bool same_attribute(
	CUpointer_attribute attribute, CUdeviceptr a, CUdeviceptr b, unsigned char fill)
{
	unsigned char of_a[32], of_b[32];
	CUresult res_a, res_b;

	memset(of_a, fill, sizeof(of_a));
	memset(of_b, fill, sizeof(of_b));
	res_a = cuPointerGetAttribute(of_a, attribute, a);
	res_b = cuPointerGetAttribute(of_b, attribute, b);
	return res_a == res_b && !memcmp(of_a, of_b, sizeof(of_a));
}

static void same_answers(void)
{
	static const CUpointer_attribute attributes[] = {
		CU_POINTER_ATTRIBUTE_CONTEXT,
		CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
		CU_POINTER_ATTRIBUTE_HOST_POINTER,
		CU_POINTER_ATTRIBUTE_SYNC_MEMOPS,
		CU_POINTER_ATTRIBUTE_IS_MANAGED,
		CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
		CU_POINTER_ATTRIBUTE_MAPPED,
		CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES,
		CU_POINTER_ATTRIBUTE_ACCESS_FLAGS,
		CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE,
	};
	CUdeviceptr r = reserve(BIG), native = reserve(NATIVE);

	for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++) {
		/* At the base, inside, and with a page under it. */
		if (!CHECK(same_attribute(attributes[i], r, native, 0xee)) ||
			!CHECK(same_attribute(
				attributes[i], r + 5 * MIB + 3, native + 5 * MIB + 3, 0)))
			printf("  attribute %d\n", attributes[i]);
	}
	OK(cuMemsetD8(r, 1, 1));
	for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++) {
		if (!CHECK(same_attribute(attributes[i], r, native, 0x11)))
			printf("  attribute %d\n", attributes[i]);
	}
	OK(cuMemFree(r));
	OK(cuMemFree(native));
}

static void own_answers(void)
{
	CUdeviceptr r = reserve(BIG - 100), other = reserve(BIG), addr, base = 0;
	unsigned long long id, id_other;
	unsigned int ipc = 7;
	size_t size = 0;

	OK(cuMemGetAddressRange(&base, &size, r + 9 * MIB));
	CHECK(base == r && size == BIG - 100);
	OK(cuMemGetAddressRange(NULL, &size, r));
	OK(cuMemGetAddressRange(&base, NULL, r));
	OK(cuPointerGetAttribute(&addr, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, r + 77));
	CHECK(addr == r + 77);
	OK(cuPointerGetAttribute(&addr, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, r + 77));
	OK(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, r + 77));
	CHECK(addr == r && size == BIG - 100);
	OK(cuPointerGetAttribute(&id, CU_POINTER_ATTRIBUTE_BUFFER_ID, r + 77));
	OK(cuPointerGetAttribute(&id_other, CU_POINTER_ATTRIBUTE_BUFFER_ID, other));
	CHECK(id && id_other && id != id_other);
	OK(cuPointerGetAttribute(&ipc, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, r));
	CHECK((ipc & 0xff) == !shimmed());
	if (shimmed())
		CHECK(backed() == 0);
	OK(cuMemFree(r));
	OK(cuMemFree(other));
	CHECK(cuMemGetAddressRange(&base, &size, r) != CUDA_SUCCESS);
}

static void many_answers(void)
{
	CUpointer_attribute attributes[] = {
		CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
		CU_POINTER_ATTRIBUTE_HOST_POINTER,
		CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
		CU_POINTER_ATTRIBUTE_RANGE_SIZE,
		CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
		CU_POINTER_ATTRIBUTE_CONTEXT,
	};
	CUdeviceptr r = reserve(BIG), start = 0, addr = 0;
	CUcontext of = NULL;
	void *host = &host;
	unsigned int type = 0;
	size_t size = 0;
	void *data[] = {&type, &host, &start, &size, &addr, &of};

	OK(cuPointerGetAttributes(6, attributes, data, r + MIB));
	CHECK(type == CU_MEMORYTYPE_DEVICE && host == NULL && start == r && size == BIG);
	CHECK(addr == r + MIB && of == ctx);
	OK(cuMemFree(r));
}

static void managed_only(void)
{
	CUdeviceptr r = reserve(BIG), native = reserve(NATIVE);
	CUmemLocation where = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0};
	int32_t of_r = 0, of_native = 0;

	CHECK(cuMemAdvise(r, BIG, CU_MEM_ADVISE_SET_READ_MOSTLY, where) ==
		cuMemAdvise(native, BIG, CU_MEM_ADVISE_SET_READ_MOSTLY, where));
	CHECK(cuMemPrefetchAsync(r, BIG, where, 0, NULL) ==
		cuMemPrefetchAsync(native, BIG, where, 0, NULL));
	CHECK(cuMemRangeGetAttribute(&of_r, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, r, BIG) ==
		cuMemRangeGetAttribute(
			&of_native, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, native, BIG));
	forget_reports();
	OK(cuMemFree(r));
	OK(cuMemFree(native));
}

static void free_memory(void)
{
	size_t before = 0, after = 0, total = 0;
	CUdeviceptr r;

	OK(cuMemFree(reserve(BIG))); /* what the shim itself needs is there now */
	OK(cuMemGetInfo(&before, &total));
	r = reserve(BIG);
	OK(cuMemGetInfo(&after, NULL));
	CHECK(before - after == BIG);
	OK(cuMemsetD8(r, 1, 3 * MIB));
	OK(cuMemGetInfo(&after, &total));
	CHECK(before - after == BIG);
	OK(cuMemFree(r));
	OK(cuMemGetInfo(&after, NULL));
	CHECK(before == after);
}

static void not_shared(void)
{
	CUdeviceptr r = reserve(BIG), native = reserve(NATIVE);
	CUipcMemHandle handle;
	CUresult res = cuIpcGetMemHandle(&handle, native);

	if (res == CUDA_ERROR_NOT_SUPPORTED) {
		printf("(IPC: not in this driver)\n");
	} else {
		OK(res);
	}
	if (shimmed()) {
		ERROR_IS(CUDA_ERROR_INVALID_VALUE, cuIpcGetMemHandle(&handle, r));
		ERROR_IS(CUDA_ERROR_INVALID_VALUE, cuIpcGetMemHandle(&handle, r));
		CHECK(backed() == 0);
	}
	OK(cuMemFree(r));
	OK(cuMemFree(native));
}

static void handed_out(void)
{
	CUdeviceptr r = reserve(BIG);
	CUmemGenericAllocationHandle handle = 0;

	if (!shimmed()) {
		OK(cuMemFree(r));
		return;
	}
	OK(cuMemRetainAllocationHandle(&handle, (void *)(r + 6 * MIB)));
	CHECK(backed() == BIG);
	OK(cuMemRelease(handle));
	/* The engine may not map into it. */
	ERROR_IS(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(r, PAGE));
	ERROR_IS(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(r, BIG));
	OK(cuMemFree(r));
	CHECK(backed() == 0);
}

int main(void)
{
	CUdevice device;

	ctx = start();
	says("attributes that do not depend on the address are those of native memory",
		same_answers);
	says("addresses, sizes and identities are those of one allocation", own_answers);
	says("many attributes at once say the same", many_answers);
	says("calls for managed memory treat it as native memory", managed_only);
	says("free memory falls by what was asked for, once", free_memory);
	says("it cannot be shared by a legacy handle", not_shared);
	says("what is handed out is whole", handed_out);
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}
