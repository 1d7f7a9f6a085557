/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thrash.c - two processes that are always busy, with working sets of which each fits the device
 * and both together do not: what moves between device and host memory is bounded, however long they
 * work, and both get on.
 *
 * Each goes round its buffers again and again, changes them and looks at what it wrote the round
 * before. Whoever is below its share gets pages from the other one until both have their share, and
 * the rest of each working set is spilled; then nothing moves any more, since nobody gives below
 * its share and nobody asks for what another one uses above its own.
 *
 * Stated bound, for each of the two, in pages: it gives up at most what it held above its share,
 * and for each wait of the other one that was served at most a window more than was missing:
 *
 *   evicted <= (working set - share) + pages of one window
 *   restored + spilled <= working set + evicted
 *
 * and of N rounds the second half moves no more pages than a round has: without a bound it would be
 * as many in each round. The second process is a child that was forked before anything else.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/memory/check.h"
#include "tests/memory/other.h"

#define N_BUFFERS 12 /* 192 MiB of the device's 256 */
#define ROUNDS 6
#define SET_PAGES (N_BUFFERS * BIG / PAGE)
#define SHARE_PAGES (SET_PAGES * 2 / 3) /* 128 MiB */
#define WINDOW_PAGES 64                 /* of a process at work */

static uint8_t value_of(int buffer, int round, uint8_t base)
{
	return (uint8_t)(base + buffer * 7 + round);
}

/* Changes all buffers, one after the other, and looks at what was there before. */
static void work(const CUdeviceptr *buffers, int round, uint8_t base)
{
	static uint8_t bytes[BIG];

	for (int i = 0; i < N_BUFFERS; i++) {
		if (round) {
			OK(cuMemcpyDtoH(bytes, buffers[i], BIG));
			CHECK(all(bytes, BIG, value_of(i, round - 1, base)));
		}
		OK(cuMemsetD8(buffers[i], value_of(i, round, base), BIG));
	}
	OK(cuCtxSynchronize());
}

static struct kv_process_stats stats_now(void)
{
	struct kv_process_stats stats = {0};

	CHECK(state_process(&stats));
	return stats;
}

static uint64_t moves(const struct kv_process_stats *s)
{
	return s->pages_evicted + s->pages_restored + s->pages_spilled + s->pages_promoted;
}

static int run(bool is_first, uint8_t base)
{
	struct kv_process_stats half = {0}, s;
	CUdeviceptr buffers[N_BUFFERS];
	CUdevice device;

	start();
	for (int i = 0; i < N_BUFFERS; i++)
		buffers[i] = reserve(BIG);
	for (int round = 0; round < ROUNDS; round++) {
		/* The first one has filled the device before the second one comes; after that
		 * neither is idle for long, however they are scheduled. */
		if (round ? round % 2 == 0 : !is_first)
			meet();
		if (round == ROUNDS / 2)
			half = stats_now();
		work(buffers, round, base);
		if (round == 0 && is_first)
			meet();
	}
	s = stats_now();
	printf("%s: evicted %llu, restored %llu, spilled %llu, promoted %llu pages of %u in %d "
	       "rounds; in "
	       "the second half %llu moves; waits %llu\n",
		is_first ? "first" : "second", (unsigned long long)s.pages_evicted,
		(unsigned long long)s.pages_restored, (unsigned long long)s.pages_spilled,
		(unsigned long long)s.pages_promoted, (unsigned)SET_PAGES, ROUNDS,
		(unsigned long long)(moves(&s) - moves(&half)), (unsigned long long)s.waits);
	CHECK(s.pages_evicted <= SET_PAGES - SHARE_PAGES + WINDOW_PAGES);
	CHECK(s.pages_restored + s.pages_spilled <= SET_PAGES + s.pages_evicted);
	CHECK(moves(&s) - moves(&half) <= SET_PAGES);
	meet();
	for (int i = 0; i < N_BUFFERS; i++)
		OK(cuMemFree(buffers[i]));
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
	return failures != 0;
}

int main(void)
{
	int status = 1, failed;
	pid_t pid = fork_other();

	if (pid < 0)
		return 1;
	failed = run(pid, pid ? 1 : 101);
	fflush(stdout);
	if (!pid)
		return failed;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	if (failures == 0)
		puts("ok: two busy processes that do not fit together move a bounded number of "
		     "pages");
	return failures != 0;
}
