/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - the software GPU, inside.
 *
 * A libcuda.so.1 of our own for machines without a GPU. Device addresses are reserved, inaccessible
 * host address ranges; the bytes live in one sparse memfd per device, reached only through a page
 * table in software, so that a host program that dereferences a device pointer crashes as it would
 * with a GPU and an unmapped access is found exactly. Kernels do not compute, except twins: C
 * functions, found by kernel name, that touch exactly the bytes that the real kernel touches.
 *
 * memory.c  address ranges, handles, mappings, the page table, accounting (also across processes)
 * mirror.c  the ideal memory beside the paged one
 * exec.c    contexts, streams, events, the queues and their workers
 * graph.c   capture, graphs, executable graphs
 * image.c   fatbin, cubin and PTX images: kernel names and parameter layouts
 * twins*.c  the host twins
 *
 * A manager call is a call made while the calling thread's capture mode is RELAXED
 * (cuThreadExchangeStreamCaptureMode) or on a stream created that way. Whoever moves memory behind
 * a program's back has to work like that; the mirror uses it to tell the program's bytes from the
 * mover's.
 */
#ifndef SIM_H
#define SIM_H

#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <cudaProfiler.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- images (image.c) ---- */

struct sim_param {
	uint32_t offset, size; /* bytes in the parameter block */
};

struct sim_call;
typedef void (*sim_twin_fn)(const struct sim_call *call);

struct sim_kernel {
	const char *name; /* mangled, as in the image */
	uint32_t n_params;
	uint32_t params_size;
	const struct sim_param *params;
	uint32_t registers;
	sim_twin_fn twin; /* NULL: the kernel touches nothing */
};

struct sim_global {
	const char *name;
	uint64_t size;
};

struct sim_image {
	uint32_t n_kernels, n_globals;
	struct sim_kernel *kernels; /* sorted by name */
	struct sim_global *globals;
	int sm; /* compute capability of what was chosen, 90 for 9.0 */
	bool was_ptx;
};

/*
 * Parses what cuModuleLoadData or cuLibraryLoadData was given: a fatbin wrapper, a fatbin, an ELF
 * cubin or NUL-terminated PTX text. cc: the device's compute capability (90): a cubin of the same
 * major and an equal or lower minor wins, else the newest PTX not above it.
 * CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_NO_BINARY_FOR_GPU.
 */
CUresult sim_image_parse(const void *image, int cc, struct sim_image **ret_image);
void sim_image_free(struct sim_image *image);
const struct sim_kernel *sim_image_kernel(const struct sim_image *image, const char *name);

/* ---- twins (twins*.c) ---- */

struct sim_device;

/* One launch as a twin sees it, running in stream order. */
struct sim_call {
	const struct sim_kernel *kernel;
	uint32_t grid[3], block[3], shared;
	const uint8_t *params; /* packed block, kernel->params_size bytes, copied at launch */
	struct sim_device *device;
	uint64_t seq; /* of the launch, unique in the process */
};

sim_twin_fn sim_twin_find(const char *kernel_name);

/*
 * Memory as a kernel sees it (memory.c): device memory of this device or a peer with access,
 * pinned, registered and managed host memory. False: the address is not mapped or not accessible;
 * the fault has been recorded (error 700, sticky) and the twin should return. Reads are compared
 * with the mirror: a difference is reported as MISMATCH; sim_read_dead() reports none (rows that
 * the engine never attends).
 */
bool sim_read(const struct sim_call *call, uint64_t addr, void *buffer, size_t size);
bool sim_read_dead(const struct sim_call *call, uint64_t addr, void *buffer, size_t size);
bool sim_write(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size);
/*
 * The ideal memory alone, where there is one; elsewhere a read is a plain one and a write does
 * nothing. For twins that make new bytes out of old ones: what is lost in the source has to be lost
 * in the target, for somebody to find out.
 */
bool sim_read_ideal(const struct sim_call *call, uint64_t addr, void *buffer, size_t size);
bool sim_write_ideal(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size);
/* Checks access without moving bytes. */
bool sim_probe(const struct sim_call *call, uint64_t addr, size_t size, bool write);

/* ---- reports ---- */

/*
 * One line "simgpu[pid] KIND: text" to stderr (and to SIMGPU_LOG if set), counted by kind and in
 * the exit report. VIOLATION: the driver API was used against its rules. FAULT: an access to
 * unmapped memory. MISMATCH: the paged memory differs from the ideal one. LEAK: memory left at
 * exit.
 */
enum sim_report { SIM_VIOLATION, SIM_FAULT, SIM_MISMATCH, SIM_LEAK, SIM_REPORTS };
void sim_report(enum sim_report kind, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
