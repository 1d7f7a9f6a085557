/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_gpu.c - the fake GPU: ranges, handles, mappings. Lists, since tests are small.
 */
#include "tests/unit/fake_body.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fake_breach(struct fake_gpu *gpu, const char *format, ...)
{
	va_list args;

	if (gpu->n_breaches++)
		return;
	va_start(args, format);
	vsnprintf(gpu->breach, sizeof(gpu->breach), format, args);
	va_end(args);
}

/* Counts a call. Returns its injected error, or 0. The mutex is taken. */
int fake_begin(struct fake_gpu *gpu, enum fake_call kind)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->calls[kind]++;
	if (gpu->n_calls < FAKE_ORDER_MAX)
		gpu->order[gpu->n_calls] = (uint8_t)kind;
	gpu->n_calls++;
	if (gpu->fail_at && --gpu->fail_at == 0) {
		gpu->failed = true;
		gpu->failed_kind = kind;
		gpu->failed_kinds |= 1u << kind;
		gpu->fail_at = gpu->fail_again;
		gpu->fail_again = 0;
		return gpu->fail_error;
	}
	if (gpu->fail_kind_count[kind]) {
		gpu->fail_kind_count[kind]--;
		return gpu->fail_kind_error[kind];
	}
	return 0;
}

int fake_end(struct fake_gpu *gpu, int error)
{
	pthread_mutex_unlock(&gpu->mutex);
	return error;
}

struct range *fake_range_at(struct fake_gpu *gpu, kv_gpu_addr addr, uint64_t size)
{
	for (struct range *r = gpu->ranges; r; r = r->next) {
		if (addr >= r->addr && addr - r->addr < r->size &&
			size <= r->size - (addr - r->addr))
			return r;
	}
	return NULL;
}

struct granule *fake_granule_at(struct fake_gpu *gpu, struct range *r, kv_gpu_addr addr)
{
	return &r->granules[(addr - r->addr) / gpu->granularity];
}

static bool is_aligned(struct fake_gpu *gpu, uint64_t value)
{
	return value % gpu->granularity == 0;
}

/* ---- the table ---- */

static uint64_t fake_now_ns(void *ctx)
{
	struct fake_gpu *gpu = ctx;
	uint64_t now;

	pthread_mutex_lock(&gpu->mutex);
	now = ++gpu->now;
	pthread_mutex_unlock(&gpu->mutex);
	return now;
}

static int fake_memory_info(void *ctx, uint64_t *ret_free, uint64_t *ret_total)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_MEMORY_INFO);

	if (error == 0) {
		uint64_t used = gpu->device_used + gpu->foreign;

		*ret_free = used < gpu->device_bytes ? gpu->device_bytes - used : 0;
		*ret_total = gpu->device_bytes;
	}
	return fake_end(gpu, error);
}

static int fake_range_reserve(void *ctx, uint64_t size, uint64_t align, kv_gpu_addr *ret_addr)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_RANGE_RESERVE);
	struct range *r;

	if (error < 0)
		return fake_end(gpu, error);
	if (size == 0 || !is_aligned(gpu, size) || !is_aligned(gpu, align) || align == 0) {
		fake_breach(gpu, "range_reserve: size or align");
		return fake_end(gpu, -EINVAL);
	}
	r = calloc(1, sizeof(*r));
	r->size = size;
	r->addr = (gpu->next_addr + align - 1) / align * align;
	r->granules = calloc(size / gpu->granularity, sizeof(*r->granules));
	/* One granule of nothing between ranges, so that what runs over the end is caught. */
	gpu->next_addr = r->addr + size + gpu->granularity;
	r->next = gpu->ranges;
	gpu->ranges = r;
	*ret_addr = r->addr;
	return fake_end(gpu, 0);
}

