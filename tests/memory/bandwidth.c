/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bandwidth.c - how long evicting and restoring takes beside a plain pinned copy of the same bytes,
 * in one run. For scripts/bench bandwidth; prints one line of JSON per way of reserving.
 *
 * usage: memory_bandwidth MIB [ROUNDS]
 *
 * Plain: one copy between native device memory and pinned host memory, made once before it is
 * timed. Ours: from the request to the answer of the agent, with everything that belongs to it:
 * closing the gate, draining, copies, looking for zero pages, unmapping and giving the memory to
 * the driver, or taking it, mapping and copying. The least of all rounds counts for both.
 * The environment says what becomes a reservation: allocations of 1 GiB and more.
 */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "core/coord.h"
#include "tests/memory/check.h"

#define PATIENCE_NS 600000000000ull

static struct kv_coord *coord;
static uint32_t slot;

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool find_self(void)
{
	char path[512], text[128];
	CUdevice device;
	CUuuid uuid;

	return cuDeviceGet(&device, 0) == CUDA_SUCCESS &&
	       cuDeviceGetUuid_v2(&uuid, device) == CUDA_SUCCESS &&
	       kv_coord_path(getenv("KVSHIM_DIR"), geteuid(), (uint8_t *)uuid.bytes, path,
		       sizeof(path)) == 0 &&
	       kv_coord_attach(path, &coord, text, sizeof(text)) == 0 &&
	       kv_coord_find_pid(coord, getpid(), &slot) == 0;
}

/* Seconds until the answer; a failure if it is not that many bytes. */
static double ask(enum kv_coord_command_kind kind, uint64_t bytes)
{
	double start = now_s();
	int64_t result = -EIO;
	uint32_t ticket;

	CHECK(kv_coord_post(coord, slot, kind, KV_COORD_NO_LIMIT, NULL, &ticket) == 0);
	CHECK(kv_coord_wait(coord, slot, kind, ticket, PATIENCE_NS, &result) == 0);
	if (!CHECK(result == (int64_t)bytes))
		printf("  answered: %lld, not %llu\n", (long long)result,
			(unsigned long long)bytes);
	return now_s() - start;
}

static void least(double *least_so_far, double value)
{
	if (*least_so_far == 0 || value < *least_so_far)
		*least_so_far = value;
}

struct plain {
	double out, in; /* seconds */
};

static struct plain measure_plain(size_t size, int rounds)
{
	struct plain plain = {0};
	CUdeviceptr device;
	CUstream stream;
	void *host;

	OK(cuMemAlloc(&device, size)); /* below the floor only in name: see the caller */
	OK(cuMemHostAlloc(&host, size, 0));
	OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	OK(cuMemsetD8Async(device, 0x5a, size, stream));
	OK(cuMemcpyDtoHAsync(host, device, size, stream));
	OK(cuStreamSynchronize(stream));
	for (int i = 0; i < rounds; i++) {
		double start = now_s();

		OK(cuMemcpyDtoHAsync(host, device, size, stream));
		OK(cuStreamSynchronize(stream));
		least(&plain.out, now_s() - start);
		start = now_s();
		OK(cuMemcpyHtoDAsync(device, host, size, stream));
		OK(cuStreamSynchronize(stream));
		least(&plain.in, now_s() - start);
	}
	OK(cuStreamDestroy(stream));
	OK(cuMemFreeHost(host));
	OK(cuMemFree(device));
	return plain;
}

/* One word per page tells whether it is the page that was written there. */
static void write_marks(CUdeviceptr addr, size_t size)
{
	OK(cuMemsetD8(addr, 0x5a, size));
	for (size_t at = 0; at < size; at += PAGE)
		OK(cuMemcpyHtoD(addr + at, &at, sizeof(at)));
}

static bool has_marks(CUdeviceptr addr, size_t size)
{
	uint8_t last;
	size_t mark;

	for (size_t at = 0; at < size; at += PAGE) {
		OK(cuMemcpyDtoH(&mark, addr + at, sizeof(mark)));
		OK(cuMemcpyDtoH(&last, addr + at + PAGE - 1, 1));
		if (mark != at || last != 0x5a)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	size_t size = (argc > 1 ? strtoull(argv[1], NULL, 0) : 1024) * MIB;
	int rounds = argc > 2 ? atoi(argv[2]) : 3;
	double evict = 0, restore = 0;
	struct plain plain;
	CUdeviceptr addr;
	CUdevice device;

	start();
	/* Native: one page less than what the options make a reservation. */
	plain = measure_plain(size - PAGE, rounds);
	addr = reserve(size);
	write_marks(addr, size);
	CHECK(find_self());
	for (int i = 0; i < rounds && !failures; i++) {
		least(&evict, ask(KV_COORD_EVICT, size));
		CHECK(backed() == 0);
		least(&restore, ask(KV_COORD_RESTORE, size));
		CHECK(backed() == size);
	}
	CHECK(has_marks(addr, size));
	OK(cuMemFree(addr));
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
	if (coord)
		kv_coord_leave(coord);
	printf("{\"bytes\": %zu, \"rounds\": %d, \"plain_out_s\": %.6f, \"plain_in_s\": %.6f, "
	       "\"evict_s\": %.6f, \"restore_s\": %.6f, \"failures\": %d}\n",
		size, rounds, plain.out, plain.in, evict, restore, failures);
	return failures != 0;
}
