/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the rooms of the software GPU share: settings, devices, contexts, streams,
 * work.
 *
 * Two locks. sim_lock guards contexts, streams, events, captures, graphs and modules;
 * sim_memory_lock guards address ranges, mappings, handles and bytes. sim_lock may be held when
 * sim_memory_lock is taken, never the other way round; neither is held while a twin, a host
 * function or a callback runs.
 */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "sim.h"

#define SIM_MAX_DEVICES 8
#define SIM_GRANULARITY (2ull << 20)
#define SIM_MAX_PARAMS 32764

/* ---- settings (config.c), read once by cuInit ---- */

struct sim_config {
	int n_devices;
	uint64_t memory;     /* bytes per device */
	int cc;              /* 90: compute capability 9.0 */
	uint64_t bandwidth;  /* copies, bytes per second; 0: as fast as it goes */
	uint64_t latency_ns; /* every driver call */
	uint64_t kernel_ns;  /* every kernel */
	const char *call_ns; /* calls by name */
	int driver_version;
	bool async, no_vmm, low_addresses, strict_exit, mirror, unsafe_vmm, no_param_info, no_leaks;
	bool dead_strict; /* compare also what nobody need ever read */
	bool drop_copies, drop_sets;
	const char *report, *shared, *fail;
};
extern struct sim_config sim_config;
void sim_config_load(void);

/* ---- reports (report.c) ---- */

extern _Atomic uint64_t sim_reports[SIM_REPORTS];          /* atomic: relaxed, counters */
extern _Atomic uint64_t sim_twin_runs, sim_bytes_compared; /* atomic: relaxed, counters */
extern _Atomic uint64_t *sim_calls;                        /* per entry point */
/* A line into SIMGPU_LOG, for what is no fault of anybody. */
void sim_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* At exit: leaks, the report file, the strict exit status. */
void sim_report_exit(void);

/* ---- the process (entry.c) ---- */

extern pthread_mutex_t sim_lock;
extern pthread_mutex_t sim_memory_lock;

struct sim_context;
struct sim_stream;

struct sim_thread {
	struct sim_context *stack[32]; /* of current contexts */
	int depth;
	CUstreamCaptureMode mode;
	bool per_thread; /* the entry point is a _ptsz or _ptds variant */
	struct sim_stream *streams[SIM_MAX_DEVICES * 4]; /* per-thread default streams */
	uint64_t id;
};
extern __thread struct sim_thread sim_thread;

bool sim_initialised(void);
CUresult sim_initialise(void);
/* True in a child of fork() whose parent had initialised. */
bool sim_is_orphan(void);
uint64_t sim_thread_id(void);
static inline bool sim_is_manager(void)
{
	return sim_thread.mode == CU_STREAM_CAPTURE_MODE_RELAXED;
}
uint64_t sim_now_ns(void);
void sim_delay_ns(uint64_t ns);

/* ---- devices (device.c) ---- */

struct sim_device {
	int ordinal;
	struct sim_store *store;
	struct sim_context *primary;
	int primary_refs;
	unsigned primary_flags;
	struct CUmemPoolHandle_st *default_pool, *pool;
};
extern struct sim_device sim_devices[SIM_MAX_DEVICES];
struct sim_device *sim_device_of(CUdevice device); /* NULL: no such device */
void sim_device_uuid(const struct sim_device *device, uint8_t uuid[16]);

/* ---- accounting (shared.c) ---- */

/* Takes bytes of a device from all processes' common budget. -1: there are not as many. */
int sim_account_take(int device, uint64_t bytes);
void sim_account_give(int device, uint64_t bytes);
/* Free bytes of the device, all processes counted. */
uint64_t sim_account_free(int device);
uint32_t sim_account_pid(void);        /* of the process that opened it, 0 before */
uint64_t sim_account_used(int device); /* by this process */
uint64_t sim_account_peak(int device);
int sim_account_open(void);
void sim_account_close(void);

/* ---- contexts (context.c) ---- */

#define SIM_CONTEXT_MAGIC 0x43545831u
#define SIM_STREAM_MAGIC 0x5354524du
#define SIM_EVENT_MAGIC 0x45564e54u
#define SIM_FUNCTION_MAGIC 0x46554e43u
#define SIM_MODULE_MAGIC 0x4d4f4455u
#define SIM_GRAPH_MAGIC 0x47525048u
#define SIM_EXEC_MAGIC 0x45584543u
#define SIM_DEAD_MAGIC 0xdeaddeadu

