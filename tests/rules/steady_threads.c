/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steady_threads.c - threads launch graphs whose index arrays others upload: a launch that needs
 * nothing is one whose rows had memory, and no upload serves two. For ThreadSanitizer, too.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "hooks/graph_steady.h"

#define THREADS 4 /* each with an index array of its own, and all with one that they share */
#define STEPS 4000
#define INDEX(i) (0x10000ull + 0x1000 * (i))
#define SHARED INDEX(100)
#define PLANE(i) (0x7f0000000000ull + ((uint64_t)(i) << 30))
#define ROWS 64

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct kv_shadows *shadows;
static struct kv_quick quick;
static _Atomic uint64_t n_shared_uploads, n_shared_launches, n_glances, problems;

static void lock(void)
{
	struct kv_steady *claimed;

	pthread_mutex_lock(&mutex);
	claimed = kv_quick_close(&quick);
	if (claimed)
		kv_steady_settle(claimed, shadows);
}

static void unlock(void)
{
	kv_quick_open(&quick);
	pthread_mutex_unlock(&mutex);
}

static void upload(uint64_t addr, int64_t row)
{
	lock();
	kv_shadows_upload(shadows, addr, &row, sizeof(row));
	unlock();
}

/* A graph that writes the rows that the array at index names, of which the first half has memory,
 * and then writes over the array. */
static void evaluate(struct kv_steady *s, uint64_t index, uint64_t plane)
{
	struct kv_index_use use = {index, plane, 1, 64, 64, 64 * ROWS, 8, true};
	struct kv_window window = {0, 64 * ROWS / 2};

	lock();
	kv_steady_begin(s, 1);
	kv_steady_use(s, &use, 1, &window, 1);
	kv_steady_kill(s, index, 8, 2);
	kv_steady_end(s, shadows, &quick, true);
	unlock();
}

static bool launch(struct kv_steady *s)
{
	enum kv_glance glance = kv_steady_glance(s, &quick, 1);
	bool done = glance == KV_GLANCE_DONE;

	if (done)
		atomic_fetch_add(&n_glances, 1);
	if (glance == KV_GLANCE_ASK) {
		lock();
		done = kv_steady_launch(s, shadows, 1);
		unlock();
	}
	return done;
}

static void expect(bool holds, const char *what)
{
	if (holds)
		return;
	if (!atomic_fetch_add(&problems, 1))
		fprintf(stderr, "not so: %s\n", what);
}

static void *work(void *arg)
{
	uint64_t i = (uint64_t)(uintptr_t)arg, random = 88172645463325252ull + i;
	struct kv_steady own = {0}, shared = {0};

	evaluate(&own, INDEX(i), PLANE(i));
	evaluate(&shared, SHARED, PLANE(100));
	for (int step = 0; step < STEPS; step++) {
		int64_t row;
		bool done;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		row = (int64_t)(random % ROWS);
		upload(INDEX(i), row);
		if (step % 8 == (int)i) {
			atomic_fetch_add(&n_shared_uploads, 1);
			upload(SHARED, row / 2);
		}
		done = launch(&own);
		expect(!done || row < ROWS / 2, "rows that have memory need nothing");
		if (row < ROWS / 2)
			expect(done, "a row that has memory needs nothing");
		expect(!done || !launch(&own), "an upload serves one launch");
		if (launch(&shared))
			atomic_fetch_add(&n_shared_launches, 1);
	}
	lock();
	kv_steady_clear(&own, &quick);
	kv_steady_clear(&shared, &quick);
	unlock();
	return NULL;
}

int main(void)
{
	struct kv_shadows_config config = {64, 64, 4096, 4096, .quick = &quick};
	pthread_t threads[THREADS];

	if (kv_shadows_new(&config, &shadows))
		return 1;
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	expect(n_shared_launches <= n_shared_uploads, "what is shared serves one, too");
	expect(n_shared_launches, "some launches of the shared graph need nothing");
	expect(n_glances, "some launches need no lock");
	expect(!kv_shadows_check(shadows), "the table is as it should be");
	printf("%llu launches without the mutex, %llu of %llu uploads that are shared used\n",
		(unsigned long long)n_glances, (unsigned long long)n_shared_launches,
		(unsigned long long)n_shared_uploads);
	kv_shadows_free(shadows);
	return problems ? 1 : 0;
}
