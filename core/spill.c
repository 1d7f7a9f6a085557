/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.c - SPILLED pages go back to the device when it has memory again.
 *
 * Device memory is taken first, with the gate open; only if there is some is anybody stopped. Then,
 * behind the closed gate, a batch of pages is copied to pinned memory, mapped anew and copied back.
 * Until the last copy is complete the pinned copy is kept: whatever fails leaves the page SPILLED
 * as it was, or EVICTED with its content, never without.
 */
#include "core/spill.h"

#include <errno.h>

#include "core/page.h"
#include "core/reservation.h"
#include "core/space.h"
#include "core/poison.h"

#define NSEC_PER_SEC 1000000000ull
/* Pages that move with the gate closed once. */
#define BATCH_PAGES 64u
/* Batches in a row before others get a turn, and the time between two attempts. */
#define BATCHES 4u
#define AGAIN_NS 20000000ull
#define LOOK_NS NSEC_PER_SEC

struct batch {
	struct kv_space *space;
	kv_gpu_handle handles[BATCH_PAGES]; /* device memory that is not used yet */
	uint32_t n_handles;
	uint64_t pages[BATCH_PAGES]; /* of the reservation at hand, BUSY */
	uint32_t n_pages;
	uint64_t n_promoted;
	int error; /* the first one */
};

static void note(struct batch *batch, int error)
{
	if (batch->error == 0)
		batch->error = error;
}

/* Device memory for up to n pages. No lock is held. */
static void take_memory(struct batch *batch, uint64_t n)
{
	struct kv_space *space = batch->space;

	while (batch->n_handles < BATCH_PAGES && batch->n_handles < n) {
		kv_gpu_handle handle = kv_spare_pop(space);
		int error = 0;

		if (!handle)
			error = kv_gpu_handle_create(
				space, space->page_size, KV_GPU_DEVICE, &handle);
		if (error < 0) {
			note(batch, error);
			return;
		}
		batch->handles[batch->n_handles++] = handle;
	}
}

static void return_memory(struct batch *batch)
{
	while (batch->n_handles)
		kv_spare_push(batch->space, batch->handles[--batch->n_handles]);
}

/* Queues the copies of SPILLED pages of r to pinned memory, one per handle at hand. */
static int copy_out(struct batch *batch, struct kv_reservation *r)
{
	batch->n_pages = 0;
	for (uint64_t i = 0; i < r->n_pages && batch->n_pages < batch->n_handles; i++) {
		uint32_t n;
		void *host;
		int error;

		if (r->pages[i].state != KV_PAGE_SPILLED)
			continue;
		error = kv_host_take(batch->space, 1, &host, &n);
		if (error < 0)
			return error;
		kv_page_set(r, i, KV_PAGE_BUSY);
		r->pages[i].host = host;
		batch->pages[batch->n_pages++] = i;
		error = kv_gpu_copy_out(batch->space, host, kv_page_addr(r, i), r->page_size);
		if (error < 0)
			return error;
	}
	return 0;
}

/* After an error once more: what is queued must not write into memory that is given away. */
static int flush(struct kv_space *space)
{
	int error = kv_gpu_flush(space);

	if (error < 0)
		kv_gpu_quiet_queue(space, true);
	return error;
}

/* Nothing has been unmapped: all as it was. */
static void stay(struct batch *batch, struct kv_reservation *r)
{
	for (uint32_t i = 0; i < batch->n_pages; i++) {
		kv_page_drop_host(r, batch->pages[i]);
		kv_page_set(r, batch->pages[i], KV_PAGE_SPILLED);
	}
	batch->n_pages = 0;
}

/* Gives a page that has been copied out its new memory and queues the copy into it. */
static int move(struct batch *batch, struct kv_reservation *r, uint64_t page)
{
	struct kv_space *space = batch->space;
	kv_gpu_handle handle;
	int error;

	error = kv_gpu_unmap(space, kv_page_addr(r, page), r->page_size);
	if (error < 0)
		return error; /* still mapped, as a leftover: the next touch fills it again */
	kv_page_detach(r, page, false);
	handle = batch->handles[--batch->n_handles];
	error = kv_gpu_map(space, kv_page_addr(r, page), r->page_size, handle);
	kv_page_attach(r, page, handle, 0);
	if (error < 0) {
		kv_page_detach(r, page, true);
		return error;
	}
	error = kv_gpu_set_access(space, kv_page_addr(r, page), r->page_size);
	if (error == 0)
		error = kv_gpu_copy_in(
			space, kv_page_addr(r, page), r->pages[page].host, r->page_size);
	return error;
}