struct sim_context {
	uint32_t magic;
	struct sim_device *device; /* immutable */
	bool primary;
	_Atomic bool dead;
	_Atomic int sticky; /* CUresult; atomic: relaxed, set by whoever runs work */
	unsigned flags;
	uint64_t id;
	uint32_t peers; /* bit per device whose memory this context may touch */
	struct sim_stream *legacy;
	struct sim_stream *streams; /* all of them, the legacy stream too; guarded by sim_lock */
	struct sim_context *next;
	size_t limits[16];
};
struct sim_context *sim_context_current(void);
CUresult sim_context_new(struct sim_device *device, unsigned flags, struct sim_context **ret);
/* Waits for its work, frees its native memory, streams and modules. */
void sim_context_destroy(struct sim_context *context);
extern struct sim_context *sim_contexts;

/* ---- work (exec.c, run.c) ---- */

struct sim_graph;
struct sim_exec;

enum sim_work_type {
	SIM_WORK_EMPTY,
	SIM_WORK_KERNEL,
	SIM_WORK_COPY,
	SIM_WORK_SET,
	SIM_WORK_HOST,
	SIM_WORK_CALLBACK,
	SIM_WORK_RECORD,
	SIM_WORK_WAIT,
	SIM_WORK_MEMOP,
	SIM_WORK_BATCH, /* memory operations in order; nodes only */
	SIM_WORK_GRAPH, /* an executable graph */
	SIM_WORK_CHILD, /* node only */
	/* node only; its body is `child`, which never runs: see cuGraphConditionalHandleCreate */
	SIM_WORK_CONDITIONAL,
	SIM_WORK_FREE,
	SIM_WORK_NOTE, /* tells the mirror what the program asked for */
};

/* A rectangular copy; everything linear is one row. Addresses are unified. */
struct sim_copy {
	uint64_t dst, src;
	uint64_t width, height, depth;
	uint64_t dst_pitch, src_pitch; /* between rows */
	uint64_t dst_slice, src_slice; /* between planes */
	bool dst_host, src_host;       /* pageable or pinned host memory, by the kind of the call */
	struct sim_device *dst_device, *src_device; /* peer copies, else NULL */
};

struct sim_set {
	uint64_t dst, pitch, width, height; /* width in elements */
	uint32_t value, element;            /* element: 1, 2, 4 bytes */
};

struct sim_launch {
	const struct sim_kernel *kernel;
	struct sim_function *function;
	uint32_t grid[3], block[3], shared;
	uint8_t *params; /* packed; owned by the work if owned is set */
	void **pointers; /* into params, for cuGraphKernelNodeGetParams; may be NULL */
	bool packed;     /* came as one block (`extra`), and is shown as one */
	bool updatable;  /* by the device: an attribute of a node, which nothing here uses */
	void *extra[5];  /* of params, for cuGraphKernelNodeGetParams */
	size_t size;     /* what extra points to */
	uint64_t seq;
};

struct sim_memop {
	uint64_t addr, value;
	uint32_t flags;
	bool wide, wait;
};

struct sim_event;

struct sim_note {
	enum { SIM_NOTE_SET, SIM_NOTE_COPY, SIM_NOTE_CHECK } kind;
	struct sim_set set;
	struct sim_copy copy;
};

struct sim_work {
	enum sim_work_type type;
	bool manager;
	union {
		struct sim_launch launch;
		struct sim_copy copy;
		struct sim_set set;
		struct {
			void (*fn)(void *data);
			void *data;
		} host;
		struct {
			CUstreamCallback fn;
			void *data;
			CUstream stream;
		} callback;
		struct {
			struct sim_event *event;
		} event;
		struct {
			struct sim_stream *stream;
			uint64_t ticket;
		} wait;
		struct sim_memop memop;
		struct {
			struct sim_memop *ops; /* owned */
			uint32_t n;
		} batch;
		struct sim_exec_nodes *nodes; /* GRAPH: a reference */
		struct sim_graph *child;      /* CHILD, CONDITIONAL: owned by the node */
		struct {
			uint64_t addr;
			void *pool;
		} memory;
		struct sim_note note;
	};
};

/* What is queued in a stream. */
struct sim_task {
	struct sim_work work;
	uint64_t ticket;
	struct sim_task *next;
	uint32_t n_deps;
	struct {
		struct sim_stream *stream;
		uint64_t ticket;
	} deps[];
};

struct sim_capture;

struct sim_stream {
	uint32_t magic;
	struct sim_context *context; /* immutable */
	bool legacy, blocking, per_thread, manager;
	int priority;
	unsigned flags;
	uint64_t id;
	uint64_t submitted, completed;  /* tickets; guarded by sim_lock */
	struct sim_task *head, **tail;  /* guarded by sim_lock; the head may be running */
	const struct sim_work *inlined; /* running in its submitter's thread; guarded by sim_lock */
	bool has_worker, destroyed;
	pthread_t worker;
	struct sim_capture *capture; /* guarded by sim_lock */
	struct sim_node **capture_deps;
	uint32_t n_capture_deps;
	struct sim_stream *next; /* in its context */
};

