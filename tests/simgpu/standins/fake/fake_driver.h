/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_driver.h - what the fake driver of the stand-in tests remembers. One thread.
 */
#ifndef STANDIN_FAKE_DRIVER_H
#define STANDIN_FAKE_DRIVER_H

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_ATTRIBUTE 100000 /* attribute n has the value FAKE_ATTRIBUTE + n */
#define FAKE_TOTAL 0x123456789000u

struct fake_request {
	const char *name;
	int version, flags;
	bool through_first; /* asked of the resolver that dlsym finds */
};

/* All requests so far, in order. */
const struct fake_request *fake_requests(unsigned *ret_n);

#endif
