/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.c - two devices: copies between them, peer access to reservations, and a device of which the
 * other knows nothing.
 */
#include "tests/memory/check.h"

static CUcontext ctx[2];
static CUdevice device[2];
static uint8_t host[BIG], back[BIG];

static CUdeviceptr reserve_on(int i)
{
	OK(cuCtxSetCurrent(ctx[i]));
	return reserve(BIG);
}

static void peer_copies(void)
{
	CUdeviceptr a = reserve_on(0), b = reserve_on(1);

	OK(cuMemcpyPeer(b, ctx[1], a, ctx[0], BIG)); /* nothing to nothing */
	OK(cuCtxSetCurrent(ctx[0]));
	OK(cuMemcpyHtoD(a + MIB, host, 4 * MIB));
	OK(cuMemcpyPeer(b, ctx[1], a, ctx[0], BIG));
	OK(cuCtxSetCurrent(ctx[1]));
	memset(back, 0xee, BIG);
	OK(cuMemcpyDtoH(back, b, BIG));
	CHECK(all(back, MIB, 0) && !memcmp(back + MIB, host, 4 * MIB) &&
		all(back + 5 * MIB, 11 * MIB, 0));
	/* Nothing over something. */
	OK(cuMemcpyPeerAsync(b + 2 * MIB, ctx[1], a + 8 * MIB, ctx[0], MIB, NULL));
	OK(cuCtxSynchronize());
	OK(cuMemcpyDtoH(back, b + 2 * MIB, 2 * MIB));
	CHECK(all(back, MIB, 0) && !memcmp(back + MIB, host + 2 * MIB, MIB));
	OK(cuMemFree(b));
	OK(cuCtxSetCurrent(ctx[0]));
	OK(cuMemFree(a));
}

/* Pages mapped before and after access was given. */
static void peer_access(void)
{
	CUdeviceptr a = reserve_on(0);
	uint8_t byte = 0;

	OK(cuMemsetD8(a, 5, PAGE));
	OK(cuMemsetD8(a + 6 * MIB, 6, 2 * PAGE));
	OK(cuCtxSynchronize()); /* sets of device memory return before they are done */
	OK(cuCtxSetCurrent(ctx[1]));
	OK(cuCtxEnablePeerAccess(ctx[0], 0));
	OK(cuMemsetD8(a + 1, 7, 1));
	OK(cuMemsetD8(a + 9 * MIB, 8, 1));
	OK(cuMemsetD8(a + 4 * MIB, 9, 1)); /* not mapped yet */
	OK(cuMemcpyDtoH(&byte, a + 9 * MIB, 1));
	CHECK(byte == 8);
	OK(cuCtxSynchronize());
	OK(cuCtxDisablePeerAccess(ctx[0]));
	OK(cuCtxSetCurrent(ctx[0]));
	OK(cuMemcpyDtoH(back, a, BIG));
	CHECK(back[0] == 5 && back[1] == 7 && back[2] == 5 && back[4 * MIB] == 9 &&
		back[6 * MIB] == 6 && back[9 * MIB] == 8);
	OK(cuMemFree(a));
}

/* A context of one device goes; the memory of the other stays. */
static void one_goes(void)
{
	CUdeviceptr a = reserve_on(0);
	CUcontext other;
	uint8_t byte = 0;

	OK(cuMemsetD8(a, 5, BIG));
	OK(cuCtxCreate(&other, NULL, 0, device[1]));
	OK(cuMemsetD8(reserve(BIG), 6, BIG));
	OK(cuCtxDestroy(other));
	OK(cuCtxSetCurrent(ctx[0]));
	OK(cuMemcpyDtoH(&byte, a + BIG - 1, 1));
	CHECK(byte == 5);
	OK(cuMemFree(a));
}

/* The same memory at another address, as another process would map it. */
static void handed_out(void)
{
	CUdeviceptr a = reserve_on(0), alias = 0;
	CUmemGenericAllocationHandle handle;
	CUmemAccessDesc access = {
		.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device[0]},
		.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
	};
	uint8_t byte = 0;

	OK(cuMemRetainAllocationHandle(&handle, (void *)(a + 6 * MIB)));
	OK(cuMemAddressReserve(&alias, PAGE, 0, 0, 0));
	/* A device of one big handle may not be mapped in part: then there is nothing to see here.
	 */
	if (cuMemMap(alias, PAGE, 0, handle, 0) == CUDA_SUCCESS) {
		OK(cuMemSetAccess(alias, PAGE, &access, 1));
		for (uint8_t i = 1; i < 10; i++) {
			OK(cuMemsetD8(a, i, BIG));
			OK(cuMemcpyDtoH(&byte, alias, 1));
			CHECK(byte == i);
		}
		OK(cuMemUnmap(alias, PAGE));
	} else {
		forget_reports();
	}
	OK(cuMemAddressFree(alias, PAGE));
	OK(cuMemRelease(handle));
	OK(cuMemFree(a));
}

int main(void)
{
	int n = 0;

	ctx[0] = start();
	OK(cuDeviceGetCount(&n));
	if (n < 2) {
		printf("SKIP: one device only\n");
		return 77;
	}
	for (size_t i = 0; i < BIG; i++)
		host[i] = (uint8_t)(i * 7 + (i >> 12) + 1);
	for (int i = 0; i < 2; i++)
		OK(cuDeviceGet(&device[i], i));
	OK(cuDevicePrimaryCtxRetain(&ctx[1], device[1]));
	says("copies between devices carry content and leave out nothing", peer_copies);
	says("a peer sees pages mapped before and after it was let in", peer_access);
	says("memory that was handed out stays where it is", handed_out);
	says("a context of one device takes nothing of the other", one_goes);
	for (int i = 0; i < 2; i++)
		OK(cuDevicePrimaryCtxRelease(device[i]));
	return failures != 0;
}
