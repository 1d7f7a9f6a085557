/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crosswise.c - two processes, two devices: each has filled another device, and now both want
 * memory of the one that the other has filled, at the same moment, as ranks of one group would.
 * Whoever waits is inside its gate, so that its agents cannot give: the waits would be a cycle.
 * The one that waits on the later device waits; the other one counts on nobody who waits, goes on
 * by spilling, and gives. Nobody fails and no content is lost. A wait may take a minute here, and
 * an agent three seconds to find its gate entered, so that a cycle would outlast this test's
 * patience.
 *
 * The second process is a child that was forked before anything else happened.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "core/coord.h"
#include "tests/memory/check.h"
#include "tests/memory/other.h"

#define N_FIRST 13 /* 208 MiB of the device's 256 */
#define N_MORE 6   /* 96 MiB of the other one */

static CUcontext context_of(int device)
{
	CUdevice d;
	CUcontext ctx = NULL;

	OK(cuDeviceGet(&d, device));
	OK(cuDevicePrimaryCtxRetain(&ctx, d));
	return ctx;
}

static void fill(CUdeviceptr *buffers, int n, uint8_t value)
{
	for (int i = 0; i < n; i++) {
		buffers[i] = reserve(BIG);
		OK(cuMemsetD8(buffers[i], (unsigned char)(value + i), BIG));
	}
	OK(cuCtxSynchronize());
}

static void verify(const CUdeviceptr *buffers, int n, uint8_t value)
{
	static uint8_t bytes[BIG];

	for (int i = 0; i < n; i++) {
		OK(cuMemcpyDtoH(bytes, buffers[i], BIG));
		CHECK(all(bytes, BIG, (uint8_t)(value + i)));
	}
}

/* What the shim counted for this process on that device. */
static struct kv_process_stats stats_of(int device)
{
	struct kv_process_stats stats = {0};
	char path[512], text[128];
	struct kv_coord *coord;
	uint32_t slot;
	CUuuid uuid;

	if (CHECK(cuDeviceGetUuid_v2(&uuid, device) == CUDA_SUCCESS) &&
		CHECK(kv_coord_path(getenv("KVSHIM_DIR"), geteuid(), (uint8_t *)uuid.bytes, path,
			      sizeof(path)) == 0) &&
		CHECK(kv_coord_attach(path, &coord, text, sizeof(text)) == 0)) {
		if (CHECK(kv_coord_find_pid(coord, getpid(), &slot) == 0))
			stats = kv_coord_segment(coord)->slots[slot].process;
		kv_coord_detach(coord);
	}
	return stats;
}

static bool comes_after(int device, int other)
{
	CUuuid a, b;

	OK(cuDeviceGetUuid_v2(&a, device));
	OK(cuDeviceGetUuid_v2(&b, other));
	return memcmp(&a, &b, sizeof(a)) > 0;
}

/* On the device that comes last nobody ever gives way: who waits there, waits for those who do not.
 */
static void look_at_counters(int device)
{
	struct kv_process_stats own = stats_of(device), other = stats_of(1 - device);

	printf("process with device %d: waits %llu, in vain %llu, given way %llu there and %llu at "
	       "home, "
	       "spilled %llu\n",
		device, (unsigned long long)other.waits, (unsigned long long)other.wait_timeouts,
		(unsigned long long)other.waits_crossed, (unsigned long long)own.waits_crossed,
		(unsigned long long)other.pages_spilled);
	CHECK((comes_after(device, 1 - device) ? own : other).waits_crossed == 0);
	CHECK(other.waits > 0);
}

static int run(int device, uint8_t value)
{
	CUdeviceptr first[N_FIRST], more[N_MORE];
	CUcontext own, other;
	CUdevice d;

	OK(cuInit(0));
	own = context_of(device);
	other = context_of(1 - device);
	OK(cuCtxSetCurrent(own));
	fill(first, N_FIRST, value);
	meet();
	OK(cuCtxSetCurrent(other));
	fill(more, N_MORE, value + 100);
	verify(more, N_MORE, value + 100);
	OK(cuCtxSetCurrent(own));
	verify(first, N_FIRST, value);
	look_at_counters(device);
	meet();
	for (int i = 0; i < N_FIRST; i++)
		OK(cuMemFree(first[i]));
	OK(cuCtxSetCurrent(other));
	for (int i = 0; i < N_MORE; i++)
		OK(cuMemFree(more[i]));
	for (int i = 0; i < 2; i++) {
		OK(cuDeviceGet(&d, i));
		OK(cuDevicePrimaryCtxRelease(d));
	}
	return failures != 0;
}

int main(void)
{
	int status = 1, failed;
	pid_t pid = fork_other();

	if (pid < 0)
		return 1;
	failed = run(pid ? 0 : 1, pid ? 1 : 51);
	if (!pid)
		return failed;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	if (failures == 0)
		puts("ok: a cycle of waits over two devices ends, and nothing is lost");
	return failures != 0;
}
