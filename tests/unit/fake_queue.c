/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_queue.c - the fake GPU: fills, copies, host memory, and the application's own work.
 */
#include "tests/unit/fake_body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool fake_is_queued(struct fake_gpu *gpu, kv_gpu_addr addr, uint64_t size)
{
	for (uint32_t i = 0; i < gpu->n_queued; i++) {
		if (gpu->queue[i].addr < addr + size &&
			addr < gpu->queue[i].addr + gpu->queue[i].size)
			return true;
	}
	return false;
}

/* Checks that every byte is mapped with access; NULL and a breach if not. */
static struct range *accessible(
	struct fake_gpu *gpu, kv_gpu_addr addr, uint64_t size, const char *what)
{
	struct range *r = fake_range_at(gpu, addr, size);

	if (!r || size == 0) {
		fake_breach(gpu, "%s of no range: 0x%llx", what, (unsigned long long)addr);
		return NULL;
	}
	for (uint64_t at = addr / gpu->granularity * gpu->granularity; at < addr + size;
		at += gpu->granularity) {
		struct granule *g = fake_granule_at(gpu, r, at);

		if (!g->handle || !g->access) {
			fake_breach(gpu, "%s of %s at 0x%llx", what,
				g->handle ? "a mapping without access" : "an unmapped page",
				(unsigned long long)at);
			return NULL;
		}
	}
	return r;
}

/* ---- queued operations ---- */

static void copy_granules(struct fake_gpu *gpu, struct range *r, kv_gpu_addr addr, uint64_t size,
	uint8_t *out, const uint8_t *in)
{
	uint64_t done = 0;

	while (done < size) {
		uint64_t inside = (addr + done) % gpu->granularity;
		uint64_t n = gpu->granularity - inside;
		struct granule *g = fake_granule_at(gpu, r, addr + done);

		if (n > size - done)
			n = size - done;
		if (out)
			memcpy(out + done, g->handle->memory + g->offset + inside, n);
		else if (in)
			memcpy(g->handle->memory + g->offset + inside, in + done, n);
		else
			memset(g->handle->memory + g->offset + inside, 0, n);
		done += n;
	}
}

static bool is_host(struct fake_gpu *gpu, const uint8_t *host, uint64_t size)
{
	for (struct host *h = gpu->hosts; h; h = h->next) {
		if (host >= h->memory && host + size <= h->memory + h->size)
			return true;
	}
	return false;
}

static int enqueue(struct fake_gpu *gpu, enum fake_call kind, kv_gpu_addr addr, uint64_t size,
	uint8_t *host, const char *what)
{
	int error = fake_begin(gpu, kind);

	if (error < 0)
		return fake_end(gpu, error);
	if (!accessible(gpu, addr, size, what))
		return fake_end(gpu, -EINVAL);
	if (kind != FAKE_ZERO && !is_host(gpu, host, size)) {
		fake_breach(gpu, "%s: host memory not from host_alloc", what);
		return fake_end(gpu, -EINVAL);
	}
	if (gpu->n_queued == MAX_QUEUE) {
		fake_breach(gpu, "queue is full: nobody flushes");
		return fake_end(gpu, -EIO);
	}
	gpu->queue[gpu->n_queued++] = (struct operation){kind, addr, size, host};
	return fake_end(gpu, 0);
}

int fake_zero(void *ctx, kv_gpu_addr addr, uint64_t size)
{
	return enqueue(ctx, FAKE_ZERO, addr, size, NULL, "zero");
}

int fake_copy_out(void *ctx, void *host, kv_gpu_addr addr, uint64_t size)
{
	return enqueue(ctx, FAKE_COPY_OUT, addr, size, host, "copy_out");
}

int fake_copy_in(void *ctx, kv_gpu_addr addr, const void *host, uint64_t size)
{
	return enqueue(ctx, FAKE_COPY_IN, addr, size, (uint8_t *)host, "copy_in");
}

