/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_hooks.c - see fake_hooks.h. Stands in for submit.c, track.c, real.c and core.
 */
#include "tests/fuzz/fake_hooks.h"

#include <stdlib.h>
#include <string.h>

#include "core/want.h"
#include "hooks/call.h"
#include "hooks/launch.h"
#include "hooks/recognise.h"
#include "hooks/track.h"

char fake_handle;
uint32_t fake_hits;

__thread struct kv_thread kv_thread __attribute__((tls_model("initial-exec")));
/* A reservation may lie anywhere, so every word is asked about. */
static struct kv_core_hot core = {.n_live = 1, .lo = 0, .hi = UINT64_MAX};
struct kv_hooks_state kv_hooks = {.mode = KV_HOOKS_ACTIVE, .core = (struct kv_core *)&core};

struct kv_track_bounds kv_track_host = {.low = UINT64_MAX};

static uint32_t n_params;
static const uint32_t *param_offsets, *param_sizes;

static CUresult CUDAAPI func_name(const char **ret_name, CUfunction function)
{
	*ret_name = "fake";
	return CUDA_SUCCESS;
}

static CUresult CUDAAPI func_param(CUfunction function, size_t i, size_t *offset, size_t *size)
{
	if (i >= n_params)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = param_offsets[i];
	*size = param_sizes[i];
	return CUDA_SUCCESS;
}

static CUresult CUDAAPI driver_version(int *ret_version)
{
	*ret_version = 13000;
	return CUDA_SUCCESS;
}

struct kv_real kv_real = {
	.cuFuncGetName = func_name,
	.cuFuncGetParamInfo = func_param,
	.cuDriverGetVersion = driver_version,
};

void kv_manage_work(struct kv_core *of, const char *by)
{
}

void fake_function(uint32_t n, const uint32_t *offsets, const uint32_t *sizes)
{
	n_params = n;
	param_offsets = offsets;
	param_sizes = sizes;
}

static bool is_hit(uint64_t word)
{
	return word >> 24 << 56 >> 56 == 'A';
}

bool fake_is_hit(const unsigned char *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word >= 0x10000 && is_hit(word);
}

/* ---- core ---- */

bool kv_core_hits_row(struct kv_core *of, uint64_t addr, struct kv_reservation **ret_reservation)
{
	*ret_reservation = NULL;
	return is_hit(addr);
}

void kv_gate_enter_closed(struct kv_gate *gate, uint32_t slot)
{
	abort();
}

void kv_gate_leave_closed(struct kv_gate *gate)
{
	abort();
}

void kv_leak(struct kv_reservation *r, enum kv_static_reason reason, const char *by)
{
	fake_hits++;
}

void kv_leak_read(struct kv_reservation *r, enum kv_static_reason reason, const char *by)
{
	fake_hits++;
}

bool kv_reservation_is_static(const struct kv_reservation *r)
{
	return false;
}

void kv_leak_all(struct kv_core *of, enum kv_static_reason reason, const char *by)
{
	abort();
}

int kv_touch_transient(struct kv_reservation *r, uint64_t offset, uint64_t length, bool assume_dead)
{
	abort();
}

/* ---- hooks ---- */

bool kv_track_is_host_visible(uint64_t word)
{
	return false;
}

void kv_track_add(enum kv_track_kind kind, uint64_t addr, uint64_t size, struct kv_space *space)
{
	abort();
}

CUresult CUDAAPI kv_no_such_entry(void)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}

void kv_hooks_prepare(void)
{
	abort();
}

bool kv_submit_enter(void)
{
	return false;
}

int kv_settle_all(struct kv_core *of)
{
	return 0;
}

CUresult kv_submit_settle(void)
{
	return CUDA_SUCCESS;
}

void kv_submit_leave(void)
{
	abort();
}

void kv_own_begin(struct kv_own_call *call)
{
}

void kv_own_end(struct kv_own_call *call)
{
}

CUresult kv_backed_result(int error)
{
	return error ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

bool kv_stream_captures(CUstream stream, bool per_thread)
{
	return false;
}

/* Without rules nobody asks. */
int kv_recognise_launch(
	const struct kv_kernel *kernel, void **params, void **extra, const struct kv_shape *shape)
{
	abort();
}

_Atomic uint8_t kv_recognise_marks[KV_SHADOW_MARKS];

void kv_recognise_forget(void)
{
	abort();
}

void kv_hooks_log(int level, const char *topic, const char *format, ...)
{
	abort();
}

uint64_t kv_submit_launch(void)
{
	return 0;
}

void kv_submit_launched(uint64_t began_ns)
{
}

uint64_t kv_submit_clock(void)
{
	return 0;
}
