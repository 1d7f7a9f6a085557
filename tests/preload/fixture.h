/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture.h - what a snippet finds when it runs: a context, memory of each kind, a kernel, a graph.
 *
 * One per thread; each thread has two devices of its own, so that device memory can be counted:
 * device for all ordinary work, spare_device for calls that make or destroy contexts.
 */
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"

#define BYTES 4096ull          /* what copies and sets move */
#define BIG_BYTES (8ull << 20) /* becomes a reservation: the tests set the floor to 4 MiB */
#define ROWS 4                 /* of two-dimensional copies, ROW_BYTES each, PITCH apart */
#define ROW_BYTES 64ull
#define PITCH 512ull

struct fixture {
	const struct driver *d;    /* by the way under test */
	const struct driver *real; /* past the shim */
	int thread;
	CUdevice device, spare_device;
	CUcontext context; /* primary, of device; current */
	CUstream stream;
	CUdeviceptr big;   /* a reservation that is there all the time */
	CUdeviceptr small; /* native */
	uint8_t *host;     /* BYTES of ordinary memory, page-aligned */
	uint8_t pattern;   /* last one used */
	CUmodule module;
	CUfunction function; /* one parameter: an address */
	CUlibrary library;
	CUkernel kernel;
	CUarray array; /* BYTES; NULL: the driver has no arrays */
	CUmemoryPool pool;
	CUgraph graph; /* made by prepare functions, like all that follows */
	CUgraphNode node;
	CUgraphExec exec;
	CUdeviceptr fresh;    /* a reservation or other memory that only this snippet uses */
	uint64_t free_before; /* device memory as the driver counted it before the call */
	void *fresh_host;
	bool registered; /* host is registered */
	CUstream fresh_stream;
	CUcontext fresh_context;
	CUmodule fresh_module;
	CUlibrary fresh_library;
	CUmemGenericAllocationHandle fresh_handle;
	CUmemoryPool fresh_pool;
	CUdeviceptr range; /* reserved by the program itself */
	int calls;         /* of host functions */

	/* parameters */
	uint64_t param;
	void *params[1];
	CUDA_MEMCPY2D copy2d;
	CUDA_MEMCPY3D copy3d;
	CUDA_MEMCPY3D_PEER copy3d_peer;
	CUDA_MEMCPY3D_BATCH_OP batch3d;
	CUmemcpyAttributes attributes;
	CUdeviceptr dsts[1], srcs[1];
	size_t sizes[1], indices[1], fail_index;
	CUmemDecompressParams decompress;
	CUmemLocation location;
	CUmemAllocationProp prop;
	CUmemAccessDesc access;
	CUmemPoolProps pool_props;
	CUstreamBatchMemOpParams mem_ops[1];
	CUlaunchConfig config;
	CUDA_LAUNCH_PARAMS launch_list[1];
	CUDA_KERNEL_NODE_PARAMS_v1 kernel_node_v1;
	CUDA_KERNEL_NODE_PARAMS_v2 kernel_node;
	CUDA_MEMSET_NODE_PARAMS_v1 memset_node;
	CUDA_BATCH_MEM_OP_NODE_PARAMS batch_node;
	CUgraphNodeParams node_params;
	CUDA_GRAPH_INSTANTIATE_PARAMS instantiate;
	CUgraphExecUpdateResult update_why;
	CUgraphExecUpdateResultInfo update;
	CUpointer_attribute attribute_names[2];
	void *attribute_values[2];
	uint64_t attribute_words[2];
	CUmem_range_attribute range_attribute;
	CUexecAffinityParam affinity;
	CUctxCreateParams create_params;
	CUarrayMapInfo map_info;
	CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer;
	CUDA_RESOURCE_DESC resource;
	CUDA_TEXTURE_DESC texture;
	CUDA_ARRAY_DESCRIPTOR array_descriptor;
	CUtexref texref;
	CUtensorMap tensor __attribute__((aligned(64)));
	cuuint64_t tensor_dims[4], tensor_strides[3];
	cuuint32_t tensor_box[4], tensor_steps[4];
	int tensor_low[2], tensor_high[2];

