/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_hooks.h - one function and one reservation, for targets that run kernels and launches alone.
 */
#ifndef FAKE_HOOKS_H
#define FAKE_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

extern char fake_handle;   /* its address is the function's handle */
extern uint32_t fake_hits; /* leaks of the reservation since it was set to 0 */

/* What the driver answers about the function from now on; the arrays are kept. */
void fake_function(uint32_t n, const uint32_t *offsets, const uint32_t *sizes);

/* True if the eight bytes are an address of the reservation. */
bool fake_is_hit(const unsigned char *word);

#endif