static int fake_range_free(void *ctx, kv_gpu_addr addr, uint64_t size)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_RANGE_FREE);
	struct range **link, *r;

	if (error < 0)
		return fake_end(gpu, error);
	for (link = &gpu->ranges; (r = *link); link = &r->next) {
		if (r->addr == addr && r->size == size)
			break;
	}
	if (!r) {
		fake_breach(gpu, "range_free: no such range");
		return fake_end(gpu, -EINVAL);
	}
	for (uint64_t i = 0; i < size / gpu->granularity; i++) {
		if (r->granules[i].handle) {
			fake_breach(gpu, "range_free: something is mapped");
			return fake_end(gpu, -EINVAL);
		}
	}
	*link = r->next;
	free(r->granules);
	free(r);
	return fake_end(gpu, 0);
}

static int fake_handle_create(
	void *ctx, uint64_t size, enum kv_gpu_location where, kv_gpu_handle *ret_handle)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_HANDLE_CREATE);
	struct handle *h;

	if (error < 0)
		return fake_end(gpu, error);
	if (size == 0 || !is_aligned(gpu, size)) {
		fake_breach(gpu, "handle_create: size");
		return fake_end(gpu, -EINVAL);
	}
	if (where == KV_GPU_HOST && !gpu->host_handles)
		return fake_end(gpu, -EOPNOTSUPP);
	if (where == KV_GPU_DEVICE) {
		if (gpu->device_used + gpu->foreign + size > gpu->device_bytes)
			return fake_end(gpu, -ENOMEM);
		gpu->device_used += size;
	}
	h = calloc(1, sizeof(*h));
	h->id = gpu->next_handle++;
	h->size = size;
	h->where = where;
	if (gpu->content) {
		h->memory = malloc(size);
		memset(h->memory, FAKE_POISON, size);
	}
	h->next = gpu->handles;
	gpu->handles = h;
	*ret_handle = h->id;
	return fake_end(gpu, 0);
}

static struct handle *find_handle(struct fake_gpu *gpu, kv_gpu_handle id)
{
	struct handle *h = gpu->handles;

	while (h && h->id != id)
		h = h->next;
	return h;
}

static void drop_handle(struct fake_gpu *gpu, struct handle *h)
{
	struct handle **link;

	if (!h->released || h->n_maps)
		return;
	for (link = &gpu->handles; *link != h; link = &(*link)->next)
		;
	*link = h->next;
	if (h->where == KV_GPU_DEVICE)
		gpu->device_used -= h->size;
	free(h->memory);
	free(h);
}

static int fake_handle_release(void *ctx, kv_gpu_handle id)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_HANDLE_RELEASE);
	struct handle *h;

	if (error < 0)
		return fake_end(gpu, error);
	h = find_handle(gpu, id);
	if (!h || h->released) {
		fake_breach(gpu, "handle_release: no such handle, or twice");
		return fake_end(gpu, -EINVAL);
	}
	if (h->n_maps)
		fake_breach(gpu, "handle_release: still mapped");
	h->released = true;
	drop_handle(gpu, h);
	return fake_end(gpu, 0);
}

static int fake_map(void *ctx, kv_gpu_addr addr, uint64_t size, kv_gpu_handle id)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_MAP);
	struct handle *h;
	struct range *r;

	if (error < 0)
		return fake_end(gpu, error);
	h = find_handle(gpu, id);
	r = fake_range_at(gpu, addr, size);
	if (!h || h->released || !r || h->size != size || !is_aligned(gpu, addr)) {
		fake_breach(gpu, "map: handle, range or size");
		return fake_end(gpu, -EINVAL);
	}
	if (h->n_maps)
		fake_breach(gpu, "map: the handle is mapped elsewhere");
	for (uint64_t at = 0; at < size; at += gpu->granularity) {
		if (fake_granule_at(gpu, r, addr + at)->handle) {
			fake_breach(gpu, "map over a mapping at 0x%llx",
				(unsigned long long)(addr + at));
			return fake_end(gpu, -EINVAL);
		}
	}
	for (uint64_t at = 0; at < size; at += gpu->granularity)
		*fake_granule_at(gpu, r, addr + at) = (struct granule){.handle = h, .offset = at};
	h->n_maps++;
	return fake_end(gpu, 0);
}

