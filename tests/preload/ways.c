/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ways.c - every entry point that the shim acts on, by one way in, in one situation.
 *
 * usage: ways WAY SITUATION
 *   WAY        as in driver.h: linked, dlsym, dlsym_old, dlvsym, dlvsym_old, proc_v1, proc_v2,
 *              proc_v2_flag_1
 *   SITUATION  plain
 *              early    before the constructors of any library
 *              fork     each call in a forked child as well: it must be the driver's own answer
 *              threads  two threads, each on its own devices
 *
 * Every pointer that the way leads to must be the wrapper that libkvshim.so exports under that
 * name. Then each entry point's snippet runs. An entry point without a snippet fails.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "truth.h"

static const struct snippets *const all[] = {&snippets_alloc, &snippets_context, &snippets_copy,
	&snippets_graph, &snippets_launch, &snippets_query, &snippets_stream};
#define N_LISTS (sizeof(all) / sizeof(all[0]))

static struct driver driver, real;
static bool forking;
static _Atomic int n_failed, n_run, n_unsupported;

/* A capture disturbs any call of another thread, a legacy launch leaks the reservations of all, and
 * what is free is asked for all: these run alone. */
static pthread_rwlock_t alone = PTHREAD_RWLOCK_INITIALIZER;

static bool runs_alone(const char *symbol)
{
	return strstr(symbol, "Capture") || strstr(symbol, "cuMemGetInfo") ||
	       !strcmp(symbol, "cuLaunch") || !strncmp(symbol, "cuLaunchGrid", 12);
}

static const struct snippet *snippet_of(const char *symbol)
{
	for (size_t list = 0; list < N_LISTS; list++) {
		for (size_t i = 0; i < all[list]->n; i++) {
			if (!strcmp(all[list]->rows[i].symbol, symbol))
				return &all[list]->rows[i];
		}
	}
	return NULL;
}

/* The pointers of this way, compared with the symbol tables of libkvshim.so and libcuda. */
static void check_pointers(enum driver_way way)
{
	for (size_t i = 0; i < driver_n_rows; i++) {
		const struct driver_row *row = &driver_rows[i];
		void *found = driver_at(&driver, row);
		void *expected = row->hooked ? truth_shim(row->symbol) : truth_driver(row->symbol);

		if (found == expected && found)
			continue;
		printf("FAILED: %s: %s leads to %p, expected %p (driver: %p)\n", row->symbol,
			driver_way_names[way], found, expected, truth_driver(row->symbol));
		n_failed++;
	}
}

/* The forked child has no driver and no shim: the answer is the driver's, and nothing hangs. */
static bool child_agrees(const struct snippet *snippet, struct fixture *f)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct fixture copy = *f;
		CUresult expected, got;

		alarm(20);
		got = snippet->call(f, f->d);
		expected = snippet->call(&copy, f->real);
		if (got != expected)
			printf("FAILED: %s in a forked child: %d, the driver says %d\n",
				snippet->symbol, got, expected);
		fflush(stdout);
		_exit(got != expected);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
		printf("FAILED: %s: the child ended with status %#x\n", snippet->symbol, status);
		return false;
	}
	return true;
}

static bool run(const struct snippet *snippet, struct fixture *f)
{
	CUresult result;
	bool ok;

	if (snippet->prepare && !snippet->prepare(f))
		return false;
	ok = !forking || child_agrees(snippet, f);
	result = snippet->call(f, f->d);
	if (result == CUDA_ERROR_NOT_SUPPORTED) { /* the software GPU does not have everything */
		n_unsupported++;
		return CHECK(snippet->call(f, f->real) == result) && ok;
	}
	if (snippet->check)
		return snippet->check(f, result) && ok;
	return CHECK(result == snippet->call(f, f->real)) && ok;
}

static void *run_all(void *ctx)
{
	struct fixture *f = ctx;

	for (size_t i = 0; i < driver_n_rows; i++) {
		const struct driver_row *row = &driver_rows[i];
		const struct snippet *snippet = snippet_of(row->symbol);

		if (!row->hooked)
			continue;
		n_run++;
		if (!snippet) {
			printf("FAILED: %s has no snippet\n", row->symbol);
			n_failed++;
			continue;
		}
		if (runs_alone(row->symbol))
			pthread_rwlock_wrlock(&alone);
		else
			pthread_rwlock_rdlock(&alone);
		if (!run(snippet, f)) {
			printf("FAILED: %s\n", row->symbol);
			n_failed++;
		}
		fixture_tidy(f);
		pthread_rwlock_unlock(&alone);
	}
	return NULL;
}

static void *thread(void *ctx)
{
	static struct fixture fixtures[2];
	int number = *(int *)ctx;
	struct fixture *f = &fixtures[number];

	bool ok;

	/* Not beside a capture of the other thread: what is allocated then is native, what is freed
	 * then goes later. */
	pthread_rwlock_wrlock(&alone);
	ok = fixture_open(f, &driver, &real, number);
	pthread_rwlock_unlock(&alone);
	if (!ok) {
		n_failed++;
		return NULL;
	}
	run_all(f);
	pthread_rwlock_wrlock(&alone);
	fixture_close(f);
	pthread_rwlock_unlock(&alone);
	return NULL;
}

static int test(enum driver_way way, int n_threads)
{
	pthread_t other;
	int first = 0, second = 1;

	if (driver_open(&driver, way) < 0 || driver_open(&real, DRIVER_TRUTH) < 0)
		return 1;
	check_pointers(way);
	if (n_failed)
		return 1;
	if (n_threads == 2 && pthread_create(&other, NULL, thread, &second) != 0)
		return 1;
	thread(&first);
	if (n_threads == 2)
		pthread_join(other, NULL);
	printf("%d snippets run, %d failed; %d answered \"not supported\"\n", n_run, n_failed,
		n_unsupported);
	return n_failed != 0;
}

static int run_arguments(int argc, char **argv, bool early)
{
	enum driver_way way = DRIVER_TRUTH;

	for (enum driver_way i = DRIVER_LINKED; argc == 3 && i < DRIVER_TRUTH; i++) {
		if (!strcmp(argv[1], driver_way_names[i]))
			way = i;
	}
	if (way == DRIVER_TRUTH) {
		fprintf(stderr, "usage: ways WAY SITUATION\n");
		return 2;
	}
	if (early != !strcmp(argv[2], "early"))
		return -1;
	truth_require_shim();
	forking = !strcmp(argv[2], "fork");
	return test(way, strcmp(argv[2], "threads") ? 1 : 2);
}

static void remove_all(const char *directory)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(directory);
}

/* Runs before the constructor of any library. */
static void before_constructors(int argc, char **argv, char **env)
{
	char segments[] = P_tmpdir "/kvshim-ways-XXXXXX";
	bool early = argc == 3 && !strcmp(argv[2], "early");
	int rc;

	environ = env; /* libc's own constructor has not run either */
	/* Who ends before its constructors is not asked to clean up: its segments stay. */
	if (early && (!mkdtemp(segments) || setenv("KVSHIM_DIR", segments, 1) != 0)) {
		perror(segments);
		_exit(1);
	}
	rc = run_arguments(argc, argv, true);
	if (early)
		remove_all(segments);
	if (rc >= 0 && rc != 2) {
		fflush(stdout);
		exit(rc);
	}
}

__attribute__((section(".preinit_array"), used)) static void (*preinit)(
	int, char **, char **) = before_constructors;

int main(int argc, char **argv)
{
	int rc = run_arguments(argc, argv, false);

	return rc < 0 ? 2 : rc;
}
