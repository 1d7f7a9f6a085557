/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.c - what the documentation leaves open about the driver and the design depends on.
 *
 * usage: facts list | facts EXPERIMENT
 *
 * One experiment per process, since some of them may end their context; each prints one JSON object
 * on one line and is bounded: kernels that wait give up by themselves. Run without the shim.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

extern const char facts_ptx[];

#define SPIN_NS 1500000000ull /* a waiting kernel gives up after this */

/* ---- a kernel that waits for the host ---- */

struct spin {
	CUmodule module;
	CUstream stream;
	volatile uint32_t *host; /* [0] flag to the kernel, [1] and [2] what the kernel says */
	CUdeviceptr device;      /* the same memory */
};

static void spin_open(struct spin *s)
{
	void *host;

	GPU_MUST(cuModuleLoadData, &s->module, facts_ptx);
	GPU_MUST(cuStreamCreate, &s->stream, CU_STREAM_NON_BLOCKING);
	GPU_MUST(cuMemHostAlloc, &host, 4096, CU_MEMHOSTALLOC_DEVICEMAP);
	memset(host, 0, 4096);
	s->host = host;
	GPU_MUST(cuMemHostGetDevicePointer_v2, &s->device, host, 0);
}

static void launch(struct spin *s, const char *name, void **params)
{
	CUfunction f;

	GPU_MUST(cuModuleGetFunction, &f, s->module, name);
	GPU_MUST(cuLaunchKernel, f, 1, 1, 1, 1, 1, 1, 0, s->stream, params, NULL);
}

static void spin_start(struct spin *s)
{
	CUdeviceptr seen = s->device + 4;
	uint64_t limit = SPIN_NS;

	launch(s, "facts_spin", (void *[]){&s->device, &seen, &limit});
}

static bool spins(struct spin *s)
{
	return gpu.cuStreamQuery(s->stream) == CUDA_ERROR_NOT_READY;
}

static CUresult spin_stop(struct spin *s)
{
	s->host[0] = 1;
	return gpu.cuStreamSynchronize(s->stream);
}

/* One timed call, with whether the kernel still ran after it: a call that waited for it has not. */
static void timed(struct spin *s, const char *name, CUresult result, uint64_t start)
{
	uint64_t ns = gpu_now() - start;

	printf(", \"%s\": {\"result\": \"%s\", \"ns\": %llu, \"kernel_still_runs\": %s}", name,
		gpu_name_of(result), (unsigned long long)ns, spins(s) ? "true" : "false");
}

#define TIMED(name, call) \
	do { \
		uint64_t start_ = gpu_now(); \
		CUresult result_ = (call); \
\
		timed(&s, name, result_, start_); \
	} while (0)

/* ---- the experiments ---- */

/* Does any VMM call wait for a running kernel of the same context? */
static void map_under_kernel(void)
{
	CUmemGenericAllocationHandle handle = 0;
	size_t size = gpu.granularity;
	CUdeviceptr range = 0;
	CUstream own;
	struct spin s;

	spin_open(&s);
	GPU_MUST(cuStreamCreate, &own, CU_STREAM_NON_BLOCKING);
	spin_start(&s);
	printf("\"kernel_runs\": %s", spins(&s) ? "true" : "false");
	TIMED("address_reserve", gpu.cuMemAddressReserve(&range, size, 0, 0, 0));
	TIMED("create", gpu.cuMemCreate(&handle, size, &gpu.prop, 0));
	TIMED("map", gpu.cuMemMap(range, size, 0, handle, 0));
	TIMED("set_access", gpu.cuMemSetAccess(range, size, &gpu.access, 1));
	TIMED("fill", gpu.cuMemsetD8Async(range, 0, size, own));
	TIMED("fill_done", gpu.cuStreamSynchronize(own));
	TIMED("unmap", gpu.cuMemUnmap(range, size));
	TIMED("release", gpu.cuMemRelease(handle));
	TIMED("address_free", gpu.cuMemAddressFree(range, size));
	printf(", \"kernel_end\": \"%s\"", gpu_name_of(spin_stop(&s)));
}