int fake_flush(void *ctx)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_FLUSH);

	if (error < 0)
		return fake_end(gpu, error);
	for (uint32_t i = 0; i < gpu->n_queued; i++) {
		struct operation *op = &gpu->queue[i];
		struct range *r = fake_range_at(gpu, op->addr, op->size);

		if (!gpu->content) {
			if (op->kind == FAKE_COPY_OUT)
				memset(op->host, 0, op->size);
			continue;
		}
		copy_granules(gpu, r, op->addr, op->size,
			op->kind == FAKE_COPY_OUT ? op->host : NULL,
			op->kind == FAKE_COPY_IN ? op->host : NULL);
	}
	gpu->n_queued = 0;
	return fake_end(gpu, 0);
}

int fake_host_alloc(void *ctx, uint64_t size, void **ret_host)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_HOST_ALLOC);
	struct host *h;

	if (error < 0)
		return fake_end(gpu, error);
	h = calloc(1, sizeof(*h));
	/* Reserved, not touched: core's slabs are large and tests use little of them. */
	h->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (h->memory == MAP_FAILED) {
		free(h);
		return fake_end(gpu, -ENOMEM);
	}
	/* What was never copied must not look like zeros, in the page that is looked at first. */
	memset(h->memory, FAKE_POISON, size < 65536 ? size : 65536);
	h->size = size;
	h->next = gpu->hosts;
	gpu->hosts = h;
	gpu->host_used += size;
	*ret_host = h->memory;
	return fake_end(gpu, 0);
}

int fake_host_free(void *ctx, void *host)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_HOST_FREE);
	struct host **link, *h;

	if (error < 0)
		return fake_end(gpu, error);
	for (link = &gpu->hosts; (h = *link) && h->memory != host; link = &h->next)
		;
	if (!h) {
		fake_breach(gpu, "host_free: not from host_alloc");
		return fake_end(gpu, -EINVAL);
	}
	for (uint32_t i = 0; i < gpu->n_queued; i++) {
		if (gpu->queue[i].host && gpu->queue[i].host >= h->memory &&
			gpu->queue[i].host < h->memory + h->size)
			fake_breach(gpu, "host_free: a copy is under way");
	}
	*link = h->next;
	gpu->host_used -= h->size;
	munmap(h->memory, h->size);
	free(h);
	return fake_end(gpu, 0);
}

int fake_drain(void *ctx, uint64_t timeout_ns)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_DRAIN);

	if (gpu->gate && !kv_gate_is_quiet(gpu->gate))
		fake_breach(gpu, "drain with the gate open");
	if (timeout_ns == 0)
		fake_breach(gpu, "drain without a bound");
	if (error < 0)
		return fake_end(gpu, error);
	if (gpu->capture)
		return fake_end(gpu, -EBUSY);
	if (gpu->n_busy_drains) {
		gpu->n_busy_drains--;
		gpu->now += timeout_ns;
		return fake_end(gpu, -ETIMEDOUT);
	}
	for (struct range *r = gpu->ranges; r; r = r->next) {
		for (uint64_t i = 0; i < r->size / gpu->granularity; i++)
			r->granules[i].in_flight = false;
	}
	return fake_end(gpu, 0);
}

/* ---- what the application does ---- */

static struct range *begin_access(
	struct fake_gpu *gpu, kv_gpu_addr addr, uint64_t size, const char *what)
{
	struct range *r = accessible(gpu, addr, size, what);

	if (!r)
		return NULL;
	if (fake_is_queued(gpu, addr, size)) {
		fake_breach(gpu, "%s of a page that is being filled", what);
		return NULL;
	}
	for (uint64_t at = addr / gpu->granularity * gpu->granularity; at < addr + size;
		at += gpu->granularity)
		fake_granule_at(gpu, r, at)->in_flight = true;
	return r;
}

void fake_gpu_write(struct fake_gpu *gpu, kv_gpu_addr addr, const void *data, uint64_t size)
{
	struct range *r;

	pthread_mutex_lock(&gpu->mutex);
	r = begin_access(gpu, addr, size, "write");
	if (r && gpu->content)
		copy_granules(gpu, r, addr, size, NULL, data);
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_read(struct fake_gpu *gpu, kv_gpu_addr addr, void *ret_data, uint64_t size)
{
	struct range *r;

	pthread_mutex_lock(&gpu->mutex);
	r = begin_access(gpu, addr, size, "read");
	if (r && gpu->content)
		copy_granules(gpu, r, addr, size, ret_data, NULL);
	pthread_mutex_unlock(&gpu->mutex);
}
