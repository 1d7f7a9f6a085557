/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_failures.c - the n-th call into the device fails, for all n: core stays consistent, no
 * content is lost, and what can be freed is freed.
 */
#include <stdlib.h>

#include "tests/unit/test.h"

#define P 256ull
#define N_BUFFERS 3

struct world {
	struct fixture f;
	struct buffer b[N_BUFFERS];
	const char *problem;
	int line;
};

/* One step: may fail by the error that was injected, must not fail otherwise, and leaves all sane.
 */
#define STEP(w, call) \
	do { \
		if (!(w)->problem) \
			after_step((w), (call), __LINE__); \
	} while (0)

static void after_step(struct world *w, int error, int line)
{
	const char *problem = fixture_check(&w->f);

	if (!problem && error == -EUCLEAN)
		problem = "content is not what it was";
	if (!problem && error < 0 && !fake_gpu_has_failed(w->f.gpu, NULL))
		problem = strerror(-error);
	if (problem) {
		w->problem = problem;
		w->line = line;
	}
}

static bool exists(struct world *w, int i)
{
	return w->b[i].r != NULL;
}

static void read_all(struct world *w)
{
	for (int i = 0; i < N_BUFFERS; i++) {
		if (exists(w, i))
			STEP(w, app_read(&w->f, &w->b[i], 0, w->b[i].size));
	}
}

static void free_buffer(struct world *w, int i)
{
	uint8_t *ideal = w->b[i].ideal, *dead = w->b[i].dead;
	int error = kv_reservation_free(w->f.core, w->b[i].base);

	/* Free never fails to free, whatever it reports, except while a capture is open. */
	if (kv_core_find(w->f.core, w->b[i].base))
		w->problem = "still there after free";
	STEP(w, error);
	free(ideal);
	free(dead);
	memset(&w->b[i], 0, sizeof(w->b[i]));
}

/* Each path that calls the device, on elastic, spilled, transient and static pages. */
static void scenario(struct world *w)
{
	struct fixture *f = &w->f;
	struct buffer *a = &w->b[0], *b = &w->b[1], *c = &w->b[2];

	STEP(w, buffer_new(f, 10 * P, a));
	STEP(w, buffer_new(f, 6 * P, b));
	STEP(w, buffer_new(f, 4 * P, c));
	if (exists(w, 0)) {
		STEP(w, app_write(f, a, 0, 3 * P, 1));
		STEP(w, app_write(f, a, 2 * P + 5, 6 * P, 2));
		STEP(w, app_zero(f, a, P, 3 * P));
		STEP(w, kv_evict(f->space, 3 * P, NULL));
		STEP(w, app_write(f, a, 0, 10 * P, 3));
		STEP(w, kv_evict(f->space, UINT64_MAX, NULL));
		STEP(w, app_zero(f, a, P / 2, 4 * P));
		STEP(w, app_read(f, a, 0, 10 * P));
	}
	if (exists(w, 1)) {
		STEP(w, app_write(f, b, P, P, 4));
		STEP(w, app_transient(f, b, false, 3 * P, 5, 5));
		STEP(w, kv_reap(f->space, NULL));
		STEP(w, app_transient(f, b, true, 0, 0, 0));
		STEP(w, kv_reap(f->space, NULL));
		STEP(w, app_read(f, b, 0, 6 * P));
		app_release(f, b, 0, 3 * P); /* some in memory, some on the host */
		STEP(w, app_shift(f, b, true, 2 * P, 2 * P, 0));
		STEP(w, kv_reap(f->space, NULL));
		kv_space_trim(f->space, P);
	}
	if (exists(w, 2)) {
		STEP(w, app_leak(f, c)); /* with one handle */
		STEP(w, app_wild_write(f, c, P, P, 6));
		STEP(w, kv_evict_all(f->core));
		STEP(w, app_wild_write(f, c, 2 * P, P, 7)); /* with one handle, or pages */
	}
	if (exists(w, 1)) {
		STEP(w, app_leak(f, b)); /* pages around what is there, the last ones spilled */
		STEP(w, app_wild_write(f, b, 0, 6 * P, 8));
	}
	STEP(w, kv_space_admit_native(f->space, P) == -ENOMEM ? 0 : 0);
	read_all(w);
	STEP(w, kv_evict_all(f->core));
	read_all(w);
}