/* Does a kernel that runs already see a page that is mapped after its launch? */
static void page_seen_by_running_kernel(void)
{
	CUmemGenericAllocationHandle handle;
	size_t size = gpu.granularity;
	uint64_t limit = SPIN_NS;
	CUdeviceptr range, seen;
	CUstream own;
	struct spin s;
	CUresult res;

	spin_open(&s);
	GPU_MUST(cuStreamCreate, &own, CU_STREAM_NON_BLOCKING);
	GPU_MUST(cuMemAddressReserve, &range, size, 0, 0, 0);
	seen = s.device + 4;
	launch(&s, "facts_late_page", (void *[]){&s.device, &seen, &limit, &range});
	GPU_MUST(cuMemCreate, &handle, size, &gpu.prop, 0);
	GPU_MUST(cuMemMap, range, size, 0, handle, 0);
	GPU_MUST(cuMemSetAccess, range, size, &gpu.access, 1);
	GPU_MUST(cuMemsetD32Async, range, 4711, size / 4, own);
	GPU_MUST(cuStreamSynchronize, own);
	printf("\"kernel_runs\": %s", spins(&s) ? "true" : "false");
	res = spin_stop(&s);
	printf(", \"result\": \"%s\", \"kernel_said\": %u, \"value\": %u", gpu_name_of(res),
		s.host[1], s.host[2]);
}