/* A breach, and false, unless [addr, addr+size) is a series of whole mappings that nobody uses. */
static bool may_unmap(struct fake_gpu *gpu, struct range *r, kv_gpu_addr addr, uint64_t size)
{
	struct granule *last;

	for (uint64_t at = 0; at < size; at += gpu->granularity) {
		struct granule *g = fake_granule_at(gpu, r, addr + at);

		if (!g->handle) {
			fake_breach(
				gpu, "unmap: a hole at 0x%llx", (unsigned long long)(addr + at));
			return false;
		}
		if (g->in_flight) {
			fake_breach(gpu, "unmap: work in flight at 0x%llx",
				(unsigned long long)(addr + at));
			return false;
		}
	}
	last = fake_granule_at(gpu, r, addr + size - gpu->granularity);
	if (fake_granule_at(gpu, r, addr)->offset != 0 ||
		last->offset + gpu->granularity != last->handle->size) {
		fake_breach(gpu, "unmap: part of a mapping at 0x%llx", (unsigned long long)addr);
		return false;
	}
	if (fake_is_queued(gpu, addr, size)) {
		fake_breach(gpu, "unmap: a fill or copy is under way at 0x%llx",
			(unsigned long long)addr);
		return false;
	}
	return true;
}

static int fake_unmap(void *ctx, kv_gpu_addr addr, uint64_t size)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_UNMAP);
	struct range *r;

	if (error < 0)
		return fake_end(gpu, error);
	r = fake_range_at(gpu, addr, size);
	if (!r || size == 0 || !is_aligned(gpu, addr) || !is_aligned(gpu, size)) {
		fake_breach(gpu, "unmap: no range");
		return fake_end(gpu, -EINVAL);
	}
	if (!may_unmap(gpu, r, addr, size))
		return fake_end(gpu, -EINVAL);
	for (uint64_t at = 0; at < size; at += gpu->granularity) {
		struct granule *g = fake_granule_at(gpu, r, addr + at);
		struct handle *h = g->handle;

		if (g->offset + gpu->granularity == h->size) {
			h->n_maps--;
			drop_handle(gpu, h);
		}
		memset(g, 0, sizeof(*g));
	}
	return fake_end(gpu, 0);
}

static int fake_set_access(void *ctx, kv_gpu_addr addr, uint64_t size)
{
	struct fake_gpu *gpu = ctx;
	int error = fake_begin(gpu, FAKE_SET_ACCESS);
	struct range *r;

	if (error < 0)
		return fake_end(gpu, error);
	r = fake_range_at(gpu, addr, size);
	for (uint64_t at = 0; r && at < size; at += gpu->granularity) {
		if (!fake_granule_at(gpu, r, addr + at)->handle)
			r = NULL;
	}
	if (!r || size == 0 || !is_aligned(gpu, addr) || !is_aligned(gpu, size)) {
		fake_breach(gpu, "set_access: a hole");
		return fake_end(gpu, -EINVAL);
	}
	for (uint64_t at = 0; at < size; at += gpu->granularity)
		fake_granule_at(gpu, r, addr + at)->access = true;
	return fake_end(gpu, 0);
}

const struct kv_gpu_ops fake_gpu_ops = {
	.now_ns = fake_now_ns,
	.memory_info = fake_memory_info,
	.range_reserve = fake_range_reserve,
	.range_free = fake_range_free,
	.handle_create = fake_handle_create,
	.handle_release = fake_handle_release,
	.map = fake_map,
	.unmap = fake_unmap,
	.set_access = fake_set_access,
	.zero = fake_zero,
	.copy_out = fake_copy_out,
	.copy_in = fake_copy_in,
	.flush = fake_flush,
	.host_alloc = fake_host_alloc,
	.host_free = fake_host_free,
	.drain = fake_drain,
};
