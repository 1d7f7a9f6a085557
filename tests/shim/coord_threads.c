/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord_threads.c - threads of two members of a segment do everything at once: charge, promise,
 * wait, answer, change limits, publish, monitor. Nothing is lost, nobody hangs. Also built with
 * ThreadSanitizer, which sees the races between threads of one member (two members are two mappings
 * of the file, as two processes are).
 *
 * usage: coord_threads [ROUNDS]
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/coord_ledger.h"

#ifdef __SANITIZE_THREAD__
/* gcc 12's ThreadSanitizer does not know pthread_mutex_clocklock() and would see no lock. */
int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
	struct timespec now, wall;
	int64_t ns;

	clock_gettime(clock, &now);
	clock_gettime(CLOCK_REALTIME, &wall);
	ns = (int64_t)(until->tv_sec - now.tv_sec) * 1000000000 + until->tv_nsec - now.tv_nsec +
	     wall.tv_nsec;
	wall.tv_sec += ns / 1000000000;
	wall.tv_nsec = ns % 1000000000;
	return pthread_mutex_timedlock(mutex, &wall);
}
#endif

#define PAGE (2ull << 20)
#define DEVICE (64 * PAGE)
#define N_WORKERS 3 /* of each member */

struct member {
	struct kv_coord *coord, *other;
	struct kv_ledger ledger;
	uint32_t slot;
};

static char directory[] = "/tmp/kvshim-threads-XXXXXX";
static unsigned n_rounds = 300;
static bool stop;

#define REQUIRE(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1); \
		} \
	} while (0)

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

/* A thread that submits work. */
static void *work(void *arg)
{
	struct member *m = arg;
	const struct kv_ledger_ops *ops = m->ledger.ops;
	void *ctx = m->ledger.ctx;
	uint64_t held = 0, could;

	for (unsigned i = 0; i < n_rounds; i++) {
		uint64_t bytes = (1 + i % 7) * PAGE;

		if (ops->promise(ctx, bytes, 0) == 0)
			ops->unpromise(ctx, bytes);
		if (ops->charge(ctx, bytes) == 0)
			held += bytes;
		else if (ops->wait(ctx, &(struct kv_ledger_wait){.bytes = bytes}) == 0 &&
			 ops->charge(ctx, bytes) == 0)
			held += bytes;
		ops->seen(ctx, DEVICE, DEVICE);
		kv_coord_ledger_could_get(m->coord, &could);
		if (held > 8 * PAGE || i % 5 == 0) {
			ops->uncharge(ctx, held);
			held = 0;
		}
	}
	ops->uncharge(ctx, held);
	return NULL;
}

/* Its agent. */
static void *serve(void *arg)
{
	struct member *m = arg;
	struct kv_process_stats stats = {.reserved = PAGE};
	struct kv_reservation_stats row = {
		.base = PAGE, .requested = PAGE, .reserved = PAGE, .page_size = PAGE};
	struct kv_coord_limits limits;
	struct kv_coord_asked asked;

	while (!stopped()) {
		kv_coord_beat(m->coord);
		if (kv_coord_new_limits(m->coord, &limits))
			REQUIRE(limits.min <= limits.max);
		if (kv_coord_next(m->coord, &asked)) {
			REQUIRE(memchr(asked.tag, 0, sizeof(asked.tag)) != NULL);
			kv_coord_ledger_settle(m->coord);
			kv_coord_answer(m->coord, &asked, 0);
		}
		stats.last_submission_ns++;
		kv_coord_put_process(m->coord, &stats);
		kv_coord_put_row(m->coord, 0, &row);
		kv_coord_put_activity(m->coord, KV_COORD_BUSY);
		kv_coord_ledger_excess(m->coord);
	}
	return NULL;
}