/* Which calls does an open capture refuse, and do they spoil it? */
static void calls_under_capture(void)
{
	static const char *const modes[] = {"global", "thread_local", "relaxed"};
	CUmemGenericAllocationHandle handle = 0;
	size_t size = gpu.granularity;
	CUdeviceptr range = 0;
	CUstream stream, own;
	CUevent event;
	CUgraph graph;

	GPU_MUST(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
	GPU_MUST(cuStreamCreate, &own, CU_STREAM_NON_BLOCKING);
	GPU_MUST(cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
	for (int i = 0; i < 6; i++) {
		CUstreamCaptureMode mode = (CUstreamCaptureMode)(i / 2), relaxed, settled;
		bool exchange = i % 2;
		CUresult res;

		printf("%s\"%s%s\": {", i ? ", " : "", modes[i / 2],
			exchange ? " with exchange" : "");
		GPU_MUST(cuStreamBeginCapture_v2, stream, mode);
		relaxed = CU_STREAM_CAPTURE_MODE_RELAXED;
		if (exchange)
			GPU_MUST(cuThreadExchangeStreamCaptureMode, &relaxed);
#define SAY(name, call) \
	do { \
		res = (call); \
		printf("\"%s\": \"%s\", ", name, gpu_name_of(res)); \
	} while (0)
		SAY("address_reserve", gpu.cuMemAddressReserve(&range, size, 0, 0, 0));
		SAY("create", gpu.cuMemCreate(&handle, size, &gpu.prop, 0));
		SAY("map", gpu.cuMemMap(range, size, 0, handle, 0));
		SAY("set_access", gpu.cuMemSetAccess(range, size, &gpu.access, 1));
		SAY("fill_own_stream", gpu.cuMemsetD8Async(range, 0, size, own));
		SAY("event_record_own_stream", gpu.cuEventRecord(event, own));
		SAY("event_query", gpu.cuEventQuery(event));
		SAY("stream_synchronize_own", gpu.cuStreamSynchronize(own));
		/* Whatever was refused: the fill must be over before its memory goes. */
		settled = CU_STREAM_CAPTURE_MODE_RELAXED;
		GPU_MUST(cuThreadExchangeStreamCaptureMode, &settled);
		GPU_MUST(cuStreamSynchronize, own);
		GPU_MUST(cuThreadExchangeStreamCaptureMode, &settled);
		SAY("unmap", gpu.cuMemUnmap(range, size));
		SAY("release", gpu.cuMemRelease(handle));
		SAY("address_free", gpu.cuMemAddressFree(range, size));
		SAY("event_record_legacy_stream", gpu.cuEventRecord(event, NULL));
#undef SAY
		if (exchange)
			GPU_MUST(cuThreadExchangeStreamCaptureMode, &relaxed);
		graph = NULL;
		res = gpu.cuStreamEndCapture(stream, &graph);
		printf("\"end_capture\": \"%s\"}", gpu_name_of(res));
		if (graph)
			gpu.cuGraphDestroy(graph);
	}
}

/* Two pages of address space, the first one mapped: what does work over both say, and when? */
static void over_a_hole(const char *what)
{
	CUmemGenericAllocationHandle handle;
	size_t size = gpu.granularity;
	CUdeviceptr range, other;
	CUresult called, later;
	void *host;

	GPU_MUST(cuMemAddressReserve, &range, 2 * size, 0, 0, 0);
	GPU_MUST(cuMemCreate, &handle, size, &gpu.prop, 0);
	GPU_MUST(cuMemMap, range, size, 0, handle, 0);
	GPU_MUST(cuMemSetAccess, range, size, &gpu.access, 1);
	GPU_MUST(cuMemAlloc_v2, &other, 2 * size);
	GPU_MUST(cuMemHostAlloc, &host, 2 * size, 0);
	if (!strcmp(what, "set"))
		called = gpu.cuMemsetD8Async(range, 0, 2 * size, NULL);
	else if (!strcmp(what, "to_host"))
		called = gpu.cuMemcpyDtoHAsync_v2(host, range, 2 * size, NULL);
	else if (!strcmp(what, "from_host"))
		called = gpu.cuMemcpyHtoDAsync_v2(range, host, 2 * size, NULL);
	else
		called = gpu.cuMemcpyDtoD_v2(other, range, 2 * size);
	later = gpu.cuCtxSynchronize();
	printf("\"call\": \"%s\", \"synchronize\": \"%s\"", gpu_name_of(called),
		gpu_name_of(later));
	printf(", \"context_after\": \"%s\"", gpu_name_of(gpu.cuMemsetD8_v2(other, 1, 1)));
}

static void set_over_hole(void)
{
	over_a_hole("set");
}

static void copy_to_host_over_hole(void)
{
	over_a_hole("to_host");
}

static void copy_from_host_over_hole(void)
{
	over_a_hole("from_host");
}

static void copy_over_hole(void)
{
	over_a_hole("device");
}

#define PAGES 64

/* Each call for pages of one size, one by one; then access and unmap for all of them at once. */
static void latency_of(size_t size)
{
	static CUmemGenericAllocationHandle handles[PAGES];
	static uint64_t create[PAGES], map[PAGES], access[PAGES], unmap[PAGES], release[PAGES];
	uint64_t start, run_access, run_unmap;
	CUdeviceptr range;

	GPU_MUST(cuMemAddressReserve, &range, PAGES * size, size, 0, 0);
	for (int i = 0; i < PAGES; i++) {
		start = gpu_now();
		GPU_MUST(cuMemCreate, &handles[i], size, &gpu.prop, 0);
		create[i] = gpu_now() - start;
	}
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < PAGES; i++) {
			start = gpu_now();
			GPU_MUST(cuMemMap, range + i * size, size, 0, handles[i], 0);
			map[i] = gpu_now() - start;
		}
		start = gpu_now();
		if (round)
			GPU_MUST(cuMemSetAccess, range, PAGES * size, &gpu.access, 1);
		run_access = gpu_now() - start;
		for (int i = 0; !round && i < PAGES; i++) {
			start = gpu_now();
			GPU_MUST(cuMemSetAccess, range + i * size, size, &gpu.access, 1);
			access[i] = gpu_now() - start;
		}
		start = gpu_now();
		if (round)
			GPU_MUST(cuMemUnmap, range, PAGES * size);
		run_unmap = gpu_now() - start;
		for (int i = 0; !round && i < PAGES; i++) {
			start = gpu_now();
			GPU_MUST(cuMemUnmap, range + i * size, size);
			unmap[i] = gpu_now() - start;
		}
	}
	for (int i = 0; i < PAGES; i++) {
		start = gpu_now();
		GPU_MUST(cuMemRelease, handles[i]);
		release[i] = gpu_now() - start;
	}
	GPU_MUST(cuMemAddressFree, range, PAGES * size);
	gpu_print_times("create", create, PAGES);
	printf(", ");
	gpu_print_times("map", map, PAGES);
	printf(", ");
	gpu_print_times("set_access", access, PAGES);
	printf(", ");
	gpu_print_times("unmap", unmap, PAGES);
	printf(", ");
	gpu_print_times("release", release, PAGES);
	printf(", \"set_access_of_%d_ns\": %llu, \"unmap_of_%d_ns\": %llu", PAGES,
		(unsigned long long)run_access, PAGES, (unsigned long long)run_unmap);
}

