/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - a thin libcudart of our own over whatever libcuda.so.1 is found.
 *
 * Only what ggml's CUDA backend imports, for its builds against CUDA 12 and 13 (STANDIN_MAJOR). It
 * is no copy of NVIDIA's library and takes no part in that library's checks: it is another library
 * with the same entry points. Types of the runtime API are spelled as what they are on this ABI:
 * enums and cudaError_t as int, handles as the driver's.
 *
 * state.c     threads, primary contexts, errors      properties.c  what a device is
 * kernels.c   registered images and kernels          launch.c      launches
 * memory.c    allocations, copies and sets           streams.c     streams, events, captures,
 *                                                                  graphs
 * nodes.c     the kernel nodes of a graph
 */
#ifndef STANDIN_RUNTIME_H
#define STANDIN_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "driver.h"

#define EXPORT __attribute__((visibility("default")))

/* Errors of the runtime's own; all others are the driver's numbers. */
enum {
	RT_INVALID_MEMCPY_DIRECTION = 21,
	RT_INSUFFICIENT_DRIVER = 35,
	RT_MISSING_CONFIGURATION = 52,
	RT_INVALID_DEVICE_FUNCTION = 98,
};

struct rt_dim3 {
	unsigned x, y, z;
};

/* state.c */

/* The driver, or NULL with the error in *ret. No context is made. */
const struct driver *rt_driver(int *ret);
/* The same, and the calling thread has a current context: its device's primary one if it had none.
 */
const struct driver *rt_bound(int *ret);
/* Retains the primary context of a device once in the process. A driver error or 0. */
int rt_primary(const struct driver *d, int device, CUcontext *ret_context);
/* The device of the calling thread: that of its context, else its own number. */
int rt_device(const struct driver *d);
/* Remembers an error for cudaGetLastError (not 0, not "not ready") and returns it. */
int rt_error(int error);
/* Gives the primary contexts back, when the last image has gone. */
void rt_primaries_release(void);

/* kernels.c */

/*
 * The kernel behind a host function or a kernel handle, loading its image at first use.
 * RT_INVALID_DEVICE_FUNCTION: neither.
 */
int rt_kernel(const struct driver *d, const void *function, CUkernel *ret_kernel);
/* The host function whose kernel, or whose kernel's function, this handle is. NULL: none. */
const void *rt_function_of(const struct driver *d, const void *handle);

/* Runs a driver call with a bound thread; the value of the statement expression is for `return`. */
#define RT_CALL(call) \
	do { \
		int rt_status; \
		const struct driver *d = rt_bound(&rt_status); \
		return rt_error(d ? (int)(call) : rt_status); \
	} while (0)

#endif
