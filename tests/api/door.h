/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.h - the C API over core on a fake GPU, without hooks and without a preload: for sanitizers.
 */
#ifndef TESTS_API_DOOR_H
#define TESTS_API_DOOR_H

#include "shim/api.h"
#include "tests/unit/fixture.h"

/* What the API works on. Opened once, by door_open(). */
extern struct fixture door;
/* While true there is an open capture. */
extern _Atomic bool door_captures;

void door_open(struct fixture_options options);
/* What is wrong or left over, or NULL. The API must not be called any more. */
const char *door_close(void);

/* A kernel that names nothing writes the value to length bytes, or checks that they hold it. 0, or
 * -EUCLEAN. */
int door_use(uint64_t address, uint64_t length, uint8_t value, bool write);

#endif