static void latencies(void)
{
	static const unsigned int mib[] = {2, 8, 16, 32};
	size_t free_bytes, total;

	GPU_MUST(cuMemGetInfo_v2, &free_bytes, &total);
	for (size_t i = 0; i < sizeof(mib) / sizeof(mib[0]); i++) {
		if (mib[i] * MIB * PAGES > free_bytes / 2)
			continue;
		printf("%s\"%u MiB\": {", i ? ", " : "", mib[i]);
		latency_of(mib[i] * MIB);
		printf("}");
	}
}

/* After a large release: when does the driver count the memory as free, and what does the next
 * create cost? Also: does recycled memory come back clean? */
static void release_of_much(void)
{
	enum { MAX = 5120 };
	static CUmemGenericAllocationHandle handles[MAX];
	size_t size = 2 * MIB, free_before, free_now, total, n;
	uint64_t start, counted = 0, again;
	CUmemGenericAllocationHandle handle;
	CUdeviceptr range;
	uint32_t word = 0;

	GPU_MUST(cuMemGetInfo_v2, &free_before, &total);
	n = free_before / 4 / size < MAX ? free_before / 4 / size : MAX;
	GPU_MUST(cuMemAddressReserve, &range, n * size, 0, 0, 0);
	for (size_t i = 0; i < n; i++) {
		GPU_MUST(cuMemCreate, &handles[i], size, &gpu.prop, 0);
		GPU_MUST(cuMemMap, range + i * size, size, 0, handles[i], 0);
	}
	GPU_MUST(cuMemSetAccess, range, n * size, &gpu.access, 1);
	GPU_MUST(cuMemsetD32Async, range, 0x600df00d, n * size / 4, NULL);
	GPU_MUST(cuCtxSynchronize);
	GPU_MUST(cuMemUnmap, range, n * size);
	start = gpu_now();
	for (size_t i = 0; i < n; i++)
		GPU_MUST(cuMemRelease, handles[i]);
	printf("\"bytes\": %zu, \"release_ns\": %llu", n * size,
		(unsigned long long)(gpu_now() - start));
	do {
		GPU_MUST(cuMemGetInfo_v2, &free_now, &total);
		counted = gpu_now() - start;
	} while (free_now + 64 * MIB < free_before && counted < 5000000000ull);
	again = gpu_now();
	GPU_MUST(cuMemCreate, &handle, size, &gpu.prop, 0);
	again = gpu_now() - again;
	GPU_MUST(cuMemMap, range, size, 0, handle, 0);
	GPU_MUST(cuMemSetAccess, range, size, &gpu.access, 1);
	GPU_MUST(cuMemcpyDtoH_v2, &word, range, sizeof(word));
	printf(", \"counted_as_free_after_ns\": %llu, \"all_counted\": %s, \"next_create_ns\": "
	       "%llu, \"next_content\": \"%08x\"",
		(unsigned long long)counted, free_now + 64 * MIB >= free_before ? "true" : "false",
		(unsigned long long)again, word);
}

/* Unmap of memory that no work uses: does it wait for a kernel that uses other memory? */
static void unmap_idle_and_busy(void)
{
	CUmemGenericAllocationHandle handles[2];
	size_t size = gpu.granularity;
	uint64_t start, idle;
	CUdeviceptr range;
	struct spin s;

	spin_open(&s);
	GPU_MUST(cuMemAddressReserve, &range, 2 * size, 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		GPU_MUST(cuMemCreate, &handles[i], size, &gpu.prop, 0);
		GPU_MUST(cuMemMap, range + i * size, size, 0, handles[i], 0);
	}
	GPU_MUST(cuMemSetAccess, range, 2 * size, &gpu.access, 1);
	GPU_MUST(cuCtxSynchronize);
	start = gpu_now();
	GPU_MUST(cuMemUnmap, range, size);
	idle = gpu_now() - start;
	spin_start(&s);
	printf("\"idle_ns\": %llu", (unsigned long long)idle);
	TIMED("busy", gpu.cuMemUnmap(range + size, size));
	TIMED("busy_release", gpu.cuMemRelease(handles[0]));
	printf(", \"kernel_end\": \"%s\"", gpu_name_of(spin_stop(&s)));
}

