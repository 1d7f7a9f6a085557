/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins_ggml.c - the kernels of ggml's CUDA backend that write or read a KV cache.
 */
#include "twins.h"

sim_twin_fn sim_twin_ggml(const char *kernel_name)
{
	return NULL;
}
