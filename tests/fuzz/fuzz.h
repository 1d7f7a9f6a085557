/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what a fuzz target gives to libFuzzer or to replay.c.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* One input; aborts when the code under test is wrong. data lies in a block of exactly size bytes.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
