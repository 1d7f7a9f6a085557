/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture.c - see fixture.h.
 */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_process(void *ctx, const struct kv_process_stats *stats)
{
	struct fixture *f = ctx;

	f->process = *stats;
	f->n_process++;
}

static void on_row(void *ctx, uint32_t row, const struct kv_reservation_stats *stats)
{
	struct fixture *f = ctx;

	if (row < SINK_ROWS)
		f->rows[row] = *stats;
	f->n_rows++;
}

void fixture_open(struct fixture *f, struct fixture_options options)
{
	uint64_t page = options.page ? options.page : 4096;
	struct kv_core_config config = {
		.spare_bytes = options.spare_pages * page,
		.host_budget = options.host_pages * page,
		.overcommit_bytes = options.overcommit_pages * page,
		.linger_ns = options.linger_ns,
		.keep_copies = options.keep_copies,
	};
	struct kv_stats_sink sink = {
		.ctx = f, .process = on_process, .reservation = on_row, .ledger = options.ledger};

	memset(f, 0, sizeof(*f));
	f->page = page;
	f->gpu = fake_gpu_new(page, (options.device_pages ? options.device_pages : 4096) * page,
		!options.no_content);
	if (kv_core_new(&config, &f->core) < 0 ||
		kv_space_new(f->core, &fake_gpu_ops, f->gpu, page, &sink, &f->space) < 0)
		abort();
	fake_gpu_watch_gate(f->gpu, &((struct kv_core_hot *)f->core)->gate);
	f->slot = kv_core_thread_slot(f->core);
}

const char *fixture_check(struct fixture *f)
{
	char text[256];

	if (kv_core_check(f->core, text, sizeof(text)) < 0)
		snprintf(f->problem, sizeof(f->problem), "core: %s", text);
	else if (fake_gpu_n_breaches(f->gpu))
		snprintf(f->problem, sizeof(f->problem), "gpu: %s", fake_gpu_breach(f->gpu));
	else
		return NULL;
	return f->problem;
}

const char *fixture_close(struct fixture *f)
{
	const char *problem;
	uint32_t n_left;

	kv_space_drop(f->space, 1);
	problem = fixture_check(f);
	kv_core_free(f->core);
	n_left = fake_gpu_free(f->gpu);
	if (!problem && n_left) {
		snprintf(f->problem, sizeof(f->problem), "%u objects of the device left over",
			n_left);
		problem = f->problem;
	}
	return problem;
}

int buffer_new(struct fixture *f, uint64_t size, struct buffer *ret_buffer)
{
	struct kv_reservation *r;
	int error = kv_reservation_new(f->space, size, "test", 7, &r);

	if (error < 0)
		return error;
	ret_buffer->r = r;
	ret_buffer->base = kv_reservation_base(r);
	ret_buffer->size = size;
	ret_buffer->ideal = calloc(1, size);
	ret_buffer->dead = calloc(1, size);
	return 0;
}

int buffer_free(struct fixture *f, struct buffer *b)
{
	int error = kv_reservation_free(f->core, b->base);

	if (error == -EBUSY)
		return error;
	free(b->ideal);
	free(b->dead);
	memset(b, 0, sizeof(*b));
	return error;
}

static void write_value(
	struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size, uint8_t value)
{
	if (size == 0)
		return;
	memset(b->ideal + offset, value, size);
	memset(b->dead + offset, 0, size);
	fake_gpu_write(f->gpu, b->base + offset, b->ideal + offset, size);
}

static int compare(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size)
{
	uint8_t *got = malloc(size);
	int error = 0;

	fake_gpu_read(f->gpu, b->base + offset, got, size);
	for (uint64_t i = 0; i < size; i++) {
		if (got[i] != b->ideal[offset + i] && !b->dead[offset + i])
			error = -EUCLEAN;
	}
	free(got);
	return error;
}

