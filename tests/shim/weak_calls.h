/* SPDX-License-Identifier: Apache-2.0 */
/* weak_calls.h - calls of the driver by weak references, as an optional GPU backend makes them. */
#ifndef TESTS_SHIM_WEAK_CALLS_H
#define TESTS_SHIM_WEAK_CALLS_H

#define EXPORT __attribute__((visibility("default")))

/* How many entry points there are, and how many of them somebody brought. */
EXPORT unsigned weak_count(void);
EXPORT unsigned weak_bound(void);
/* Calls all of them, which must be bound. How many did not answer CUDA_ERROR_NO_DEVICE; each is
 * printed. */
EXPORT unsigned weak_call_all(void);

#endif
