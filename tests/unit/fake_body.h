/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_body.h - what the files of the fake GPU share. Not for tests.
 */
#ifndef TESTS_UNIT_FAKE_BODY_H
#define TESTS_UNIT_FAKE_BODY_H

#include <pthread.h>

#include "tests/unit/fake_gpu.h"

#define FIRST_ADDR 0x700000000000ull
#define MAX_QUEUE 4096

struct handle {
	struct handle *next;
	kv_gpu_handle id;
	uint64_t size;
	enum kv_gpu_location where;
	uint8_t *memory; /* NULL without content */
	uint32_t n_maps;
	bool released; /* lives on while it is mapped */
};

struct granule {
	struct handle *handle; /* NULL: unmapped */
	uint64_t offset;       /* into the handle */
	bool access;
	bool in_flight; /* touched by work that nobody has waited for */
};

struct range {
	struct range *next;
	kv_gpu_addr addr;
	uint64_t size;
	struct granule *granules;
};

struct host {
	struct host *next;
	uint8_t *memory;
	uint64_t size;
};

struct operation {
	enum fake_call kind;
	kv_gpu_addr addr;
	uint64_t size;
	uint8_t *host;
};

struct fake_gpu {
	pthread_mutex_t mutex; /* guards everything */
	uint64_t granularity, device_bytes, device_used, host_used, foreign, now;
	bool content, host_handles, capture;
	uint32_t n_busy_drains;
	const struct kv_gate *gate;
	kv_gpu_addr next_addr;
	kv_gpu_handle next_handle;
	struct handle *handles;
	struct range *ranges;
	struct host *hosts;
	struct operation queue[MAX_QUEUE];
	uint32_t n_queued;
	uint64_t calls[FAKE_N_CALLS], n_calls;
	uint8_t order[FAKE_ORDER_MAX]; /* kinds of the first of them */
	uint64_t fail_at, fail_again;
	int fail_error;
	bool failed;
	enum fake_call failed_kind;
	uint32_t failed_kinds;
	uint32_t fail_kind_count[FAKE_N_CALLS];
	int fail_kind_error[FAKE_N_CALLS];
	uint32_t n_breaches;
	char breach[256];
};

void fake_breach(struct fake_gpu *gpu, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Takes the mutex and counts a call. Returns its injected error, or 0. */
int fake_begin(struct fake_gpu *gpu, enum fake_call kind);
/* Drops the mutex and returns error. */
int fake_end(struct fake_gpu *gpu, int error);
/* The range that holds [addr, addr+size), or NULL. */
struct range *fake_range_at(struct fake_gpu *gpu, kv_gpu_addr addr, uint64_t size);
struct granule *fake_granule_at(struct fake_gpu *gpu, struct range *r, kv_gpu_addr addr);
/* True if a queued operation works on part of [addr, addr+size). */
bool fake_is_queued(struct fake_gpu *gpu, kv_gpu_addr addr, uint64_t size);

int fake_zero(void *ctx, kv_gpu_addr addr, uint64_t size);
int fake_copy_out(void *ctx, void *host, kv_gpu_addr addr, uint64_t size);
int fake_copy_in(void *ctx, kv_gpu_addr addr, const void *host, uint64_t size);
int fake_flush(void *ctx);
int fake_host_alloc(void *ctx, uint64_t size, void **ret_host);
int fake_host_free(void *ctx, void *host);
int fake_drain(void *ctx, uint64_t timeout_ns);

#endif
