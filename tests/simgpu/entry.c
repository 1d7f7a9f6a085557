/* SPDX-License-Identifier: Apache-2.0 */
/* entry.c - the frame of every call, initialisation, injected failures, cuGetProcAddress. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api_protos.h"
#include "entry.h"
#include "memory.h"

pthread_mutex_t sim_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_mutex_t sim_memory_lock = PTHREAD_MUTEX_INITIALIZER;
__thread struct sim_thread sim_thread;

static _Atomic uint64_t calls[SIM_ENTRIES];
_Atomic uint64_t *sim_calls = calls;

static _Atomic bool initialised; /* atomic: release after everything is set up, acquire on entry */
static pid_t owner;
static bool orphan; /* set in the child of a fork, before any other thread exists */

static struct {
	char name[64];
	uint64_t n;
	bool every; /* n-th call */
	int code;
	_Atomic uint64_t seen;
} fails[16];
static int n_fails;

/* "name:[%]n[:code]", comma-separated: the n-th call (from 1; 0: every call; %: every n-th) fails
 * with code (2 by default). */
static void parse_fails(const char *text)
{
	while (text && *text && n_fails < 16) {
		char item[128];
		size_t len = strcspn(text, ",");
		snprintf(item, sizeof(item), "%.*s", (int)len, text);
		char *n = strchr(item, ':');
		if (n) {
			*n++ = '\0';
			snprintf(fails[n_fails].name, sizeof(fails[n_fails].name), "%.63s", item);
			char *code = strchr(n, ':');
			fails[n_fails].every = *n == '%';
			fails[n_fails].n = strtoull(n + fails[n_fails].every, NULL, 10);
			fails[n_fails].code = code ? atoi(code + 1) : CUDA_ERROR_OUT_OF_MEMORY;
			n_fails++;
		}
		text += len;
		text += *text == ',';
	}
}

static uint64_t took[SIM_ENTRIES]; /* what a call of it takes, ns; immutable after the first call */
static bool any_takes;

/* "name:ns", comma-separated. */
static void parse_times(const char *text)
{
	while (text && *text) {
		size_t len = strcspn(text, ","), name = strcspn(text, ":");

		for (int i = 0; i < SIM_ENTRIES && name < len; i++)
			if (strlen(sim_entries[i].name) == name &&
				!strncmp(sim_entries[i].name, text, name)) {
				took[i] = strtoull(text + name + 1, NULL, 10);
				any_takes = true;
			}
		text += len;
		text += *text == ',';
	}
}

static CUresult injected(int entry)
{
	for (int i = 0; i < n_fails; i++) {
		if (strcmp(fails[i].name, sim_entries[entry].name) != 0)
			continue;
		uint64_t seen = atomic_fetch_add(&fails[i].seen, 1) + 1;
		if (!fails[i].n || (fails[i].every ? seen % fails[i].n == 0 : seen == fails[i].n)) {
			sim_log("INJECTED: call %llu of %s fails with %d", (unsigned long long)seen,
				fails[i].name, fails[i].code);
			return (CUresult)fails[i].code;
		}
	}
	return CUDA_SUCCESS;
}

uint64_t sim_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Short delays spin, long ones sleep. */
void sim_delay_ns(uint64_t ns)
{
	if (ns > 50000) {
		struct timespec ts = {(time_t)(ns / 1000000000ull), (long)(ns % 1000000000ull)};
		while (nanosleep(&ts, &ts))
			;
		return;
	}
	uint64_t end = sim_now_ns() + ns;
	while (sim_now_ns() < end)
		;
}

uint64_t sim_thread_id(void)
{
	static _Atomic uint64_t last;
	if (!sim_thread.id)
		sim_thread.id = atomic_fetch_add(&last, 1) + 1;
	return sim_thread.id;
}

static void setup_settings(void)
{
	sim_config_load();
	parse_fails(sim_config.fail);
	parse_times(sim_config.call_ns);
}

bool sim_initialised(void)
{
	return atomic_load_explicit(&initialised, memory_order_acquire);
}