/* The pages of the batch are complete (error 0), or have their content in pinned memory only. */
static void settle(struct batch *batch, struct kv_reservation *r, int error)
{
	for (uint32_t i = 0; i < batch->n_pages; i++) {
		uint64_t page = batch->pages[i];

		if (r->pages[page].state != KV_PAGE_BUSY)
			continue;
		if (error < 0) {
			kv_page_set(r, page, KV_PAGE_EVICTED);
			kv_count(&batch->space->pages_evicted, 1);
			continue;
		}
		kv_page_drop_host(r, page);
		kv_page_set(r, page, KV_PAGE_BACKED);
		batch->n_promoted++;
	}
}

static void promote_reservation(struct batch *batch, struct kv_reservation *r)
{
	struct kv_space *space = batch->space;
	int error, flush_error;

	kv_reservation_lock(r);
	/* Others know the memory of a pinned one: it stays where it is. */
	if (!kv_reservation_is_live(r) || kv_reservation_space_of(r) != space || r->pinned ||
		r->n_in_state[KV_PAGE_SPILLED] == 0)
		goto out;
	error = copy_out(batch, r);
	flush_error = flush(space);
	if (error == 0)
		error = flush_error;
	if (error < 0) {
		note(batch, error);
		stay(batch, r);
		goto out;
	}
	for (uint32_t i = 0; i < batch->n_pages; i++) {
		error = move(batch, r, batch->pages[i]);
		if (error == 0)
			continue;
		/* Its content is in pinned memory; that is where it is found when it is touched. */
		note(batch, error);
		kv_page_set(r, batch->pages[i], KV_PAGE_EVICTED);
		kv_count(&space->pages_evicted, 1);
	}
	flush_error = flush(space);
	if (flush_error < 0)
		note(batch, flush_error);
	settle(batch, r, flush_error);
out:
	kv_reservation_unlock(r);
}

/* One batch. ret_pages: how many pages have moved. */
static int promote_batch(struct kv_space *space, uint64_t n, uint64_t *ret_pages)
{
	struct batch batch = {.space = space};
	struct kv_reservation *r;
	uint64_t start, base = 0;
	int error;

	*ret_pages = 0;
	take_memory(&batch, n);
	if (batch.n_handles == 0)
		return batch.error;
	error = kv_quiesce_begin(space, &start);
	if (error < 0) {
		return_memory(&batch);
		return error;
	}
	error = kv_gpu_quiet_queue(space, false);
	while (error == 0 && batch.n_handles && batch.error != -ENODEV &&
		(r = kv_table_next(&space->core->table, base, &base)))
		promote_reservation(&batch, r);
	kv_core_revise(space->core);
	kv_quiesce_end(space, start);
	return_memory(&batch);
	kv_count(&space->pages_promoted, batch.n_promoted);
	*ret_pages = batch.n_promoted;
	return error < 0 ? error : batch.error;
}

int kv_promote(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes)
{
	uint64_t done = 0, pages;
	int error = 0;

	while (done < bytes && kv_counted(&space->spilled) && error == 0) {
		uint64_t wanted = (bytes - done - 1) / space->page_size + 1;
		uint64_t spilled = kv_counted(&space->spilled) / space->page_size;

		error = promote_batch(space, wanted < spilled ? wanted : spilled, &pages);
		done += pages * space->page_size;
		if (pages == 0)
			break;
		kv_gate_let_pass(&space->core->hot.gate, NSEC_PER_SEC);
	}
	if (done)
		kv_space_publish(space);
	if (error < 0 && done == 0)
		return error;
	if (ret_bytes)
		*ret_bytes = done;
	return 0;
}

uint64_t kv_promote_task(void *ctx, uint64_t now_ns)
{
	struct kv_space *space = ctx;
	uint64_t bytes = BATCHES * BATCH_PAGES * space->page_size, done;

	(void)now_ns;
	if (kv_counted(&space->spilled) == 0)
		return LOOK_NS;
	/* A full device, work in flight, an open capture: another time. */
	if (kv_promote(space, bytes, &done) < 0 || done == 0)
		return LOOK_NS;
	return kv_counted(&space->spilled) ? AGAIN_NS : LOOK_NS;
}