/* [page 0: device, page 1: host]: can a kernel add across both, and a graph after they change? */
static void mixed_locations(void)
{
	CUmemAllocationProp host_prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED};
	CUmemGenericAllocationHandle handles[2], third;
	size_t size = gpu.granularity, host_granularity = 0;
	CUdeviceptr range, page1;
	CUgraphExec exec;
	CUgraph graph;
	struct spin s;
	uint32_t word = 0;
	CUresult res;

	host_prop.location.type = CU_MEM_LOCATION_TYPE_HOST_NUMA;
	res = gpu.cuMemGetAllocationGranularity(
		&host_granularity, &host_prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
	printf("\"granularity\": \"%s\", \"host_granularity\": %zu", gpu_name_of(res),
		host_granularity);
	if (res == CUDA_SUCCESS && host_granularity > size)
		size = host_granularity;
	res = gpu.cuMemCreate(&handles[1], size, &host_prop, 0);
	printf(", \"host_create\": \"%s\"", gpu_name_of(res));
	if (res != CUDA_SUCCESS)
		return;
	spin_open(&s);
	GPU_MUST(cuMemCreate, &handles[0], size, &gpu.prop, 0);
	GPU_MUST(cuMemAddressReserve, &range, 2 * size, 0, 0, 0);
	page1 = range + size;
	GPU_MUST(cuMemMap, range, size, 0, handles[0], 0);
	GPU_MUST(cuMemMap, page1, size, 0, handles[1], 0);
	res = gpu.cuMemSetAccess(range, 2 * size, &gpu.access, 1);
	printf(", \"access_of_both\": \"%s\"", gpu_name_of(res));
	if (res != CUDA_SUCCESS)
		return;
	GPU_MUST(cuMemsetD32Async, range, 1, 2 * size / 4, s.stream);
	GPU_MUST(cuStreamSynchronize, s.stream);
	GPU_MUST(cuStreamBeginCapture_v2, s.stream, CU_STREAM_CAPTURE_MODE_RELAXED);
	launch(&s, "facts_add", (void *[]){&range, &page1});
	GPU_MUST(cuStreamEndCapture, s.stream, &graph);
	GPU_MUST(cuGraphInstantiateWithFlags, &exec, graph, 0);
	for (int i = 0; i < 2; i++) {
		GPU_MUST(cuGraphLaunch, exec, s.stream);
		res = gpu.cuStreamSynchronize(s.stream);
		printf(", \"replay_%d\": \"%s\"", i, gpu_name_of(res));
		if (i || res != CUDA_SUCCESS)
			break;
		/* The page moves to the device under the same address. */
		GPU_MUST(cuMemUnmap, page1, size);
		GPU_MUST(cuMemCreate, &third, size, &gpu.prop, 0);
		GPU_MUST(cuMemMap, page1, size, 0, third, 0);
		GPU_MUST(cuMemSetAccess, page1, size, &gpu.access, 1);
		GPU_MUST(cuMemsetD32Async, page1, 40, size / 4, s.stream);
		GPU_MUST(cuStreamSynchronize, s.stream);
	}
	gpu.cuMemcpyDtoH_v2(&word, range, sizeof(word));
	printf(", \"sum\": %u, \"expected\": 42", word);
}

