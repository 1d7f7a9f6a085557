/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.c - core with many reservations or many pages, for scripts/bench scale.
 *
 *   scale_pages WHAT RESERVATIONS PAGES
 *
 * RESERVATIONS of PAGES pages each, all backed, over a device that does nothing. What is to be
 * counted, and nothing else, runs in scale_measured():
 *
 *   back     all pages get memory (they have none before)
 *   again    one page of the last reservation is touched, that has memory already
 *   find     an address in the last reservation is looked up
 *   reclaim  16 pages are moved to host memory, whichever core picks
 *   dead     16 pages of the last reservation are given up by the application, and taken
 *   evict    all pages are moved to host memory
 *   reserve  one more reservation is made, and freed
 *
 * Prints "books BYTES": the memory that core's books take for reservations and pages. Functions of
 * the device are called mock_*, so that they can be left out of a count. A page has 64 bytes here:
 * nothing in core depends on how many, and a million of them fit anywhere.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

#define PAGE 64ull
#define SOME 16u
#define MAX_RESERVATIONS 4096u

static kv_gpu_addr next_addr = 0x700000000000ull;
static kv_gpu_handle next_handle = 1;
static uint64_t mock_time;

static uint64_t mock_now_ns(void *gpu)
{
	return mock_time += 1000;
}

static int mock_memory_info(void *gpu, uint64_t *ret_free, uint64_t *ret_total)
{
	*ret_free = *ret_total = 1ull << 50;
	return 0;
}

static int mock_range_reserve(void *gpu, uint64_t size, uint64_t align, kv_gpu_addr *ret_addr)
{
	if (align)
		next_addr = (next_addr + align - 1) / align * align;
	*ret_addr = next_addr;
	next_addr += size;
	return 0;
}

static int mock_range(void *gpu, kv_gpu_addr addr, uint64_t size)
{
	return 0;
}

static int mock_handle_create(
	void *gpu, uint64_t size, enum kv_gpu_location where, kv_gpu_handle *ret_handle)
{
	*ret_handle = next_handle++;
	return 0;
}

static int mock_handle_release(void *gpu, kv_gpu_handle handle)
{
	return 0;
}

static int mock_map(void *gpu, kv_gpu_addr addr, uint64_t size, kv_gpu_handle handle)
{
	return 0;
}

/* Not zero, so that what is evicted is kept. */
static int mock_copy_out(void *gpu, void *host, kv_gpu_addr addr, uint64_t size)
{
	memset(host, 1, size);
	return 0;
}

static int mock_copy_in(void *gpu, kv_gpu_addr addr, const void *host, uint64_t size)
{
	return 0;
}

static int mock_flush(void *gpu)
{
	return 0;
}

static int mock_host_alloc(void *gpu, uint64_t size, void **ret_host)
{
	*ret_host = malloc(size);
	return *ret_host ? 0 : -ENOMEM;
}

static int mock_host_free(void *gpu, void *host)
{
	free(host);
	return 0;
}

static int mock_drain(void *gpu, uint64_t timeout_ns)
{
	return 0;
}

static const struct kv_gpu_ops mock_ops = {
	.now_ns = mock_now_ns,
	.memory_info = mock_memory_info,
	.range_reserve = mock_range_reserve,
	.range_free = mock_range,
	.handle_create = mock_handle_create,
	.handle_release = mock_handle_release,
	.map = mock_map,
	.unmap = mock_range,
	.set_access = mock_range,
	.zero = mock_range,
	.copy_out = mock_copy_out,
	.copy_in = mock_copy_in,
	.flush = mock_flush,
	.host_alloc = mock_host_alloc,
	.host_free = mock_host_free,
	.drain = mock_drain,
};

static struct kv_core *core;
static struct kv_space *space;
static struct kv_reservation *r[MAX_RESERVATIONS];
static uint64_t n_reservations, n_pages;
static uint32_t slot;

static void must(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "scale_pages: %s: %s\n", what, strerror(-result));
		exit(1);
	}
}

static void touch(struct kv_reservation *which, uint64_t first, uint64_t n)
{
	kv_core_enter(core, slot);
	must(kv_touch(which, first * PAGE, n * PAGE), "touch");
	kv_core_leave(core, slot);
}

static void back(void)
{
	for (uint64_t i = 0; i < n_reservations; i++)
		touch(r[i], 0, n_pages);
}

static void again(void)
{
	touch(r[n_reservations - 1], n_pages / 2, 1);
}

static void find(void)
{
	if (kv_core_find(core, kv_reservation_base(r[n_reservations - 1]) + PAGE) !=
		r[n_reservations - 1])
		must(-ENOENT, "find");
}

static void reclaim(void)
{
	uint64_t bytes = 0;

	must(kv_evict(space, SOME * PAGE, &bytes), "evict");
	if (bytes < SOME * PAGE)
		must(-EIO, "too little was evicted");
}

static void dead(void)
{
	uint64_t bytes = 0;

	kv_core_enter(core, slot);
	kv_release(r[n_reservations - 1], 0, SOME * PAGE);
	kv_core_leave(core, slot);
	must(kv_reap(space, &bytes), "reap");
	if (bytes != SOME * PAGE)
		must(-EIO, "not what was released has been reaped");
}

static void evict(void)
{
	must(kv_evict_all(core), "evict all");
}

static void reserve(void)
{
	struct kv_reservation *one;

	must(kv_reservation_new(space, n_pages * PAGE, "scale", 0, &one), "reserve");
	must(kv_reservation_free(core, kv_reservation_base(one)), "free");
}

static const struct {
	const char *name;
	void (*run)(void);
} what[] = {
	{"back", back},
	{"again", again},
	{"find", find},
	{"reclaim", reclaim},
	{"dead", dead},
	{"evict", evict},
	{"reserve", reserve},
};

void scale_measured(void (*run)(void));

__attribute__((noinline)) void scale_measured(void (*run)(void))
{
	run();
}

static uint64_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

int main(int argc, char **argv)
{
	struct kv_core_config config = {.page_size = PAGE, .host_budget = 1ull << 40};
	void (*run)(void) = NULL;
	uint64_t before;

	for (size_t i = 0; argc == 4 && i < sizeof(what) / sizeof(what[0]); i++)
		if (!strcmp(argv[1], what[i].name))
			run = what[i].run;
	if (run) {
		n_reservations = strtoull(argv[2], NULL, 0);
		n_pages = strtoull(argv[3], NULL, 0);
	}
	if (!run || !n_reservations || n_reservations > MAX_RESERVATIONS || n_pages < SOME) {
		fprintf(stderr, "usage: scale_pages WHAT RESERVATIONS PAGES\n");
		return 2;
	}
	must(kv_core_new(&config, &core), "a core");
	must(kv_space_new(core, &mock_ops, NULL, PAGE, NULL, &space), "a space");
	slot = kv_core_thread_slot(core);
	before = allocated();
	/* "reserve" needs a row */
	if (run == reserve && n_reservations == MAX_RESERVATIONS)
		n_reservations--;
	for (uint64_t i = 0; i < n_reservations; i++)
		must(kv_reservation_new(space, n_pages * PAGE, "scale", 0, &r[i]), "reserve");
	if (run != back)
		back();
	printf("books %llu\n", (unsigned long long)(allocated() - before));
	scale_measured(run);
	kv_space_drop(space, 1);
	kv_core_free(core);
	return 0;
}
