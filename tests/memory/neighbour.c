/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neighbour.c - two processes on one device: a native allocation that the driver refuses gets the
 * pages of a neighbour that does nothing, and the neighbour gets its content back.
 *
 * The neighbour is this program again, in a child that was forked before anything else happened.
 * Native are allocations of NATIVE bytes, by option.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/memory/check.h"

#define NATIVE (20 * MIB)
#define N_NATIVE 6   /* 120 MiB */
#define N_BUFFERS 12 /* 192 MiB of the device's 256 */

static int to_parent[2], to_child[2];

static void say(int fd)
{
	CHECK(write(fd, "x", 1) == 1);
}

/* False: the other one has gone. */
static bool hear(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 1;
}

static void finish(void)
{
	CUdevice device;

	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
}

static int neighbour(void)
{
	static uint8_t bytes[BIG];
	CUdeviceptr buffers[N_BUFFERS];

	start();
	for (int i = 0; i < N_BUFFERS; i++) {
		buffers[i] = reserve(BIG);
		OK(cuMemsetD8(buffers[i], (unsigned char)(i + 1), BIG));
	}
	OK(cuCtxSynchronize());
	CHECK(backed() == N_BUFFERS * BIG);
	say(to_parent[1]);
	CHECK(hear(to_child[0]));
	CHECK(backed() < N_BUFFERS * BIG);
	say(to_parent[1]);
	CHECK(hear(to_child[0]));
	for (int i = 0; i < N_BUFFERS; i++) {
		OK(cuMemcpyDtoH(bytes, buffers[i], BIG));
		CHECK(all(bytes, BIG, (uint8_t)(i + 1)));
		OK(cuMemFree(buffers[i]));
	}
	finish();
	return failures != 0;
}

int main(void)
{
	CUdeviceptr native[N_NATIVE] = {0};
	size_t free_bytes, total;
	int status = 1;
	pid_t pid;

	if (pipe(to_parent) || pipe(to_child) || (pid = fork()) < 0)
		return 1;
	if (pid == 0) {
		close(to_parent[0]);
		close(to_child[1]);
		return neighbour();
	}
	close(to_parent[1]);
	close(to_child[0]);
	start();
	CHECK(hear(to_parent[0]));
	OK(cuMemGetInfo(&free_bytes, &total));
	CHECK(free_bytes < total);
	for (int i = 0; i < N_NATIVE; i++)
		OK(cuMemAlloc(&native[i], NATIVE));
	say(to_child[1]);
	CHECK(hear(to_parent[0]));
	for (int i = 0; i < N_NATIVE; i++)
		OK(cuMemFree(native[i]));
	say(to_child[1]);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	finish();
	if (failures == 0)
		puts("ok: a native allocation gets a neighbour's pages, the neighbour its content "
		     "back");
	return failures != 0;
}