/* One handle mapped again and again: is there a ceiling, and what does a mapping cost late? */
static void many_mappings(void)
{
	const size_t most = 262144;
	uint64_t start = gpu_now(), step = start;
	CUmemGenericAllocationHandle handle;
	size_t size = gpu.granularity, n;
	CUresult res = CUDA_SUCCESS;
	CUdeviceptr range;

	GPU_MUST(cuMemCreate, &handle, size, &gpu.prop, 0);
	res = gpu.cuMemAddressReserve(&range, most * size, 0, 0, 0);
	printf("\"reserve\": \"%s\"", gpu_name_of(res));
	if (res != CUDA_SUCCESS)
		return;
	for (n = 0; n < most && gpu_now() - start < 8000000000ull; n++) {
		res = gpu.cuMemMap(range + n * size, size, 0, handle, 0);
		if (res != CUDA_SUCCESS)
			break;
		if (n % 65536 == 65535) {
			printf(", \"map_ns_at_%zu\": %llu", n + 1,
				(unsigned long long)((gpu_now() - step) / 65536));
			step = gpu_now();
		}
	}
	printf(", \"mapped\": %zu, \"last\": \"%s\"", n, gpu_name_of(res));
	if (n)
		GPU_MUST(cuMemUnmap, range, n * size);
}

/* Can a wait for a value be captured? */
static void wait_value_captured(void)
{
	CUgraph graph = NULL;
	CUresult res, end;
	struct spin s;

	spin_open(&s);
	GPU_MUST(cuStreamBeginCapture_v2, s.stream, CU_STREAM_CAPTURE_MODE_RELAXED);
	res = gpu.cuStreamWaitValue32_v2(s.stream, s.device, 1, CU_STREAM_WAIT_VALUE_GEQ);
	end = gpu.cuStreamEndCapture(s.stream, &graph);
	printf("\"wait\": \"%s\", \"end_capture\": \"%s\"", gpu_name_of(res), gpu_name_of(end));
}

/* What the driver answers of memory that another process maps: run it twice at once. */
static void accounting(void)
{
	size_t before, after, total;
	CUdeviceptr address;
	size_t pitch = 0;

	GPU_MUST(cuMemGetInfo_v2, &before, &total);
	GPU_MUST(cuMemAlloc_v2, &address, 64 * MIB);
	GPU_MUST(cuMemGetInfo_v2, &after, &total);
	printf("\"total\": %zu, \"free\": %zu, \"cost_of_64_mib\": %zu", total, before,
		before - after);
	GPU_MUST(cuMemAllocPitch_v2, &address, &pitch, 1000, 100, 4);
	printf(", \"granularity\": %zu, \"pitch_of_1000\": %zu", gpu.granularity, pitch);
}

static const struct {
	const char *name;
	void (*run)(void);
} experiments[] = {
	{"accounting", accounting},
	{"map_under_kernel", map_under_kernel},
	{"page_seen_by_running_kernel", page_seen_by_running_kernel},
	{"calls_under_capture", calls_under_capture},
	{"set_over_hole", set_over_hole},
	{"copy_to_host_over_hole", copy_to_host_over_hole},
	{"copy_from_host_over_hole", copy_from_host_over_hole},
	{"copy_over_hole", copy_over_hole},
	{"latencies", latencies},
	{"release_of_much", release_of_much},
	{"unmap_idle_and_busy", unmap_idle_and_busy},
	{"mixed_locations", mixed_locations},
	{"many_mappings", many_mappings},
	{"wait_value_captured", wait_value_captured},
};

int main(int argc, char **argv)
{
	const size_t n = sizeof(experiments) / sizeof(experiments[0]);
	char device[128] = "";
	int version = 0;

	for (size_t i = 0; argc == 2 && !strcmp(argv[1], "list") && i < n; i++)
		printf("%s\n", experiments[i].name);
	if (argc == 2 && !strcmp(argv[1], "list"))
		return 0;
	for (size_t i = 0; argc == 2 && i < n; i++) {
		if (strcmp(argv[1], experiments[i].name) != 0)
			continue;
		gpu_start();
		gpu.cuDeviceGetName(device, sizeof(device), gpu.device);
		gpu.cuDriverGetVersion(&version);
		printf("{\"experiment\": \"%s\", \"device\": \"%s\", \"driver\": %d, ", argv[1],
			device, version);
		experiments[i].run();
		printf("}\n");
		fflush(stdout);
		/* The driver cleans up; after a fault it could not be asked to. */
		_exit(0);
	}
	fprintf(stderr, "usage: facts list | facts EXPERIMENT\n");
	return 2;
}
