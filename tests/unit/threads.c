/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads.c - many threads at the gate, in the table, and on one core. A plain program, so that it
 * runs under ThreadSanitizer as it is. Ends with 0, or with 1 and a line that says what went wrong.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/agent.h"
#include "core/space.h"
#include "tests/unit/fixture.h"

#define N_WORKERS 6
#define P 512ull

static _Atomic int n_problems;

static void problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void problem(const char *format, ...)
{
	va_list args;

	if (atomic_fetch_add(&n_problems, 1))
		return;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

struct worker {
	pthread_t thread;
	struct fixture f; /* a copy: the same core, its own slot */
	struct buffer *shared;
	uint32_t number;
	uint32_t seed;
	_Atomic bool *stop;
	bool ages; /* an evictor: it is the one that spare pages grow old by */
};

static uint32_t next(struct worker *w, uint32_t below)
{
	w->seed = w->seed * 1664525u + 1013904223u;
	return (w->seed >> 8) % below;
}

static void start(struct worker *w, uint32_t n, void *(*body)(void *))
{
	const char *given = getenv("KV_TEST_SEED");
	uint32_t seed = given ? (uint32_t)strtoul(given, NULL, 0) : 0;

	for (uint32_t i = 0; i < n; i++) {
		w[i].number = i;
		w[i].seed = (seed * 64 + i) * 77 + 1;
		if (pthread_create(&w[i].thread, NULL, body, &w[i]))
			abort();
	}
}

static void join(struct worker *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		pthread_join(w[i].thread, NULL);
}

/* ---- nobody is inside a closed gate, and nobody waits for ever ---- */

static struct kv_gate gate;
static _Atomic uint32_t n_inside, n_closed;
static int plain; /* written inside by the closer only: a race if the gate leaks */

static void *gate_body(void *arg)
{
	struct worker *w = arg;
	uint32_t slot = kv_gate_slot_new(&gate);

	for (int i = 0; i < 20000; i++) {
		if (w->number < 2 && next(w, 8) == 0) {
			int error = kv_gate_close(&gate, next(w, 2) ? 0 : 1000000000);

			if (error == 0) {
				if (atomic_load(&n_inside))
					problem("gate: somebody is inside while it is closed");
				plain++;
				atomic_fetch_add(&n_closed, 1);
				kv_gate_open(&gate);
			} else if (error == -EBUSY) {
				kv_gate_wait(&gate);
			}
		} else {
			kv_gate_enter(&gate, slot);
			atomic_fetch_add(&n_inside, 1);
			if (plain < 0)
				problem("gate: impossible");
			atomic_fetch_sub(&n_inside, 1);
			kv_gate_leave(&gate, slot);
		}
	}
	return NULL;
}

static void test_gate(void)
{
	struct worker w[N_WORKERS] = {0};

	kv_gate_init(&gate);
	start(w, N_WORKERS, gate_body);
	join(w, N_WORKERS);
	if (atomic_load(&n_closed) == 0)
		problem("gate: never closed");
	if ((uint32_t)plain != atomic_load(&n_closed))
		problem("gate: two closers at once");
}

/* ---- look-ups while rows come and go ---- */

static void *table_body(void *arg)
{
	struct worker *w = arg;
	struct buffer mine[8] = {0};

	for (int i = 0; i < 1000; i++) {
		struct buffer *b = &mine[next(w, 8)];
		struct kv_reservation *hit = NULL;

		if (!b->r) {
			if (buffer_new(&w->f, (1 + next(w, 4)) * P, b) < 0)
				problem("table: no reservation");
		} else if (next(w, 3) == 0) {
			int error = buffer_free(&w->f, b);

			if (error < 0)
				problem("table: free: %d", error);
			continue;
		}
		for (int k = 0; k < 20; k++) {
			if (kv_core_find(w->f.core, b->base + next(w, (uint32_t)b->size)) != b->r)
				problem("table: own reservation not found");
			if (!kv_core_hits(w->f.core, b->base, &hit) || hit != b->r)
				problem("table: own reservation not hit");
			if (kv_core_find(w->f.core, b->base + b->size) == b->r)
				problem("table: found beyond the end");
		}
	}
	for (int i = 0; i < 8; i++) {
		if (mine[i].r)
			buffer_free(&w->f, &mine[i]);
	}
	return NULL;
}

static int visit(void *ctx, struct kv_reservation *r)
{
	struct kv_reservation_stats stats;

	kv_reservation_stats(r, &stats);
	*(uint64_t *)ctx += stats.reserved;
	return 0;
}

static void *visitor_body(void *arg)
{
	struct worker *w = arg;
	uint64_t sum = 0;

	while (!atomic_load(w->stop)) {
		kv_core_each(w->f.core, visit, &sum);
		kv_space_unbacked(w->f.space);
	}
	return NULL;
}

static void test_table(void)
{
	struct worker w[N_WORKERS] = {0}, visitor = {0};
	_Atomic bool stop = false;
	struct fixture f;
	const char *wrong;

	fixture_open(&f, (struct fixture_options){.page = P, .no_content = true});
	for (int i = 0; i < N_WORKERS; i++) {
		w[i].f = f;
		w[i].f.slot = kv_core_thread_slot(f.core);
	}
	visitor.f = f;
	visitor.stop = &stop;
	start(&visitor, 1, visitor_body);
	start(w, N_WORKERS, table_body);
	join(w, N_WORKERS);
	atomic_store(&stop, true);
	join(&visitor, 1);
	wrong = fixture_close(&f);
	if (wrong)
		problem("table: %s", wrong);
}

/* ---- submitters, an evictor, and content ---- */

static void expect(int error, const char *what)
{
	if (error < 0)
		problem("content: %s: %d", what, error);
}

static void *submit_body(void *arg)
{
	struct worker *w = arg;
	struct fixture *f = &w->f;
	uint64_t own = w->number * 4 * P; /* of the shared buffer */
	struct buffer b;

	expect(buffer_new(f, 20 * P, &b), "new");
	for (int i = 0; i < 2000; i++) {
		uint64_t offset = next(w, 20 * P), size = 1 + next(w, (uint32_t)(20 * P - offset));
		uint8_t value = (uint8_t)(1 + next(w, 255));

		switch (next(w, 10)) {
		case 0:
		case 1:
			expect(app_write(f, &b, offset, size, value), "write");
			break;
		case 2:
			expect(app_read(f, &b, offset, size), "read");
			break;
		case 3:
			expect(app_zero(f, &b, offset, size), "zero");
			break;
		case 4:
			expect(app_transient(f, &b, next(w, 2), 0, 0, 0), "transient");
			break;
		case 5:
			expect(app_write(f, w->shared, own, 4 * P, value), "write shared");
			break;
		case 6:
			expect(app_read(f, w->shared, own, 4 * P), "read shared");
			break;
		case 7:
			if (i > 1000)
				kv_leak(w->shared->r, KV_STATIC_KERNEL, "some_kernel");
			expect(app_wild_write(f, &b, 0, 0, 0), "settle");
			break;
		case 8:
			if (next(w, 2))
				app_release(f, &b, offset, size);
			else
				app_release_later(f, &b, offset, size);
			break;
		case 9:
			expect(app_shift(f, &b, next(w, 2), offset, size, value), "shift");
			break;
		}
	}
	expect(app_read(f, &b, 0, 20 * P), "last read");
	expect(buffer_free(f, &b), "free");
	return NULL;
}

static void *evict_body(void *arg)
{
	struct worker *w = arg;
	uint64_t now_ns = 0;

	while (!atomic_load(w->stop)) {
		int error;

		switch (next(w, 3)) {
		case 0:
			error = kv_evict_all(w->f.core);
			break;
		case 1:
			error = kv_evict(w->f.space, next(w, 20) * P, NULL);
			break;
		default:
			error = kv_reap(w->f.space, NULL);
			break;
		}
		if (error < 0 && error != -EBUSY && error != -ETIMEDOUT)
			problem("content: evict: %d", error);
		kv_space_trim(w->f.space, P);
		if (w->ages) {
			const struct kv_range range = {next(w, N_WORKERS * 4) * P, P};

			kv_linger_task(w->f.space, ++now_ns);
			error = kv_touch_ahead(w->f.space, w->shared->r, &range, 1);
			if (error < 0)
				problem("content: ahead: %d", error);
		}
	}
	return NULL;
}

static void test_content(void)
{
	struct worker w[N_WORKERS] = {0}, evictors[2] = {0};
	_Atomic bool stop = false;
	struct fixture f;
	struct buffer shared;
	const char *wrong;

	fixture_open(&f, (struct fixture_options){.page = P, .spare_pages = 20, .linger_ns = 2});
	if (buffer_new(&f, N_WORKERS * 4 * P, &shared) < 0)
		abort();
	for (int i = 0; i < N_WORKERS; i++) {
		w[i].f = f;
		w[i].f.slot = kv_core_thread_slot(f.core);
		w[i].shared = &shared;
	}
	for (int i = 0; i < 2; i++) {
		evictors[i].f = f;
		evictors[i].ages = i == 0;
		evictors[i].shared = &shared;
		evictors[i].stop = &stop;
	}
	start(evictors, 2, evict_body);
	start(w, N_WORKERS, submit_body);
	join(w, N_WORKERS);
	atomic_store(&stop, true);
	join(evictors, 2);
	expect(app_read(&f, &shared, 0, shared.size), "shared at the end");
	expect(buffer_free(&f, &shared), "free shared");
	wrong = fixture_close(&f);
	if (wrong)
		problem("content: %s", wrong);
}

/* ---- pokes, rings and a doorbell that moves: none is lost ---- */

static struct kv_agent *agent;
static _Atomic uint32_t doorbells[2];
static _Atomic uint32_t n_left, n_found;

static uint64_t find(void *ctx, uint64_t now_ns)
{
	atomic_fetch_add(&n_found, atomic_exchange(&n_left, 0));
	return KV_AGENT_NEVER;
}

static void *poke_body(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < 300; i++) {
		if (w->number == 0)
			kv_agent_set_doorbell(agent, &doorbells[i % 2]);
		atomic_fetch_add(&n_left, 1);
		if (w->number == 1) {
			/* Whichever it sleeps on. */
			kv_agent_ring(&doorbells[0]);
			kv_agent_ring(&doorbells[1]);
		}
		kv_agent_poke(agent);
		if (w->number == 2) {
			kv_agent_pause(agent);
			kv_agent_resume(agent);
		}
		/* It should be asleep now and then when it is poked. */
		if (i % 16 == 0)
			usleep(next(w, 3000));
	}
	return NULL;
}

static void test_agent(void)
{
	struct worker w[N_WORKERS] = {0};

	if (kv_agent_new(&agent) < 0 || kv_agent_add(agent, find, NULL) < 0 ||
		kv_agent_start(agent) < 0)
		abort();
	start(w, N_WORKERS, poke_body);
	join(w, N_WORKERS);
	for (int i = 0; i < 60000 && atomic_load(&n_found) < N_WORKERS * 300; i++)
		usleep(1000);
	if (atomic_load(&n_found) != N_WORKERS * 300)
		problem("agent: a poke was lost");
	if (kv_agent_stop(agent, UINT64_MAX) < 0)
		problem("agent: does not stop");
	kv_agent_free(agent);
}

int main(void)
{
	test_agent();
	test_gate();
	test_table();
	test_content();
	if (atomic_load(&n_problems) == 0)
		puts("agent, gate, table and content: no problem");
	return atomic_load(&n_problems) ? 1 : 0;
}
