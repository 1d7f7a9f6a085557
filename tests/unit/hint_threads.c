/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint_threads.c - sixteen threads hint about blocks of one region while pages are evicted and
 * reaped under them: what lives keeps what was written into it. For ThreadSanitizer, too.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/hint.h"
#include "tests/unit/fixture.h"

#define THREADS 16
#define BLOCKS_EACH 4
#define STEPS 2000

static struct fixture f;
static struct buffer buffers[2];
static struct kv_regions *regions;
static uint64_t region_id;
static _Atomic uint32_t problems, n_done;

static void expect(int got, int wanted, const char *what)
{
	if (got == wanted)
		return;
	atomic_fetch_add(&problems, 1);
	fprintf(stderr, "%s: %d, not %d\n", what, got, wanted);
}

static int hint(uint32_t slot, int64_t block, bool live)
{
	struct kv_region *region = kv_region_claim(regions, region_id);
	int error;

	kv_core_enter(f.core, slot);
	error = live ? kv_region_touch(region, &block, 1) : kv_region_release(region, &block, 1, 0);
	kv_core_leave(f.core, slot);
	kv_region_yield(region);
	return error;
}

/* A kernel that names nothing writes or reads the block in both layers. */
static void use(uint32_t slot, int64_t block, uint8_t value, bool write)
{
	kv_core_enter(f.core, slot);
	expect(kv_settle(f.core), 0, "settle");
	for (int i = 0; i < 2; i++) {
		kv_gpu_addr at = buffers[i].base + (uint64_t)block * f.page / 2;
		uint8_t bytes[64];

		memset(bytes, value, sizeof(bytes));
		if (write) {
			fake_gpu_write(f.gpu, at, bytes, sizeof(bytes));
			continue;
		}
		fake_gpu_read(f.gpu, at, bytes, sizeof(bytes));
		for (size_t b = 0; b < sizeof(bytes); b++)
			expect(bytes[b], value, "content");
	}
	kv_core_leave(f.core, slot);
}

static void *work(void *arg)
{
	uint32_t random = (uint32_t)(uintptr_t)arg * 7919 + 1, slot = kv_core_thread_slot(f.core);
	int64_t first = (int64_t)(uintptr_t)arg * BLOCKS_EACH;
	uint8_t value[BLOCKS_EACH] = {0}; /* 0: dead */

	for (int i = 0; i < STEPS; i++) {
		uint32_t k = (random = random * 1664525u + 1013904223u) >> 8, n = k % BLOCKS_EACH;

		if (!value[n]) {
			value[n] = (uint8_t)(1 + k / 7 % 255);
			expect(hint(slot, first + n, true), 0, "touch");
			use(slot, first + n, value[n], true);
		} else if (k / 64 % 3) {
			use(slot, first + n, value[n], false);
		} else {
			expect(hint(slot, first + n, false), 0, "release");
			value[n] = 0;
		}
	}
	atomic_fetch_add(&n_done, 1);
	return NULL;
}

static void *take_away(void *unused)
{
	uint32_t i = 0;

	/* Refused while somebody else quiesces, or too long inside: legal outcomes. */
	while (atomic_load(&n_done) < THREADS) {
		if (i++ % 2)
			kv_evict(f.space, 4 * f.page, NULL);
		else
			kv_reap(f.space, NULL);
	}
	return NULL;
}

int main(void)
{
	struct kv_region_range ranges[2];
	struct kv_region_config config = {
		.n_blocks = THREADS * BLOCKS_EACH, .n_ranges = 2, .ranges = ranges};
	pthread_t threads[THREADS + 1];
	const char *problem;

	fixture_open(&f, (struct fixture_options){.spare_pages = 4});
	if (kv_regions_new(f.core, &regions) < 0)
		return 1;
	for (int i = 0; i < 2; i++) {
		buffer_new(&f, THREADS * BLOCKS_EACH * f.page / 2, &buffers[i]);
		ranges[i] = (struct kv_region_range){buffers[i].base, f.page / 2, f.page / 2};
	}
	expect(kv_region_declare(regions, &config, &region_id), 0, "declare");
	for (uintptr_t i = 0; i <= THREADS; i++)
		pthread_create(&threads[i], NULL, i < THREADS ? work : take_away, (void *)i);
	for (int i = 0; i <= THREADS; i++)
		pthread_join(threads[i], NULL);
	problem = fixture_check(&f);
	kv_regions_free(regions);
	for (int i = 0; i < 2; i++)
		expect(buffer_free(&f, &buffers[i]), 0, "free");
	if (!problem)
		problem = fixture_close(&f);
	printf("%d threads, %d steps each: %u problems; %s\n", THREADS, STEPS,
		atomic_load(&problems), problem ? problem : "consistent");
	return problem || atomic_load(&problems) ? 1 : 0;
}