bool sim_is_orphan(void)
{
	return orphan;
}

static void in_child(void)
{
	if (sim_initialised())
		orphan = true;
	/* The other threads are gone, whatever they held. */
	pthread_mutex_init(&sim_lock, NULL);
	pthread_mutex_init(&sim_memory_lock, NULL);
}

CUresult sim_initialise(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	CUresult result = CUDA_SUCCESS;

	if (orphan)
		return CUDA_ERROR_NOT_INITIALIZED;
	pthread_mutex_lock(&lock);
	if (!sim_initialised()) {
		if (sim_config.n_devices < 1)
			result = CUDA_ERROR_NO_DEVICE;
		else if (sim_account_open())
			result = CUDA_ERROR_OPERATING_SYSTEM;
		if (result == CUDA_SUCCESS) {
			owner = getpid();
			pthread_atfork(NULL, NULL, in_child);
			atomic_store_explicit(&initialised, true, memory_order_release);
		}
	}
	pthread_mutex_unlock(&lock);
	return result;
}

CUresult sim_enter(struct sim_frame *frame, int entry)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint32_t flags = sim_entries[entry].flags;

	frame->entry = entry;
	frame->per_thread = sim_thread.per_thread;
	sim_thread.per_thread = flags & SIM_PER_THREAD;
	atomic_fetch_add_explicit(&calls[entry], 1, memory_order_relaxed);
	if (!sim_initialised()) {
		pthread_once(&once, setup_settings);
		if (!(flags & SIM_NO_INIT))
			return CUDA_ERROR_NOT_INITIALIZED;
	}
	if (orphan && !(flags & SIM_NO_INIT))
		return CUDA_ERROR_NOT_INITIALIZED;
	if (sim_config.latency_ns)
		sim_delay_ns(sim_config.latency_ns);
	if (any_takes && took[entry])
		sim_delay_ns(took[entry]);
	if (n_fails) {
		CUresult result = injected(entry);
		if (result != CUDA_SUCCESS)
			return result;
	}
	struct sim_context *context = sim_context_current();
	if (!context) {
		if (!(flags & SIM_NO_CONTEXT))
			return CUDA_ERROR_INVALID_CONTEXT;
	} else if (!(flags & SIM_NO_STICKY)) {
		int sticky = atomic_load_explicit(&context->sticky, memory_order_relaxed);
		if (sticky)
			return (CUresult)sticky;
		if (atomic_load(&context->dead) && !(flags & SIM_NO_CONTEXT))
			return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	}
	if (atomic_load_explicit(&sim_captures_open, memory_order_relaxed) &&
		((flags & SIM_UNSAFE) || ((flags & SIM_UNSAFE_VMM) && sim_config.unsafe_vmm)))
		return sim_capture_unsafe();
	return CUDA_SUCCESS;
}

CUresult sim_leave(struct sim_frame *frame, CUresult result)
{
	sim_thread.per_thread = frame->per_thread;
	return result;
}

CUresult sim_stub(int entry)
{
	if (atomic_fetch_add_explicit(&calls[entry], 1, memory_order_relaxed) == 0)
		fprintf(stderr, "simgpu[%d] no implementation of %s\n", (int)getpid(),
			sim_entries[entry].name);
	return CUDA_ERROR_NOT_SUPPORTED;
}

/* ---- entry points ---- */

CUresult sim_cuInit(unsigned int flags)
{
	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	return sim_initialise();
}

CUresult sim_cuDriverGetVersion(int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = sim_config.driver_version;
	return CUDA_SUCCESS;
}

/*
 * The newest ABI that is not newer than wanted and that this driver has. 0: *ret_address is it; 1:
 * no such name; 2: the name exists, but not in so old a version.
 */