/* An operator within the process, and one outside it. */
static void *change(void *arg)
{
	struct member *m = arg;
	struct kv_coord_limits limits = {.weight = 1};
	uint32_t ticket;
	int64_t result;

	for (unsigned i = 0; !stopped(); i++) {
		struct kv_coord *coord = i % 2 ? m->coord : m->other;

		limits.max = i % 3 ? KV_COORD_NO_LIMIT : 40 * PAGE;
		limits.weight = 1 + i % 1000;
		REQUIRE(kv_coord_set_limits(coord, m->slot, &limits,
				KV_COORD_LIMIT_MAX | KV_COORD_LIMIT_WEIGHT) == 0);
		if (kv_coord_post(coord, m->slot, KV_COORD_PAUSE, PAGE, i % 4 ? "one" : "another",
			    &ticket) == 0)
			kv_coord_wait(coord, m->slot, KV_COORD_PAUSE, ticket, 10000000, &result);
	}
	return NULL;
}

/* A monitor. */
static void *look(void *arg)
{
	struct member *m = arg;
	struct kv_coord_segment *segment = kv_coord_segment(m->coord);
	struct kv_coord_decision *decisions = calloc(KV_COORD_DECISIONS, sizeof(*decisions));
	char text[128] = "";

	REQUIRE(decisions);
	while (!stopped()) {
		struct kv_coord_account account;
		uint32_t slot;

		kv_coord_read_account(segment, m->slot, &account);
		kv_coord_read_decisions(segment, decisions, KV_COORD_DECISIONS);
		REQUIRE(kv_coord_find_pid(m->coord, (int32_t)getpid(), &slot) == 0);
		REQUIRE(kv_coord_lock(m->coord) == 0);
		if (kv_coord_check_sums(segment, text, sizeof(text)) != 0) {
			fprintf(stderr, "%s\n", text);
			_exit(1);
		}
		kv_coord_unlock(m->coord);
	}
	free(decisions);
	return NULL;
}

static void join(struct member *m)
{
	const struct kv_coord_ledger_config config = {
		.lease_bytes = 4 * PAGE, .wait_ns = 2000000, .residency_ns = 1000000};
	struct kv_coord_request request = {
		.directory = directory, .gpu_total = DEVICE, .lock_timeout_ns = 60000000000ull};

	REQUIRE(kv_coord_join(&request, &m->coord, NULL, 0) == 0);
	REQUIRE(kv_coord_ledger_new(m->coord, &config, &m->ledger) == 0);
	m->slot = kv_coord_slot_index(m->coord);
}

int main(int argc, char **argv)
{
	pthread_t workers[2 * N_WORKERS], others[6];
	struct member members[2];
	char path[256], text[128];
	uint8_t uuid[16] = {0};
	unsigned n = 0;

	if (argc > 1)
		n_rounds = (unsigned)atoi(argv[1]);
	REQUIRE(mkdtemp(directory) != NULL);
	join(&members[0]);
	join(&members[1]);
	for (int i = 0; i < 2; i++) {
		members[i].other = members[!i].coord;
		REQUIRE(pthread_create(&others[n++], NULL, serve, &members[i]) == 0);
		REQUIRE(pthread_create(&others[n++], NULL, change, &members[i]) == 0);
		REQUIRE(pthread_create(&others[n++], NULL, look, &members[i]) == 0);
	}
	for (int i = 0; i < 2 * N_WORKERS; i++)
		REQUIRE(pthread_create(&workers[i], NULL, work, &members[i % 2]) == 0);
	for (int i = 0; i < 2 * N_WORKERS; i++)
		pthread_join(workers[i], NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 6; i++)
		pthread_join(others[i], NULL);
	for (int i = 0; i < 2; i++) {
		struct kv_coord_account account;

		kv_coord_ledger_settle(members[i].coord);
		kv_coord_read_account(
			kv_coord_segment(members[i].coord), members[i].slot, &account);
		REQUIRE(account.held == 0 && account.charged == 0 && account.promised == 0);
	}
	REQUIRE(kv_coord_check(kv_coord_segment(members[0].coord), sizeof(struct kv_coord_segment),
			text, sizeof(text)) == 0);
	kv_coord_leave(members[0].coord);
	kv_coord_leave(members[1].coord);
	kv_coord_path(directory, (uint32_t)geteuid(), uuid, path, sizeof(path));
	REQUIRE(access(path, F_OK) != 0 && rmdir(directory) == 0);
	puts("ok");
	return 0;
}