int app_write(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size, uint8_t value)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_touch(b->r, offset, size);
	if (error == 0)
		error = kv_settle(f->core);
	if (error == 0)
		write_value(f, b, offset, size, value);
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_read(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_touch(b->r, offset, size);
	if (error == 0)
		error = kv_settle(f->core);
	if (error == 0)
		error = compare(f, b, offset, size);
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_zero(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size)
{
	struct kv_run run;
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_zero(b->r, offset, size);
	if (error == 0)
		error = kv_settle(f->core);
	if (error == 0) {
		memset(b->ideal + offset, 0, size);
		memset(b->dead + offset, 0, size);
		for (uint64_t at = offset; at < offset + size; at += run.length) {
			kv_run_at(b->r, at, offset + size, &run);
			if (!run.empty)
				fake_gpu_write(f->gpu, b->base + run.offset, b->ideal + run.offset,
					run.length);
		}
		kv_zero_done(b->r, offset, size);
	}
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_download(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size)
{
	struct kv_run run;
	int error = 0;

	kv_core_enter(f->core, f->slot);
	for (uint64_t at = offset; error == 0 && at < offset + size; at += run.length) {
		kv_run_at(b->r, at, offset + size, &run);
		if (run.empty) {
			for (uint64_t i = 0; i < run.length; i++)
				error = b->ideal[at + i] && !b->dead[at + i] ? -EUCLEAN : error;
			continue;
		}
		error = kv_touch(b->r, at, run.length);
		if (error == 0)
			error = kv_settle(f->core);
		if (error == 0)
			error = compare(f, b, at, run.length);
	}
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_leak(struct fixture *f, struct buffer *b)
{
	int error;

	kv_core_enter(f->core, f->slot);
	kv_leak(b->r, KV_STATIC_KERNEL, "unknown_kernel");
	error = kv_settle(f->core);
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_leak_read(struct fixture *f, struct buffer *b)
{
	int error;

	kv_core_enter(f->core, f->slot);
	kv_leak_read(b->r, KV_STATIC_KERNEL, "reading_kernel");
	error = kv_settle(f->core);
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_wild_read(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_settle(f->core);
	if (error == 0)
		error = compare(f, b, offset, size);
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_wild_write(
	struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size, uint8_t value)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_settle(f->core);
	if (error == 0)
		write_value(f, b, offset, size, value);
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_transient(struct fixture *f, struct buffer *b, bool dead, uint64_t offset, uint64_t size,
	uint8_t value)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_touch_transient(b->r, 0, UINT64_MAX, dead);
	if (error == 0)
		error = kv_settle(f->core);
	if (error == 0 && size)
		write_value(f, b, offset, size, value);
	kv_core_leave(f->core, f->slot);
	return error;
}

int app_shift(struct fixture *f, struct buffer *b, bool dead, uint64_t offset, uint64_t size,
	uint8_t value)
{
	int error;

	kv_core_enter(f->core, f->slot);
	error = kv_touch_transient(b->r, offset, size, dead);
	if (error == 0)
		error = kv_settle(f->core);
	if (error == 0 && !dead)
		write_value(f, b, offset, size, value);
	kv_core_leave(f->core, f->slot);
	return error;
}

typedef uint64_t release_function(struct kv_reservation *r, uint64_t offset, uint64_t length);

static uint64_t let_go(
	struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size, release_function *how)
{
	uint64_t page = kv_reservation_page_size(b->r), bytes;
	uint64_t first = (offset + page - 1) / page * page, end = (offset + size) / page * page;

	if (offset + size >= b->size)
		end = b->size;
	kv_core_enter(f->core, f->slot);
	bytes = how(b->r, offset, size);
	/* What is on the same page as something else must not suffer. */
	if (first < end && !kv_reservation_is_static(b->r))
		memset(b->dead + first, 1, end - first);
	kv_core_leave(f->core, f->slot);
	return bytes;
}

uint64_t app_release(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size)
{
	return let_go(f, b, offset, size, kv_release);
}

uint64_t app_release_later(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size)
{
	return let_go(f, b, offset, size, kv_release_later);
}

uint64_t pages_in(struct buffer *b, enum kv_page_state state)
{
	uint64_t n_pages = kv_reservation_reserved(b->r) / kv_reservation_page_size(b->r), n = 0;

	for (uint64_t i = 0; i < n_pages; i++)
		n += kv_reservation_page_state(b->r, i) == state;
	return n;
}
