/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins.c - finds the host twin of a kernel: the first family that knows the name.
 */
#include "twins.h"

/* A build without the micro programs has no such family. */
__attribute__((weak)) sim_twin_fn sim_twin_micro(const char *kernel_name)
{
	return NULL;
}

sim_twin_fn sim_twin_find(const char *kernel_name)
{
	sim_twin_fn twin = sim_twin_ggml(kernel_name);

	return twin ? twin : sim_twin_micro(kernel_name);
}