	/* answers */
	CUdeviceptr out;
	CUdeviceptr_v1 out32;
	size_t out_size, out_size2;
	unsigned int out_size32, out_size32_2;
	void *out_host;
	CUcontext out_context;
	CUstream out_stream;
	CUgraph out_graph;
	CUgraphNode out_node;
	CUgraphExec out_exec;
	CUmodule out_module;
	CUlibrary out_library;
	CUfunction out_function;
	CUkernel out_kernel;
	CUmemGenericAllocationHandle out_handle;
	CUmemoryPool out_pool;
	CUipcMemHandle out_ipc;
	CUtexObject out_texture;
	CUdriverProcAddressQueryResult out_status;
	int out_fd;
};

/*
 * One entry point: what must be there before (NULL: nothing), the call, and what must be true after
 * it (NULL: the driver itself answers the same call with the same code). prepare and check return
 * false after a line that says what is wrong.
 */
struct snippet {
	const char *symbol;
	bool (*prepare)(struct fixture *f);
	CUresult (*call)(struct fixture *f, const struct driver *d);
	bool (*check)(struct fixture *f, CUresult result);
};
struct snippets {
	const struct snippet *rows;
	size_t n;
};
extern const struct snippets snippets_alloc, snippets_context, snippets_copy, snippets_graph,
	snippets_launch, snippets_query, snippets_stream;

/*
 * A file of snippets is one list: LIST(X) calls X(symbol, prepare, (arguments), check) for each
 * entry point; the arguments may use f, the fixture.
 */
#define SNIPPET_CALL(symbol, prepare, arguments, check) \
	static CUresult call_##symbol(struct fixture *f, const struct driver *d) \
	{ \
		return d->symbol arguments; \
	}
#define SNIPPET_ROW(symbol, prepare, arguments, check) {#symbol, prepare, call_##symbol, check},
#define SNIPPETS(name, LIST) \
	LIST(SNIPPET_CALL) \
	static const struct snippet name##_rows[] = {LIST(SNIPPET_ROW)}; \
	const struct snippets name = {name##_rows, sizeof(name##_rows) / sizeof(name##_rows[0])};

/* Prepare: a reservation that nobody has used, and how much memory is free then. */
bool prepare_reservation(struct fixture *f);
/* Check: the reservation is whole, once work has been submitted. */
bool check_whole(struct fixture *f, CUresult result);
/* Check: success, and nothing else to see. */
bool check_ok(struct fixture *f, CUresult result);
/* Check: refused as native device memory would be. */
bool check_invalid(struct fixture *f, CUresult result);

/* False after a line that says what went wrong. */
bool fixture_open(struct fixture *f, const struct driver *d, const struct driver *real, int thread);
void fixture_close(struct fixture *f);
/* Releases what prepare functions made. */
void fixture_tidy(struct fixture *f);

/* Device memory in use by what the driver says itself. */
uint64_t fixture_free_bytes(struct fixture *f);
/* Waits for all work and reports whether it went well. */
bool fixture_finish(struct fixture *f);

/* Prints "FAILED: ..." with the place; false. */
bool fixture_failed(const char *file, int line, const char *what, long got);
#define CHECK(condition) ((condition) ? true : fixture_failed(__FILE__, __LINE__, #condition, 0))
#define CHECK_OK(result) fixture_ok(__FILE__, __LINE__, #result, result)
static inline bool fixture_ok(const char *file, int line, const char *what, CUresult result)
{
	return result == CUDA_SUCCESS || fixture_failed(file, line, what, result);
}

/* An entry point that the shim lets through and that has no row of its own here. */
void *fixture_passed(const char *symbol);
#define PASSED(pfn, symbol) ((pfn)fixture_passed(#symbol))

/* The image that every snippet loads: kernel "touch" with one 64-bit parameter, global "counter".
 */
extern const char fixture_image[];

#endif
