/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_control.c - the fake GPU: its life, its switches, its counts.
 */
#include "tests/unit/fake_body.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct fake_gpu *fake_gpu_new(uint64_t granularity, uint64_t device_bytes, bool content)
{
	struct fake_gpu *gpu = calloc(1, sizeof(*gpu));

	pthread_mutex_init(&gpu->mutex, NULL);
	gpu->granularity = granularity;
	gpu->device_bytes = device_bytes;
	gpu->content = content;
	gpu->host_handles = true;
	gpu->next_addr = FIRST_ADDR;
	gpu->next_handle = 1;
	return gpu;
}

uint32_t fake_gpu_free(struct fake_gpu *gpu)
{
	uint32_t n_left = 0;
	struct handle *handle;
	struct range *range;
	struct host *host;

	while ((range = gpu->ranges)) {
		gpu->ranges = range->next;
		free(range->granules);
		free(range);
		n_left++;
	}
	while ((handle = gpu->handles)) {
		gpu->handles = handle->next;
		free(handle->memory);
		free(handle);
		n_left++;
	}
	while ((host = gpu->hosts)) {
		gpu->hosts = host->next;
		munmap(host->memory, host->size);
		free(host);
		n_left++;
	}
	pthread_mutex_destroy(&gpu->mutex);
	free(gpu);
	return n_left;
}

void fake_gpu_watch_gate(struct fake_gpu *gpu, const struct kv_gate *gate)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->gate = gate;
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_fail_nth(struct fake_gpu *gpu, uint64_t n, int error)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->fail_at = n;
	gpu->fail_error = error;
	gpu->failed = false;
	gpu->failed_kinds = 0;
	gpu->fail_again = 0;
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_fail_kind(struct fake_gpu *gpu, enum fake_call kind, uint32_t count, int error)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->fail_kind_count[kind] = count;
	gpu->fail_kind_error[kind] = error;
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_set_time(struct fake_gpu *gpu, uint64_t now_ns)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->now = now_ns;
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_set_foreign(struct fake_gpu *gpu, uint64_t bytes)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->foreign = bytes;
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_set_host_handles(struct fake_gpu *gpu, bool supported)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->host_handles = supported;
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_set_capture(struct fake_gpu *gpu, bool open)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->capture = open;
	pthread_mutex_unlock(&gpu->mutex);
}

void fake_gpu_set_busy(struct fake_gpu *gpu, uint32_t n_drains)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->n_busy_drains = n_drains;
	pthread_mutex_unlock(&gpu->mutex);
}

enum fake_call fake_gpu_call_at(struct fake_gpu *gpu, uint32_t n)
{
	enum fake_call kind = FAKE_N_CALLS;

	pthread_mutex_lock(&gpu->mutex);
	if (n < FAKE_ORDER_MAX && n < gpu->n_calls)
		kind = (enum fake_call)gpu->order[n];
	pthread_mutex_unlock(&gpu->mutex);
	return kind;
}

void fake_gpu_reset_calls(struct fake_gpu *gpu)
{
	pthread_mutex_lock(&gpu->mutex);
	memset(gpu->calls, 0, sizeof(gpu->calls));
	gpu->n_calls = 0;
	pthread_mutex_unlock(&gpu->mutex);
}

bool fake_gpu_has_failed(struct fake_gpu *gpu, enum fake_call *ret_kind)
{
	bool value;

	pthread_mutex_lock(&gpu->mutex);
	value = gpu->failed;
	if (value && ret_kind)
		*ret_kind = gpu->failed_kind;
	pthread_mutex_unlock(&gpu->mutex);
	return value;
}

uint64_t fake_gpu_calls(struct fake_gpu *gpu, enum fake_call kind)
{
	uint64_t value;

	pthread_mutex_lock(&gpu->mutex);
	value = gpu->calls[kind];
	pthread_mutex_unlock(&gpu->mutex);
	return value;
}

uint64_t fake_gpu_all_calls(struct fake_gpu *gpu)
{
	uint64_t value;

	pthread_mutex_lock(&gpu->mutex);
	value = gpu->n_calls;
	pthread_mutex_unlock(&gpu->mutex);
	return value;
}

uint64_t fake_gpu_device_used(struct fake_gpu *gpu)
{
	uint64_t value;

	pthread_mutex_lock(&gpu->mutex);
	value = gpu->device_used;
	pthread_mutex_unlock(&gpu->mutex);
	return value;
}

uint64_t fake_gpu_host_used(struct fake_gpu *gpu)
{
	uint64_t value;

	pthread_mutex_lock(&gpu->mutex);
	value = gpu->host_used;
	pthread_mutex_unlock(&gpu->mutex);
	return value;
}

uint32_t fake_gpu_n_breaches(struct fake_gpu *gpu)
{
	uint32_t value;

	pthread_mutex_lock(&gpu->mutex);
	value = gpu->n_breaches;
	pthread_mutex_unlock(&gpu->mutex);
	return value;
}

const char *fake_gpu_breach(struct fake_gpu *gpu)
{
	return gpu->n_breaches ? gpu->breach : "none";
}

void fake_gpu_fail_again(struct fake_gpu *gpu, uint64_t k)
{
	pthread_mutex_lock(&gpu->mutex);
	gpu->fail_again = k;
	pthread_mutex_unlock(&gpu->mutex);
}

uint32_t fake_gpu_failed_kinds(struct fake_gpu *gpu)
{
	uint32_t value;

	pthread_mutex_lock(&gpu->mutex);
	value = gpu->failed_kinds;
	pthread_mutex_unlock(&gpu->mutex);
	return value;
}