/* Returns false if n is beyond the last call. */
static bool run(uint64_t n, uint64_t again, int error)
{
	const uint32_t keeps = 1u << FAKE_HANDLE_RELEASE | 1u << FAKE_UNMAP |
			       1u << FAKE_RANGE_FREE | 1u << FAKE_HOST_FREE | 1u << FAKE_FLUSH;
	struct world w = {0};
	uint32_t failed_kinds;
	const char *left;
	bool failed;

	fixture_open(
		&w.f, (struct fixture_options){
			      .page = P, .device_pages = 18, .spare_pages = 2, .host_pages = 4});
	fake_gpu_fail_nth(w.f.gpu, n, error);
	fake_gpu_fail_again(w.f.gpu, again);
	scenario(&w);
	failed = fake_gpu_has_failed(w.f.gpu, NULL);
	/* Whatever the failure, all content is there once the device works again. */
	if (failed) {
		failed_kinds = fake_gpu_failed_kinds(w.f.gpu);
		fake_gpu_fail_nth(w.f.gpu, 0, 0);
		for (int i = 0; i < N_BUFFERS && !w.problem; i++) {
			int res = exists(&w, i) ? app_read(&w.f, &w.b[i], 0, w.b[i].size) : 0;

			/* What the driver did not release it cannot give again. */
			if (res == -ENOMEM && (failed_kinds & keeps))
				continue;
			if (res < 0) {
				w.problem = "not readable after the failure";
				w.line = res;
			}
		}
	} else {
		failed_kinds = 0;
	}
	fake_gpu_fail_nth(w.f.gpu, 0, 0);
	for (int i = 0; i < N_BUFFERS && !w.problem; i++) {
		if (exists(&w, i))
			free_buffer(&w, i);
	}
	cr_assert(!w.problem, "call %llu (and %llu after) fails with %d: line %d: %s",
		(unsigned long long)n, (unsigned long long)again, error, w.line, w.problem);
	left = fixture_close(&w.f);
	cr_assert(!left || (failed_kinds & keeps), "call %llu (and %llu after) fails with %d: %s",
		(unsigned long long)n, (unsigned long long)again, error, left);
	return failed;
}

static uint64_t run_all(uint64_t again, int error)
{
	uint64_t n = 1;

	while (run(n, again, error))
		n++;
	return n - 1;
}

Test(failures, any_one_call_may_fail_with_an_error_of_the_driver)
{
	uint64_t n = run_all(0, -EIO);

	SAY("each of %llu calls was made to fail once", (unsigned long long)n);
	cr_assert(n > 150, "the scenario makes only %llu calls", (unsigned long long)n);
}

Test(failures, any_one_call_may_fail_for_want_of_memory)
{
	run_all(0, -ENOMEM);
}

Test(failures, the_undoing_of_a_failed_call_may_fail_as_well)
{
	for (uint64_t again = 1; again <= 6; again++)
		run_all(again, -EIO);
}

Test(failures, free_may_fail_at_each_of_its_calls)
{
	for (uint64_t n = 1;; n++) {
		struct world w = {0};
		bool failed;

		fixture_open(&w.f,
			(struct fixture_options){.page = P, .device_pages = 16, .spare_pages = 2});
		EXPECT(buffer_new(&w.f, 6 * P, &w.b[0]), 0);
		EXPECT(app_write(&w.f, &w.b[0], P, P, 1), 0);
		EXPECT(kv_evict(w.f.space, UINT64_MAX, NULL), 0);
		EXPECT(app_write(&w.f, &w.b[0], 2 * P, 4 * P, 1), 0);
		fake_gpu_fail_nth(w.f.gpu, n, -EIO);
		free_buffer(&w, 0);
		cr_assert(!w.problem, "call %llu: %s", (unsigned long long)n, w.problem);
		failed = fake_gpu_has_failed(w.f.gpu, NULL);
		cr_assert(kv_core_is_idle(w.f.core));
		fixture_close(&w.f); /* the driver may have kept something */
		if (!failed)
			break;
		cr_assert(n < 100);
	}
}
