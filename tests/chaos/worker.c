/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - one engine among several on a device that is too small for all: grows, shrinks, rests,
 * forks, and knows at every moment what its memory must hold.
 *
 * usage: worker SEED. Ends when its standard input ends; prints "ok OPERATIONS" then, and for
 * allocations and for all other calls of the driver "slowest MS CALL: WHAT", the call that took
 * longest and what the shim counted meanwhile; or what went wrong, with exit status 1. An
 * allocation may be refused; nothing else may.
 */
#include <cuda.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shim/kvshim.h"

#define MIB ((size_t)1 << 20)
#define PAGE (2 * MIB)
#define TICK_MS 5
#define BUFFERS 3
#define PAGES_MAX 16

struct buffer {
	CUdeviceptr base;
	uint32_t n_pages;
	uint32_t value[PAGES_MAX]; /* every word of the page */
};

static struct buffer buffers[BUFFERS];
static CUdeviceptr native;
static uint64_t seed;
static uint32_t *host;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* Time that stands still while this process is stopped: a thread counts it. */
static uint64_t ticks;

static void *tick(void *unused)
{
	const struct timespec pause = {.tv_nsec = TICK_MS * 1000000};

	(void)unused;
	for (;;) {
		nanosleep(&pause, NULL);
		__atomic_add_fetch(&ticks, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static uint64_t now_ms(void)
{
	return __atomic_load_n(&ticks, __ATOMIC_RELAXED) * TICK_MS;
}

/* The slowest call of a kind. */
static struct slowest {
	uint64_t ms;
	const char *call;
	struct kvshim_stats before, after;
} slowest[2] = {{.call = "none"}, {.call = "none"}}; /* allocations, others */

static struct kvshim_stats stats_now(void)
{
	struct kvshim_stats stats = {.size = sizeof(stats)};

	if (kvshim_stats_get(0, &stats) != 0)
		memset(&stats, 0, sizeof(stats));
	return stats;
}

static CUresult took(
	uint64_t start, const struct kvshim_stats *before, CUresult result, const char *call)
{
	struct slowest *s = &slowest[strstr(call, "Alloc") == NULL];
	uint64_t ms = now_ms() - start;

	if (ms > s->ms) {
		s->ms = ms;
		s->call = call;
		s->before = *before;
		s->after = stats_now();
	}
	return result;
}

static void print_slowest(const struct slowest *s)
{
#define SINCE(field) ((unsigned long long)(s->after.field - s->before.field))
	printf("slowest %llu %s: waits %llu (%llu in vain, %llu ms), gate closed %llu times (%llu "
	       "drains in vain, longest ever %llu ms), evicted %llu pages in %llu ms, restored "
	       "%llu in %llu ms, spilled %llu, refused %llu\n",
		(unsigned long long)s->ms, s->call, SINCE(waits), SINCE(wait_timeouts),
		SINCE(wait_ns) / 1000000, SINCE(quiesces), SINCE(quiesce_timeouts),
		(unsigned long long)s->after.quiesce_ns_max / 1000000, SINCE(pages_evicted),
		SINCE(evict_ns) / 1000000, SINCE(pages_restored), SINCE(restore_ns) / 1000000,
		SINCE(pages_spilled), SINCE(refused));
}

/* Makes a call of the driver, and knows how long it took. */
#define timed(call) \
	({ \
		struct kvshim_stats stats_before = stats_now(); \
		uint64_t start_ms = now_ms(); \
		took(start_ms, &stats_before, call, #call); \
	})

static void check(CUresult result, const char *what)
{
	if (result == CUDA_SUCCESS)
		return;
	printf("%s: error %d\n", what, (int)result);
	exit(1);
}

/* Not over timed(), which would see what the macros in the call expand to. */
#define must(call, what) \
	({ \
		struct kvshim_stats stats_before = stats_now(); \
		uint64_t start_ms = now_ms(); \
		check(took(start_ms, &stats_before, call, what), what); \
	})

static struct buffer *some_buffer(void)
{
	return &buffers[rnd(BUFFERS)];
}

static void allocate(struct buffer *b)
{
	uint32_t n = 4 + (uint32_t)rnd(PAGES_MAX - 3);
	CUresult result = timed(cuMemAlloc(&b->base, n * PAGE));

	memset(b, 0, result == CUDA_SUCCESS ? 0 : sizeof(*b));
	if (result == CUDA_ERROR_OUT_OF_MEMORY)
		return;
	check(result, "cuMemAlloc");
	b->n_pages = n;
	memset(b->value, 0, sizeof(b->value));
	/* what a native allocation holds is undefined */
	must(cuMemsetD32(b->base, 0, n * PAGE / 4), "first cuMemsetD32");
}

static void verify(struct buffer *b, uint32_t page)
{
	must(cuMemcpyDtoH(host, b->base + page * PAGE, PAGE), "cuMemcpyDtoH");
	for (size_t i = 0; i < PAGE / 4; i++) {
		if (host[i] == b->value[page])
			continue;
		printf("page %u word %zu: 0x%x instead of 0x%x\n", page, i, host[i],
			b->value[page]);
		exit(1);
	}
}

/*
 * Most pages are looked at for the last time before they change or go: what a move has done to them
 * would never be seen otherwise. Not all, since content that is overwritten unseen takes another
 * way through the shim.
 */
static void last_look(struct buffer *b, uint32_t first, uint32_t n)
{
	if (rnd(4) == 0)
		return;
	for (uint32_t page = first; page < first + n; page++)
		verify(b, page);
}

static void release(struct buffer *b)
{
	last_look(b, 0, b->n_pages);
	must(cuMemFree(b->base), "cuMemFree");
	memset(b, 0, sizeof(*b));
}

static void fill(struct buffer *b, uint32_t value)
{
	uint32_t first = (uint32_t)rnd(b->n_pages), n = 1 + (uint32_t)rnd(b->n_pages - first);

	last_look(b, first, n);
	must(cuMemsetD32(b->base + first * PAGE, value, n * PAGE / 4), "cuMemsetD32");
	for (uint32_t i = first; i < first + n; i++)
		b->value[i] = value;
}

static void verify_all(void)
{
	for (int i = 0; i < BUFFERS; i++)
		for (uint32_t page = 0; page < buffers[i].n_pages; page++)
			verify(&buffers[i], page);
}

static void take_native(void)
{
	if (native) {
		must(cuMemFree(native), "cuMemFree of native memory");
		native = 0;
	} else if (timed(cuMemAlloc(&native, MIB)) != CUDA_SUCCESS) {
		native = 0;
	}
}

/* A child that only ends, with or without the exit handlers. */
static void fork_once(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		usleep((useconds_t)rnd(3000));
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void operation(void)
{
	struct buffer *b = some_buffer();
	uint64_t what = rnd(100);

	if (!b->n_pages)
		allocate(b);
	else if (what < 35)
		fill(b, (uint32_t)rnd(UINT32_MAX));
	else if (what < 50)
		fill(b, 0); /* shrinks */
	else if (what < 85)
		verify(b, (uint32_t)rnd(b->n_pages));
	else if (what < 88)
		release(b);
	else if (what < 90)
		take_native();
	else if (what < 91)
		fork_once();
	else if (what < 93)
		usleep((useconds_t)rnd(300000)); /* idle */
	else
		must(cuCtxSynchronize(), "cuCtxSynchronize");
}

int main(int argc, char **argv)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	uint64_t n = 0;
	CUdevice device;
	CUcontext ctx;
	pthread_t thread;

	seed = ((argc > 1 ? strtoull(argv[1], NULL, 10) : 0) + 1) * 0x9e3779b97f4a7c15ull | 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	host = malloc(PAGE);
	if (!host || pthread_create(&thread, NULL, tick, NULL) != 0)
		return 1;
	must(cuInit(0), "cuInit");
	must(cuDeviceGet(&device, 0), "cuDeviceGet");
	must(cuDevicePrimaryCtxRetain(&ctx, device), "cuDevicePrimaryCtxRetain");
	must(cuCtxSetCurrent(ctx), "cuCtxSetCurrent");
	while (poll(&input, 1, 0) == 0) {
		operation();
		n++;
	}
	verify_all();
	for (int i = 0; i < BUFFERS; i++)
		if (buffers[i].n_pages)
			release(&buffers[i]);
	if (native)
		must(cuMemFree(native), "cuMemFree of native memory");
	must(cuDevicePrimaryCtxRelease(device), "cuDevicePrimaryCtxRelease");
	printf("ok %llu\n", (unsigned long long)n);
	print_slowest(&slowest[0]);
	print_slowest(&slowest[1]);
	return 0;
}