static int proc_find(const char *name, int wanted, bool per_thread, void **ret_address)
{
	void *plain = NULL, *thread = NULL;
	bool known = false;

	for (unsigned i = 0; i < sim_n_procs; i++) {
		const struct sim_proc *p = &sim_procs[i];
		if (strcmp(p->name, name) != 0 || p->version > sim_config.driver_version)
			continue;
		known = true;
		/* A negative version means any. */
		if (wanted >= 0 && p->version > wanted)
			continue;
		/* The rows of a name are sorted by version: the last one wins. */
		if (p->per_thread)
			thread = p->address;
		else
			plain = p->address;
	}
	if (!known)
		return 1;
	if (per_thread && wanted >= 0 && wanted < 7000)
		return 2;
	*ret_address = per_thread && thread ? thread : plain;
	return *ret_address ? 0 : 2;
}

CUresult sim_cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags)
{
	void *address;

	if (!symbol || !pfn || (flags & ~3ull))
		return CUDA_ERROR_INVALID_VALUE;
	if (!*symbol) {
		*pfn = NULL;
		return CUDA_SUCCESS;
	}
	if (proc_find(symbol, version, flags & 2, &address))
		return CUDA_ERROR_NOT_FOUND;
	*pfn = address;
	return CUDA_SUCCESS;
}

CUresult sim_cuGetProcAddress_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status)
{
	void *address = NULL;

	if (!symbol || !pfn || (flags & ~3ull))
		return CUDA_ERROR_INVALID_VALUE;
	int found = *symbol ? proc_find(symbol, version, flags & 2, &address) : 1;
	*pfn = found == 0 ? address : NULL;
	if (status)
		*status = found == 0   ? CU_GET_PROC_ADDRESS_SUCCESS
			  : found == 1 ? CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND
				       : CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
	return CUDA_SUCCESS;
}

CUresult sim_cuGetExportTable(const void **table, const CUuuid *id)
{
	/* The private tables of the real driver are nobody's contract. */
	if (table)
		*table = NULL;
	return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult sim_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	if (!mode || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	CUstreamCaptureMode old = sim_thread.mode;
	sim_thread.mode = *mode;
	*mode = old;
	return CUDA_SUCCESS;
}

static const struct {
	CUresult code;
	const char *name, *text;
} errors[] = {
	{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
#define ERROR(code, text) \
	{ \
		code, #code, text \
	}
	ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
	ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
	ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
	ERROR(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
	ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
	ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
	ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
	ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
	ERROR(CUDA_ERROR_NO_BINARY_FOR_GPU,
		"no kernel image is available for execution on the device"),
	ERROR(CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
	ERROR(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS"),
	ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
	ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
	ERROR(CUDA_ERROR_NOT_READY, "device not ready"),
	ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
	ERROR(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is already enabled"),
	ERROR(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "peer access has not been enabled"),
	ERROR(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE,
		"cannot set while device is active in this process"),
	ERROR(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
	ERROR(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
		"part or all of the memory is already mapped"),
	ERROR(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
		"pointer does not correspond to a registered region"),
	ERROR(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
	ERROR(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
		"operation not permitted when stream is capturing"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
		"operation failed due to a previous error during capture"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_MERGE,
		"operation would result in a merge of separate captures"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
		"dependency created on uncaptured work in another stream"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
		"operation would make the legacy stream depend on a capturing blocking stream"),
	ERROR(CUDA_ERROR_CAPTURED_EVENT,
		"operation not permitted on an event last recorded in a capturing stream"),
	ERROR(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
		"attempt to terminate a thread-local capture sequence from another thread"),
	ERROR(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
		"the graph update was not performed because it included "
		"changes which violated constraints specific to "
		"instantiated graph update"),
	ERROR(CUDA_ERROR_UNKNOWN, "unknown error"),
#undef ERROR
};

static CUresult error_text(CUresult error, bool name, const char **ret)
{
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		if (errors[i].code == error) {
			*ret = name ? errors[i].name : errors[i].text;
			return CUDA_SUCCESS;
		}
	}
	*ret = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult sim_cuGetErrorString(CUresult error, const char **text)
{
	return error_text(error, false, text);
}

CUresult sim_cuGetErrorName(CUresult error, const char **text)
{
	return error_text(error, true, text);
}

__attribute__((destructor)) static void at_exit(void)
{
	if (sim_initialised() && !orphan && getpid() == owner)
		sim_report_exit();
}