struct sim_event {
	uint32_t magic;
	struct sim_context *context;
	unsigned flags;
	bool recorded;
	struct sim_stream *stream;
	uint64_t ticket;
	_Atomic uint64_t time_ns; /* when the record ran */
	uint64_t capture_id;      /* recorded inside this capture, 0: not */
	struct sim_node **capture_deps;
	uint32_t n_capture_deps;
	struct sim_event *next;
};

/* The running of one piece of work; what a twin sees is call. */
struct sim_run {
	struct sim_call call;
	struct sim_context *context;
	bool manager;
	const char *what; /* kernel name or a word for the copy, for messages */
};

/*
 * Hands work to a stream: runs it now if it can (synchronous mode, nothing before it), else queues
 * it; while the stream is being captured it becomes a node. Takes over what the work owns, on
 * failure too. Call without locks.
 */
CUresult sim_submit(struct sim_stream *stream, struct sim_work *work);
/* Executes without a stream, in the calling thread. */
void sim_work_run(struct sim_context *context, struct sim_work *work);
/* Frees what the work owns. */
void sim_work_clear(struct sim_work *work);
/* Resolves 0, 1 and 2 as the call at hand wants them. NULL: *ret_error says why. */
struct sim_stream *sim_stream_get(CUstream handle, CUresult *ret_error);
struct sim_stream *sim_stream_new(struct sim_context *context, unsigned flags, int priority);
void sim_stream_wait(struct sim_stream *stream);
void sim_event_wait(struct sim_event *event);
void sim_notify(void); /* with sim_lock: somebody may be waiting for what has changed */
void sim_context_wait(struct sim_context *context);
/* Waits for the work of every context on the device. */
void sim_device_wait(struct sim_device *device);
bool sim_stream_is_idle(struct sim_stream *stream); /* with sim_lock */
/* A queued or running piece of work that may touch [addr, addr+size), or NULL. With sim_lock.
 * range: a kernel with a pointer anywhere into [range, range_end) counts. */
const char *sim_work_in_flight(uint64_t addr, uint64_t size, uint64_t range, uint64_t range_end);
bool sim_work_touches(const struct sim_work *work, uint64_t addr, uint64_t end, uint64_t range,
	uint64_t range_end);
const char *sim_work_name(const struct sim_work *work);
/* The work of a submitted call whose stream is synchronous for the caller: waits for it. */
CUresult sim_submit_wait(struct sim_stream *stream, struct sim_work *work);

/* ---- captures (capture.c) ---- */

/* With sim_lock. Adds work to the capture of a stream. */
CUresult sim_capture_add(struct sim_stream *stream, struct sim_work *work);
/* Would this thread's call disturb a capture? Then it is invalidated and the result is 900. */
CUresult sim_capture_unsafe(void);
/* A call that no capturing stream allows: the capture is invalid from now on. 900. */
CUresult sim_capture_break(struct sim_stream *stream);
CUresult sim_capture_implicit(struct sim_stream *legacy); /* 906, with sim_lock */
CUresult sim_capture_record(struct sim_stream *stream, struct sim_event *event);
CUresult sim_capture_wait(struct sim_stream *stream, struct sim_event *event);
extern _Atomic uint32_t sim_captures_open;

/* ---- graphs (graph.c) ---- */

struct sim_exec_nodes;
void sim_exec_nodes_run(struct sim_context *context, struct sim_exec_nodes *nodes);
bool sim_exec_nodes_may_wait(const struct sim_exec_nodes *nodes);
void sim_exec_nodes_put(struct sim_exec_nodes *nodes);
bool sim_exec_nodes_touch(const struct sim_exec_nodes *nodes, uint64_t addr, uint64_t end,
	uint64_t range, uint64_t range_end);
void sim_graph_free(struct sim_graph *graph);

/* ---- arguments ---- */

/* The copy that a 3D descriptor describes (copy.c). CUDA_ERROR_NOT_SUPPORTED: an array. */
CUresult sim_copy_from_3d(const CUDA_MEMCPY3D *params, struct sim_copy *ret_copy);
/* A launch from its arguments (launch.c): *ret owns a copy of the parameter block. */
CUresult sim_launch_make(CUfunction function, const unsigned grid[3], const unsigned block[3],
	unsigned shared, void **params, void **extra, struct sim_launch *ret);

/* The operation of a batch. False: one that orders nothing here (barriers, flushes). */
bool sim_memop_of(const CUstreamBatchMemOpParams *params, struct sim_memop *ret);
/* Numbers every run of a kernel. */
uint64_t sim_next_seq(void);

/* ---- kernels (module.c) ---- */

struct sim_module;
struct sim_function {
	uint32_t magic;
	const struct sim_kernel *kernel; /* immutable */
	struct sim_module *module;
	int attributes[20];
};
/* NULL: not a CUfunction or CUkernel. */
struct sim_function *sim_function_of(CUfunction function);
void sim_modules_drop(struct sim_context *context);

#endif
